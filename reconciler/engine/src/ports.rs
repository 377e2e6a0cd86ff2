//! What the engine asks of the world: small traits, one capability each.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::event::{SyncEvent, SyncEventKind};
use holdfast_core::secret::{Secret, SecretRef};
use holdfast_core::time::Timestamp;
use holdfast_protocol::{Fault, Hello, HostEvent, JournalEntry, ObserveRequest, Reply, Request, TransactionId};
use tokio::sync::mpsc;

/// A future that can be sent and stored.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens channels to hosts. Keeps them open between calls where it can.
pub trait Connector: Send + Sync {
    /// Returns an open channel, made anew when the last one is gone. The host program was delivered, verified and greeted.
    ///
    /// # Errors
    /// See [`LinkError`]; with [`LinkError::HostKey`] not one byte was sent to the host.
    fn connect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>>;

    /// Returns a channel over a connection that was opened after this call: what a dead man's switch is confirmed over. It takes
    /// the place of the kept one; requests that run on that one end as they would have.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    fn reconnect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>>;
}

/// An open channel to one host.
pub trait HostLink: Send + Sync {
    /// Returns what the host said at the greeting.
    fn hello(&self) -> &Hello;

    /// Sends one request and returns its one reply.
    ///
    /// # Errors
    /// [`LinkError::Fault`] when the host refused; any other variant means the outcome is unknown: ask again, do not assume.
    fn call(&self, request: Request, deadline: Duration) -> BoxFuture<'_, Result<Reply, LinkError>>;

    /// Streams the journal of a transaction. The receiver ends after the transaction's last entry (`Ended`) or when the channel
    /// breaks; the two are told apart by whether the last entry was `Ended`.
    fn follow(&self, id: TransactionId, from: u64) -> BoxFuture<'_, Result<mpsc::Receiver<JournalEntry>, LinkError>>;

    /// Streams hints that something changed on the host. The receiver ends when the channel breaks; hints may be left out when
    /// they are not taken in time, but the last ones taken always mean: observe again.
    fn watch(&self, request: ObserveRequest) -> BoxFuture<'_, Result<mpsc::Receiver<HostEvent>, LinkError>>;
}

/// Why a host could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection in time, or it was refused.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host.
        host: String,
        /// What ssh said, escaped and shortened, and what to do.
        reason: String,
    },
    /// The host shows another key than the pinned one. Nothing was sent.
    #[error("{host} shows another host key than the one pinned in the inventory: {detail}")]
    HostKey {
        /// Host.
        host: String,
        /// Both fingerprints where known, and what to do.
        detail: String,
    },
    /// The login was refused.
    #[error("{host} refused the login: {reason}")]
    Login {
        /// Host.
        host: String,
        /// What ssh or sudo said, and what to do.
        reason: String,
    },
    /// The host program could not be delivered, or is not what was delivered.
    #[error("the host program could not be put on {host}: {reason}")]
    Delivery {
        /// Host.
        host: String,
        /// Why.
        reason: String,
    },
    /// The channel broke or the answer did not come in time.
    #[error("the connection to {host} was lost: {reason}")]
    Lost {
        /// Host.
        host: String,
        /// Why.
        reason: String,
    },
    /// The host answered that it cannot or will not.
    #[error("{host}: {fault}")]
    Fault {
        /// Host.
        host: String,
        /// Its answer.
        fault: Fault,
    },
}

/// Decrypts secrets at the last moment.
pub trait SecretSource: Send + Sync {
    /// Returns the value.
    ///
    /// # Errors
    /// When there is no key for it, the file's MAC does not fit, or the value is not text. The message never holds the value.
    fn reveal(&self, secret: &SecretRef) -> Result<Secret<String>, SecretError>;
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
#[error("secret `{name}` of {file} cannot be decrypted: {reason}")]
pub struct SecretError {
    /// Dotted name.
    pub name: String,
    /// SOPS file.
    pub file: String,
    /// Why, and what to do.
    pub reason: String,
}

/// The clock.
pub trait Clock: Send + Sync {
    /// Returns the time.
    fn now(&self) -> Timestamp;

    /// Returns after this long. Tests pause it.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// Takes events as they happen. It only watches: it cannot stop or slow the work.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: &SyncEvent);
}

/// All that a sync asks of the world.
#[derive(Clone)]
pub struct Ports {
    /// Channels to hosts.
    pub connector: Arc<dyn Connector>,
    /// Secrets.
    pub secrets: Arc<dyn SecretSource>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who watches.
    pub events: Arc<dyn EventSink>,
    /// The folder with archives of images.
    pub archives: Arc<Path>,
}

impl Ports {
    /// Tells everyone who watches that something happened now.
    pub fn tell(&self, kind: SyncEventKind) {
        self.events.emit(&SyncEvent { at: self.clock.now(), kind });
    }
}
