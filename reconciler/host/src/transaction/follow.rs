//! Sends journal entries as they come.

use std::os::fd::AsFd;
use std::time::Duration;

use holdfast_protocol::{Fault, JournalEntry, JournalEvent, TransactionId};

use super::folder::{Folder, failed};
use super::host::Host;
use super::wake::Wake;
use crate::cancel::Cancel;
use crate::journal::Reader;

/// How often the journal is looked at although nothing woke us.
const LOOK: Duration = Duration::from_millis(500);

/// Gives a manager entries from number `from` on to `send` until the transaction has ended, `cancel` is cancelled, or `send` says that the
/// channel is gone.
///
/// # Errors
/// `Refused` when the transaction is unknown here; `Failed` when its journal cannot be read.
pub fn follow(
    host: &Host,
    manager: &str,
    id: &TransactionId,
    from: u64,
    cancel: &Cancel,
    send: &mut dyn FnMut(JournalEntry) -> bool,
) -> Result<(), Fault> {
    let folder = Folder::of(&host.root, id);
    folder.load()?;
    let _followed = folder.follow(manager).map_err(|error| failed(format!("follow {id}: {error}")))?;
    let wake = Wake::on(folder.path());
    let mut reader = Reader::new(&folder.journal());
    while !cancel.is_cancelled() {
        for entry in reader.poll().map_err(|error| failed(error.to_string()))? {
            let ended = matches!(entry.event, JournalEvent::Ended { .. });
            if entry.seq >= from && !send(entry) {
                return Ok(());
            }
            if ended {
                return Ok(());
            }
        }
        wake.wait(LOOK, Some(cancel.as_fd()));
    }
    Ok(())
}
