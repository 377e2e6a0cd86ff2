//! A model of hosts for tests: what a perfect apply of a plan leaves behind.
//!
//! It does what the plan lists and nothing more, so a plan that forgets something leaves a host on which the next plan is not
//! empty.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{
    AppRecord, Architecture, ComponentRecord, ContainerLive, DatabasesLive, Digest, FileLive, FileRecord, Hello,
    Ledger, LiveReport, NginxLive, Observed, ProjectLive, Resources, Slot, SlotRecord, StaticAt, StaticLive,
    StaticRecord, SwitchLive, Tool, UnitLive,
};

use super::observe::{file_digest, observe_request};
use super::prune::recorded;
use super::sample::image_id;
use super::switches::port_of;
use super::{
    Approach, Change, ComponentPlan, HostPlan, LiveHost, LiveState, Plan, PlanAction, PlanOptions, ResourceKey, plan,
};
use crate::desired::{Artifacts, Body, DesiredComponent, DesiredFile, DesiredHost, DesiredState};
use crate::id::HostName;
use crate::time::Timestamp;

/// Static files of which nothing was ever on a host.
pub(crate) const NOT_THERE: StaticLive = StaticLive { at: StaticAt::Nothing, unpacked: false, changed: Vec::new() };

/// Returns the plan with plain options.
pub(crate) fn plan_of(desired: &DesiredState, live: &LiveState) -> Plan {
    let quarantined = BTreeSet::new();
    let options = PlanOptions {
        observed_at: Timestamp(1_000),
        quarantined: &quarantined,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: false,
        adopt: false,
    };
    plan(desired, live, &options)
}

/// Returns the answer of a host, to be changed.
pub(crate) fn report<'a>(live: &'a mut LiveState, host: &str) -> &'a mut LiveReport {
    match live.hosts.get_mut(&super::sample::host_name(host)) {
        Some(LiveHost::Reached { report, .. }) => report,
        other => panic!("{host}: {other:?}"),
    }
}

/// Returns what a host of these tests says of itself.
pub(crate) fn hello(host: &HostName) -> Hello {
    let version = |text: &str| Tool::Version(text.to_owned());
    Hello {
        protocol: holdfast_protocol::PROTOCOL_VERSION,
        kernel: "6.12.0".to_owned(),
        distribution: "Debian GNU/Linux 13 (trixie)".to_owned(),
        architecture: Architecture::X86_64,
        hostname: host.to_string(),
        systemd: version("257"),
        nginx: version("1.26.3"),
        docker: version("26.1.5"),
        compose: version("2.26.1"),
        capabilities: BTreeSet::new(),
        fence: 0,
        boot_id: "boot".to_owned(),
        postgresql_client: holdfast_protocol::Tool::Missing,
        logrotate: holdfast_protocol::Tool::Missing,
    }
}

/// Returns the answer of a host on which nothing was ever applied.
pub(crate) fn empty_report(host: &DesiredHost) -> LiveReport {
    let request = observe_request(host);
    LiveReport {
        files: request.files.into_iter().map(|query| (query.path, Observed::Absent)).collect(),
        units: request.units.into_iter().map(|unit| (unit, Observed::Absent)).collect(),
        projects: request.projects.into_iter().map(|project| (project, Observed::Absent)).collect(),
        images: request.images.into_iter().map(|image| (image.clone(), Observed::Seen(image_id(&image)))).collect(),
        nginx: Observed::Seen(NginxLive { active: true, error: String::new() }),
        switches: Observed::Seen(BTreeMap::new()),
        backups: BTreeMap::new(),
        certificates: BTreeMap::new(),
        prerequisites: holdfast_protocol::PrerequisitesLive {
            groups: request.prerequisites.groups.into_iter().map(|name| (name, Observed::Absent)).collect(),
            accounts: request.prerequisites.accounts.into_iter().map(|name| (name, Observed::Absent)).collect(),
            folders: request.prerequisites.folders.into_iter().map(|path| (path, Observed::Absent)).collect(),
            packages: request.prerequisites.packages.into_iter().map(|name| (name, Observed::Absent)).collect(),
        },
        databases: BTreeMap::new(),
        statics: request.statics.into_iter().map(|query| (query.path, Observed::Seen(NOT_THERE))).collect(),
        listening: Vec::new(),
        resources: Resources {
            disk_free: 1 << 40,
            inodes_free: 1 << 20,
            memory_available: 1 << 30,
            memory_total: 1 << 31,
            processors: 4,
        },
        ledger: Observed::Absent,
        transactions: Vec::new(),
        fence: 0,
    }
}

/// Returns a fleet on which nothing was ever applied.
pub(crate) fn empty_live(desired: &DesiredState) -> LiveState {
    let reached = |(name, host): (&HostName, &DesiredHost)| {
        let host = LiveHost::Reached { hello: Box::new(hello(name)), report: Box::new(empty_report(host)) };
        (name.clone(), host)
    };
    LiveState { hosts: desired.hosts.iter().map(reached).collect() }
}

/// Returns the fleet as a perfect apply of this state leaves it, from nothing.
pub(crate) fn live_as_desired(desired: &DesiredState) -> LiveState {
    let live = empty_live(desired);
    let plan = plan_of(desired, &live);
    assert!(plan.blockers.is_empty(), "{:#?}", plan.blockers);
    apply(desired, &plan, &live)
}

/// Returns what these hosts answer when they are asked for a desired state: everything it names, and the content only of files
/// that hold no secret and differ.
pub(crate) fn ask(desired: &DesiredState, live: &LiveState) -> LiveState {
    let mut answer = with_keys(desired, live);
    for (name, host) in &mut answer.hosts {
        let LiveHost::Reached { report, .. } = host else { continue };
        let request = observe_request(&desired.hosts[name]);
        let expected: BTreeMap<_, _> = request.files.into_iter().map(|query| (query.path, query.expected)).collect();
        for (path, file) in &mut report.files {
            if let Observed::Seen(file) = file {
                let wanted = expected.get(path).copied().flatten();
                if wanted.is_none_or(|digest| digest == file.digest) {
                    file.content = None;
                }
            }
        }
    }
    answer
}

/// Returns the hosts of a desired state as they are, with everything it names in their report.
fn with_keys(desired: &DesiredState, live: &LiveState) -> LiveState {
    let mut known = empty_live(desired);
    for (name, host) in &mut known.hosts {
        let Some(held) = live.hosts.get(name) else { continue };
        let mut held = held.clone();
        if let (LiveHost::Reached { report, .. }, LiveHost::Reached { report: held, .. }) = (&*host, &mut held) {
            merge(&mut held.files, &report.files);
            merge(&mut held.units, &report.units);
            merge(&mut held.projects, &report.projects);
            merge(&mut held.images, &report.images);
        }
        *host = held;
    }
    known
}

fn merge<T: Clone>(held: &mut BTreeMap<String, Observed<T>>, asked: &BTreeMap<String, Observed<T>>) {
    for (key, value) in asked {
        held.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// Returns the fleet after a plan was applied, file contents and all: [`ask`] it for what a manager sees.
pub(crate) fn apply(desired: &DesiredState, plan: &Plan, live: &LiveState) -> LiveState {
    let mut live = with_keys(desired, live);
    for (name, host) in &mut live.hosts {
        if let (LiveHost::Reached { report, .. }, Some(host_plan)) = (host, plan.hosts.get(name)) {
            apply_host(desired, &desired.hosts[name], host_plan, report);
        }
    }
    live
}

fn apply_host(state: &DesiredState, desired: &DesiredHost, plan: &HostPlan, report: &mut LiveReport) {
    let mut ledger = match &report.ledger {
        Observed::Seen(ledger) => ledger.clone(),
        Observed::Absent => Ledger { version: 1, ..Ledger::default() },
        Observed::Unknown(_) => return,
    };
    for change in &plan.changes {
        let component = desired
            .apps
            .get(&change.app)
            .and_then(|app| app.components.iter().find(|component| component.name.as_str() == change.component));
        carry_out(change, component, report, &mut ledger);
    }
    for moved in &plan.components {
        let key = format!("{}/{}", state.environment, moved.app);
        let record = ledger.apps.entry(key.clone()).or_insert_with(|| AppRecord {
            release: String::new(),
            commit: state.commit.to_string(),
            transaction: "t".to_owned(),
            components: BTreeMap::new(),
            previous: None,
        });
        let wanted = desired
            .apps
            .get(&moved.app)
            .and_then(|app| app.components.iter().find(|component| component.name.as_str() == moved.component));
        match wanted {
            None => drop(record.components.remove(&moved.component)),
            Some(component) => {
                record.release.clone_from(&moved.to_release);
                let old = record.components.get(&moved.component).cloned().unwrap_or_default();
                let mut new = component_record(component, moved, &old, report);
                let over = |change: &&Change| {
                    change.is_housekeeping() && change.app == moved.app && change.component == moved.component
                };
                if let Some(slot) = plan.changes.iter().find(over).and_then(|change| change.slot) {
                    new.slots.remove(&slot);
                }
                record.components.insert(moved.component.clone(), new);
                stop_old_slot(component, moved, report);
            }
        }
        if record.components.is_empty() {
            ledger.apps.remove(&key);
        }
    }
    report.ledger = Observed::Seen(ledger);
}

fn carry_out(change: &Change, component: Option<&DesiredComponent>, report: &mut LiveReport, ledger: &mut Ledger) {
    let artifacts = component.map(|component| component.body.artifacts(change.slot));
    if change.action == PlanAction::Prune {
        match &change.key {
            ResourceKey::File(path) => drop(report.files.insert(path.clone(), Observed::Absent)),
            ResourceKey::Unit(unit) => drop(report.units.insert(unit.clone(), Observed::Absent)),
            ResourceKey::Project(project) => drop(report.projects.insert(project.clone(), Observed::Absent)),
            ResourceKey::Service { project, service } => {
                if let Some(Observed::Seen(live)) = report.projects.get_mut(project) {
                    live.containers.retain(|container| container.service != *service);
                }
            }
            ResourceKey::Switch(listen) => {
                if let Observed::Seen(switches) = &mut report.switches {
                    switches.remove(listen);
                }
            }
            ResourceKey::Static(path) => drop(report.statics.insert(path.clone(), Observed::Seen(NOT_THERE))),
            ResourceKey::Migration(_)
            | ResourceKey::Group(_)
            | ResourceKey::Account(_)
            | ResourceKey::Folder(_)
            | ResourceKey::Databases(_) => {
                unreachable!("they are not pruned")
            }
        }
        return;
    }
    let (component, artifacts) = (component.unwrap(), artifacts.unwrap());
    match &change.key {
        ResourceKey::File(path) => {
            report.files.insert(path.clone(), Observed::Seen(written(&artifacts.files[path])));
            // systemd notices that a unit's file is newer than what it loaded; the apply reloads.
        }
        ResourceKey::Unit(unit) => {
            report.units.insert(unit.clone(), Observed::Seen(running_unit(artifacts.units[unit].enabled)));
        }
        ResourceKey::Service { project, service } => {
            let desired = artifacts.project.as_ref().unwrap();
            assert_eq!(&desired.name, project);
            let live = report.projects.entry(project.clone()).or_insert(Observed::Absent);
            let mut containers = live.seen().map(|live| live.containers.clone()).unwrap_or_default();
            containers.retain(|container| container.service != *service);
            containers.push(container(
                project,
                service,
                &desired.services[service].digest,
                &desired.services[service].image,
            ));
            *live = Observed::Seen(ProjectLive { containers });
        }
        ResourceKey::Switch(listen) => {
            let to = port_of(component.switches[listen].ports, change.slot);
            let Observed::Seen(switches) = &mut report.switches else { panic!("unknown switches were changed") };
            switches.insert(listen.clone(), SwitchLive { to });
        }
        ResourceKey::Migration(id) => drop(ledger.migrations.insert(id.clone())),
        ResourceKey::Group(name) => drop(report.prerequisites.groups.insert(name.clone(), Observed::Seen(999))),
        ResourceKey::Account(name) => {
            let spec = &component.prerequisites.accounts[name];
            let live = holdfast_protocol::AccountLive {
                group: spec.group.clone(),
                groups: spec.groups.clone(),
                home: spec.home.clone(),
                shell: spec.shell.clone(),
            };
            report.prerequisites.accounts.insert(name.clone(), Observed::Seen(live));
        }
        ResourceKey::Folder(path) => {
            let spec = &component.prerequisites.folders[path];
            let live = holdfast_protocol::FolderLive {
                folder: true,
                mode: spec.mode,
                owner: spec.owner.clone(),
                group: spec.group.clone(),
                numbers: (999, 999),
            };
            report.prerequisites.folders.insert(path.clone(), Observed::Seen(live));
        }
        ResourceKey::Databases(path) => {
            drop(report.databases.insert(path.clone(), Observed::Seen(DatabasesLive::default())));
        }
        ResourceKey::Static(path) => {
            let at = StaticAt::Release(component.statics.as_ref().unwrap().sha256);
            let live = StaticLive { at, unpacked: true, changed: Vec::new() };
            report.statics.insert(path.clone(), Observed::Seen(live));
        }
        ResourceKey::Project(_) => unreachable!("projects change by their services"),
    }
}

/// Returns the bytes a file has on a host: a secret is its fingerprint, reversed.
pub(crate) fn bytes(file: &DesiredFile) -> Vec<u8> {
    file.content.as_text().unwrap_or_else(|| file.content.shown().chars().rev().collect()).into_bytes()
}

pub(crate) fn written(file: &DesiredFile) -> FileLive {
    let bytes = bytes(file);
    FileLive {
        digest: file_digest(file).unwrap_or_else(|| crate::id::digest_of(&bytes)),
        mode: file.mode,
        owner: file.owner.clone(),
        group: file.group.clone(),
        numbers: (0, 0),
        size: bytes.len() as u64,
        regular: true,
        content: Some(bytes),
    }
}

pub(crate) fn running_unit(enabled: bool) -> UnitLive {
    UnitLive {
        load: "loaded".to_owned(),
        active: "active".to_owned(),
        sub: "running".to_owned(),
        enabled: if enabled { "enabled" } else { "disabled" }.to_owned(),
        restarts: 0,
        needs_reload: false,
        drop_ins: Vec::new(),
        main_pid: 100,
    }
}

pub(crate) fn container(project: &str, service: &str, digest: &str, image: &str) -> ContainerLive {
    ContainerLive {
        service: service.to_owned(),
        name: format!("{project}-{service}-1"),
        id: format!("{project}/{service}"),
        image: image_id(image),
        digest: digest.to_owned(),
        config_hash: String::new(),
        updated: String::new(),
        state: "running".to_owned(),
        health: String::new(),
        restarts: 0,
        started_at: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn file_records(artifacts: &Artifacts, report: &LiveReport) -> BTreeMap<String, FileRecord> {
    let record = |(path, file): (&String, &DesiredFile)| {
        let digest = match &report.files[path] {
            Observed::Seen(live) => live.digest,
            Observed::Absent | Observed::Unknown(_) => Digest([0; 32]),
        };
        let record = FileRecord {
            digest,
            sealed: file.content.sealed(),
            mode: file.mode,
            owner: file.owner.clone(),
            group: file.group.clone(),
        };
        (path.clone(), record)
    };
    artifacts.files.iter().map(record).collect()
}

fn component_record(
    component: &DesiredComponent,
    moved: &ComponentPlan,
    old: &ComponentRecord,
    report: &LiveReport,
) -> ComponentRecord {
    let units = |artifacts: &Artifacts| artifacts.units.iter().map(|(unit, u)| (unit.clone(), u.enabled)).collect();
    let mut record = ComponentRecord { strategy: component.strategy.as_str().to_owned(), ..ComponentRecord::default() };
    record.prerequisites = component.prerequisites.clone();
    match &component.body {
        Body::Single(artifacts) => {
            record.files = file_records(artifacts, report);
            record.units = units(artifacts);
            record.project = artifacts.project.as_ref().map(|project| project.name.clone());
            record.statics = component.statics.as_ref().map(|wanted| StaticRecord {
                path: wanted.path.clone(),
                archive: wanted.archive.clone(),
                release: wanted.sha256,
                size: 0,
                content: holdfast_protocol::StaticContent::default(),
            });
        }
        Body::Slots { .. } => {
            let slot = moved.to.or(old.active).unwrap_or(Slot::Blue);
            let artifacts = component.body.artifacts(Some(slot));
            record.active = Some(slot);
            record.slots = old.slots.clone();
            if moved.approach != Approach::SwitchOnly {
                let project = artifacts.project.as_ref();
                record.slots.insert(
                    slot,
                    SlotRecord {
                        release: moved.to_release.clone(),
                        files: file_records(artifacts, report),
                        units: units(artifacts),
                        project: project.map(|project| project.name.clone()),
                        services: project
                            .iter()
                            .flat_map(|project| &project.services)
                            .map(|(name, service)| (name.clone(), service.digest.clone()))
                            .collect(),
                        ports: component.ports.iter().map(|(n, p)| (n.clone(), port_of(*p, Some(slot)))).collect(),
                        ..SlotRecord::default()
                    },
                );
            }
            record.switches = component
                .switches
                .iter()
                .map(|(listen, switch)| (listen.clone(), port_of(switch.ports, Some(slot))))
                .collect();
        }
    }
    record
}

/// After a switch the old slot is stopped and kept.
fn stop_old_slot(component: &DesiredComponent, moved: &ComponentPlan, report: &mut LiveReport) {
    let (Some(from), Some(to)) = (moved.from, moved.to) else { return };
    if from == to || moved.approach != Approach::NewSlot {
        return;
    }
    let old = component.body.artifacts(Some(from));
    for unit in old.units.keys() {
        if let Some(Observed::Seen(unit)) = report.units.get_mut(unit) {
            "inactive".clone_into(&mut unit.active);
            "disabled".clone_into(&mut unit.enabled);
        }
    }
    if let Some(Observed::Seen(live)) = old.project.as_ref().and_then(|project| report.projects.get_mut(&project.name))
    {
        for container in &mut live.containers {
            "exited".clone_into(&mut container.state);
        }
    }
}

/// Returns every key that the ledgers of a fleet name, by host.
pub(crate) fn ledger_keys(live: &LiveState) -> BTreeMap<HostName, Vec<ResourceKey>> {
    let keys = |(name, host): (&HostName, &LiveHost)| {
        let LiveHost::Reached { report, .. } = host else { return None };
        let ledger = report.ledger.seen()?;
        let components = ledger.apps.values().flat_map(|app| app.components.values());
        Some((name.clone(), components.flat_map(|c| recorded(c, None)).map(|(_, key)| key).collect()))
    };
    live.hosts.iter().filter_map(keys).collect()
}
