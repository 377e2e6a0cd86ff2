//! Values to output: one file per form.

mod diagnostics;
mod progress;

pub use diagnostics::{DIAGNOSTICS_VERSION, DiagnosticStyle, diagnostics_json, diagnostics_text};
pub use progress::{ProgressLine, Tone, harmless, progress_line, took};

mod status;

pub use status::status_text;
