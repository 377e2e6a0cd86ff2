//! The ledger: what Holdfast has put on this host.
//!
//! # Format
//! JSON of [`Ledger`] in `ledger.json`, replaced as a whole under a lock. Its version rises when an older program could no longer
//! read it; a higher version than this program's is refused.

use std::fs;
use std::io;

use holdfast_protocol::{Ledger, Observed};

use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::Root;

/// The version this program writes.
pub const VERSION: u32 = 1;

/// Why the ledger cannot be used. Nothing may be planned or recorded then.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Any I/O error.
    #[error("ledger {path}: {source}")]
    Io {
        /// Its file.
        path: String,
        /// The error.
        source: io::Error,
    },
    /// It is no ledger.
    #[error(
        "ledger {path} cannot be read: {source}; put back a copy, or remove it to start over without anything to prune"
    )]
    Malformed {
        /// Its file.
        path: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A newer program wrote it.
    #[error("ledger {path} has version {found}, this program knows {VERSION}: use the newer program")]
    Version {
        /// Its file.
        path: String,
        /// Its version.
        found: u32,
    },
}

/// Returns the ledger as one observation: a host without one is `Absent`, an unreadable one `Unknown`.
pub fn read(root: &Root) -> Observed<Ledger> {
    match load(root) {
        Ok(Some(ledger)) => Observed::Seen(ledger),
        Ok(None) => Observed::Absent,
        Err(error) => Observed::Unknown(error.to_string()),
    }
}

/// Returns the ledger, `None` where there is none yet.
///
/// # Errors
/// Any [`LedgerError`].
pub fn load(root: &Root) -> Result<Option<Ledger>, LedgerError> {
    let path = root.ledger();
    let shown = path.display().to_string();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LedgerError::Io { path: shown, source }),
    };
    // The version first: a newer ledger may have another shape.
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|source| LedgerError::Malformed { path: shown.clone(), source })?;
    let found = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0) as u32;
    if found > VERSION {
        return Err(LedgerError::Version { path: shown, found });
    }
    serde_json::from_value(value).map(Some).map_err(|source| LedgerError::Malformed { path: shown, source })
}

/// Changes the ledger under its lock; when this returns the change is durable. A change that changes nothing writes nothing.
///
/// # Errors
/// Any [`LedgerError`]; the old ledger is then still there.
pub fn update(root: &Root, disk: &Disk, change: impl FnOnce(&mut Ledger)) -> Result<(), LedgerError> {
    let path = root.ledger();
    let io = |source| LedgerError::Io { path: path.display().to_string(), source };
    let _lock = Lock::take(&root.ledger_lock()).map_err(io)?;
    let before = load(root)?;
    let mut after = before.clone().unwrap_or_default();
    after.version = VERSION;
    change(&mut after);
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    let mut text = serde_json::to_vec_pretty(&after).expect("BUG: plain data always encodes");
    text.push(b'\n');
    disk.replace(&path, &text, Access { mode: 0o600, owner: None }).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        (folder, root)
    }

    #[test]
    fn absent_then_seen_then_unknown() {
        let (_folder, root) = root();
        assert_eq!(read(&root), Observed::Absent);
        update(&root, &Disk::new(), |ledger| {
            ledger.migrations.insert("m1".to_owned());
        })
        .unwrap();
        assert!(read(&root).seen().is_some_and(|ledger| ledger.migrations.contains("m1") && ledger.version == VERSION));
        fs::write(root.ledger(), "{").unwrap();
        assert!(matches!(read(&root), Observed::Unknown(_)));
    }

    #[test]
    fn a_newer_ledger_is_refused_and_left_alone() {
        let (_folder, root) = root();
        let newer = br#"{"version": 2, "apps": "another shape"}"#;
        fs::write(root.ledger(), newer).unwrap();
        assert!(matches!(load(&root), Err(LedgerError::Version { found: 2, .. })));
        assert!(update(&root, &Disk::new(), |_| ()).is_err());
        assert_eq!(fs::read(root.ledger()).unwrap(), newer);
    }

    #[test]
    fn a_crash_leaves_the_old_or_the_new_ledger() {
        for operations in 0..8 {
            let (_folder, root) = root();
            update(&root, &Disk::new(), |ledger| {
                ledger.migrations.insert("m1".to_owned());
            })
            .unwrap();
            let _ = update(&root, &Disk::breaking_after(operations), |ledger| {
                ledger.migrations.insert("m2".to_owned());
            });
            assert!(load(&root).unwrap().unwrap().migrations.contains("m1"), "after {operations}");
        }
    }

    #[test]
    fn two_writers_lose_nothing() {
        let (_folder, root) = root();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let root = &root;
                scope.spawn(move || {
                    for number in 0..10 {
                        update(root, &Disk::new(), |ledger| {
                            ledger.migrations.insert(format!("{writer}/{number}"));
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(load(&root).unwrap().unwrap().migrations.len(), 40);
    }
}
