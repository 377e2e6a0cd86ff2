//! Bringing up the idle slot of a component, out of everyone's sight.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Action, ActiveGoal};

use super::deadline;
use super::in_place::{files, leaving};
use super::steps::{Steps, is_nginx};
use super::target::Target;

/// Returns the steps that put the slot's files in place. Nothing runs yet.
pub(super) fn written(target: &Target, kept: &BTreeSet<String>) -> Steps {
    let mut steps = Steps::default();
    let puts: Vec<&String> = target.place.files.keys().filter(|path| !is_nginx(path)).collect();
    let removes: Vec<&String> = match &target.before {
        Some(old) => leaving(old, &target.place, kept).filter(|path| !is_nginx(path)).collect(),
        None => Vec::new(),
    };
    if let Some(old) = &target.before {
        for unit in old.units.keys().filter(|unit| !target.place.units.contains_key(*unit)) {
            steps.unit(&target.name, unit, Some(false), ActiveGoal::Stopped);
        }
    }
    files(&mut steps, target, &puts, &removes, BTreeMap::new());
    steps
}

/// Returns the steps that start the slot and wait until it is healthy.
pub(super) fn started(target: &Target) -> Steps {
    let name = target.name.as_str();
    let slot = target.active.map_or("", |slot| slot.as_str());
    let mut steps = Steps::default();
    if let Some(project) = &target.place.project {
        // Whatever the slot held before: going back, no container of the failed release may be left running, or be found there
        // by whoever starts the slot later.
        let grace_ms = target.stop_grace_ms;
        let (what, action) = if target.is_warm {
            ("stop", Action::ComposeStop { project: project.name.clone(), grace_ms })
        } else {
            ("throw away", Action::ComposeDown { project: project.name.clone(), grace_ms })
        };
        steps.on_undo(name, &format!("{what} {}", project.name), deadline::down(grace_ms), action);
        steps.up(name, project);
    }
    let goal = if target.is_warm { ActiveGoal::Started } else { ActiveGoal::Restarted };
    for (unit, enabled) in target.place.units.iter().filter(|(unit, _)| !target.place.is_triggered(unit)) {
        steps.unit(name, unit, Some(*enabled), goal);
    }
    if let Some(check) = &target.place.health {
        steps.health(name, &format!("{slot} healthy"), check);
    }
    steps
}
