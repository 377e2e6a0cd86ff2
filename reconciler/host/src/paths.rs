//! Where everything lies on a host.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holdfast_protocol::{Digest, TransactionId};

/// Everybody may pass through, nobody but root may list.
const PASSABLE: u32 = 0o711;

/// The folder under which Holdfast keeps everything it stores on a host.
///
/// Given by value so that a test can use a folder of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// Returns the root at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the root of a real host, `/var/lib/holdfast`.
    pub fn system() -> Self {
        Self::new("/var/lib/holdfast")
    }

    /// Returns the folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Creates the folders where they are missing, readable by root only.
    ///
    /// Others may pass through the outermost one, and not list it: a login that is not root checks the host program below it, and
    /// services that are not root have their files there.
    ///
    /// # Errors
    /// Any I/O error; nothing can be stored then.
    pub fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(PASSABLE).create(&self.0)?;
        if fs::metadata(&self.0)?.permissions().mode() & 0o7777 != PASSABLE {
            fs::set_permissions(&self.0, fs::Permissions::from_mode(PASSABLE))?;
        }
        for folder in [self.blobs(), self.masks(), self.transactions(), self.cache()] {
            create_private(&folder)?;
        }
        Ok(())
    }

    /// Returns the file of the ledger.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.json")
    }

    /// Returns the file whose lock guards the ledger.
    pub fn ledger_lock(&self) -> PathBuf {
        self.0.join("ledger.lock")
    }

    /// Returns the file that says what our containers were made from.
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers.json")
    }

    /// Returns the file whose lock guards it.
    pub fn containers_lock(&self) -> PathBuf {
        self.0.join("containers.lock")
    }

    /// Returns the file of the fence.
    pub fn fence(&self) -> PathBuf {
        self.0.join("fence")
    }

    /// Returns the folder of the stored blobs.
    pub fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// Returns the file of one stored blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    /// Returns the folder of what is secret in stored blobs.
    pub fn masks(&self) -> PathBuf {
        self.0.join("masks")
    }

    /// Returns the folder with one folder for each transaction.
    pub fn transactions(&self) -> PathBuf {
        self.0.join("transactions")
    }

    /// Returns the folder of one transaction.
    pub fn transaction(&self, id: &TransactionId) -> PathBuf {
        self.transactions().join(id.as_str())
    }

    /// Returns the folder of all backups. Nothing is ever removed from it but by the pruning of a class.
    pub fn backups(&self) -> PathBuf {
        self.0.join("backups")
    }

    /// Returns the folder that says which containers stand still for a backup.
    pub fn paused(&self) -> PathBuf {
        self.0.join("paused")
    }

    /// Returns the folder of copies of other hosts' backups. Nothing is ever removed from it but by the pruning of a class.
    pub fn vault(&self) -> PathBuf {
        self.0.join("vault")
    }

    /// Returns the name of the host program that stays when its version changes.
    pub fn current_program(&self) -> PathBuf {
        self.0.join("host/current")
    }

    /// Returns the folder of what can be thrown away at any time.
    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
}

/// Where a host keeps the things Holdfast looks at.
///
/// Given by value so that a test can point them elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The `proc` file system.
    pub proc: PathBuf,
    /// Local configuration.
    pub etc: PathBuf,
    /// What the distribution's package manager says is installed.
    pub packages: PathBuf,
    /// The Docker engine's socket.
    pub docker: PathBuf,
    /// systemd's private socket, which only root may use.
    pub systemd_private: PathBuf,
    /// The system bus.
    pub system_bus: PathBuf,
    /// Folders in which programs are looked for, in order.
    pub programs: Vec<PathBuf>,
}

impl System {
    /// Returns the places of a real host.
    pub fn real() -> Self {
        Self {
            proc: "/proc".into(),
            etc: "/etc".into(),
            packages: "/var/lib/dpkg/status".into(),
            docker: "/var/run/docker.sock".into(),
            systemd_private: "/run/systemd/private".into(),
            system_bus: "/run/dbus/system_bus_socket".into(),
            programs: ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .map(PathBuf::from)
                .to_vec(),
        }
    }

    /// Returns the full path of a program, when it is there.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// Creates a folder, and the ones above it, that only its owner may enter.
///
/// # Errors
/// Any I/O error, also that something else than a folder is in its place.
pub fn create_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Any I/O error; the last rename in the folder may then be lost in a crash.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn others_may_pass_through_the_root_and_enter_nothing_that_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().join("lib/holdfast"));
        root.prepare().unwrap();
        assert_eq!(mode(root.path()), 0o711);
        for inner in [root.blobs(), root.masks(), root.transactions(), root.cache()] {
            assert_eq!(mode(&inner), 0o700, "{}", inner.display());
        }
        for other in [0o700, 0o755] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(other)).unwrap();
            root.prepare().unwrap();
            assert_eq!(mode(root.path()), 0o711);
        }
    }
}
