//! After the *settled* gate: drain, stop, prune, record. Only forward.

use std::collections::BTreeSet;

use holdfast_protocol::{Action, ActiveGoal, AppRecord, ComponentRecord, Step};

use crate::plan::unit_of;

use super::assemble::Assembly;
use super::place::Place;
use super::steps::{Steps, is_nginx};
use super::target::{Target, Work};
use super::{deadline, in_place, record};

impl Assembly<'_> {
    /// Returns all that comes after the *settled* gate.
    pub(super) fn settle(&self, record: Option<Box<AppRecord>>) -> Vec<Step> {
        let mut steps = Steps::default();
        let leaving = self.leaving_slots();
        let removed = self.removed();
        self.drain(&mut steps, &leaving, &removed);
        self.remove_switches(&mut steps);
        let mut rubbish = BTreeSet::new();
        for (target, old) in &leaving {
            stop(&mut steps, target, old);
            if !target.keeps_previous {
                rubbish.extend(old.files.keys().cloned());
            }
        }
        for target in self.targets.iter().filter(|target| matches!(target.work, Work::InPlace(_))) {
            if let Some(project) = in_place::project_gone(target) {
                steps.down(&target.name, &project.name, target.stop_grace_ms);
            }
        }
        let kept_long_enough = self.kept_long_enough();
        for (name, places) in removed.iter().chain(&kept_long_enough) {
            let old = self.former.and_then(|former| former.components.get(*name));
            let grace_ms = old.and_then(|old| old.stop_grace_ms);
            for place in places {
                for unit in place.units.keys() {
                    steps.unit(name, unit, Some(false), ActiveGoal::Stopped);
                }
                if let Some(project) = &place.project {
                    steps.down(name, &project.name, grace_ms);
                }
                rubbish.extend(place.files.keys().cloned());
            }
        }
        let kept = self.kept();
        rubbish.retain(|path| !kept.contains(path) && !is_nginx(path));
        for path in &rubbish {
            steps.remove("", path);
        }
        if rubbish.iter().any(|path| unit_of(path).is_some()) {
            steps.daemon_reload("");
        }
        self.prune_statics(&mut steps, record.as_deref());
        let images = self.images_left(record.as_deref());
        if !images.is_empty() {
            let action = Action::RemoveImages { images: images.into_iter().collect() };
            steps.push("", "clear images away", deadline::COMPOSE_MS, action);
        }
        let what = if record.is_some() { "record" } else { "forget" };
        steps.push("", what, deadline::QUICK_MS, Action::Record(record));
        steps.into_list()
    }

    /// Returns the images that this app brought, and that no release needs any more which is kept, of this app or of another one.
    fn images_left(&self, record: Option<&AppRecord>) -> BTreeSet<String> {
        let (Some(former), Some(ledger)) = (self.former, self.live.ledger.seen()) else { return BTreeSet::new() };
        let others = ledger.apps.iter().filter(|(key, _)| *key != self.key).map(|(_, app)| app);
        let needed: BTreeSet<&String> = record.into_iter().chain(others).flat_map(AppRecord::images).collect();
        former.images().filter(|image| !needed.contains(image)).cloned().collect()
    }

    /// Returns the slots that served and serve no more, with the component's target.
    fn leaving_slots(&self) -> Vec<(&Target, Place)> {
        let moved = self.targets.iter().filter(|target| target.work == Work::IdleSlot);
        moved
            .filter_map(|target| {
                let old = self.former?.components.get(&target.name)?;
                Some((target, record::serving(old, "").filter(|_| old.active.is_some())?))
            })
            .collect()
    }

    /// Returns the idle slots whose time is over.
    fn kept_long_enough(&self) -> Vec<(&String, Vec<Place>)> {
        let over = self.targets.iter().filter(|target| target.drops_idle);
        over.filter_map(|target| {
            let old = self.former?.components.get(&target.name)?;
            let slot = old.active?.other();
            Some((&target.name, vec![Place::from_record(old, "", Some(slot))?]))
        })
        .collect()
    }

    /// Returns what git no longer has: whole components, and places of components that changed between slots and one place.
    fn removed(&self) -> Vec<(&String, Vec<Place>)> {
        let Some(former) = self.former else { return Vec::new() };
        let gone = former.components.iter().filter_map(|(name, old)| {
            let target = self.targets.iter().find(|target| target.name == *name);
            match target {
                None => Some((name, all_places(old))),
                Some(target) if target.is_touched() && target.active.is_some() != old.active.is_some() => {
                    Some((name, all_places(old)))
                }
                Some(_) => None,
            }
        });
        gone.collect()
    }

    fn drain(&self, steps: &mut Steps, leaving: &[(&Target, Place)], removed: &[(&String, Vec<Place>)]) {
        let mut ports: BTreeSet<u16> = leaving.iter().flat_map(|(_, old)| old.ports.values().copied()).collect();
        let mut timeout_ms = leaving.iter().map(|(target, _)| target.drain_ms).max().unwrap_or_default();
        for (name, places) in removed {
            let old = self.former.and_then(|former| former.components.get(*name));
            timeout_ms = timeout_ms.max(old.map_or(0, |old| old.drain_ms));
            ports.extend(places.iter().flat_map(|place| place.ports.values().copied()));
        }
        if ports.is_empty() || timeout_ms == 0 {
            return;
        }
        let action = Action::Drain { ports: ports.into_iter().collect(), timeout_ms };
        steps.push("", "drain", timeout_ms.saturating_add(deadline::MARGIN_MS), action);
    }

    fn remove_switches(&self, steps: &mut Steps) {
        let wanted: BTreeSet<&String> = self.targets.iter().flat_map(|target| target.switches.keys()).collect();
        let former = self.former.into_iter().flat_map(|former| former.components.iter());
        for (name, listen) in former.flat_map(|(name, old)| old.switches.keys().map(move |listen| (name, listen))) {
            if !wanted.contains(listen) {
                let action = Action::RemoveSwitch { listen: listen.clone() };
                steps.push(name, &format!("remove switch {listen}"), deadline::NGINX_MS, action);
            }
        }
    }
}

fn all_places(old: &ComponentRecord) -> Vec<Place> {
    let single = Place::from_record(old, "", None);
    old.slots.keys().filter_map(|slot| Place::from_record(old, "", Some(*slot))).chain(single).collect()
}

/// Stops a slot; startable when the component keeps it.
fn stop(steps: &mut Steps, target: &Target, old: &Place) {
    for unit in old.units.keys() {
        steps.unit(&target.name, unit, Some(false), ActiveGoal::Stopped);
    }
    if let Some(project) = &old.project {
        if target.keeps_previous {
            steps.stop(&target.name, &project.name, target.stop_grace_ms);
        } else {
            steps.down(&target.name, &project.name, target.stop_grace_ms);
        }
    }
}
