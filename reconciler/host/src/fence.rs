//! The fence: a number that only rises, so that a manager that was overtaken cannot act any more.

use std::fs;
use std::io;

use holdfast_protocol::{Fault, FaultKind};

use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::Root;

/// Returns the fence of this host; 0 when it never had one.
///
/// # Errors
/// `Failed` when the file cannot be read or holds no number: nothing may begin then.
pub fn read(root: &Root) -> Result<u64, Fault> {
    let path = root.fence();
    let failed = |why: String| Fault { kind: FaultKind::Failed, message: format!("fence {}: {why}", path.display()) };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| failed("holds no number".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Raises the fence to `number`; when this returns it is durable, and every lower number is refused from now on.
///
/// # Errors
/// `Fenced` when the host has a higher one: another manager took over, stop. `Failed` on an I/O error.
pub fn raise(root: &Root, disk: &Disk, number: u64) -> Result<(), Fault> {
    let failed = |error: io::Error| Fault {
        kind: FaultKind::Failed,
        message: format!("fence {}: {error}", root.fence().display()),
    };
    let _lock = Lock::take(&root.path().join("fence.lock")).map_err(failed)?;
    let found = read(root)?;
    check(found, number)?;
    if number > found {
        let access = Access { mode: 0o600, owner: None };
        disk.replace(&root.fence(), format!("{number}\n").as_bytes(), access).map_err(failed)?;
    }
    Ok(())
}

/// Refuses a number lower than the one found.
///
/// # Errors
/// `Fenced`.
pub fn check(found: u64, number: u64) -> Result<(), Fault> {
    if number < found {
        return Err(Fault {
            kind: FaultKind::Fenced,
            message: format!("fence {number} is lower than this host's {found}: another manager has taken over"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_rises_also_through_crashes() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        assert_eq!(read(&root).unwrap(), 0);
        raise(&root, &Disk::new(), 5).unwrap();
        raise(&root, &Disk::new(), 5).unwrap();
        assert_eq!(raise(&root, &Disk::new(), 4).unwrap_err().kind, FaultKind::Fenced);
        for operations in 0..8 {
            let _ = raise(&root, &Disk::breaking_after(operations), 6 + operations as u64);
            assert!(read(&root).unwrap() >= 5);
        }
        fs::write(root.fence(), "many").unwrap();
        assert_eq!(read(&root).unwrap_err().kind, FaultKind::Failed);
    }

    #[test]
    fn racing_managers_end_at_the_highest() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        std::thread::scope(|scope| {
            for start in 1..=4 {
                let root = &root;
                scope.spawn(move || {
                    for step in 0..10 {
                        let _ = raise(root, &Disk::new(), start + 4 * step);
                    }
                });
            }
        });
        assert_eq!(read(&root).unwrap(), 40);
    }
}
