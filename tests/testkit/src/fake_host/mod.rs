//! A fleet of hosts in memory that behave like `holdfast-host`: for simulations, and for `holdfast demo --simulated`.
//!
//! # Flow
//! [`FakeFleet`] is a [`holdfast_engine::ports::Connector`]; each [`FakeHost`] keeps a [`World`] (files, units, projects, switches,
//! ledger) and carries transactions out with the *real* step machine of `holdfast-host`, so that it cannot lie about the order of
//! things. Only the effects are played: what a rendered file says decides how its containers and units behave (see [`Behaviour`]).
//!
//! # Guarantees
//! All time is tokio's, so that a paused clock makes hours pass at once. After every effect the world checks that each switch leads to
//! something that runs; what it finds is in [`FakeHost::violations`].

mod act;
mod behaviour;
mod fault;
mod fleet;
mod host;
mod link;
mod report;
mod runner;
mod world;

pub use behaviour::Behaviour;
pub use fault::{Fault, FaultPoint};
pub use fleet::{FakeClock, FakeFleet, FakeSecrets, MemorySink};
pub use host::FakeHost;
pub use report::image_id;
pub use world::{Container, Statics, StoredFile, UnitState, World};
