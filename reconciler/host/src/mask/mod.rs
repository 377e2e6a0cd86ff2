//! Keeps secrets out of every text that leaves this program or is journalled.
//!
//! Tools quote what they read: `nginx -t` the word it cannot place, compose the value it cannot parse, a migration whatever it
//! likes. The manager says for every blob it sends what is secret in it ([`Masks::put`]); whatever a tool said, in whatever form,
//! is covered before it is written down or sent ([`Masks::reply`], [`Masks::event`]). See `docs/adr/0011-masks.md`.

mod cover;
mod forms;
mod outlet;
mod store;

pub use cover::{COVER, Mask};
pub use store::Masks;
pub(crate) use store::collect;
