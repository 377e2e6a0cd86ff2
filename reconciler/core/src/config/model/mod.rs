//! The validated model: what the user wrote, with defaults filled in and every name resolved.

mod app;
mod backup;
mod component;
mod environment;
mod file;
mod firewall;
mod health;
mod migrate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diag::Origin;
use crate::id::{EnvironmentName, HostName};

pub use app::*;
pub use backup::*;
pub use component::*;
pub use environment::*;
pub use file::*;
pub use firewall::*;
pub use health::*;
pub use migrate::*;

/// A value with the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub origin: Origin,
}

/// Variables by name, each with its place. A nested map counts as one variable whose inner places are in [`Variable::inner`].
pub type Variables = BTreeMap<String, Variable>;

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its value.
    pub value: Value,
    /// Its place.
    pub origin: Origin,
    /// Places of values inside a map or list, by dotted path below this variable (`a.b`, `list.0`).
    pub inner: BTreeMap<String, Origin>,
}

/// One commit, validated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// All hosts of the inventory.
    pub hosts: BTreeMap<HostName, HostSpec>,
    /// All environments.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Template text by path from the root (`templates/compose/web.yaml.j2`).
    pub templates: BTreeMap<String, String>,
    /// `variables` of `holdfast.yaml`, the weakest.
    pub variables: Variables,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// The management box itself: the host program runs as a child process.
    Local,
    /// A name or IP address for `ssh`.
    Remote(String),
}

/// One host of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Its name.
    pub name: HostName,
    /// How it is reached.
    pub address: Address,
    /// Login; `root`, or a user with `sudo -n` for one exact path.
    pub user: String,
    /// SSH port.
    pub port: u16,
    /// Pinned host key as in `known_hosts`: `ssh-ed25519 AAAA…`. Required for a remote address.
    pub host_key: Option<String>,
    /// Labels for host selection.
    pub labels: BTreeMap<String, String>,
    /// Variables of this host.
    pub variables: Variables,
    /// Where it is declared.
    pub origin: Origin,
}
