//! Which sync runs next: coalesced to the newest commit, one at a time in each environment, with back-off after failures.
//!
//! # Flow
//! [`Queue::offer`] takes what sources want, [`Queue::next`] says what to start or until when to wait, [`Queue::ended`] takes how it
//! went. Time and the seed of the jitter come in as values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{CommitId, DigestWriter, EnvironmentName};
use crate::time::Timestamp;

/// The first wait after a failure.
const BACKOFF_FIRST_MS: u64 = 5_000;
/// The longest wait.
const BACKOFF_MOST_MS: u64 = 600_000;

/// Why a sync is wanted. Later in this order wins when two are coalesced: the word a person gave counts most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncCause {
    /// Time has come to look again.
    Timer,
    /// A host said that something changed.
    Drift,
    /// The daemon started, or a former sync was cut down.
    Resume,
    /// A new commit.
    Commit,
    /// People agreed to a plan.
    Approval,
    /// A person.
    Operator,
}

/// A sync that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSync {
    /// Where.
    pub environment: EnvironmentName,
    /// To which commit.
    pub commit: CommitId,
    /// Why.
    pub cause: SyncCause,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextSync {
    /// Start this one. It counts as running until [`Queue::ended`].
    Start(WantedSync),
    /// Nothing before this moment, unless something is offered or ends.
    Wait(Timestamp),
    /// Nothing at all.
    Idle,
}

/// How a sync went, as far as the queue cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncVerdict {
    /// Nothing is left to do, or nothing that trying again could change: a blocked plan, a quarantined release.
    Settled,
    /// Trying again may help: a host could not be reached, an operator is not needed.
    TryAgain,
}

#[derive(Debug, Clone)]
struct Waiting {
    commit: CommitId,
    cause: SyncCause,
    since: Timestamp,
}

#[derive(Debug, Clone, Default)]
struct Lane {
    waiting: Option<Waiting>,
    running: Option<WantedSync>,
    failures: u32,
    not_before: Timestamp,
    /// What waits is held until then, whatever else.
    held: Option<Timestamp>,
}

/// The syncs that are wanted and that run.
#[derive(Debug, Clone)]
pub struct Queue {
    seed: u64,
    lanes: BTreeMap<EnvironmentName, Lane>,
}

impl Queue {
    /// Returns an empty queue; `seed` makes managers that start together wait for different times.
    pub fn new(seed: u64) -> Self {
        Self { seed, lanes: BTreeMap::new() }
    }

    /// Takes a wish. One that waits for the same environment is replaced: only the newest commit counts.
    ///
    /// A new commit, or a person, does not wait for the back-off of what failed before.
    pub fn offer(&mut self, wanted: WantedSync, now: Timestamp) {
        let lane = self.lanes.entry(wanted.environment).or_default();
        let waiting = lane.waiting.take();
        if matches!(wanted.cause, SyncCause::Commit | SyncCause::Approval | SyncCause::Operator) {
            lane.failures = 0;
            lane.not_before = now;
        }
        lane.waiting = Some(Waiting {
            commit: wanted.commit,
            cause: waiting.as_ref().map_or(wanted.cause, |old| old.cause.max(wanted.cause)),
            since: waiting.map_or(now, |old| old.since),
        });
    }

    /// Returns what to do now. Who waited longest goes first.
    pub fn next(&mut self, now: Timestamp) -> NextSync {
        let free = |lane: &Lane| lane.running.is_none() && lane.waiting.is_some();
        let begins = |lane: &Lane| lane.held.map_or(lane.not_before, |until| until.max(lane.not_before));
        let due = self
            .lanes
            .iter()
            .filter(|(_, lane)| free(lane) && begins(lane) <= now)
            .filter_map(|(environment, lane)| Some((lane.waiting.as_ref()?.since, environment.clone())))
            .min();
        let Some((_, environment)) = due else {
            let later = self.lanes.values().filter(|lane| free(lane)).map(begins).min();
            return later.map_or(NextSync::Idle, NextSync::Wait);
        };
        let lane = self.lanes.entry(environment.clone()).or_default();
        let Some(waiting) = lane.waiting.take() else { return NextSync::Idle };
        let wanted = WantedSync { environment, commit: waiting.commit, cause: waiting.cause };
        lane.running = Some(wanted.clone());
        NextSync::Start(wanted)
    }

    /// Takes how the running sync of an environment went. One to be tried again waits, unless something newer does already.
    pub fn ended(&mut self, environment: &EnvironmentName, verdict: SyncVerdict, now: Timestamp) {
        let seed = self.seed;
        let Some(lane) = self.lanes.get_mut(environment) else { return };
        let Some(ran) = lane.running.take() else { return };
        match verdict {
            SyncVerdict::Settled => {
                lane.failures = 0;
                lane.not_before = now;
            }
            SyncVerdict::TryAgain => {
                lane.failures = lane.failures.saturating_add(1);
                if lane.waiting.is_none() {
                    lane.not_before = now.plus_ms(backoff_ms(seed, environment, lane.failures));
                    lane.waiting = Some(Waiting { commit: ran.commit, cause: SyncCause::Resume, since: now });
                }
            }
        }
    }

    /// Ends the back-off of what waits for an environment: what was in its way may be gone.
    pub fn hurry(&mut self, environment: &EnvironmentName, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(environment).filter(|lane| lane.waiting.is_some()) {
            lane.failures = 0;
            lane.not_before = now;
        }
    }

    /// Holds what waits for an environment until a moment, or no longer. Returns whether it was not held before.
    pub fn hold(&mut self, environment: &EnvironmentName, until: Option<Timestamp>) -> bool {
        let Some(lane) = self.lanes.get_mut(environment) else { return false };
        let before = std::mem::replace(&mut lane.held, until);
        before.is_none() && until.is_some()
    }

    /// Returns why a sync of an environment waits.
    pub fn waiting(&self, environment: &EnvironmentName) -> Option<SyncCause> {
        Some(self.lanes.get(environment)?.waiting.as_ref()?.cause)
    }

    /// Returns what runs in an environment.
    pub fn running(&self, environment: &EnvironmentName) -> Option<&WantedSync> {
        self.lanes.get(environment)?.running.as_ref()
    }

    /// Returns whether something waits for an environment.
    pub fn is_waiting(&self, environment: &EnvironmentName) -> bool {
        self.lanes.get(environment).is_some_and(|lane| lane.waiting.is_some())
    }
}

/// Returns the wait after the `failures`-th failure in a row: doubled each time, between half and all of that by chance.
pub fn backoff_ms(seed: u64, environment: &EnvironmentName, failures: u32) -> u64 {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(BACKOFF_MOST_MS);
    let chance = DigestWriter::new()
        .field(seed.to_le_bytes())
        .field(environment.as_str())
        .field(failures.to_le_bytes())
        .finish();
    let chance = u64::from_le_bytes(chance.0[..8].try_into().expect("BUG: a digest has eight bytes"));
    doubled / 2 + chance % (doubled / 2 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(environment: &str, commit: char, cause: SyncCause) -> WantedSync {
        let commit = commit.to_string().repeat(40).parse().unwrap();
        WantedSync { environment: environment.parse().unwrap(), commit, cause }
    }

    fn started(queue: &mut Queue, now: u64) -> Option<(String, char)> {
        match queue.next(Timestamp(now)) {
            NextSync::Start(sync) => Some((sync.environment.to_string(), sync.commit.as_str().chars().next().unwrap())),
            NextSync::Wait(_) | NextSync::Idle => None,
        }
    }

    #[test]
    fn only_the_newest_commit_of_each_environment_runs_one_at_a_time() {
        let mut queue = Queue::new(1);
        for commit in ['a', 'b', 'c'] {
            queue.offer(wanted("prod", commit, SyncCause::Commit), Timestamp(0));
        }
        queue.offer(wanted("stage", 'd', SyncCause::Timer), Timestamp(1));
        assert_eq!(started(&mut queue, 2), Some(("prod".to_owned(), 'c')));
        queue.offer(wanted("prod", 'e', SyncCause::Commit), Timestamp(3));
        assert_eq!(started(&mut queue, 4), Some(("stage".to_owned(), 'd')), "environments never block each other");
        assert_eq!(queue.next(Timestamp(5)), NextSync::Idle, "prod runs already");
        queue.ended(&"prod".parse().unwrap(), SyncVerdict::Settled, Timestamp(6));
        assert_eq!(started(&mut queue, 7), Some(("prod".to_owned(), 'e')));
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_a_person_does_not_wait() {
        let environment: EnvironmentName = "prod".parse().unwrap();
        let mut queue = Queue::new(7);
        queue.offer(wanted("prod", 'a', SyncCause::Commit), Timestamp(0));
        let mut now = 0;
        for failures in 1..5 {
            assert_eq!(started(&mut queue, now), Some(("prod".to_owned(), 'a')));
            queue.ended(&environment, SyncVerdict::TryAgain, Timestamp(now));
            let wait = backoff_ms(7, &environment, failures);
            assert_eq!(queue.next(Timestamp(now)), NextSync::Wait(Timestamp(now + wait)));
            now += wait;
        }
        assert_eq!(started(&mut queue, now), Some(("prod".to_owned(), 'a')));
        queue.ended(&environment, SyncVerdict::TryAgain, Timestamp(now));
        queue.offer(wanted("prod", 'a', SyncCause::Operator), Timestamp(now));
        assert_eq!(started(&mut queue, now), Some(("prod".to_owned(), 'a')));
    }

    #[test]
    fn drift_reported_again_and_again_does_not_defeat_the_backoff() {
        let mut queue = Queue::new(7);
        queue.offer(wanted("prod", 'a', SyncCause::Commit), Timestamp(0));
        started(&mut queue, 0);
        queue.ended(&"prod".parse().unwrap(), SyncVerdict::TryAgain, Timestamp(0));
        queue.offer(wanted("prod", 'a', SyncCause::Drift), Timestamp(1));
        assert!(matches!(queue.next(Timestamp(1)), NextSync::Wait(_)));
    }

    proptest! {
        #[test]
        fn the_wait_grows_to_its_limit_and_never_over(seed: u64, failures in 1_u32..100) {
            let environment = "prod".parse().unwrap();
            let wait = backoff_ms(seed, &environment, failures);
            let full = BACKOFF_FIRST_MS.saturating_mul(1 << (failures - 1).min(20)).min(BACKOFF_MOST_MS);
            prop_assert!(wait >= full / 2 && wait <= full);
        }
    }
}
