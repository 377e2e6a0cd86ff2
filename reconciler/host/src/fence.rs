//! The fence: for each app a number that only rises, so that a manager that was overtaken cannot act any more.
//!
//! # Format
//! The first line holds the highest number this host has seen. Each further line is an app, its number, and the transaction that
//! holds it, with a space between.
//!
//! # Guarantees
//! Two transactions of one app never hold the same number on a host, even if two managers that know nothing of each other chose it
//! at the same time: the first to claim it has it, and the other is told to look again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;

use holdfast_protocol::{Fault, FaultKind, TransactionId};

use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::Root;

#[derive(Debug, Default)]
struct Fences {
    highest: u64,
    apps: BTreeMap<String, (u64, String)>,
}

impl Fences {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let highest = lines.next()?.trim().parse().ok()?;
        let app = |line: &str| {
            let mut words = line.split(' ');
            let (app, number, holder) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            Some((app.to_owned(), (number, holder.to_owned())))
        };
        Some(Self { highest, apps: lines.map(app).collect::<Option<_>>()? })
    }

    /// Returns whether the transaction holds the number already.
    fn admits(&self, app: &str, number: u64, holder: &TransactionId) -> Result<bool, Fault> {
        let Some((found, by)) = self.apps.get(app) else { return Ok(false) };
        check(*found, number)?;
        match *found == number {
            true if by == holder.as_str() => Ok(true),
            true => Err(taken(number, by)),
            false => Ok(false),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.highest);
        for (app, (number, holder)) in &self.apps {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{app} {number} {holder}");
        }
        text
    }
}

fn load(root: &Root) -> Result<Fences, Fault> {
    let path = root.fence();
    let failed = |why: String| Fault { kind: FaultKind::Failed, message: format!("fence {}: {why}", path.display()) };
    match fs::read_to_string(&path) {
        Ok(text) => Fences::parse(&text).ok_or_else(|| failed("holds no number".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Fences::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Returns the highest number this host has seen; 0 when it never saw one.
///
/// # Errors
/// `Failed` when the file cannot be read or holds no number: nothing may begin then.
pub fn read(root: &Root) -> Result<u64, Fault> {
    Ok(load(root)?.highest)
}

/// Claims a number of an app for a transaction; when this returns it is durable, and every lower number is refused from now on, and
/// the same one to every other transaction.
///
/// # Errors
/// `Fenced` when the app has a higher one, or another transaction holds this one: another manager took over, look again. `Failed` on
/// an I/O error.
pub fn claim(root: &Root, disk: &Disk, app: &str, number: u64, holder: &TransactionId) -> Result<(), Fault> {
    let failed = |error: io::Error| Fault {
        kind: FaultKind::Failed,
        message: format!("fence {}: {error}", root.fence().display()),
    };
    let _lock = Lock::take(&root.path().join("fence.lock")).map_err(failed)?;
    let mut fences = load(root)?;
    if fences.admits(app, number, holder)? {
        return Ok(());
    }
    fences.highest = fences.highest.max(number);
    fences.apps.insert(app.to_owned(), (number, holder.to_string()));
    let access = Access { mode: 0o600, owner: None };
    disk.replace(&root.fence(), fences.text().as_bytes(), access).map_err(failed)
}

/// Asks the same and claims nothing.
///
/// # Errors
/// As [`claim`].
pub fn may_claim(root: &Root, app: &str, number: u64, holder: &TransactionId) -> Result<(), Fault> {
    load(root)?.admits(app, number, holder).map(drop)
}

fn taken(number: u64, by: &str) -> Fault {
    let message = format!("fence {number} was claimed by transaction {by}: another manager was faster");
    Fault { kind: FaultKind::Fenced, message }
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

    const APP: &str = "prod/shop";

    fn id(name: &str) -> TransactionId {
        name.parse().unwrap()
    }

    #[test]
    fn it_only_rises_also_through_crashes() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        assert_eq!(read(&root).unwrap(), 0);
        claim(&root, &Disk::new(), APP, 5, &id("a")).unwrap();
        claim(&root, &Disk::new(), APP, 5, &id("a")).unwrap();
        assert_eq!(claim(&root, &Disk::new(), APP, 4, &id("a")).unwrap_err().kind, FaultKind::Fenced);
        for operations in 0..8 {
            let _ = claim(&root, &Disk::breaking_after(operations), APP, 6 + operations as u64, &id("b"));
            assert!(read(&root).unwrap() >= 5);
        }
        fs::write(root.fence(), "many").unwrap();
        assert_eq!(read(&root).unwrap_err().kind, FaultKind::Failed);
    }

    #[test]
    fn one_number_has_one_holder_and_apps_do_not_fence_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        claim(&root, &Disk::new(), APP, 5, &id("a")).unwrap();
        let fault = claim(&root, &Disk::new(), APP, 5, &id("b")).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Fenced);
        assert!(fault.message.contains("claimed by transaction a"), "{fault}");
        claim(&root, &Disk::new(), "stage/shop", 3, &id("c")).unwrap();
        claim(&root, &Disk::new(), APP, 6, &id("b")).unwrap();
        assert_eq!(claim(&root, &Disk::new(), APP, 5, &id("a")).unwrap_err().kind, FaultKind::Fenced);
        assert_eq!(read(&root).unwrap(), 6);
        assert_eq!(fs::read_to_string(root.fence()).unwrap(), "6\nprod/shop 6 b\nstage/shop 3 c\n");
    }

    #[test]
    fn a_number_written_by_an_older_program_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        fs::write(root.fence(), "41\n").unwrap();
        assert_eq!(read(&root).unwrap(), 41);
    }

    #[test]
    fn racing_managers_never_share_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        let won = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for manager in ["a", "b", "c", "d"] {
                let (root, won) = (&root, &won);
                scope.spawn(move || {
                    for number in 1..=20 {
                        if claim(root, &Disk::new(), APP, number, &id(manager)).is_ok() {
                            won.lock().unwrap().push(number);
                        }
                    }
                });
            }
        });
        let mut won = won.into_inner().unwrap();
        won.sort_unstable();
        let all = won.len();
        won.dedup();
        assert_eq!(won.len(), all, "a number was given twice: {won:?}");
        assert_eq!(read(&root).unwrap(), 20);
    }
}
