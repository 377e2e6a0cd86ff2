use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The first request on every channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloRequest {
    /// The manager's [`crate::PROTOCOL_VERSION`].
    pub protocol: u16,
    /// A name for the manager in the host's records, such as its host name. Never a secret.
    pub manager: String,
}

/// What a host is and has. A missing or too old part is not an error here: the plan turns it into a blocker that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The host's [`crate::PROTOCOL_VERSION`].
    pub protocol: u16,
    /// `/proc/sys/kernel/osrelease`.
    pub kernel: String,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub distribution: String,
    /// The machine's architecture.
    pub architecture: Architecture,
    /// `/proc/sys/kernel/hostname`.
    pub hostname: String,
    /// systemd's version; absent where it is not process 1.
    pub systemd: Tool,
    /// nginx's version.
    pub nginx: Tool,
    /// The Docker engine's version, from the engine itself: an installed but dead engine is [`Tool::Broken`].
    pub docker: Tool,
    /// The compose plugin's version.
    pub compose: Tool,
    /// The version of PostgreSQL's client programs.
    pub postgresql_client: Tool,
    /// logrotate's version.
    pub logrotate: Tool,
    /// Which optional mechanisms work on this host.
    pub capabilities: BTreeSet<Capability>,
    /// The fence: the highest number a transaction here has carried.
    pub fence: u64,
    /// Changes at each boot, from `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// A program the host may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// It is there and answers; the version is as it reports it, for example `1.22.1`.
    Version(String),
    /// It is not installed.
    Missing,
    /// It is installed but does not answer; the text says how.
    Broken(String),
}

/// The processor architecture of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// Anything else: Holdfast has no host program for it.
    Other,
}

/// An optional mechanism of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// `nft` works here, so a switch can be one atomic element of a NAT map.
    NftRedirect,
}
