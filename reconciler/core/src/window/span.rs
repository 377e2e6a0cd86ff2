//! A schedule as stretches of time.

use std::collections::VecDeque;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::zone::{moment, moments};
use super::{Schedule, Zone};
use crate::time::Timestamp;

const DAY_MS: u64 = 86_400_000;

/// A stretch of time: from its start on, and no longer at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// Its first moment.
    pub(super) start: Timestamp,
    /// The first moment after it.
    pub(super) end: Timestamp,
}

impl Span {
    /// The end of what does not end within sight.
    pub(super) const FOREVER: Timestamp = Timestamp(u64::MAX);
}

/// Days looked at: eight years hold every date there is, and two more.
const MOST_DAYS: u32 = 3_660;

/// Beginnings looked at: each minute of a month, each hour of five years.
const MOST_BEGINNINGS: usize = 50_000;

/// The stretches in which a schedule is active, from a moment on, in order. No two touch.
pub(super) struct Spans<'s> {
    schedule: &'s Schedule,
    clock: TimeZone,
    from: Timestamp,
    day: Option<Date>,
    days_left: u32,
    beginnings_left: usize,
    /// Of days that were looked at.
    found: VecDeque<Span>,
    /// It goes on as long as the next one touches it.
    open: Option<Span>,
}

impl<'s> Spans<'s> {
    pub(super) fn new(schedule: &'s Schedule, zone: &Zone, from: Timestamp) -> Self {
        let longest = match schedule {
            Schedule::Hours(_) => DAY_MS,
            Schedule::Cron { duration, .. } => duration.0,
        };
        // A day more: clocks that are put back lengthen one.
        let earliest = Timestamp(from.0.saturating_sub(longest.saturating_add(DAY_MS)));
        let clock = zone.clock();
        let day = clock.to_datetime(moment(earliest)).date();
        Self {
            schedule,
            clock,
            from,
            day: Some(day),
            days_left: MOST_DAYS + (longest / DAY_MS) as u32,
            beginnings_left: MOST_BEGINNINGS,
            found: VecDeque::new(),
            open: None,
        }
    }

    /// Looks at the next day. Returns whether there was one.
    fn look(&mut self) -> bool {
        let Some(day) = self.day.filter(|_| self.days_left > 0 && self.beginnings_left > 0) else { return false };
        self.days_left -= 1;
        self.day = day.tomorrow().ok();
        let mut spans = of_day(self.schedule, &self.clock, day);
        spans.retain(|span| span.start < span.end);
        spans.sort_unstable();
        self.beginnings_left = self.beginnings_left.saturating_sub(spans.len());
        self.found.extend(spans);
        true
    }
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        loop {
            let Some(span) = self.found.pop_front() else {
                // What is open ends before the next day begins, or may go on in it.
                let begins = self.day.and_then(|day| moments(&self.clock, day.to_datetime(Time::midnight())));
                let (Some(open), Some((begins, _))) = (self.open, begins) else {
                    if self.look() {
                        continue;
                    }
                    return self.open.take();
                };
                if open.end < begins {
                    self.open = None;
                    if open.end > self.from {
                        return Some(open);
                    }
                } else if !self.look() {
                    self.open = None;
                    return Some(Span { end: Span::FOREVER, ..open });
                }
                continue;
            };
            match &mut self.open {
                Some(open) if span.start <= open.end => open.end = open.end.max(span.end),
                open => {
                    if let Some(done) = open.replace(span)
                        && done.end > self.from
                    {
                        return Some(done);
                    }
                }
            }
        }
    }
}

/// Returns the stretches that begin on a day.
fn of_day(schedule: &Schedule, clock: &TimeZone, day: Date) -> Vec<Span> {
    let at = |day: Date, minute: u16| {
        // 24:00 is 00:00 of the next day.
        let (day, minute) = if minute == 24 * 60 { (day.tomorrow().ok()?, 0) } else { (day, minute) };
        let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?;
        moments(clock, day.to_datetime(time))
    };
    match schedule {
        Schedule::Hours(hours) => {
            if !hours.days[day.weekday().to_monday_zero_offset() as usize] {
                return Vec::new();
            }
            let last = if hours.ends_next_day() { day.tomorrow().ok() } else { Some(day) };
            let ends = last.and_then(|last| at(last, hours.to));
            let span = at(day, hours.from).zip(ends).map(|((start, _), (_, end))| Span { start, end });
            span.into_iter().collect()
        }
        Schedule::Cron { begins, duration } => {
            if !begins.is_on(day) {
                return Vec::new();
            }
            let minutes = (0..24 * 60_u16).filter(|minute| {
                begins.hours & (1 << (minute / 60)) != 0 && begins.minutes & (1 << (minute % 60)) != 0
            });
            let starts = minutes.filter_map(|minute| at(day, minute)).flat_map(|(first, last)| [first, last]);
            let mut spans: Vec<Span> = starts.map(|start| Span { start, end: start.plus_ms(duration.0) }).collect();
            spans.sort_unstable();
            spans.dedup();
            spans
        }
    }
}
