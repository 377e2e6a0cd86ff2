//! What a fake host says when it is observed.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::id::digest_of;
use holdfast_protocol::{
    AccountLive, CertificateLive, CertificateSpec, ChainLive, ComponentRecord, ContainerLive, FileLive, FolderLive,
    LiveReport, NginxLive, ObserveRequest, Observed, PrerequisiteQuery, PrerequisitesLive, ProjectLive, Resources,
    StaticAt, StaticLive, StaticQuery, SwitchLive, TransactionStatus, UnitLive,
};

use super::host::FakeHost;
use super::runner::phase;
use super::world::World;

impl FakeHost {
    pub(super) fn observe(&self, question: &ObserveRequest) -> LiveReport {
        let state = self.lock();
        let world = &state.world;
        let (mut files, mut units, mut projects) = named(world);
        files.extend(question.files.iter().map(|query| query.path.clone()));
        units.extend(question.units.iter().cloned());
        projects.extend(question.projects.iter().cloned());
        let expected: BTreeMap<_, _> = question.files.iter().map(|query| (&query.path, query.expected)).collect();
        let look = |path: &String| {
            let Some(file) = world.files.get(path) else { return Observed::Absent };
            let digest = digest_of(&file.bytes);
            let wanted = expected.get(path).copied().flatten().is_some_and(|expected| expected != digest);
            Observed::Seen(FileLive {
                digest,
                mode: file.mode,
                owner: file.owner.clone(),
                group: file.group.clone(),
                numbers: (0, 0),
                size: file.bytes.len() as u64,
                regular: true,
                content: wanted.then(|| file.bytes.clone()),
            })
        };
        LiveReport {
            files: files.into_iter().map(|path| (path.clone(), look(&path))).collect(),
            units: units.into_iter().map(|unit| (unit.clone(), unit_live(world, &unit))).collect(),
            projects: projects.into_iter().map(|project| (project.clone(), project_live(world, &project))).collect(),
            images: question.images.iter().map(|image| (image.clone(), image_live(world, image))).collect(),
            nginx: Observed::Seen(NginxLive { active: true, error: String::new() }),
            switches: Observed::Seen(
                world.switches.iter().map(|(listen, to)| (listen.clone(), SwitchLive { to: *to })).collect(),
            ),
            backups: BTreeMap::new(),
            certificates: question
                .certificates
                .iter()
                .map(|(path, spec)| (path.clone(), Observed::Seen(certificate_live(world, spec))))
                .collect(),
            prerequisites: prerequisites(world, &question.prerequisites),
            databases: BTreeMap::new(),
            statics: question.statics.iter().map(|query| (query.path.clone(), static_live(world, query))).collect(),
            listening: Vec::new(),
            resources: Resources {
                disk_free: 1 << 40,
                inodes_free: 1 << 20,
                memory_available: 1 << 33,
                memory_total: 1 << 34,
                processors: 4,
            },
            ledger: world.ledger.clone().map_or(Observed::Absent, Observed::Seen),
            transactions: state
                .transactions
                .values()
                .filter(|transaction| transaction.begun)
                .map(|transaction| TransactionStatus {
                    id: transaction.spec.id.clone(),
                    app: transaction.spec.app.clone(),
                    release: transaction.spec.release.clone(),
                    fence: transaction.spec.fence,
                    phase: phase(transaction),
                    outcome: transaction.outcome(),
                    running: transaction.running,
                    followed: transaction.followers > 0 && transaction.outcome().is_none(),
                    confirms: transaction.outcome().is_none()
                        && transaction.spec.confirm_within_ms.is_some()
                        && !transaction.confirmed,
                    manager: "simulated".to_owned(),
                    since_ms: 0,
                    commit: transaction.spec.commit.clone(),
                })
                .collect(),
            fence: state.fence,
        }
    }
}

fn prerequisites(world: &World, query: &PrerequisiteQuery) -> PrerequisitesLive {
    let made = &world.prerequisites;
    let account = |name: &String| {
        made.accounts.get(name).map_or(Observed::Absent, |spec| {
            Observed::Seen(AccountLive {
                group: spec.group.clone(),
                groups: spec.groups.clone(),
                home: spec.home.clone(),
                shell: spec.shell.clone(),
            })
        })
    };
    let folder = |path: &String| {
        made.folders.get(path).map_or(Observed::Absent, |spec| {
            let (owner, group) = (spec.owner.clone(), spec.group.clone());
            Observed::Seen(FolderLive { folder: true, mode: spec.mode, owner, group, numbers: (999, 999) })
        })
    };
    let group = |name: &String| if made.groups.contains(name) { Observed::Seen(999) } else { Observed::Absent };
    PrerequisitesLive {
        groups: query.groups.iter().map(|name| (name.clone(), group(name))).collect(),
        accounts: query.accounts.iter().map(|name| (name.clone(), account(name))).collect(),
        folders: query.folders.iter().map(|path| (path.clone(), folder(path))).collect(),
        packages: query.packages.iter().map(|name| (name.clone(), Observed::Seen("1".to_owned()))).collect(),
    }
}

/// Returns files, units and projects that the ledger names.
fn named(world: &World) -> (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>) {
    let (mut files, mut units, mut projects) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let records = world.ledger.iter().flat_map(|ledger| ledger.apps.values()).flat_map(|app| app.components.values());
    for ComponentRecord { files: own, units: own_units, project, slots, .. } in records {
        files.extend(own.keys().chain(slots.values().flat_map(|slot| slot.files.keys())).cloned());
        units.extend(own_units.keys().chain(slots.values().flat_map(|slot| slot.units.keys())).cloned());
        projects.extend(project.iter().chain(slots.values().filter_map(|slot| slot.project.as_ref())).cloned());
    }
    (files, units, projects)
}

fn static_live(world: &World, query: &StaticQuery) -> Observed<StaticLive> {
    let held = world.statics.get(&query.path).cloned().unwrap_or_default();
    Observed::Seen(StaticLive {
        at: held.at.map_or(StaticAt::Nothing, StaticAt::Release),
        unpacked: held.releases.contains(&query.release),
        changed: Vec::new(),
    })
}

fn unit_live(world: &World, unit: &str) -> Observed<UnitLive> {
    let path = format!("/etc/systemd/system/{unit}");
    let Some(text) = world.unit_text(unit) else { return Observed::Absent };
    let state = world.units.get(unit).cloned().unwrap_or_default();
    let running = state.running.is_some();
    Observed::Seen(UnitLive {
        load: "loaded".to_owned(),
        active: if running { "active" } else { "inactive" }.to_owned(),
        sub: if running { "running" } else { "dead" }.to_owned(),
        enabled: match (state.enabled, text.contains("[Install]")) {
            (true, _) => "enabled",
            (false, true) => "disabled",
            (false, false) => "static",
        }
        .to_owned(),
        restarts: 0,
        needs_reload: world
            .files
            .get(&path)
            .is_some_and(|file| world.systemd.get(&path) != Some(&digest_of(&file.bytes))),
        drop_ins: Vec::new(),
        main_pid: u32::from(running) * 100,
    })
}

fn project_live(world: &World, project: &str) -> Observed<ProjectLive> {
    let Some(containers) = world.projects.get(project).filter(|containers| !containers.is_empty()) else {
        return Observed::Absent;
    };
    let containers = containers.iter().map(|(service, container)| ContainerLive {
        service: service.clone(),
        name: format!("{project}-{service}-1"),
        id: format!("{project}/{service}"),
        image: image_id(&container.image),
        digest: container.digest.clone(),
        config_hash: String::new(),
        updated: String::new(),
        state: if container.running.is_some() { "running" } else { "exited" }.to_owned(),
        health: String::new(),
        restarts: 0,
        started_at: String::new(),
    });
    Observed::Seen(ProjectLive { containers: containers.collect() })
}

/// An image by its reference or by its id.
fn image_live(world: &World, name: &str) -> Observed<String> {
    let found = world.images.iter().find(|image| *image == name || image_id(image) == name);
    found.map_or(Observed::Absent, |image| Observed::Seen(image_id(image)))
}

/// Returns the id of the image that a fake host has under a reference.
pub fn image_id(reference: &str) -> String {
    format!("sha256:{}", digest_of(reference.as_bytes()))
}

/// A certificate of this fleet is good for a day, and nobody renews it.
fn certificate_live(world: &World, spec: &CertificateSpec) -> CertificateLive {
    let chain = world.certificates.get(&spec.folder("")).map(|(domains, since)| {
        let left_ms = 86_400_000 - i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut domains = domains.clone();
        domains.sort();
        ChainLive {
            issuer: "CN=simulated".to_owned(),
            domains,
            not_after_ms: 86_400_000,
            left_ms,
            lifetime_ms: 86_400_000,
            temporary: false,
        }
    });
    let lacks = spec.programs().iter().filter(|program| world.lacks.contains(**program));
    CertificateLive { missing: lacks.map(|program| (*program).to_owned()).collect(), chain, hsts: false, failed: None }
}
