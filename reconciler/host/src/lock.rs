//! Locks that the kernel lets go when their holder dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A held lock; dropping it, or dying, lets it go.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing the file is not enough: a child that another thread is just starting has a copy of it until it becomes another program,
    /// and would hold the lock until then.
    ///
    /// # Source
    /// flock(2): the lock is let go by an unlock on any of the copies, or when all of them are closed.
    fn drop(&mut self) {
        while let Err(rustix::io::Errno::INTR) = flock(&self.file, FlockOperation::Unlock) {}
    }
}

impl Lock {
    /// Takes the lock on a file, creating it, and waits while somebody holds it.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn take(path: &Path) -> io::Result<Self> {
        Self::waited(path, FlockOperation::LockExclusive)
    }

    /// Takes a share of the lock: others may share it, and nobody may take it alone meanwhile.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn share(path: &Path) -> io::Result<Self> {
        Self::waited(path, FlockOperation::LockShared)
    }

    fn waited(path: &Path, operation: FlockOperation) -> io::Result<Self> {
        let file = open(path)?;
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Self { file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the lock when nobody holds it; `None` when somebody does.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_file_in_a_child_that_just_starts_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let copy = held.file.try_clone().unwrap();
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
        drop(copy);
    }

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
        let (one, two) = (Lock::share(&path).unwrap(), Lock::share(&path).unwrap());
        drop(one);
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(two);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
