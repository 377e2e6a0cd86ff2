//! What the manager remembers: one SQLite file.
//!
//! History of syncs and their events, quarantined releases, pauses and approvals, the newest commit seen, and locks. What
//! was applied is not here but in each host's ledger: this file can be lost without a host being changed for it.
//!
//! # Flow
//! Every method is one transaction on one thread that owns the connection; several processes may have the file open (WAL).
//!
//! # Format
//! `PRAGMA user_version` is the [`SchemaVersion`]. A file of a newer version is refused and left alone.

mod approval;
mod chain;
mod history;
mod lock;
mod notices;
mod retention;
mod schema;
mod standing;
mod totals;
mod worker;

pub use approval::{Approval, ApprovalRequest};
pub use chain::Verified;
pub use history::{EventSeq, SyncId, SyncRecord};
pub use lock::{Holder, Lock, LockId, LockOutcome};
pub use notices::{Delivery, QueuedNotice, SinkState};
pub use retention::{Pruned, RetentionPolicy};
pub use schema::SchemaVersion;
pub use standing::{Pause, Quarantine};
pub use worker::{Store, StoreError};
