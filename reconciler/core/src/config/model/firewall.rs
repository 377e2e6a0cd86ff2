//! What a host lets in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What other machines may reach on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallSpec {
    /// What is allowed; all else is closed.
    pub allow: Vec<FirewallRule>,
    /// Interfaces of the host's own containers; `*` at the end stands for anything.
    pub inside: Vec<String>,
}

/// Ports that are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// The ports.
    pub ports: Vec<FirewallPorts>,
    /// Networks as `address/bits`; `None` for everybody.
    pub from: Option<BTreeSet<String>>,
}

/// Ports of one protocol, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FirewallPorts {
    /// UDP in place of TCP.
    pub udp: bool,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}
