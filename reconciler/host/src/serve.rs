//! Answers the frames of one channel.

use std::time::Duration;

use holdfast_protocol::{
    Decision, Fault, JournalEntry, StageProblem, TransactionId, TransactionSpec, TransactionStatus,
};

use crate::cancel::Cancel;

/// What the frame loop needs of the transactions of a host.
///
/// Calls come from several threads at once, and from several processes: every channel is a process of its own.
pub trait Transactions: Sync {
    /// Validates a transaction beside the live state and stores it. Empty means it can begin.
    fn stage(&self, spec: &TransactionSpec) -> Result<Vec<StageProblem>, Fault>;

    /// Starts, or resumes, the runner of a staged transaction in a unit of its own.
    fn begin(&self, id: &TransactionId) -> Result<(), Fault>;

    /// Gives journal entries from number `from` on to `send` until the transaction has ended, or `cancel` is cancelled, or `send`
    /// returns `false`: the channel is gone.
    fn follow(
        &self,
        id: &TransactionId,
        from: u64,
        cancel: &Cancel,
        send: &mut dyn FnMut(JournalEntry) -> bool,
    ) -> Result<(), Fault>;

    /// Hands a decision of the manager on.
    fn decide(&self, id: &TransactionId, fence: u64, decision: Decision) -> Result<(), Fault>;

    /// Confirms a transaction with a dead man's switch over a channel opened at `opened` on the clock that [`since_boot`] reads.
    fn confirm(&self, id: &TransactionId, opened: Duration) -> Result<(), Fault>;

    /// Returns the transactions that are not finished, and the last few that are.
    fn statuses(&self) -> Vec<TransactionStatus>;

    /// Returns the fence: the highest number a transaction here has carried; 0 when none has.
    fn fence(&self) -> Result<u64, Fault>;
}

/// Returns the time since the machine was booted, suspended time included. Comparable between processes of one boot.
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
