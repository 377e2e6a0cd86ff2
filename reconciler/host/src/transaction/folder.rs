//! The folder of one transaction.
//!
//! # Format
//! | name | holds |
//! |---|---|
//! | `spec` | `HFS`, a version byte, the [`TransactionSpec`] in postcard's format |
//! | `begun` | the path of the program that began it; from here on it must be finished or undone |
//! | `journal` | see [`crate::journal`] |
//! | `decided-…` | empty: a decision of the manager, durable before it is acknowledged |
//! | `confirmed` | empty: the manager confirmed in time |
//! | `clock-…` | boot id and milliseconds since boot at which a gate was reached |
//! | `followed-by` | the name of the manager that follows, or followed last |
//! | `runner.lock`, `decisions.lock`, `followed.lock` | locks |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::{Decision, Fault, FaultKind, TransactionId, TransactionSpec};

use super::host::Host;
use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::{Root, create_private};

const MAGIC: &[u8; 4] = b"HFS\x02";

/// Characters of a manager's name that are kept.
const MAX_NAME: usize = 64;

const PRIVATE: Access = Access { mode: 0o600, owner: None };

/// One transaction's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    id: TransactionId,
}

/// What a gate's time is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Reaching the *ready* gate.
    Ready,
    /// The end of `promote`: from here the confirmation must come.
    Promoted,
    /// Reaching the *settled* gate.
    Settled,
}

impl Clock {
    fn file(self) -> &'static str {
        match self {
            Self::Ready => "clock-ready",
            Self::Promoted => "clock-promoted",
            Self::Settled => "clock-settled",
        }
    }
}

impl Folder {
    /// Returns the folder of a transaction; it need not exist.
    pub fn of(root: &Root, id: &TransactionId) -> Self {
        Self { path: root.transaction(id), id: id.clone() }
    }

    /// Returns every folder that holds a specification.
    ///
    /// # Errors
    /// When the folder of all transactions cannot be read.
    pub fn all(root: &Root) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in match fs::read_dir(root.transactions()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        } {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                let folder = Self::of(root, &id);
                if folder.path.join("spec").is_file() {
                    found.push(folder);
                }
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the transaction's name.
    pub fn id(&self) -> &TransactionId {
        &self.id
    }

    /// Returns the journal's file.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Stores the specification; when this returns it is durable.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn store(&self, disk: &Disk, spec: &TransactionSpec) -> io::Result<()> {
        create_private(&self.path)?;
        crate::paths::sync_folder(self.path.parent().unwrap_or(Path::new("/")))?;
        let body = postcard::to_stdvec(spec).expect("BUG: plain data always encodes");
        disk.replace(&self.path.join("spec"), &[MAGIC.as_slice(), &body].concat(), PRIVATE)
    }

    /// Returns the specification.
    ///
    /// # Errors
    /// `Refused` when there is none or a program of another version wrote it; `Failed` on an I/O error.
    pub fn load(&self) -> Result<TransactionSpec, Fault> {
        let path = self.path.join("spec");
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(format!("transaction {} is not staged on this host", self.id)),
            _ => failed(format!("{}: {error}", path.display())),
        })?;
        let body = bytes.strip_prefix(MAGIC.as_slice()).and_then(|body| postcard::from_bytes(body).ok());
        body.ok_or_else(|| refused(format!("{} was written by another version", path.display())))
    }

    /// Removes the folder and all in it.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn remove(&self) -> io::Result<()> {
        // The specification first: without it the rest is no transaction any more.
        let _ = fs::remove_file(self.path.join("spec"));
        fs::remove_dir_all(&self.path)
    }

    /// Returns the program that began it; `None` while it is only staged.
    pub fn begun(&self) -> Option<PathBuf> {
        fs::read_to_string(self.path.join("begun")).ok().map(|text| PathBuf::from(text.trim_end()))
    }

    /// Marks it as begun by this program; durable.
    ///
    /// # Errors
    /// Any I/O error; it is not begun then.
    pub fn mark_begun(&self, disk: &Disk, program: &Path) -> io::Result<()> {
        disk.replace(&self.path.join("begun"), format!("{}\n", program.display()).as_bytes(), PRIVATE)
    }

    /// Takes the runner's lock; `None` when a runner is alive.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn lock_runner(&self) -> io::Result<Option<Lock>> {
        Lock::try_take(&self.path.join("runner.lock"))
    }

    /// Takes a share of the lock that says that a manager follows, and notes its name.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn follow(&self, manager: &str) -> io::Result<Lock> {
        let lock = Lock::share(&self.path.join("followed.lock"))?;
        let name: String = manager.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        fs::write(self.path.join("followed-by"), name)?;
        Ok(lock)
    }

    /// Returns the name of the manager that follows, or followed last; empty when none did.
    pub fn follower(&self) -> String {
        fs::read_to_string(self.path.join("followed-by")).unwrap_or_default()
    }

    /// Returns whether a manager follows it now.
    pub fn is_followed(&self) -> bool {
        matches!(Lock::try_take(&self.path.join("followed.lock")), Ok(None))
    }

    /// Takes the lock under which decisions are written and acted upon.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn lock_decisions(&self) -> io::Result<Lock> {
        Lock::take(&self.path.join("decisions.lock"))
    }

    /// Returns whether a decision was written.
    pub fn has_decision(&self, decision: Decision) -> bool {
        self.path.join(decision_file(decision)).exists()
    }

    /// Writes a decision; durable.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn write_decision(&self, disk: &Disk, decision: Decision) -> io::Result<()> {
        disk.replace(&self.path.join(decision_file(decision)), b"", PRIVATE)
    }

    /// Returns whether the manager confirmed.
    pub fn is_confirmed(&self) -> bool {
        self.path.join("confirmed").exists()
    }

    /// Writes the confirmation; durable.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn write_confirmed(&self, disk: &Disk) -> io::Result<()> {
        disk.replace(&self.path.join("confirmed"), b"", PRIVATE)
    }

    /// Returns how long ago, in this boot, a gate was reached; `None` when it was not.
    ///
    /// A gate reached in an earlier boot counts as not reached: its time starts over, for nobody can tell how long the machine was
    /// off.
    pub fn clock(&self, host: &Host, clock: Clock) -> Option<Duration> {
        self.clock_at(host, clock).map(|at| crate::serve::since_boot().saturating_sub(at))
    }

    /// Returns when, since this boot, a gate was reached.
    pub fn clock_at(&self, host: &Host, clock: Clock) -> Option<Duration> {
        let text = fs::read_to_string(self.path.join(clock.file())).ok()?;
        let (boot, millis) = text.trim().split_once(' ')?;
        let at = Duration::from_millis(millis.parse().ok()?);
        (boot == boot_id(host)).then_some(at)
    }

    /// Starts a gate's time where it does not run yet.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn start_clock(&self, host: &Host, clock: Clock) -> io::Result<()> {
        if self.clock(host, clock).is_none() {
            let text = format!("{} {}\n", boot_id(host), crate::serve::since_boot().as_millis());
            host.disk.replace(&self.path.join(clock.file()), text.as_bytes(), PRIVATE)?;
        }
        Ok(())
    }
}

fn decision_file(decision: Decision) -> &'static str {
    match decision {
        Decision::Promote => "decided-promote",
        Decision::Settle => "decided-settle",
        Decision::GoBack => "decided-go-back",
        Decision::EndWatch => "decided-end-watch",
    }
}

fn boot_id(host: &Host) -> String {
    let text = fs::read_to_string(host.system.proc.join("sys/kernel/random/boot_id")).unwrap_or_default();
    if text.trim().is_empty() { "unknown".to_owned() } else { text.trim().to_owned() }
}

/// Returns a fault for a request that makes no sense here.
pub(super) fn refused(message: String) -> Fault {
    Fault { kind: FaultKind::Refused, message }
}

/// Returns a fault for something the host could not do.
pub(super) fn failed(message: String) -> Fault {
    Fault { kind: FaultKind::Failed, message }
}
