//! JSON Schemas of what the program prints with `--json`, for whoever reads it with a program.

use serde_json::Value;

use super::documents::{
    ApproveDocument, DiffDocument, DoctorDocument, HistoryDocument, StatusDocument, UnlockDocument, ValidateDocument,
};
use super::plan_json::plan_schema;
use super::secrets::SecretsDocument;
use crate::event::SyncEvent;
use crate::report::Report;

/// A kind of output for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputKind {
    /// What `plan --json` prints.
    Plan,
    /// Each line but the last of `apply --json` and `rollback --json`, and each of a sync's events in the history.
    Event,
    /// The last line of `apply --json` and `rollback --json`.
    Report,
    /// What `status --json` prints.
    Status,
    /// What `doctor --json` prints.
    Doctor,
    /// What `diff --json` prints.
    Diff,
    /// What `validate --json` prints.
    Validate,
    /// What `history --json` prints.
    History,
    /// What `explain --json` prints: a plan with only what is explained.
    Explain,
    /// What `unlock --json` prints.
    Unlock,
    /// What `approve --json` prints.
    Approve,
    /// What `secrets list --json` prints.
    Secrets,
}

impl OutputKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Plan,
        Self::Event,
        Self::Report,
        Self::Status,
        Self::Doctor,
        Self::Diff,
        Self::Validate,
        Self::History,
        Self::Explain,
        Self::Unlock,
        Self::Approve,
        Self::Secrets,
    ];

    /// Returns the word for it, which is also the name of its schema file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Event => "event",
            Self::Report => "report",
            Self::Status => "status",
            Self::Doctor => "doctor",
            Self::Diff => "diff",
            Self::Validate => "validate",
            Self::History => "history",
            Self::Explain => "explain",
            Self::Unlock => "unlock",
            Self::Approve => "approve",
            Self::Secrets => "secrets",
        }
    }
}

/// Returns the JSON Schema (draft 2020-12) of one kind of output. Fields are only added within one `format_version`.
pub fn output_schema(kind: OutputKind) -> Value {
    match kind {
        OutputKind::Plan | OutputKind::Explain => plan_schema(),
        OutputKind::Event => schemars::schema_for!(SyncEvent).to_value(),
        OutputKind::Report => schemars::schema_for!(Report).to_value(),
        OutputKind::Status => schemars::schema_for!(StatusDocument).to_value(),
        OutputKind::Doctor => schemars::schema_for!(DoctorDocument).to_value(),
        OutputKind::Diff => schemars::schema_for!(DiffDocument).to_value(),
        OutputKind::Validate => schemars::schema_for!(ValidateDocument).to_value(),
        OutputKind::History => schemars::schema_for!(HistoryDocument).to_value(),
        OutputKind::Unlock => schemars::schema_for!(UnlockDocument).to_value(),
        OutputKind::Approve => schemars::schema_for!(ApproveDocument).to_value(),
        OutputKind::Secrets => schemars::schema_for!(SecretsDocument).to_value(),
    }
}
