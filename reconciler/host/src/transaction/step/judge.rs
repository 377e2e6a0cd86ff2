//! Decides from looks at a component whether it is healthy. Pure: time comes in as a value.

use std::time::Duration;

use holdfast_protocol::HealthCheck;

/// One look at a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The probe's answer; `Err` says what was wrong.
    pub(super) probe: Result<(), String>,
    /// Its units and containers.
    pub(super) state: State,
}

/// Units and containers, taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// All run; the sum of their restarts.
    Running(u64),
    /// Something does not run or is unhealthy by its own word.
    Down(String),
    /// Something is still starting by its own word.
    Starting(String),
    /// They could not be looked at, such as while the Docker engine restarts. Unknown is not unhealthy.
    Unknown(String),
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
    restarts: Option<u64>,
    passed: u32,
    failed: u32,
    healthy_since: Option<Duration>,
    /// Probes asked and failed, for the report.
    pub(super) asked: u32,
    pub(super) failures: u32,
}

impl Judge {
    /// Returns a judge of a component that was just started.
    pub(super) fn starting(check: &HealthCheck) -> Self {
        Self {
            start_period: Duration::from_millis(check.start_period_ms),
            min_healthy: Duration::from_millis(check.min_healthy_ms),
            passes: check.passes.max(1),
            retries: check.retries.max(1),
            restarts: None,
            passed: 0,
            failed: 0,
            healthy_since: None,
            asked: 0,
            failures: 0,
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
        }
        let starting = now < self.start_period;
        if let State::Running(restarts) = look.state {
            let before = *self.restarts.get_or_insert(restarts);
            if restarts > before {
                self.restarts = Some(restarts);
                let why = format!("it restarted {} times while it was looked at", restarts - before);
                // Once may be a dependency that was not up yet; after the start period it is a crash loop.
                return self.fail(why, starting, true);
            }
        }
        match (&look.probe, &look.state) {
            (_, State::Unknown(why)) | (Ok(()), State::Starting(why)) => {
                self.passed = 0;
                self.healthy_since = None;
                Verdict::Waiting(why.clone())
            }
            (Err(why), State::Running(_) | State::Starting(_)) | (_, State::Down(why)) => {
                self.fail(why.clone(), starting, false)
            }
            (Ok(()), State::Running(_)) => {
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
        Look { probe: Ok(()), state: State::Running(0) }
    }

    fn bad() -> Look {
        Look { probe: Err("refused".to_owned()), state: State::Running(0) }
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
    fn failures_count_after_the_start_period_only() {
        let mut judge = Judge::starting(&check(1, 2, 3, 0));
        for second in 0..3 {
            assert!(matches!(judge.take(seconds(second), &bad()), Verdict::Waiting(_)));
        }
        assert!(matches!(judge.take(seconds(3), &bad()), Verdict::Waiting(_)));
        assert!(matches!(judge.take(seconds(4), &bad()), Verdict::Unhealthy(_)));
    }

    #[test]
    fn a_crash_loop_is_seen_although_every_probe_passes() {
        let mut judge = Judge::starting(&check(3, 3, 5, 10));
        let mut verdict = Verdict::Waiting(String::new());
        for second in 0..20 {
            // It lives two seconds at a time and answers well in each.
            verdict = judge.take(seconds(second), &Look { probe: Ok(()), state: State::Running(second / 2) });
            if !matches!(verdict, Verdict::Waiting(_)) {
                break;
            }
        }
        assert!(matches!(verdict, Verdict::Unhealthy(why) if why.contains("restarted")));
    }

    #[test]
    fn unknown_is_neither() {
        let mut judge = Judge::watching(&check(1, 1, 0, 0));
        for second in 0..100 {
            let look = Look { probe: Err("x".to_owned()), state: State::Unknown("the engine restarts".to_owned()) };
            assert!(matches!(judge.take(seconds(second), &look), Verdict::Waiting(_)));
        }
    }

    proptest! {
        /// Healthy is only said when the last looks were all good for the minimum time.
        #[test]
        fn healthy_means_good_for_long_enough(
            looks in prop::collection::vec((any::<bool>(), 0..3_u64), 1..60), passes in 1..4_u32, healthy in 0..6_u64,
        ) {
            let mut judge = Judge::starting(&check(passes, 100, 1000, healthy));
            let mut restarts = 0;
            let mut streak = 0_u64;
            for (second, (ok, more)) in looks.iter().enumerate() {
                let risen = *more == 2 && second > 0;
                restarts += u64::from(risen);
                let look = Look { probe: ok.then_some(()).ok_or("no".to_owned()), state: State::Running(restarts) };
                streak = if *ok && !risen { streak + 1 } else { 0 };
                let verdict = judge.take(seconds(second as u64), &look);
                prop_assert_eq!(verdict == Verdict::Healthy, streak >= u64::from(passes) && streak > healthy);
            }
        }
    }
}
