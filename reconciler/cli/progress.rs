//! Events as they happen, on the terminal: a line for each, and where it is a terminal one moving line per host below.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use holdfast_core::event::{SyncEvent, SyncEventKind};
use holdfast_core::time::Timestamp;
use holdfast_core::view::{ProgressLine, Tone, progress_line};
use holdfast_engine::ports::EventSink;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::Output;

/// Shows events.
pub(crate) struct Progress {
    output: Output,
    json: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    began: Option<Timestamp>,
    all: MultiProgress,
    hosts: BTreeMap<String, ProgressBar>,
}

impl Progress {
    /// Returns a view of events; `json` prints each as one line of JSON on standard output instead.
    pub(crate) fn new(output: Output, json: bool) -> Self {
        Self { output, json, shown: Mutex::new(Shown::default()) }
    }

    fn show(&self, shown: &mut Shown, event: &SyncEvent, line: &ProgressLine) {
        if !self.output.live {
            if line.tone != Tone::Faint || self.output.verbose {
                self.output.say(&paint(self.output, line));
            }
            return;
        }
        let host = match &event.kind {
            SyncEventKind::Host { host, .. } | SyncEventKind::Staged { host, .. } => Some(host.to_string()),
            _ => None,
        };
        if let (Some(host), Tone::Faint) = (&host, line.tone) {
            let bar = shown.hosts.entry(host.clone()).or_insert_with(|| {
                let bar = shown.all.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("         {spinner} {prefix:<10} {wide_msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_prefix(host.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            });
            bar.set_message(line.text.trim().to_owned());
        } else {
            // A closed standard error is no reason to stop a rollout.
            let _ = shown.all.println(paint(self.output, line));
        }
        if let SyncEventKind::HostEnded { host, .. } = &event.kind
            && let Some(bar) = shown.hosts.remove(host.as_str())
        {
            bar.finish_and_clear();
            shown.all.remove(&bar);
        }
        if matches!(event.kind, SyncEventKind::Ended { .. }) {
            let _ = shown.all.clear();
        }
    }
}

impl EventSink for Progress {
    fn emit(&self, event: &SyncEvent) {
        if self.json {
            if let Ok(line) = serde_json::to_string(event) {
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
            return;
        }
        let Ok(mut shown) = self.shown.lock() else { return };
        let began = *shown.began.get_or_insert(event.at);
        if let Some(line) = progress_line(began, event) {
            self.show(&mut shown, event, &line);
        }
    }
}

/// Returns a line as it is printed: seconds, subject, text.
pub(crate) fn paint(output: Output, line: &ProgressLine) -> String {
    let (on, off) = match (output.color_err, line.tone) {
        (false, _) | (_, Tone::Plain) => ("", ""),
        (true, Tone::Faint) => ("\x1b[2m", "\x1b[0m"),
        (true, Tone::Good) => ("\x1b[32m", "\x1b[0m"),
        (true, Tone::Bad) => ("\x1b[31m", "\x1b[0m"),
        (true, Tone::Waiting) => ("\x1b[33m", "\x1b[0m"),
    };
    let seconds = format!("{}.{}", line.after_ms / 1_000, line.after_ms % 1_000 / 100);
    format!("{seconds:>7}s  {:<10} {on}{}{off}", line.subject, line.text)
}
