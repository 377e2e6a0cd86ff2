use serde::{Deserialize, Serialize};

use crate::{
    BackupReply, BackupRequest, Digest, Hello, HelloRequest, Hidden, JournalEntry, LiveReport, ObserveRequest,
    RestoreRequest, Restored, TransactionId, TransactionSpec,
};

/// A message with the number that ties replies to their request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Chosen by the manager; unique among its open requests on this channel.
    pub id: u64,
    /// The message.
    pub body: T,
}

/// All that a host can be asked. There is nothing else, and none of it is a shell command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you. Must come first. → [`Reply::Hello`].
    Hello(HelloRequest),
    /// What is there now. → [`Reply::Observed`].
    Observe(ObserveRequest),
    /// Which of these blobs are not stored here. → [`Reply::Missing`].
    Missing(Vec<Digest>),
    /// A piece of a blob, at most 1 MiB; pieces come in order. The last one is checked against the digest. → [`Reply::Stored`].
    PutBlob {
        /// Of the whole blob.
        digest: Digest,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
        /// Whether it is the last.
        last: bool,
    },
    /// Take a blob of this size, which may be larger than any configuration. Asked before its first piece, so that nothing is sent that
    /// does not fit. → [`Reply::Stored`].
    Room {
        /// Of the whole blob.
        digest: Digest,
        /// Its bytes.
        size: u64,
    },
    /// Validate this transaction beside the live state and store it; nothing live changes. → [`Reply::Staged`].
    Stage(Box<TransactionSpec>),
    /// Start, or resume, the runner of a staged transaction in a unit of its own. Idempotent. → [`Reply::Begun`].
    Begin(TransactionId),
    /// Send journal entries from this number on until the transaction ends. → many [`Reply::Entry`], then [`Reply::Followed`].
    Follow {
        /// Which.
        id: TransactionId,
        /// The first entry wanted.
        from: u64,
    },
    /// Open a gate or send back. Idempotent. → [`Reply::Decided`].
    Decide {
        /// Which.
        id: TransactionId,
        /// The fence of the manager that decides; a lower one than the transaction's is refused.
        fence: u64,
        /// What.
        decision: Decision,
    },
    /// Confirms a transaction with a dead man's switch. Counts only on a channel opened after its `promote`. → [`Reply::Decided`].
    Confirm(TransactionId),
    /// Stream of host events until the channel closes. → many [`Reply::Event`].
    Watch(ObserveRequest),
    /// Close this long-lived request. → no reply.
    Cancel(u64),
    /// What is secret in a blob. Comes before the blob, and for good: from then on the host shows none of it in any text, journals
    /// it in none, and gives no content of a file that holds this blob. → [`Reply::Stored`].
    Mask {
        /// The blob.
        blob: Digest,
        /// The secrets in it: their values, and what is written for them where that differs.
        values: Vec<Hidden>,
    },
    /// Restore a backup beside what is live, and put it in its place once it is proven. It goes on when the channel ends.
    /// → [`Reply::Restored`].
    Restore(RestoreRequest),
    /// Something about backups and their copies. → [`Reply::Backup`].
    Backup(BackupRequest),
}

/// A decision of the manager about one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Open the *ready* gate.
    Promote,
    /// Open the *settled* gate, also before the watch window is over.
    Settle,
    /// Go back: abandon before the commit point, roll back after it. Refused once settling.
    GoBack,
    /// End the watch window before its time; the *settled* gate stays closed.
    EndWatch,
}

/// All that a host can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Box<Hello>),
    /// To [`Request::Observe`].
    Observed(Box<LiveReport>),
    /// To [`Request::Missing`].
    Missing(Vec<Digest>),
    /// To [`Request::PutBlob`], [`Request::Room`] and [`Request::Mask`].
    Stored,
    /// To [`Request::Stage`]. Empty means it can begin.
    Staged(Vec<StageProblem>),
    /// To [`Request::Begin`].
    Begun,
    /// To [`Request::Follow`].
    Entry(JournalEntry),
    /// To [`Request::Follow`]: the transaction has ended and all entries were sent.
    Followed,
    /// To [`Request::Decide`] and [`Request::Confirm`].
    Decided,
    /// To [`Request::Watch`].
    Event(HostEvent),
    /// To [`Request::Restore`].
    Restored(Restored),
    /// To [`Request::Backup`].
    Backup(BackupReply),
    /// The request failed. The channel stays usable.
    Fault(Fault),
}

/// Why staging found that a transaction cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProblem {
    /// The component, or empty.
    pub component: String,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// What failed, where, what was expected.
    pub message: String,
}

/// The kinds of [`Fault`] that the manager tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The fence of the request is lower than the host's: another manager has taken over.
    Fenced,
    /// Another transaction for this app has not ended.
    Busy,
    /// The request makes no sense here: unknown transaction, blob with another digest, wrong version.
    Refused,
    /// The host could not do it: an I/O error, a tool that failed.
    Failed,
}

/// Something changed on a host. A hint to observe again, never a fact to act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostEvent {
    /// A watched file changed.
    File(String),
    /// A watched unit changed.
    Unit(String),
    /// A container of a watched project changed.
    Project(String),
    /// Nothing happened for a while; the channel lives.
    Alive,
}
