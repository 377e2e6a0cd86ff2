//! Templates and values to files, with quoting that knows where each value lands.
//!
//! # Flow
//! A template is rendered with every printed value as a token. The text is then read with the grammar of its destination, which
//! puts each value in place with that grammar's own quoting, or refuses it. Secrets stay named: their values are put in by
//! [`Content::reveal`], on the manager, just before the file travels.

mod compose;
mod content;
pub mod corpus;
mod encoding;
mod engine;
mod envfile;
mod filters;
mod findings;
mod hole;
mod nginx;
mod place;
mod plain;
mod reveal;
mod scan;
mod scope;
mod session;
mod systemd;
mod token;
mod writer;

pub use compose::DIGEST_LABEL;
pub(crate) use compose::{ComposeContext, ComposeService, Logging, Stated, bytes};
pub use content::{Content, Part, Provenance};
pub use encoding::{Encoding, Unwritable};
pub(crate) use engine::Engine;
pub(crate) use nginx::{Edge, Preview, Upstream};
pub use reveal::{RevealError, Revealed};
pub(crate) use scope::Scope;

#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod quoting_tests;
