//! An app: what is released together.

use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};

use super::{Component, Located, Variables};
use crate::diag::Origin;
use crate::id::{AppName, HostName};

/// One app in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Its release.
    pub release: Located<String>,
    /// The hosts it is on, resolved from labels or names, in inventory order.
    pub hosts: Vec<HostName>,
    /// How many former releases stay on the hosts.
    pub keep_releases: u32,
    /// Archives that hold images of it.
    pub archives: Vec<ArchiveSpec>,
    /// Its components in file order, which is the order they are brought up in.
    pub components: Vec<Component>,
    /// Its variables.
    pub variables: Variables,
    /// Where it is declared.
    pub origin: Origin,
}

/// An archive of images on the management box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveSpec {
    /// Path below the manager's folder of archives.
    pub file: String,
    /// Of the whole file.
    pub sha256: Digest,
    /// Where it is declared.
    pub origin: Origin,
}

/// How a component is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Idle slot up, healthy, switch, drain.
    BlueGreen,
    /// In place, host after host.
    Rolling,
    /// Start the new slot, then stop the old one warm. No traffic is switched.
    Workers,
    /// Stop the old one, then start the new one: never two at once.
    Singleton,
    /// In place; volumes are never touched; brought up before the other components.
    Stateful,
    /// In place.
    InPlace,
}

impl Strategy {
    /// Returns whether the component has a blue and a green slot.
    pub fn has_slots(self) -> bool {
        matches!(self, Self::BlueGreen | Self::Workers)
    }

    /// Returns the word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue_green",
            Self::Rolling => "rolling",
            Self::Workers => "workers",
            Self::Singleton => "singleton",
            Self::Stateful => "stateful",
            Self::InPlace => "in_place",
        }
    }
}
