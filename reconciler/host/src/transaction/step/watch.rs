//! The watch window after a switch.

use std::time::{Duration, Instant};

use holdfast_protocol::{HealthCheck, Watch as Window};

use super::judge::{Judge, Verdict};
use super::metrics::Metrics;
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
        let mut pace: Vec<Pace> =
            (0..judges.len()).map(|index| Pace::new(self.0.max_p95_ms.get(index).copied().flatten())).collect();
        let mut metrics: Vec<Metrics<'_>> = self.0.metrics.iter().map(Metrics::new).collect();
        let between = (window / LOOKS).clamp(LEAST_BETWEEN, MOST_BETWEEN);
        let mut told = started;
        let mut bad = String::new();
        while started.elapsed() < window
            || is_unclear(&judges)
            || (started.elapsed() < window + PATIENCE && (is_pace_unclear(&pace) || is_count_unclear(&metrics)))
        {
            for ((check, (judge, due)), pace) in self.0.checks.iter().zip(&mut judges).zip(&mut pace) {
                let now = started.elapsed();
                if now < *due {
                    continue;
                }
                *due = now + health::interval(check);
                let look = health::look(work, check, &mut engine);
                if let Verdict::Unhealthy(why) = judge.take(started.elapsed(), &look) {
                    return fail(format!("unhealthy after the switch: {why}{}", health::logs(check, &mut engine)));
                }
                if let Err(why) = &look.probe {
                    why.clone_into(&mut bad);
                }
                // After a loss of power everything is slow for a while, which is no fault of the release.
                if look.probe.is_ok() && crate::serve::since_boot() >= BOOTING {
                    pace.take(look.took);
                }
            }
            if let Some(why) = pace.iter().find_map(Pace::too_slow) {
                return fail(why);
            }
            for counted in &mut metrics {
                if started.elapsed() >= counted.due {
                    counted.due = started.elapsed() + between;
                    look_at_counts(counted)?;
                }
            }
            let (asked, failed) = counts(&judges);
            if self.is_over_the_limit(asked, failed) {
                return fail(format!("{}; the last one: {bad}", self.ratio_text(asked, failed)));
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let left = window.saturating_sub(started.elapsed()).as_secs();
                (work.tell)(&format!("watching: {asked} probes, {failed} failed, {left} s left"));
            }
            let looks = judges.iter().map(|(_, due)| *due).chain(metrics.iter().map(|counted| counted.due));
            let next = looks.min().unwrap_or(window);
            let unclear = is_unclear(&judges) || is_pace_unclear(&pace) || is_count_unclear(&metrics);
            let next = if unclear { next } else { next.min(window) };
            work.pause(next.saturating_sub(started.elapsed()), "the watch window")?;
        }
        for counted in &mut metrics {
            look_at_counts(counted)?;
            if let Some(why) = counted.missing().filter(|_| crate::serve::since_boot() >= BOOTING) {
                return fail(why);
            }
        }
        let (asked, failed) = counts(&judges);
        let own = metrics.iter().map(Metrics::told);
        Ok(std::iter::once(format!("{asked} probes, {failed} failed")).chain(own).collect::<Vec<_>>().join("; "))
    }
}

/// How often a window looks at what the release counts, and the least and the most time between two looks.
const LOOKS: u32 = 10;
const LEAST_BETWEEN: Duration = Duration::from_millis(200);
const MOST_BETWEEN: Duration = Duration::from_secs(5);

/// Looks at what the release counts. After a loss of power it starts again, and what it does not say is no fault of its own.
fn look_at_counts(counted: &mut Metrics<'_>) -> Result<(), StepError> {
    match counted.look() {
        Err(why) if crate::serve::since_boot() >= BOOTING => return fail(why),
        Ok(()) | Err(_) => {}
    }
    match counted.verdict() {
        Some(why) => fail(format!("{why}, in the watch window")),
        None => Ok(()),
    }
}

fn is_count_unclear(metrics: &[Metrics<'_>]) -> bool {
    metrics.iter().any(Metrics::is_unclear)
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

/// The least good answers on which it is judged how long they take: one of twenty may be slow.
const ENOUGH_ANSWERS: u32 = 20;

/// How long after the window it is asked on for that.
const PATIENCE: Duration = Duration::from_secs(45);

fn is_pace_unclear(pace: &[Pace]) -> bool {
    pace.iter().any(Pace::is_unclear)
}

/// How long the good answers to one check take, against the time within which 95 of 100 must come.
#[derive(Debug, Default)]
struct Pace {
    limit: Option<Duration>,
    answers: u32,
    slow: u32,
}

impl Pace {
    fn new(limit_ms: Option<u64>) -> Self {
        Self { limit: limit_ms.map(Duration::from_millis), ..Self::default() }
    }

    fn take(&mut self, took: Duration) {
        self.answers += 1;
        self.slow += u32::from(self.limit.is_some_and(|limit| took > limit));
    }

    /// More than one in twenty are slower than the limit: so the 95th percentile is.
    fn too_slow(&self) -> Option<String> {
        let limit = self.limit.filter(|_| self.answers >= ENOUGH_ANSWERS && self.slow > self.answers / 20)?;
        Some(format!(
            "{} of {} answers took longer than {} ms in the watch window, one in twenty may",
            self.slow,
            self.answers,
            limit.as_millis()
        ))
    }

    /// Too many are slow already, of too few to judge.
    fn is_unclear(&self) -> bool {
        self.slow > 1 && self.answers < ENOUGH_ANSWERS
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
        Window { window_ms, checks: vec![check], max_error_permille, max_p95_ms: Vec::new(), metrics: Vec::new() }
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
            took: Duration::ZERO,
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
    fn cap_37_one_slow_answer_of_twenty_is_no_percentile_and_two_are() {
        let judged = |slow: u32, answers: u32| {
            let mut pace = Pace::new(Some(100));
            for index in 0..answers {
                pace.take(Duration::from_millis(if index < slow { 101 } else { 100 }));
            }
            (pace.too_slow().is_some(), pace.is_unclear())
        };
        assert_eq!(judged(0, 5), (false, false));
        assert_eq!(judged(1, 19), (false, false));
        assert_eq!(
            judged(2, 19),
            (false, true),
            "as many as may be slow of forty, and nobody knows how many there will be"
        );
        assert_eq!(judged(1, 20), (false, false));
        assert_eq!(judged(2, 20), (true, false));
        assert_eq!(judged(2, 40), (false, false));
        let mut free = Pace::new(None);
        (0..100).for_each(|_| free.take(Duration::from_secs(60)));
        assert_eq!((free.too_slow(), free.is_unclear()), (None, false));
    }

    /// Every answer is right, and every one is slow: the window is short and goes on until that can be judged.
    #[test]
    fn cap_37_a_release_whose_answers_are_slow_goes_back() {
        let bench = Bench::new();
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listening.incoming() {
                use std::io::{Read as _, Write as _};
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 1024]);
                std::thread::sleep(Duration::from_millis(15));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let mut slow = window(port, 3, 1, 0);
        slow.checks[0].probe = Probe::Http {
            port,
            path: "/".to_owned(),
            host: String::new(),
            status: Vec::new(),
            json: std::collections::BTreeMap::new(),
            headers: std::collections::BTreeMap::new(),
        };
        slow.max_p95_ms = vec![Some(10)];
        let patient = Window { max_p95_ms: vec![Some(10_000)], ..slow.clone() };
        Watch(&patient).apply(&bench.work(), &[]).unwrap();
        if crate::serve::since_boot() < BOOTING {
            return; // Answers of a machine that comes up are not judged.
        }
        slow.window_ms = 200;
        let error = Watch(&slow).apply(&bench.work(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "20 of 20 answers took longer than 10 ms in the watch window, one in twenty may");
    }

    /// Its health is good, and what it counts is not.
    #[test]
    fn cap_37_a_release_that_is_healthy_and_counts_errors_goes_back() {
        let bench = Bench::new();
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for (count, stream) in listening.incoming().enumerate() {
                use std::io::{Read as _, Write as _};
                let Ok(mut stream) = stream else { return };
                let _ = stream.read(&mut [0; 1024]);
                let body = format!("requests_total{{status=\"500\"}} {}\n", count * 100);
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        let mut counted = window(port, 3, 3_600_000, 1000);
        counted.metrics = vec![holdfast_protocol::MetricRules {
            ports: vec![port],
            path: "/metrics".to_owned(),
            at_least: 20,
            ignore: std::collections::BTreeMap::new(),
            errors: Some(holdfast_protocol::ErrorRule {
                counter: "requests_total".to_owned(),
                failed: std::collections::BTreeMap::from([("status".to_owned(), "5*".to_owned())]),
                max_permille: 1000,
            }),
            latency: None,
        }];
        counted.window_ms = 1;
        let note = Watch(&counted).apply(&bench.work(), &[]).unwrap();
        assert!(note.contains(" requests by its metrics, "), "{note}");
        counted.window_ms = 3_600_000;
        if let Some(errors) = &mut counted.metrics[0].errors {
            errors.max_permille = 999;
        }
        let error = Watch(&counted).apply(&bench.work(), &[]).unwrap_err().to_string();
        assert!(error.ends_with("at most 999 of 1000 may, in the watch window"), "{error}");
    }

    #[test]
    fn a_decision_ends_it() {
        let bench = Bench::new();
        let work = Work { stop: &|| true, ..bench.work() };
        let window = Window {
            window_ms: 3_600_000,
            checks: Vec::new(),
            max_error_permille: 0,
            max_p95_ms: Vec::new(),
            metrics: Vec::new(),
        };
        assert_eq!(Watch(&window).apply(&work, &[]), Err(StepError::Stopped));
    }
}
