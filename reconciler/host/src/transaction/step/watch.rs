//! The watch window after a switch.

use std::time::{Duration, Instant};

use holdfast_protocol::{HealthCheck, Watch as Window};

use super::judge::{Judge, Verdict};
use super::{Act, StepError, Work, fail, health};
use crate::docker::Engine;

/// How often people are told.
const TELL: Duration = Duration::from_secs(5);

/// The least probes on which a share of failures is judged: where one failed, a shorter window goes on until there are so many.
const ENOUGH: u32 = 10;

/// Watches for a time. Unhealthy means failure.
pub(super) struct Watch<'a>(pub(super) &'a Window);

impl Act for Watch<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let started = Instant::now();
        let window = Duration::from_millis(self.0.window_ms);
        // The window is the step's time; its deadline must not cut it short.
        let work = &Work { deadline: work.deadline.max(started + window + Duration::from_secs(60)), ..*work };
        let mut engine = Engine::new(work.host.system.clone());
        let mut judges: Vec<(Judge, Duration)> =
            self.0.checks.iter().map(|check| (judge(check), Duration::ZERO)).collect();
        let mut told = started;
        while started.elapsed() < window || is_unclear(&judges) {
            for (check, (judge, due)) in self.0.checks.iter().zip(&mut judges) {
                let now = started.elapsed();
                if now < *due {
                    continue;
                }
                *due = now + health::interval(check);
                let look = health::look(work, check, &mut engine);
                if let Verdict::Unhealthy(why) = judge.take(started.elapsed(), &look) {
                    return fail(format!("unhealthy after the switch: {why}{}", health::logs(check, &mut engine)));
                }
            }
            let (asked, failed) = counts(&judges);
            if self.is_over_the_limit(asked, failed) {
                return fail(self.ratio_text(asked, failed));
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let left = window.saturating_sub(started.elapsed()).as_secs();
                (work.tell)(&format!("watching: {asked} probes, {failed} failed, {left} s left"));
            }
            let next = judges.iter().map(|(_, due)| *due).min().unwrap_or(window);
            let next = if is_unclear(&judges) { next } else { next.min(window) };
            work.pause(next.saturating_sub(started.elapsed()), "the watch window")?;
        }
        let (asked, failed) = counts(&judges);
        Ok(format!("{asked} probes, {failed} failed"))
    }
}

impl Watch<'_> {
    /// On enough probes, when what has failed is too much. One failure alone is no share, unless none at all is allowed.
    fn is_over_the_limit(&self, asked: u32, failed: u32) -> bool {
        asked >= ENOUGH
            && u64::from(failed) * 1000 > u64::from(asked) * u64::from(self.0.max_error_permille)
            && (failed > 1 || self.0.max_error_permille == 0)
    }

    fn ratio_text(&self, asked: u32, failed: u32) -> String {
        format!(
            "{failed} of {asked} probes failed in the watch window, at most {} of 1000 may",
            self.0.max_error_permille
        )
    }
}

/// How long after a boot a component may still be starting.
const BOOTING: Duration = Duration::from_secs(180);

/// What was healthy before the switch has no start period any more, unless the machine went down in the window: then everything
/// starts again, which is no fault of the release.
fn judge(check: &HealthCheck) -> Judge {
    if crate::serve::since_boot() < BOOTING { Judge::starting(check) } else { Judge::watching(check) }
}

/// Returns whether something failed on too few probes to say what share that is.
fn is_unclear(judges: &[(Judge, Duration)]) -> bool {
    let (asked, failed) = counts(judges);
    failed > 0 && asked < ENOUGH
}

/// Probes asked and failed, without the failures of a machine that comes up again after a loss of power.
fn counts(judges: &[(Judge, Duration)]) -> (u32, u32) {
    judges.iter().fold((0, 0), |(asked, failed), (judge, _)| {
        (asked + judge.asked - judge.excused, failed + judge.failures - judge.excused)
    })
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::Probe;

    use super::super::testing::Bench;
    use super::*;

    fn window(port: u16, retries: u32, window_ms: u64, max_error_permille: u32) -> Window {
        let check = HealthCheck {
            probe: Probe::Tcp { port },
            interval_ms: 20,
            timeout_ms: 1000,
            retries,
            start_period_ms: 60_000,
            passes: 1,
            min_healthy_ms: 0,
            units: Vec::new(),
            projects: Vec::new(),
        };
        Window { window_ms, checks: vec![check], max_error_permille }
    }

    #[test]
    fn a_healthy_window_passes_and_an_unhealthy_one_fails_at_once() {
        let bench = Bench::new();
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let note = Watch(&window(port, 2, 100, 0)).apply(&bench.work(), &[]).unwrap();
        assert!(note.ends_with(" probes, 0 failed"), "{note}");
        drop(listening);
        let started = Instant::now();
        let error = Watch(&window(port, 2, 3_600_000, 1000)).apply(&bench.work(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("unhealthy after the switch"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
        // Never so many in a row, but too many in all.
        let error = Watch(&window(port, 1_000_000, 3_600_000, 500)).apply(&bench.work(), &[]).unwrap_err();
        assert!(error.to_string().contains("at most 500 of 1000"), "{error}");
    }

    #[test]
    fn one_failed_probe_of_a_few_is_no_share_and_two_are() {
        let watch = |permille| window(1, 3, 100, permille);
        assert!(!Watch(&watch(10)).is_over_the_limit(2, 1), "two probes say nothing");
        assert!(!Watch(&watch(10)).is_over_the_limit(10, 1));
        assert!(Watch(&watch(10)).is_over_the_limit(10, 2));
        assert!(!Watch(&watch(10)).is_over_the_limit(200, 2));
        assert!(Watch(&watch(0)).is_over_the_limit(10, 1), "none at all was allowed");
        assert!(!Watch(&watch(0)).is_over_the_limit(10, 0));
    }

    /// Nothing listens, and the window is over after the first probe: it goes on until the share can be judged.
    #[test]
    fn a_window_too_short_for_a_verdict_goes_on_where_something_failed() {
        let bench = Bench::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = Watch(&window(port, 1_000_000, 1, 500)).apply(&bench.work(), &[]).unwrap_err();
        assert!(error.to_string().starts_with("10 of 10 probes failed"), "{error}");
    }

    #[test]
    fn what_fails_while_a_machine_comes_up_again_is_no_share() {
        let Window { checks, .. } = window(1, 3, 100, 0);
        let down = super::super::judge::Look {
            probe: Err("refused".to_owned()),
            state: super::super::judge::State::Running,
            restarts: std::collections::BTreeMap::new(),
        };
        let taken = |mut judge: Judge| {
            judge.take(Duration::from_secs(1), &down);
            counts(&[(judge, Duration::ZERO)])
        };
        assert_eq!(taken(Judge::starting(&checks[0])), (0, 0));
        assert_eq!(taken(Judge::watching(&checks[0])), (1, 1));
    }

    #[test]
    fn a_decision_ends_it() {
        let bench = Bench::new();
        let work = Work { stop: &|| true, ..bench.work() };
        let window = Window { window_ms: 3_600_000, checks: Vec::new(), max_error_permille: 0 };
        assert_eq!(Watch(&window).apply(&work, &[]), Err(StepError::Stopped));
    }
}
