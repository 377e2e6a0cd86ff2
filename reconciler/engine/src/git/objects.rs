//! Access to one repository's objects and references, without its configuration or hooks.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use holdfast_core::id::CommitId;

/// Returns the git directory of a repository on this machine: itself when it is bare, else its `.git`.
pub(super) fn git_dir_of(path: &Path) -> PathBuf {
    if path.join("objects").is_dir() { path.to_owned() } else { path.join(".git") }
}

/// Opens a git directory. Only objects and references are used: no hook, filter, include or working tree.
pub(super) fn open(git_dir: &Path) -> Result<Repository, git2::Error> {
    Repository::open_bare(git_dir)
}

/// Returns the object id of a commit.
pub(super) fn oid_of(commit: &CommitId) -> Result<Oid, git2::Error> {
    Oid::from_str(commit.as_str())
}

/// Returns the id of a commit as text that others know.
pub(super) fn commit_id(oid: Oid) -> CommitId {
    oid.to_string().parse().expect("BUG: an object id is 40 lower-case hexadecimal digits")
}
