//! `0 22 * * 1-5`: moments, as cron has them.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Moments by minute, hour, day of the month, month and day of the week.
///
/// # Source
/// crontab(5): five fields with `*`, lists, ranges and steps; where both days are given, one is enough. `N/S` is `N-last/S`, and `?` is
/// `*`, as the schedules of Argo CD have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// One bit for each minute.
    pub(super) minutes: u64,
    /// One bit for each hour.
    pub(super) hours: u64,
    month_days: u64,
    months: u64,
    /// Sunday is bit 0.
    week_days: u64,
    any_month_day: bool,
    any_week_day: bool,
}

/// Text that is no cron schedule: why, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCron(String);

struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", least: 0, most: 59, names: &[] },
    Field { what: "hour", least: 0, most: 23, names: &[] },
    Field { what: "day of the month", least: 1, most: 31, names: &[] },
    Field {
        what: "month",
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { what: "day of the week", least: 0, most: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const SHORT: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Cron {
    /// Returns whether text looks like cron rather than like days and hours.
    pub fn is_meant(text: &str) -> bool {
        text.trim_start().starts_with('@') || text.split_whitespace().count() >= 4 && !text.contains(':')
    }

    /// Returns whether a moment of this day can be meant.
    pub(super) fn is_on(&self, date: Date) -> bool {
        let has = |bits: u64, at: i8| bits & (1 << at) != 0;
        let month_day = has(self.month_days, date.day());
        let week_day = has(self.week_days, date.weekday().to_sunday_zero_offset());
        let day = match (self.any_month_day, self.any_week_day) {
            (false, false) => month_day || week_day,
            _ => month_day && week_day,
        };
        day && has(self.months, date.month())
    }
}

impl std::str::FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let long = SHORT.iter().find(|(short, _)| text.eq_ignore_ascii_case(short)).map_or(text, |(_, long)| long);
        let words: Vec<&str> = long.split_whitespace().collect();
        let [minute, hour, month_day, month, week_day] = words[..] else {
            let shown: String = text.chars().take(60).collect();
            let known = if text.starts_with('@') {
                SHORT.map(|(short, _)| short).join(", ")
            } else {
                "minute, hour, day of the month, month, day of the week".to_owned()
            };
            let text = format!("`{}` has {} fields of cron, not five: {known}", shown.escape_debug(), words.len());
            return Err(InvalidCron(text));
        };
        let mut week_days = bits(week_day, &FIELDS[4])?;
        if week_days & (1 << 7) != 0 {
            week_days = week_days & !(1 << 7) | 1;
        }
        let any = |field: &str| matches!(field, "*" | "?");
        Ok(Self {
            minutes: bits(minute, &FIELDS[0])?,
            hours: bits(hour, &FIELDS[1])?,
            month_days: bits(month_day, &FIELDS[2])?,
            months: bits(month, &FIELDS[3])?,
            week_days,
            any_month_day: any(month_day),
            any_week_day: any(week_day),
        })
    }
}

fn bits(text: &str, field: &Field) -> Result<u64, InvalidCron> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u32>().ok().filter(|step| (1..=field.most).contains(step));
                (range, Some(step.ok_or_else(|| wrong(part, field))?))
            }
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (field.least, field.most),
            Some((first, last)) => (number(first, part, field)?, number(last, part, field)?),
            None => {
                let one = number(range, part, field)?;
                (one, if step.is_some() { field.most } else { one })
            }
        };
        if first > last {
            let text = format!("`{part}` of the {} goes backwards: write it as a list of two ranges", field.what);
            return Err(InvalidCron(text));
        }
        for at in (first..=last).step_by(step.unwrap_or(1) as usize) {
            bits |= 1 << at;
        }
    }
    Ok(bits)
}

fn number(text: &str, part: &str, field: &Field) -> Result<u32, InvalidCron> {
    let word = text.to_ascii_lowercase();
    if let Some(at) = field.names.iter().position(|name| *name == word) {
        return Ok(at as u32 + field.least);
    }
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (field.least..=field.most).contains(number));
    number.ok_or_else(|| wrong(part, field))
}

fn wrong(part: &str, field: &Field) -> InvalidCron {
    let shown: String = part.chars().take(20).collect();
    let names = match field.names {
        [first, .., last] => format!(", or names from {first} to {last}"),
        _ => String::new(),
    };
    InvalidCron(format!(
        "`{}` is no {} of cron: it takes {} to {}{names}, `*`, ranges, lists and steps",
        shown.escape_debug(),
        field.what,
        field.least,
        field.most
    ))
}
