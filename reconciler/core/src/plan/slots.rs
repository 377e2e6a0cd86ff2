//! What is to change about a component with a blue and a green slot.
//!
//! The active slot decides. When it is as it should be, nothing happens, whatever the idle slot holds. When what it runs is not
//! what should run, the idle slot is brought up instead and takes over. When it is only stopped, it is started again where it is:
//! it is the one that was proven.

use holdfast_protocol::{ComponentRecord, Slot};

use super::component::{Outcome, Subject, starts_something};
use super::migrations::migration;
use super::place::{Comparison, Found, PlaceRecord, compare, see};
use super::ports::port_problems;
use super::prune::kept_long_enough;
use super::rule::{Finding, Weight};
use super::switches::{judge_switches, move_switches};
use super::{Approach, Change, PlanAction, Reason, ResourceKey};
use crate::desired::Artifacts;
use crate::diag::Origin;

fn record_of(record: Option<&ComponentRecord>, slot: Slot) -> PlaceRecord<'_> {
    PlaceRecord::of_slot(record.and_then(|record| record.slots.get(&slot)))
}

/// Returns what is to change about a component with slots.
pub(super) fn plan_slots(subject: Subject<'_>) -> Outcome {
    let Some(active) = subject.record.and_then(|record| record.active) else { return first(subject) };
    let artifacts = subject.component.body.artifacts(Some(active));
    let now = compare(subject, artifacts, record_of(subject.record, active));
    if !now.problems.is_empty() {
        // Without knowing the active slot nothing can be said about either.
        return Outcome { unchanged: now.unchanged, problems: now.problems, ..Outcome::default() };
    }
    if now.changes_content() { new_slot(subject, active, &now) } else { repair(subject, active, now) }
}

fn first(subject: Subject<'_>) -> Outcome {
    let slot = Slot::Blue;
    let artifacts = subject.component.body.artifacts(Some(slot));
    let mut comparison = compare(subject, artifacts, record_of(subject.record, slot));
    if comparison.is_unsure() {
        return Outcome { unchanged: comparison.unchanged, problems: comparison.problems, ..Outcome::default() };
    }
    if starts_something(&comparison) {
        comparison.problems.extend(port_problems(subject.context, subject.component, Some(slot)));
    }
    let (switches, problems) = judge_switches(subject, Some(slot));
    comparison.problems.extend(problems);
    let content = comparison.changes_content();
    let mut changes = changes_of(subject, slot, comparison.found);
    if content {
        changes.extend(migration(subject, Some(slot)));
    }
    changes.extend(changes_of(subject, slot, switches.found));
    let unchanged = comparison.unchanged + switches.unchanged;
    subject.outcome(Approach::First, (None, Some(slot)), changes, unchanged, comparison.problems)
}

fn repair(subject: Subject<'_>, active: Slot, comparison: Comparison) -> Outcome {
    let (switches, mut problems) = judge_switches(subject, Some(active));
    problems.extend(comparison.problems);
    let (over, problems_of_idle) = kept_long_enough(subject, active);
    problems.extend(problems_of_idle);
    let quiet = comparison.found.is_empty() && over.is_empty();
    let approach = if quiet { Approach::SwitchOnly } else { Approach::InPlace };
    let mut changes = changes_of(subject, active, comparison.found);
    changes.extend(changes_of(subject, active, switches.found));
    changes.extend(changes_of(subject, active.other(), over));
    let unchanged = comparison.unchanged + switches.unchanged;
    subject.outcome(approach, (Some(active), Some(active)), changes, unchanged, problems)
}

fn new_slot(subject: Subject<'_>, active: Slot, now: &Comparison) -> Outcome {
    let Subject { context, component, record, .. } = subject;
    let idle = active.other();
    let old = component.body.artifacts(Some(active));
    let new = component.body.artifacts(Some(idle));
    let place = record_of(record, idle);
    let target = compare(subject, new, place);
    let mut problems = target.problems.clone();
    if target.is_unsure() {
        return Outcome { unchanged: now.unchanged, problems, ..Outcome::default() };
    }
    problems.extend(port_problems(context, component, Some(idle)));

    let mut unchanged = 0;
    let mut found = Vec::new();
    for path in new.files.keys() {
        let key = ResourceKey::File(path.clone());
        let twin = counterpart(path, old.files.keys());
        let cause = twin.and_then(|twin| now.of(&ResourceKey::File(twin.clone())));
        let write = target.of(&key);
        if target.blocked.contains(&key) || (cause.is_none() && write.is_none()) {
            unchanged += u32::from(!target.blocked.contains(&key));
        } else {
            let origin = new.files.get(path).map(|file| file.origin.clone()).unwrap_or_default();
            let had = twin.is_some_and(|twin| recorded_file(record, active, twin));
            let mut file = in_new_slot(key, cause, had, origin);
            if write.is_none() {
                file.finding.note = format!("{idle} holds it already");
            }
            if file.because.is_empty() {
                file.because = write.map(|write| write.because.clone()).unwrap_or_default();
            }
            found.push(file);
        }
    }
    for name in new.units.keys() {
        let twin = counterpart(name, old.units.keys());
        let cause = twin.and_then(|twin| now.of(&ResourceKey::Unit(twin.clone())));
        let had = twin.is_some_and(|twin| see(&context.report.units, twin).seen().is_some_and(|u| u.load == "loaded"));
        found.push(in_new_slot(ResourceKey::Unit(name.clone()), cause, had, component.origin.clone()));
    }
    found.extend(new_services(subject, (old, new), now));
    found.retain(|found| !target.blocked.contains(&found.key));

    let mut changes = changes_of(subject, idle, found);
    changes.extend(migration(subject, Some(idle)));
    let (switches, switch_problems) = move_switches(subject, active);
    problems.extend(switch_problems);
    changes.extend(changes_of(subject, idle, switches.found));
    changes.extend(leftovers(subject, idle, new, &target));
    subject.outcome(Approach::NewSlot, (Some(active), Some(idle)), changes, unchanged + switches.unchanged, problems)
}

fn new_services(subject: Subject<'_>, (old, new): (&Artifacts, &Artifacts), now: &Comparison) -> Vec<Found> {
    let Some(project) = &new.project else { return Vec::new() };
    let key = |project: &str, service: &str| ResourceKey::Service {
        project: project.to_owned(),
        service: service.to_owned(),
    };
    let live = old.project.as_ref().and_then(|old| see(&subject.context.report.projects, &old.name).seen().copied());
    let services = project.services.keys().map(|service| {
        let cause = old.project.as_ref().and_then(|old| now.of(&key(&old.name, service)));
        let had = live.is_some_and(|live| live.containers.iter().any(|container| container.service == *service));
        in_new_slot(key(&project.name, service), cause, had, subject.component.origin.clone())
    });
    services.collect()
}

/// Returns a thing of the new slot; `cause` is what was found about the same thing in the active one.
fn in_new_slot(key: ResourceKey, cause: Option<&Found>, had: bool, origin: Origin) -> Found {
    let action = if had { PlanAction::ReplaceCreateFirst } else { PlanAction::Create };
    match cause {
        Some(cause) => Found {
            key,
            finding: Finding { action, weight: Weight::Content, ..cause.finding.clone() },
            origin,
            ..cause.clone()
        },
        None => Found {
            key,
            finding: Finding {
                action,
                reason: Reason::DependencyChanged,
                weight: Weight::Content,
                note: String::new(),
            },
            rule: "follows-slot",
            diff: String::new(),
            because: Vec::new(),
            origin,
        },
    }
}

/// Returns what the idle slot still holds from an older release and the new one does not have.
fn leftovers(subject: Subject<'_>, idle: Slot, new: &Artifacts, target: &Comparison) -> Vec<Change> {
    let Some(slot) = subject.record.and_then(|record| record.slots.get(&idle)) else { return Vec::new() };
    let finding = Finding {
        action: PlanAction::Prune,
        reason: Reason::NotInDesired,
        weight: Weight::InPlace,
        note: String::new(),
    };
    let gone = |key: ResourceKey| Found {
        origin: Origin::default(),
        ..subject.found(key, "left-in-idle-slot", finding.clone())
    };
    let units =
        slot.units.keys().filter(|unit| !new.units.contains_key(*unit)).map(|unit| ResourceKey::Unit(unit.clone()));
    let files = slot.files.keys().filter(|path| !new.files.contains_key(*path));
    let mut found: Vec<Found> = units.chain(files.map(|path| ResourceKey::File(path.clone()))).map(gone).collect();
    found.extend(target.found.iter().filter(|found| found.finding.action == PlanAction::Prune).cloned());
    found.retain(|found| !subject.context.ignore.matches(&found.key));
    changes_of(subject, idle, found)
}

fn changes_of(subject: Subject<'_>, slot: Slot, found: Vec<Found>) -> Vec<Change> {
    found.into_iter().map(|found| subject.change(Some(slot), found)).collect()
}

fn recorded_file(record: Option<&ComponentRecord>, slot: Slot, path: &str) -> bool {
    record.and_then(|record| record.slots.get(&slot)).is_some_and(|slot| slot.files.contains_key(path))
}

/// Returns the name in the other slot: equal but for the slots' words.
fn counterpart<'a>(name: &str, mut others: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let plain = |text: &str| text.replace(Slot::Blue.as_str(), "\0").replace(Slot::Green.as_str(), "\0");
    let wanted = plain(name);
    others.find(|other| plain(other) == wanted)
}
