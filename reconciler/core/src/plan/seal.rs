//! The identity of a plan, and what moved when two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{ContainerLive, DatabasesLive, Digest, FileLive, LiveReport, Observed, UnitLive};
use serde::{Deserialize, Serialize};

use super::databases::declaration;
use super::host::HostContext;
use super::observe::places;
use super::prune::recorded;
use super::{Change, HostBasis, Plan, ResourceKey};
use crate::desired::{DesiredApp, DesiredComponent, DesiredHost};
use crate::id::{AppName, DigestWriter, HostName};

/// Why a saved plan cannot be applied any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// What moved, one line each, for people. Never empty.
    pub moved: Vec<String>,
}

/// Returns the identity of what one app renders to on one host, in both slots.
///
/// The release is not in it: where it matters it is in the content.
pub(super) fn content(app: &DesiredApp) -> Digest {
    let mut writer = DigestWriter::new().field(app.components.len().to_le_bytes());
    for archive in &app.archives {
        writer = writer.field(archive.sha256.0);
    }
    for component in &app.components {
        writer = writer.field(component.name.as_str()).field(component.strategy.as_str());
        for artifacts in places(&component.body) {
            writer = writer.field(artifacts.digest().0);
            for (service, desired) in artifacts.project.iter().flat_map(|project| &project.services) {
                writer = writer.field(service).field(&desired.digest).field(&desired.image);
            }
        }
        if !component.prerequisites.is_empty() {
            writer = writer.field(serde_json::to_vec(&component.prerequisites).unwrap_or_default());
        }
        if let Some(wanted) = &component.statics {
            writer = writer.field(&wanted.path).field(wanted.sha256.0);
        }
        for (listen, switch) in &component.switches {
            writer = writer.field(listen).field(format!("{}/{}", switch.ports.blue, switch.ports.green));
        }
        writer = writer.field(component.migrate.as_ref().map_or("", |migrate| migrate.id.as_str()));
    }
    writer.finish()
}

/// Returns the digest of everything rendered for a host, from the identities of its apps.
pub(super) fn rendered(host: &DesiredHost, contents: &BTreeMap<AppName, Digest>) -> Digest {
    let mut writer = DigestWriter::new();
    for (name, app) in &host.apps {
        let here = app.components.iter().flat_map(|c| &c.migrate).map(|migrate| u8::from(migrate.here));
        writer = writer.field(name.as_str()).field(&app.release).field(here.collect::<Vec<u8>>());
        writer = writer.field(contents.get(name).map_or_else(Vec::new, |digest| digest.0.to_vec()));
    }
    writer.finish()
}

/// Returns what a host that answered brings into the seal.
pub(super) fn basis(context: &HostContext<'_>, rendered: Digest) -> HostBasis {
    let ledger = context.records().try_fold(DigestWriter::new(), |writer, (app, record)| {
        // The commit and the transaction are for people: another commit with the same content moves nothing.
        let text = serde_json::to_vec(&record.components).ok()?;
        Some(writer.field(app.as_str()).field(text))
    });
    HostBasis { rendered, live: Some(live(context)), ledger: ledger.map(DigestWriter::finish) }
}

/// Returns the digest of the live things a plan for this host looks at. Whatever moves by itself is left out.
fn live(context: &HostContext<'_>) -> Digest {
    let report = context.report;
    let (mut files, mut units, mut projects) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut images, mut switches) = (BTreeSet::new(), BTreeSet::new());
    for component in context.desired.apps.values().flat_map(|app| &app.components) {
        for artifacts in places(&component.body) {
            files.extend(artifacts.files.keys().cloned());
            units.extend(artifacts.units.keys().cloned());
            if let Some(project) = &artifacts.project {
                projects.insert(project.name.clone());
                images.extend(project.services.values().map(|service| service.image.clone()));
            }
        }
        switches.extend(component.switches.keys().cloned());
    }
    for (_, key) in context.records().flat_map(|(_, app)| app.components.values()).flat_map(|c| recorded(c, None)) {
        match key {
            ResourceKey::File(path) => drop(files.insert(path)),
            ResourceKey::Unit(unit) => drop(units.insert(unit)),
            ResourceKey::Project(project) => drop(projects.insert(project)),
            ResourceKey::Switch(listen) => drop(switches.insert(listen)),
            ResourceKey::Service { .. }
            | ResourceKey::Migration(_)
            | ResourceKey::Group(_)
            | ResourceKey::Account(_)
            | ResourceKey::Folder(_)
            | ResourceKey::Databases(_)
            | ResourceKey::Static(_) => {}
        }
    }
    let mut writer = DigestWriter::new();
    for component in context.desired.apps.values().flat_map(|app| &app.components) {
        writer = prerequisites(writer, component, report);
    }
    for path in &files {
        writer = writer.field(path).field(fact(report.files.get(path), file_fact));
    }
    for unit in &units {
        writer = writer.field(unit).field(fact(report.units.get(unit), unit_fact));
    }
    for project in &projects {
        let text = fact(report.projects.get(project), |live| {
            let mut containers: Vec<String> = live.containers.iter().map(container_fact).collect();
            containers.sort();
            containers.join("\n")
        });
        writer = writer.field(project).field(text);
    }
    for image in &images {
        writer = writer.field(image).field(fact(report.images.get(image), Clone::clone));
    }
    for component in context.desired.apps.values().flat_map(|app| &app.components) {
        for path in places(&component.body).into_iter().filter_map(declaration) {
            let differs = |live: &DatabasesLive| {
                let all = [&live.differences, &live.seeds, &live.over, &live.reloads, &live.refused];
                all.map(|all| all.join("\n")).join("\n\n")
            };
            writer = writer.field(path).field(fact(report.databases.get(path), differs));
        }
    }
    for wanted in context.desired.apps.values().flat_map(|app| &app.components).filter_map(|c| c.statics.as_ref()) {
        let text = fact(report.statics.get(&wanted.path), |live| format!("{live:?}"));
        writer = writer.field(&wanted.path).field(text);
    }
    for listen in &switches {
        writer = writer.field(listen).field(switch_fact(report, listen));
    }
    writer.finish()
}

fn prerequisites(mut writer: DigestWriter, component: &DesiredComponent, report: &LiveReport) -> DigestWriter {
    let (wanted, live) = (&component.prerequisites, &report.prerequisites);
    for name in &wanted.groups {
        writer = writer.field(name).field(fact(live.groups.get(name), |_| String::new()));
    }
    for name in wanted.accounts.keys() {
        writer = writer.field(name).field(fact(live.accounts.get(name), |account| format!("{account:?}")));
    }
    for path in wanted.folders.keys() {
        writer = writer.field(path).field(fact(live.folders.get(path), |folder| format!("{folder:?}")));
    }
    for name in &component.packages {
        writer = writer.field(name).field(fact(live.packages.get(name), |_| String::new()));
    }
    writer
}

fn fact<T>(value: Option<&Observed<T>>, text: impl Fn(&T) -> String) -> String {
    match value {
        Some(Observed::Seen(value)) => format!("seen {}", text(value)),
        Some(Observed::Absent) => "absent".to_owned(),
        Some(Observed::Unknown(_)) | None => "unknown".to_owned(),
    }
}

fn file_fact(file: &FileLive) -> String {
    format!("{} {:o} {}:{} {}", file.digest, file.mode, file.owner, file.group, file.regular)
}

fn unit_fact(unit: &UnitLive) -> String {
    format!("{} {} {} {} {}", unit.load, unit.active, unit.sub == "auto-restart", unit.enabled, unit.needs_reload)
}

fn container_fact(container: &ContainerLive) -> String {
    let ContainerLive { service, image, digest, state, updated, .. } = container;
    format!("{service} {image} {digest} {state} {updated}")
}

fn switch_fact(report: &LiveReport, listen: &str) -> String {
    match &report.switches {
        Observed::Seen(switches) => {
            switches.get(listen).map_or_else(|| "absent".to_owned(), |switch| switch.to.to_string())
        }
        Observed::Absent => "absent".to_owned(),
        Observed::Unknown(_) => "unknown".to_owned(),
    }
}

/// Returns the seal of a plan, from everything else in it.
pub(super) fn seal(plan: &Plan) -> Digest {
    let mut writer = DigestWriter::new()
        .field(plan.format_version.to_le_bytes())
        .field(plan.environment.as_str())
        .field(plan.commit.as_str());
    for host in &plan.order {
        writer = writer.field(host.as_str());
    }
    for (host, basis) in &plan.basis.hosts {
        writer = writer.field(host.as_str()).field(basis.rendered.0);
        for part in [basis.live, basis.ledger] {
            writer = writer.field(part.map_or_else(Vec::new, |digest| digest.0.to_vec()));
        }
    }
    for (host, changes) in &plan.hosts {
        writer = writer.field(host.as_str()).field(changes.changes.len().to_le_bytes());
        for change in &changes.changes {
            writer = writer.field(change_identity(change));
        }
    }
    for blocker in &plan.blockers {
        let host = blocker.host.as_ref().map_or("", HostName::as_str);
        writer = writer.field(&blocker.code).field(host).field(blocker.app.as_ref().map_or("", |app| app.as_str()));
    }
    writer.finish()
}

/// Returns what a change is, without words for people.
fn change_identity(change: &Change) -> String {
    let slot = change.slot.map_or("", |slot| slot.as_str());
    format!("{} {} {} {slot} {} {}", change.app, change.component, change.key, change.action.symbol(), change.rule)
}

/// Returns what moved since a plan was saved; `None` when it can be applied as it was reviewed.
///
/// `fresh` is the plan made now, for the same environment and commit.
pub fn staleness(saved: &Plan, fresh: &Plan) -> Option<Stale> {
    if saved.seal == fresh.seal && seal(saved) == saved.seal {
        return None;
    }
    let mut moved = Vec::new();
    if saved.format_version != fresh.format_version {
        moved.push(format!(
            "the plan's format is {}, this program makes {}",
            saved.format_version, fresh.format_version
        ));
    }
    if saved.environment != fresh.environment {
        moved.push(format!("the plan is for environment {}, not {}", saved.environment, fresh.environment));
    }
    if saved.commit != fresh.commit {
        moved.push(format!("the commit was {}, now it is {}", saved.commit.short(), fresh.commit.short()));
    }
    let hosts: BTreeSet<&HostName> = saved.basis.hosts.keys().chain(fresh.basis.hosts.keys()).collect();
    for host in hosts {
        let before = moved.len();
        match (saved.basis.hosts.get(host), fresh.basis.hosts.get(host)) {
            (Some(_), None) => moved.push(format!("{host} is no longer in the environment")),
            (None, Some(_)) => moved.push(format!("{host} came into the environment")),
            (Some(was), Some(is)) => moved.extend(moved_on(host, was, is)),
            (None, None) => {}
        }
        if moved.len() > before {
            moved.extend(moved_changes(host, saved, fresh));
        }
    }
    let codes = |plan: &Plan| -> BTreeSet<String> {
        plan.blockers.iter().map(|blocker| format!("{}: {}", blocker.code, blocker.message)).collect()
    };
    let (was, is) = (codes(saved), codes(fresh));
    moved.extend(is.difference(&was).map(|text| format!("new blocker {text}")));
    moved.extend(was.difference(&is).map(|text| format!("blocker gone: {text}")));
    if saved.order != fresh.order {
        moved.push("the order of hosts changed".to_owned());
    }
    if moved.is_empty() {
        moved.push("the saved plan is not as it was written: it was edited, or damaged".to_owned());
    }
    Some(Stale { moved })
}

fn moved_on(host: &HostName, was: &HostBasis, is: &HostBasis) -> Vec<String> {
    let mut moved = Vec::new();
    if was.rendered != is.rendered {
        moved.push(format!("what git renders for {host} changed"));
    }
    match (was.live, is.live) {
        (Some(_), None) => moved.push(format!("{host} cannot be reached any more")),
        (None, Some(_)) => moved.push(format!("{host} can be reached again")),
        (was, is) if was != is => moved.push(format!("{host} changed since the plan was made")),
        _ => {}
    }
    if was.live.is_some() && is.live.is_some() && was.ledger != is.ledger {
        moved.push(format!("something was applied on {host} since the plan was made"));
    }
    moved
}

fn moved_changes(host: &HostName, saved: &Plan, fresh: &Plan) -> Vec<String> {
    let changes = |plan: &Plan| -> BTreeSet<String> {
        let changes = plan.hosts.get(host).map(|host| host.changes.as_slice()).unwrap_or_default();
        changes.iter().map(|change| format!("{} {}", change.action.symbol(), change.key)).collect()
    };
    let (was, is) = (changes(saved), changes(fresh));
    let now = is.difference(&was).map(|change| format!("  now planned on {host}: {change}"));
    let gone = was.difference(&is).map(|change| format!("  no longer planned on {host}: {change}"));
    now.chain(gone).collect()
}
