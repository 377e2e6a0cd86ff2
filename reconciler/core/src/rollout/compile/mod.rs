//! From plan, desired and live state to the protocol's steps: one transaction per environment, app and host.
//!
//! # Order
//! Prepare: preflight, images, what the idle slot needs beside it (stateful, new in-place), idle files, idle start, healthy, migrate,
//! nginx staged and tested. Promote: what can only change where it serves, nginx files, switch, proof. Settle: drain, stop, prune,
//! record.

mod assemble;
mod deadline;
mod draft;
mod health;
mod in_place;
mod lockout;
mod place;
mod record;
mod rollback;
mod settle;
mod slots;
mod statics;
mod steps;
mod target;

use holdfast_protocol::{
    AppRecord, Hello, Ledger, LiveReport, Observed, TransactionId, TransactionKind, TransactionSpec,
};

use crate::config::RolloutPolicy;
use crate::desired::DesiredState;
use crate::id::{AppName, EnvironmentName, HostName};
use crate::plan::Change;
use crate::time::Timestamp;

pub use draft::{Draft, FileKey, MissingContent, finish};
pub use rollback::{RollbackInput, Withheld, compile_rollback};

use assemble::Assembly;
use target::Target;

/// All that is needed to compile one app on one host.
#[derive(Debug, Clone, Copy)]
pub struct CompileInput<'a> {
    /// What every host should be.
    pub desired: &'a DesiredState,
    /// The app.
    pub app: &'a AppName,
    /// The host.
    pub host: &'a HostName,
    /// The host's changes in the plan; those of other apps are left out of account.
    pub changes: &'a [Change],
    /// What the host is.
    pub hello: &'a Hello,
    /// What the host said.
    pub live: &'a LiveReport,
    /// The number the transaction carries.
    pub fence: u64,
    /// A word unique to this sync, at most 14 characters of `a-z0-9`.
    pub sync: &'a str,
    /// How many hosts and waves the app's rollout has.
    pub fleet: FleetShape,
    /// What time it is: a slot that stops serving is kept from now on.
    pub now: Timestamp,
}

/// How large a rollout is: gates of the last host must outlast the waves before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetShape {
    /// Hosts.
    pub hosts: u32,
    /// Waves.
    pub waves: u32,
}

/// Returns the transaction that carries out the changes of one app on one host; `None` when there are none, or when the ledger
/// could not be read, for then nothing may be done.
///
/// Where neither git nor the ledger knows the app there is nothing to do either.
pub fn compile(input: &CompileInput<'_>) -> Option<Draft> {
    let nothing = Ledger::default();
    let ledger = match &input.live.ledger {
        Observed::Seen(ledger) => ledger,
        Observed::Absent => &nothing,
        Observed::Unknown(_) => return None,
    };
    let changes: Vec<&Change> = input.changes.iter().filter(|change| change.app == *input.app).collect();
    if changes.is_empty() {
        return None;
    }
    let key = app_key(&input.desired.environment, input.app);
    let former = ledger.apps.get(&key);
    let desired = input.desired.hosts.get(input.host).and_then(|host| host.apps.get(input.app));
    let release = match (desired, former) {
        (Some(app), _) => app.release.clone(),
        (None, Some(record)) => record.release.clone(),
        (None, None) => return None,
    };
    let mut files = std::collections::BTreeMap::new();
    let targets: Vec<Target> = desired.map_or_else(Vec::new, |app| {
        app.components
            .iter()
            .map(|component| target::from_desired(app, component, former, ledger, &changes, &mut files))
            .collect()
    });
    let assembly = Assembly {
        key: &key,
        app: desired,
        former,
        live: input.live,
        hello: input.hello,
        targets: &targets,
        release: &release,
        now: input.now,
        downgrades: &[],
    };
    let id = transaction_id(&input.desired.environment, input.app, input.sync);
    let record = desired.map(|app| {
        Box::new(AppRecord {
            release: release.clone(),
            commit: input.desired.commit.to_string(),
            transaction: id.to_string(),
            components: record::components(&targets, former, input.now),
            previous: record::previous(&targets, former, app.keep_releases),
        })
    });
    let spec = specification(
        &assembly,
        record,
        Frame {
            id,
            fence: input.fence,
            app: key.clone(),
            commit: input.desired.commit.to_string(),
            kind: TransactionKind::Apply,
            rollout: &input.desired.rollout,
            fleet: input.fleet,
        },
    );
    Some(Draft::new(spec, files))
}

/// What frames the steps of a transaction.
struct Frame<'a> {
    id: TransactionId,
    fence: u64,
    app: String,
    commit: String,
    kind: TransactionKind,
    rollout: &'a RolloutPolicy,
    fleet: FleetShape,
}

fn specification(assembly: &Assembly<'_>, record: Option<Box<AppRecord>>, frame: Frame<'_>) -> TransactionSpec {
    let prepare = assembly.prepare();
    let promote = assembly.promote();
    let watch = assembly.watch();
    let settle = assembly.settle(record);
    let watched: u64 = watch.iter().map(|step| step.deadline_ms).sum();
    let promoting: u64 = promote.iter().map(|step| step.deadline_ms).sum();
    // A host that is ready, or watched, waits until the waves before and after it are through.
    let waves = u64::from(frame.fleet.waves.max(1));
    let gate = frame.rollout.ready_deadline.0.saturating_add((waves - 1).saturating_mul(watched + promoting));
    let one_way = assembly
        .targets
        .iter()
        .filter(|target| target.one_way && target.is_touched())
        .filter_map(|target| target.migrates.clone())
        .collect();
    let confirm_within_ms =
        lockout::needs_confirmation(&[&prepare, &promote, &settle]).then_some(frame.rollout.confirm_within.0);
    TransactionSpec {
        id: frame.id,
        fence: frame.fence,
        app: frame.app,
        release: assembly.release.to_owned(),
        commit: frame.commit,
        kind: frame.kind,
        prepare,
        ready_deadline_ms: gate,
        promote,
        watch,
        settled_gate: frame.rollout.all_or_nothing && frame.fleet.hosts > 1,
        settled_deadline_ms: gate,
        settle,
        one_way,
        confirm_within_ms,
    }
}

/// Returns the ledger's name of an app.
pub(super) fn app_key(environment: &EnvironmentName, app: &AppName) -> String {
    format!("{environment}/{app}")
}

fn transaction_id(environment: &EnvironmentName, app: &AppName, sync: &str) -> TransactionId {
    let sync: String = sync.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit()).take(14).collect();
    TransactionId::try_from(format!("{environment}-{app}-{sync}"))
        .expect("BUG: two names of 40 and a word of 14 make a valid transaction name")
}

#[cfg(test)]
mod tests;
