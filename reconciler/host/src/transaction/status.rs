//! Tells where the transactions of a host stand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_protocol::{JournalEntry, JournalEvent, Outcome, Phase, TransactionId, TransactionStatus};

use super::folder::Folder;
use super::host::Host;
use super::run;
use crate::journal;

/// The most ended transactions that are told, the newest by name.
const ENDED: usize = 20;

/// How transactions ended, as far as their journals were read: an ended one never changes, so that the next look reads only others.
#[derive(Debug, Clone, Default)]
pub struct Ended(Arc<Mutex<BTreeMap<TransactionId, (u64, TransactionStatus)>>>);

/// Returns the transactions that were begun and are not over, and the last few that are.
pub fn statuses(host: &Host) -> Vec<TransactionStatus> {
    let folders = Folder::all(&host.root).unwrap_or_default();
    let mut known = host.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|id, _| folders.iter().any(|folder| folder.id() == id));
    let mut open = Vec::new();
    for folder in folders.iter().filter(|folder| !known.contains_key(folder.id())).collect::<Vec<_>>() {
        if folder.begun().is_none() {
            continue;
        }
        let Ok(spec) = folder.load() else { continue };
        let entries = journal::read(&folder.journal()).unwrap_or_default();
        let outcome = run::outcome(&entries);
        let status = TransactionStatus {
            id: folder.id().clone(),
            app: spec.app,
            release: spec.release,
            fence: spec.fence,
            phase: if outcome.is_some() { Phase::Ended } else { phase(&entries) },
            outcome,
            running: outcome.is_none() && is_running(folder),
            manager: folder.follower(),
            since_ms: entries.first().map_or(0, |entry| entry.at_ms),
            followed: outcome.is_none() && folder.is_followed(),
            confirms: outcome.is_none() && spec.confirm_within_ms.is_some() && !folder.is_confirmed(),
            commit: spec.commit,
        };
        if outcome.is_some() {
            known.insert(folder.id().clone(), (entries.last().map_or(0, |entry| entry.at_ms), status));
        } else {
            open.push(status);
        }
    }
    let mut ended: Vec<(u64, TransactionStatus)> = known.values().cloned().collect();
    ended.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.id.cmp(&a.1.id)));
    open.extend(ended.into_iter().take(ENDED).map(|(_, status)| status));
    open
}

/// Returns how a transaction ended; `None` while it has not, or its journal cannot be read.
pub(super) fn outcome(folder: &Folder) -> Option<Outcome> {
    run::outcome(&journal::read(&folder.journal()).unwrap_or_default())
}

/// Returns the phase a journal is in.
pub(super) fn phase(entries: &[JournalEntry]) -> Phase {
    let last = entries.iter().rev().find_map(|entry| match entry.event {
        JournalEvent::Entered { phase } => Some(phase),
        JournalEvent::Ended { .. } => Some(Phase::Ended),
        _ => None,
    });
    last.unwrap_or(Phase::Prepare)
}

/// Returns whether a runner is alive.
pub(super) fn is_running(folder: &Folder) -> bool {
    // Taken and let go at once; a runner that starts in this very moment is told that one is alive and is started again.
    matches!(folder.lock_runner(), Ok(None))
}
