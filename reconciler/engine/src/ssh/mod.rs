//! Hosts over the system's OpenSSH.
//!
//! One master process for each host, started with our own options over the user's configuration, and one session on it that runs
//! the host program. Frames of [`holdfast_protocol`] travel over that session's standard streams.
//!
//! # Flow
//! `HostSpec` → pinned key → `ssh -M` → one constant remote command that checks the program's SHA-256 and runs it (delivered first
//! when it is not there) → `Hello` → [`ChannelLink`]. Decisions: `docs/adr/0010-host-program-delivery.md`.

mod backoff;
mod control;
mod dial;
mod failure;
mod frame;
mod link;
mod look;
mod master;
mod pending;
mod pin;
mod program;
mod remote;
mod session;
mod tail;

pub use backoff::{Backoff, FailureKind};
pub use control::{ControlError, ControlFolder};
pub use dial::{SshDialer, SshOptions};
pub use link::{ChannelLink, GreetError, Greeting, Streams, greet};
pub use look::LoginLook;
pub use pin::{InvalidHostKey, PinnedKey};
pub use program::{HostProgram, HostPrograms, ProgramError};
pub use tail::Tail;
