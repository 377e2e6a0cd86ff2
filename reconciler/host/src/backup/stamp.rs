//! Moments as they stand in file names.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time by the host's clock, in milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// Returns `20261121T020000Z`: names in the order of their time.
///
/// # Source
/// ISO 8601 basic format; days to date by eras of 400 years that begin in March.
pub(super) fn stamp(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_moments() {
        assert_eq!(stamp(0), "19700101T000000Z");
        // `date -u -d @1795226400`
        assert_eq!(stamp(1_795_226_400_000), "20261121T020000Z");
        assert_eq!(stamp(951_782_400_000), "20000229T000000Z");
    }
}
