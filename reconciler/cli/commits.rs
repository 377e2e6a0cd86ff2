//! Commits as they were read.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::config::{Config, SourceTree};
use holdfast_core::diag::Diagnostics;
use holdfast_core::id::CommitId;

/// So many are kept: what environments follow, and what the jobs of a moment before are still about.
const KEPT: usize = 4;

/// What a commit holds. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReadCommit {
    /// Its files.
    pub(crate) tree: Arc<SourceTree>,
    /// Its model; `None` when it is not valid.
    pub(crate) config: Option<Arc<Config>>,
    /// What was found.
    pub(crate) findings: Arc<Diagnostics>,
}

/// The commits that were used last. A commit never changes: a daemon reads it when it is new, not for each job.
#[derive(Debug, Default)]
pub(crate) struct Commits(Mutex<Vec<(CommitId, ReadCommit)>>);

impl Commits {
    /// Returns a commit if it is kept.
    pub(crate) fn get(&self, commit: &CommitId) -> Option<ReadCommit> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(id, _)| id == commit)?;
        kept[..=at].rotate_right(1);
        Some(kept[0].1.clone())
    }

    /// Keeps a commit, and lets go of the one that was not used for longest.
    pub(crate) fn keep(&self, commit: CommitId, read: ReadCommit) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(id, _)| *id != commit);
        kept.insert(0, (commit, read));
        kept.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::config::load;

    use super::*;

    #[test]
    fn the_one_that_was_not_used_for_longest_goes_first() {
        let commit = |n: usize| format!("{n:040x}").parse::<CommitId>().unwrap();
        let tree = SourceTree::default();
        let (config, findings) = load(&tree);
        let read = ReadCommit { tree: Arc::new(tree), config: config.map(Arc::new), findings: Arc::new(findings) };
        let commits = Commits::default();
        assert!(commits.get(&commit(0)).is_none());
        for n in 0..KEPT {
            commits.keep(commit(n), read.clone());
        }
        assert!(commits.get(&commit(0)).is_some_and(|kept| Arc::ptr_eq(&kept.tree, &read.tree)));
        commits.keep(commit(KEPT), read.clone());
        commits.keep(commit(KEPT), read);
        let left = (0..=KEPT).filter(|n| commits.get(&commit(*n)).is_some()).collect::<Vec<_>>();
        assert_eq!(left, [0, 2, 3, 4]);
    }
}
