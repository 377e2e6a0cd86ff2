use std::collections::BTreeMap;

use holdfast_core::id::{CommitId, EnvironmentName};

use super::control::SyncEnd;
use super::event::{JobKind, Token};

/// What somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The environment is synced to this commit, or to a newer one that took its place.
    Commit(CommitId),
    /// This very job.
    Job(JobKind),
}

/// Those who wait at the control socket for jobs to end.
#[derive(Debug, Default)]
pub(super) struct Followers(BTreeMap<Token, Follower>);

#[derive(Debug, Default)]
struct Follower {
    waiting: BTreeMap<EnvironmentName, Awaited>,
    ends: Vec<SyncEnd>,
}

impl Followers {
    /// Lets somebody wait.
    pub(super) fn wait(&mut self, token: Token, environment: EnvironmentName, awaited: Awaited) {
        self.0.entry(token).or_default().waiting.insert(environment, awaited);
    }

    /// Gives somebody an end that came before he asked.
    pub(super) fn give(&mut self, token: Token, end: SyncEnd) {
        self.0.entry(token).or_default().ends.push(end);
    }

    /// Forgets somebody.
    pub(super) fn leave(&mut self, token: Token) {
        self.0.remove(&token);
    }

    /// Lets those go who wait for a commit of an environment that is held. Returns them, those who wait for nothing more with their
    /// ends.
    pub(super) fn let_go(&mut self, environment: &EnvironmentName) -> Vec<(Token, Option<Vec<SyncEnd>>)> {
        let waits = |one: &Follower| matches!(one.waiting.get(environment), Some(Awaited::Commit(_)));
        let tokens: Vec<Token> = self.0.iter().filter(|(_, one)| waits(one)).map(|(token, _)| *token).collect();
        for one in self.0.values_mut().filter(|one| waits(one)) {
            one.waiting.remove(environment);
        }
        tokens.into_iter().map(|token| (token, self.take_if_done(token).map(|(_, ends)| ends))).collect()
    }

    /// Takes the end of a job in; `last` says that no other sync of that environment waits. Returns those who wait no more.
    pub(super) fn ended(&mut self, job: &JobKind, end: &SyncEnd, last: bool) -> Vec<(Token, Vec<SyncEnd>)> {
        let hit = |awaited: &Awaited| match awaited {
            Awaited::Job(kind) => kind == job,
            Awaited::Commit(commit) => {
                matches!(job, JobKind::Sync { commit: synced, app: None, .. } if last || synced == commit)
            }
        };
        for follower in self.0.values_mut() {
            if follower.waiting.get(&end.environment).is_some_and(hit) {
                follower.waiting.remove(&end.environment);
                follower.ends.push(end.clone());
            }
        }
        let done: Vec<Token> =
            self.0.iter().filter(|(_, one)| one.waiting.is_empty()).map(|(token, _)| *token).collect();
        done.into_iter().filter_map(|token| self.take_if_done(token)).collect()
    }

    /// Returns somebody's ends when he waits for nothing more.
    pub(super) fn take_if_done(&mut self, token: Token) -> Option<(Token, Vec<SyncEnd>)> {
        if !self.0.get(&token)?.waiting.is_empty() {
            return None;
        }
        Some((token, self.0.remove(&token)?.ends))
    }
}
