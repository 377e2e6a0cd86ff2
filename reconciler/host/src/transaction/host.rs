use std::path::PathBuf;
use std::time::Duration;

use super::status::Ended;
use crate::disk::Disk;
use crate::paths::{Root, System};

/// The host as transactions see it: where everything lies, and how files are changed.
#[derive(Debug, Clone)]
pub struct Host {
    /// What Holdfast stores.
    pub root: Root,
    /// What it looks at.
    pub system: System,
    /// What is gone after a reboot, such as staged copies.
    pub run: PathBuf,
    /// How files are changed.
    pub disk: Disk,
    /// The first wait before a settle step or an undo is tried again; it doubles each time.
    pub backoff: Duration,
    /// How transactions ended, as far as was read: that never changes.
    pub ended: Ended,
}

impl Host {
    /// Returns the real host.
    pub fn real() -> Self {
        Self {
            root: Root::system(),
            system: System::real(),
            run: "/run/holdfast".into(),
            disk: Disk::new(),
            backoff: Duration::from_millis(500),
            ended: Ended::default(),
        }
    }
}
