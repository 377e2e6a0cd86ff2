//! The ledger's record of what a transaction brings.

use std::collections::BTreeMap;

use holdfast_protocol::{AppRecord, ComponentRecord, Slot};

use crate::time::Timestamp;

use super::place::Place;
use super::target::{Target, Work, place_before};

/// Returns the records of all components as they will be.
pub(super) fn components(
    targets: &[Target],
    former: Option<&AppRecord>,
    now: Timestamp,
) -> BTreeMap<String, ComponentRecord> {
    targets
        .iter()
        .map(|target| {
            let old = former.and_then(|record| record.components.get(&target.name));
            (target.name.clone(), component(target, old, now))
        })
        .collect()
}

fn component(target: &Target, old: Option<&ComponentRecord>, now: Timestamp) -> ComponentRecord {
    let mut record = ComponentRecord {
        strategy: target.strategy.as_str().to_owned(),
        active: target.active,
        switches: target.switches.clone(),
        drain_ms: target.drain_ms,
        stop_grace_ms: target.stop_grace_ms,
        prerequisites: target.prerequisites.clone(),
        memory: target.memory,
        migration: target.migrates.clone(),
        ..ComponentRecord::default()
    };
    let place = target.place.to_slot();
    let Some(slot) = target.active else {
        record.statics.clone_from(&target.place.statics);
        record.files = place.files;
        record.units = place.units;
        record.project = place.project;
        record.compose_file = place.compose_file;
        record.services = place.services;
        record.images = place.images;
        record.health = place.health;
        return record;
    };
    let idle = old.and_then(|old| old.slots.get(&slot.other()));
    // The slot that served stays startable; without that wish it is taken down, and so leaves the record.
    let moves = target.work == Work::IdleSlot;
    if let Some(idle) = idle.filter(|_| !target.drops_idle && (target.keeps_previous || !moves)) {
        let mut idle = idle.clone();
        if moves {
            idle.idle_since_ms = Some(now.0);
        }
        record.slots.insert(slot.other(), idle);
    }
    record.slots.insert(slot, place);
    record
}

/// Returns what a rollback will go back to, and so many releases in all. Putting the same release right is nothing to go back from.
pub(super) fn previous(targets: &[Target], former: Option<&AppRecord>, keep: u32) -> Option<Box<AppRecord>> {
    let former = former?;
    let same = former.components.len() == targets.len()
        && targets.iter().all(|target| {
            let old = former.components.get(&target.name);
            old.is_some_and(|old| old.active == target.active)
                && place_before(old, Some(former), target.active).is_some_and(|place| place.is_like(&target.place))
        });
    if same {
        return chain(former.previous.as_deref(), keep);
    }
    chain(Some(former), keep)
}

/// Returns a release with those before it, so many in all.
pub(super) fn chain(newest: Option<&AppRecord>, keep: u32) -> Option<Box<AppRecord>> {
    let record = newest.filter(|_| keep > 0)?;
    let mut components = record.components.clone();
    for component in components.values_mut() {
        // What stood in the other slot is a release of its own in the list.
        if let Some(active) = component.active {
            component.slots.retain(|slot, _| *slot == active);
        }
    }
    Some(Box::new(AppRecord {
        release: record.release.clone(),
        commit: record.commit.clone(),
        transaction: record.transaction.clone(),
        components,
        previous: chain(record.previous.as_deref(), keep - 1),
    }))
}

/// Returns the place that serves according to a component's record.
pub(super) fn serving(record: &ComponentRecord, release: &str) -> Option<Place> {
    Place::from_record(record, release, record.active)
}

/// Returns every path that a record claims, in all places.
pub(super) fn paths(record: &ComponentRecord) -> impl Iterator<Item = &String> {
    let slots: Vec<&String> = [Slot::Blue, Slot::Green]
        .iter()
        .filter_map(|slot| record.slots.get(slot))
        .flat_map(|slot| slot.files.keys())
        .collect();
    record.files.keys().chain(slots)
}
