//! Ports and adapters: git, ssh, store, secrets, observe, apply, sync, daemon.
//!
//! `observe`, `apply`, `sync` and `offsite` know the traits of [`ports`] only; `reconciler/cli/wire.rs` is where adapters meet them.

pub mod apply;
pub mod archives;
pub mod clock;
pub mod daemon;
pub mod gate;
pub mod git;
pub mod links;
pub mod local;
pub mod manager;
pub mod notify;
pub mod observe;
pub mod offsite;
pub mod ports;
pub mod rollback;
pub mod scrape;
pub mod secrets;
pub mod ssh;
pub mod store;
pub mod sync;
