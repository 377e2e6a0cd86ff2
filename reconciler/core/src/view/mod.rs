//! Values to output: one file per form.

mod config_diff;
mod config_diff_views;
mod diagnostics;
mod documents;
mod escape;
mod explain;
mod exposition;
mod metrics;
mod output_schema;
mod plan_html;
mod plan_json;
mod plan_markdown;
mod plan_rows;
mod plan_text;
mod progress;
mod secrets;
mod status;
mod style;
#[cfg(test)]
mod tests;
mod words;

pub use config_diff::{CONFIG_DIFF_VERSION, ConfigChange, ConfigChangeKind, ConfigDiff, HostDiff, desired_diff};
pub use config_diff_views::{config_diff_markdown, config_diff_text};
pub use diagnostics::{DiagnosticStyle, diagnostics_text};
pub use documents::{
    ApprovalDocument, ApproveDocument, ClosedDocument, DOCUMENT_VERSION, DaemonDocument, DiffDocument, DoctorDocument,
    DoctorFinding, DoctorVerdict, EnvironmentDocument, FollowedDocument, HistoryDocument, HistorySync, LockDocument,
    NoticesDocument, ProposalDocument, QuarantineDocument, RunningDocument, StatusDocument, TroubleDocument,
    UnlockDocument, ValidateDocument,
};
pub use explain::{explain_json, explain_text};
pub use metrics::{EnvironmentMetrics, MetricsSource, ObservedMetrics, Total, metrics_text};
pub use output_schema::{OutputKind, output_schema};
pub use plan_html::plan_html;
pub use plan_json::{plan_json, plan_schema};
pub use plan_markdown::plan_markdown;
pub use plan_text::plan_text;
pub use progress::{ProgressLine, Tone, harmless, in_short, progress_line, took};
pub use secrets::{SecretDocument, SecretsDocument};
pub use status::status_text;
pub use style::Style;
