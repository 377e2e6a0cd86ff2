use holdfast_core::time::Timestamp;

use crate::ports::LinkError;

/// The kinds of failure that are retried at different paces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Nothing answers.
    Unreachable,
    /// Another host key.
    HostKey,
    /// The login is refused.
    Login,
    /// The program cannot be put there.
    Delivery,
}

impl FailureKind {
    /// Milliseconds before the second attempt, doubled with each further failure, and the most of them.
    fn pace(self) -> (u64, u64) {
        match self {
            // A host that boots should be found soon.
            Self::Unreachable => (500, 30_000),
            // Somebody has to act first.
            Self::HostKey => (5_000, 300_000),
            // OpenSSH's PerSourcePenalties: 5 s for each failed login, up to ten minutes of lock-out.
            Self::Login => (5_000, 600_000),
            Self::Delivery => (1_000, 60_000),
        }
    }
}

/// The memory of failed attempts to reach one host, so that no failure becomes a storm of attempts.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    last: Option<(FailureKind, String, Timestamp)>,
}

impl Backoff {
    /// Returns the error of the last attempt while it is too early for another one.
    pub fn refusal(&self, host: &str, now: Timestamp) -> Option<LinkError> {
        let (kind, reason, until) = self.last.as_ref()?;
        let left = until.since_ms(now);
        if left == 0 {
            return None;
        }
        let host = host.to_owned();
        let reason = format!("{reason} (not tried again for {} s)", left.div_ceil(1000));
        Some(match kind {
            FailureKind::Unreachable => LinkError::Unreachable { host, reason },
            FailureKind::HostKey => LinkError::HostKey { host, detail: reason },
            FailureKind::Login => LinkError::Login { host, reason },
            FailureKind::Delivery => LinkError::Delivery { host, reason },
        })
    }

    /// Takes in a failed attempt. Only errors of connecting count.
    pub fn failed(&mut self, error: &LinkError, now: Timestamp) {
        let (kind, reason) = match error {
            LinkError::Unreachable { reason, .. } | LinkError::Lost { reason, .. } => {
                (FailureKind::Unreachable, reason.clone())
            }
            LinkError::HostKey { detail, .. } => (FailureKind::HostKey, detail.clone()),
            LinkError::Login { reason, .. } => (FailureKind::Login, reason.clone()),
            LinkError::Delivery { reason, .. } => (FailureKind::Delivery, reason.clone()),
            LinkError::Fault { .. } => return,
        };
        let (first, most) = kind.pace();
        let wait = first.saturating_mul(1 << self.failures.min(20)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.last = Some((kind, reason, now.plus_ms(wait)));
    }

    /// Forgets everything, after a success or because a person asks.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_logins_stay_below_the_penalties_of_sshd() {
        let error = LinkError::Login { host: "a".to_owned(), reason: "Permission denied".to_owned() };
        let (mut backoff, mut now, mut attempts) = (Backoff::default(), Timestamp(0), Vec::new());
        while now.0 < 3_600_000 {
            if backoff.refusal("a", now).is_none() {
                attempts.push(now.0 / 1000);
                backoff.failed(&error, now);
            }
            now = now.plus_ms(1000);
        }
        assert_eq!(attempts, [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835, 2435, 3035]);
        assert!(matches!(backoff.refusal("a", Timestamp(3_036_000)), Some(LinkError::Login { .. })));
        backoff.reset();
        assert!(backoff.refusal("a", Timestamp(3_036_000)).is_none());
    }
}
