use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{
    Action, AppRecord, BackupSource, BackupSpec, ComponentRecord, Ledger, MigrationRunner, Prerequisites, Slot, SqlRun,
    SqlTarget,
};

use crate::config::{Strategy, WatchSpec};
use crate::desired::{DesiredApp, DesiredCheck, DesiredComponent, DesiredMigration};
use crate::plan::{Change, ResourceKey, STATIC_ADOPTED, memory_of};
use crate::render::Content;

use super::draft::FileKey;
use super::place::{Place, Project, release_of};
use super::steps::is_nginx;

/// Where one component of the app is to end, and the kind of work that brings it there.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) strategy: Strategy,
    /// The slot that is to serve; `None` without slots.
    pub(super) active: Option<Slot>,
    /// What is to be there.
    pub(super) place: Place,
    /// What the ledger says is there now: in the same slot, or in the one place.
    pub(super) before: Option<Place>,
    /// Whether no release of it serves on this host yet.
    pub(super) is_first: bool,
    /// Switches by listen address, and the port each is to go to.
    pub(super) switches: BTreeMap<String, u16>,
    /// The migration, when it is to run here and now.
    pub(super) migration: Option<Migration>,
    /// What looks at new files before anything starts with them, when this content was not looked at before.
    pub(super) check: Option<Migration>,
    /// The id of the migration that its release brings.
    pub(super) migrates: Option<String>,
    /// Whether the release before does not work with what that migration makes.
    pub(super) one_way: bool,
    /// The watch window.
    pub(super) watch: Option<WatchSpec>,
    pub(super) drain_ms: u64,
    pub(super) stop_grace_ms: Option<u64>,
    /// Whether the idle slot holds exactly this already: it is started as it is, and only stopped again when going back.
    pub(super) is_warm: bool,
    /// Whether the old slot stays startable.
    pub(super) keeps_previous: bool,
    /// Whether what the idle slot holds was kept long enough and goes.
    pub(super) drops_idle: bool,
    /// What has to be on the host before it, for the record.
    pub(super) prerequisites: Prerequisites,
    /// Bytes of memory it may take, for the record.
    pub(super) memory: u64,
    /// Whether what stands at the place of its static files and is not ours goes aside.
    pub(super) adopts_static: bool,
    /// What of that is to be made or put right, in the order of work.
    pub(super) provided: Vec<Action>,
    pub(super) work: Work,
}

/// A migration as its steps.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) action: Action,
    pub(super) timeout_ms: u64,
    /// What is saved before.
    pub(super) backup: Option<BackupSpec>,
    /// What serves now is stopped before, and only started again when this was done.
    pub(super) stops: Option<Undoing>,
}

/// How the schema gets back when the release that brought it cannot be started.
#[derive(Debug)]
pub(super) struct Undoing {
    pub(super) what: &'static str,
    pub(super) action: Action,
}

/// The kind of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// It is as it should be.
    Nothing,
    /// The whole component goes into its idle slot.
    IdleSlot,
    /// These things are changed where they are.
    InPlace(Touched),
}

/// What is touched in place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Files to be written.
    pub(super) files: BTreeSet<String>,
    /// Units to be brought to their state.
    pub(super) units: BTreeSet<String>,
    /// Whether the compose project is brought up again.
    pub(super) project: bool,
    /// Whether the database server is to be made as its declaration says, also where that is as it was.
    pub(super) databases: bool,
    /// Whether the link is to lead to the release, and that to be whole.
    pub(super) statics: bool,
}

/// When work is done in relation to the *ready* gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Before it.
    Prepare,
    /// After it.
    Promote,
}

impl Target {
    /// Returns whether anything is done.
    pub(super) fn is_touched(&self) -> bool {
        self.work != Work::Nothing
    }

    /// Returns whether what serves is stopped before its schema changes.
    pub(super) fn stops(&self) -> bool {
        self.migration.as_ref().is_some_and(|migration| migration.stops.is_some())
    }

    /// Returns the compose project when the work brings it up.
    pub(super) fn project_to_bring_up(&self) -> Option<&Project> {
        let wanted = match &self.work {
            Work::Nothing => false,
            Work::IdleSlot => true,
            Work::InPlace(touched) => touched.project || touched.files.iter().any(|path| !is_nginx(path)),
        };
        self.place.project.as_ref().filter(|_| wanted)
    }

    /// Returns when work in place is done.
    ///
    /// A stateful component must be up before others can prove themselves. So must what is new: nothing serves from it yet. Files
    /// alone serve nobody until something reads them. Everything else would be seen by users, and waits for its host's turn.
    pub(super) fn lane(&self) -> Lane {
        let inert = self.place.units.is_empty() && self.place.project.is_none();
        match self.strategy {
            Strategy::Stateful => Lane::Prepare,
            Strategy::InPlace if self.before.is_none() || inert => Lane::Prepare,
            Strategy::InPlace | Strategy::Rolling | Strategy::Singleton | Strategy::BlueGreen | Strategy::Workers => {
                Lane::Promote
            }
        }
    }
}

/// Returns the target of a component that git wants. Content whose digest is not known is added to `contents`.
pub(super) fn from_desired(
    app: &DesiredApp,
    component: &DesiredComponent,
    former: Option<&AppRecord>,
    ledger: &Ledger,
    changes: &[&Change],
    contents: &mut BTreeMap<FileKey, Content>,
) -> Target {
    let name = component.name.to_string();
    let record = former.and_then(|record| record.components.get(&name));
    let changes = changes.iter().copied().filter(|change| change.component == name);
    let (over, changes): (Vec<&Change>, Vec<&Change>) =
        changes.partition(|change| change.is_housekeeping() && !matches!(change.key, ResourceKey::Databases(_)));
    let (active, idle) = slot(app, component, record, former, &changes);
    let before = place_before(record, former, active);
    let stale: BTreeSet<&str> = changes
        .iter()
        .filter_map(|change| match &change.key {
            ResourceKey::File(path) => Some(path.as_str()),
            _ => None,
        })
        .collect();
    // A whole slot is written anew; its old content may be any older release.
    let known = if idle { None } else { before.as_ref() };
    let place = Place::from_desired(app, component, active, known, &stale, contents);
    let work = if changes.is_empty() {
        Work::Nothing
    } else if idle {
        Work::IdleSlot
    } else {
        Work::InPlace(touched(&place, before.as_ref(), &changes))
    };
    // The plan decides: it has seen the ledgers of all hosts, and says nothing where one that may have run it was not reached.
    let planned =
        |id: &str| changes.iter().any(|change| matches!(&change.key, ResourceKey::Migration(key) if key == id));
    let migration = component
        .migrate
        .as_ref()
        .filter(|migration| planned(&migration.id) && !ledger.migrations.contains(&migration.id))
        .map(|wanted| {
            let backup = backup(app, wanted, former);
            migration(wanted, &place, backup, record.is_some())
        });
    let check = component
        .check
        .as_ref()
        .filter(|check| !ledger.migrations.contains(&check.id))
        .map(|wanted| check(wanted, &place));
    let migrates = component.migrate.as_ref().map(|migration| migration.id.clone());
    let brings = record.is_some_and(|record| record.migration != migrates);
    let one_way = brings && component.migrate.as_ref().is_some_and(|migration| !migration.spec.reversible);
    let switches = component
        .switches
        .iter()
        .map(|(listen, switch)| {
            let port = if active == Some(Slot::Green) { switch.ports.green } else { switch.ports.blue };
            (listen.clone(), port)
        })
        .collect();
    Target {
        name,
        strategy: component.strategy,
        active,
        place,
        before,
        is_first: record.is_none(),
        switches,
        migration,
        check,
        migrates,
        one_way,
        watch: component.watch.clone(),
        drain_ms: component.drain.timeout.0,
        stop_grace_ms: component.drain.stop_grace.map(|grace| grace.0),
        is_warm: false,
        keeps_previous: component.keep_previous.0 > 0,
        drops_idle: !over.is_empty() && !idle,
        prerequisites: component.prerequisites.clone(),
        memory: memory_of(component),
        adopts_static: changes.iter().any(|change| change.rule == STATIC_ADOPTED),
        provided: changes.iter().filter_map(|change| provided(&component.prerequisites, &change.key)).collect(),
        work,
    }
}

/// Returns the step for one thing that has to be on the host.
fn provided(wanted: &Prerequisites, key: &ResourceKey) -> Option<Action> {
    match key {
        ResourceKey::Group(name) => wanted.groups.get(name).map(|name| Action::Group { name: name.clone() }),
        ResourceKey::Account(name) => {
            let spec = wanted.accounts.get(name)?;
            Some(Action::Account { name: name.clone(), spec: spec.clone() })
        }
        ResourceKey::Folder(path) => {
            let spec = wanted.folders.get(path)?;
            Some(Action::Folder { path: path.clone(), spec: spec.clone() })
        }
        _ => None,
    }
}

/// Returns what the ledger says is at a slot, or at the one place.
pub(super) fn place_before(
    record: Option<&ComponentRecord>,
    former: Option<&AppRecord>,
    slot: Option<Slot>,
) -> Option<Place> {
    let release = former.map_or("", |former| former.release.as_str());
    // A component that changed between slots and one place has nothing at the new one.
    let record = record.filter(|record| record.active.is_some() == slot.is_some())?;
    Place::from_record(record, release, slot)
}

/// Returns the slot that is to serve, and whether it is the idle one.
fn slot(
    app: &DesiredApp,
    component: &DesiredComponent,
    record: Option<&ComponentRecord>,
    former: Option<&AppRecord>,
    changes: &[&Change],
) -> (Option<Slot>, bool) {
    if !component.strategy.has_slots() {
        return (None, false);
    }
    let Some(active) = record.and_then(|record| record.active) else { return (Some(Slot::Blue), true) };
    if changes.is_empty() {
        return (Some(active), false);
    }
    // The plan says which slot is to serve. Where no change names one (a lost switch), the same content stays where it is.
    let slots: BTreeSet<Slot> = changes.iter().filter_map(|change| change.slot).collect();
    let idle = if slots.is_empty() {
        let wanted = Place::from_desired(app, component, Some(active), None, &BTreeSet::new(), &mut BTreeMap::new());
        !place_before(record, former, Some(active)).is_some_and(|place| place.is_like(&wanted))
    } else {
        slots.contains(&active.other())
    };
    (Some(if idle { active.other() } else { active }), idle)
}

/// Returns what the plan's changes, and the difference between two places, touch.
fn touched(place: &Place, before: Option<&Place>, changes: &[&Change]) -> Touched {
    let mut touched = difference(place, before);
    for change in changes {
        match &change.key {
            ResourceKey::File(path) if place.files.contains_key(path) => {
                touched.files.insert(path.clone());
            }
            ResourceKey::Unit(unit) if place.units.contains_key(unit) => {
                touched.units.insert(unit.clone());
            }
            ResourceKey::Databases(_) => touched.databases = true,
            ResourceKey::Static(_) => touched.statics = place.statics.is_some(),
            ResourceKey::Service { .. } | ResourceKey::Project(_) => touched.project = place.project.is_some(),
            _ => {}
        }
    }
    touched
}

/// Returns what differs between a place and what was there before.
pub(super) fn difference(place: &Place, before: Option<&Place>) -> Touched {
    let Some(before) = before else {
        return Touched {
            files: place.files.keys().cloned().collect(),
            units: place.units.keys().cloned().collect(),
            project: place.project.is_some(),
            databases: false,
            statics: place.statics.is_some(),
        };
    };
    let files = place.files.iter().filter(|(path, file)| {
        before.files.get(*path).is_none_or(|old| {
            (old.sealed, old.mode, &old.owner, &old.group) != (file.sealed, file.mode, &file.owner, &file.group)
        })
    });
    let units = place.units.iter().filter(|(unit, enabled)| before.units.get(*unit) != Some(enabled));
    let project = place.project.as_ref().is_some_and(|project| {
        before.project.as_ref().is_none_or(|old| {
            (&old.name, &old.file, &old.services) != (&project.name, &project.file, &project.services)
        })
    });
    Touched {
        files: files.map(|(path, _)| path.clone()).collect(),
        units: units.map(|(unit, _)| unit.clone()).collect(),
        project,
        databases: false,
        statics: place.statics.as_ref().map(release_of) != before.statics.as_ref().map(release_of)
            && place.statics.is_some(),
    }
}

/// Returns a look at files: run as a migration is, at most once for its content, and again when nobody knows how it ended.
fn check(wanted: &DesiredCheck, place: &Place) -> Migration {
    let runner = match &place.project {
        Some(project) if !wanted.spec.service.is_empty() => MigrationRunner::Service {
            project: project.name.clone(),
            file: project.file.clone(),
            service: wanted.spec.service.clone(),
        },
        _ => MigrationRunner::Host { directory: String::new(), user: String::new() },
    };
    let (id, argv) = (wanted.id.clone(), wanted.spec.command.clone());
    let (revision, downgrade) = (Vec::new(), Vec::new());
    let action = Action::Migrate { id, runner, argv, idempotent: true, revision, downgrade, reversible: true };
    Migration { action, timeout_ms: wanted.spec.timeout.0, backup: None, stops: None }
}

/// Returns what is to be saved before a migration. Where nothing of it was ever applied there is nothing to save.
fn backup(app: &DesiredApp, wanted: &DesiredMigration, former: Option<&AppRecord>) -> Option<BackupSpec> {
    let mut backups = app.components.iter().flat_map(|component| component.backups.values());
    let spec = &backups.find(|backup| backup.spec.class == wanted.spec.backup)?.spec;
    let former = former?;
    let is_there = match &spec.source {
        // The host's own server was there before us.
        BackupSource::Postgres { project, .. } if project.is_empty() => true,
        BackupSource::Postgres { project, .. }
        | BackupSource::Redis { project, .. }
        | BackupSource::Volumes { project, .. } => {
            former.components.values().any(|record| record.project.as_ref() == Some(project))
        }
        BackupSource::Files { .. } => true,
    };
    is_there.then(|| spec.clone())
}

fn migration(wanted: &DesiredMigration, place: &Place, backup: Option<BackupSpec>, serves: bool) -> Migration {
    let spec = &wanted.spec;
    let runner = match &place.project {
        Some(project) => MigrationRunner::Service {
            project: project.name.clone(),
            file: project.file.clone(),
            service: if spec.service.is_empty() {
                project.services.keys().next().cloned().unwrap_or_default()
            } else {
                spec.service.clone()
            },
        },
        None => MigrationRunner::Host { directory: String::new(), user: String::new() },
    };
    // The release took no request yet, so nothing is lost by taking its schema back.
    let undoing = Undoing {
        what: "take the migration back",
        action: Action::Downgrade {
            of: wanted.id.clone(),
            runner: runner.clone(),
            argv: spec.downgrade.clone(),
            revision: spec.revision.clone(),
        },
    };
    if let Some(sql) = &spec.sql {
        let target = SqlTarget {
            project: wanted.project.clone(),
            service: sql.service.clone(),
            database: sql.database.clone(),
            user: sql.user.clone(),
        };
        let run = SqlRun {
            id: wanted.id.clone(),
            // Between the environment and the digest.
            owner: wanted.id.split('/').skip(1).take(2).collect::<Vec<_>>().join("/"),
            target,
            files: sql.files.clone(),
            reversible: spec.reversible,
        };
        let stops = (spec.breaking && serves).then_some(undoing);
        return Migration { action: Action::Sql(Box::new(run)), timeout_ms: spec.timeout.0, backup, stops };
    }
    Migration {
        action: Action::Migrate {
            id: wanted.id.clone(),
            runner,
            argv: spec.command.clone(),
            idempotent: spec.idempotent,
            revision: spec.revision.clone(),
            downgrade: spec.downgrade.clone(),
            reversible: spec.reversible,
        },
        timeout_ms: spec.timeout.0,
        backup,
        stops: (spec.breaking && serves).then_some(undoing),
    }
}
