//! `Mon-Thu 09:00-17:00`: days and hours.

use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Days of the week, from Monday on.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Some days of each week, between two times of the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Whether it begins on each day, from Monday on.
    pub(super) days: [bool; 7],
    /// When it begins, in minutes of the day.
    pub(super) from: u16,
    /// When it ends, in minutes of the day; of the next day when that is not after the beginning.
    pub(super) to: u16,
}

/// Text that is no days and hours: why, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidHours(pub(super) String);

impl Hours {
    /// Returns whether it ends on the day after.
    pub(super) fn ends_next_day(&self) -> bool {
        self.to <= self.from
    }
}

impl std::str::FromStr for Hours {
    type Err = InvalidHours;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, hours) = match words[..] {
            [hours] if hours.contains(':') => (None, Some(hours)),
            [days] => (Some(days), None),
            [days, hours] => (Some(days), Some(hours)),
            _ => {
                let shown: String = text.chars().take(60).collect();
                let text = format!(
                    "`{}` is neither days and hours, such as `Mon-Thu 09:00-17:00`, nor the five fields of cron",
                    shown.escape_debug()
                );
                return Err(InvalidHours(text));
            }
        };
        let days = days.map_or(Ok([true; 7]), read_days)?;
        let (from, to) = hours.map_or(Ok((0, DAY)), read_hours)?;
        Ok(Self { days, from, to })
    }
}

fn read_days(text: &str) -> Result<[bool; 7], InvalidHours> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        // From Friday to Monday goes over the end of the week.
        loop {
            days[at] = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Ok(days)
}

fn day(text: &str) -> Result<usize, InvalidHours> {
    let wanted = text.to_ascii_lowercase();
    let found = DAYS.iter().position(|day| wanted == **day || wanted == day[..3]);
    found.ok_or_else(|| {
        let shown: String = text.chars().take(20).collect();
        InvalidHours(format!(
            "`{}` is no day: write `Mon`, `Mon-Thu`, `Sat,Sun` or `daily`, and then hours such as `09:00-17:00`",
            shown.escape_debug()
        ))
    })
}

fn read_hours(text: &str) -> Result<(u16, u16), InvalidHours> {
    let shown: String = text.chars().take(20).collect();
    let fail =
        || InvalidHours(format!("`{}` is no hours: write from and to, such as `09:00-17:00`", shown.escape_debug()));
    let (from, to) = text.split_once('-').ok_or_else(fail)?;
    let (from, to) = (time(from).ok_or_else(fail)?, time(to).ok_or_else(fail)?);
    if from == DAY {
        return Err(InvalidHours(format!("`{shown}` begins at the end of a day: write `00:00` and the next day")));
    }
    if from == to {
        let text = format!("`{shown}` lasts no time: for whole days leave the hours out");
        return Err(InvalidHours(text));
    }
    Ok((from, to))
}

/// Returns minutes of a day from `H:MM` or `HH:MM`, up to `24:00`.
fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !(1..=2).contains(&hour.len()) || minute.len() != 2 || !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY).then_some(at)
}
