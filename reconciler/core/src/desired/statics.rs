//! Built frontends that git names.

use holdfast_protocol::{Digest, StaticContent, StaticQuery};
use serde::{Deserialize, Serialize};

use crate::config::StaticSource;
use crate::diag::Origin;

/// A built frontend on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredStatic {
    /// The link that leads to it.
    pub path: String,
    /// The archive's path below the manager's folder of archives.
    pub archive: String,
    /// Of the archive: its identity.
    pub sha256: Digest,
    /// Where the archive is named.
    pub origin: Origin,
    /// What the management box found. No part of what git says, and not stored.
    #[serde(skip)]
    pub found: StaticFound,
}

/// What the management box has of an archive of static files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StaticFound {
    /// Nobody looked.
    #[default]
    Unread,
    /// It is the one that git names, and can be unpacked.
    Read {
        /// Bytes of the archive.
        size: u64,
        /// How much is in it.
        content: StaticContent,
    },
    /// It cannot be used: why, and what to do.
    Wrong(String),
}

impl DesiredStatic {
    pub(super) fn of(source: &StaticSource) -> Self {
        Self {
            path: source.path.clone(),
            archive: source.archive.clone(),
            sha256: source.sha256,
            origin: source.origin.clone(),
            found: StaticFound::Unread,
        }
    }

    /// Returns the question how it stands.
    pub fn query(&self) -> StaticQuery {
        StaticQuery { path: self.path.clone(), release: self.sha256 }
    }
}
