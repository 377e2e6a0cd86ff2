//! Changes files so that a crash at any moment leaves the old or the new, never a part.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::paths::sync_folder;

/// Who a file belongs to and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// User and group to give it to; `None` leaves it to whom this process runs as.
    pub owner: Option<(u32, u32)>,
}

/// The file system as it is changed by us, one durable operation after the other.
///
/// A value, so that a test can let it break after the n-th operation, as a crash does: from then on nothing changes any more.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    #[cfg(test)]
    fuse: Option<std::sync::Arc<(std::sync::atomic::AtomicUsize, std::sync::atomic::AtomicBool)>>,
}

impl Disk {
    /// Returns the real one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns one that breaks after this many operations.
    #[cfg(test)]
    pub(crate) fn breaking_after(operations: usize) -> Self {
        Self { fuse: Some(std::sync::Arc::new((operations.into(), false.into()))) }
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests can break it"))]
    fn tick(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            use std::sync::atomic::Ordering;
            let left = fuse.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_err() {
                fuse.1.store(true, Ordering::SeqCst);
                return Err(io::Error::other("broken by the test"));
            }
        }
        Ok(())
    }

    /// Returns whether a test broke it.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "only tests can break it"))]
    pub(crate) fn is_broken(&self) -> bool {
        #[cfg(test)]
        if let Some(fuse) = &self.fuse {
            return fuse.1.load(std::sync::atomic::Ordering::SeqCst);
        }
        false
    }

    /// Puts content under a name: temporary name in the same folder, owner and mode before the content can be seen under the final
    /// name, fsync, rename, fsync of the folder.
    ///
    /// # Errors
    /// Any I/O error. The old content is then still there, whole; a temporary file may be left, which the next call for the same
    /// name replaces.
    pub fn replace(&self, path: &Path, content: &[u8], access: Access) -> io::Result<()> {
        let temporary = temporary(path);
        self.remove(&temporary)?;
        self.tick()?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        #[cfg(test)]
        if self.tick().is_err() {
            // A crash in the middle of the write.
            file.write_all(&content[..content.len() / 2])?;
            return Err(io::Error::other("broken by the test"));
        }
        let written = self.fill(&mut file, content, access);
        if let Err(error) = written {
            // Best effort: a full disk should not stay full because of us.
            let _ = self.remove(&temporary);
            return Err(error);
        }
        drop(file);
        self.tick()?;
        fs::rename(&temporary, path)?;
        self.tick()?;
        sync_folder(folder(path))
    }

    fn fill(&self, file: &mut fs::File, content: &[u8], access: Access) -> io::Result<()> {
        file.write_all(content)?;
        if let Some((user, group)) = access.owner {
            self.tick()?;
            std::os::unix::fs::fchown(&*file, Some(user), Some(group))?;
        }
        self.tick()?;
        // After the owner: a change of owner clears set-user-id bits.
        file.set_permissions(fs::Permissions::from_mode(access.mode))?;
        self.tick()?;
        file.sync_all()
    }

    /// Removes a file durably; that it is not there is fine.
    ///
    /// # Errors
    /// Any other I/O error.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.tick()?;
        fs::remove_file(path)?;
        self.tick()?;
        sync_folder(folder(path))
    }

    /// Creates one folder durably; that it is there is fine.
    ///
    /// # Errors
    /// Any other I/O error.
    pub fn create_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.tick()?;
        fs::DirBuilder::new().mode(mode).create(path)?;
        self.tick()?;
        // The umask must not have its say.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        self.tick()?;
        sync_folder(folder(path))
    }

    /// Removes a folder durably when it is empty; that it is not there, or holds something by now, is fine.
    ///
    /// # Errors
    /// Any other I/O error.
    pub fn remove_empty_folder(&self, path: &Path) -> io::Result<()> {
        self.tick()?;
        match fs::remove_dir(path) {
            Ok(()) => {
                self.tick()?;
                sync_folder(folder(path))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the name under which content for `path` is written before it is renamed. One for each name, so that what a crash left is
/// found again.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A long name must stay within the 255 bytes a file system takes.
    let name: String = name.chars().take(60).collect();
    let digest = crate::digest::of(path.as_os_str().as_encoded_bytes()).short();
    folder(path).join(format!(".{name}.holdfast-{digest}"))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: Access = Access { mode: 0o640, owner: None };

    #[test]
    fn a_crash_at_any_operation_leaves_old_or_new() {
        for operations in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("file");
            Disk::new().replace(&path, b"old content", PRIVATE).unwrap();
            let broken = Disk::breaking_after(operations).replace(&path, b"new content", PRIVATE).is_err();
            let found = fs::read(&path).unwrap();
            assert!(found == b"old content" || found == b"new content", "after {operations}: {found:?}");
            assert!(broken || found == b"new content");
            // After the crash the same again goes through and leaves nothing beside.
            Disk::new().replace(&path, b"new content", PRIVATE).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new content");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn cap_14_mode_is_exact_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        Disk::new().replace(&path, b"", Access { mode: 0o666, owner: None }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
        let inner = folder.path().join("inner");
        Disk::new().create_folder(&inner, 0o777).unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o7777, 0o777);
    }

    #[test]
    fn removing_is_idempotent_and_keeps_full_folders() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        disk.remove(&folder.path().join("nothing")).unwrap();
        let inner = folder.path().join("inner");
        disk.create_folder(&inner, 0o755).unwrap();
        fs::write(inner.join("x"), "").unwrap();
        disk.remove_empty_folder(&inner).unwrap();
        assert!(inner.is_dir());
        disk.remove(&inner.join("x")).unwrap();
        disk.remove_empty_folder(&inner).unwrap();
        disk.remove_empty_folder(&inner).unwrap();
        assert!(!inner.exists());
    }
}
