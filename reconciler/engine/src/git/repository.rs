//! One repository: fetched or in place, its references and its trees.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use holdfast_core::config::SourceTree;
use holdfast_core::id::{CommitId, digest_of};
use holdfast_core::time::Timestamp;

use super::fetch::{self, FetchError, FetchOptions};
use super::location::Location;
use super::objects;
use super::revision::{self, RevisionError, Track};
use super::signature::{self, SignatureError, Signers};
use super::tree::{self, ReadError};

/// A repository that desired state is read from.
#[derive(Debug, Clone)]
pub struct GitRepository {
    location: Location,
    git_dir: PathBuf,
    options: FetchOptions,
}

/// What people want to know of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: CommitId,
    /// First line of its message, at most 200 characters. The author's words: escape them where they are shown.
    pub subject: String,
    /// Its author's name, at most 100 characters.
    pub author: String,
    /// When it was committed.
    pub at: Timestamp,
}

impl GitRepository {
    /// Returns the repository. A remote one is mirrored below `state_dir`, one folder for each location; a local one is read where it
    /// is.
    pub fn new(location: Location, state_dir: &Path, options: FetchOptions) -> Self {
        let git_dir = match &location {
            Location::Local(path) => objects::git_dir_of(path),
            remote => state_dir.join("git").join(format!("{}.git", digest_of(remote.to_string().as_bytes()).short())),
        };
        Self { location, git_dir, options }
    }

    /// Returns where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the git directory that is read: a watcher looks at `refs` and `packed-refs` in it.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Brings the mirror up to date; does nothing for a local repository.
    ///
    /// # Errors
    /// See [`FetchError`]. Try again later: what was fetched before can still be read.
    pub async fn fetch(&self) -> Result<(), FetchError> {
        match &self.location {
            Location::Local(_) => Ok(()),
            remote => fetch::fetch(&self.git_dir, remote, &self.options).await,
        }
    }

    /// Returns the commit a branch or tag stands for now.
    ///
    /// # Errors
    /// See [`RevisionError`].
    pub async fn resolve(&self, track: &Track) -> Result<CommitId, RevisionError> {
        let (git_dir, track) = (self.git_dir.clone(), track.clone());
        self.blocking(move || revision::resolve(&git_dir, &track).map(|(_, commit)| commit)).await
    }

    /// Returns the commit to go to from `last`: what is tracked, when it follows `last` or rewritten history is allowed. A tag
    /// pattern may move between branches of history only with `allow_non_fast_forward` too.
    ///
    /// # Errors
    /// [`RevisionError::Rewound`] when it does not follow; nothing should be applied then.
    pub async fn advance(
        &self,
        track: &Track,
        last: Option<&CommitId>,
        allow_non_fast_forward: bool,
    ) -> Result<CommitId, RevisionError> {
        let (git_dir, track, last) = (self.git_dir.clone(), track.clone(), last.cloned());
        self.blocking(move || {
            let (_, commit) = revision::resolve(&git_dir, &track)?;
            if let Some(last) = last.filter(|_| !allow_non_fast_forward) {
                revision::check_forward(&git_dir, &track, &commit, &last)?;
            }
            Ok(commit)
        })
        .await
    }

    /// Checks that every commit that `new` brings and `last` had not is signed by an allowed signer; without a `last`, `new` alone.
    ///
    /// # Errors
    /// See [`SignatureError`]; nothing should be applied then.
    pub async fn verify(
        &self,
        signers: &Signers,
        last: Option<&CommitId>,
        new: &CommitId,
    ) -> Result<(), SignatureError> {
        let (git_dir, signers, last, new) = (self.git_dir.clone(), signers.clone(), last.cloned(), new.clone());
        let work = tokio::task::spawn_blocking(move || signature::verify(&git_dir, &signers, last.as_ref(), &new));
        let interrupted = |_| Err(SignatureError::Check { reason: "the work was interrupted; try again".to_owned() });
        work.await.unwrap_or_else(interrupted)
    }

    /// Returns the commit that a person's word means: `HEAD`, a full or short commit id, a branch or a tag.
    ///
    /// # Errors
    /// [`RevisionError::Unknown`] when it means none.
    pub async fn resolve_word(&self, word: &str) -> Result<CommitId, RevisionError> {
        let (git_dir, word) = (self.git_dir.clone(), word.to_owned());
        self.blocking(move || revision::resolve_word(&git_dir, &word)).await
    }

    /// Returns whether `new` is `old` or follows it.
    ///
    /// # Errors
    /// [`RevisionError::Git`] when the repository cannot be read.
    pub async fn is_descendant(&self, new: &CommitId, old: &CommitId) -> Result<bool, RevisionError> {
        let (git_dir, new, old) = (self.git_dir.clone(), new.clone(), old.clone());
        self.blocking(move || {
            let follows = objects::open(&git_dir).and_then(|repository| revision::follows(&repository, &new, &old));
            follows.map_err(|error| RevisionError::Git {
                path: git_dir.display().to_string(),
                reason: error.message().to_owned(),
            })
        })
        .await
    }

    /// Returns the files of a commit that Holdfast reads, with what is refused among them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, commit: &CommitId) -> Result<SourceTree, ReadError> {
        let (git_dir, wanted) = (self.git_dir.clone(), commit.clone());
        let work = tokio::task::spawn_blocking(move || tree::read(&git_dir, &wanted));
        work.await.unwrap_or_else(|_| Err(ReadError::Interrupted { commit: commit.clone() }))
    }

    /// Returns the newest commit up to `HEAD` that has a file; `None` when no commit ever had it, or there is no commit yet.
    ///
    /// # Errors
    /// [`RevisionError::Git`] when the repository cannot be read.
    pub async fn last_commit_with(&self, path: &str) -> Result<Option<CommitId>, RevisionError> {
        let (git_dir, path) = (self.git_dir.clone(), path.to_owned());
        self.blocking(move || {
            let found = objects::open(&git_dir).and_then(|repository| revision::last_with(&repository, &path));
            found.map_err(|error| RevisionError::Git {
                path: git_dir.display().to_string(),
                reason: error.message().to_owned(),
            })
        })
        .await
    }

    /// Returns what people want to know of a commit.
    ///
    /// # Errors
    /// [`RevisionError::Git`] when it cannot be read.
    pub async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, RevisionError> {
        let (git_dir, id) = (self.git_dir.clone(), commit.clone());
        self.blocking(move || {
            let info = objects::open(&git_dir).and_then(|repository| {
                let commit = repository.find_commit(objects::oid_of(&id)?)?;
                let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
                let author = String::from_utf8_lossy(commit.author().name_bytes()).into_owned();
                let seconds = u64::try_from(commit.time().seconds()).unwrap_or(0);
                let subject = message.lines().next().unwrap_or_default().chars().take(200).collect();
                let (author, at) = (author.chars().take(100).collect(), Timestamp(seconds.saturating_mul(1000)));
                Ok(CommitInfo { id, subject, author, at })
            });
            info.map_err(|error| RevisionError::Git {
                path: git_dir.display().to_string(),
                reason: error.message().to_owned(),
            })
        })
        .await
    }

    /// Returns the e-mail addresses, in lower case, of who wrote and committed a commit, and the commits that it merged in: whose
    /// change it is.
    ///
    /// # Errors
    /// [`RevisionError::Git`] when it cannot be read.
    pub async fn authors(&self, commit: &CommitId) -> Result<BTreeSet<String>, RevisionError> {
        let (git_dir, id) = (self.git_dir.clone(), commit.clone());
        self.blocking(move || {
            let found = objects::open(&git_dir).and_then(|repository| {
                let commit = repository.find_commit(objects::oid_of(&id)?)?;
                let mut emails = BTreeSet::new();
                for one in std::iter::once(commit.clone()).chain(commit.parents().skip(1)) {
                    for signature in [one.author(), one.committer()] {
                        emails.insert(String::from_utf8_lossy(signature.email_bytes()).to_ascii_lowercase());
                    }
                }
                Ok(emails)
            });
            found.map_err(|error| RevisionError::Git {
                path: git_dir.display().to_string(),
                reason: error.message().to_owned(),
            })
        })
        .await
    }

    /// Runs work that reads files on a thread for that.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RevisionError> + Send + 'static,
    ) -> Result<T, RevisionError> {
        let path = self.git_dir.display().to_string();
        let interrupted =
            |_| Err(RevisionError::Git { path, reason: "the work was interrupted; try again".to_owned() });
        tokio::task::spawn_blocking(work).await.unwrap_or_else(interrupted)
    }
}
