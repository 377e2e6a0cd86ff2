//! Samples and what is said of them.

use std::time::Duration;

/// Milliseconds of several runs of the same thing.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds one run.
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1_000.0);
    }

    /// Returns the value below which this share of the runs is; 0.5 is the median. Zero without any run.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    /// Returns the median.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns how many runs there were.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One line of a table: what was done, how long it took, what it cost.
pub(crate) struct Line<'a> {
    /// What was done.
    pub(crate) what: &'a str,
    /// Wall time.
    pub(crate) wall: &'a Samples,
    /// Processor time by host and run, in milliseconds: the manager's side with all its children, and the hosts'.
    pub(crate) cpu: Option<(f64, f64)>,
}

impl Line<'_> {
    /// Returns the line of a Markdown table; ratios are against each floor.
    pub(crate) fn markdown(&self, floors: &[f64]) -> String {
        let wall = self.wall.median();
        let cpu = match self.cpu {
            Some((manager, hosts)) => format!("{manager:.2} | {hosts:.2}"),
            None => "– | –".to_owned(),
        };
        let ratios: Vec<String> = floors.iter().map(|floor| format!("{:.2}", wall / floor)).collect();
        let (best, worst) = (self.wall.quantile(0.0), self.wall.quantile(1.0));
        let (what, runs) = (self.what, self.wall.len());
        format!("| {what} | {runs} | {wall:.1} | {best:.1}–{worst:.1} | {} | {cpu} |", ratios.join(" | "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_of_none() {
        let mut samples = Samples::default();
        assert!(samples.median().abs() < f64::EPSILON);
        for milliseconds in [30, 10, 20] {
            samples.add(Duration::from_millis(milliseconds));
        }
        assert!((samples.median() - 20.0).abs() < 1e-9);
        assert!((samples.quantile(1.0) - 30.0).abs() < 1e-9);
    }
}
