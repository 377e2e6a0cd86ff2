//! What every host of one environment should be at one commit. Equal input gives an equal digest.

mod archive;
mod backups;
mod certificates;
mod clash;
mod component;
mod connections;
mod databases;
mod firewall;
mod fitness;
mod logrotate;
mod logs;
mod model;
mod path;
mod proof;
mod redis;
mod resolve;
mod statics;
mod targets;
mod traffic;
mod tuning;
mod unsealed;
mod values;

pub use archive::{ArchiveContent, DesiredArchive, Held};
pub use logrotate::LOGROTATE_FOLDER;
pub use model::*;
pub use resolve::resolve;
pub use statics::{DesiredStatic, StaticFound};

#[cfg(test)]
mod resolve_tests;
