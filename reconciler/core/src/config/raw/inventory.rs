//! `inventory/*.yaml`.

use super::leaf::{Account, HostAddress, HostKey, LabelKey, Scalar};
use super::values::Values;
use crate::config::decode::{Must, Named, Port, record};
use crate::config::place::At;
use crate::id::HostName;

record!(
    /// `inventory/*.yaml`: hosts and how they are reached.
    Inventory, "an inventory", {
    /// Hosts by name.
    hosts: Must<Named<HostName, Host>>,
});

record!(
    /// One host.
    Host, "a host", {
    /// Name or IP address for `ssh`; `local` for the management box itself.
    address: Must<At<HostAddress>>,
    /// Login: `root`, or a user with password-less sudo for the host program. Default: `root`.
    user: Option<At<Account>>,
    /// SSH port. Default: 22.
    port: Option<At<Port>>,
    /// The host's public key, pinned: `ssh-ed25519 AAAA…`, from `ssh-keyscan`, checked by a second way. Needed unless the address
    /// is `local`. Another key stops the host before anything is sent.
    host_key: Option<At<HostKey>>,
    /// Labels that environments and apps select hosts by.
    labels: Option<Named<LabelKey, Scalar>>,
    /// Variables for templates on this host.
    variables: Option<Values>,
});
