//! Templates and values to files, with quoting that knows where each value lands.

mod content;

pub use content::{Content, Encoding, Part, Provenance};
