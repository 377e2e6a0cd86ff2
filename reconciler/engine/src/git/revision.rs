//! Which commit an environment follows.

use std::cmp::Ordering;
use std::path::Path;

use git2::Repository;
use globset::GlobBuilder;
use holdfast_core::id::CommitId;

use super::objects;

/// References that a pattern is tried on.
const MAX_REFERENCES: usize = 100_000;

/// The farthest that a word may go back.
const MAX_BACK: u32 = 10_000;

/// What an environment follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Track {
    /// A branch by its short name; with `*` or `?`, the one of the highest version.
    Branch(String),
    /// A tag by its short name; with `*` or `?`, the one of the highest version. A pre-release such as `v2.0.0-rc1` counts only when
    /// the pattern has a `-`.
    Tag(String),
}

impl std::fmt::Display for Track {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
        }
    }
}

/// Why there is no commit to follow.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// No such branch or tag. Check its spelling in the manager's configuration, or push it.
    #[error("the repository has no {track}{hint}")]
    Unknown {
        /// What was looked for.
        track: String,
        /// What there is instead.
        hint: String,
    },
    /// The branch or tag moved to a commit that does not follow the one that was used last: history was rewritten.
    #[error(
        "{track} moved from {last} to {new}, which does not follow it; if the rewritten history is meant, set \
         `allow_non_fast_forward: true`, or go on from {last} with a new commit"
    )]
    Rewound {
        /// What is followed.
        track: String,
        /// The commit that was used last.
        last: CommitId,
        /// Where it is now.
        new: CommitId,
    },
    /// The repository cannot be read.
    #[error("the repository at {path} cannot be read: {reason}")]
    Git {
        /// Its git directory.
        path: String,
        /// What git says.
        reason: String,
    },
}

fn broken(git_dir: &Path, error: &git2::Error) -> RevisionError {
    RevisionError::Git { path: git_dir.display().to_string(), reason: error.message().to_owned() }
}

/// Returns the commit a branch or tag stands for, and its short name.
pub(super) fn resolve(git_dir: &Path, track: &Track) -> Result<(String, CommitId), RevisionError> {
    let repository = objects::open(git_dir).map_err(|error| broken(git_dir, &error))?;
    let (prefix, pattern) = match track {
        Track::Branch(pattern) => ("refs/heads/", pattern),
        Track::Tag(pattern) => ("refs/tags/", pattern),
    };
    let mut names = Vec::new();
    let references = repository.references_glob(&format!("{prefix}*")).map_err(|error| broken(git_dir, &error))?;
    for reference in references.take(MAX_REFERENCES) {
        let reference = reference.map_err(|error| broken(git_dir, &error))?;
        if let Some(name) = reference.name().ok().and_then(|name| name.strip_prefix(prefix)) {
            names.push(name.to_owned());
        }
    }
    let unknown = |hint| RevisionError::Unknown { track: track.to_string(), hint };
    let Some(name) = choose(pattern, &names) else {
        let hint = match holdfast_core::config::closest(pattern, names.iter().map(String::as_str)) {
            Some(close) => format!("; did you mean `{close}`?"),
            None if names.is_empty() => "; it has none at all: push one first".to_owned(),
            None => String::new(),
        };
        return Err(unknown(hint));
    };
    let commit = repository
        .find_reference(&format!("{prefix}{name}"))
        .and_then(|reference| reference.peel_to_commit())
        .map_err(|error| broken(git_dir, &error))?;
    Ok((name.to_owned(), objects::commit_id(commit.id())))
}

/// Returns the commit that a person's word means: a full or short commit id, a branch or a tag, and `~` or `~N` behind it for the
/// commits before it (first parents, as in `gitrevisions(7)`); `^` is the same as `~`.
pub(super) fn resolve_word(git_dir: &Path, word: &str) -> Result<CommitId, RevisionError> {
    let repository = objects::open(git_dir).map_err(|error| broken(git_dir, &error))?;
    let unknown = || RevisionError::Unknown {
        track: format!("commit, branch or tag `{}`", word.chars().take(80).collect::<String>().escape_debug()),
        hint: String::new(),
    };
    if word.starts_with('-') || word.contains("..") || word.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(unknown());
    }
    let base = &word[..word.find(['~', '^']).unwrap_or(word.len())];
    let back = steps_back(&word[base.len()..]).ok_or_else(unknown)?;
    let mut commit = named(&repository, base).ok_or_else(unknown)?;
    for _ in 0..back {
        commit = commit.parent(0).map_err(|_| unknown())?;
    }
    Ok(objects::commit_id(commit.id()))
}

fn named<'a>(repository: &'a Repository, word: &str) -> Option<git2::Commit<'a>> {
    if let Some(commit) = hex(word).then(|| repository.find_commit_by_prefix(word).ok()).flatten() {
        return Some(commit);
    }
    if word == "HEAD" {
        return repository.head().and_then(|head| head.peel_to_commit()).ok();
    }
    ["refs/heads/", "refs/tags/"]
        .iter()
        .find_map(|prefix| repository.find_reference(&format!("{prefix}{word}")).ok()?.peel_to_commit().ok())
}

/// Returns how many commits a suffix such as `~2`, `^` or `~~^` goes back; `None` when it is none.
fn steps_back(suffix: &str) -> Option<u32> {
    let mut back: u32 = 0;
    let mut rest = suffix;
    while let Some(next) = rest.strip_prefix(['~', '^']) {
        let digits = next.len() - next.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let tilde = rest.starts_with('~');
        let count = match &next[..digits] {
            "" => 1,
            // `^2` is the second parent: another line of history, which no environment follows.
            number if tilde => number.parse().ok().filter(|count| *count <= MAX_BACK)?,
            "1" => 1,
            _ => return None,
        };
        back = back.checked_add(count).filter(|back| *back <= MAX_BACK)?;
        rest = &next[digits..];
    }
    rest.is_empty().then_some(back)
}

fn hex(word: &str) -> bool {
    (4..=40).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns whether `new` is `old` or follows it. A commit that is no longer there is followed by nothing.
pub(super) fn follows(repository: &Repository, new: &CommitId, old: &CommitId) -> Result<bool, git2::Error> {
    if new == old {
        return Ok(true);
    }
    let (new, old) = (objects::oid_of(new)?, objects::oid_of(old)?);
    if repository.find_commit(old).is_err() {
        return Ok(false);
    }
    repository.graph_descendant_of(new, old)
}

/// Returns the newest commit up to `HEAD` that has a file.
pub(super) fn last_with(repository: &Repository, path: &str) -> Result<Option<CommitId>, git2::Error> {
    // Asked by itself: what a walk says of a branch without a commit has no code of its own.
    match repository.head() {
        Ok(_) => {}
        Err(error) if matches!(error.code(), git2::ErrorCode::UnbornBranch | git2::ErrorCode::NotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut walk = repository.revwalk()?;
    walk.push_head()?;
    walk.set_sorting(git2::Sort::TOPOLOGICAL)?;
    for oid in walk {
        let oid = oid?;
        match repository.find_commit(oid)?.tree()?.get_path(Path::new(path)) {
            Ok(_) => return Ok(Some(objects::commit_id(oid))),
            Err(error) if error.code() == git2::ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Refuses a commit that does not follow the one that was used last.
pub(super) fn check_forward(
    git_dir: &Path,
    track: &Track,
    new: &CommitId,
    last: &CommitId,
) -> Result<(), RevisionError> {
    let repository = objects::open(git_dir).map_err(|error| broken(git_dir, &error))?;
    if follows(&repository, new, last).map_err(|error| broken(git_dir, &error))? {
        return Ok(());
    }
    Err(RevisionError::Rewound { track: track.to_string(), last: last.clone(), new: new.clone() })
}

/// Returns the name that a pattern means: the exact one, or the highest version of those that fit.
fn choose<'n>(pattern: &str, names: &'n [String]) -> Option<&'n str> {
    if !pattern.contains(['*', '?']) {
        return names.iter().map(String::as_str).find(|name| *name == pattern);
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).build().ok()?.compile_matcher();
    let candidates = names.iter().map(String::as_str).filter(|name| glob.is_match(name));
    candidates
        .map(|name| (Version::of(name), name))
        .filter(|(version, _)| pattern.contains('-') || version.pre_release.is_empty())
        .max_by(|(a, a_name), (b, b_name)| a.cmp(b).then_with(|| a_name.cmp(b_name)))
        .map(|(_, name)| name)
}

/// A version in a name, ordered as SemVer 2.0.0 §11 has it, for any count of numbers.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    numbers: Vec<u64>,
    pre_release: String,
}

impl Version {
    /// Reads `v1.2.3-rc.1+build` and the like, after any text before the first digit. A name without digits has no numbers.
    fn of(name: &str) -> Self {
        let text = name.rsplit('/').next().unwrap_or(name);
        let text = text.find(|c: char| c.is_ascii_digit()).map_or("", |at| &text[at..]);
        let text = text.split('+').next().unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let numbers = numbers.split('.').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap_or(u64::MAX));
        Self { numbers: numbers.collect(), pre_release: rest.trim_start_matches('-').to_owned() }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = self.numbers.len().max(other.numbers.len());
        let number = |version: &Self, index: usize| version.numbers.get(index).copied().unwrap_or(0);
        let numbers = (0..length).map(|index| number(self, index).cmp(&number(other, index)));
        let named = self.numbers.is_empty().cmp(&other.numbers.is_empty()).reverse();
        named.then(numbers.fold(Ordering::Equal, Ordering::then)).then_with(|| {
            match (self.pre_release.is_empty(), other.pre_release.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => natural(&self.pre_release, &other.pre_release),
            }
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares text with numbers in it by their value: `rc2` before `rc10`.
fn natural(a: &str, b: &str) -> Ordering {
    pieces(a).cmp(&pieces(b))
}

fn pieces(text: &str) -> Vec<(u64, String)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let words = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        pieces.push((number.parse().unwrap_or(0), tail[..words].to_owned()));
        rest = &tail[words..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_02_a_pattern_takes_the_highest_version() {
        let names = ["v1.9.0", "v1.10.0", "v2.0.0-rc.2", "v2.0.0-rc.10", "nightly", "release/v3.0.0", "v1.10"]
            .map(str::to_owned);
        for (pattern, want) in [
            ("v*", Some("v1.10.0")),
            ("v1.9*", Some("v1.9.0")),
            ("v*-*", Some("v2.0.0-rc.10")),
            ("*", Some("v1.10.0")),
            ("release/*", Some("release/v3.0.0")),
            ("nightly", Some("nightly")),
            ("v1.1", None),
            ("x*", None),
        ] {
            assert_eq!(choose(pattern, &names), want, "{pattern}");
        }
    }

    #[test]
    fn a_suffix_goes_back_along_first_parents() {
        for (suffix, want) in [
            ("", Some(0)),
            ("~", Some(1)),
            ("~3", Some(3)),
            ("^", Some(1)),
            ("^1", Some(1)),
            ("~~^~2", Some(5)),
            ("^2", None),
            ("~x", None),
            ("~99999999999999", None),
            ("~10001", None),
            ("x", None),
        ] {
            assert_eq!(steps_back(suffix), want, "{suffix}");
        }
    }

    #[test]
    fn before_the_first_commit_nothing_was_ever_there() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init(folder.path()).unwrap();
        assert_eq!(last_with(&repository, "a").unwrap(), None);
        let signature = git2::Signature::now("ada", "ada@example.com").unwrap();
        let mut builder = repository.treebuilder(None).unwrap();
        builder.insert("a", repository.blob(b"1").unwrap(), 0o100_644).unwrap();
        let tree = repository.find_tree(builder.write().unwrap()).unwrap();
        let oid = repository.commit(Some("HEAD"), &signature, &signature, "one", &tree, &[]).unwrap();
        assert_eq!(last_with(&repository, "a").unwrap(), Some(objects::commit_id(oid)));
        assert_eq!(last_with(&repository, "b").unwrap(), None);
    }
}
