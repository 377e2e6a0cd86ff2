//! Sends one app back to its previous release on all hosts, from what their ledgers remember.

use std::collections::BTreeMap;

use holdfast_core::config::HostSpec;
use holdfast_core::desired::DesiredState;
use holdfast_core::event::{AppResult, SyncEventKind, SyncResult};
use holdfast_core::id::{AppName, HostName};
use holdfast_core::plan::{LiveHost, app_digest};
use holdfast_core::report::Report;
use holdfast_core::rollout::{FleetPolicy, FleetShape, RollbackInput, Withheld, compile_rollback};
use holdfast_protocol::{MigrationRecord, ObserveRequest};

use crate::apply::{AppRollout, Operator, Payload, roll_out};
use crate::observe::observe;
use crate::ports::Ports;
use crate::sync::{Recorder, chance, finish_unfinished, next_fence, word};

/// What is to go back.
#[derive(Debug, Clone)]
pub struct RollbackRequest {
    /// The environment as git has it: its hosts, and the release that is not to come again by itself.
    pub desired: DesiredState,
    /// The app.
    pub app: AppName,
    /// The release that is to serve again; `None` for the one before the present one.
    pub to: Option<String>,
    /// The account that began it; empty where nobody knows.
    pub by: String,
    /// Whether the schema goes back too, to the revision recorded before the release that is left.
    pub downgrade: bool,
}

/// Brings the release before the present one back and returns how that went. Git is not changed: the release that was left is
/// quarantined, so that a daemon does not bring it again.
///
/// Further back it is one release after another, each proven before the next, since what a slot holds was made for that slot.
///
/// Hosts go back all at once, since what they leave is not wanted any more.
pub async fn rollback(ports: &Ports, request: &RollbackRequest, operator: &mut Operator) -> Report {
    let (ports, recorder) = Recorder::on(ports);
    ports.tell(SyncEventKind::Started {
        environment: request.desired.environment.clone(),
        commit: request.desired.commit.clone(),
        cause: "rollback".to_owned(),
        by: request.by.clone(),
    });
    let mut result = None;
    for _ in 0..MOST {
        result = go_back(&ports, request, operator).await;
        if result.is_some() {
            break;
        }
    }
    let result = result.unwrap_or(SyncResult::Failed);
    ports.tell(SyncEventKind::Ended { result, migrated: Vec::new() });
    recorder.report()
}

/// The most releases that are gone back.
const MOST: u32 = 32;

/// Goes back by one release, where that is not there yet which is wanted. `None` when there is more to do.
async fn go_back(ports: &Ports, request: &RollbackRequest, operator: &mut Operator) -> Option<SyncResult> {
    let RollbackRequest { desired, app, to, by: _, downgrade } = request;
    let specs: BTreeMap<&HostName, &HostSpec> = desired.hosts.iter().map(|(name, host)| (name, &host.host)).collect();
    // What the ledger names is in every answer: nothing that git says is needed to go back.
    let questions = || specs.values().map(|host| ((*host).clone(), ObserveRequest::default())).collect();
    let mut live = observe(ports, questions()).await;
    let left = finish_unfinished(ports, desired, &specs, &live, operator).await;
    if let Some(why) = left.foreign.get(app) {
        let blockers = vec![format!("busy: {app} {why}")];
        ports.tell(SyncEventKind::Planned {
            changes: 0,
            blockers,
            closed: Vec::new(),
            seal: String::new(),
            migrated: Vec::new(),
        });
        return Some(SyncResult::Blocked);
    }
    if left.any {
        live = observe(ports, questions()).await;
    }
    let fence = next_fence(&live);
    let word = word(ports.clock.now(), chance());
    let order: Vec<&HostName> = desired.order.iter().filter(|host| specs.contains_key(*host)).collect();
    let fleet = FleetShape { hosts: order.len() as u32, waves: 1 };
    // A migration is in the ledger of the host that ran it, and concerns them all.
    let ledgers = live.hosts.values().filter_map(|host| match host {
        LiveHost::Reached { report, .. } => report.ledger.seen(),
        LiveHost::Unreachable { .. } => None,
    });
    let migrated: BTreeMap<String, MigrationRecord> = ledgers.flat_map(|ledger| ledger.migrated.clone()).collect();
    let (mut hosts, mut missing) = (BTreeMap::new(), Vec::new());
    let (mut left, mut back_to) = (String::new(), String::new());
    // Where one host cannot get there, none begins.
    let (mut there, mut unable) = (false, false);
    let key = format!("{}/{app}", desired.environment);
    let mut rollout = desired.rollout.clone();
    rollout.all_or_nothing = false;
    for name in order {
        let (hello, report) = match live.hosts.get(name) {
            Some(LiveHost::Reached { hello, report }) => (hello, report),
            Some(LiveHost::Unreachable { reason }) => {
                ports.tell(SyncEventKind::HostTrouble { app: None, host: name.clone(), error: reason.clone() });
                missing.push(format!("{name} cannot be reached: {reason}"));
                continue;
            }
            None => continue,
        };
        let Some(record) = report.ledger.seen().and_then(|ledger| ledger.apps.get(&key)) else { continue };
        if let Some(to) = to {
            if record.release == *to {
                there = true;
                continue;
            }
            if !record.releases().any(|kept| kept.release == *to) {
                let kept: Vec<&str> = record.releases().skip(1).map(|kept| kept.release.as_str()).collect();
                let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
                missing.push(format!("{name} remembers no release {to} of {app}; before {}: {kept}", record.release));
                unable = true;
                continue;
            }
        }
        let input = RollbackInput {
            environment: &desired.environment,
            app,
            hello,
            live: report,
            fence,
            sync: &word,
            rollout: &rollout,
            fleet,
            now: ports.clock.now(),
            migrated: &migrated,
            downgrade: *downgrade,
        };
        match compile_rollback(&input) {
            Ok(spec) => {
                left.clone_from(&record.release);
                back_to.clone_from(&spec.release);
                hosts.insert(name.clone(), (specs[name].clone(), Payload::Complete(Box::new(spec))));
            }
            Err(Withheld::NoRelease) => {
                missing.push(format!("{name} remembers no release of {app} before {}", record.release));
            }
            // One that stays keeps all: half of them would run against a schema that they do not know.
            Err(Withheld::Schema(why)) => {
                missing.push(why);
                hosts.clear();
                break;
            }
        }
    }
    if unable {
        hosts.clear();
    }
    if hosts.is_empty() && missing.is_empty() && there {
        ports.tell(SyncEventKind::Planned {
            changes: 0,
            blockers: missing,
            closed: Vec::new(),
            seal: String::new(),
            migrated: Vec::new(),
        });
        return Some(SyncResult::Synced);
    }
    if hosts.is_empty() && missing.is_empty() {
        missing.push(format!("no host of {} has {app}", desired.environment));
    }
    let blocked = !missing.is_empty();
    ports.tell(SyncEventKind::Planned {
        changes: hosts.len() as u32,
        blockers: missing,
        closed: Vec::new(),
        seal: String::new(),
        migrated: Vec::new(),
    });
    if hosts.is_empty() {
        return Some(SyncResult::Blocked);
    }
    let waves = vec![hosts.keys().cloned().collect()];
    let policy = FleetPolicy { all_or_nothing: false, pause_after_first: false, migrating: None };
    let further = to.as_ref().is_some_and(|to| back_to != *to);
    let end = roll_out(ports, AppRollout { app: app.clone(), release: back_to, hosts, waves, policy }, operator).await;
    if matches!(end.result, AppResult::Done | AppResult::Partial) {
        ports.tell(SyncEventKind::Quarantined {
            app: app.clone(),
            release: left.clone(),
            reason: format!("it was rolled back from {left}"),
            content: app_digest(desired, app).to_string(),
        });
    }
    Some(match end.result {
        AppResult::Done if !blocked && further => return None,
        AppResult::Done if !blocked => SyncResult::Synced,
        AppResult::Blocked => SyncResult::Blocked,
        AppResult::RolledBack => SyncResult::RolledBack,
        AppResult::Done | AppResult::Partial | AppResult::Stuck => SyncResult::Failed,
    })
}
