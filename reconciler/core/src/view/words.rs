//! Words for what a plan holds.

use crate::plan::{Approach, ComponentPlan, HostPlan, Plan, PlanAction, Reason};

/// How many changes a plan holds, by what is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) add: usize,
    pub(super) replace: usize,
    pub(super) change: usize,
    pub(super) prune: usize,
    pub(super) unchanged: usize,
    /// Hosts with changes.
    pub(super) hosts: usize,
}

impl Counts {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut counts = Self::default();
        for host in plan.hosts.values() {
            counts.add(host);
        }
        counts
    }

    fn add(&mut self, host: &HostPlan) {
        self.hosts += usize::from(!host.changes.is_empty());
        self.unchanged += host.unchanged as usize;
        for change in &host.changes {
            match change.action {
                PlanAction::Create => self.add += 1,
                PlanAction::Update | PlanAction::Run | PlanAction::Switch => self.change += 1,
                PlanAction::Prune => self.prune += 1,
                PlanAction::ReplaceCreateFirst | PlanAction::ReplaceDestroyFirst => self.replace += 1,
            }
        }
    }

    /// Returns `3 to add, 2 to change, 1 to prune on 3 hosts`; what there is none of is left out.
    pub(super) fn sentence(self) -> String {
        let parts =
            [(self.add, "to add"), (self.replace, "to replace"), (self.change, "to change"), (self.prune, "to prune")];
        let said: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if said.is_empty() {
            return "nothing to change".to_owned();
        }
        format!("{} on {}", said.join(", "), count(self.hosts, "host"))
    }
}

/// Returns `1 host`, `2 hosts`.
pub(super) fn count(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// Returns a reason as a few words beside a change.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::DesiredChanged => "changed in git",
        Reason::Drifted => "drifted",
        Reason::Missing => "not there yet",
        Reason::NotInDesired => "no longer in git",
        Reason::DependencyChanged => "follows",
        Reason::NotRunning => "not running",
    }
}

/// Returns a reason as a sentence.
pub(super) fn reason_sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::DesiredChanged => "git says something else than what was applied last",
        Reason::Drifted => "git is as before, but the host is not what was applied last",
        Reason::Missing => "the host does not have it, and it was never applied here",
        Reason::NotInDesired => "it was applied here, and git does not have it any more",
        Reason::DependencyChanged => "something it depends on changes",
        Reason::NotRunning => "it should run and does not",
    }
}

/// Returns an action as a sentence.
pub(super) fn action_sentence(action: PlanAction) -> &'static str {
    match action {
        PlanAction::Create => "it is made",
        PlanAction::Update => "it is changed where it is",
        PlanAction::Prune => "it is removed",
        PlanAction::ReplaceDestroyFirst => "it is stopped, then started anew",
        PlanAction::ReplaceCreateFirst => "the new one is made and proven before the old one goes",
        PlanAction::Run => "it is run once",
        PlanAction::Switch => "new connections go elsewhere",
    }
}

/// Returns how a component changes: `blue → green, diffs as in blue`, `in place`.
pub(super) fn approach(component: &ComponentPlan) -> String {
    match (component.approach, component.from, component.to) {
        // Which slot a diff is of matters to whoever reads a port in it.
        (Approach::NewSlot, Some(from), Some(to)) => format!("{from} → {to}, diffs as in {from}"),
        (Approach::First, _, Some(to)) => format!("new, in {to}"),
        (Approach::First, _, None) => "new".to_owned(),
        (Approach::InPlace, _, Some(slot)) => format!("put right in {slot}"),
        (Approach::InPlace | Approach::NewSlot, _, _) => "in place".to_owned(),
        (Approach::DestroyFirst, _, _) => "stopped, then started anew".to_owned(),
        (Approach::SwitchOnly, _, _) => "only its switch".to_owned(),
        (Approach::Remove, _, _) => "removed".to_owned(),
    }
}

/// Returns `v1 → v2`, or one of them when the other says nothing.
pub(super) fn releases(from: &str, to: &str) -> String {
    match (from, to) {
        ("", to) => to.to_owned(),
        (from, "") => from.to_owned(),
        (from, to) if from == to => to.to_owned(),
        (from, to) => format!("{from} → {to}"),
    }
}
