use holdfast_core::schedule::backoff_ms;
use holdfast_core::time::Timestamp;

use super::control::Trouble;

/// Whether the repository can be fetched, since when not, and when it is tried again.
#[derive(Debug, Clone, Default)]
pub(super) struct Fetching {
    trouble: Option<Trouble>,
    failures: u32,
}

impl Fetching {
    /// Takes in how a fetch went. Returns a line for the log when that is news: when it begins to fail, when the reason changes, and
    /// when it is over.
    pub(super) fn went(&mut self, fetched: Result<(), String>, now: Timestamp) -> Option<String> {
        let Err(reason) = fetched else {
            self.failures = 0;
            let seconds = now.since_ms(self.trouble.take()?.since) / 1000;
            return Some(format!("the repository can be fetched again, after {seconds} s"));
        };
        self.failures = self.failures.saturating_add(1);
        if self.trouble.as_ref().is_some_and(|trouble| trouble.reason == reason) {
            return None;
        }
        let note = format!("{reason}; what was fetched before stays in force");
        let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
        self.trouble = Some(Trouble { reason, since });
        Some(note)
    }

    /// Returns why it cannot be fetched; `None` when it can.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Returns when it is tried again after a failure, which is never later than `regular`; a short fault is not waited out in full.
    pub(super) fn next(&self, seed: u64, regular: Timestamp, now: Timestamp) -> Timestamp {
        if self.failures == 0 {
            return regular;
        }
        let name = "fetch".parse().expect("BUG: a name by the rules");
        regular.min(now.plus_ms(backoff_ms(seed, &name, self.failures)))
    }
}
