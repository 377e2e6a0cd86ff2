//! Hears of changes of files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// The name that stands for every file of a folder.
pub(super) const ANY: &str = "*";

/// Watches the folders of files, for a file that is replaced is another file.
#[derive(Debug)]
pub(super) struct FileWatch {
    inotify: OwnedFd,
    paths: BTreeSet<String>,
    /// Each watch's folder, and what is waited for in it: the name in the folder, and the paths that name leads to.
    watches: BTreeMap<i32, Folder>,
}

#[derive(Debug, Default)]
struct Folder {
    path: PathBuf,
    names: BTreeMap<Vec<u8>, BTreeSet<String>>,
}

impl FileWatch {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, paths: BTreeSet::new(), watches: BTreeMap::new() })
    }

    /// Watches these files and no others. Where a path ends in [`ANY`], every file of that folder is meant, and told by that path.
    pub(super) fn watch(&mut self, paths: BTreeSet<String>) {
        self.paths = paths;
        self.arm();
    }

    /// Returns the files that changed; to be called when the descriptor is readable.
    pub(super) fn read(&mut self) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let mut arm = false;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                changed.clone_from(&self.paths);
                arm = true;
                continue;
            }
            let Some(folder) = self.watches.get(&event.wd()) else { continue };
            if event
                .events()
                .intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT)
            {
                changed.extend(folder.names.values().flatten().cloned());
                arm = true;
            } else if let Some(name) = event.file_name() {
                let named = [name.to_bytes(), ANY.as_bytes()].map(|name| folder.names.get(name));
                for path in named.into_iter().flatten().flatten() {
                    // A folder on the way to a file came: the watch must move down.
                    arm |= Path::new(path).parent() != Some(&folder.path);
                    changed.insert(path.clone());
                }
            }
        }
        if arm {
            self.arm();
        }
        changed
    }

    /// Watches the nearest folder that exists of each file, and forgets the other folders.
    fn arm(&mut self) {
        let mut watches: BTreeMap<i32, Folder> = BTreeMap::new();
        for path in &self.paths {
            let Some((watch, folder, name)) = self.nearest(Path::new(path)) else { continue };
            let entry = watches.entry(watch).or_default();
            entry.path = folder;
            entry.names.entry(name).or_default().insert(path.clone());
        }
        for old in self.watches.keys().filter(|old| !watches.contains_key(old)) {
            // The kernel has removed that of a deleted folder itself.
            let _ = inotify::remove_watch(&self.inotify, *old);
        }
        self.watches = watches;
    }

    fn nearest(&self, path: &Path) -> Option<(i32, PathBuf, Vec<u8>)> {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut found = None;
        // From the root down, so that a folder that appears meanwhile is either found here or told by the watch above it.
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for pair in above.windows(2) {
            let [folder, below] = pair else { continue };
            if !folder.is_dir() {
                break;
            }
            found = Some((*folder, below.file_name()?.as_encoded_bytes().to_vec()));
        }
        // Only the lowest one is watched; one that vanished meanwhile leaves the one above it.
        loop {
            let (folder, name) = found?;
            match inotify::add_watch(&self.inotify, folder, flags) {
                Ok(watch) => {
                    let lower = folder.join(std::str::from_utf8(&name).unwrap_or_default());
                    if lower != path && lower.is_dir() {
                        let rest = path.strip_prefix(&lower).ok()?.components().next()?;
                        let below = above.iter().find(|folder| **folder == lower)?;
                        found = Some((below, rest.as_os_str().as_encoded_bytes().to_vec()));
                        continue;
                    }
                    return Some((watch, folder.to_owned(), name));
                }
                Err(_) => {
                    found = Some((folder.parent()?, folder.file_name()?.as_encoded_bytes().to_vec()));
                }
            }
        }
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
