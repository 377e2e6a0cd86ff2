//! Going back to the release before, from nothing but the host's ledger.

use std::collections::BTreeMap;

use holdfast_protocol::{
    Action, AppRecord, ComponentRecord, Hello, LiveReport, MigrationRecord, TransactionKind, TransactionSpec,
};

use crate::config::{RolloutPolicy, Strategy};
use crate::event::{DOWNGRADE, MIGRATE};
use crate::id::{AppName, EnvironmentName};
use crate::time::Timestamp;

use super::assemble::Assembly;
use super::place::Place;
use super::steps::Steps;
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
    /// What is known of migrations that ran, from the ledgers of all hosts.
    pub migrated: &'a BTreeMap<String, MigrationRecord>,
    /// Whether the schema goes back too.
    pub downgrade: bool,
}

/// Why there is no way back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// The ledger has no release before, or cannot be read.
    #[error("there is no release before")]
    NoRelease,
    /// The release before may not know the schema, or the schema cannot go back. Says why, and what to do.
    #[error("{0}")]
    Schema(String),
}

/// A migration to be taken back, and how the release that brought it gets its schema again when that fails later on.
#[derive(Debug)]
pub(super) struct Downgrade {
    component: String,
    id: String,
    record: MigrationRecord,
    timeout_ms: u64,
}

impl Downgrade {
    pub(super) fn steps(&self) -> Steps {
        let mut steps = Steps::default();
        let (name, record) = (self.component.as_str(), &self.record);
        let again = Action::Migrate {
            id: self.id.clone(),
            runner: record.runner.clone(),
            argv: record.argv.clone(),
            // It starts from a revision that is known, and ends where it did before.
            idempotent: true,
            revision: record.revision.clone(),
            downgrade: record.downgrade.clone(),
            reversible: record.reversible,
        };
        steps.on_undo(name, MIGRATE, self.timeout_ms, again);
        let action = Action::Downgrade {
            of: self.id.clone(),
            runner: record.runner.clone(),
            argv: record.downgrade.clone(),
            revision: record.revision.clone(),
        };
        let to = record.before.as_deref().unwrap_or_default();
        steps.push(name, &format!("{DOWNGRADE} to {to}"), self.timeout_ms, action);
        steps
    }
}

/// How long a way back may take: the ledger does not keep what the migration was given.
const DOWNGRADE_MS: u64 = 30 * 60_000;

/// Returns the migrations between two releases that changed the schema, as far as is known.
fn between<'a>(
    former: &'a AppRecord,
    previous: &'a AppRecord,
    migrated: &'a BTreeMap<String, MigrationRecord>,
) -> impl Iterator<Item = (&'a String, &'a String, &'a MigrationRecord)> {
    former.components.iter().filter_map(move |(name, component)| {
        let id = component.migration.as_ref()?;
        let before = previous.components.get(name).and_then(|component| component.migration.as_ref());
        let record = migrated.get(id).filter(|record| before != Some(id) && record.changed())?;
        Some((name, id, record))
    })
}

/// Returns what has to be taken back for the release before to know the schema.
fn downgrades(input: &RollbackInput<'_>, former: &AppRecord, previous: &AppRecord) -> Result<Vec<Downgrade>, Withheld> {
    let mut list = Vec::new();
    for (component, id, record) in between(former, previous, input.migrated) {
        let brought = format!(
            "{} brought the migration {id} ({} to {})",
            former.release,
            record.before.as_deref().unwrap_or("unknown"),
            record.after.as_deref().unwrap_or("unknown")
        );
        if !input.downgrade {
            if record.reversible {
                continue;
            }
            let way = if record.downgrade.is_empty() {
                "no `downgrade` is declared: mend it with a new commit"
            } else {
                "`--downgrade` takes the schema back too, and what was written with it may be lost"
            };
            return Err(Withheld::Schema(format!("{brought}, which {} does not work with; {way}", previous.release)));
        }
        let refuse = |why: &str| Err(Withheld::Schema(format!("{brought}, and {why}")));
        if record.downgrade.is_empty() {
            return refuse("no `downgrade` is declared for it");
        }
        if record.before.as_ref().is_none_or(String::is_empty) {
            return refuse("no revision is recorded from before it");
        }
        if input.fleet.hosts > 1 {
            return refuse("the app is on several hosts: take the schema back by hand, with all of them stopped");
        }
        let (component, id, record) = (component.clone(), id.clone(), record.clone());
        list.push(Downgrade { component, id, record, timeout_ms: DOWNGRADE_MS });
    }
    Ok(list)
}

/// Returns the transaction that brings the previous release back.
///
/// Every blob it names is one that the host wrote before and keeps; staging says so when it does not.
///
/// # Errors
/// [`Withheld`] when there is none, or when it would run against a schema that it does not know.
pub fn compile_rollback(input: &RollbackInput<'_>) -> Result<TransactionSpec, Withheld> {
    let ledger = input.live.ledger.seen().ok_or(Withheld::NoRelease)?;
    let key = app_key(input.environment, input.app);
    let former = ledger.apps.get(&key).ok_or(Withheld::NoRelease)?;
    let previous = former.previous.as_deref().ok_or(Withheld::NoRelease)?;
    let downgrades = downgrades(input, former, previous)?;
    let mut targets: Vec<Target> =
        previous.components.iter().filter_map(|(name, wanted)| target(name, wanted, previous, former)).collect();
    // The order of bringing up: what others need first, nginx by its own way last.
    targets.sort_by_key(|target| (target.strategy != Strategy::Stateful, target.active.is_some()));
    let assembly = Assembly {
        key: &key,
        app: None,
        former: Some(former),
        live: input.live,
        hello: input.hello,
        targets: &targets,
        release: &previous.release,
        now: input.now,
        downgrades: &downgrades,
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
    Ok(specification(
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
        migrates: wanted.migration.clone(),
        one_way: false,
        watch: None,
        drain_ms: wanted.drain_ms,
        stop_grace_ms: wanted.stop_grace_ms,
        is_warm: is_there,
        keeps_previous: true,
        drops_idle: false,
        prerequisites: wanted.prerequisites.clone(),
        adopts_static: false,
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
