//! Channels to all hosts, kept warm.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::config::{Address, HostSpec};
use holdfast_core::id::HostName;

use crate::local::LocalDialer;
use crate::ports::{BoxFuture, Clock, Connector, HostLink, LinkError};
use crate::ssh::{Backoff, ChannelLink, LoginLook, SshDialer};

/// Makes one channel. Written for tests: the product has two, chosen by address.
pub trait Dial: Send + Sync {
    /// Connects and greets.
    fn dial<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<ChannelLink, LinkError>>;
}

/// Dials over SSH, or starts a child for `address: local`.
pub struct ByAddress {
    /// For remote addresses. `None` where no SSH is wanted.
    pub ssh: Option<SshDialer>,
    /// For the machine itself.
    pub local: LocalDialer,
}

impl Dial for ByAddress {
    fn dial<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<ChannelLink, LinkError>> {
        Box::pin(async move {
            match (&host.address, &self.ssh) {
                (Address::Local, _) => self.local.dial(host).await,
                (Address::Remote(_), Some(ssh)) => ssh.dial(host).await,
                (Address::Remote(_), None) => Err(LinkError::Unreachable {
                    host: host.name.to_string(),
                    reason: "this run reaches only `address: local`".to_owned(),
                }),
            }
        })
    }
}

/// The [`Connector`] of the product: one open channel for each host, shared by all who ask.
///
/// # Guarantees
/// One dial for a host at a time; who asks meanwhile gets its result. A failed dial is not repeated before its back-off is over. A
/// changed address, port, user or key in the inventory leads to a new channel.
pub struct Links<D = ByAddress> {
    dial: D,
    clock: Arc<dyn Clock>,
    slots: Mutex<BTreeMap<HostName, Arc<tokio::sync::Mutex<Slot>>>>,
}

#[derive(Default)]
struct Slot {
    identity: Option<Identity>,
    link: Option<Arc<ChannelLink>>,
    backoff: Backoff,
}

/// What makes a host another host for SSH.
type Identity = (Address, String, u16, Option<String>);

fn identity(host: &HostSpec) -> Identity {
    (host.address.clone(), host.user.clone(), host.port, host.host_key.clone())
}

impl<D: Dial> Links<D> {
    /// Returns a connector without any open channel.
    pub fn new(dial: D, clock: Arc<dyn Clock>) -> Self {
        Self { dial, clock, slots: Mutex::default() }
    }

    fn slot(&self, host: &HostName) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(host.clone()).or_default())
    }

    /// Closes the channels of hosts that are not among these, and forgets all failures: what a new commit or a person who says
    /// "now" asks for.
    pub async fn refresh(&self, keep: impl Fn(&HostName) -> bool + Send) {
        let slots: Vec<_> = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|host, _| keep(host));
            slots.values().cloned().collect()
        };
        for slot in slots {
            slot.lock().await.backoff.reset();
        }
    }

    async fn link(&self, host: &HostSpec, fresh: bool) -> Result<Arc<dyn HostLink>, LinkError> {
        let slot = self.slot(&host.name);
        let mut slot = slot.lock().await;
        let identity = identity(host);
        if slot.identity.as_ref() != Some(&identity) {
            *slot = Slot { identity: Some(identity), ..Slot::default() };
        }
        if !fresh
            && let Some(link) = &slot.link
            && link.is_open()
        {
            return Ok(Arc::clone(link) as Arc<dyn HostLink>);
        }
        if let Some(error) = slot.backoff.refusal(host.name.as_str(), self.clock.now()) {
            return Err(error);
        }
        if !fresh {
            slot.link = None;
        }
        match self.dial.dial(host).await {
            Ok(link) => {
                slot.backoff.reset();
                let link = Arc::new(link);
                slot.link = Some(Arc::clone(&link));
                Ok(link)
            }
            Err(error) => {
                slot.backoff.failed(&error, self.clock.now());
                Err(error)
            }
        }
    }
}

impl Links {
    /// Looks at what the login of a host can do, over a connection of its own; `None` where no ssh leads there.
    pub async fn look(&self, host: &HostSpec) -> Option<Result<LoginLook, LinkError>> {
        match (&host.address, &self.dial.ssh) {
            (Address::Remote(_), Some(ssh)) => Some(ssh.look(host).await),
            _ => None,
        }
    }
}

impl<D: Dial> Connector for Links<D> {
    fn connect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>> {
        Box::pin(self.link(host, false))
    }

    fn reconnect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>> {
        Box::pin(self.link(host, true))
    }
}
