//! The text that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only rises.
    Counter,
}

/// Samples by metric, in the order in which metrics were first named.
///
/// # Source
/// Prometheus' text format 0.0.4: `# HELP name text`, `# TYPE name kind`, then the samples of that metric without others between;
/// in a label's value `\`, `"` and newline are escaped, in a help text `\` and newline.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    order: Vec<&'static str>,
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: &'static str,
    /// By labels, so that none can be said twice.
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    /// Adds a gauge's sample.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.add(Kind::Gauge, name, help, labels, value);
    }

    /// Adds a counter's sample.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        self.add(Kind::Counter, name, help, labels, value);
    }

    /// Adds 0 or 1.
    pub(super) fn flag(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], is: bool) {
        self.gauge(name, help, labels, f64::from(u8::from(is)));
    }

    /// Adds 1 for the state that is, and 0 for each of the others.
    pub(super) fn state<'a>(
        &mut self,
        (name, help): (&'static str, &'static str),
        labels: &[(&str, &'a str)],
        label: &'static str,
        (is, all): (&str, &[&'a str]),
    ) {
        for one in all {
            let mut labels = labels.to_vec();
            labels.push((label, one));
            self.flag(name, help, &labels, *one == is);
        }
    }

    fn add(&mut self, kind: Kind, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: f64) {
        let mut text = String::new();
        for (label, value) in labels {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}{label}=\"{}\"", escaped(value));
        }
        let family = self.families.entry(name).or_insert_with(|| {
            self.order.push(name);
            Family { kind, help, samples: BTreeMap::new() }
        });
        family.samples.insert(text, value);
    }

    /// Returns the text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for name in &self.order {
            let Some(family) = self.families.get(name) else { continue };
            let kind = match family.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, value) in &family.samples {
                let _ = match labels.as_str() {
                    "" => writeln!(text, "{name} {value}"),
                    labels => writeln!(text, "{name}{{{labels}}} {value}"),
                };
            }
        }
        text
    }
}

/// Returns a label's value between its quotes. Other control characters, which no name of ours has, do not get through.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn samples_of_one_metric_stand_together_and_values_are_escaped() {
        let mut exposition = Exposition::default();
        exposition.gauge("a", "First.", &[("x", "say \"\\\n\u{1b}")], 0.5);
        exposition.counter("b_total", "Second.", &[], 3.0);
        exposition.state(("a", "First."), &[("x", "y")], "state", ("on", &["off", "on"]));
        let expected = "\
# HELP a First.
# TYPE a gauge
a{x=\"say \\\"\\\\\\n\u{fffd}\"} 0.5
a{x=\"y\",state=\"off\"} 0
a{x=\"y\",state=\"on\"} 1
# HELP b_total Second.
# TYPE b_total counter
b_total 3
";
        assert_eq!(exposition.text(), expected);
    }

    proptest! {
        #[test]
        fn no_value_adds_a_line_or_a_sample(value in any::<String>()) {
            let mut exposition = Exposition::default();
            exposition.gauge("a", "Help.", &[("x", &value)], 1.0);
            let text = exposition.text();
            prop_assert_eq!(text.split('\n').count(), 4, "{:?}", text);
            let inner = text.lines().nth(2).unwrap().strip_prefix("a{x=\"").unwrap().strip_suffix("\"} 1").unwrap().to_owned();
            // Taken as Prometheus takes it, it is the value, but for control characters.
            let mut back = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                back.push(match (c, c == '\\') {
                    (_, true) => match chars.next().unwrap() { 'n' => '\n', other => other },
                    (c, false) => { prop_assert!(c != '"'); c }
                });
            }
            let plain: String = value.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
            prop_assert_eq!(back, plain);
        }
    }
}
