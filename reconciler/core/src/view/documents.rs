//! What verbs print with `--json`, as types: their schemas are made of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::diag::{Diagnostic, Diagnostics, Origin, Severity};
use crate::event::{SyncEvent, SyncResult};
use crate::id::{AppName, CommitId, EnvironmentName};
use crate::plan::AppStatus;
use crate::time::Timestamp;
use crate::window::{Closed, WindowKind};

use super::config_diff::ConfigDiff;

/// The version of all documents here. It rises when a reader of the former version would misread one.
pub const DOCUMENT_VERSION: u32 = 1;

/// What `status --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast status")]
pub struct StatusDocument {
    /// Rises when a reader of the former version would misread a status.
    pub format_version: u32,
    /// The environments that were asked for.
    pub environments: Vec<EnvironmentDocument>,
    /// How far notices came, by place.
    pub notices: Vec<NoticesDocument>,
    /// What the daemon of this manager says; `null` when none answers.
    pub daemon: Option<DaemonDocument>,
    /// Why the repository could not be fetched for this status, so that what was fetched before is shown; `null` when it could, and
    /// where the daemon says it.
    pub unfetched: Option<String>,
}

/// What the daemon says that concerns all environments.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DaemonDocument {
    /// Why it cannot fetch the repository; what was fetched before is in force.
    pub unfetched: Option<TroubleDocument>,
}

/// Something that keeps the daemon from its work.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TroubleDocument {
    /// What, and what to do; may be many lines.
    pub reason: String,
    /// Since when this daemon sees it, in milliseconds since the Unix epoch.
    pub since: Timestamp,
}

/// What the daemon does in an environment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FollowedDocument {
    /// What runs.
    pub running: Option<RunningDocument>,
    /// Whether another sync waits.
    pub waiting: bool,
    /// Why the newest commit cannot be used; the one before it stays in force.
    pub problem: Option<TroubleDocument>,
}

/// A sync that the daemon runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunningDocument {
    /// The full id of its commit.
    pub commit: CommitId,
    /// Why it runs: `apply`, `approval`, `commit`, `drift`, `rollback`, `resume`, `timer`.
    pub cause: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: Timestamp,
    /// What its rollout waits for a person with, and what to type; `null` while it goes on by itself.
    pub held: Option<String>,
}

/// The notices to one place.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NoticesDocument {
    /// The place, by its name in the manager's own configuration.
    pub sink: String,
    /// How many wait to be sent.
    pub waiting: u32,
    /// How many arrived.
    pub delivered: u32,
    /// How many never did, and are no longer tried.
    pub given_up: u32,
    /// What was in the way last; empty when nothing was.
    pub error: String,
}

/// A plan to agree to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProposalDocument {
    /// Its environment.
    pub environment: EnvironmentName,
    /// The full id of its commit.
    pub commit: CommitId,
    /// Its seal.
    pub seal: String,
}

/// A plan that waits until people approve it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApprovalDocument {
    /// The plan.
    pub proposal: ProposalDocument,
    /// How many changes it has.
    pub changes: u32,
    /// How many people must agree.
    pub required: u32,
    /// Who agreed when it was last planned.
    pub given: Vec<String>,
    /// Since when it waits, in milliseconds since the Unix epoch.
    pub at: Timestamp,
}

/// One environment of a status.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EnvironmentDocument {
    /// Its name.
    pub environment: EnvironmentName,
    /// The full id of the commit it is compared with.
    pub commit: CommitId,
    /// Every app on every host, in rollout order.
    pub apps: Vec<AppStatus>,
    /// Apps that a person paused, and what is to be said about each.
    pub paused: BTreeMap<AppName, String>,
    /// Who paused the environment as a whole, and what to do; `null` when nobody did.
    pub suspended: Option<String>,
    /// Apps that windows close now.
    pub closed: BTreeMap<AppName, ClosedDocument>,
    /// The plan that waits for approval.
    pub awaits: Option<ApprovalDocument>,
    /// What the daemon does here; `null` when none answers, or it does not follow this environment.
    pub daemon: Option<FollowedDocument>,
}

/// That windows close an app.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ClosedDocument {
    /// When it opens, in milliseconds since the Unix epoch; `null` when that is years away.
    pub until: Option<Timestamp>,
    /// The window that closes it, or that opens it next.
    pub by: Origin,
    /// `deny`, or `allow` outside of all that allow.
    pub kind: WindowKind,
    /// Whether `holdfast apply`, typed by a person, goes through.
    pub manual: bool,
    /// The same for people.
    pub text: String,
}

impl From<&Closed> for ClosedDocument {
    fn from(closed: &Closed) -> Self {
        Self {
            until: closed.until,
            by: closed.by.clone(),
            kind: closed.kind,
            manual: closed.manual,
            text: closed.to_string(),
        }
    }
}

/// What `diff --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast diff")]
pub struct DiffDocument {
    /// Rises when a reader of the former version would misread a difference.
    pub format_version: u32,
    /// The environments that differ.
    pub environments: Vec<ConfigDiff>,
}

/// What `validate --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast validate")]
pub struct ValidateDocument {
    /// Rises when a reader of the former version would misread the findings.
    pub format_version: u32,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// The findings by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

impl ValidateDocument {
    /// Returns the document of these findings.
    pub fn new(diagnostics: &Diagnostics) -> Self {
        let count = |severity| diagnostics.0.iter().filter(|one| one.severity == severity).count();
        Self {
            format_version: DOCUMENT_VERSION,
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            diagnostics: diagnostics.0.clone(),
        }
    }
}

/// What `history --json` prints: `syncs`, or with `--sync` that one `sync` and its `events`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast history")]
pub struct HistoryDocument {
    /// Rises when a reader of the former version would misread a history.
    pub format_version: u32,
    /// The last syncs, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syncs: Option<Vec<HistorySync>>,
    /// The one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<HistorySync>,
    /// Its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<SyncEvent>>,
}

/// One sync of the history.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistorySync {
    /// Its number.
    pub id: i64,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The full id of its commit.
    pub commit: CommitId,
    /// Why: `apply`, `commit`, `drift`, `rollback`, `resume`, `timer`.
    pub cause: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub started: Timestamp,
    /// When it ended; `null` while it runs, or when the manager died in it.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub result: Option<SyncResult>,
    /// A line for people; may be empty.
    pub reason: String,
}

/// What `unlock --json` prints: what stands in the way of an environment.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast unlock")]
pub struct UnlockDocument {
    /// Rises when a reader of the former version would misread it.
    pub format_version: u32,
    /// Locks of the environment: one at the most, while something changes it.
    pub locks: Vec<LockDocument>,
    /// Releases that are not tried again before their rendered content changes.
    pub quarantined: Vec<QuarantineDocument>,
}

/// A lock.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LockDocument {
    /// Its id, for `unlock --lock`.
    pub id: String,
    /// Whose it is, for people.
    pub who: String,
    /// The process that holds it.
    pub pid: u32,
    /// Whether that process lives; the lock of a dead one is taken over by the next sync.
    pub alive: bool,
}

/// A release in quarantine.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QuarantineDocument {
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its app.
    pub app: AppName,
    /// Digest of the app's rendered content on all hosts, in hexadecimal.
    pub digest: String,
    /// The release, for people.
    pub release: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub at: Timestamp,
}

/// What `approve --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast approve")]
pub struct ApproveDocument {
    /// Rises when a reader of the former version would misread it.
    pub format_version: u32,
    /// The environment.
    pub environment: EnvironmentName,
    /// The full id of the commit.
    pub commit: CommitId,
    /// The seal of the plan that was agreed to.
    pub seal: String,
    /// Whose word it was.
    pub by: String,
    /// Who agreed to this plan so far.
    pub given: Vec<String>,
    /// How many must.
    pub required: u32,
    /// Whether enough people agreed.
    pub approved: bool,
    /// Whether the daemon applies it now.
    pub begins: bool,
}

/// What `doctor --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast doctor")]
pub struct DoctorDocument {
    /// Rises when a reader of the former version would misread the findings.
    pub format_version: u32,
    /// One for each check.
    pub findings: Vec<DoctorFinding>,
}

/// How a check of `doctor` went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoctorVerdict {
    /// All is well.
    Ok,
    /// It works, and will not for long or not well.
    Warning,
    /// It does not work.
    Failed,
}

/// One check of `doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorFinding {
    /// `box`, or the host.
    pub subject: String,
    /// What was looked at.
    pub check: String,
    /// How it went.
    pub verdict: DoctorVerdict,
    /// What was found.
    pub said: String,
    /// What to do; empty when all is well.
    pub remedy: String,
}
