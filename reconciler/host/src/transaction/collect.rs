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

/// Ended transactions that are kept for all apps together, besides the newest of each: every look at the host reads them.
const KEPT_TOGETHER: usize = 40;

/// How long the ended ones are kept, but for the newest of each app.
const KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);

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
    let mut any_open = false;
    for folder in Folder::all(&host.root)? {
        let begun = folder.begun().is_some();
        if begun && status::outcome(&folder).is_some() {
            let entries = journal::read(&folder.journal()).map_err(io::Error::other)?;
            let at = entries.last().map_or(0, |entry| entry.at_ms);
            // One that a program of another version wrote has ended all the same.
            let app = folder.load().map(|spec| spec.app).unwrap_or_default();
            ended.entry(app).or_default().push((at, folder));
        } else if let (Ok(spec), false) = (folder.load(), begun) {
            named.extend(stage::blobs(&spec));
            named.extend(stage::archives(&spec));
        } else {
            // What was there before is in the store too, under digests that only the journal's opaque states hold. And of one that
            // cannot be read nobody knows which blobs it names.
            any_open = true;
        }
    }
    for folder in too_many(ended, now) {
        folder.remove()?;
    }
    if any_open {
        return Ok(());
    }
    for entry in fs::read_dir(host.root.blobs())? {
        let entry = entry?;
        let name = entry.file_name();
        let digest: Option<Digest> = name.to_str().and_then(|name| name.parse().ok());
        // What was half sent when its channel was killed.
        let half = name.as_encoded_bytes().starts_with(b".");
        let age = entry.metadata()?.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        if age > YOUNG && (half || digest.is_some_and(|digest| !named.contains(&digest))) {
            fs::remove_file(entry.path())?;
        }
    }
    mask::collect(&host.root, now, YOUNG)
}

/// Returns the ended transactions that go: all but the last few of each app, and of those the oldest when there are too many.
fn too_many(ended: BTreeMap<String, Vec<(u64, Folder)>>, now: SystemTime) -> Vec<Folder> {
    let oldest = now.checked_sub(KEPT_FOR).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let oldest = oldest.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
    let newest_first = |folders: &mut Vec<(u64, Folder)>| {
        folders.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.id().cmp(a.1.id())));
    };
    let (mut going, mut others) = (Vec::new(), Vec::new());
    for (_, mut folders) in ended {
        newest_first(&mut folders);
        for (index, (at, folder)) in folders.into_iter().enumerate().skip(1) {
            if index >= KEPT || at < oldest { going.push(folder) } else { others.push((at, folder)) }
        }
    }
    newest_first(&mut others);
    going.extend(others.into_iter().skip(KEPT_TOGETHER).map(|(_, folder)| folder));
    going
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
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        for number in 0..KEPT + 3 {
            transaction(&bench, &format!("t{number}"), Some(began + number as u64));
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
    fn many_apps_and_old_times_are_bounded_and_the_newest_of_each_app_stays() {
        let bench = Bench::new();
        let folder = |id: String| Folder::of(&bench.host.root, &id.parse().unwrap());
        let day = |number: u64| number * 86_400_000;
        let app = |app: u64, days: &[u64]| {
            let folders = days.iter().map(|at| (day(*at), folder(format!("a{app}-t{at}"))));
            (format!("prod/a{app}"), folders.collect::<Vec<_>>())
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(day(1_000));
        let ids = |going: Vec<Folder>| going.iter().map(|folder| folder.id().to_string()).collect::<Vec<_>>();
        // Older than the age: only the newest stays.
        assert_eq!(ids(too_many([app(1, &[3, 2, 1])].into(), now)), ["a1-t2", "a1-t1"]);
        assert_eq!(ids(too_many([app(1, &[999, 998, 909])].into(), now)), ["a1-t909"]);
        // Thirty apps with three each: sixty that are not the newest of their app, and the oldest of those go.
        let all: BTreeMap<_, _> = (0..30).map(|number| app(number, &[999, 998, 997])).collect();
        let going = ids(too_many(all, now));
        assert_eq!(going.len(), 60 - KEPT_TOGETHER);
        assert!(going.iter().all(|id| id.ends_with("-t997")), "{going:?}");
    }

    #[test]
    fn one_of_another_version_goes_in_its_time_and_an_open_one_is_in_nobodys_way() {
        let bench = Bench::new();
        let root = &bench.host.root;
        for number in 0..KEPT + 3 {
            let folder = transaction(&bench, &format!("t{number}"), Some(number as u64));
            fs::write(folder.path().join("spec"), "another version").unwrap();
        }
        transaction(&bench, "open", None);
        collect(&bench.host, SystemTime::UNIX_EPOCH + Duration::from_secs(60)).unwrap();
        assert_eq!(Folder::all(root).unwrap().len(), KEPT + 1);
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
