//! The wire between the manager and a host.
//!
//! Plain data and its encoding, nothing else: no I/O beyond `Read` and `Write`, no clock, no decisions. The manager's pure core
//! plans with the same types the host answers with (`docs/adr/0002-core-reads-the-wire-types.md`).
//!
//! # Flow
//! The manager writes [`Envelope<Request>`] frames to the standard input of `holdfast-host serve`; the host writes
//! [`Envelope<Reply>`] frames to its standard output. A request's `id` comes back on every reply that belongs to it, so several
//! requests, and long-lived ones such as [`Request::Follow`], share the one channel.

mod backup;
mod certificate;
mod databases;
mod digest;
mod frame;
mod health;
mod hello;
mod journal;
mod ledger;
mod live;
mod mask;
mod message;
mod observe;
mod prerequisite;
mod slot;
mod sql;
mod static_archive;
mod static_files;
mod step;
mod transaction;
mod vault;

pub use backup::{
    BackupBefore, BackupLive, BackupRecord, BackupSaid, BackupSeen, BackupSource, BackupSpec, BackupWriters,
    OffsiteLive, OffsiteSpec, RestoreRequest, Restored,
};
pub use certificate::{CertificateIssuer, CertificateLive, CertificateSpec, ChainLive, certificate_file};
pub use databases::{
    Access, DATABASES_FILE, DatabaseSpec, DatabasesLive, DatabasesQuery, DatabasesSpec, LoginSpec, Password,
    REDIS_FILE, RedisSpec, RoleSpec, ServerQuery,
};
pub use digest::{Digest, InvalidDigest};
pub use frame::{FrameError, MAX_FRAME, read_frame, write_frame};
pub use health::{CommandTarget, ErrorRule, HealthCheck, LatencyRule, MetricRules, Probe, Prove, Smoke, Watch};
pub use hello::{Architecture, Capability, Hello, HelloRequest, Tool};
pub use journal::{JournalEntry, JournalEvent, Outcome, Phase, UNCONFIRMED, UNSERVED};
pub use ledger::{AppKey, AppRecord, ComponentRecord, FileRecord, Ledger, MigrationRecord, SlotRecord};
pub use live::{
    ContainerLive, FileLive, ListeningPort, LiveReport, NginxLive, Observed, ProjectLive, Resources, SwitchLive,
    TransactionStatus, UnitLive,
};
pub use mask::Hidden;
pub use message::{Decision, Envelope, Fault, FaultKind, HostEvent, Reply, Request, StageProblem};
pub use observe::{FileQuery, ObserveRequest};
pub use prerequisite::{
    AccountLive, AccountSpec, FolderLive, FolderSpec, PrerequisiteQuery, Prerequisites, PrerequisitesLive,
};
pub use slot::Slot;
pub use sql::{SqlFile, SqlRun, SqlTarget, sql_order};
pub use static_archive::{ArchivedFile, MOST_STATIC_BYTES, MOST_STATIC_FILES, read_static_archive};
pub use static_files::{StaticAt, StaticContent, StaticLive, StaticQuery, StaticRecord};
pub use step::{Action, ActiveGoal, FilePut, ImageArchive, MigrationRunner, Step, SwitchMethod};
pub use transaction::{TransactionId, TransactionKind, TransactionSpec};
pub use vault::{BACKUP_PIECE, BackupReply, BackupRequest, OffsiteHeld, OffsiteNote, VaultKeep, VaultKey, VaultRecord};

/// The version of everything in this crate. The manager delivers the program that speaks its own version, so the two always
/// match; the number is checked in [`Hello`] all the same. It rises with every incompatible change of a type here.
pub const PROTOCOL_VERSION: u16 = 1;
