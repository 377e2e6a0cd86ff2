//! What serves on each host, how well, and whether it is what git says.

use holdfast_protocol::{AppRecord, Ledger, LiveReport, Observed, Slot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backups::{BackupStatus, backups};
use super::certificates::{CertificateStatus, certificates};
use super::{Change, LiveHost, LiveState, Plan};
use crate::desired::{DesiredApp, DesiredState};
use crate::id::{AppName, HostName};

/// Whether an app is as git says. The words are Argo CD's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SyncStatus {
    /// Nothing is to change.
    Synced,
    /// Something is.
    OutOfSync,
    /// It could not be told.
    Unknown,
}

/// How well an app is. Ordered: the worst of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    /// Everything that should run runs.
    Healthy,
    /// Its release is quarantined: the one before serves on purpose.
    Suspended,
    /// A transaction is under way, or something is still starting.
    Progressing,
    /// Something that should run does not.
    Degraded,
    /// It was never applied here.
    Missing,
    /// It could not be told.
    Unknown,
}

/// One app on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppStatus {
    /// Host.
    pub host: HostName,
    /// App.
    pub app: AppName,
    /// The release git says.
    pub desired: String,
    /// The release that serves; empty when none was applied.
    pub live: String,
    /// The slot that serves, of the first component that has slots.
    pub slot: Option<Slot>,
    /// The release a rollback goes back to; empty when there is none.
    pub previous: String,
    /// Whether it is as git says.
    pub sync: SyncStatus,
    /// How well it is.
    pub health: Health,
    /// What to know about it; may be empty.
    pub note: String,
    /// Its backups on this host.
    pub backups: Vec<BackupStatus>,
    /// Its certificates on this host.
    pub certificates: Vec<CertificateStatus>,
    /// The migrations of the release that serves, as far as this host ran them.
    #[serde(default)]
    pub migrations: Vec<MigrationStatus>,
}

/// A migration that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationStatus {
    /// The component.
    pub component: String,
    /// The release that brought it.
    pub release: String,
    /// The schema's revision before, empty for an empty database; `None` where it is not known.
    pub before: Option<String>,
    /// The schema's revision after; `None` where it is not known.
    pub after: Option<String>,
    /// Whether the release before works with it.
    pub reversible: bool,
}

impl AppStatus {
    /// Returns whether it is as git says, and everything runs.
    pub fn is_well(&self) -> bool {
        self.sync == SyncStatus::Synced && self.health == Health::Healthy
    }
}

/// Returns the status of every app on every host, in rollout order.
pub fn status(desired: &DesiredState, live: &LiveState, plan: &Plan) -> Vec<AppStatus> {
    let mut all = Vec::new();
    for name in &desired.order {
        let Some(host) = desired.hosts.get(name) else { continue };
        for app in host.apps.values() {
            all.push(of_app(desired, name, app, live.hosts.get(name), plan));
        }
    }
    all
}

fn of_app(
    desired: &DesiredState,
    host: &HostName,
    app: &DesiredApp,
    live: Option<&LiveHost>,
    plan: &Plan,
) -> AppStatus {
    let mut status = AppStatus {
        host: host.clone(),
        app: app.name.clone(),
        desired: app.release.clone(),
        live: String::new(),
        slot: None,
        previous: String::new(),
        sync: SyncStatus::Unknown,
        health: Health::Unknown,
        note: String::new(),
        backups: Vec::new(),
        certificates: Vec::new(),
        migrations: Vec::new(),
    };
    let report = match live {
        Some(LiveHost::Reached { report, .. }) => report,
        Some(LiveHost::Unreachable { reason }) => return AppStatus { note: reason.clone(), ..status },
        None => return status,
    };
    let key = format!("{}/{}", desired.environment, app.name);
    let ledger = match &report.ledger {
        Observed::Unknown(reason) => return AppStatus { note: reason.clone(), ..status },
        Observed::Absent => None,
        Observed::Seen(ledger) => Some(ledger),
    };
    let changes: Vec<&Change> = plan
        .hosts
        .get(host)
        .into_iter()
        .flat_map(|host| &host.changes)
        .filter(|change| change.app == app.name && !change.is_housekeeping())
        .collect();
    let blockers: Vec<_> = plan
        .blockers
        .iter()
        .filter(|blocker| blocker.host.as_ref().is_none_or(|named| named == host))
        .filter(|blocker| blocker.app.as_ref().is_none_or(|named| *named == app.name))
        .collect();
    let unknown = blockers.iter().any(|blocker| blocker.code == "unknown");
    status.sync = match (unknown, changes.len()) {
        (true, _) => SyncStatus::Unknown,
        (false, 0) if blockers.is_empty() => SyncStatus::Synced,
        (false, _) => SyncStatus::OutOfSync,
    };
    let under_way = report.transactions.iter().find(|tx| tx.app == key && tx.outcome.is_none());
    // What a transaction has written so far is in no ledger yet, and would be called somebody else's; that it runs is no trouble.
    let in_the_way = blockers.iter().find(|blocker| match (under_way, blocker.code.as_str()) {
        (Some(_), "foreign-resource") => false,
        (Some(transaction), "unfinished-transaction") => !transaction.running,
        _ => true,
    });
    status.note = match (in_the_way, under_way) {
        (Some(blocker), _) => blocker.message.clone(),
        (None, Some(transaction)) => format!("{} is under way", transaction.release),
        (None, None) => drift_note(&changes),
    };
    let Some(record) = ledger.and_then(|ledger| ledger.apps.get(&key)) else {
        status.health = if under_way.is_some() { Health::Progressing } else { Health::Missing };
        return status;
    };
    status.live.clone_from(&record.release);
    status.slot = record.components.values().find_map(|component| component.active);
    status.previous = record.previous.as_ref().map(|previous| previous.release.clone()).unwrap_or_default();
    status.health = health(record, report);
    status.backups = backups(app, report);
    status.migrations = migrations(record, ledger);
    if status.backups.iter().any(|backup| !backup.problem.is_empty()) {
        status.health = status.health.max(Health::Degraded);
    }
    status.certificates = certificates(app, report);
    for certificate in &status.certificates {
        let wrong = if certificate.problem.is_empty() { Health::Healthy } else { Health::Degraded };
        let health = if certificate.pending { Health::Progressing } else { wrong };
        status.health = status.health.max(health);
    }
    if under_way.is_some() {
        status.health = status.health.max(Health::Progressing);
    } else if status.health == Health::Healthy && blockers.iter().any(|blocker| blocker.code == "quarantined") {
        status.health = Health::Suspended;
    }
    status
}

fn migrations(record: &AppRecord, ledger: Option<&Ledger>) -> Vec<MigrationStatus> {
    let known = record.components.iter().filter_map(|(name, component)| {
        let ran = ledger?.migrated.get(component.migration.as_ref()?)?;
        Some(MigrationStatus {
            component: name.clone(),
            release: ran.release.clone(),
            before: ran.before.clone(),
            after: ran.after.clone(),
            reversible: ran.reversible,
        })
    });
    known.collect()
}

/// Returns what the host is not any more, though git is as before; empty when there is no such thing.
fn drift_note(changes: &[&Change]) -> String {
    let drifted: Vec<&&Change> = changes.iter().filter(|change| change.is_drift()).collect();
    let named: Vec<String> = drifted.iter().take(3).map(|change| format!("{} ({})", change.key, change.rule)).collect();
    match drifted.len().saturating_sub(named.len()) {
        _ if named.is_empty() => String::new(),
        0 => format!("drift: {}", named.join(", ")),
        more => format!("drift: {} and {more} more", named.join(", ")),
    }
}

fn health(record: &AppRecord, report: &LiveReport) -> Health {
    let mut worst = Health::Healthy;
    for component in record.components.values() {
        let slot = component.active.and_then(|slot| component.slots.get(&slot));
        let units = component.units.keys().chain(slot.into_iter().flat_map(|slot| slot.units.keys()));
        for unit in units {
            worst = worst.max(match report.units.get(unit) {
                Some(Observed::Seen(live)) => match live.active.as_str() {
                    "active" => Health::Healthy,
                    "activating" | "reloading" => Health::Progressing,
                    _ => Health::Degraded,
                },
                Some(Observed::Absent) => Health::Degraded,
                Some(Observed::Unknown(_)) | None => Health::Unknown,
            });
        }
        let projects = component.project.iter().chain(slot.into_iter().filter_map(|slot| slot.project.as_ref()));
        for project in projects {
            worst = worst.max(match report.projects.get(project) {
                Some(Observed::Seen(live)) => live
                    .containers
                    .iter()
                    .map(|container| match (container.state.as_str(), container.health.as_str()) {
                        ("running", "starting") => Health::Progressing,
                        ("running", "unhealthy") => Health::Degraded,
                        ("running", _) => Health::Healthy,
                        _ => Health::Degraded,
                    })
                    .max()
                    .unwrap_or(Health::Degraded),
                Some(Observed::Absent) => Health::Degraded,
                Some(Observed::Unknown(_)) | None => Health::Unknown,
            });
        }
    }
    worst
}
