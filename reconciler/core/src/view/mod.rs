//! Values to output: one file per form.

mod progress;

pub use progress::{ProgressLine, Tone, harmless, progress_line, took};
