use serde::{Deserialize, Serialize};

use crate::Digest;

/// A built frontend on a host: one archive, unpacked into a folder of its own, and the link that leads to it.
///
/// # Layout
/// `path` is a symbolic link to `.<name>-releases/<digest>` beside it, relative, so that whoever has the folder above mounted sees
/// the same; `.<name>-releases/<digest>.json` says what was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticRecord {
    /// The link: what nginx's `root` names.
    pub path: String,
    /// The archive's name on the management box, for people.
    pub archive: String,
    /// Of the archive: the release's identity, and the name of its folder.
    pub release: Digest,
    /// Bytes of the archive.
    pub size: u64,
    /// How much is in it.
    pub content: StaticContent,
}

/// How much a release of static files is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticContent {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Static files to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StaticQuery {
    /// The link.
    pub path: String,
    /// The release that is to be there.
    pub release: Digest,
}

/// How static files stand on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticLive {
    /// Where the link leads.
    pub at: StaticAt,
    /// Whether the release that was asked for is unpacked here.
    pub unpacked: bool,
    /// What of it is no longer as it was unpacked, a line each and only the first ones; empty when all is.
    pub changed: Vec<String>,
}

/// What stands at the path of static files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaticAt {
    /// Nothing.
    Nothing,
    /// A link to a release of ours, which need not be there.
    Release(Digest),
    /// A link to somewhere else: where.
    Elsewhere(String),
    /// No link: what it is.
    Foreign(String),
}
