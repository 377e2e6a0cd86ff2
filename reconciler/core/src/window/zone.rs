//! Time zones by name, and what their clocks show.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A time zone of the IANA database. The database is part of the program: all managers of one release know the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone(String);

/// There is no such time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no time zone{}", .name.escape_debug(), .meant.as_ref().map_or(": write a name of the IANA database such as `Europe/Berlin`, or `UTC`".to_owned(), |meant| format!(": did you mean `{meant}`?")))]
pub struct InvalidZone {
    name: String,
    meant: Option<String>,
}

impl std::str::FromStr for Zone {
    type Err = InvalidZone;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let database = TimeZoneDatabase::bundled();
        if let Ok(zone) = database.get(text) {
            return Ok(Self(zone.iana_name().unwrap_or(text).to_owned()));
        }
        // The last word is what people know: `Berlin`, `New York`.
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase().replace(' ', "_");
        let meant = database.available().find(|name| last(name.as_str()) == last(text)).map(|name| name.to_string());
        Err(InvalidZone { name: text.chars().take(40).collect(), meant })
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Zone {
    /// Returns a moment as its clock shows it, with its name: `Mon 2026-11-23 09:00 Europe/Berlin`.
    pub fn show(&self, at: Timestamp) -> String {
        format!("{} {}", self.clock().to_datetime(moment(at)).strftime("%a %Y-%m-%d %H:%M"), self.0)
    }

    /// Returns its clock; that of UTC for a name that is no longer known.
    pub(super) fn clock(&self) -> TimeZone {
        TimeZoneDatabase::bundled().get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

/// Returns a moment for calendars.
pub(super) fn moment(at: Timestamp) -> jiff::Timestamp {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
}

fn stamp(moment: jiff::Timestamp) -> Timestamp {
    Timestamp(u64::try_from(moment.as_millisecond()).unwrap_or_default())
}

/// Returns the first and the last moment at which a clock shows this time. Both are the same on most days; where the clock leaps over
/// it, both are the moment of the leap.
pub(super) fn moments(clock: &TimeZone, shown: DateTime) -> Option<(Timestamp, Timestamp)> {
    Some(match clock.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => {
            let at = stamp(offset.to_timestamp(shown).ok()?);
            (at, at)
        }
        AmbiguousOffset::Fold { before, after } => {
            (stamp(before.to_timestamp(shown).ok()?), stamp(after.to_timestamp(shown).ok()?))
        }
        AmbiguousOffset::Gap { after, .. } => {
            // By the offset to come, a time within the gap is before the leap.
            let early = after.to_timestamp(shown).ok()?;
            let leap = stamp(clock.following(early).next()?.timestamp());
            (leap, leap)
        }
    })
}
