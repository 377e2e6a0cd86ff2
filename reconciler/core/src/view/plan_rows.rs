//! A plan as rows: what all forms for people show, in the same words and order.

use crate::id::{AppName, HostName};
use crate::plan::{Change, ComponentPlan, HostPlan, Plan, PlanAction, Reason, ResourceKey};

use super::escape::visible;
use super::words::{approach, reason, releases};

/// Lines of a new file that are shown; the rest is counted. Of a change everything is shown.
const NEW_FILE_LINES: usize = 12;
/// Values behind one change that are shown.
const VALUES: usize = 3;

/// Hosts on which the same happens. A migration runs on one host only, so it does not set that one apart.
pub(super) struct Group<'a> {
    pub(super) hosts: Vec<&'a HostName>,
    /// How many things change on each.
    pub(super) changes: usize,
    pub(super) rows: Vec<Row>,
}

/// A group while hosts are still found for it.
struct Gathering<'a> {
    hosts: Vec<&'a HostName>,
    plan: &'a HostPlan,
    blocked: Vec<AppName>,
    migrations: Vec<(&'a HostName, &'a Change)>,
}

/// One row, indented by its depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) depth: usize,
    pub(super) kind: RowKind,
    /// What it is about.
    pub(super) text: String,
    /// What is said about it; may be empty.
    pub(super) tail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    App,
    Component,
    Change(PlanAction),
    /// Where a value came from.
    Value,
    Diff(DiffLine),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiffLine {
    Added,
    Removed,
    Place,
    Context,
}

impl DiffLine {
    pub(super) fn of(line: &str) -> Self {
        match line.as_bytes().first() {
            Some(b'+') => Self::Added,
            Some(b'-') => Self::Removed,
            Some(b'@') => Self::Place,
            _ => Self::Context,
        }
    }
}

/// Returns the hosts that change, those with the same changes together, in rollout order.
pub(super) fn groups(plan: &Plan) -> Vec<Group<'_>> {
    let mut groups: Vec<Gathering<'_>> = Vec::new();
    for host in &plan.order {
        let Some(changes) = plan.hosts.get(host).filter(|changes| !changes.changes.is_empty()) else { continue };
        let blocked = blocked_apps(plan, host, changes);
        let migrations = changes.changes.iter().filter(|change| is_migration(change)).map(|change| (host, change));
        let same = |group: &&mut Gathering<'_>| {
            group.blocked == blocked
                && group.plan.components == changes.components
                && shared(group.plan).eq(shared(changes))
        };
        match groups.iter_mut().find(same) {
            Some(group) => {
                group.hosts.push(host);
                group.migrations.extend(migrations);
            }
            None => {
                groups.push(Gathering { hosts: vec![host], plan: changes, migrations: migrations.collect(), blocked });
            }
        }
    }
    let finished = groups.into_iter().map(|group| Group {
        changes: shared(group.plan).count() + group.migrations.len().min(1),
        rows: rows(&group),
        hosts: group.hosts,
    });
    finished.collect()
}

fn is_migration(change: &Change) -> bool {
    matches!(change.key, ResourceKey::Migration(_))
}

/// Returns the changes that can be the same on several hosts.
fn shared(plan: &HostPlan) -> impl Iterator<Item = &Change> {
    plan.changes.iter().filter(|change| !is_migration(change))
}

/// Returns the hosts that were looked at and do not change, and those that could not be.
pub(super) fn quiet_hosts(plan: &Plan) -> (Vec<&HostName>, Vec<&HostName>) {
    let quiet = plan.order.iter().filter(|host| plan.hosts.get(*host).is_some_and(|host| host.changes.is_empty()));
    quiet.partition(|host| plan.basis.hosts.get(*host).is_some_and(|basis| basis.live.is_some()))
}

fn blocked_apps(plan: &Plan, host: &HostName, changes: &HostPlan) -> Vec<AppName> {
    let mut apps: Vec<AppName> = changes.changes.iter().map(|change| change.app.clone()).collect();
    apps.dedup();
    apps.retain(|app| plan.is_blocked(host, app));
    apps
}

fn rows(group: &Gathering<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut app: Option<&AppName> = None;
    for component in &group.plan.components {
        if app != Some(&component.app) {
            app = Some(&component.app);
            rows.push(app_row(group.plan, &component.app, &group.blocked));
        }
        rows.push(component_row(component));
        let own = |change: &Change| change.app == component.app && change.component == component.component;
        let after =
            |change: &&Change| matches!(change.key, ResourceKey::Switch(_)) || change.action == PlanAction::Prune;
        let changes: Vec<&Change> = shared(group.plan).filter(|change| own(change)).collect();
        let at = changes.iter().position(after).unwrap_or(changes.len());
        rows.extend(changes[..at].iter().flat_map(|change| change_rows(change)));
        for (host, migration) in group.migrations.iter().filter(|(_, change)| own(change)) {
            let mut migration = change_rows(migration);
            if let Some(row) = migration.first_mut().filter(|_| group.hosts.len() > 1) {
                row.tail = format!("on {host} only: {}", row.tail);
            }
            rows.extend(migration);
        }
        rows.extend(changes[at..].iter().flat_map(|change| change_rows(change)));
    }
    rows
}

fn app_row(plan: &HostPlan, app: &AppName, blocked: &[AppName]) -> Row {
    let components = || plan.components.iter().filter(|component| component.app == *app);
    let moved = components().find(|component| component.from_release != component.to_release).or(components().next());
    let mut tail = moved.map(|c| visible(&releases(&c.from_release, &c.to_release))).unwrap_or_default();
    if blocked.contains(app) {
        tail.push_str(if tail.is_empty() { "blocked" } else { ", blocked" });
    }
    Row { depth: 1, kind: RowKind::App, text: app.to_string(), tail }
}

fn component_row(component: &ComponentPlan) -> Row {
    Row { depth: 2, kind: RowKind::Component, text: visible(&component.component), tail: approach(component) }
}

/// Returns the rows of one change: itself, where its values came from, and its diff.
pub(super) fn change_rows(change: &Change) -> Vec<Row> {
    // What follows from something else above it needs no reason; what is made for the first time neither.
    let plain = matches!(change.reason, Reason::DependencyChanged)
        || (change.reason == Reason::Missing && change.action == PlanAction::Create);
    let said = [if plain { "" } else { reason(change.reason) }, &visible(&change.note)]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    let text = visible(&change.key.to_string());
    let mut rows = vec![Row { depth: 3, kind: RowKind::Change(change.action), text, tail: said }];
    if change.reason == Reason::DesiredChanged && matches!(change.key, ResourceKey::File(_)) {
        rows.extend(change.because.iter().take(VALUES).map(|value| Row {
            depth: 4,
            kind: RowKind::Value,
            text: visible(&value.field),
            tail: visible(&value.value.to_string()),
        }));
        if change.because.len() > VALUES {
            let more = format!("and {} more values: see `holdfast explain`", change.because.len() - VALUES);
            rows.push(Row { depth: 4, kind: RowKind::Value, text: more, tail: String::new() });
        }
    }
    let is_new = change.action == PlanAction::Create;
    // In a new file, places and the lack of a last newline say nothing.
    let lines: Vec<&str> = change.diff.lines().filter(|line| !(is_new && line.starts_with(['@', '\\']))).collect();
    let shown = if is_new && lines.len() > NEW_FILE_LINES + 1 { NEW_FILE_LINES } else { lines.len() };
    let diff = |text: String, kind: DiffLine| Row { depth: 4, kind: RowKind::Diff(kind), text, tail: String::new() };
    rows.extend(lines.iter().take(shown).map(|line| diff(visible(line), DiffLine::of(line))));
    if shown < lines.len() {
        rows.push(diff(format!("… {} more lines", lines.len() - shown), DiffLine::Place));
    }
    rows
}

/// Returns the names of hosts as a list.
pub(super) fn host_list(hosts: &[&HostName]) -> String {
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
