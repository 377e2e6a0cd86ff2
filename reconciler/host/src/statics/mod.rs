//! Built frontends: each release in a folder of its own, and a link that one rename moves from one to the next.
//!
//! # Flow
//! A release is unpacked beside the one that serves (`release`), with hard links to what only the one that serves has: pages that are
//! open still ask for it. Then the link is switched (`link`). Looking (`live`) holds what is there against the list that was written
//! when it was unpacked (`manifest`).

mod layout;
mod link;
mod live;
mod manifest;
mod release;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

pub use layout::Layout;
pub(crate) use link::{Stood, prune, put_back, stands, switch, switched};
pub use live::look;
pub(crate) use release::{Unpacking, discard, is_there, unpack};

/// Returns a failure of the file system as text.
fn said(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
