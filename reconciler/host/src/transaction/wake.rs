//! Wakes a waiting process when a folder changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::cancel::timespec;

/// Wakes when something in a folder changes.
///
/// Only a hint: the caller looks again either way, so a lost event costs time up to the timeout and nothing else.
#[derive(Debug)]
pub struct Wake {
    inotify: OwnedFd,
}

impl Wake {
    /// Starts watching a folder.
    ///
    /// # Errors
    /// When the kernel has no watch left, or the folder is not there.
    pub fn on(folder: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, folder, WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO)?;
        Ok(Self { inotify })
    }

    /// Waits until something changed, `also` is readable, or the time is over.
    pub fn wait(&self, timeout: Duration, also: Option<BorrowedFd<'_>>) {
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        fds.extend(also.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // An interrupted poll only means another look.
        let _ = poll(&mut fds, Some(&timespec(timeout)));
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(self.inotify.as_fd(), &mut buffer).is_ok_and(|count| count == buffer.len()) {}
    }
}
