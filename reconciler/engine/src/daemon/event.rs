//! What can happen to the daemon, and what it can decide to do.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::config::{HostSpec, SyncPolicy};
use holdfast_core::event::SyncResult;
use holdfast_core::id::{AppName, CommitId, EnvironmentName};
use holdfast_core::notice::Told;
use holdfast_core::protocol::ObserveRequest;
use holdfast_core::schedule::{SyncCause, SyncVerdict};
use holdfast_core::time::Timestamp;

use super::control::{Approved, ControlReply, ControlRequest};
use crate::apply::OperatorWord;
use crate::store::{ApprovalRequest, Pause};

/// A connection on the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Something happened.
#[derive(Debug, Clone)]
pub enum DaemonEvent {
    /// The daemon starts, and this is what its store knows.
    Started(BTreeMap<EnvironmentName, Known>),
    /// The repository may have changed: a file of it, a signal, a webhook. Only brings the look forward.
    RepositoryChanged,
    /// A look at the repository ended.
    Looked(Looks),
    /// Something changed on a host of an environment.
    HostChanged(EnvironmentName),
    /// A job ended.
    Ran(Job, Ran),
    /// A check ended.
    Checked(EnvironmentName, Result<Checked, String>),
    /// A look after the backups ended, with what people are to be told.
    BackedUp(EnvironmentName, Result<Told, String>),
    /// Somebody asks.
    Control(Token, ControlRequest),
    /// Somebody's word on a plan was judged.
    Approved(Token, EnvironmentName, Result<Approved, String>),
    /// A connection was closed by its other end.
    Gone(Token),
    /// The time that [`super::Dispatcher::deadline`] named has come.
    Tick,
    /// The daemon is to end.
    Stop,
}

/// What the store knows of an environment at a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The newest commit seen.
    pub seen: Option<CommitId>,
    /// The commit last synced without anything left to do.
    pub synced: Option<CommitId>,
    /// The commit of a sync that did not end.
    pub unfinished: Option<CommitId>,
    /// Whether it is suspended.
    pub suspended: Option<Pause>,
    /// The commit that was last released by approval.
    pub released: Option<CommitId>,
}

/// What a look at the repository found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks {
    /// Whether the repository could be fetched; why not, and what to do. What was fetched before is looked at all the same.
    pub fetched: Result<(), String>,
    /// What each environment follows.
    pub environments: BTreeMap<EnvironmentName, Result<Look, LookError>>,
}

/// What an environment follows, as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The newest commit.
    pub commit: CommitId,
    /// When it is synced, by that commit.
    pub policy: SyncPolicy,
    /// Whether people must agree before anything is applied.
    pub approval: bool,
    /// Its apps, by that commit.
    pub apps: Vec<AppName>,
    /// What to watch, by that commit.
    pub watched: Vec<Watched>,
    /// Whether anything of it is kept for a while after it served, and then cleared away.
    pub keeps: bool,
    /// Whether it declares backups or certificates.
    pub backups: bool,
    /// The environments whose migrations it waits for.
    pub after: BTreeSet<EnvironmentName>,
}

/// A host and what matters on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// The host.
    pub host: HostSpec,
    /// What is watched.
    pub request: ObserveRequest,
}

/// Why a look led to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookError {
    /// The commit that cannot be used; `None` when there is none.
    pub commit: Option<CommitId>,
    /// Why, and what to do; may be many lines.
    pub reason: String,
}

/// Something to be done in one environment; one at a time in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where.
    pub environment: EnvironmentName,
    /// What.
    pub kind: JobKind,
}

/// The kinds of job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// Bring the environment to a commit.
    Sync {
        /// The commit.
        commit: CommitId,
        /// Why.
        cause: SyncCause,
        /// Only this app.
        app: Option<AppName>,
    },
    /// Bring the previous release of an app back.
    Rollback {
        /// The commit that says which hosts there are.
        commit: CommitId,
        /// The app.
        app: AppName,
    },
}

impl JobKind {
    /// Returns the commit.
    pub fn commit(&self) -> &CommitId {
        match self {
            Self::Sync { commit, .. } | Self::Rollback { commit, .. } => commit,
        }
    }

    /// Returns whether it waits while as many other environments are being changed as may be at the same time. What a person asked for
    /// does not.
    pub fn waits_for_others(&self) -> bool {
        match self {
            Self::Rollback { .. } => false,
            Self::Sync { cause, .. } => *cause != SyncCause::Operator,
        }
    }

    /// Returns why, as the history says it.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Rollback { .. } => "rollback",
            Self::Sync { cause, .. } => match cause {
                SyncCause::Timer => "timer",
                SyncCause::Drift => "drift",
                SyncCause::Resume => "resume",
                SyncCause::Commit => "commit",
                SyncCause::Approval => "approval",
                SyncCause::Operator => "apply",
            },
        }
    }
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub result: SyncResult,
    /// Why, for people; may be empty.
    pub reason: String,
    /// Whether trying again may help.
    pub verdict: SyncVerdict,
    /// The plan that waits for approval now.
    pub awaits: Option<ApprovalRequest>,
    /// The commit that was last released by approval.
    pub released: Option<CommitId>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Changes a sync would make, but for what follows.
    pub changes: u32,
    /// Things that were kept for the way back long enough: clearing them away changes nothing that serves.
    pub kept_long_enough: u32,
    /// When the next thing that is kept has been kept long enough.
    pub kept_until: Option<Timestamp>,
    /// What stands in the way, as lines for people.
    pub blockers: Vec<String>,
}

/// Something to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Fetch, and say what each environment follows. `last` is what it must not fall behind.
    Look(BTreeMap<EnvironmentName, Option<CommitId>>),
    /// Start a job.
    Start(Job),
    /// Find out what a sync would change, without changing anything.
    Check(EnvironmentName, CommitId),
    /// Look after the backups that a commit declares: copy what is to be copied, and say what is too old.
    Backups(EnvironmentName, CommitId),
    /// Judge the word of who holds a connection, on the plan with this seal, in this name where he speaks for another.
    Approve(Token, EnvironmentName, String, Option<String>),
    /// Speak to the running job of an environment, and answer who said it with what became of it.
    Say(Option<Token>, EnvironmentName, OperatorWord),
    /// Watch these hosts for an environment, and none it watched before that is not among them.
    Watch(EnvironmentName, Vec<Watched>),
    /// Write this down.
    Store(StoreChange),
    /// Tell people.
    Tell(Told),
    /// Send this line.
    Reply(Token, ControlReply),
    /// Send the events of this environment from now on.
    Stream(Token, EnvironmentName),
    /// The state for `systemctl status`.
    Status(String),
    /// A line for the log.
    Note(String),
    /// End.
    Exit,
}

/// Something to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChange {
    /// The newest commit seen.
    Seen(EnvironmentName, CommitId, Timestamp),
    /// An environment, or one app of it, was suspended.
    Suspended(Pause),
    /// It was resumed.
    Resumed(EnvironmentName, Option<AppName>),
}
