//! Copies of other hosts' backups: taken in pieces, read back from the disk, kept by a retention of their own.
//!
//! # Format
//! `vault/<environment>/<app>/<class>/<host>/`: each copy under its backup's name, with `.age` where it is encrypted, and
//! `<name>.meta.json` beside it, which makes it count.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use holdfast_protocol::{BackupRecord, VaultKeep, VaultKey, VaultRecord};

use super::class::{ACCESS, SIDECAR, is_stamped};
use super::piece::{read_piece, write_piece};
use super::retention::{self, Good};
use super::{BackupError, at, fail, stamp};
use crate::digest;
use crate::disk::Disk;
use crate::lock::Lock;
use crate::paths::{Root, create_private, sync_folder};

/// What the name of an encrypted copy ends in.
const ENCRYPTED: &str = ".age";

/// The version of a sidecar that this program writes.
const VERSION: u32 = 1;

/// The copies of one class of one host.
#[derive(Debug)]
pub(super) struct Vault {
    key: VaultKey,
    folder: PathBuf,
    disk: Disk,
}

impl Vault {
    /// Returns the place of these copies; it need not be there.
    ///
    /// # Errors
    /// When a name in the key is none.
    pub(super) fn new(root: &Root, disk: &Disk, key: VaultKey) -> Result<Self, BackupError> {
        let mut folder = root.vault();
        for name in [&key.environment, &key.app, &key.class, &key.host] {
            folder.push(checked(name)?);
        }
        Ok(Self { key, folder, disk: disk.clone() })
    }

    /// Returns the places of all hosts' copies of a class.
    pub(super) fn all(
        root: &Root,
        disk: &Disk,
        [environment, app, class]: [&str; 3],
    ) -> Result<Vec<Self>, BackupError> {
        let mut folder = root.vault();
        for name in [environment, app, class] {
            folder.push(checked(name)?);
        }
        let [environment, app, class] = [environment, app, class].map(str::to_owned);
        let key = |host| VaultKey { environment: environment.clone(), app: app.clone(), class: class.clone(), host };
        let hosts = names(&folder)?.into_iter().filter(|host| checked(host).is_ok());
        hosts.map(|host| Self::new(root, disk, key(host))).collect()
    }

    /// Returns the copies that count, the newest first.
    pub(super) fn held(&self) -> Result<Vec<VaultRecord>, BackupError> {
        let names = names(&self.folder)?;
        let stored = names.iter().filter_map(|name| name.strip_suffix(SIDECAR));
        let mut held: Vec<VaultRecord> = stored.filter_map(|stored| self.record(stored).ok()).collect();
        held.sort_by(|a, b| (b.backup.taken_at_ms, &b.stored).cmp(&(a.backup.taken_at_ms, &a.stored)));
        Ok(held)
    }

    /// Returns those of a host's backups that are wanted here, the newest first.
    pub(super) fn wanted(
        &self,
        good: &[BackupRecord],
        held: &[VaultRecord],
        keep: VaultKeep,
    ) -> Result<Vec<String>, BackupError> {
        for record in good {
            self.check_backup(&record.file)?;
        }
        let counts = |record: &&VaultRecord| !keep.encrypted || !record.encrypted_to.is_empty();
        let held: Vec<Good> = held.iter().filter(counts).map(|record| as_good(&record.backup)).collect();
        let good: Vec<Good> = good.iter().map(as_good).collect();
        Ok(retention::wanted(&good, &held, stamp::now_ms(), keep.keep_ms, keep.at_least))
    }

    /// Takes a piece of a copy; after the last one it counts, or there is nothing.
    pub(super) fn take(&self, record: &VaultRecord, offset: u64, bytes: &[u8], last: bool) -> Result<(), BackupError> {
        self.check(record)?;
        let _lock = self.lock()?;
        let part = self.folder.join(format!("{}.part", record.stored));
        if offset == 0 {
            self.sweep()?;
        }
        let written = write_piece(&part, offset, bytes)?;
        if !last {
            return Ok(());
        }
        let kept = self.keep(record, &part, &written);
        if kept.is_err() {
            // Best effort: the next copy begins with removing it.
            let _ = fs::remove_file(&part);
        }
        kept
    }

    /// Returns a piece of a copy, and whether it is the last.
    pub(super) fn piece(&self, stored: &str, offset: u64) -> Result<(Vec<u8>, bool), BackupError> {
        let record = self.record(stored)?;
        read_piece(&self.folder.join(&record.stored), offset)
    }

    /// Removes what is over now that `new` was copied, and returns what stays.
    pub(super) fn prune(&self, new: &str, keep: VaultKeep) -> Result<Vec<VaultRecord>, BackupError> {
        let _lock = self.lock()?;
        let held = self.held()?;
        let good: Vec<Good> = held.iter().map(|record| as_good(&record.backup)).collect();
        let over = retention::expired(&good, new, stamp::now_ms(), keep.keep_ms, keep.at_least);
        let (over, stays): (Vec<_>, Vec<_>) = held.into_iter().partition(|record| over.contains(&record.backup.file));
        for record in over {
            self.remove(&record.stored)?;
        }
        Ok(stays)
    }

    fn lock(&self) -> Result<Lock, BackupError> {
        create_private(&self.folder).map_err(at(&self.folder))?;
        let path = self.folder.join("lock");
        Lock::take(&path).map_err(at(&path))
    }

    /// Gives what was written its name after it was read back, then its sidecar.
    fn keep(&self, record: &VaultRecord, part: &Path, written: &File) -> Result<(), BackupError> {
        written.sync_all().map_err(at(part))?;
        // From the disk, not from memory: what is proven here is what will be there.
        let _ = rustix::fs::fadvise(written, 0, None, rustix::fs::Advice::DontNeed);
        let (sha256, size) = File::open(part).and_then(digest::of_reader).map_err(at(part))?;
        if (size, sha256) != (record.size, record.sha256) {
            return fail(format!(
                "the copy of {} has {size} bytes and the SHA-256 {sha256}, expected {} and {}",
                record.stored, record.size, record.sha256
            ));
        }
        let path = self.folder.join(&record.stored);
        fs::rename(part, &path).and_then(|()| sync_folder(&self.folder)).map_err(at(&path))?;
        let sidecar = self.sidecar(&record.stored);
        let mut text = serde_json::to_vec_pretty(record).expect("BUG: plain data always encodes");
        text.push(b'\n');
        self.disk.replace(&sidecar, &text, ACCESS).map_err(at(&sidecar))?;
        // One copy of each: the one that is not encrypted goes when there is one that is, and the other way round.
        for other in self.held()? {
            if other.backup.file == record.backup.file && other.stored != record.stored {
                self.remove(&other.stored)?;
            }
        }
        Ok(())
    }

    fn record(&self, stored: &str) -> Result<VaultRecord, BackupError> {
        self.check_stored(stored)?;
        let sidecar = self.sidecar(stored);
        let bytes = fs::read(&sidecar).map_err(at(&sidecar))?;
        let record: VaultRecord =
            serde_json::from_slice(&bytes).map_err(|error| BackupError(format!("{}: {error}", sidecar.display())))?;
        self.check(&record)?;
        let path = self.folder.join(stored);
        let meta = fs::symlink_metadata(&path).map_err(at(&path))?;
        if record.stored != stored || !meta.is_file() || meta.len() != record.size {
            return fail(format!("{}: it is not what its sidecar says", path.display()));
        }
        Ok(record)
    }

    fn check(&self, record: &VaultRecord) -> Result<(), BackupError> {
        let backup = &record.backup;
        let own = (&backup.environment, &backup.app, &backup.class, &record.host);
        if own != (&self.key.environment, &self.key.app, &self.key.class, &self.key.host) || record.version != VERSION {
            return fail(format!("a copy of another backup than {} of {}", self.key.class, self.key.host));
        }
        self.check_backup(&backup.file)?;
        let suffix = if record.encrypted_to.is_empty() { "" } else { ENCRYPTED };
        if record.stored != format!("{}{suffix}", backup.file) {
            return fail(format!("a copy of {} is not named `{}`", backup.file, record.stored.escape_debug()));
        }
        Ok(())
    }

    fn check_stored(&self, stored: &str) -> Result<(), BackupError> {
        self.check_backup(stored.strip_suffix(ENCRYPTED).unwrap_or(stored))
    }

    fn check_backup(&self, file: &str) -> Result<(), BackupError> {
        if is_stamped(file, &self.key.class) {
            return Ok(());
        }
        fail(format!("`{}` is no backup of this class", crate::exec::shown(file.as_bytes(), 80)))
    }

    fn sidecar(&self, stored: &str) -> PathBuf {
        self.folder.join(format!("{stored}{SIDECAR}"))
    }

    /// First what makes it count.
    fn remove(&self, stored: &str) -> Result<(), BackupError> {
        for path in [self.sidecar(stored), self.folder.join(stored)] {
            self.disk.remove(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Removes what copies that were cut down left.
    fn sweep(&self) -> Result<(), BackupError> {
        for name in names(&self.folder)? {
            if name.strip_suffix(".part").is_some_and(|stored| self.check_stored(stored).is_ok()) {
                let path = self.folder.join(&name);
                self.disk.remove(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }
}

fn as_good(record: &BackupRecord) -> Good {
    Good { file: record.file.clone(), taken_at_ms: record.taken_at_ms }
}

/// Names become folders: nothing else than a name may.
fn checked(name: &str) -> Result<&str, BackupError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() <= 253 && name.starts_with(first) && name.chars().all(fits) {
        return Ok(name);
    }
    fail(format!("`{}` is no name", crate::exec::shown(name.as_bytes(), 80)))
}

fn names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(at(folder))?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
