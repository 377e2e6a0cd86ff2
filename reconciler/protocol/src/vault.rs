use serde::{Deserialize, Serialize};

use crate::{BackupRecord, Digest};

/// The most bytes of a backup in one message.
pub const BACKUP_PIECE: usize = 1024 * 1024;

/// Where copies of the backups of one class and one host lie on an off-site host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VaultKey {
    /// The environment.
    pub environment: String,
    /// The app.
    pub app: String,
    /// The class.
    pub class: String,
    /// The host they were taken on.
    pub host: String,
}

/// The sidecar of a copy: without it, a file is no copy.
///
/// # Format
/// JSON in `<stored>.meta.json` beside the file, written after what was written to the disk was read back and had this digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultRecord {
    /// Of this format: 1.
    pub version: u32,
    /// The host it was taken on.
    pub host: String,
    /// What the backup is, before it was encrypted.
    pub backup: BackupRecord,
    /// Name of the file as it is stored: the backup's own, with `.age` where it is encrypted.
    pub stored: String,
    /// Size of the stored file in bytes.
    pub size: u64,
    /// SHA-256 of the stored file.
    pub sha256: Digest,
    /// The age recipients that can read it; empty when it is not encrypted.
    pub encrypted_to: Vec<String>,
}

/// What can be asked about backups where they are taken, and about their copies where they are kept.
///
/// All of it can be asked again: a piece that comes twice is written twice, and what is whole already stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupRequest {
    /// The good backups of a class here. → [`BackupReply::Good`].
    Good {
        /// The path of the class's declaration on the host.
        declaration: String,
    },
    /// A piece of a good backup, at most [`BACKUP_PIECE`]. → [`BackupReply::Piece`].
    Read {
        /// The path of the class's declaration on the host.
        declaration: String,
        /// The backup's file name.
        file: String,
        /// Where the piece begins.
        offset: u64,
    },
    /// A piece of a backup that comes back from its copy. Pieces come in order; after the last one the whole is held against the
    /// record, and counts. → [`BackupReply::Taken`].
    Put {
        /// The path of the class's declaration on the host.
        declaration: String,
        /// What it is.
        record: Box<BackupRecord>,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
        /// Whether it is the last.
        last: bool,
    },
    /// How the copies of a class stand, for who looks at this host. → [`BackupReply::Taken`].
    Note {
        /// The path of the class's declaration on the host.
        declaration: String,
        /// How they stand.
        note: OffsiteNote,
    },
    /// Which of these backups an off-site host wants, by its own copies and how long they are kept. → [`BackupReply::Offered`].
    Offer {
        /// Whose.
        key: VaultKey,
        /// What there is.
        good: Vec<BackupRecord>,
        /// How long copies are kept.
        keep: VaultKeep,
    },
    /// A piece of a copy. Pieces come in order; after the last one the file is read back from the disk and held against the record,
    /// and counts. → [`BackupReply::Taken`].
    Store {
        /// Whose.
        key: VaultKey,
        /// What it is.
        record: Box<VaultRecord>,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: Vec<u8>,
        /// Whether it is the last.
        last: bool,
    },
    /// Copies that are over go, now that this one is there. → [`BackupReply::Held`], those that stay.
    Prune {
        /// Whose.
        key: VaultKey,
        /// The backup that was copied last.
        new: String,
        /// How long copies are kept.
        keep: VaultKeep,
    },
    /// The copies of a class from all hosts. → [`BackupReply::Held`].
    Held {
        /// The environment.
        environment: String,
        /// The app.
        app: String,
        /// The class.
        class: String,
    },
    /// A piece of a copy, at most [`BACKUP_PIECE`]. → [`BackupReply::Piece`].
    Fetch {
        /// Whose.
        key: VaultKey,
        /// Name of the file as it is stored.
        stored: String,
        /// Where the piece begins.
        offset: u64,
    },
}

/// How long copies are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultKeep {
    /// By age, in milliseconds.
    pub keep_ms: u64,
    /// How many whatever their age; at least 1.
    pub at_least: u32,
    /// Whether only encrypted ones count: another copy is made of one that is not.
    pub encrypted: bool,
}

/// How the copies of a class stood when they were looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsiteNote {
    /// The off-site host.
    pub host: String,
    /// What is there; `None` when that could not be found out.
    pub held: Option<OffsiteHeld>,
    /// Why the last round failed; empty when it did not.
    pub failed: String,
}

/// What lies on an off-site host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsiteHeld {
    /// File name of the newest backup of which there is a copy; empty when there is none.
    pub newest: String,
    /// When that backup was begun, in milliseconds since the Unix epoch by the clock of the host it was taken on.
    pub taken_at_ms: u64,
    /// Size of the copy in bytes.
    pub size: u64,
    /// How many copies there are.
    pub count: u32,
    /// How many of them are not encrypted although they should be.
    pub plain: u32,
}

/// What is said to a [`BackupRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupReply {
    /// To [`BackupRequest::Good`].
    Good(Vec<BackupRecord>),
    /// To [`BackupRequest::Read`] and [`BackupRequest::Fetch`].
    Piece {
        /// The piece.
        bytes: Vec<u8>,
        /// Whether it is the last.
        last: bool,
    },
    /// To [`BackupRequest::Offer`].
    Offered {
        /// File names of those that are wanted, the newest first.
        wanted: Vec<String>,
        /// What is there.
        held: Vec<VaultRecord>,
    },
    /// To [`BackupRequest::Prune`] and [`BackupRequest::Held`].
    Held(Vec<VaultRecord>),
    /// To [`BackupRequest::Put`], [`BackupRequest::Note`] and [`BackupRequest::Store`].
    Taken,
}
