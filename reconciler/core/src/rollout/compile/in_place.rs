//! Changing a component where it is: every step can be undone, and the old content is brought up again when it is.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Action, ActiveGoal, LiveReport};

use crate::event::{BACKUP, DATABASES, MIGRATE};
use crate::plan::{is_declaration, restarts_unit, unit_of};

use super::deadline;
use super::place::{Place, Project};
use super::steps::{Steps, is_nginx, up};
use super::target::{Target, Touched};

/// Returns the steps for everything but nginx's files, which take their own way. `kept` are paths another place still needs.
pub(super) fn steps(target: &Target, touched: &Touched, live: &LiveReport, kept: &BTreeSet<String>) -> Steps {
    let name = target.name.as_str();
    let before = target.before.as_ref();
    let mut steps = Steps::default();
    let puts: Vec<&String> = touched.files.iter().filter(|path| !is_nginx(path)).collect();
    let removes: Vec<&String> =
        before.iter().flat_map(|place| leaving(place, &target.place, kept)).filter(|path| !is_nginx(path)).collect();
    let restarts = restarts(target, &puts, &removes, touched);
    let project_up = target.project_to_bring_up();

    gone(&mut steps, target, live);
    let anew = |unit: &String| {
        if reads_again(target, &puts, &removes, unit) { ActiveGoal::Reloaded } else { ActiveGoal::Restarted }
    };
    // Undone last of all: files and systemd are as they were by then.
    for unit in restarts.iter().filter(|unit| is_active(live, unit)) {
        let action = Action::Unit { unit: unit.clone(), enabled: None, active: Some(anew(unit)) };
        let verb = if anew(unit) == ActiveGoal::Reloaded { "reload" } else { "restart" };
        steps.on_undo(name, &format!("{verb} {unit}"), deadline::UNIT_MS, action);
    }
    let old_project = before.and_then(|place| place.project.as_ref()).filter(|old| runs(live, old));
    // A file mounted into containers stays the old one for them until they start again, and compose does not see that it changed.
    let mounted = project_up.filter(|project| old_project.is_some() && puts.iter().any(|path| **path != project.file));
    if let (Some(old), Some(_)) = (old_project, project_up) {
        steps.on_undo(name, &format!("bring up {}", old.name), deadline::COMPOSE_MS, up(old));
        if mounted.is_some() {
            let action = Action::ComposeStop { project: old.name.clone(), grace_ms: target.stop_grace_ms };
            let deadline_ms = deadline::down(target.stop_grace_ms);
            steps.on_undo(name, &format!("stop {}", old.name), deadline_ms, action);
        }
    }
    let declaration = target.place.files.keys().find(|path| is_declaration(path)).cloned();
    let was_declared = before.is_some_and(|old| old.files.keys().any(|path| is_declaration(path)));
    if let Some(declaration) = declaration.clone().filter(|_| was_declared) {
        let action = Action::Databases { declaration };
        steps.on_undo(name, "make the databases as they were declared", deadline::DATABASES_MS, action);
    }
    // With a reload of systemd to come, all are linked at once before it: `systemctl enable` alone reloads each time.
    let linked: BTreeMap<String, bool> = if reloads(&puts, &removes) {
        let wanted = target.place.units.iter().filter(|(unit, _)| touched.units.contains(*unit));
        wanted
            .filter(|(unit, _)| !target.place.is_triggered(unit))
            .map(|(unit, enabled)| (unit.clone(), *enabled))
            .collect()
    } else {
        BTreeMap::new()
    };
    let enabled = |unit: &String, enabled: bool| (!linked.contains_key(unit)).then_some(enabled);
    files(&mut steps, target, &puts, &removes, linked.clone());
    if let Some(declaration) = declaration {
        let action = Action::Databases { declaration };
        steps.push(name, DATABASES, deadline::DATABASES_MS, action);
    }
    let stale = |unit: &String| live.units.get(unit).and_then(|unit| unit.seen()).is_some_and(|unit| unit.needs_reload);
    if !reloads(&puts, &removes) && touched.units.iter().any(stale) {
        steps.daemon_reload(name);
    }
    if let Some(check) = target.check.as_ref().filter(|_| !puts.is_empty()) {
        steps.push(name, "check the new files", check.timeout_ms, check.action.clone());
    }
    steps.append(migrate(target));
    if let (Some(project), true) = (project_up, target.stops()) {
        // The schema goes back with nobody on it.
        let action = Action::ComposeStop { project: project.name.clone(), grace_ms: target.stop_grace_ms };
        steps.on_undo(name, &format!("stop {}", project.name), deadline::down(target.stop_grace_ms), action);
    }
    if let Some(project) = mounted {
        steps.stop(name, &project.name, target.stop_grace_ms);
    }
    if let Some(project) = project_up {
        steps.up(name, project);
    }
    for (unit, wanted) in &target.place.units {
        if target.place.is_triggered(unit) {
            // Its timer or socket starts it; only one that runs already must run anew.
            if restarts.contains(unit) && is_active(live, unit) {
                steps.unit(name, unit, None, anew(unit));
            }
        } else if restarts.contains(unit) {
            steps.unit(name, unit, enabled(unit, *wanted), anew(unit));
        } else if touched.units.contains(unit) {
            steps.unit(name, unit, enabled(unit, *wanted), ActiveGoal::Started);
        }
    }
    if !steps.is_empty()
        && !is_edge(target)
        && let Some(check) = &target.place.health
    {
        steps.health(name, "healthy", check);
    }
    steps
}

/// Returns the steps of a migration: what is saved first, itself, and what has to happen before its predecessor serves again.
pub(super) fn migrate(target: &Target) -> Steps {
    let mut steps = Steps::default();
    let Some(migration) = &target.migration else { return steps };
    let name = target.name.as_str();
    if let Some(spec) = &migration.backup {
        let deadline_ms = deadline::backup(spec.timeout_ms);
        steps.push(name, &format!("{BACKUP} {}", spec.class), deadline_ms, Action::Backup(Box::new(spec.clone())));
    }
    // Before it, so that no decision to go back comes between them.
    if let Some(undoing) = &migration.stops {
        steps.on_undo(name, undoing.what, migration.timeout_ms, undoing.action.clone());
    }
    steps.push(name, MIGRATE, migration.timeout_ms, migration.action.clone());
    steps
}

/// Returns whether the component lives in nginx: its health can only be asked for when nginx has its files.
pub(super) fn is_edge(target: &Target) -> bool {
    target.place.files.keys().any(|path| is_nginx(path))
}

/// Returns the files of an old place that the new one no longer has.
pub(super) fn leaving<'a>(
    old: &'a Place,
    new: &'a Place,
    kept: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a String> {
    old.files.keys().filter(|path| !new.files.contains_key(*path) && !kept.contains(*path))
}

fn reloads(puts: &[&String], removes: &[&String]) -> bool {
    puts.iter().chain(removes).any(|path| unit_of(path).is_some())
}

/// Puts and removes files and links units, with systemd reading its own again in both directions. `linked` is empty where no unit
/// file changes.
pub(super) fn files(
    steps: &mut Steps,
    target: &Target,
    puts: &[&String],
    removes: &[&String],
    linked: BTreeMap<String, bool>,
) {
    let name = target.name.as_str();
    let reload = reloads(puts, removes);
    if reload {
        steps.on_undo(name, "reload systemd", deadline::NGINX_MS, Action::DaemonReload);
    }
    for path in puts {
        if let Some(file) = target.place.files.get(*path) {
            steps.put(name, path, file);
        }
    }
    for path in removes {
        steps.remove(name, path);
    }
    if reload {
        steps.enable(name, linked);
        steps.daemon_reload(name);
    }
}

/// Stops what the component no longer has. It is startable until the transaction settles.
fn gone(steps: &mut Steps, target: &Target, live: &LiveReport) {
    let Some(before) = &target.before else { return };
    for unit in before.units.keys().filter(|unit| !target.place.units.contains_key(*unit)) {
        steps.unit(&target.name, unit, Some(false), ActiveGoal::Stopped);
    }
    if let Some(old) = project_gone(target).filter(|old| runs(live, old)) {
        steps.stop(&target.name, &old.name, target.stop_grace_ms);
    }
}

/// Returns the project the component had and has no more.
pub(super) fn project_gone(target: &Target) -> Option<&Project> {
    let old = target.before.as_ref()?.project.as_ref()?;
    (target.place.project.as_ref().map(|project| &project.name) != Some(&old.name)).then_some(old)
}

/// Returns the units that must run from a new start: those whose own file changed, or all when a file that any may read did.
fn restarts(target: &Target, puts: &[&String], removes: &[&String], touched: &Touched) -> BTreeSet<String> {
    let changed = || puts.iter().chain(removes);
    let units = target.place.units.keys();
    let mut restarts: BTreeSet<String> =
        units.filter(|unit| changed().any(|path| restarts_unit(path, unit))).cloned().collect();
    // What is new has nothing to restart.
    restarts.retain(|unit| {
        let known = target.before.as_ref().is_some_and(|place| place.units.contains_key(unit));
        known || !touched.units.contains(unit)
    });
    // At its start the timer of a certificate has it looked at: what is wrong with it is put right by nothing else.
    if target.place.certificate.is_some()
        && let Some(before) = &target.before
    {
        restarts.extend(touched.units.iter().filter(|unit| before.units.contains_key(*unit)).cloned());
    }
    restarts
}

/// Returns whether a unit only has to read its files again: no other one of its files changes.
fn reads_again(target: &Target, puts: &[&String], removes: &[&String], unit: &str) -> bool {
    let mut changing = puts.iter().filter(|path| restarts_unit(path, unit)).peekable();
    // One that starts anew for another reason than a file does so.
    changing.peek().is_some()
        && changing.all(|path| target.place.reloads.contains(*path))
        && !removes.iter().any(|path| restarts_unit(path, unit))
}

/// Returns whether all of a place runs that does not wait for a timer or socket.
pub(super) fn is_running(place: &Place, live: &LiveReport) -> bool {
    let mut units = place.units.keys().filter(|unit| !place.is_triggered(unit));
    units.all(|unit| is_active(live, unit)) && place.project.as_ref().is_none_or(|project| runs(live, project))
}

fn is_active(live: &LiveReport, unit: &str) -> bool {
    live.units.get(unit).and_then(|unit| unit.seen()).is_some_and(|unit| unit.active == "active")
}

fn runs(live: &LiveReport, project: &Project) -> bool {
    let seen = live.projects.get(&project.name).and_then(|project| project.seen());
    seen.is_some_and(|project| project.containers.iter().any(|container| container.state == "running"))
}
