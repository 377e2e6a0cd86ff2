//! What hosts say from outside: their journals, read from their disks, and the release their nginx answers with.

use std::io;

use holdfast_host::journal;
use holdfast_host::paths::Root;
use holdfast_host::transaction::folder::Folder;
use holdfast_protocol::{JournalEvent, Outcome};
use holdfast_testkit::lab::LabHost;
use holdfast_testkit::load::release_at;
use holdfast_testkit::quick;

/// Returns all transactions that a host knows.
pub(crate) fn transactions(host: &LabHost) -> Vec<Folder> {
    Folder::all(&Root::new(host.root.join("var/lib/holdfast"))).unwrap_or_default()
}

/// Returns the journal of a transaction so far.
pub(crate) fn events(folder: &Folder) -> Vec<JournalEvent> {
    let entries = journal::read(&folder.journal()).unwrap_or_default();
    entries.into_iter().map(|entry| entry.event).collect()
}

/// Returns how a transaction ended.
pub(crate) fn outcome(folder: &Folder) -> Option<Outcome> {
    events(folder).into_iter().find_map(|event| match event {
        JournalEvent::Ended { outcome, .. } => Some(outcome),
        _ => None,
    })
}

/// Returns whether every transaction of a host has ended.
pub(crate) fn all_ended(host: &LabHost) -> bool {
    transactions(host).iter().all(|folder| outcome(folder).is_some())
}

/// Returns the release of the quick app that answers through a host's nginx.
///
/// # Errors
/// As any client would see it.
pub(crate) fn release(host: &LabHost) -> io::Result<String> {
    let target = format!("{}:{}", host.address, quick::PORT).parse().expect("an address");
    release_at(target, quick::HOST, "/health")
}
