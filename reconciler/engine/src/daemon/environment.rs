use std::collections::{BTreeMap, VecDeque};

use holdfast_core::config::{DriftPolicy, SyncMode};
use holdfast_core::event::SyncResult;
use holdfast_core::id::{AppName, CommitId, EnvironmentName};
use holdfast_core::notice::{Told, of_drift, of_git};
use holdfast_core::schedule::{SyncCause, SyncVerdict, WantedSync};
use holdfast_core::time::Timestamp;
use holdfast_core::window::{Closed, closed, closed_apps};

use super::control::{DriftWord, EnvironmentStatus, RunningStatus, SyncEnd, Trouble};
use super::event::{Checked, Job, JobKind, Known, Look, LookError, Ran, Watched};
use crate::store::{ApprovalRequest, Pause};

/// How long what opens at no moment in sight is held before that is looked at again.
const DAY_MS: u64 = 86_400_000;

/// How long after a host's first hint, or a sync, hosts are looked at: a change is mostly several.
pub(super) const SETTLE_MS: u64 = 250;

/// What the dispatcher knows of one environment.
#[derive(Debug, Clone, Default)]
pub(super) struct EnvironmentState {
    pub(super) seen: Option<CommitId>,
    pub(super) synced: Option<CommitId>,
    pub(super) look: Option<Look>,
    pub(super) problem: Option<(LookError, Timestamp)>,
    /// Looks in a row at which the repository could not be fetched, or that led to no commit.
    pub(super) failed_looks: u32,
    /// What was last told of the repository: nothing yet, that all is well (empty), or what is not.
    pub(super) told_git: Option<String>,
    /// Whether drift was told; nothing yet, or since the last sync.
    pub(super) told_drift: Option<bool>,
    pub(super) suspended: Option<Pause>,
    /// What was last released by approval.
    pub(super) released: Option<CommitId>,
    /// The plan that waits for it.
    pub(super) awaits: Option<ApprovalRequest>,
    pub(super) running: Option<(Job, Timestamp)>,
    pub(super) last: Option<(SyncEnd, Timestamp)>,
    /// The commit of that sync.
    pub(super) last_commit: Option<CommitId>,
    /// When the newest commit was first seen.
    pub(super) noticed: Timestamp,
    /// Jobs a person asked for that the queue does not hold.
    pub(super) urgent: VecDeque<Job>,
    /// A sync that the queue has given out while an urgent job ran.
    pub(super) held: Option<WantedSync>,
    /// What a crash cut short, until the first look.
    pub(super) unfinished: Option<CommitId>,
    /// What began before is to be ended, whatever the windows say.
    pub(super) finishing: bool,
    /// When the next app opens that the last sync left out.
    pub(super) opening: Option<Timestamp>,
    pub(super) looked: bool,
    pub(super) drift: Option<Checked>,
    /// The commit that hosts are being compared with.
    pub(super) checking: Option<CommitId>,
    /// A host said something changed; acted on when this moment has come.
    pub(super) touched: Option<Timestamp>,
    /// When to look at the hosts even if none says anything.
    pub(super) next_check: Option<Timestamp>,
    /// Whether backups are being looked after.
    pub(super) backing_up: bool,
    /// When to look after them next.
    pub(super) next_backups: Option<Timestamp>,
    /// When to look whether something was kept long enough.
    pub(super) next_over: Option<Timestamp>,
}

/// What is to be done about a look that succeeded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noticed {
    pub(super) new_commit: bool,
    pub(super) watch_changed: bool,
}

impl EnvironmentState {
    pub(super) fn of(known: &Known) -> Self {
        Self {
            seen: known.seen.clone(),
            synced: known.synced.clone(),
            suspended: known.suspended.clone(),
            unfinished: known.unfinished.clone(),
            released: known.released.clone(),
            ..Self::default()
        }
    }

    /// Takes a look in.
    pub(super) fn notice(&mut self, look: Look, now: Timestamp) -> Noticed {
        let new_commit = self.seen.as_ref() != Some(&look.commit);
        let watch_changed = self.look.as_ref().map(watch_list) != Some(watch_list(&look));
        if new_commit {
            // What was found out about the former commit says nothing about this one.
            self.drift = None;
            self.noticed = now;
        }
        self.seen = Some(look.commit.clone());
        self.problem = None;
        self.look = Some(look);
        Noticed { new_commit, watch_changed }
    }

    /// Takes in that a look led to nothing. Returns whether that is news.
    pub(super) fn stumble(&mut self, error: LookError, now: Timestamp) -> bool {
        let news = self.problem.as_ref().is_none_or(|(old, _)| *old != error);
        let since = self.problem.as_ref().map_or(now, |(_, since)| *since);
        self.problem = Some((error, since));
        news
    }

    /// Returns whether the daemon clears away by itself what was kept long enough.
    pub(super) fn clears_away(&self) -> bool {
        self.is_automatic() && self.look.as_ref().is_some_and(|look| look.keeps)
    }

    /// Returns whether the daemon starts syncs to new commits by itself.
    pub(super) fn is_automatic(&self) -> bool {
        self.suspended.is_none() && self.look.as_ref().is_some_and(|look| look.policy.mode == SyncMode::Automatic)
    }

    /// Returns what is done about drift; nothing before the first look, and no healing while suspended.
    pub(super) fn drift_policy(&self) -> DriftPolicy {
        match self.look.as_ref().map(|look| look.policy.drift) {
            None => DriftPolicy::Off,
            Some(DriftPolicy::Heal) if self.suspended.is_some() => DriftPolicy::Report,
            Some(policy) => policy,
        }
    }

    /// Returns the commit hosts should be at now: the newest one where commits are followed, else the one that was applied last.
    /// Where people must agree, the one they agreed to last.
    pub(super) fn basis(&self) -> Option<CommitId> {
        if self.look.as_ref().is_some_and(|look| look.approval) {
            return self.released.clone();
        }
        let newest = self.seen.clone().filter(|_| self.is_automatic());
        newest.or_else(|| self.synced.clone())
    }

    /// Returns the apps that are closed now.
    pub(super) fn closed_apps(&self, now: Timestamp) -> BTreeMap<AppName, Closed> {
        self.look.as_ref().map(|look| closed_apps(&look.policy.windows, &look.apps, now)).unwrap_or_default()
    }

    /// Returns what closes the environment now as a whole, the window that opens it first; `None` when any of its apps is open, to a
    /// person where `by_hand`.
    pub(super) fn closed(&self, by_hand: bool, now: Timestamp) -> Option<Closed> {
        let look = self.look.as_ref()?;
        let shut = |closed: &Closed| !(by_hand && closed.manual);
        if look.apps.is_empty() {
            return closed(&look.policy.windows, None, now).filter(shut);
        }
        let all: Vec<Closed> = self.closed_apps(now).into_values().filter(shut).collect();
        if all.len() < look.apps.len() { None } else { all.into_iter().min_by_key(opening) }
    }

    /// Returns until when a sync that nobody typed is held; `None` when it may begin.
    pub(super) fn held_until(&self, by_hand: bool, now: Timestamp) -> Option<Timestamp> {
        if self.finishing {
            return None;
        }
        self.closed(by_hand, now).map(|closed| closed.until.unwrap_or_else(|| now.plus_ms(DAY_MS)))
    }

    /// A sync begins: what is closed now is left out of it, and waits for its opening.
    pub(super) fn leave_out_closed(&mut self, now: Timestamp) {
        self.opening = self.closed_apps(now).values().filter_map(|closed| closed.until).min();
    }

    pub(super) fn ended(&mut self, environment: &EnvironmentName, job: &Job, ran: &Ran, check_ms: u64, now: Timestamp) {
        self.running = None;
        // What was blocked began nothing.
        self.finishing = ran.verdict == SyncVerdict::TryAgain && ran.result != SyncResult::Blocked;
        let end = SyncEnd { environment: environment.clone(), result: ran.result, reason: ran.reason.clone() };
        self.last = Some((end, now));
        self.drift = None;
        self.told_drift = None;
        if ran.released.is_some() {
            self.released.clone_from(&ran.released);
        }
        self.awaits.clone_from(&ran.awaits);
        if let JobKind::Sync { commit, app: None, .. } = &job.kind {
            self.last_commit = Some(commit.clone());
            if matches!(ran.result, SyncResult::Synced | SyncResult::NoChange) {
                self.synced = Some(commit.clone());
                self.drift = Some(Checked { changes: 0, kept_long_enough: 0, kept_until: None, blockers: Vec::new() });
            }
        }
        // What a sync for this alone could not clear away is looked at again, but not all the time.
        let timer = matches!(job.kind, JobKind::Sync { cause: SyncCause::Timer, .. });
        let wait = if timer && ran.result != SyncResult::Synced { check_ms } else { SETTLE_MS };
        self.next_over = self.clears_away().then(|| now.plus_ms(wait));
    }

    /// Returns what people are to be told of the repository after a look; `unfetched` is why it cannot be fetched. One failed fetch is
    /// none of it.
    pub(super) fn tells_git(
        &mut self,
        environment: &EnvironmentName,
        unfetched: Option<&Trouble>,
        now: Timestamp,
    ) -> Option<Told> {
        let own = self.problem.as_ref().map(|(problem, _)| (problem.commit.as_ref(), problem.reason.as_str()));
        let problem = unfetched.map(|trouble| (None, trouble.reason.as_str())).or(own);
        let subject = match problem {
            None => String::new(),
            Some((Some(commit), _)) => commit.to_string(),
            Some(_) if self.failed_looks < 2 => return None,
            Some(_) => "fetch".to_owned(),
        };
        if self.told_git.as_ref() == Some(&subject) {
            return None;
        }
        self.told_git = Some(subject.clone());
        Some(of_git(environment, problem.map(|(_, reason)| (subject.as_str(), reason)), now))
    }

    /// Returns what people are to be told after hosts were compared with a commit that they were at.
    pub(super) fn tells_drift(
        &mut self,
        environment: &EnvironmentName,
        (compared, checked): (&CommitId, &Checked),
        now: Timestamp,
    ) -> Option<Told> {
        let was_here = self.synced.as_ref() == Some(compared) || self.basis().as_ref() == Some(compared);
        let drifted = checked.changes > 0;
        if !was_here || !drifted && !checked.blockers.is_empty() || self.told_drift == Some(drifted) {
            return None;
        }
        self.told_drift = Some(drifted);
        Some(of_drift(environment, compared.as_str(), checked.changes, now))
    }

    pub(super) fn status(&self, environment: &EnvironmentName, waiting: bool, now: Timestamp) -> EnvironmentStatus {
        EnvironmentStatus {
            environment: environment.clone(),
            seen: self.seen.clone(),
            synced: self.synced.clone(),
            running: self.running.as_ref().map(|(job, since)| RunningStatus {
                commit: job.kind.commit().clone(),
                cause: job.kind.cause().to_owned(),
                since: *since,
                // The rollout's to say.
                held: None,
            }),
            waiting,
            automatic: self.look.as_ref().is_some_and(|look| look.policy.mode == SyncMode::Automatic),
            closed: self.closed_apps(now).iter().map(|(app, closed)| format!("{app} is {closed}")).collect(),
            suspended: self.suspended.as_ref().map(|pause| format!("by {}: {}", pause.by, pause.reason)),
            last: self.last.clone(),
            drift: match &self.drift {
                None => DriftWord::Unknown,
                Some(Checked { changes: 0, blockers, .. }) if blockers.is_empty() => DriftWord::InSync,
                Some(Checked { changes, blockers, .. }) => {
                    DriftWord::OutOfSync { changes: *changes, blockers: blockers.clone() }
                }
            },
            awaits: self.awaits.clone(),
            problem: self
                .problem
                .as_ref()
                .map(|(problem, since)| Trouble { reason: problem.reason.clone(), since: *since }),
        }
    }
}

fn opening(closed: &Closed) -> Timestamp {
    closed.until.unwrap_or(Timestamp(u64::MAX))
}

/// What matters for watching: the hosts and questions, or nothing where drift is not looked for.
fn watch_list(look: &Look) -> &[Watched] {
    if look.policy.drift == DriftPolicy::Off { &[] } else { &look.watched }
}
