//! Asks the Docker engine over its socket.
//!
//! # Flow
//! [`Engine`] keeps one connection and turns its answers into the words of the live report; [`Events`] is a second connection on
//! which the engine tells of every change. [`Made`] knows which containers are still the ones we made.

mod connection;
mod detail;
mod engine;
mod events;
pub(crate) mod made;

pub use connection::DockerError;
pub use detail::{ContainerDetail, Limits};
pub use engine::Engine;
pub use events::Events;
pub use made::Made;
