//! Decides from looks at a component whether it is healthy. Pure: time comes in as a value.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_protocol::HealthCheck;

/// One look at a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The probe's answer; `Err` says what was wrong.
    pub(super) probe: Result<(), String>,
    /// How long the answer took.
    pub(super) took: Duration,
    /// Its units and containers.
    pub(super) state: State,
    /// How often each of them was started again by itself; nothing to go by where the state is unknown.
    pub(super) restarts: BTreeMap<String, u64>,
}

/// Restarts of one container or unit, while it is being started, that are taken for a crash loop. Some may be a dependency that is
/// not up yet: Docker waits 3 s in all before the fifth. systemd too gives up at the fifth, where they come fast.
///
/// # Source
/// moby, `restartmanager`: 100 ms before the first restart, doubled for each. systemd-system.conf(5),
/// `DefaultStartLimitBurst=5`.
const CRASH_LOOP: u64 = 5;

/// Units and containers, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// All run.
    Running,
    /// Something ended, and nothing will start it again.
    Ended(String),
    /// Something does not run or is unhealthy by its own word.
    Down(String),
    /// Something is still starting by its own word.
    Starting(String),
    /// They could not be looked at, such as while the Docker engine restarts. Unknown is not unhealthy.
    Unknown(String),
}

impl State {
    /// Returns the worse of two; the first where they are as bad.
    pub(super) fn or(self, other: Self) -> Self {
        let rank = |state: &Self| match state {
            Self::Running => 0,
            Self::Starting(_) => 1,
            Self::Down(_) => 2,
            Self::Ended(_) => 3,
            Self::Unknown(_) => 4,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// What a look led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not decided; why it is not healthy yet.
    Waiting(String),
    /// Proven healthy.
    Healthy,
    /// Proven unhealthy.
    Unhealthy(String),
}

/// Judges one component over time.
#[derive(Debug)]
pub(super) struct Judge {
    start_period: Duration,
    min_healthy: Duration,
    passes: u32,
    retries: u32,
    /// Of each: as last counted, and how many since it was first seen.
    restarts: BTreeMap<String, (u64, u64)>,
    passed: u32,
    failed: u32,
    healthy_since: Option<Duration>,
    /// Probes asked and failed, for the report.
    pub(super) asked: u32,
    pub(super) failures: u32,
    /// Of the failures, those in the start period: nobody's fault.
    pub(super) excused: u32,
}

impl Judge {
    /// Returns a judge of a component that was just started.
    pub(super) fn starting(check: &HealthCheck) -> Self {
        Self {
            start_period: Duration::from_millis(check.start_period_ms),
            min_healthy: Duration::from_millis(check.min_healthy_ms),
            passes: check.passes.max(1),
            retries: check.retries.max(1),
            restarts: BTreeMap::new(),
            passed: 0,
            failed: 0,
            healthy_since: None,
            asked: 0,
            failures: 0,
            excused: 0,
        }
    }

    /// Returns a judge of a component that was healthy before: it has no start period any more.
    pub(super) fn watching(check: &HealthCheck) -> Self {
        Self { start_period: Duration::ZERO, ..Self::starting(check) }
    }

    /// Takes a look at `now` since the start.
    pub(super) fn take(&mut self, now: Duration, look: &Look) -> Verdict {
        self.asked += 1;
        if look.probe.is_err() {
            self.failures += 1;
            self.excused += u32::from(now < self.start_period);
        }
        let starting = now < self.start_period;
        if let State::Ended(why) = &look.state {
            return self.fail(why.clone(), false, true);
        }
        if !matches!(look.state, State::Unknown(_)) {
            let most = look.restarts.iter().filter_map(|(name, count)| Some((self.count(name, *count)?, name))).max();
            if let Some((restarted, name)) = most {
                let how = if let State::Down(how) = &look.state { format!("; {how}") } else { String::new() };
                let why = format!("`{name}` restarted {restarted} times while it was looked at{how}");
                // After the start period every restart is one too many.
                return self.fail(why, starting && restarted < CRASH_LOOP, true);
            }
        }
        match (&look.probe, &look.state) {
            (_, State::Unknown(why)) | (Ok(()), State::Starting(why)) => {
                self.passed = 0;
                self.healthy_since = None;
                Verdict::Waiting(why.clone())
            }
            (Err(why), State::Running | State::Starting(_)) | (_, State::Down(why) | State::Ended(why)) => {
                self.fail(why.clone(), starting, false)
            }
            (Ok(()), State::Running) => {
                self.failed = 0;
                self.passed += 1;
                let since = *self.healthy_since.get_or_insert(now);
                if self.passed >= self.passes && now.saturating_sub(since) >= self.min_healthy {
                    return Verdict::Healthy;
                }
                Verdict::Waiting(format!("{} of {} passes", self.passed.min(self.passes), self.passes))
            }
        }
    }

    /// Returns how often one of them restarted since it was first seen, when it did so again.
    fn count(&mut self, name: &str, count: u64) -> Option<u64> {
        let (last, restarted) = self.restarts.entry(name.to_owned()).or_insert((count, 0));
        // Fewer than before are those of a container that was made anew.
        let more = count.saturating_sub(std::mem::replace(last, count));
        *restarted += more;
        (more > 0).then_some(*restarted)
    }

    fn fail(&mut self, why: String, starting: bool, at_once: bool) -> Verdict {
        self.passed = 0;
        self.healthy_since = None;
        if starting {
            return Verdict::Waiting(why);
        }
        self.failed += 1;
        if at_once || self.failed >= self.retries { Verdict::Unhealthy(why) } else { Verdict::Waiting(why) }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::Probe;
    use proptest::prelude::*;

    use super::*;

    fn check(passes: u32, retries: u32, start_s: u64, healthy_s: u64) -> HealthCheck {
        HealthCheck {
            probe: Probe::State,
            interval_ms: 1000,
            timeout_ms: 1000,
            retries,
            start_period_ms: start_s * 1000,
            passes,
            min_healthy_ms: healthy_s * 1000,
            units: Vec::new(),
            projects: Vec::new(),
        }
    }

    fn good() -> Look {
        Look { probe: Ok(()), took: Duration::ZERO, state: State::Running, restarts: BTreeMap::new() }
    }

    fn bad() -> Look {
        Look { probe: Err("refused".to_owned()), ..good() }
    }

    fn restarted(count: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("a".to_owned(), count)])
    }

    fn seconds(value: u64) -> Duration {
        Duration::from_secs(value)
    }

    #[test]
    fn passes_in_a_row_and_the_minimum_time() {
        let mut judge = Judge::starting(&check(2, 3, 0, 5));
        assert!(matches!(judge.take(seconds(0), &good()), Verdict::Waiting(_)));
        assert!(matches!(judge.take(seconds(1), &bad()), Verdict::Waiting(_)));
        for second in 2..7 {
            assert!(matches!(judge.take(seconds(second), &good()), Verdict::Waiting(_)), "at {second}");
        }
        assert_eq!(judge.take(seconds(7), &good()), Verdict::Healthy);
    }

    #[test]
    fn cap_25_failures_count_after_the_start_period_only() {
        let mut judge = Judge::starting(&check(1, 2, 3, 0));
        for second in 0..3 {
            assert!(matches!(judge.take(seconds(second), &bad()), Verdict::Waiting(_)));
        }
        assert!(matches!(judge.take(seconds(3), &bad()), Verdict::Waiting(_)));
        assert!(matches!(judge.take(seconds(4), &bad()), Verdict::Unhealthy(_)));
    }

    #[test]
    fn cap_26_a_crash_loop_is_seen_although_every_probe_passes() {
        let mut judge = Judge::starting(&check(3, 3, 5, 10));
        let mut verdict = Verdict::Waiting(String::new());
        for second in 0..20 {
            // It lives two seconds at a time and answers well in each.
            verdict = judge.take(seconds(second), &Look { restarts: restarted(second / 2), ..good() });
            if !matches!(verdict, Verdict::Waiting(_)) {
                break;
            }
        }
        assert!(matches!(verdict, Verdict::Unhealthy(why) if why.contains("restarted")));
    }

    #[test]
    fn cap_26_a_crash_loop_in_the_start_period_ends_it_at_the_fifth_restart() {
        let down = |code: u8| State::Down(format!("`a` exited with code {code} and is restarting"));
        let mut judge = Judge::starting(&check(1, 3, 60, 1));
        // What it restarted long ago, before it was looked at, says nothing.
        let look = |count| Look { state: down(7), restarts: restarted(count), ..bad() };
        for (second, count) in [7, 8, 8, 9, 10, 11, 11].into_iter().enumerate() {
            let verdict = judge.take(seconds(second as u64), &look(count));
            assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
        }
        let Verdict::Unhealthy(why) = judge.take(seconds(7), &look(12)) else {
            panic!("five restarts are a crash loop")
        };
        assert_eq!(why, "`a` restarted 5 times while it was looked at; `a` exited with code 7 and is restarting");
    }

    #[test]
    fn many_that_each_wait_for_the_same_dependency_are_no_crash_loop() {
        let mut judge = Judge::starting(&check(1, 3, 60, 1));
        let names = ["api", "beat", "web", "worker"];
        for second in 0..4 {
            let restarts = names.map(|name| (name.to_owned(), second)).into();
            let state = State::Down("`api` is restarting".to_owned());
            let verdict = judge.take(seconds(second), &Look { state, restarts, ..bad() });
            assert!(matches!(verdict, Verdict::Waiting(_)), "{verdict:?}");
        }
    }

    #[test]
    fn what_ended_for_good_is_not_waited_for() {
        let mut judge = Judge::starting(&check(1, 3, 60, 1));
        let ended = Look { state: State::Ended("`a` exited with code 7".to_owned()), ..bad() };
        assert_eq!(judge.take(seconds(0), &ended), Verdict::Unhealthy("`a` exited with code 7".to_owned()));
    }

    #[test]
    fn the_worst_counts() {
        let down = |text: &str| State::Down(text.to_owned());
        assert_eq!(State::Running.or(down("a")).or(down("b")).or(State::Running), down("a"));
        assert_eq!(down("a").or(State::Ended("b".to_owned())), State::Ended("b".to_owned()));
    }

    #[test]
    fn unknown_is_neither() {
        let mut judge = Judge::watching(&check(1, 1, 0, 0));
        for second in 0..100 {
            let state = State::Unknown("the engine restarts".to_owned());
            let look = Look { probe: Err("x".to_owned()), took: Duration::ZERO, state, restarts: restarted(second) };
            assert!(matches!(judge.take(seconds(second), &look), Verdict::Waiting(_)));
        }
    }

    proptest! {
        /// Healthy is only said when the last looks were all good for the minimum time.
        #[test]
        fn cap_25_healthy_means_good_for_long_enough(
            looks in prop::collection::vec((any::<bool>(), 0..3_u64), 1..60), passes in 1..4_u32, healthy in 0..6_u64,
        ) {
            let mut judge = Judge::starting(&check(passes, 100, 1000, healthy));
            let mut restarts = 0;
            let mut streak = 0_u64;
            for (second, (ok, more)) in looks.iter().enumerate() {
                let risen = *more == 2 && second > 0;
                restarts += u64::from(risen);
                let look = Look { probe: ok.then_some(()).ok_or("no".to_owned()), restarts: restarted(restarts), ..good() };
                streak = if *ok && !risen { streak + 1 } else { 0 };
                let verdict = judge.take(seconds(second as u64), &look);
                prop_assert_eq!(verdict == Verdict::Healthy, streak >= u64::from(passes) && streak > healthy);
            }
        }
    }
}
