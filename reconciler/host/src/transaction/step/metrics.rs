//! What a release counts itself while it is watched: how many requests failed, and how long they took.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_protocol::MetricRules;

use super::exposition::{self, Line, Sample};
use super::http;
use crate::exec::shown;

/// Failed looks in a row after which nothing is known of the release.
const TRIES: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The rules about one component, and what was counted since they were first looked at.
pub(super) struct Metrics<'a> {
    rules: &'a MetricRules,
    ports: Vec<Counted>,
    misses: u32,
    /// When it is looked at next, from the beginning of the window.
    pub(super) due: Duration,
}

/// What one port said last, and how much more it was than at first.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    last: Option<Counts>,
    sum: Counts,
}

/// Counts of all series together. A program counts in floating point numbers, which are exact up to 2⁵³.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    asked: f64,
    failed: f64,
    timed: f64,
    slow: f64,
    /// Whether the counter, and the histogram, were there at all.
    named: (bool, bool),
}

impl<'a> Metrics<'a> {
    pub(super) fn new(rules: &'a MetricRules) -> Self {
        let ports = vec![Counted::default(); rules.ports.len()];
        Self { rules, ports, misses: 0, due: Duration::ZERO }
    }

    /// Asks each port once.
    ///
    /// # Errors
    /// Why nothing is known of the release: for the third time in a row it said nothing that can be read.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let mut wrong = None;
        for (port, counted) in self.rules.ports.iter().zip(&mut self.ports) {
            match ask(*port, self.rules) {
                Ok(counts) => counted.take(counts),
                Err(why) => wrong = Some(format!("port {port}{}: {why}", shown(self.rules.path.as_bytes(), 80))),
            }
        }
        let Some(why) = wrong else {
            self.misses = 0;
            return Ok(());
        };
        self.misses += 1;
        if self.misses < TRIES { Ok(()) } else { Err(format!("its metrics cannot be read: {why}")) }
    }

    /// Returns why the release has to go; `None` while there is no reason.
    pub(super) fn verdict(&self) -> Option<String> {
        let all = self.all();
        if let Some(rule) = &self.rules.errors
            && self.is_enough(all.asked)
            && is_more(all.failed, all.asked, rule.max_permille)
        {
            let Counts { asked, failed, .. } = all;
            return Some(format!(
                "{failed} of {asked} requests failed by its `{}`, at most {} of 1000 may",
                rule.counter, rule.max_permille
            ));
        }
        let rule = self.rules.latency.as_ref()?;
        let Counts { timed, slow, .. } = all;
        (self.is_enough(timed) && is_more(slow, timed, SLOW_PERMILLE)).then(|| {
            let (name, limit) = (&rule.histogram, rule.max_p95_ms);
            format!("{slow} of {timed} requests took longer than {limit} ms by its `{name}`, one in twenty may")
        })
    }

    /// Whether more failed, or was slow, than may, of too few to judge.
    pub(super) fn is_unclear(&self) -> bool {
        let all = self.all();
        let few = |part: f64, of: f64, permille: u32| !self.is_enough(of) && is_more(part, of, permille);
        self.rules.errors.as_ref().is_some_and(|rule| few(all.failed, all.asked, rule.max_permille))
            || (self.rules.latency.is_some() && few(all.slow, all.timed, SLOW_PERMILLE))
    }

    /// Returns what the release never said in the whole window: nothing can be judged by it.
    pub(super) fn missing(&self) -> Option<String> {
        let (counter, histogram) = self.all().named;
        let errors = self.rules.errors.as_ref().filter(|_| !counter).map(|rule| &rule.counter);
        let latency = self.rules.latency.as_ref().filter(|_| !histogram).map(|rule| &rule.histogram);
        let name = errors.or(latency)?;
        let (path, ports) = (&self.rules.path, &self.rules.ports);
        let path = shown(path.as_bytes(), 80);
        Some(format!("it has no metric `{name}` at {path} of port {}: nothing can be judged by it", join(ports)))
    }

    /// Returns what was counted, for people.
    pub(super) fn told(&self) -> String {
        let Counts { asked, failed, timed, slow, .. } = self.all();
        let mut told = Vec::new();
        if self.rules.errors.is_some() {
            told.push(format!("{asked} requests by its metrics, {failed} failed"));
        }
        if self.rules.latency.is_some() {
            told.push(format!("{timed} timed, {slow} slow"));
        }
        told.join(", ")
    }

    fn all(&self) -> Counts {
        self.ports.iter().fold(Counts::default(), |all, port| all.and(port.sum))
    }

    fn is_enough(&self, count: f64) -> bool {
        count >= f64::from(self.rules.at_least)
    }
}

/// One in twenty.
const SLOW_PERMILLE: u32 = 50;

/// Whether a part is more of the whole than it may be. One alone is no share, unless none at all is allowed.
fn is_more(part: f64, whole: f64, permille: u32) -> bool {
    part * 1000.0 > whole * f64::from(permille) && (part > 1.0 || permille == 0)
}

fn join(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

impl Counted {
    /// Adds what came since the last look. Counts only grow: less than before means that the program began anew.
    fn take(&mut self, now: Counts) {
        let more = match self.last {
            // What was counted before the window is not the window's.
            None => Counts { asked: 0.0, failed: 0.0, timed: 0.0, slow: 0.0, ..now },
            Some(last) if now.asked < last.asked || now.timed < last.timed => now,
            Some(last) => Counts {
                asked: now.asked - last.asked,
                failed: (now.failed - last.failed).max(0.0),
                timed: now.timed - last.timed,
                slow: (now.slow - last.slow).max(0.0),
                named: now.named,
            },
        };
        (self.last, self.sum) = (Some(now), self.sum.and(more));
    }
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            asked: self.asked + other.asked,
            failed: self.failed + other.failed,
            timed: self.timed + other.timed,
            slow: self.slow + other.slow,
            named: (self.named.0 || other.named.0, self.named.1 || other.named.1),
        }
    }
}

fn ask(port: u16, rules: &MetricRules) -> Result<Counts, String> {
    let answer = http::get(port, &rules.path, "", TIMEOUT)?;
    answer.expect(&[200], &BTreeMap::new())?;
    let text = str::from_utf8(&answer.body).map_err(|_| "the answer is no UTF-8".to_owned())?;
    counts(text, rules)
}

/// Adds up the series that count.
fn counts(text: &str, rules: &MetricRules) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut edges = Edges::default();
    let (errors, latency) = (rules.errors.as_ref(), rules.latency.as_ref());
    for line in exposition::lines(text)? {
        let sample = match line {
            Line::Declared(name) => {
                counts.named.0 |= errors.is_some_and(|rule| rule.counter == name);
                counts.named.1 |= latency.is_some_and(|rule| rule.histogram == name);
                continue;
            }
            Line::Sample(sample) => sample,
        };
        let ignored = |(label, pattern): (&String, &String)| has(&sample, label, pattern);
        if rules.ignore.iter().any(ignored) {
            continue;
        }
        if let Some(rule) = errors.filter(|rule| rule.counter == sample.name) {
            counts.named.0 = true;
            let value = finite(&sample)?;
            counts.asked += value;
            if rule.failed.iter().all(|(label, pattern)| has(&sample, label, pattern)) {
                counts.failed += value;
            }
        }
        if latency.is_some_and(|rule| sample.name.strip_suffix("_bucket") == Some(&rule.histogram)) {
            counts.named.1 = true;
            edges.take(&sample)?;
        }
    }
    if let Some(rule) = latency {
        (counts.timed, counts.slow) = edges.over(rule.max_p95_ms)?;
    }
    Ok(counts)
}

fn has(sample: &Sample<'_>, label: &str, pattern: &str) -> bool {
    sample.labels.get(label).is_some_and(|value| match pattern.strip_suffix('*') {
        Some(beginning) => value.starts_with(beginning),
        None => value == pattern,
    })
}

fn finite(sample: &Sample<'_>) -> Result<f64, String> {
    let value = sample.value;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(format!("`{}` counts {value}", sample.name)) }
}

/// The buckets of a histogram over all its series: each counts what took at most so long, in seconds.
#[derive(Debug, Default)]
struct Edges(Vec<(f64, f64)>);

impl Edges {
    fn take(&mut self, sample: &Sample<'_>) -> Result<(), String> {
        let edge = sample.labels.get("le").and_then(|edge| edge.parse::<f64>().ok()).filter(|edge| !edge.is_nan());
        let edge = edge.ok_or_else(|| format!("`{}` has no edge `le`", sample.name))?;
        let value = finite(sample)?;
        match self.0.iter_mut().find(|(known, _)| known.total_cmp(&edge).is_eq()) {
            Some((_, count)) => *count += value,
            None => self.0.push((edge, value)),
        }
        Ok(())
    }

    /// Returns how many were timed, and how many of them took longer than the limit for certain: what is in the bucket that the limit
    /// falls into counts as quick enough.
    fn over(mut self, limit_ms: u64) -> Result<(f64, f64), String> {
        let limit = Duration::from_millis(limit_ms).as_secs_f64();
        self.0.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let Some(&(last, all)) = self.0.last() else { return Ok((0.0, 0.0)) };
        if last.is_finite() {
            return Err("the histogram has no bucket `+Inf`".to_owned());
        }
        let quick = self.0.iter().find(|(edge, _)| *edge >= limit && edge.is_finite());
        let (_, quick) = quick.ok_or_else(|| format!("the histogram has no bucket at or over {limit} s"))?;
        Ok((all, (all - quick).max(0.0)))
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
