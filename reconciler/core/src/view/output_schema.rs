//! JSON Schemas of what the program prints with `--json`, for whoever reads it with a program.

use serde_json::Value;

use super::plan_json::plan_schema;
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
}

impl OutputKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Plan, Self::Event, Self::Report];

    /// Returns the word for it, which is also the name of its schema file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Event => "event",
            Self::Report => "report",
        }
    }
}

/// Returns the JSON Schema (draft 2020-12) of one kind of output. Fields are only added within one `format_version`.
pub fn output_schema(kind: OutputKind) -> Value {
    match kind {
        OutputKind::Plan => plan_schema(),
        OutputKind::Event => schemars::schema_for!(SyncEvent).to_value(),
        OutputKind::Report => schemars::schema_for!(Report).to_value(),
    }
}
