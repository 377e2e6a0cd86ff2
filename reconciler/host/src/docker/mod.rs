//! Asks the Docker engine over its socket.
//!
//! # Flow
//! [`Engine`] keeps one connection and turns its answers into the words of the live report; [`Events`] is a second connection on
//! which the engine tells of every change.

mod connection;
mod engine;
mod events;

pub use connection::DockerError;
pub use engine::Engine;
pub use events::Events;
