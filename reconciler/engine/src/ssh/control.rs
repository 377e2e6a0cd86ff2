use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::process::Command;

/// Longest control path in bytes: a Unix socket's address has 108, and `ssh` appends a dot and 16 characters while it binds.
const LONGEST: usize = 90;

/// Folders opened by this process: several, in tests mostly, must not share a name.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// A folder for the control sockets and pinned keys of one process, gone when that process ends.
///
/// # Guarantees
/// Only its owner can enter it. A lock is held on it, so that a later process can tell the folder of a dead one, ends the masters that
/// one left behind, and removes it.
#[derive(Debug)]
pub struct ControlFolder {
    folder: PathBuf,
    next: AtomicU64,
    _lock: File,
}

/// Why there is no folder for control sockets.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A file operation failed.
    #[error("the folder for ssh control sockets {path} cannot be used: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could put sockets there.
    #[error("{path} belongs to another user or others may write to it; remove it or set another runtime folder", path = path.display())]
    Shared {
        /// Which.
        path: PathBuf,
    },
    /// Sockets there would have too long an address.
    #[error("{path} is too long for a socket (at most {LONGEST} bytes); set a shorter runtime folder", path = path.display())]
    Long {
        /// Which.
        path: PathBuf,
    },
}

impl ControlFolder {
    /// Makes a folder for this process below `base`, and clears away what dead processes left there.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn open(base: &Path) -> Result<Self, ControlError> {
        // `<pid>.<count>/<number>` below it.
        if base.as_os_str().len() + 24 > LONGEST {
            return Err(ControlError::Long { path: base.to_owned() });
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ControlError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(base).map_err(failed(base))?;
        let metadata = fs::symlink_metadata(base).map_err(failed(base))?;
        // The owner of /proc/self is the user this process runs as.
        let own = fs::metadata("/proc/self").map_err(failed(Path::new("/proc/self")))?.uid();
        if !metadata.is_dir() || metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(ControlError::Shared { path: base.to_owned() });
        }
        // One process at a time, so that no folder is cleared between its making and its locking.
        let turn = File::create(base.join("turn")).map_err(failed(base))?;
        turn.lock().map_err(failed(base))?;
        clear(base).await.map_err(failed(base))?;
        let folder = base.join(format!("{}.{}", std::process::id(), OPENED.fetch_add(1, Ordering::Relaxed)));
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed(&folder))?;
        let lock = File::create(folder.join("lock")).map_err(failed(&folder))?;
        lock.lock().map_err(failed(&folder))?;
        Ok(Self { folder, next: AtomicU64::new(0), _lock: lock })
    }

    /// Returns the paths of a new control socket and of a new file that holds `pinned`.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub(super) fn entry(&self, pinned: &str) -> io::Result<ControlEntry> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = ControlEntry {
            socket: self.folder.join(number.to_string()),
            known_hosts: self.folder.join(format!("{number}.k")),
        };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&entry.known_hosts)?;
        io::Write::write_all(&mut file, pinned.as_bytes())?;
        Ok(entry)
    }
}

impl Drop for ControlFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The files of one master. Removed when dropped, since a killed `ssh` leaves its socket.
#[derive(Debug)]
pub(super) struct ControlEntry {
    pub(super) socket: PathBuf,
    pub(super) known_hosts: PathBuf,
}

impl Drop for ControlEntry {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.known_hosts);
    }
}

/// Removes the folders of dead processes and asks the masters they left to exit.
async fn clear(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let folder = entry?.path();
        let Ok(lock) = File::open(folder.join("lock")) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        for socket in fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path()) {
            if socket.extension().is_none() && !socket.ends_with("lock") {
                ask_to_exit(&socket).await;
            }
        }
        let _ = fs::remove_dir_all(&folder);
    }
    Ok(())
}

async fn ask_to_exit(socket: &Path) {
    let mut command = Command::new("ssh");
    command.arg("-F").arg("none").arg("-S").arg(socket).args(["-O", "exit", "--", "left-behind"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    // One that does not answer is past asking; it ends with its connection.
    let _ = tokio::time::timeout(Duration::from_secs(2), command.status()).await;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn clears_what_the_dead_left_and_spares_the_living() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let dead = base.path().join("1");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        fs::write(dead.join("0.k"), "").unwrap();
        let living = ControlFolder::open(base.path()).await.unwrap();
        assert!(!dead.exists());
        let second = ControlFolder::open(base.path()).await.unwrap();
        assert!(living.folder.exists());
        let entry = second.entry("holdfast-a ssh-ed25519 AAAA\n").unwrap();
        assert!(entry.known_hosts.exists());
        let folder = second.folder.clone();
        drop(entry);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        drop(second);
        assert!(!folder.exists() && living.folder.exists());
    }

    #[tokio::test]
    async fn refuses_a_folder_others_may_write_to() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(ControlFolder::open(base.path()).await, Err(ControlError::Shared { .. })));
    }

    #[tokio::test]
    async fn refuses_a_path_no_socket_can_have() {
        let base = Path::new("/tmp").join("x".repeat(90));
        assert!(matches!(ControlFolder::open(&base).await, Err(ControlError::Long { .. })));
    }
}
