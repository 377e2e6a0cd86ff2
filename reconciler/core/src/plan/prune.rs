//! What the ledger has and git no more.
//!
//! # Guarantees
//! Only what this environment's part of the ledger names, and only what no app of this or another environment still has. Volumes
//! are in no ledger and are never touched.

use std::collections::BTreeSet;

use holdfast_protocol::{ComponentRecord, FileRecord, Observed, Slot};

use super::component::Subject;
use super::host::HostContext;
use super::observe::places;
use super::place::{Found, Problem, see};
use super::rule::{Finding, Weight};
use super::{Approach, Change, ComponentPlan, HostPlan, KEEP_PREVIOUS_OVER, PlanAction, Reason, ResourceKey};
use crate::desired::{Artifacts, Body, DesiredComponent};
use crate::diag::Origin;
use crate::id::AppName;
use crate::time::Timestamp;

/// What is to be removed from a host.
#[derive(Default)]
pub(super) struct Pruned {
    pub(super) components: Vec<ComponentPlan>,
    pub(super) changes: Vec<Change>,
    pub(super) problems: Vec<(AppName, Problem)>,
}

/// Returns what is to be removed from a host.
pub(super) fn prune(context: &HostContext<'_>) -> Pruned {
    let kept = kept(context, None);
    let mut pruned = Pruned::default();
    for (app, record) in context.records() {
        let desired = context.desired.apps.get(&app);
        for (name, component) in &record.components {
            let wanted = desired.and_then(|desired| {
                desired.components.iter().find(|component| component.name.as_str() == name.as_str())
            });
            let rule = match (desired.is_some(), wanted.is_some()) {
                (false, _) => "app-not-in-git",
                (true, false) => "component-not-in-git",
                (true, true) => "resource-not-in-git",
            };
            let before = pruned.changes.len();
            for (slot, key) in recorded(component, wanted) {
                if kept.contains(&key) || context.ignore.matches(&key) {
                    continue;
                }
                match removal(context, component, slot, &key) {
                    Ok(note) => pruned.changes.push(Change {
                        key,
                        app: app.clone(),
                        component: name.clone(),
                        slot,
                        action: PlanAction::Prune,
                        reason: Reason::NotInDesired,
                        note,
                        diff: String::new(),
                        because: Vec::new(),
                        rule: rule.to_owned(),
                        origin: Origin::default(),
                    }),
                    Err(problem) => pruned.problems.push((app.clone(), problem)),
                }
            }
            if pruned.changes.len() > before {
                pruned.components.push(ComponentPlan {
                    app: app.clone(),
                    component: name.clone(),
                    approach: if wanted.is_some() { Approach::InPlace } else { Approach::Remove },
                    from: component.active,
                    to: wanted.and(component.active),
                    from_release: record.release.clone(),
                    to_release: desired
                        .filter(|_| wanted.is_some())
                        .map(|desired| desired.release.clone())
                        .unwrap_or_default(),
                });
            }
        }
    }
    pruned
}

/// Returns what an idle slot holds and may go now, since the component's `keep_previous` is over.
///
/// It is still startable until then, so that going back is a matter of a moment.
pub(super) fn kept_long_enough(subject: Subject<'_>, active: Slot) -> (Vec<Found>, Vec<Problem>) {
    let Subject { context, component, record, .. } = subject;
    let (slot, nothing) = (active.other(), Default::default());
    let Some((record, idle)) = record.and_then(|record| Some((record, record.slots.get(&slot)?))) else {
        return nothing;
    };
    let Some(since) = idle.idle_since_ms else { return nothing };
    if context.options.observed_at.since_ms(Timestamp(since)) < component.keep_previous.0 {
        return nothing;
    }
    // Files, units and projects of the idle slot, but for those that something else has by now.
    let kept = kept(context, Some(component.body.artifacts(Some(slot))));
    let note = format!("{} served from it until more than {} ago", idle.release, component.keep_previous);
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (_, key) in recorded(record, None).into_iter().filter(|(of, _)| *of == Some(slot)) {
        if kept.contains(&key) || context.ignore.matches(&key) {
            continue;
        }
        if let Err(problem) = removal(context, record, Some(slot), &key) {
            problems.push(problem);
            continue;
        }
        let finding = Finding {
            action: PlanAction::Prune,
            reason: Reason::NotInDesired,
            weight: Weight::InPlace,
            note: note.clone(),
        };
        found.push(subject.found(key, KEEP_PREVIOUS_OVER, finding));
    }
    (found, problems)
}

/// Returns everything that stays because git, or another environment, still has it; `but` is one place that is left out of account.
fn kept(context: &HostContext<'_>, but: Option<&Artifacts>) -> BTreeSet<ResourceKey> {
    let mut kept = BTreeSet::new();
    for component in context.desired.apps.values().flat_map(|app| &app.components) {
        let counts = |artifacts: &&Artifacts| !but.is_some_and(|but| std::ptr::eq(but, *artifacts));
        for artifacts in places(&component.body).into_iter().filter(counts) {
            kept.extend(artifacts.files.keys().map(|path| ResourceKey::File(path.clone())));
            kept.extend(artifacts.units.keys().map(|unit| ResourceKey::Unit(unit.clone())));
            kept.extend(artifacts.project.iter().map(|project| ResourceKey::Project(project.name.clone())));
        }
        kept.extend(component.switches.keys().map(|listen| ResourceKey::Switch(listen.clone())));
        kept.extend(component.statics.iter().map(|wanted| ResourceKey::Static(wanted.path.clone())));
    }
    let own = format!("{}/", context.environment);
    for (_, record) in context.ledger.apps.iter().filter(|(key, _)| !key.starts_with(&own)) {
        kept.extend(record.components.values().flat_map(|component| recorded(component, None)).map(|(_, key)| key));
    }
    kept
}

/// Returns what a component's record names and may be pruned, in the order in which things are taken down.
///
/// What a component with slots has in them is not among it while git still has the component with slots: the idle slot is kept
/// for the way back. Its switches are judged with the component.
pub(super) fn recorded(
    record: &ComponentRecord,
    wanted: Option<&DesiredComponent>,
) -> Vec<(Option<Slot>, ResourceKey)> {
    let mut keys = Vec::new();
    keys.extend(record.statics.iter().map(|held| (None, ResourceKey::Static(held.path.clone()))));
    if wanted.is_none() {
        keys.extend(record.switches.keys().map(|listen| (None, ResourceKey::Switch(listen.clone()))));
    }
    let mut place = |slot: Option<Slot>, units: Vec<&String>, project: Option<&String>, files: Vec<&String>| {
        keys.extend(units.into_iter().map(|unit| (slot, ResourceKey::Unit(unit.clone()))));
        keys.extend(project.into_iter().map(|project| (slot, ResourceKey::Project(project.clone()))));
        keys.extend(files.into_iter().map(|path| (slot, ResourceKey::File(path.clone()))));
    };
    place(None, record.units.keys().collect(), record.project.as_ref(), record.files.keys().collect());
    if !wanted.is_some_and(|wanted| matches!(wanted.body, Body::Slots { .. })) {
        for (slot, held) in &record.slots {
            place(Some(*slot), held.units.keys().collect(), held.project.as_ref(), held.files.keys().collect());
        }
    }
    keys
}

/// Returns what is to be said about a removal, or why it may not be.
fn removal(
    context: &HostContext<'_>,
    record: &ComponentRecord,
    slot: Option<Slot>,
    key: &ResourceKey,
) -> Result<String, Problem> {
    let gone = || Ok("already gone".to_owned());
    let unknown = |why: &str| Err(("unknown", format!("{key} is to be removed and could not be looked at: {why}")));
    match key {
        ResourceKey::File(path) => match see(&context.report.files, path) {
            Observed::Unknown(why) => unknown(&why),
            Observed::Absent => gone(),
            Observed::Seen(live) if !live.regular => Err((
                "not-a-regular-file",
                format!("{path} is to be removed and is not a regular file any more: remove it by hand"),
            )),
            Observed::Seen(live) => {
                let written = file_record(record, slot, path).map(|file| file.digest);
                let changed = written.is_some_and(|written| written != live.digest);
                Ok(if changed { "it was changed on the host since it was written" } else { "" }.to_owned())
            }
        },
        ResourceKey::Unit(unit) => match see(&context.report.units, unit) {
            Observed::Unknown(why) => unknown(&why),
            Observed::Absent => gone(),
            Observed::Seen(_) => Ok(String::new()),
        },
        ResourceKey::Project(project) => match see(&context.report.projects, project) {
            Observed::Unknown(why) => unknown(&why),
            Observed::Absent => gone(),
            Observed::Seen(live) => Ok(format!("{} containers; volumes stay", live.containers.len())),
        },
        ResourceKey::Switch(listen) => match &context.report.switches {
            Observed::Unknown(why) => unknown(why),
            Observed::Seen(live) if live.contains_key(listen) => Ok(String::new()),
            Observed::Seen(_) | Observed::Absent => gone(),
        },
        // They are never removed.
        ResourceKey::Service { .. }
        | ResourceKey::Migration(_)
        | ResourceKey::Group(_)
        | ResourceKey::Account(_)
        | ResourceKey::Folder(_)
        | ResourceKey::Databases(_) => Ok(String::new()),
        // Whatever stands there by now: only a link of ours is removed.
        ResourceKey::Static(_) => Ok("its releases go when no way back needs them".to_owned()),
    }
}

fn file_record<'a>(record: &'a ComponentRecord, slot: Option<Slot>, path: &str) -> Option<&'a FileRecord> {
    match slot {
        Some(slot) => record.slots.get(&slot)?.files.get(path),
        None => record.files.get(path),
    }
}

/// Returns how many things one plan prunes on a host because git has them no more; what an idle slot sheds does not count.
pub(super) fn pruned_count(plan: &HostPlan) -> usize {
    let counts = |change: &&Change| {
        change.action == PlanAction::Prune && change.rule != "left-in-idle-slot" && !change.is_housekeeping()
    };
    plan.changes.iter().filter(counts).count()
}

/// Returns how many things of this environment a ledger names.
pub(super) fn managed_count(context: &HostContext<'_>) -> usize {
    context
        .records()
        .flat_map(|(_, record)| record.components.values())
        .map(|record| recorded(record, None).len())
        .sum()
}
