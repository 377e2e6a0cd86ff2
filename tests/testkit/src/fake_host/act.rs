//! Effects: what each action does to the world, and how it is undone.

use std::collections::BTreeMap;

use holdfast_core::id::digest_of;
use holdfast_protocol::{
    AccountSpec, Action, ActiveGoal, AppRecord, Digest, FilePut, FolderSpec, ImageArchive, Ledger, MigrationRecord,
    MigrationRunner, SqlRun, StaticRecord, TransactionSpec, sql_order,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::behaviour::Behaviour;
use super::world::{Container, StoredFile, UnitState, World};

/// What undo needs, as it stands in the journal.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
enum Before {
    #[default]
    Nothing,
    File(Option<StoredFile>),
    Unit {
        enabled: bool,
        running: bool,
    },
    /// Units that were enabled, or not.
    Enabled(BTreeMap<String, bool>),
    /// Whether the project had containers.
    Project(bool),
    /// Services that ran.
    Ran(Vec<String>),
    Switch(Option<u16>),
    Record(Option<Box<AppRecord>>),
    /// Where the link to static files led, and whether the release was there.
    Static(Option<Digest>, bool),
    /// An account or folder that was there.
    Account(Option<AccountSpec>),
    Folder(Option<FolderSpec>),
}

/// What an error begins with that only an operator can mend.
pub(super) const OPERATOR: &str = "operator:";

/// Returns what undo of an action will need.
pub(super) fn capture(world: &World, spec: &TransactionSpec, action: &Action) -> Vec<u8> {
    let before = match action {
        Action::PutFile(FilePut { path, .. }) | Action::RemoveFile { path } => {
            Before::File(world.files.get(path).cloned())
        }
        Action::Unit { unit, .. } => {
            let state = world.units.get(unit).cloned().unwrap_or_default();
            Before::Unit { enabled: state.enabled, running: state.running.is_some() }
        }
        Action::EnableUnits { units } => {
            let enabled = |unit: &String| world.units.get(unit).is_some_and(|state| state.enabled);
            Before::Enabled(units.keys().map(|unit| (unit.clone(), enabled(unit))).collect())
        }
        Action::ComposeUp { project, .. } => {
            Before::Project(world.projects.get(project).is_some_and(|p| !p.is_empty()))
        }
        Action::ComposeStart { project } => Before::Ran(services(world, project, false)),
        Action::ComposeStop { project, .. } => Before::Ran(services(world, project, true)),
        Action::Switch { listen, .. } | Action::RemoveSwitch { listen } => {
            Before::Switch(world.switches.get(listen).copied())
        }
        Action::Record(_) => {
            let record = world.ledger.as_ref().and_then(|ledger| ledger.apps.get(&spec.app));
            Before::Record(record.cloned().map(Box::new))
        }
        Action::StaticUnpack(StaticRecord { path, release, .. }) | Action::StaticSwitch { path, release, .. } => {
            let held = world.statics.get(path).cloned().unwrap_or_default();
            Before::Static(held.at, held.releases.contains(release))
        }
        Action::Account { name, .. } => Before::Account(world.prerequisites.accounts.get(name).cloned()),
        Action::Folder { path, .. } => Before::Folder(world.prerequisites.folders.get(path).cloned()),
        _ => Before::Nothing,
    };
    serde_json::to_vec(&before).expect("what undo needs is plain data")
}

fn services(world: &World, project: &str, running: bool) -> Vec<String> {
    let containers = world.projects.get(project).into_iter().flatten();
    containers.filter(|(_, c)| c.running.is_some() == running).map(|(service, _)| service.clone()).collect()
}

/// Has images: those of an archive only when it was sent, unless they are here.
fn load(world: &mut World, images: &[String], archives: &[ImageArchive]) -> Result<(), String> {
    for archive in archives {
        let here = archive.images.keys().all(|image| world.images.contains(image));
        if world.blobs.remove(&archive.blob).is_none() && !here {
            return Err(format!("{} was not sent, and its images are not here", archive.file));
        }
    }
    world.images.extend(images.iter().cloned());
    Ok(())
}

/// Does an action that takes no time of its own. The text is the step's note, or why it failed.
pub(super) fn apply(world: &mut World, spec: &TransactionSpec, action: &Action) -> Result<String, String> {
    match action {
        Action::Preflight { ports_free, .. } => preflight(world, ports_free)?,
        Action::Group { name } => drop(world.prerequisites.groups.insert(name.clone())),
        Action::Account { name, spec } => account(world, name, spec)?,
        Action::Folder { path, spec } => folder(world, path, spec)?,
        Action::Images { images, archives } => load(world, images, archives)?,
        Action::RemoveImages { images } => world.images.retain(|image| !images.contains(image)),
        Action::PutFile(file) => put(world, file)?,
        Action::RemoveFile { path } => drop(world.files.remove(path)),
        Action::DaemonReload => daemon_reload(world),
        Action::EnableUnits { units } => link(world, units)?,
        Action::Unit { unit, enabled, active } => set_unit(world, unit, *enabled, *active)?,
        Action::ComposeUp { project, file, services } => up(world, project, file, services)?,
        Action::ComposeStart { project } => start(world, project, |_| true),
        Action::ComposeStop { project, .. } => {
            world
                .projects
                .entry(project.clone())
                .or_default()
                .values_mut()
                .for_each(|container| container.running = None);
        }
        Action::ComposeDown { project, .. } => drop(world.projects.remove(project)),
        Action::Migrate { id, .. } => return migrate(world, spec, id, action),
        Action::Downgrade { of, argv, .. } => return downgrade(world, of, argv),
        Action::Sql(run) => return sql(world, spec, run),
        Action::Backup(backup) => {
            *world.backups.entry(backup.class.clone()).or_default() += 1;
            return Ok(format!("{}-1.dump, 1 bytes", backup.class));
        }
        Action::NginxTest { put, remove: _ } => {
            for file in put {
                let bytes = world.blobs.get(&file.blob).ok_or("a blob is missing")?;
                if String::from_utf8_lossy(bytes).contains("simulate: nginx error") {
                    return Err(format!("nginx: [emerg] simulated in {}:1", file.path));
                }
            }
        }
        Action::NginxReload => {
            let files = world.files.iter().filter(|(path, _)| path.starts_with("/etc/nginx/"));
            world.nginx = files.map(|(path, file)| (path.clone(), file.bytes.clone())).collect();
        }
        Action::Certificate(spec) => {
            world.certificates.entry(spec.folder("")).or_insert_with(|| (spec.domains.clone(), Instant::now()));
        }
        Action::Switch { listen, to, .. } => {
            world.switches.insert(listen.clone(), *to);
        }
        Action::RemoveSwitch { listen } => drop(world.switches.remove(listen)),
        Action::Record(record) => {
            let ledger = world.ledger.get_or_insert_with(|| Ledger { version: 1, ..Ledger::default() });
            match record {
                Some(record) => drop(ledger.apps.insert(spec.app.clone(), (**record).clone())),
                None => drop(ledger.apps.remove(&spec.app)),
            }
        }
        Action::StaticUnpack(record) => {
            let held = world.statics.entry(record.path.clone()).or_default();
            if world.blobs.remove(&record.release).is_none() && !held.releases.contains(&record.release) {
                return Err(format!("{} was not sent, and its release is not here", record.archive));
            }
            held.releases.insert(record.release);
        }
        Action::StaticSwitch { path, release, .. } => {
            let held = world.statics.entry(path.clone()).or_default();
            if !held.releases.contains(release) {
                return Err(format!("the release {} of {path} is not there", release.short()));
            }
            held.at = Some(*release);
        }
        Action::StaticPrune { path, keep, link } => {
            let held = world.statics.entry(path.clone()).or_default();
            held.at = held.at.filter(|_| *link);
            held.releases.retain(|release| keep.contains(release) || held.at == Some(*release));
        }
        // They take time, or do nothing going forward.
        Action::Health(_)
        | Action::Prove(_)
        | Action::Smoke(_)
        | Action::Watch(_)
        | Action::Drain { .. }
        | Action::Databases { .. }
        | Action::Seed { .. }
        | Action::OnUndo(_) => {}
    }
    Ok(String::new())
}

/// Undoes an action.
pub(super) fn undo(world: &mut World, spec: &TransactionSpec, action: &Action, before: &[u8]) -> Result<(), String> {
    let before: Before = serde_json::from_slice(before).map_err(|error| error.to_string())?;
    match (action, before) {
        (Action::PutFile(FilePut { path, .. }) | Action::RemoveFile { path }, Before::File(file)) => match file {
            Some(file) => drop(world.files.insert(path.clone(), file)),
            None => drop(world.files.remove(path)),
        },
        // One that was made stays.
        (Action::Account { name, .. }, Before::Account(Some(spec))) => {
            world.prerequisites.accounts.insert(name.clone(), spec);
        }
        (Action::Folder { path, .. }, Before::Folder(before)) => match before {
            Some(spec) => drop(world.prerequisites.folders.insert(path.clone(), spec)),
            None => drop(world.prerequisites.folders.remove(path)),
        },
        (Action::StaticUnpack(record), Before::Static(_, false)) => {
            world.statics.entry(record.path.clone()).or_default().releases.remove(&record.release);
        }
        (Action::StaticSwitch { path, .. }, Before::Static(at, _)) => {
            world.statics.entry(path.clone()).or_default().at = at;
        }
        (Action::DaemonReload, _) => daemon_reload(world),
        (Action::EnableUnits { .. }, Before::Enabled(before)) => link(world, &before)?,
        (Action::Unit { unit, .. }, Before::Unit { enabled, running }) => {
            let goal = if running { ActiveGoal::Started } else { ActiveGoal::Stopped };
            set_unit(world, unit, Some(enabled), Some(goal))?;
        }
        (Action::ComposeUp { project, .. }, Before::Project(false)) => drop(world.projects.remove(project)),
        (Action::ComposeStart { project }, Before::Ran(stopped)) => {
            let containers = world.projects.entry(project.clone()).or_default();
            containers.iter_mut().filter(|(name, _)| stopped.contains(name)).for_each(|(_, c)| c.running = None);
        }
        (Action::ComposeStop { project, .. }, Before::Ran(ran)) => start(world, project, |name| ran.contains(name)),
        (Action::Switch { listen, .. } | Action::RemoveSwitch { listen }, Before::Switch(to)) => match to {
            Some(to) => drop(world.switches.insert(listen.clone(), to)),
            None => drop(world.switches.remove(listen)),
        },
        (Action::OnUndo(inner), _) => drop(apply(world, spec, inner)?),
        (Action::Record(_), Before::Record(record)) => {
            apply(world, spec, &Action::Record(record))?;
        }
        _ => {}
    }
    Ok(())
}

fn link(world: &mut World, units: &BTreeMap<String, bool>) -> Result<(), String> {
    units.iter().try_for_each(|(unit, enabled)| set_unit(world, unit, Some(*enabled), None))
}

fn preflight(world: &World, ports: &[u16]) -> Result<(), String> {
    for port in ports {
        if let Some(place) = world.places.get(port)
            && world.running(&place.units, &place.project).is_some()
            && world.switches.values().any(|to| to == port)
        {
            return Err(format!("port {port} is in use"));
        }
    }
    Ok(())
}

fn put(world: &mut World, file: &FilePut) -> Result<(), String> {
    let bytes = world.blobs.get(&file.blob).ok_or_else(|| format!("blob {} is not here", file.blob.short()))?.clone();
    let stored = StoredFile { bytes, mode: file.mode, owner: file.owner.clone(), group: file.group.clone() };
    world.files.insert(file.path.clone(), stored);
    Ok(())
}

/// The accounts and groups of the system itself are there.
fn is_known(world: &World, name: &str) -> bool {
    let made = &world.prerequisites;
    let number = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    number || ["root", "adm"].contains(&name) || made.groups.contains(name) || made.accounts.contains_key(name)
}

fn account(world: &mut World, name: &str, spec: &AccountSpec) -> Result<(), String> {
    if let Some(group) = spec.groups.iter().find(|group| !is_known(world, group)) {
        return Err(format!("group `{group}` does not exist"));
    }
    world.prerequisites.accounts.insert(name.to_owned(), spec.clone());
    Ok(())
}

fn folder(world: &mut World, path: &str, spec: &FolderSpec) -> Result<(), String> {
    if let Some(name) = [&spec.owner, &spec.group].into_iter().find(|name| !is_known(world, name)) {
        return Err(format!("`{name}` does not exist"));
    }
    world.prerequisites.folders.insert(path.to_owned(), spec.clone());
    Ok(())
}

fn daemon_reload(world: &mut World) {
    let files = world.files.iter().filter(|(path, _)| path.starts_with("/etc/systemd/system/"));
    world.systemd = files.map(|(path, file)| (path.clone(), digest_of(&file.bytes))).collect();
}

fn set_unit(world: &mut World, unit: &str, enabled: Option<bool>, active: Option<ActiveGoal>) -> Result<(), String> {
    let text = world.unit_text(unit);
    let state: &mut UnitState = world.units.entry(unit.to_owned()).or_default();
    if let Some(enabled) = enabled {
        state.enabled = enabled;
    }
    let now = Instant::now();
    let started = || text.clone().map(|text| (text, now)).ok_or_else(|| format!("unit {unit} not found"));
    match active {
        None => {}
        Some(ActiveGoal::Stopped) => state.running = None,
        Some(ActiveGoal::Started | ActiveGoal::Reloaded) if state.running.is_some() => {}
        Some(ActiveGoal::Started | ActiveGoal::Reloaded | ActiveGoal::Restarted) => state.running = Some(started()?),
    }
    Ok(())
}

fn up(world: &mut World, project: &str, file: &str, services: &BTreeMap<String, String>) -> Result<(), String> {
    let text = world.text(file).ok_or_else(|| format!("{file} is not there"))?;
    let containers = world.projects.entry(project.to_owned()).or_default();
    if !services.is_empty() {
        containers.retain(|service, _| services.contains_key(service));
    }
    for (service, digest) in services {
        let same = containers.get(service).is_some_and(|container| container.digest == *digest);
        if !same {
            let image = image_of(&text, service);
            let container = Container { digest: digest.clone(), image, text: text.clone(), running: None };
            containers.insert(service.clone(), container);
        }
    }
    start(world, project, |_| true);
    Ok(())
}

fn start(world: &mut World, project: &str, which: impl Fn(&String) -> bool) {
    let now = Instant::now();
    let containers = world.projects.entry(project.to_owned()).or_default();
    for (_, container) in containers.iter_mut().filter(|(service, _)| which(service)) {
        container.running.get_or_insert(now);
    }
}

/// Returns the image a compose file names for a service: good enough for the canonical text that is rendered.
fn image_of(text: &str, service: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines();
    let Some(head) =
        lines.find(|line| line.trim().trim_matches('"') == format!("{service}:").as_str() && indent(line) > 0)
    else {
        return String::new();
    };
    let inside = lines.take_while(|line| line.trim().is_empty() || indent(line) > indent(head));
    inside
        .filter_map(|line| line.trim().strip_prefix("image:"))
        .map(|image| image.trim().trim_matches(['"', '\'']).to_owned())
        .next()
        .unwrap_or_default()
}

/// The simulated database has one revision: the release that migrated it last.
fn migrate(world: &mut World, spec: &TransactionSpec, id: &str, action: &Action) -> Result<String, String> {
    let Action::Migrate { runner, argv, revision, downgrade, reversible, .. } = action else {
        return Err("no migration".to_owned());
    };
    if world.ledger.as_ref().is_some_and(|ledger| ledger.migrations.contains(id)) {
        return Ok("ran before".to_owned());
    }
    let component = id.split('/').nth(2).unwrap_or_default();
    let record = spec.settle.iter().find_map(|step| match &step.action {
        Action::Record(Some(record)) => record.components.get(component),
        _ => None,
    });
    let file = record.and_then(|record| match record.active {
        Some(slot) => record.slots.get(&slot).map(|slot| slot.compose_file.clone()),
        None => Some(record.compose_file.clone()),
    });
    let text = file.and_then(|file| world.text(&file)).unwrap_or_default();
    *world.migrations.entry(id.to_owned()).or_default() += 1;
    let behaviour = Behaviour::of(&text);
    if behaviour.migration_fails {
        return Err("the migration exited with 1".to_owned());
    }
    let ledger = world.ledger.get_or_insert_with(|| Ledger { version: 1, ..Ledger::default() });
    let half = ledger.migrated.remove(id).and_then(|record| record.before);
    let mut after = id.rsplit('/').next().unwrap_or_default().to_owned();
    if behaviour.stops_half_way {
        after.push_str("-half");
    }
    let now = std::mem::replace(&mut world.revision, after);
    let (before, asked) = (half.unwrap_or(now), !revision.is_empty());
    let record = MigrationRecord {
        release: spec.release.clone(),
        before: asked.then_some(before),
        after: asked.then(|| world.revision.clone()),
        at_ms: 0,
        reversible: *reversible,
        runner: runner.clone(),
        argv: argv.clone(),
        revision: revision.clone(),
        downgrade: downgrade.clone(),
        files: BTreeMap::new(),
    };
    let note = format!("{id}: {} to {}", record.before.as_deref().unwrap_or("unknown"), world.revision);
    if behaviour.stops_half_way {
        if asked {
            ledger.migrated.insert(id.to_owned(), record);
        }
        return Err(format!("the migration exited with 1, and left the schema at {}", world.revision));
    }
    ledger.migrations.insert(id.to_owned());
    ledger.migrated.insert(id.to_owned(), record);
    Ok(note)
}

/// A file that says `simulate: sql fails` fails.
fn sql(world: &mut World, spec: &TransactionSpec, run: &SqlRun) -> Result<String, String> {
    let revision = |files: &BTreeMap<String, String>| {
        let last = files.keys().max_by_key(|name| sql_order(name));
        last.map_or_else(String::new, |name| format!("{name}#{}", files.len()))
    };
    let (before, known) = (revision(&world.sql), world.sql.len());
    let mut broke = None;
    for file in &run.files {
        match world.sql.get(&file.name) {
            Some(known) if *known == file.checksum.to_string() => {}
            Some(_) => return Err(format!("applied with other content before: {}", file.name)),
            None if file.text.contains("simulate: sql fails") => {
                broke = Some(&file.name);
                break;
            }
            None => drop(world.sql.insert(file.name.clone(), file.checksum.to_string())),
        }
    }
    if let Some(name) = broke.filter(|_| known == world.sql.len()) {
        return Err(format!("{name} was not applied, nor was any after it"));
    }
    let ledger = world.ledger.get_or_insert_with(|| Ledger { version: 1, ..Ledger::default() });
    let half = ledger.migrated.remove(&run.id).and_then(|record| record.before);
    let record = MigrationRecord {
        release: spec.release.clone(),
        before: Some(half.unwrap_or(before)),
        after: Some(revision(&world.sql)),
        at_ms: 0,
        reversible: run.reversible,
        runner: MigrationRunner::Host { directory: String::new(), user: String::new() },
        argv: Vec::new(),
        revision: Vec::new(),
        downgrade: Vec::new(),
        files: world.sql.clone(),
    };
    let note = format!("{}: {} to {}", run.id, record.before.as_deref().unwrap_or_default(), revision(&world.sql));
    ledger.migrated.insert(run.id.clone(), record);
    if let Some(name) = broke {
        return Err(format!("{name} was not applied, nor was any after it"));
    }
    ledger.migrations.insert(run.id.clone());
    Ok(note)
}

fn downgrade(world: &mut World, of: &str, argv: &[String]) -> Result<String, String> {
    let Some(ledger) = &mut world.ledger else { return Ok(String::new()) };
    let Some(record) = ledger.migrated.get(of).cloned() else { return Ok(String::new()) };
    let Some(before) = record.before.filter(|_| !argv.is_empty()) else {
        return Err(format!("{OPERATOR} there is no way back from {of}"));
    };
    ledger.migrated.remove(of);
    ledger.migrations.remove(of);
    let from = std::mem::replace(&mut world.revision, before);
    // It may be done once more.
    world.migrations.remove(of);
    Ok(format!("{of}: {from} to {}", world.revision))
}
