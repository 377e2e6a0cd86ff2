//! What a commit changes in what hosts should be, without asking any host: for a pull request from anybody.
//!
//! # Guarantees
//! A function of two desired states and nothing else: no key, host or network. Secrets are shown by fingerprint only.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::Slot;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{Artifacts, DesiredComponent, DesiredFile, DesiredHost, DesiredState};
use crate::diag::Origin;
use crate::id::{AppName, CommitId, DigestWriter, EnvironmentName, HostName};
use crate::plan::{app_digest, unified};

/// The version of [`ConfigDiff`] as JSON. It rises when a reader of the former version would misread one.
pub const CONFIG_DIFF_VERSION: u32 = 1;

/// What differs between two desired states of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigDiff {
    /// [`CONFIG_DIFF_VERSION`].
    pub format_version: u32,
    /// The environment.
    pub environment: EnvironmentName,
    /// The commit compared with.
    pub base: CommitId,
    /// The commit compared.
    pub head: CommitId,
    /// The hosts of either, in rollout order of `head`.
    pub hosts: Vec<HostDiff>,
    /// Digest of what both sides render to and of all that differs, without the commits: who sees the same digest looks at the same.
    pub digest: String,
}

/// What differs on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostDiff {
    /// The host.
    pub host: HostName,
    /// Sorted by app, then component as brought up, then thing.
    pub changes: Vec<ConfigChange>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChange {
    /// The app.
    pub app: AppName,
    /// The component; empty when it is about the whole app.
    pub component: String,
    /// What differs: `file /etc/…`, `release`, `strategy`.
    pub thing: String,
    /// Whether it is new, gone or other.
    pub kind: ConfigChangeKind,
    /// `v1 → v2`, where that says it; may be empty.
    pub note: String,
    /// Unified diff of the text; empty when there is none, and for what is gone.
    pub diff: String,
    /// Where it is declared in `head`, or in `base` when it is gone.
    pub origin: Origin,
}

/// How a thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfigChangeKind {
    /// Only `head` has it.
    Added,
    /// Only `base` has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

impl ConfigChangeKind {
    /// Returns the symbol shown before it.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Changed => "~",
        }
    }
}

impl ConfigDiff {
    /// Returns whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.hosts.iter().all(|host| host.changes.is_empty())
    }
}

/// Returns what differs between two desired states of one environment.
///
/// A component with slots is compared as it would be in blue on both sides: which slot it will really go to is only known to its
/// host.
pub fn desired_diff(base: &DesiredState, head: &DesiredState) -> ConfigDiff {
    let gone = base.order.iter().filter(|host| !head.hosts.contains_key(*host));
    let hosts = head
        .order
        .iter()
        .chain(gone)
        .map(|host| HostDiff { host: host.clone(), changes: host_changes(base.hosts.get(host), head.hosts.get(host)) });
    let hosts: Vec<HostDiff> = hosts.collect();
    ConfigDiff {
        digest: digest(base, head, &hosts),
        format_version: CONFIG_DIFF_VERSION,
        environment: head.environment.clone(),
        base: base.commit.clone(),
        head: head.commit.clone(),
        hosts,
    }
}

/// Returns the digest of a difference. Long texts are not shown to their end: what they render to counts too.
fn digest(base: &DesiredState, head: &DesiredState, hosts: &[HostDiff]) -> String {
    let mut writer = DigestWriter::new().field(head.environment.as_str());
    for side in [base, head] {
        let apps: BTreeSet<&AppName> = side.hosts.values().flat_map(|host| host.apps.keys()).collect();
        for app in apps {
            writer = writer.field(app_digest(side, app).0);
        }
    }
    let shown = serde_json::to_string(hosts).expect("BUG: a difference is plain data");
    writer.field(shown).finish().to_string()
}

fn host_changes(base: Option<&DesiredHost>, head: Option<&DesiredHost>) -> Vec<ConfigChange> {
    let apps = |host: Option<&DesiredHost>| -> BTreeSet<AppName> {
        host.map(|host| host.apps.keys().cloned().collect()).unwrap_or_default()
    };
    let mut changes = Vec::new();
    for name in &(&apps(base) | &apps(head)) {
        let (old, new) = (base.and_then(|h| h.apps.get(name)), head.and_then(|h| h.apps.get(name)));
        let releases = (old.map(|app| app.release.as_str()), new.map(|app| app.release.as_str()));
        if let Some((kind, note)) = word(releases) {
            let origin = new.or(old).map(|app| app.release_origin.clone()).unwrap_or_default();
            changes.push(change(name, "", "release", kind, note, origin));
        }
        let archives = |app: Option<&crate::desired::DesiredApp>| -> BTreeMap<String, String> {
            let archives = app.into_iter().flat_map(|app| &app.archives);
            archives.map(|archive| (format!("archive {}", archive.file), archive.sha256.to_string())).collect()
        };
        let (was, is) = (archives(old), archives(new));
        for thing in keys(&was, &is) {
            if let Some((kind, note)) = word((was.get(thing).map(String::as_str), is.get(thing).map(String::as_str))) {
                let origin = new.or(old).map(|app| app.release_origin.clone()).unwrap_or_default();
                changes.push(change(name, "", thing, kind, note, origin));
            }
        }
        let components = |app: Option<&crate::desired::DesiredApp>| -> Vec<String> {
            app.map(|app| app.components.iter().map(|c| c.name.to_string()).collect()).unwrap_or_default()
        };
        let mut names = components(new);
        names.extend(components(old).into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        for component in names {
            let find = |app: Option<&'_ crate::desired::DesiredApp>| {
                app.and_then(|app| app.components.iter().find(|c| c.name.as_str() == component)).cloned()
            };
            changes.extend(component_changes(name, find(old).as_ref(), find(new).as_ref()));
        }
    }
    changes
}

fn component_changes(
    app: &AppName,
    old: Option<&DesiredComponent>,
    new: Option<&DesiredComponent>,
) -> Vec<ConfigChange> {
    let Some(any) = new.or(old) else { return Vec::new() };
    let name = any.name.as_str();
    let origin = &any.origin;
    let mut changes = Vec::new();
    let strategies = (old.map(|c| c.strategy.as_str()), new.map(|c| c.strategy.as_str()));
    if let Some((kind, note)) = word(strategies) {
        let thing = if kind == ConfigChangeKind::Changed { "strategy" } else { "component" };
        changes.push(change(app, name, thing, kind, note, origin.clone()));
    }
    let statics = |component: Option<&DesiredComponent>| {
        component
            .and_then(|c| c.statics.as_ref())
            .map(|s| format!("{} ({}) at {}", s.archive, s.sha256.short(), s.path))
    };
    let (was, is) = (statics(old), statics(new));
    if let Some((kind, note)) = word((was.as_deref(), is.as_deref())) {
        let origin = new.or(old).and_then(|c| c.statics.as_ref()).map_or_else(|| origin.clone(), |s| s.origin.clone());
        changes.push(change(app, name, "static", kind, note, origin));
    }
    let none = Artifacts::default();
    let place = |component: Option<&DesiredComponent>| {
        component.map(|component| component.body.artifacts(Some(Slot::Blue))).cloned()
    };
    let (before, after) = (place(old), place(new));
    let (before, after) = (before.as_ref().unwrap_or(&none), after.as_ref().unwrap_or(&none));
    for path in keys(&before.files, &after.files) {
        changes.extend(file_change(app, name, path, before.files.get(path), after.files.get(path)));
    }
    for unit in keys(&before.units, &after.units) {
        let enabled =
            |place: &Artifacts| place.units.get(unit).map(|unit| if unit.enabled { "enabled" } else { "disabled" });
        if let Some((kind, note)) = word((enabled(before), enabled(after))) {
            changes.push(change(app, name, &format!("unit {unit}"), kind, note, origin.clone()));
        }
    }
    let images = |place: &Artifacts| -> BTreeMap<String, String> {
        let services = place.project.iter().flat_map(|project| {
            project.services.iter().map(|(service, s)| (format!("service {}/{service}", project.name), s.image.clone()))
        });
        services.collect()
    };
    let switches = |component: Option<&DesiredComponent>| -> BTreeMap<String, String> {
        let switches = component.iter().flat_map(|component| &component.switches);
        switches
            .map(|(listen, switch)| {
                (
                    format!("switch {listen}"),
                    format!("{} blue {} green {}", switch.port, switch.ports.blue, switch.ports.green),
                )
            })
            .collect()
    };
    let migration = |component: Option<&DesiredComponent>| -> BTreeMap<String, String> {
        let migrate = component.and_then(|component| component.migrate.as_ref()).filter(|migrate| migrate.here);
        migrate.map(|migrate| ("migration".to_owned(), migrate.id.clone())).into_iter().collect()
    };
    let required = |component: Option<&DesiredComponent>| -> BTreeMap<String, String> {
        component.map(prerequisites).unwrap_or_default()
    };
    let settings = |component: Option<&DesiredComponent>| -> BTreeMap<String, String> {
        component.map(settings).unwrap_or_default()
    };
    for (was, is) in [
        (required(old), required(new)),
        (images(before), images(after)),
        (switches(old), switches(new)),
        (migration(old), migration(new)),
        // Of a component that is new or gone, its settings say nothing more.
        if old.is_some() && new.is_some() { (settings(old), settings(new)) } else { Default::default() },
    ] {
        for thing in keys(&was, &is) {
            let pair = (was.get(thing).map(String::as_str), is.get(thing).map(String::as_str));
            if let Some((kind, note)) = word(pair) {
                changes.push(change(app, name, thing, kind, note, origin.clone()));
            }
        }
    }
    changes
}

/// Returns what has to be on a host before a component.
fn prerequisites(component: &DesiredComponent) -> BTreeMap<String, String> {
    let wanted = &component.prerequisites;
    let groups = wanted.groups.iter().map(|name| (format!("group {name}"), "there".to_owned()));
    let accounts = wanted.accounts.iter().map(|(name, spec)| {
        let groups: Vec<&str> = spec.groups.iter().map(String::as_str).collect();
        let said =
            format!("group {}, groups [{}], home {}, shell {}", spec.group, groups.join(", "), spec.home, spec.shell);
        (format!("account {name}"), said)
    });
    let folders = wanted
        .folders
        .iter()
        .map(|(path, spec)| (format!("folder {path}"), format!("{:04o} {}:{}", spec.mode, spec.owner, spec.group)));
    let packages = component.packages.iter().map(|name| (format!("package {name}"), "installed".to_owned()));
    groups.chain(accounts).chain(folders).chain(packages).collect()
}

/// Returns the settings that change how a component is brought up without changing any file.
fn settings(component: &DesiredComponent) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(settings.insert(name.to_owned(), value));
    let json = |value: serde_json::Result<serde_json::Value>| value.map(|value| value.to_string()).unwrap_or_default();
    if let Some(check) = &component.healthcheck {
        set("healthcheck", json(serde_json::to_value(&check.probe)));
        set("healthcheck.interval", check.interval.to_string());
        set("healthcheck.timeout", check.timeout.to_string());
        set("healthcheck.retries", check.retries.to_string());
        set("healthcheck.start_period", check.start_period.to_string());
        set("healthcheck.passes", check.passes.to_string());
        set("healthcheck.min_healthy_time", check.min_healthy_time.to_string());
    }
    if let Some(watch) = &component.watch {
        set("watch.window", watch.window.to_string());
        set("watch.max_error_permille", watch.max_error_permille.to_string());
        if let Some(most) = watch.max_p95 {
            set("watch.max_p95", most.to_string());
        }
        if let Some(metrics) = &watch.metrics {
            set("watch.metrics", json(serde_json::to_value(metrics)));
        }
    }
    if let Some(prove) = &component.prove {
        set("prove", json(serde_json::to_value(prove)));
    }
    for (number, smoke) in component.smoke.iter().enumerate() {
        set(&format!("smoke.{}", number + 1), json(serde_json::to_value(smoke)));
    }
    set("drain.timeout", component.drain.timeout.to_string());
    if let Some(grace) = component.drain.stop_grace {
        set("drain.stop_grace", grace.to_string());
    }
    set("keep_previous", component.keep_previous.to_string());
    settings
}

fn file_change(
    app: &AppName,
    component: &str,
    path: &str,
    old: Option<&DesiredFile>,
    new: Option<&DesiredFile>,
) -> Option<ConfigChange> {
    let shown = |file: Option<&DesiredFile>| file.map(|file| file.content.shown()).unwrap_or_default();
    let access = |file: &DesiredFile| format!("{:04o} {}:{}", file.mode, file.owner, file.group);
    let origin = new.or(old).map(|file| file.origin.clone()).unwrap_or_default();
    let (kind, note) = match (old, new) {
        (Some(old), Some(new)) => {
            let (was, is) = (access(old), access(new));
            let note = if was == is { String::new() } else { format!("{was} → {is}") };
            // Sealed, not shown: an encoding that changes around a secret does not show.
            if note.is_empty() && old.content.sealed() == new.content.sealed() {
                return None;
            }
            (ConfigChangeKind::Changed, note)
        }
        (None, Some(new)) => (ConfigChangeKind::Added, access(new)),
        (Some(_), None) => (ConfigChangeKind::Removed, String::new()),
        (None, None) => return None,
    };
    let mut change = change(app, component, &format!("file {path}"), kind, note, origin);
    if kind != ConfigChangeKind::Removed {
        change.diff = unified(&shown(old), &shown(new));
    }
    Some(change)
}

/// Returns how a word differs; `None` when it does not.
fn word(pair: (Option<&str>, Option<&str>)) -> Option<(ConfigChangeKind, String)> {
    match pair {
        (None, Some(new)) => Some((ConfigChangeKind::Added, new.to_owned())),
        (Some(old), None) => Some((ConfigChangeKind::Removed, old.to_owned())),
        (Some(old), Some(new)) if old != new => Some((ConfigChangeKind::Changed, format!("{old} → {new}"))),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn keys<'a, T>(old: &'a BTreeMap<String, T>, new: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    old.keys().chain(new.keys()).collect()
}

fn change(
    app: &AppName,
    component: &str,
    thing: &str,
    kind: ConfigChangeKind,
    note: String,
    origin: Origin,
) -> ConfigChange {
    ConfigChange {
        app: app.clone(),
        component: component.to_owned(),
        thing: thing.to_owned(),
        kind,
        note,
        diff: String::new(),
        origin,
    }
}
