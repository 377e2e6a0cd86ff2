//! Wakes a waiting process when a folder changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::cancel::timespec;

/// How long is waited between two looks where the kernel gives no watch.
const POLL: Duration = Duration::from_millis(50);

/// Wakes when something in a folder changes.
///
/// Only a hint: the caller looks again either way, so a lost event costs time up to the timeout and nothing else.
#[derive(Debug)]
pub struct Wake {
    /// `None` where the kernel has no watch left (`fs.inotify.max_user_instances` is 128 by default, for all of root's processes):
    /// a host that is short of them is looked at more often instead of being refused.
    inotify: Option<OwnedFd>,
}

impl Wake {
    /// Starts watching a folder; falls back to looking every 50 milliseconds.
    pub fn on(folder: &Path) -> Self {
        let watch = || {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(&inotify, folder, WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO)?;
            Ok::<_, io::Error>(inotify)
        };
        Self { inotify: watch().ok() }
    }

    /// Waits until something changed, `also` is readable, or the time is over.
    pub fn wait(&self, timeout: Duration, also: Option<BorrowedFd<'_>>) {
        let mut fds = Vec::new();
        fds.extend(self.inotify.as_ref().map(|inotify| PollFd::new(inotify, PollFlags::IN)));
        fds.extend(also.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = if self.inotify.is_some() { timeout } else { timeout.min(POLL) };
        // An interrupted poll only means another look.
        let _ = poll(&mut fds, Some(&timespec(timeout)));
        if let Some(inotify) = &self.inotify {
            let mut buffer = [0_u8; 4096];
            while rustix::io::read(inotify.as_fd(), &mut buffer).is_ok_and(|count| count == buffer.len()) {}
        }
    }
}
