//! Git: where the repository is, which commit an environment follows, and what that commit holds.
//!
//! # Flow
//! `Location` (parsed) → fetch into a bare mirror by the `git` program, or a local repository in place → a branch or tag to a
//! commit → its tree, read from the object database into a `SourceTree`. Nothing is ever checked out, no hook ever runs.

mod fetch;
mod location;
mod objects;
mod repository;
mod revision;
mod signature;
mod token;
mod tree;
mod words;

pub use fetch::{FetchError, FetchOptions};
pub use location::{InvalidLocation, Location};
pub use repository::{CommitInfo, GitRepository};
pub use revision::{RevisionError, Track};
pub use signature::{SignatureError, Signers};
pub use token::{TOKEN_FILE, TOKEN_QUESTION, Token, TokenError, answer};
pub use tree::ReadError;
