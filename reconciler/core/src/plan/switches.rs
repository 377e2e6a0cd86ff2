//! The rules for the switches of a component.

use std::collections::BTreeMap;

use holdfast_protocol::{Observed, Slot, SwitchLive};

use super::component::Subject;
use super::place::{Found, Problem};
use super::rule::{Finding, Weight};
use super::{PlanAction, Reason, ResourceKey};
use crate::config::SlotPorts;
use crate::diag::Origin;

/// What was found about the switches of a component.
#[derive(Default)]
pub(super) struct Switches {
    pub(super) found: Vec<Found>,
    pub(super) unchanged: u32,
}

pub(super) fn port_of(ports: SlotPorts, slot: Option<Slot>) -> u16 {
    if slot == Some(Slot::Green) { ports.green } else { ports.blue }
}

fn live(subject: Subject<'_>) -> Result<BTreeMap<String, SwitchLive>, Problem> {
    match &subject.context.report.switches {
        Observed::Seen(switches) => Ok(switches.clone()),
        Observed::Absent => Ok(BTreeMap::new()),
        Observed::Unknown(why) => Err(("unknown", format!("the switches could not be looked at: {why}"))),
    }
}

fn has_switches(subject: Subject<'_>) -> bool {
    !subject.component.switches.is_empty() || subject.record.is_some_and(|record| !record.switches.is_empty())
}

/// Returns how the switches differ from going to `slot`.
pub(super) fn judge_switches(subject: Subject<'_>, slot: Option<Slot>) -> (Switches, Vec<Problem>) {
    if !has_switches(subject) {
        return Default::default();
    }
    match live(subject) {
        Ok(live) => (compare(subject, &live, slot, false), Vec::new()),
        Err(problem) => (Switches::default(), vec![problem]),
    }
}

/// Returns the switches' way from the active slot to the other one.
pub(super) fn move_switches(subject: Subject<'_>, active: Slot) -> (Switches, Vec<Problem>) {
    if !has_switches(subject) {
        return Default::default();
    }
    match live(subject) {
        Ok(live) => (compare(subject, &live, Some(active.other()), true), Vec::new()),
        Err(problem) => (Switches::default(), vec![problem]),
    }
}

fn compare(subject: Subject<'_>, live: &BTreeMap<String, SwitchLive>, slot: Option<Slot>, moving: bool) -> Switches {
    let mut result = Switches::default();
    for (listen, switch) in &subject.component.switches {
        let key = ResourceKey::Switch(listen.clone());
        let to = port_of(switch.ports, slot);
        let recorded = subject.record.and_then(|record| record.switches.get(listen)).copied();
        let (action, rule, reason, note) = match live.get(listen) {
            // First match wins, from the surest to the vaguest.
            Some(now) if now.to == to => {
                result.unchanged += 1;
                continue;
            }
            Some(now) if moving => (
                PlanAction::Switch,
                "switch-follows-slot",
                Reason::DependencyChanged,
                format!("127.0.0.1:{} → 127.0.0.1:{to}", now.to),
            ),
            Some(now) => {
                let drifted = recorded == Some(to);
                let reason = if drifted { Reason::Drifted } else { Reason::DesiredChanged };
                let rule = if drifted { "switch-moved" } else { "switch-port-differs" };
                (PlanAction::Switch, rule, reason, format!("127.0.0.1:{} → 127.0.0.1:{to}", now.to))
            }
            None => {
                let reason = if recorded.is_some() { Reason::Drifted } else { Reason::Missing };
                let rule = if recorded.is_some() { "switch-removed" } else { "switch-missing" };
                (PlanAction::Create, rule, reason, format!("→ 127.0.0.1:{to}"))
            }
        };
        if subject.context.ignore.matches(&key) && !moving && action != PlanAction::Create {
            result.unchanged += 1;
            continue;
        }
        result.found.push(subject.found(key, rule, Finding { action, reason, weight: Weight::InPlace, note }));
    }
    for listen in subject.record.iter().flat_map(|record| record.switches.keys()) {
        let key = ResourceKey::Switch(listen.clone());
        if desired_anywhere(subject, listen) || subject.context.ignore.matches(&key) {
            continue;
        }
        let finding = Finding {
            action: PlanAction::Prune,
            reason: Reason::NotInDesired,
            weight: Weight::InPlace,
            note: String::new(),
        };
        let found = subject.found(key, "switch-not-in-git", finding);
        result.found.push(Found { origin: Origin::default(), ..found });
    }
    result
}

fn desired_anywhere(subject: Subject<'_>, listen: &str) -> bool {
    let components = subject.context.desired.apps.values().flat_map(|app| &app.components);
    components.into_iter().any(|component| component.switches.contains_key(listen))
}
