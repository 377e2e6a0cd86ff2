//! What is to change about one component on one host.

use holdfast_protocol::{ComponentRecord, Slot};

use super::certificates;
use super::databases::follow_server;
use super::host::HostContext;
use super::migrations::migration;
use super::place::{Comparison, Found, PlaceRecord, Problem, compare};
use super::ports::port_problems;
use super::prerequisites::compare_prerequisites;
use super::rule::{Finding, Weight};
use super::slots::plan_slots;
use super::statics::compare_static;
use super::switches::judge_switches;
use super::units::restarts_unit;
use super::{Approach, Change, ComponentPlan, PlanAction, Reason, ResourceKey};
use crate::config::Strategy;
use crate::desired::{Body, DesiredApp, DesiredComponent};

/// What became of a component.
#[derive(Default)]
pub(super) struct Outcome {
    /// `None` when nothing changes.
    pub(super) plan: Option<ComponentPlan>,
    /// In the order of work.
    pub(super) changes: Vec<Change>,
    pub(super) unchanged: u32,
    pub(super) problems: Vec<Problem>,
}

/// A component with what is around it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) context: &'a HostContext<'a>,
    pub(super) app: &'a DesiredApp,
    pub(super) component: &'a DesiredComponent,
    pub(super) record: Option<&'a ComponentRecord>,
}

impl Subject<'_> {
    /// Returns a change made of what was found.
    pub(super) fn change(&self, slot: Option<Slot>, found: Found) -> Change {
        Change {
            key: found.key,
            app: self.app.name.clone(),
            component: self.component.name.to_string(),
            slot,
            action: found.finding.action,
            reason: found.finding.reason,
            note: found.finding.note,
            diff: found.diff,
            because: found.because,
            rule: found.rule.to_owned(),
            origin: found.origin,
        }
    }

    /// Returns something found about this component that no file stands behind.
    pub(super) fn found(&self, key: ResourceKey, rule: &'static str, finding: Finding) -> Found {
        let origin = self.component.origin.clone();
        Found { key, finding, rule, diff: String::new(), because: Vec::new(), origin }
    }

    /// Returns the outcome; the component's own line is there when anything changes.
    pub(super) fn outcome(
        &self,
        approach: Approach,
        slots: (Option<Slot>, Option<Slot>),
        changes: Vec<Change>,
        unchanged: u32,
        problems: Vec<Problem>,
    ) -> Outcome {
        let app_record = self.context.record(&self.app.name);
        let slot_release =
            slots.0.and_then(|slot| Some(self.record?.slots.get(&slot)?.release.clone())).filter(|r| !r.is_empty());
        let from_release = self
            .record
            .and_then(|_| slot_release.or_else(|| app_record.map(|record| record.release.clone())))
            .unwrap_or_default();
        let plan = (!changes.is_empty()).then(|| ComponentPlan {
            app: self.app.name.clone(),
            component: self.component.name.to_string(),
            approach,
            from: slots.0,
            to: slots.1,
            from_release,
            to_release: self.app.release.clone(),
        });
        Outcome { plan, changes, unchanged, problems }
    }
}

/// Returns what is to change about a component.
pub(super) fn plan_component(
    context: &HostContext<'_>,
    app: &DesiredApp,
    component: &DesiredComponent,
    record: Option<&ComponentRecord>,
) -> Outcome {
    let subject = Subject { context, app, component, record };
    let outcome = match &component.body {
        Body::Slots { .. } => plan_slots(subject),
        Body::Single(_) => plan_single(subject),
    };
    with_prerequisites(subject, outcome)
}

/// Puts what has to be on the host before everything else of a component.
fn with_prerequisites(subject: Subject<'_>, mut outcome: Outcome) -> Outcome {
    let (found, unchanged, problems) = compare_prerequisites(subject);
    outcome.unchanged += unchanged;
    // While it is not known whether what has to be there is there, nothing is said about what needs it.
    if problems.iter().any(|(code, _)| *code == "unknown") {
        outcome.plan = None;
        outcome.changes.clear();
    }
    outcome.problems.extend(problems);
    if found.is_empty() {
        return outcome;
    }
    let mut changes: Vec<Change> = found.into_iter().map(|found| subject.change(None, found)).collect();
    changes.append(&mut outcome.changes);
    let slot = subject.record.and_then(|record| record.active);
    if outcome.plan.is_some() {
        return Outcome { changes, ..outcome };
    }
    let approach = if subject.record.is_none() { Approach::First } else { Approach::InPlace };
    subject.outcome(approach, (slot, slot), changes, outcome.unchanged, outcome.problems)
}

fn plan_single(subject: Subject<'_>) -> Outcome {
    let Subject { context, component, record, .. } = subject;
    let artifacts = component.body.artifacts(None);
    let mut comparison = compare(subject, artifacts, PlaceRecord::of_component(record));
    compare_static(subject, &mut comparison);
    if comparison.is_unsure() {
        return Outcome { unchanged: comparison.unchanged, problems: comparison.problems, ..Outcome::default() };
    }
    follow_files(subject, &mut comparison);
    certificates::missing(subject, &mut comparison);
    follow_server(subject, &mut comparison);
    let (switches, switch_problems) = judge_switches(subject, None);
    comparison.problems.extend(switch_problems);
    if record.is_none() && starts_something(&comparison) {
        comparison.problems.extend(port_problems(context, component, None));
    }

    let replaces = component.strategy == Strategy::Singleton;
    for found in &mut comparison.found {
        let runs = matches!(found.key, ResourceKey::Unit(_) | ResourceKey::Service { .. });
        if replaces && runs && found.finding.weight == Weight::Content && found.finding.action == PlanAction::Update {
            found.finding.action = PlanAction::ReplaceDestroyFirst;
        }
    }
    let approach = if record.is_none() {
        Approach::First
    } else if comparison.found.iter().any(|found| found.finding.action == PlanAction::ReplaceDestroyFirst) {
        Approach::DestroyFirst
    } else if comparison.found.is_empty() {
        Approach::SwitchOnly
    } else {
        Approach::InPlace
    };
    let content = comparison.changes_content();
    let mut changes: Vec<Change> = comparison.found.into_iter().map(|found| subject.change(None, found)).collect();
    if content && !changes.is_empty() {
        changes.extend(migration(subject, None));
    }
    let unchanged = comparison.unchanged + switches.unchanged;
    changes.extend(switches.found.into_iter().map(|found| subject.change(None, found)));
    subject.outcome(approach, (None, None), changes, unchanged, comparison.problems)
}

/// Adds what has to be restarted because a file of the component changes under it.
fn follow_files(subject: Subject<'_>, comparison: &mut Comparison) {
    let artifacts = subject.component.body.artifacts(None);
    let found = comparison.found.iter().filter(|found| found.finding.weight == Weight::Content);
    let changed = found.filter_map(|found| match &found.key {
        ResourceKey::File(path) => Some((path.clone(), format!("{path} changes"))),
        _ => None,
    });
    let recorded = subject.record.into_iter().flat_map(|record| record.files.keys());
    let leaving = recorded.filter(|path| !artifacts.files.contains_key(*path));
    let leaving = leaving.map(|path| (path.clone(), format!("{path} is removed")));
    let changed: Vec<(String, String)> = changed.chain(leaving).collect();
    let Some((_, note)) = changed.first().cloned() else { return };
    for name in artifacts.units.keys() {
        let concerns = || changed.iter().filter(|(path, _)| restarts_unit(path, name));
        let restarts = concerns().find(|(path, _)| artifacts.files.get(path).is_none_or(|file| !file.reload));
        let key = ResourceKey::Unit(name.clone());
        match (restarts, concerns().next()) {
            (Some((_, note)), _) => follow(subject, comparison, key, "unit-file-changed", note),
            (None, Some((_, note))) => follow(subject, comparison, key, "unit-file-reloaded", note),
            (None, None) => {}
        }
    }
    // What git changes shows in the digests of the services it concerns. What was changed behind our back does not, and a file
    // that is put back is a new file, which a container that has the old one mounted sees only after a new start.
    let mounted = comparison.found.iter().any(|found| match (&found.key, &artifacts.project) {
        (ResourceKey::File(path), Some(project)) => {
            found.finding.weight == Weight::Content && found.finding.reason == Reason::Drifted && *path != project.file
        }
        _ => false,
    });
    if let (true, Some(project)) = (mounted, &artifacts.project) {
        for service in project.services.keys() {
            let key = ResourceKey::Service { project: project.name.clone(), service: service.clone() };
            follow(subject, comparison, key, "mounted-file-drifted", &note);
        }
    }
    comparison.found.sort_by_key(|found| (found.finding.action == PlanAction::Prune, order_of_work(&found.key)));
}

fn follow(subject: Subject<'_>, comparison: &mut Comparison, key: ResourceKey, rule: &'static str, note: &str) {
    if comparison.blocked.contains(&key) || subject.context.ignore.matches(&key) {
        return;
    }
    let finding = Finding {
        action: PlanAction::Update,
        reason: Reason::DependencyChanged,
        weight: Weight::Content,
        note: note.to_owned(),
    };
    match comparison.found.iter_mut().find(|found| found.key == key) {
        // It is only to be put right: the restart does that too.
        Some(found) if found.finding.weight == Weight::InPlace && found.finding.action == PlanAction::Update => {
            found.finding = finding;
            found.rule = rule;
        }
        Some(_) => {}
        None => {
            comparison.unchanged = comparison.unchanged.saturating_sub(1);
            comparison.found.push(subject.found(key, rule, finding));
        }
    }
}

/// Returns the place of a thing in the order of work.
pub(super) fn order_of_work(key: &ResourceKey) -> u8 {
    match key {
        // What has to be on the host comes before all of them.
        ResourceKey::Group(_) | ResourceKey::Account(_) | ResourceKey::Folder(_) | ResourceKey::File(_) => 0,
        ResourceKey::Unit(_) => 1,
        ResourceKey::Service { .. } => 2,
        ResourceKey::Project(_) => 3,
        ResourceKey::Migration(_) | ResourceKey::Databases(_) => 4,
        ResourceKey::Switch(_) => 5,
        // A new page may ask for what only the new release answers.
        ResourceKey::Static(_) => 6,
    }
}

/// Returns whether a unit or container is started that is not there yet.
pub(super) fn starts_something(comparison: &Comparison) -> bool {
    comparison.found.iter().any(|found| {
        found.finding.action == PlanAction::Create
            && matches!(found.key, ResourceKey::Unit(_) | ResourceKey::Service { .. })
    })
}
