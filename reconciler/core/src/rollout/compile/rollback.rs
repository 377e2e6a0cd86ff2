//! Going back to the release before, from nothing but the host's ledger.

use std::collections::BTreeMap;

use holdfast_protocol::{AppRecord, ComponentRecord, Hello, LiveReport, TransactionKind, TransactionSpec};

use crate::config::{RolloutPolicy, Strategy};
use crate::id::{AppName, EnvironmentName};
use crate::time::Timestamp;

use super::assemble::Assembly;
use super::place::Place;
use super::target::{Target, Work, difference, place_before};
use super::{FleetShape, Frame, app_key, record, specification, transaction_id};

/// All that is needed to send one app on one host back.
#[derive(Debug, Clone, Copy)]
pub struct RollbackInput<'a> {
    /// The environment.
    pub environment: &'a EnvironmentName,
    /// The app.
    pub app: &'a AppName,
    /// What the host is.
    pub hello: &'a Hello,
    /// What the host said; its ledger names both releases.
    pub live: &'a LiveReport,
    /// The number the transaction carries.
    pub fence: u64,
    /// A word unique to this rollback, at most 14 characters of `a-z0-9`.
    pub sync: &'a str,
    /// How it rolls over hosts.
    pub rollout: &'a RolloutPolicy,
    /// How many hosts and waves it has.
    pub fleet: FleetShape,
    /// What time it is.
    pub now: Timestamp,
}

/// Returns the transaction that brings the previous release back; `None` when the ledger has none, or cannot be read.
///
/// Every blob it names is one that the host wrote before and keeps; staging says so when it does not.
pub fn compile_rollback(input: &RollbackInput<'_>) -> Option<TransactionSpec> {
    let ledger = input.live.ledger.seen()?;
    let key = app_key(input.environment, input.app);
    let former = ledger.apps.get(&key)?;
    let previous = former.previous.as_deref()?;
    let mut targets: Vec<Target> =
        previous.components.iter().filter_map(|(name, wanted)| target(name, wanted, previous, former)).collect();
    // The order of bringing up: what others need first, nginx by its own way last.
    targets.sort_by_key(|target| (target.strategy != Strategy::Stateful, target.active.is_some()));
    let assembly = Assembly {
        key: &key,
        former: Some(former),
        live: input.live,
        hello: input.hello,
        targets: &targets,
        release: &previous.release,
        now: input.now,
    };
    let id = transaction_id(input.environment, input.app, input.sync);
    let record = AppRecord {
        release: previous.release.clone(),
        commit: previous.commit.clone(),
        transaction: id.to_string(),
        components: record::components(&targets, Some(former), input.now),
        // The release that was left is no release to go back to; those before it are.
        previous: previous.previous.clone(),
    };
    Some(specification(
        &assembly,
        Some(Box::new(record)),
        Frame {
            id,
            fence: input.fence,
            app: key.clone(),
            commit: previous.commit.clone(),
            kind: TransactionKind::Rollback,
            rollout: input.rollout,
            fleet: input.fleet,
        },
    ))
}

fn target(name: &str, wanted: &ComponentRecord, previous: &AppRecord, former: &AppRecord) -> Option<Target> {
    let now = former.components.get(name);
    let place = Place::from_record(wanted, &previous.release, wanted.active)?;
    let before = place_before(now, Some(former), wanted.active);
    let moves = now.is_none_or(|now| now.active != wanted.active) && wanted.active.is_some();
    let is_there = before.as_ref().is_some_and(|before| before.is_like(&place));
    let work = if moves {
        Work::IdleSlot
    } else if is_there {
        Work::Nothing
    } else {
        Work::InPlace(difference(&place, before.as_ref()))
    };
    Some(Target {
        name: name.to_owned(),
        strategy: strategy(&wanted.strategy),
        active: wanted.active,
        place,
        before,
        is_first: now.is_none(),
        switches: wanted.switches.clone(),
        migration: None,
        check: None,
        watch: None,
        drain_ms: wanted.drain_ms,
        stop_grace_ms: wanted.stop_grace_ms,
        is_warm: is_there,
        keeps_previous: true,
        drops_idle: false,
        prerequisites: wanted.prerequisites.clone(),
        provided: Vec::new(),
        memory: wanted.memory,
        work,
    })
}

/// Returns the strategy of its word. A word of a newer program is taken as the careful one: in place, in its host's turn.
fn strategy(word: &str) -> Strategy {
    let all = [
        Strategy::BlueGreen,
        Strategy::Rolling,
        Strategy::Workers,
        Strategy::Singleton,
        Strategy::Stateful,
        Strategy::InPlace,
    ];
    let words: BTreeMap<&str, Strategy> = all.into_iter().map(|strategy| (strategy.as_str(), strategy)).collect();
    words.get(word).copied().unwrap_or(Strategy::Rolling)
}
