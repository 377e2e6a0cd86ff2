use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{CertificateSpec, DatabasesQuery, Digest, PrerequisiteQuery, StaticQuery};

/// What the manager wants to know, in one round trip. The host adds everything its ledger names, so that what is to be pruned
/// shows up without being asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveRequest {
    /// Files to look at.
    pub files: Vec<FileQuery>,
    /// systemd units to look at, with suffix.
    pub units: Vec<String>,
    /// Compose projects to look at.
    pub projects: Vec<String>,
    /// Image references whose local image id is wanted.
    pub images: Vec<String>,
    /// Declarations of backups, by their path, whose state is wanted.
    pub backups: Vec<String>,
    /// Certificates whose state is wanted, by the path of their declaration.
    pub certificates: BTreeMap<String, CertificateSpec>,
    /// Groups, accounts, folders and packages to look at.
    pub prerequisites: PrerequisiteQuery,
    /// Declarations of databases whose state is wanted.
    pub databases: Vec<DatabasesQuery>,
    /// Static files to look at.
    pub statics: Vec<StaticQuery>,
}

/// One file to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileQuery {
    /// Absolute path.
    pub path: String,
    /// The digest the manager expects. Where the live one differs the content comes back too, up to 256 KiB; `None` means the
    /// content is never wanted (secrets).
    pub expected: Option<Digest>,
}
