//! Hands decisions of the manager to a runner, through durable files: the runner may be dead just now.

use std::time::Duration;

use holdfast_protocol::{Decision, Fault, JournalEvent, Outcome, Phase, TransactionId};

use super::folder::{Clock, Folder, failed, refused};
use super::host::Host;
use super::{run, status};
use crate::{fence, journal};

/// Writes a decision; when this returns it is durable, and the runner acts on it. Doing it again changes nothing.
///
/// # Errors
/// `Fenced` below the transaction's fence; `Refused` when the decision can no longer have an effect, such as going back once
/// settling.
pub fn decide(host: &Host, id: &TransactionId, fence: u64, decision: Decision) -> Result<(), Fault> {
    let folder = Folder::of(&host.root, id);
    let spec = folder.load()?;
    fence::check(spec.fence, fence)?;
    let io = |error: std::io::Error| failed(format!("decide on {id}: {error}"));
    let _lock = folder.lock_decisions().map_err(io)?;
    let entries = journal::read(&folder.journal()).map_err(|error| failed(error.to_string()))?;
    let phase = status::phase(&entries);
    let outcome = run::outcome(&entries);
    let going_back = phase == Phase::Undo
        || entries.iter().any(|entry| matches!(entry.event, JournalEvent::Decided { decision: Decision::GoBack, .. }));
    let too_late = match decision {
        Decision::GoBack => match outcome {
            Some(Outcome::Abandoned | Outcome::RolledBack) => return Ok(()),
            Some(_) => true,
            None => phase == Phase::Settle,
        },
        Decision::Promote | Decision::Settle | Decision::EndWatch => match outcome {
            Some(Outcome::Done) => return Ok(()),
            Some(_) => true,
            None => going_back || folder.has_decision(Decision::GoBack),
        },
    };
    if too_late {
        return Err(refused(format!(
            "transaction {id} is past that decision: it is in {phase:?}, outcome {outcome:?}"
        )));
    }
    if !folder.has_decision(decision) {
        folder.write_decision(&host.disk, decision).map_err(io)?;
    }
    Ok(())
}

/// Confirms a transaction with a dead man's switch, over a channel opened at `opened` since boot.
///
/// # Errors
/// `Refused` when it has none, has not promoted yet, or the channel was opened before it did: connect anew.
pub fn confirm(host: &Host, id: &TransactionId, opened: Duration) -> Result<(), Fault> {
    let folder = Folder::of(&host.root, id);
    let spec = folder.load()?;
    if spec.confirm_within_ms.is_none() {
        return Err(refused(format!("transaction {id} asks for no confirmation")));
    }
    let io = |error: std::io::Error| failed(format!("confirm {id}: {error}"));
    let _lock = folder.lock_decisions().map_err(io)?;
    let entries = journal::read(&folder.journal()).map_err(|error| failed(error.to_string()))?;
    if folder.is_confirmed() {
        return Ok(());
    }
    if !matches!(status::phase(&entries), Phase::Watch | Phase::Settled) {
        return Err(refused(format!("transaction {id} waits for no confirmation now")));
    }
    let Some(promoted) = folder.clock_at(host, Clock::Promoted) else {
        return Err(refused(format!("transaction {id} waits for no confirmation yet: try again")));
    };
    if opened < promoted {
        return Err(refused(format!("this channel was opened before {id} promoted and proves nothing: connect anew")));
    }
    folder.write_confirmed(&host.disk).map_err(io)
}
