//! An environment and what holds for all of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{App, Variables};
use crate::config::Certificate;
use crate::diag::Origin;
use crate::id::{AppName, EnvironmentName, HostName};
use crate::time::Millis;
use crate::window::Window;

/// One environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Its name: its folder's.
    pub name: EnvironmentName,
    /// What it is for.
    pub purpose: Purpose,
    /// Its hosts, in inventory order.
    pub hosts: Vec<HostName>,
    /// When and how it is synced.
    pub sync: SyncPolicy,
    /// How a change rolls over its hosts.
    pub rollout: RolloutPolicy,
    /// The oldest versions its hosts may have.
    pub requires: Requirements,
    /// Its variables.
    pub variables: Variables,
    /// Its apps.
    pub apps: BTreeMap<AppName, App>,
    /// Certificates of its sites, by name.
    pub certificates: BTreeMap<String, Certificate>,
    /// Its secrets: leaf values of `secrets.sops.yaml` and of `generated/` by dotted name, still encrypted.
    pub secrets: BTreeMap<String, SealedValue>,
    /// Where it is declared.
    pub origin: Origin,
}

/// The oldest versions that hosts may have, number by number.
pub type Requirements = BTreeMap<Requirement, Vec<u64>>;

/// A part of a host that an environment can want of an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// The Docker engine.
    Docker,
    /// The compose plugin.
    Compose,
    /// nginx.
    Nginx,
    /// systemd.
    Systemd,
    /// PostgreSQL's client programs.
    PostgresqlClient,
    /// The kernel.
    Kernel,
    /// Debian itself.
    Debian,
}

/// A check that has to be green for a commit before it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateCheck {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub source: GateSource,
}

/// What says whether a commit is good. `{commit}` and `{environment}` may stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateSource {
    /// A file that CI writes.
    File {
        /// Its absolute path.
        path: String,
    },
    /// A command on the management box.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// For one run.
        timeout: Millis,
    },
}

/// What an environment is for. What is fit for development alone is refused elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// People use it: what nobody said anything about is that.
    #[default]
    Production,
    /// It is as production, for those who look before.
    Staging,
    /// Whoever works on it may break it.
    Development,
}

impl Purpose {
    /// Returns the word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }
}

/// One encrypted value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedValue {
    /// What may be shown of it.
    pub secret: crate::secret::SecretRef,
    /// How it was made; `None` for what somebody supplied.
    pub generator: Option<crate::secret::Generator>,
    /// Whether another value needs a consent of its own.
    pub protected: bool,
    /// Where it is.
    pub origin: Origin,
}

/// When an environment is synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPolicy {
    /// Who starts a sync.
    pub mode: SyncMode,
    /// What is done about drift.
    pub drift: DriftPolicy,
    /// Paths and keys that drift and diff leave alone, as glob patterns on resource keys.
    pub ignore: Vec<String>,
    /// Share of an environment's managed resources, in percent, that one sync may prune without `--allow-prune`.
    pub prune_limit_percent: u8,
    /// When its apps may change; at any time when there is none.
    pub windows: Vec<Window>,
}

/// Who starts a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// A person, with `holdfast apply`.
    Manual,
    /// The daemon, on every new commit.
    Automatic,
}

/// What is done about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// It is not looked for.
    Off,
    /// It is reported.
    Report,
    /// It is put right.
    Heal,
}

/// How a change rolls over hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// Hosts that go first, alone. Zero for none.
    pub canary: u32,
    /// Hosts of each later wave; at least 1.
    pub max_unavailable: u32,
    /// Any failure puts every host back.
    pub all_or_nothing: bool,
    /// After the canary wave, wait for `holdfast promote`.
    pub pause_after_canary: bool,
    /// Milliseconds a host waits at *ready* before it abandons.
    pub ready_deadline: Millis,
    /// How long a host waits to be reached anew after a change that can cut the manager off, before it undoes it.
    pub confirm_within: Millis,
}
