//! Throws away what nobody needs any more: old transactions, and blobs that nothing names.
//!
//! Runs after a transaction has ended, never inside one, and its failure fails nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use holdfast_protocol::{AppRecord, Digest, FileRecord, Ledger};

use super::folder::Folder;
use super::host::Host;
use super::{stage, status};
use crate::{journal, ledger, mask};

/// Ended transactions that are kept for each app.
const KEPT: usize = 10;

/// The age below which a blob stays whatever names it: it may have been sent for a transaction that is about to be staged.
const YOUNG: Duration = Duration::from_secs(6 * 3600);

/// Throws away old transactions and blobs.
///
/// # Errors
/// Any I/O error, or a ledger that cannot be read: then nothing is thrown away.
pub fn collect(host: &Host, now: SystemTime) -> io::Result<()> {
    let _lock = stage::lock(host).map_err(io::Error::other)?;
    let ledger = ledger::load(&host.root).map_err(io::Error::other)?.unwrap_or_default();
    let mut ended: BTreeMap<String, Vec<(u64, Folder)>> = BTreeMap::new();
    let mut named = of_ledger(&ledger);
    for folder in Folder::all(&host.root)? {
        // One that cannot be read is kept, and so is every blob, since nobody knows which ones it names.
        let spec = folder.load().map_err(io::Error::other)?;
        if folder.begun().is_some() && status::outcome(&folder).is_some() {
            let entries = journal::read(&folder.journal()).map_err(io::Error::other)?;
            let at = entries.last().map_or(0, |entry| entry.at_ms);
            ended.entry(spec.app).or_default().push((at, folder));
        } else {
            named.extend(stage::blobs(&spec));
            // What was there before is in the store too, under digests that only the journal's opaque states hold.
            if folder.begun().is_some() {
                return Ok(());
            }
        }
    }
    for folders in ended.values_mut() {
        folders.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (_, folder) in folders.iter().skip(KEPT) {
            folder.remove()?;
        }
    }
    for entry in fs::read_dir(host.root.blobs())? {
        let entry = entry?;
        let digest: Option<Digest> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let age = entry.metadata()?.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        if age > YOUNG && digest.is_some_and(|digest| !named.contains(&digest)) {
            fs::remove_file(entry.path())?;
        }
    }
    mask::collect(&host.root, now, YOUNG)
}

/// Every blob that a rollback may need.
fn of_ledger(ledger: &Ledger) -> BTreeSet<Digest> {
    fn of_app(record: &AppRecord, into: &mut BTreeSet<Digest>) {
        for component in record.components.values() {
            let slots = component.slots.values().flat_map(|slot| slot.files.values());
            let files: Vec<&FileRecord> = component.files.values().chain(slots).collect();
            into.extend(files.iter().map(|file| file.digest));
        }
        if let Some(previous) = &record.previous {
            of_app(previous, into);
        }
    }
    let mut named = BTreeSet::new();
    for record in ledger.apps.values() {
        of_app(record, &mut named);
    }
    named
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{ComponentRecord, JournalEvent, Outcome, Phase};

    use super::*;
    use crate::blob;
    use crate::disk::Disk;
    use crate::journal::Journal;
    use crate::transaction::step::testing::{Bench, spec};

    fn transaction(bench: &Bench, id: &str, ended_at: Option<u64>) -> Folder {
        let folder = Folder::of(&bench.host.root, &id.parse().unwrap());
        folder.store(&Disk::new(), &spec(id)).unwrap();
        folder.mark_begun(&Disk::new(), "/bin/true".as_ref()).unwrap();
        let mut journal = Journal::open(&folder.journal()).unwrap();
        journal.append(1, JournalEvent::Entered { phase: Phase::Prepare }).unwrap();
        if let Some(at) = ended_at {
            journal.append(at, JournalEvent::Ended { outcome: Outcome::Done, reason: String::new() }).unwrap();
        }
        folder
    }

    fn later() -> SystemTime {
        SystemTime::now() + 2 * YOUNG
    }

    #[test]
    fn the_last_few_stay_and_a_ledgers_blobs_too() {
        let bench = Bench::new();
        let root = &bench.host.root;
        for number in 0..KEPT + 3 {
            transaction(&bench, &format!("t{number}"), Some(number as u64));
        }
        let (kept, previous, loose) = (
            blob::store(root, b"kept").unwrap(),
            blob::store(root, b"previous").unwrap(),
            blob::store(root, b"loose").unwrap(),
        );
        let record = |digest| {
            let file =
                FileRecord { digest, sealed: digest, mode: 0o644, owner: "root".to_owned(), group: "root".to_owned() };
            let component =
                ComponentRecord { files: BTreeMap::from([("/x".to_owned(), file)]), ..ComponentRecord::default() };
            AppRecord {
                release: "v".to_owned(),
                commit: "c".to_owned(),
                transaction: "t".to_owned(),
                components: BTreeMap::from([("web".to_owned(), component)]),
                previous: None,
            }
        };
        ledger::update(root, &Disk::new(), |ledger| {
            let record = AppRecord { previous: Some(Box::new(record(previous))), ..record(kept) };
            ledger.apps.insert("prod/shop".to_owned(), record);
        })
        .unwrap();
        collect(&bench.host, SystemTime::now()).unwrap();
        assert!(root.blob(&loose).is_file(), "a young blob stays");
        collect(&bench.host, later()).unwrap();
        let ids: Vec<String> = Folder::all(root).unwrap().iter().map(|folder| folder.id().to_string()).collect();
        assert_eq!(ids.len(), KEPT);
        assert!(!ids.contains(&"t0".to_owned()) && ids.contains(&"t3".to_owned()), "{ids:?}");
        assert!(root.blob(&kept).is_file() && root.blob(&previous).is_file());
        assert!(!root.blob(&loose).is_file());
    }

    #[test]
    fn nothing_goes_while_a_transaction_may_need_it() {
        let bench = Bench::new();
        let root = &bench.host.root;
        transaction(&bench, "open", None);
        let prior = blob::store(root, b"the prior content of a file").unwrap();
        collect(&bench.host, later()).unwrap();
        assert!(root.blob(&prior).is_file());
        fs::write(root.ledger(), "{").unwrap();
        assert!(collect(&bench.host, later()).is_err());
        assert!(root.blob(&prior).is_file());
    }
}
