//! Copies of backups on another host: carried by the manager, encrypted on the way, proven where they are kept.
//!
//! # Flow
//! [`classes`] of what git declares → [`round()`]: what each host has, and what its off-site host wants of it ([`copy`]) → a note on the
//! host, which a report shows. [`bring_back`] goes the other way: a copy becomes a backup of a host again, which is then restored as
//! any other.
//!
//! The two hosts never speak to each other, and neither has a key to the other: whoever breaks into one cannot spoil the copies.

mod back;
mod carry;
mod round;
mod seal;

pub use back::{bring_back, held};
pub use carry::copy;
pub use round::{RoundEnd, classes, round};
pub use seal::{Sealer, recipients};

use holdfast_core::config::HostSpec;
use holdfast_core::id::AppName;
use holdfast_protocol::{BackupReply, BackupRequest, BackupSpec, Reply, Request, VaultKeep, VaultKey};

use crate::ports::{HostLink, LinkError};

/// How long a host may take for one piece, and for reading back the last one.
const PIECE: std::time::Duration = std::time::Duration::from_secs(600);

/// One class of backups of one host that is copied.
#[derive(Debug, Clone)]
pub struct Class {
    /// The host they are taken on.
    pub host: HostSpec,
    /// The app.
    pub app: AppName,
    /// The path of the declaration on that host.
    pub declaration: String,
    /// What is declared.
    pub spec: BackupSpec,
    /// The host that keeps copies.
    pub offsite: HostSpec,
}

impl Class {
    fn key(&self) -> VaultKey {
        VaultKey {
            environment: self.spec.environment.clone(),
            app: self.spec.app.clone(),
            class: self.spec.class.clone(),
            host: self.host.name.to_string(),
        }
    }

    fn keep(&self) -> VaultKeep {
        let offsite = self.spec.offsite.as_ref();
        VaultKeep {
            keep_ms: offsite.map_or(u64::MAX, |offsite| offsite.keep_ms),
            at_least: offsite.map_or(1, |offsite| offsite.at_least),
            encrypted: !self.encrypt_to().is_empty(),
        }
    }

    fn encrypt_to(&self) -> &[String] {
        self.spec.offsite.as_ref().map_or(&[], |offsite| &offsite.encrypt_to)
    }
}

/// Why a copy came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OffsiteError {
    /// A host could not be spoken to, or refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A host answered something else.
    #[error("{0} answered something that was not asked")]
    Odd(String),
    /// A backup is not what its sidecar says.
    #[error("{file} on {host} is not what its sidecar says: it was not copied")]
    Spoilt {
        /// The backup.
        file: String,
        /// The host.
        host: String,
    },
    /// What `encrypt_to` names cannot be encrypted to.
    #[error("`encrypt_to` names `{recipient}`, which is no age recipient: {reason}")]
    Recipient {
        /// What it says.
        recipient: String,
        /// Why.
        reason: String,
    },
    /// A copy cannot be encrypted or decrypted.
    #[error("{0}")]
    Seal(String),
}

/// Asks a host one thing about backups.
async fn ask(link: &dyn HostLink, host: &HostSpec, request: BackupRequest) -> Result<BackupReply, OffsiteError> {
    match link.call(Request::Backup(request), PIECE).await? {
        Reply::Backup(reply) => Ok(reply),
        _ => Err(OffsiteError::Odd(host.name.to_string())),
    }
}

fn odd<T>(host: &HostSpec) -> Result<T, OffsiteError> {
    Err(OffsiteError::Odd(host.name.to_string()))
}
