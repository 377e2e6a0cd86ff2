//! The one list of things that can happen in a sync: the interface between work and every observer. Observers only watch.

use holdfast_protocol::{JournalEntry, Outcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AppName, CommitId, EnvironmentName, HostName};
use crate::time::Timestamp;

/// The word a step's title has after its component when it moves new connections: the report measures switches by it.
pub const SWITCH: &str = "switch";

/// The word a step's title has after its component when it migrates.
pub const MIGRATE: &str = "migrate";

/// The word a step's title has after its component when it makes roles and databases.
pub const DATABASES: &str = "databases";

/// The word a step's title has after its component when it brings initial data.
pub const SEED: &str = "initial data";
/// The word a step's title has after its component when it takes a migration back.
pub const DOWNGRADE: &str = "downgrade";

/// The word a step's title has after its component when it takes the backup that a migration waits for.
pub const BACKUP: &str = "backup";

/// The title of the step that looks whether a host has what a transaction needs.
pub const PREFLIGHT: &str = "preflight";

/// What a step's title has after its component when it looks whether the idle slot's ports are free.
pub const PORTS_FREE: &str = "ports are free";

/// The title of the step that has images brought to a host.
pub const IMAGES: &str = "images";

/// Something that happened. Stored in the history and streamed to whoever looks; the serialised form only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncEvent {
    /// When, by the manager's clock.
    pub at: Timestamp,
    /// What.
    pub kind: SyncEventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncEventKind {
    /// A sync began.
    Started {
        /// Environment.
        environment: EnvironmentName,
        /// Commit.
        commit: CommitId,
        /// Why: `apply`, `approval`, `commit`, `drift`, `rollback`, `resume`.
        cause: String,
        /// The account that began it; empty where nobody knows.
        #[serde(default)]
        by: String,
    },
    /// A plan was made.
    Planned {
        /// Changes.
        changes: u32,
        /// Blockers, as lines for people.
        blockers: Vec<String>,
        /// Apps that windows close: each has one line of the blockers.
        #[serde(default)]
        closed: Vec<AppName>,
        /// The plan's seal.
        seal: String,
        /// Ids of the commit's migrations that the hosts have done.
        #[serde(default)]
        migrated: Vec<String>,
    },
    /// The plan changes something, and too few people agreed to it: nothing is applied.
    AwaitsApproval {
        /// Environment.
        environment: EnvironmentName,
        /// The plan's seal: what is to be approved.
        seal: String,
        /// Who agreed so far.
        given: Vec<String>,
        /// How many must.
        required: u32,
        /// Who may.
        approvers: Vec<String>,
    },
    /// Enough people agreed to exactly this plan: it is applied.
    Approved {
        /// The plan's seal.
        seal: String,
        /// Who agreed.
        by: Vec<String>,
    },
    /// A person had apps changed that windows close.
    WindowOverridden {
        /// The apps.
        apps: Vec<AppName>,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// What closes them, as lines for people.
        windows: Vec<String>,
    },
    /// Something is to be changed, and it is other environments' turn. Hosts are looked at once more when it is this one's.
    WaitsForTurn {
        /// How many environments this manager changes at the same time.
        most: u32,
    },
    /// An app's rollout began.
    AppStarted {
        /// App.
        app: AppName,
        /// Release.
        release: String,
        /// Hosts in the order of waves.
        waves: Vec<Vec<HostName>>,
    },
    /// A transaction was staged on a host.
    Staged {
        /// App.
        app: AppName,
        /// Host.
        host: HostName,
        /// Bytes sent.
        bytes: u64,
    },
    /// A host wrote a journal entry.
    Host {
        /// App.
        app: AppName,
        /// Host.
        host: HostName,
        /// The entry.
        entry: JournalEntry,
    },
    /// The fleet decided something about a host.
    Decided {
        /// App.
        app: AppName,
        /// Host.
        host: HostName,
        /// `promote`, `settle`, `go_back`, `end_watch`.
        decision: String,
        /// Why.
        reason: String,
    },
    /// The rollout waits for a person.
    Paused {
        /// App.
        app: AppName,
        /// What to do.
        hint: String,
    },
    /// A host is finished with an app.
    HostEnded {
        /// App.
        app: AppName,
        /// Host.
        host: HostName,
        /// How.
        outcome: Outcome,
        /// Why; empty when done.
        reason: String,
    },
    /// A host could not be asked or told something.
    HostTrouble {
        /// App; `None` while observing.
        app: Option<AppName>,
        /// Host.
        host: HostName,
        /// What.
        error: String,
    },
    /// A release is not tried again until its content changes.
    Quarantined {
        /// App.
        app: AppName,
        /// Release.
        release: String,
        /// Why.
        reason: String,
        /// The identity of its rendered content, as 64 hexadecimal digits: what must change before it is tried again.
        content: String,
    },
    /// An app's rollout ended.
    AppEnded {
        /// App.
        app: AppName,
        /// How.
        result: AppResult,
    },
    /// The sync ended.
    Ended {
        /// How.
        result: SyncResult,
        /// Ids of the commit's migrations that the hosts have done by now, as their ledgers say.
        #[serde(default)]
        migrated: Vec<String>,
    },
}

/// How an app's rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppResult {
    /// All hosts have the new state.
    Done,
    /// All hosts have the old state again.
    RolledBack,
    /// Some hosts have the new state and some the old one.
    Partial,
    /// A host needs an operator.
    Stuck,
    /// It did not begin.
    Blocked,
}

/// How a sync ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncResult {
    /// Everything is as git says.
    Synced,
    /// Nothing was to be done.
    NoChange,
    /// Something failed and the old state serves.
    RolledBack,
    /// Something could not begin.
    Blocked,
    /// Something failed otherwise; see the events.
    Failed,
    /// Nothing was done: the plan waits until people agree to it.
    AwaitsApproval,
}
