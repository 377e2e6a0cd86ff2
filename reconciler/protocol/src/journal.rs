use serde::{Deserialize, Serialize};

/// Who decided, in [`JournalEvent::Decided`], when a host goes back since nobody confirmed a change that can cut the manager off.
pub const UNCONFIRMED: &str = "unconfirmed";

/// What a reason begins with when neither release can be started: the schema could not be brought back to what the one before knows.
pub const UNSERVED: &str = "nobody is served";

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Steps before the *ready* gate.
    Prepare,
    /// At the *ready* gate.
    Ready,
    /// Steps at and after the commit point.
    Promote,
    /// In the watch window.
    Watch,
    /// At the *settled* gate, or waiting for the dead man's confirmation.
    Settled,
    /// Cleaning up; only forward.
    Settle,
    /// Undoing.
    Undo,
    /// Over; see the outcome.
    Ended,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new state is in place and recorded.
    Done,
    /// Undone before the commit point: nothing changed for anyone.
    Abandoned,
    /// Undone after the commit point: the old state serves again.
    RolledBack,
    /// No automatic way out; the last entry says what an operator must do.
    Stuck,
}

/// One record of a host's journal, written and fsynced before the next thing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JournalEntry {
    /// Counts from 0 in each transaction.
    pub seq: u64,
    /// Milliseconds since the Unix epoch by the host's clock; for display only.
    pub at_ms: u64,
    /// What happened.
    pub event: JournalEvent,
}

/// What a journal can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JournalEvent {
    /// A new phase begins.
    Entered {
        /// Which.
        phase: Phase,
    },
    /// A step is about to be done.
    Intent {
        /// Its phase.
        phase: Phase,
        /// Its index in that phase's list.
        step: u32,
        /// Its title.
        title: String,
        /// What undo will need, written before the effect: the prior state as the step's own encoding. Never a secret.
        before: Vec<u8>,
    },
    /// A step was done, or was found done after a crash.
    Done {
        /// Its phase.
        phase: Phase,
        /// Its index.
        step: u32,
        /// Milliseconds it took.
        took_ms: u64,
        /// Something worth telling, such as probe counts; may be empty.
        note: String,
    },
    /// A step failed; in [`Phase::Undo`], its undo failed. While settling or undoing it is tried again a few times.
    Failed {
        /// Its phase.
        phase: Phase,
        /// Its index.
        step: u32,
        /// What failed, where, and what was expected; host output escaped and capped.
        error: String,
        /// Whether an operator must look, such as after a migration with an unknown outcome: the transaction goes back where it
        /// can, and then ends as [`Outcome::Stuck`].
        operator: bool,
    },
    /// A step is about to be undone.
    UndoIntent {
        /// The phase the step belongs to.
        phase: Phase,
        /// Its index.
        step: u32,
    },
    /// A step was undone.
    Undone {
        /// The phase the step belongs to.
        phase: Phase,
        /// Its index.
        step: u32,
    },
    /// A decision arrived or a deadline passed.
    Decided {
        /// What.
        decision: crate::Decision,
        /// `manager`, `deadline`, `host`, or [`UNCONFIRMED`].
        by: String,
    },
    /// Progress within a long step (health attempts, watch); for display, and not kept after a restart.
    Progress {
        /// Text for people.
        text: String,
    },
    /// The runner started again after it was cut down.
    Resumed,
    /// The transaction is over.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why, for people; empty when done.
        reason: String,
    },
}
