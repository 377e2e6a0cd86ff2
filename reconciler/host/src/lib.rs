//! The program that runs on a host: it observes, stages, and carries transactions out. No shell, no configuration of its own.
//!
//! # Flow
//! [`serve::serve`] takes framed requests from standard input and gives framed replies on standard output. Looking is in
//! [`observe`], over kept connections to [`systemd`] and [`docker`]. Everything written lies under one [`paths::Root`].

pub mod accounts;
pub mod backup;
pub mod blob;
pub mod cancel;
pub mod certificate;
pub mod databases;
pub mod digest;
pub mod disk;
pub mod docker;
pub mod exec;
pub mod fence;
pub mod hello;
pub mod journal;
pub mod ledger;
pub mod lock;
pub mod mask;
mod netlink;
pub mod nftables;
mod nginx;
pub mod observe;
pub mod paths;
mod redis_cli;
pub mod serve;
pub mod statics;
pub mod systemd;
pub mod transaction;
pub mod watch;
