//! Changes to steps on one host, and hosts to waves: how a plan is carried out, decided without doing any of it.
//!
//! # Flow
//! [`compile()`] takes the plan's changes for one app on one host and gives a [`Draft`]; [`finish`] fills in the digests that only the
//! revealed content has. [`compile_rollback`] needs nothing but the host's ledger. [`Fleet`] decides across hosts.

mod compile;
mod fleet;
mod waves;

pub use compile::{
    CompileInput, Draft, FileKey, FleetShape, MissingContent, RollbackInput, Withheld, compile, compile_rollback,
    finish,
};
pub use fleet::{Fleet, FleetCommand, FleetEvent, FleetPolicy};
pub use waves::waves;
