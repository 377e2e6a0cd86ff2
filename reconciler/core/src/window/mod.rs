//! When an environment may change: windows, and whether they leave an app open now.
//!
//! # Flow
//! A [`Window`] has a [`Schedule`] in a [`Zone`]; `span` makes stretches of time of it; [`closed`] says what all windows of an
//! environment mean for one app at one moment. The moment comes in as a value.
//!
//! # Source
//! Argo CD, *Sync Windows*: `deny` wins; where there are `allow` windows and none is active, it is closed.

mod cron;
mod hours;
mod span;
mod zone;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use cron::{Cron, InvalidCron};
pub use hours::{Hours, InvalidHours};
pub use zone::{InvalidZone, Zone};

use self::span::{Span, Spans};
use crate::diag::Origin;
use crate::id::AppName;
use crate::time::{Millis, Timestamp};

/// What a window does while it is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// Opens; outside of it is closed.
    Allow,
    /// Closes.
    Deny,
}

/// When a window is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// On some days, between two times of the clock.
    Hours(Hours),
    /// From moments on, for some time.
    Cron {
        /// The moments.
        begins: Cron,
        /// How long it lasts.
        duration: Millis,
    },
}

/// One window of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// What it does.
    pub kind: WindowKind,
    /// When.
    pub schedule: Schedule,
    /// Whose clock.
    pub zone: Zone,
    /// The apps it is about; empty for all.
    pub apps: Vec<AppName>,
    /// Whether a person may go through while it closes.
    pub manual: bool,
    /// Where it is declared.
    pub origin: Origin,
}

impl Window {
    fn is_about(&self, app: Option<&AppName>) -> bool {
        self.apps.is_empty() || app.is_some_and(|app| self.apps.contains(app))
    }
}

/// That an app is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When it opens; `None` when that is further away than anyone can say.
    pub until: Option<Timestamp>,
    /// The window that closes it, or that opens it next.
    pub by: Origin,
    /// The kind of that window.
    pub kind: WindowKind,
    /// The zone of that window.
    pub zone: Zone,
    /// Whether a person may go through.
    pub manual: bool,
}

impl std::fmt::Display for Closed {
    /// Writes `closed until Mon 2026-11-23 09:00 Europe/Berlin, by environments/prod/environment.yaml:12`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.until {
            Some(until) => write!(f, "closed until {}", self.zone.show(until))?,
            None => f.write_str("closed for years")?,
        }
        write!(f, ", by {}:{}", self.by.file, self.by.line)
    }
}

/// Moments looked at before it is said that nothing opens.
const MOST_MOMENTS: usize = 20_000;

/// Returns what closes an app now; `None` when it is open. Without an app, only windows for all apps count.
pub fn closed(windows: &[Window], app: Option<&AppName>, now: Timestamp) -> Option<Closed> {
    let concerned = windows.iter().filter(|window| window.is_about(app));
    let mut lanes: Vec<Lane<'_>> = concerned.map(|window| Lane::new(window, now)).collect();
    let (by, manual) = blame(&lanes, now)?;
    let (by, kind, zone) = (by.origin.clone(), by.kind, by.zone.clone());
    let mut until = None;
    let mut at = now;
    for _ in 0..MOST_MOMENTS {
        let Some(next) = lanes.iter().filter_map(|lane| lane.changes_after(at)).min() else { break };
        at = next;
        for lane in &mut lanes {
            lane.go_to(at);
        }
        if blame(&lanes, at).is_none() {
            until = Some(at);
            break;
        }
    }
    Some(Closed { until, by, kind, zone, manual })
}

/// Returns which of these apps are closed now.
pub fn closed_apps<'a>(
    windows: &[Window],
    apps: impl IntoIterator<Item = &'a AppName>,
    now: Timestamp,
) -> BTreeMap<AppName, Closed> {
    // Most apps have the same windows: these are followed once.
    let mut known: BTreeMap<Vec<bool>, Option<Closed>> = BTreeMap::new();
    let mut shut = BTreeMap::new();
    for app in apps {
        let found = known.entry(about(windows, Some(app))).or_insert_with(|| closed(windows, Some(app), now));
        shut.extend(found.clone().map(|closed| (app.clone(), closed)));
    }
    shut
}

/// Returns the first app that is open at no time: `Some(None)` where that is so for what has no windows of its own.
pub fn never_open<'a>(windows: &[Window], apps: impl IntoIterator<Item = &'a AppName>) -> Option<Option<&'a AppName>> {
    let mut known = BTreeSet::new();
    let all = [None].into_iter().chain(apps.into_iter().map(Some));
    all.into_iter().find(|app| known.insert(about(windows, *app)) && !opens(windows, *app))
}

/// Returns which windows are about an app; without one, which are about all apps.
fn about(windows: &[Window], app: Option<&AppName>) -> Vec<bool> {
    windows.iter().map(|window| window.is_about(app)).collect()
}

/// Returns whether a window is active at any time at all.
pub fn comes(window: &Window) -> bool {
    Spans::new(&window.schedule, &window.zone, SOME_TIME).next().is_some()
}

/// Returns whether these windows leave an app open at any time at all.
fn opens(windows: &[Window], app: Option<&AppName>) -> bool {
    closed(windows, app, SOME_TIME).is_none_or(|closed| closed.until.is_some())
}

/// 2024-01-01 00:00 UTC: what recurs can be judged from any moment.
const SOME_TIME: Timestamp = Timestamp(1_704_067_200_000);

/// Returns the window that closes at this moment, and whether a person may go through; `None` when it is open.
fn blame<'w>(lanes: &[Lane<'w>], at: Timestamp) -> Option<(&'w Window, bool)> {
    let of = |kind: WindowKind| lanes.iter().filter(move |lane| lane.window.kind == kind);
    let denies = || of(WindowKind::Deny).filter(|lane| lane.is_active(at));
    if let Some(longest) = denies().max_by_key(|lane| lane.span.map(|span| span.end)) {
        return Some((longest.window, denies().all(|lane| lane.window.manual)));
    }
    let allows = || of(WindowKind::Allow);
    if allows().any(|lane| lane.is_active(at)) {
        return None;
    }
    let next = allows().min_by_key(|lane| lane.span.map_or(Timestamp(u64::MAX), |span| span.start))?;
    Some((next.window, allows().all(|lane| lane.window.manual)))
}

/// One window on its way through time.
struct Lane<'w> {
    window: &'w Window,
    spans: Spans<'w>,
    /// The active stretch, or the next one.
    span: Option<Span>,
}

impl<'w> Lane<'w> {
    fn new(window: &'w Window, at: Timestamp) -> Self {
        let mut lane = Self { window, spans: Spans::new(&window.schedule, &window.zone, at), span: None };
        lane.span = lane.spans.next();
        lane.go_to(at);
        lane
    }

    fn go_to(&mut self, at: Timestamp) {
        while self.span.is_some_and(|span| span.end <= at) {
            self.span = self.spans.next();
        }
    }

    fn is_active(&self, at: Timestamp) -> bool {
        self.span.is_some_and(|span| span.start <= at)
    }

    fn changes_after(&self, at: Timestamp) -> Option<Timestamp> {
        let span = self.span?;
        Some(if span.start > at { span.start } else { span.end }).filter(|next| *next < Span::FOREVER)
    }
}

#[cfg(test)]
mod tests;
