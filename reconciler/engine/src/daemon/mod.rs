//! The daemon: what happens becomes an event, one place decides, the decision is carried out.
//!
//! # Flow
//! Sources (references on disk, polling, signals, timers, host hints, the control socket) → [`DaemonEvent`] →
//! [`Dispatcher::handle_event`], which is synchronous and touches nothing → [`Response`]s → [`run()`], which carries them out and feeds
//! what comes of it back as events.
//!
//! The daemon decides *when* a sync runs. How one runs is [`Syncer`]'s, where the repository is [`Repository`]'s.

mod carry;
mod control;
mod dispatch;
mod environment;
mod event;
mod fetching;
mod followers;
mod hook;
mod run;
mod socket;
mod sources;
mod watch;

pub use control::{
    Approved, ControlReply, ControlRequest, DriftWord, EnvironmentStatus, InvalidRefUpdate, RefUpdate, RunningStatus,
    SyncEnd, Trouble,
};
pub use dispatch::{Dispatcher, Settings};
pub use event::{
    Checked, DaemonEvent, Job, JobKind, Known, Look, LookError, Looks, Ran, Response, StoreChange, Token, Watched,
};
pub use hook::{HookError, install as install_hook, post_receive};
pub use run::{DaemonConfig, DaemonError, Parts, Repository, Syncer, Voice, run};
pub use socket::{ControlClient, ControlError};
