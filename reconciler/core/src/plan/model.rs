use std::collections::BTreeMap;
use std::fmt;

use holdfast_protocol::{Digest, Hello, LiveReport, Slot};
use serde::{Deserialize, Serialize};

use crate::diag::Origin;
use crate::id::{AppName, CommitId, EnvironmentName, HostName};
use crate::render::Provenance;
use crate::time::Timestamp;

/// The version of [`Plan`] as JSON. It rises when a reader of the former version would misread a plan.
pub const PLAN_FORMAT_VERSION: u32 = 1;

/// What all hosts of an environment said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveState {
    /// By host.
    pub hosts: BTreeMap<HostName, LiveHost>,
}

/// What one host said, or why it could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveHost {
    /// It answered.
    Reached {
        /// What it is and has.
        hello: Box<Hello>,
        /// What is there.
        report: Box<LiveReport>,
    },
    /// It did not. Nothing is planned for it.
    Unreachable {
        /// Why, and what to do.
        reason: String,
    },
}

/// The reviewable result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT_VERSION`].
    pub format_version: u32,
    /// The seal: digest of commit, rendered content, image ids and observed state. Apply recomputes it and refuses when it moved.
    pub seal: Digest,
    /// The environment.
    pub environment: EnvironmentName,
    /// The commit.
    pub commit: CommitId,
    /// When the hosts were observed. Not part of the seal.
    pub observed_at: Timestamp,
    /// By host, in rollout order given by `order`.
    pub hosts: BTreeMap<HostName, HostPlan>,
    /// The order of hosts.
    pub order: Vec<HostName>,
    /// By app: also those that git no longer has and that a ledger still names.
    pub apps: BTreeMap<AppName, AppPlan>,
    /// What the seal is made of, in parts, so that a stale plan can say what moved.
    pub basis: Basis,
    /// What stands in the way. A plan with blockers can be shown, not applied (but for apps and hosts they do not touch).
    pub blockers: Vec<Blocker>,
}

/// One app in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPlan {
    /// The release git names; `None` when git no longer has the app.
    pub release: Option<String>,
    /// The identity of its rendered content over all hosts (see [`crate::plan::app_digest`]): what quarantine remembers.
    pub content: Digest,
}

/// The parts of a seal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// By host.
    pub hosts: BTreeMap<HostName, HostBasis>,
}

/// What one host brings into a seal. Nothing in it moves by itself: no time, no memory, no restart counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBasis {
    /// Of everything rendered for the host.
    pub rendered: Digest,
    /// Of the live things the plan looked at; `None` when the host was not reached.
    pub live: Option<Digest>,
    /// Of this environment's part of the ledger; `None` when it could not be read.
    pub ledger: Option<Digest>,
}

/// What is to change on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// The components that change and how, in the order they are brought up; removed ones last.
    pub components: Vec<ComponentPlan>,
    /// Sorted by app, component, and the order of work.
    pub changes: Vec<Change>,
    /// Resources that are as they should be.
    pub unchanged: u32,
}

/// How one component changes on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentPlan {
    /// Its app.
    pub app: AppName,
    /// Its name as text; it may no longer exist in git.
    pub component: String,
    /// How.
    pub approach: Approach,
    /// The slot that serves now; `None` without slots, or when nothing serves yet.
    pub from: Option<Slot>,
    /// The slot that serves afterwards; `None` without slots, or when it is removed.
    pub to: Option<Slot>,
    /// The release the ledger names for what serves now; empty when there is none.
    pub from_release: String,
    /// The release git names; empty when it is removed.
    pub to_release: String,
}

/// The way a component gets from what it is to what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approach {
    /// Nothing of it is recorded on the host: it is put there. With slots, in blue.
    First,
    /// The idle slot is brought up and proven, then takes over.
    NewSlot,
    /// It is changed, or put right, where it is. With slots this never changes what the active slot runs: it starts what is
    /// stopped and puts modes, owners and enabled states right.
    InPlace,
    /// The old one is stopped before the new one starts.
    DestroyFirst,
    /// Only switches are put right.
    SwitchOnly,
    /// It is removed.
    Remove,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The thing.
    pub key: ResourceKey,
    /// Its app.
    pub app: AppName,
    /// Its component as text; the component may no longer exist in git.
    pub component: String,
    /// The slot it is in, when it has one.
    pub slot: Option<Slot>,
    /// What is done with it.
    pub action: PlanAction,
    /// Why.
    pub reason: Reason,
    /// Something to show behind it, such as `v1 → v2` or `image id sha256:…`; may be empty.
    pub note: String,
    /// Unified diff of the text, secrets shown by fingerprint; empty when there is no text or the file had a secret.
    pub diff: String,
    /// Commit → file:line → field → rule: where each value that makes the difference came from.
    pub because: Vec<Provenance>,
    /// The rule of the planner that decided, as a stable word (`file-content-differs`).
    pub rule: String,
    /// Where the resource is declared; empty file for what git no longer has.
    pub origin: Origin,
}

impl Change {
    /// Returns whether git did not ask for it: the host is not what it was made.
    pub fn is_drift(&self) -> bool {
        matches!(self.reason, Reason::Drifted | Reason::NotRunning)
    }

    /// Returns whether this only clears away what was kept for a time: neither git nor the host changed, and nothing that serves does.
    pub fn is_housekeeping(&self) -> bool {
        self.rule == KEEP_PREVIOUS_OVER || self.rule == LOGIN_OVER
    }
}

/// The rule for what the idle slot holds, when the time is over for which it is kept.
pub(crate) const KEEP_PREVIOUS_OVER: &str = "keep-previous-over";

/// The rule for logins that were followed by others, when the time is over for which they still work.
pub(crate) const LOGIN_OVER: &str = "login-over";

/// A managed thing on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKey {
    /// A file by path.
    File(String),
    /// A unit by name.
    Unit(String),
    /// A service of a compose project.
    Service {
        /// Project.
        project: String,
        /// Service.
        service: String,
    },
    /// A compose project as a whole (prune).
    Project(String),
    /// A switch by listen address.
    Switch(String),
    /// A migration by id.
    Migration(String),
    /// A system group by name.
    Group(String),
    /// An account by name.
    Account(String),
    /// A folder by path.
    Folder(String),
    /// What a database server holds, by the path of its declaration.
    Databases(String),
    /// Static files by the path of their link.
    Static(String),
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {path}"),
            Self::Unit(name) => write!(f, "unit {name}"),
            Self::Service { project, service } => write!(f, "service {project}/{service}"),
            Self::Project(name) => write!(f, "project {name}"),
            Self::Switch(listen) => write!(f, "switch {listen}"),
            Self::Migration(id) => write!(f, "migration {id}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Account(name) => write!(f, "account {name}"),
            Self::Folder(path) => write!(f, "folder {path}"),
            Self::Databases(path) => write!(f, "databases of {path}"),
            Self::Static(path) => write!(f, "static {path}"),
        }
    }
}

/// What is done with a thing. There is no entry for what stays: that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    /// `+`: it is made.
    Create,
    /// `~`: it is changed in place.
    Update,
    /// `-`: it is removed: the ledger says we made it, and git has it no more.
    Prune,
    /// `-/+`: it is removed, then made anew.
    ReplaceDestroyFirst,
    /// `+/-`: the new one is made and proven before the old one goes.
    ReplaceCreateFirst,
    /// `~`: it is run once.
    Run,
    /// `~`: new connections go elsewhere.
    Switch,
}

impl PlanAction {
    /// Returns the symbol shown before a change.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Update | Self::Run | Self::Switch => "~",
            Self::Prune => "-",
            Self::ReplaceDestroyFirst => "-/+",
            Self::ReplaceCreateFirst => "+/-",
        }
    }
}

/// Why a change is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Git says something else than what we applied last.
    DesiredChanged,
    /// Git is as before, the host is not.
    Drifted,
    /// The host lacks it and we never made it.
    Missing,
    /// The ledger has it, git does not.
    NotInDesired,
    /// Something it depends on changes.
    DependencyChanged,
    /// A failed or stopped thing is brought back.
    NotRunning,
}

/// What stands in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blocker {
    /// A stable word: `unreachable`, `missing-tool`, `foreign-nginx-error`, `port-taken`, `no-headroom`, `over-capacity`, `unfinished-transaction`,
    /// `unknown`, `not-a-regular-file`, `foreign-resource`, `quarantined`, `prune-limit`, `unit-masked`, `nginx-not-running`,
    /// `migration-unknown`, `migration-not-staged`, `migration-edited`, `ignore-pattern`, `not-a-folder`, `missing-package`,
    /// `requirement-not-met`, `bad-archive`.
    pub code: String,
    /// The host; `None` when it is about all.
    pub host: Option<HostName>,
    /// The app; `None` when it is about the whole host.
    pub app: Option<AppName>,
    /// What, where, and what to do.
    pub message: String,
}

impl Plan {
    /// Returns whether nothing is to change and nothing stands in the way.
    pub fn is_empty(&self) -> bool {
        self.blockers.is_empty() && self.hosts.values().all(|host| host.changes.is_empty())
    }

    /// Returns whether a change of this app on this host may be applied.
    pub fn is_blocked(&self, host: &HostName, app: &AppName) -> bool {
        self.blockers.iter().any(|blocker| {
            blocker.host.as_ref().is_none_or(|h| h == host) && blocker.app.as_ref().is_none_or(|a| a == app)
        })
    }
}
