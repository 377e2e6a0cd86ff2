use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holdfast_protocol::MOST_STATIC_FILES;
use serde::{Deserialize, Serialize};

/// Permission bits of files and folders.
pub(super) const FILE_MODE: u32 = 0o644;
pub(super) const FOLDER_MODE: u32 = 0o755;

/// The most things a folder is looked at for: a release, what is kept beside it, and as many folders.
const MOST: usize = 4 * MOST_STATIC_FILES;

/// The most differences that are told.
const TOLD: usize = 5;

/// What a file is known by without being read: bytes, and the second of its last change.
///
/// Whoever edits a file changes at least one of them. Somebody who sets the time back means to deceive, and is root.
pub(super) type Fact = (u64, u64);

/// What was put into the folder of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Its own files, by path.
    pub(super) files: BTreeMap<String, Fact>,
    /// Those of the release before that it lacks.
    pub(super) kept: BTreeMap<String, Fact>,
}

impl Manifest {
    /// Returns the list at a path; `None` when there is none, or none that can be read: what it is about is unpacked anew then.
    pub(super) fn load(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the fact of a file of either kind.
    fn fact(&self, path: &str) -> Option<&Fact> {
        self.files.get(path).or_else(|| self.kept.get(path))
    }

    /// Returns whether all of its own files are as they were put there.
    pub(super) fn is_whole(&self, seen: &BTreeMap<String, Seen>) -> bool {
        self.files.iter().all(|(path, fact)| seen.get(path) == Some(&Seen::File(*fact)))
    }

    /// Returns what is not as it was put there, the first few lines.
    pub(super) fn differences(&self, seen: &BTreeMap<String, Seen>) -> Vec<String> {
        let known = self.files.iter().chain(&self.kept);
        let gone = known.filter(|(path, _)| !seen.contains_key(*path)).map(|(path, _)| format!("{path} is gone"));
        let other = seen.iter().filter_map(|(path, found)| match (self.fact(path), found) {
            (Some(fact), Seen::File(found)) if fact == found => None,
            (Some(_), _) => Some(format!("{path} was changed")),
            (None, Seen::Folder) => Some(format!("the folder {path} has another owner or mode")),
            (None, _) => Some(format!("{path} was added")),
        });
        let mut all = gone.chain(other);
        let mut told: Vec<String> = all.by_ref().take(TOLD).collect();
        let more = all.count();
        if more > 0 {
            told.push(format!("{more} more"));
        }
        told
    }
}

/// What was found in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// A file with the owner and mode that we give.
    File(Fact),
    /// A folder with another owner or mode.
    Folder,
    /// Anything else.
    Other,
}

/// Looks at all files below a folder, and at nothing that a link leads to.
///
/// # Errors
/// Any I/O error, also that there is no such folder, and that there are more than were ever put there.
pub(super) fn walk(folder: &Path) -> io::Result<BTreeMap<String, Seen>> {
    let owner = rustix::process::geteuid().as_raw();
    let mut found = BTreeMap::new();
    let mut open = vec![String::new()];
    let mut looked = 0;
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            looked += 1;
            if looked > MOST {
                return Err(io::Error::other(format!("more than {MOST} files are in {}", folder.display())));
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let meta = entry.metadata()?;
            let plain = |mode: u32| meta.mode() & 0o7777 == mode && meta.uid() == owner;
            if meta.is_dir() {
                if !plain(FOLDER_MODE) {
                    found.insert(path.clone(), Seen::Folder);
                }
                open.push(path);
            } else if meta.is_file() && plain(FILE_MODE) {
                found.insert(path, Seen::File((meta.len(), u64::try_from(meta.mtime()).unwrap_or_default())));
            } else {
                found.insert(path, Seen::Other);
            }
        }
    }
    Ok(found)
}
