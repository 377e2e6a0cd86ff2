//! Access to one repository's objects and references, without its configuration or hooks.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use holdfast_core::id::CommitId;

/// Returns the git directory of a repository on this machine: itself when it is bare, else its `.git`, or what that names where it is
/// a file, as in a linked work tree or a submodule.
///
/// # Source
/// gitrepository-layout(5): `.git` may be a text file of one line, `gitdir: PATH`, the path relative to the file's folder.
pub(super) fn git_dir_of(path: &Path) -> PathBuf {
    if path.join("objects").is_dir() {
        return path.to_owned();
    }
    let inside = path.join(".git");
    match std::fs::read_to_string(&inside).ok().as_deref().and_then(|text| text.strip_prefix("gitdir:")) {
        Some(named) => path.join(named.trim()),
        None => inside,
    }
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
