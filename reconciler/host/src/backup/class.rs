use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::{BackupRecord, BackupSpec};
use serde::{Deserialize, Serialize};

use super::retention::Good;
use super::{BackupError, at, fail, stamp};
use crate::digest;
use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::{Root, System, create_private, sync_folder};
use crate::transaction::Host;

/// What a sidecar's name ends in.
pub(super) const SIDECAR: &str = ".meta.json";

/// Only root reads backups.
pub(super) const ACCESS: Access = Access { mode: 0o600, owner: None };

/// The version of a sidecar that this program writes.
const VERSION: u32 = 1;

/// One class of backups on this host: its declaration and its folder.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) spec: BackupSpec,
    pub(super) folder: PathBuf,
    pub(super) root: Root,
    pub(super) system: System,
    /// The path of the declaration; empty where there is none.
    pub(super) declaration: PathBuf,
    disk: Disk,
}

/// How the last run or drill went.
///
/// # Format
/// JSON in `failed.json`, `drilled.json` or `drill-failed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) at_ms: u64,
    pub(super) text: String,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// A run that failed.
    Failed,
    /// A drill that passed.
    Drilled,
    /// A drill that failed.
    DrillFailed,
}

impl Note {
    fn file(self) -> &'static str {
        match self {
            Self::Failed => "failed.json",
            Self::Drilled => "drilled.json",
            Self::DrillFailed => "drill-failed.json",
        }
    }
}

impl Class {
    /// Reads a declaration.
    ///
    /// # Errors
    /// When it cannot be read, or is none of ours.
    pub(super) fn load(host: &Host, declaration: &Path) -> Result<Self, BackupError> {
        let apps = host.root.path().join("apps");
        if !declaration.starts_with(&apps) || declaration.components().any(|part| part.as_os_str() == "..") {
            return fail(format!("{}: declarations of backups lie below {}", declaration.display(), apps.display()));
        }
        let bytes = fs::read(declaration).map_err(at(declaration))?;
        let spec: BackupSpec = serde_json::from_slice(&bytes)
            .map_err(|error| BackupError(format!("{}: {error}", declaration.display())))?;
        let class = Self::new(&host.root, &host.system, &host.disk, spec)?;
        Ok(Self { declaration: declaration.to_owned(), ..class })
    }

    pub(super) fn new(root: &Root, system: &System, disk: &Disk, spec: BackupSpec) -> Result<Self, BackupError> {
        let mut folder = root.backups();
        for name in [&spec.environment, &spec.app, &spec.class] {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
                return fail(format!("`{}` is no name", name.escape_debug()));
            }
            folder.push(name);
        }
        let declaration = PathBuf::new();
        Ok(Self { spec, folder, root: root.clone(), system: system.clone(), declaration, disk: disk.clone() })
    }

    /// Returns `prod-shop-database`.
    pub(super) fn name(&self) -> String {
        format!("{}-{}-{}", self.spec.environment, self.spec.app, self.spec.class)
    }

    /// Returns words for people.
    pub(super) fn about(&self) -> String {
        format!("{} of {} in {}", self.spec.class, self.spec.app, self.spec.environment)
    }

    /// Returns 12 digits that only this class has, for names with little room.
    pub(super) fn short(&self) -> String {
        digest::of(self.name().as_bytes()).to_string()[..12].to_owned()
    }

    /// Returns how long one backup may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.spec.timeout_ms)
    }

    /// Makes the folder and waits until nobody else takes a backup.
    pub(super) fn lock(&self) -> Result<Lock, BackupError> {
        self.lock_file("lock")
    }

    /// Waits until nobody else restores. Backups are taken meanwhile: a long restore or drill must not cost one.
    pub(super) fn lock_restores(&self) -> Result<Lock, BackupError> {
        self.lock_file("restore.lock")
    }

    fn lock_file(&self, name: &str) -> Result<Lock, BackupError> {
        create_private(&self.folder).map_err(at(&self.folder))?;
        let path = self.folder.join(name);
        Lock::take(&path).map_err(at(&path))
    }

    /// Removes what a run that was cut down left.
    pub(super) fn sweep(&self) -> Result<(), BackupError> {
        for name in self.names()? {
            if name.strip_suffix(".part").is_some_and(|file| self.is_ours(file)) {
                let path = self.folder.join(&name);
                self.disk.remove(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// Returns the name of a backup that is begun now, and the time in it.
    pub(super) fn new_name(&self) -> (String, u64) {
        let taken_at_ms = stamp::now_ms();
        // Two within one second: the name of the second one is later, its time is not.
        let mut named = taken_at_ms;
        loop {
            let name = format!("{}-{}.{}", self.spec.class, stamp::stamp(named), self.spec.source.suffix());
            if !self.folder.join(&name).exists() && !self.folder.join(format!("{name}{SIDECAR}")).exists() {
                return (name, taken_at_ms);
            }
            named += 1000;
        }
    }

    /// Gives a proven file its name, then its sidecar.
    pub(super) fn keep(&self, part: &Path, record: &BackupRecord) -> Result<(), BackupError> {
        let path = self.folder.join(&record.file);
        fs::rename(part, &path).and_then(|()| sync_folder(&self.folder)).map_err(at(&path))?;
        let sidecar = self.sidecar(&record.file);
        let mut text = serde_json::to_vec_pretty(record).expect("BUG: plain data always encodes");
        text.push(b'\n');
        self.disk.replace(&sidecar, &text, ACCESS).map_err(at(&sidecar))
    }

    /// Returns a sidecar of this version, filled in but for what the file is.
    pub(super) fn blank(&self, file: &str, taken_at_ms: u64) -> BackupRecord {
        let key = format!("{}/{}", self.spec.environment, self.spec.app);
        let ledger = crate::ledger::load(&self.root).ok().flatten();
        BackupRecord {
            version: VERSION,
            file: file.to_owned(),
            environment: self.spec.environment.clone(),
            app: self.spec.app.clone(),
            class: self.spec.class.clone(),
            kind: match self.spec.source {
                holdfast_protocol::BackupSource::Postgres { .. } => "postgres",
                holdfast_protocol::BackupSource::Redis { .. } => "redis",
                holdfast_protocol::BackupSource::Files { .. } => "files",
                holdfast_protocol::BackupSource::Volumes { .. } => "volumes",
            }
            .to_owned(),
            taken_at_ms,
            size: 0,
            sha256: digest::NO_CONTENT,
            release: ledger.and_then(|mut ledger| ledger.apps.remove(&key)).map(|app| app.release).unwrap_or_default(),
            rows: std::collections::BTreeMap::new(),
        }
    }

    /// Returns the sidecar of a backup that counts.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn record(&self, file: &str) -> Result<BackupRecord, BackupError> {
        self.check_name(file)?;
        let sidecar = self.sidecar(file);
        let bytes = fs::read(&sidecar).map_err(at(&sidecar))?;
        let record: BackupRecord =
            serde_json::from_slice(&bytes).map_err(|error| BackupError(format!("{}: {error}", sidecar.display())))?;
        if record.file != file || self.check_own(&record).is_err() {
            return fail(format!("{}: it is of another backup", sidecar.display()));
        }
        let path = self.folder.join(file);
        let meta = fs::symlink_metadata(&path).map_err(at(&path))?;
        if !meta.is_file() || meta.len() != record.size {
            return fail(format!("{}: it has {} bytes, its sidecar says {}", path.display(), meta.len(), record.size));
        }
        Ok(record)
    }

    /// Checks that a sidecar is one of this class.
    pub(super) fn check_own(&self, record: &BackupRecord) -> Result<(), BackupError> {
        self.check_name(&record.file)?;
        let own = (&self.spec.environment, &self.spec.app, &self.spec.class);
        if record.version != VERSION || (&record.environment, &record.app, &record.class) != own {
            return fail(format!("{} is of another backup than {}", record.file, self.about()));
        }
        Ok(())
    }

    /// Returns the sidecars of all that count, the newest first.
    pub(super) fn records(&self) -> Result<Vec<BackupRecord>, BackupError> {
        let mut records: Vec<_> = self.sidecars()?.into_iter().filter_map(|name| self.record(&name).ok()).collect();
        records.sort_by(|a, b| b.file.cmp(&a.file));
        Ok(records)
    }

    /// Puts a small file of ours in its place.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
        self.disk.replace(path, bytes, ACCESS).map_err(at(path))
    }

    /// Removes a small file of ours.
    pub(super) fn remove_file(&self, path: &Path) -> Result<(), BackupError> {
        self.disk.remove(path).map_err(at(path))
    }

    /// Returns the newest backup that counts.
    pub(super) fn newest(&self) -> Result<Option<BackupRecord>, BackupError> {
        let mut names = self.sidecars()?;
        names.sort();
        Ok(names.iter().rev().find_map(|name| self.record(name).ok()))
    }

    /// Returns all that count.
    pub(super) fn good(&self) -> Result<Vec<Good>, BackupError> {
        let records = self.sidecars()?.into_iter().filter_map(|name| self.record(&name).ok());
        Ok(records.map(|record| Good { file: record.file, taken_at_ms: record.taken_at_ms }).collect())
    }

    /// Returns the names of files that have a sidecar, without looking into it.
    pub(super) fn sidecars(&self) -> Result<Vec<String>, BackupError> {
        let names = self.names()?.into_iter();
        let files = names.filter_map(|name| name.strip_suffix(SIDECAR).map(str::to_owned));
        Ok(files.filter(|file| self.is_ours(file)).collect())
    }

    /// Removes a backup: first what makes it count.
    pub(super) fn remove(&self, file: &str) -> Result<(), BackupError> {
        for path in [self.sidecar(file), self.folder.join(file)] {
            self.disk.remove(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Checks the name of a file that somebody gave.
    pub(super) fn check_name(&self, file: &str) -> Result<(), BackupError> {
        if self.is_ours(file) {
            return Ok(());
        }
        let shown = crate::exec::shown(file.as_bytes(), 80);
        let suffix = self.spec.source.suffix();
        fail(format!("`{shown}` is no backup of this class: they are named {}-<time>.{suffix}", self.spec.class))
    }

    /// Opens a backup after its content was held against the sidecar.
    pub(super) fn open_proven(&self, record: &BackupRecord) -> Result<File, BackupError> {
        let path = self.folder.join(&record.file);
        let (digest, _) = File::open(&path).and_then(digest::of_reader).map_err(at(&path))?;
        if digest != record.sha256 {
            return fail(format!("{}: its SHA-256 is {digest}, its sidecar says {}", path.display(), record.sha256));
        }
        File::open(&path).map_err(at(&path))
    }

    /// Notes how something went.
    pub(super) fn note(&self, note: Note, text: &str) -> Result<(), BackupError> {
        let said = Said { at_ms: stamp::now_ms(), text: crate::exec::shown_tail(text.as_bytes(), 1000) };
        let bytes = serde_json::to_vec(&said).expect("BUG: plain data always encodes");
        let path = self.folder.join(note.file());
        self.disk.replace(&path, &bytes, ACCESS).map_err(at(&path))
    }

    /// Takes a note away.
    pub(super) fn forget(&self, note: Note) -> Result<(), BackupError> {
        let path = self.folder.join(note.file());
        self.disk.remove(&path).map_err(at(&path))
    }

    /// Returns a note; one that cannot be read is none.
    pub(super) fn noted(&self, note: Note) -> Option<Said> {
        serde_json::from_slice(&fs::read(self.folder.join(note.file())).ok()?).ok()
    }

    /// Returns a program of the host by its full path.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, BackupError> {
        match self.system.program(name) {
            Some(path) => Ok(path),
            None => fail(format!("`{name}` is not installed: install it on this host")),
        }
    }

    fn sidecar(&self, file: &str) -> PathBuf {
        self.folder.join(format!("{file}{SIDECAR}"))
    }

    /// `<class>-20261121T020000Z.dump`, and nothing else.
    fn is_ours(&self, name: &str) -> bool {
        is_stamped(name, &self.spec.class) && name.ends_with(&format!(".{}", self.spec.source.suffix()))
    }

    fn names(&self) -> Result<Vec<String>, BackupError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&self.folder)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(at(&self.folder))?.file_name().into_string().ok());
        }
        Ok(names)
    }
}

/// What names of backups end in, whatever they save.
const SUFFIXES: [&str; 3] = ["dump", "tar.gz", "rdb"];

/// Returns whether a name is that of a backup of a class: `<class>-20261121T020000Z.dump`, and nothing else.
pub(super) fn is_stamped(name: &str, class: &str) -> bool {
    let rest = name.strip_prefix(class).and_then(|rest| rest.strip_prefix('-'));
    let stamp = rest.and_then(|rest| {
        SUFFIXES.iter().find_map(|suffix| rest.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')))
    });
    stamp.is_some_and(|stamp| {
        stamp.len() == 16
            && stamp.bytes().enumerate().all(|(index, byte)| match index {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    })
}
