//! A commit's tree to a `SourceTree`, straight from the object database.
//!
//! # Guarantees
//! Nothing is written to disk. Bounded in files, bytes, depth and entries, also for trees that contain themselves many times over.
//! What is refused is named with its path; what Holdfast does not read (other folders, other files) is not looked at.
//!
//! # Source
//! The tree format of git 2.47: `<octal mode> <name>\0<20-byte id>`, repeated. Read here byte by byte, since readers in libraries
//! accept names that no honest git writes.

use std::collections::BTreeSet;
use std::path::Path;

use git2::{ObjectType, Odb, Oid};
use holdfast_core::config::limits::{MAX_FILE_BYTES, MAX_FILES, MAX_PATH_BYTES, MAX_TREE_BYTES, MAX_TREE_DEPTH};
use holdfast_core::config::{SourceTree, TreeProblem};
use holdfast_core::id::CommitId;

use super::objects;

/// Entries of all trees together that are looked at, files or not. A tree of 3 KiB can stand for billions.
const MAX_ENTRIES: usize = 200_000;

/// Bytes of one tree object: 20,000 files with long names.
const MAX_TREE_OBJECT: usize = 4 << 20;

/// Problems that are kept.
const MAX_PROBLEMS: usize = 200;

/// Bytes of an object id.
const ID_BYTES: usize = 20;

/// Why a commit could not be read at all. What is wrong with single entries is in [`SourceTree::problems`] instead.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The repository has no such commit, or it is damaged.
    #[error("commit {commit} cannot be read: {reason}; fetch again, or check the repository with `git fsck`")]
    Git {
        /// The commit.
        commit: CommitId,
        /// What git says.
        reason: String,
    },
    /// The work was cancelled.
    #[error("reading commit {commit} was interrupted; try again")]
    Interrupted {
        /// The commit.
        commit: CommitId,
    },
}

/// One entry of a tree.
struct Entry<'t> {
    mode: u32,
    name: &'t [u8],
    id: Oid,
}

/// Returns the files of a commit that Holdfast reads.
pub(super) fn read(git_dir: &Path, commit: &CommitId) -> Result<SourceTree, ReadError> {
    let fail = |error: &git2::Error| ReadError::Git { commit: commit.clone(), reason: error.message().to_owned() };
    let repository = objects::open(git_dir).map_err(|error| fail(&error))?;
    let root = objects::oid_of(commit)
        .and_then(|oid| repository.find_commit(oid))
        .map(|commit| commit.tree_id())
        .map_err(|error| fail(&error))?;
    let odb = repository.odb().map_err(|error| fail(&error))?;
    let mut walk = Walk { odb: &odb, tree: SourceTree::default(), entries: 0, bytes: 0, open: Vec::new() };
    walk.root(root);
    while let Some((path, id, depth)) = walk.open.pop() {
        walk.folder(&path, id, depth);
    }
    Ok(walk.tree)
}

struct Walk<'o> {
    odb: &'o Odb<'o>,
    tree: SourceTree,
    entries: usize,
    bytes: usize,
    /// Folders still to be looked at: path, id, depth.
    open: Vec<(String, Oid, usize)>,
}

impl Walk<'_> {
    fn problem(&mut self, path: &str, code: &str, message: impl Into<String>) {
        if self.tree.problems.len() < MAX_PROBLEMS {
            let path = path.escape_debug().to_string();
            self.tree.problems.push(TreeProblem { path, code: code.to_owned(), message: message.into() });
        }
    }

    /// Ends the walk.
    fn stop(&mut self, path: &str, message: String) {
        self.open.clear();
        self.entries = usize::MAX;
        self.problem(path, "too-many", message);
    }

    /// Looks at the root, of which only a few names matter.
    fn root(&mut self, id: Oid) {
        let Some(data) = self.object(id, ObjectType::Tree, MAX_TREE_OBJECT, "") else { return };
        let Some(entries) = entries_of(&data) else {
            return self.problem("", "bad-tree", "the root tree is damaged: check the repository with `git fsck`");
        };
        let mut seen = BTreeSet::new();
        for entry in &entries {
            let wanted_file = matches!(entry.name, b"holdfast.yaml" | b"holdfast.yml");
            let wanted_folder = matches!(entry.name, b"inventory" | b"environments" | b"templates");
            if !wanted_file && !wanted_folder {
                continue;
            }
            let name = String::from_utf8_lossy(entry.name).into_owned();
            if !seen.insert(name.clone()) {
                self.problem(
                    &name,
                    "odd-name",
                    "the tree has two entries of this name: check the repository with `git fsck`",
                );
            } else if wanted_folder != is_folder(entry.mode) && is_plain(entry.mode) {
                let wanted = if wanted_folder { "folder" } else { "file" };
                self.problem(&name, "odd-name", format!("`{name}` is the name of a {wanted}"));
            } else {
                self.entry(name, entry, 1);
            }
        }
    }

    fn folder(&mut self, path: &str, id: Oid, depth: usize) {
        let Some(data) = self.object(id, ObjectType::Tree, MAX_TREE_OBJECT, path) else { return };
        let Some(entries) = entries_of(&data) else {
            return self.problem(path, "bad-tree", "this folder is damaged: check the repository with `git fsck`");
        };
        self.entries = self.entries.saturating_add(entries.len());
        if self.entries > MAX_ENTRIES {
            return self
                .stop(path, format!("more than {MAX_ENTRIES} entries: keep only desired state in these folders"));
        }
        let mut seen = BTreeSet::new();
        for entry in &entries {
            let shown = format!("{path}/{}", String::from_utf8_lossy(entry.name));
            if let Some(why) = odd(entry.name) {
                self.problem(&shown, "odd-name", format!("the name {why}: rename it"));
            } else if !seen.insert(entry.name) {
                self.problem(
                    &shown,
                    "odd-name",
                    "the tree has two entries of this name: check the repository with `git fsck`",
                );
            } else if shown.len() > MAX_PATH_BYTES {
                self.problem(&shown, "odd-name", format!("the path has more than {MAX_PATH_BYTES} bytes: shorten it"));
            } else {
                self.entry(shown, entry, depth + 1);
            }
        }
    }

    fn entry(&mut self, path: String, entry: &Entry<'_>, depth: usize) {
        match entry.mode {
            mode if is_folder(mode) && depth > MAX_TREE_DEPTH => {
                self.problem(&path, "too-deep", format!("folders are more than {MAX_TREE_DEPTH} deep: flatten them"));
            }
            mode if is_folder(mode) => self.open.push((path, entry.id, depth)),
            0o100_644 | 0o100_755 | 0o100_664 => {
                if is_read(&path) {
                    self.file(path, entry.id);
                }
            }
            0o120_000 => {
                self.problem(
                    &path,
                    "symlink",
                    "this is a symbolic link, which is never followed: put the file itself here",
                );
            }
            0o160_000 => {
                self.problem(
                    &path,
                    "submodule",
                    "this is a submodule, which is never fetched: put the files themselves here",
                );
            }
            mode => self.problem(&path, "odd-name", format!("this is no file and no folder, but has mode {mode:o}")),
        }
    }

    fn file(&mut self, path: String, id: Oid) {
        if self.tree.files.len() >= MAX_FILES {
            return self.stop(&path, format!("more than {MAX_FILES} files: keep only desired state in these folders"));
        }
        let Some(data) = self.object(id, ObjectType::Blob, MAX_FILE_BYTES, &path) else { return };
        self.bytes += data.len();
        if self.bytes > MAX_TREE_BYTES {
            return self
                .stop(&path, format!("more than {MAX_TREE_BYTES} bytes: keep only desired state in these folders"));
        }
        self.tree.files.insert(path, data);
    }

    /// Returns an object's bytes, or adds a problem. Its size is asked for before it is read.
    fn object(&mut self, id: Oid, kind: ObjectType, most: usize, path: &str) -> Option<Vec<u8>> {
        match self.odb.read_header(id) {
            Ok((_, found)) if found != kind => {
                self.problem(
                    path,
                    "bad-tree",
                    format!("this should be a {kind} and is a {found}: check the repository with `git fsck`"),
                );
                return None;
            }
            Ok((size, _)) if size > most => {
                self.problem(
                    path,
                    "too-large",
                    format!("this has {size} bytes, more than {most}: keep large content out of the repository"),
                );
                return None;
            }
            Ok(_) => {}
            Err(error) => {
                self.problem(path, "bad-tree", format!("object {id} cannot be read: {}", error.message()));
                return None;
            }
        }
        match self.odb.read(id) {
            Ok(object) => Some(object.data().to_vec()),
            Err(error) => {
                self.problem(path, "bad-tree", format!("object {id} cannot be read: {}", error.message()));
                None
            }
        }
    }
}

/// Returns the entries of a tree object; `None` when its bytes are not a tree.
fn entries_of(mut data: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !data.is_empty() {
        let space = data.iter().take(8).position(|byte| *byte == b' ')?;
        let mode = std::str::from_utf8(data.get(..space)?).ok()?;
        let mode = u32::from_str_radix(mode, 8).ok()?;
        data = data.get(space + 1..)?;
        let end = data.iter().position(|byte| *byte == 0)?;
        let (name, rest) = data.split_at_checked(end)?;
        let id = Oid::from_bytes(rest.get(1..=ID_BYTES)?).ok()?;
        entries.push(Entry { mode, name, id });
        data = rest.get(1 + ID_BYTES..)?;
    }
    Some(entries)
}

fn is_folder(mode: u32) -> bool {
    mode == 0o40_000
}

/// Returns whether an entry is a file or a folder, so that another kind keeps its own message.
fn is_plain(mode: u32) -> bool {
    is_folder(mode) || mode & 0o170_000 == 0o100_000
}

/// Returns whether a file's content matters: YAML of any spelling, so that a misnamed file can be reported, templates, and SQL.
fn is_read(path: &str) -> bool {
    [".yaml", ".yml", ".j2", ".sql"].iter().any(|end| path.ends_with(end))
}

/// Returns what is odd about a name.
fn odd(name: &[u8]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(name) else { return Some("is not UTF-8") };
    let hidden =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    match text {
        "" => Some("is empty"),
        "." | ".." => Some("leaves the folder"),
        _ if text.len() > 255 => Some("has more than 255 bytes"),
        _ if text.contains('/') => Some("has a slash"),
        _ if text.contains('\\') => Some("has a backslash"),
        _ if text.contains(char::is_control) => Some("has a control character"),
        _ if text.contains(hidden) => Some("has an invisible character"),
        // Also as file systems that ignore case or a trailing dot see it; CVE-2014-9390.
        _ if text.trim_end_matches(['.', ' ']).eq_ignore_ascii_case(".git") || text.eq_ignore_ascii_case("git~1") => {
            Some("is git's own")
        }
        _ => None,
    }
}
