//! The pure core of Holdfast: values in, values out.
//!
//! Nothing here reads a clock, a file, the network or the environment, and nothing prints. What time it is, what a repository
//! holds and what a host said are arguments; what should happen is a result. `docs/architecture.md` has the picture and the table
//! of which module may use which.

pub mod approval;
pub mod config;
pub mod desired;
pub mod diag;
pub mod event;
pub mod id;
pub mod notice;
pub mod plan;
pub mod render;
pub mod report;
pub mod rollout;
pub mod schedule;
pub mod secret;
pub mod time;
pub mod view;
pub mod window;

pub use holdfast_protocol as protocol;
