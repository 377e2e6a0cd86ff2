use std::collections::BTreeMap;

use holdfast_core::config::DriftPolicy;
use holdfast_core::event::SyncResult;
use holdfast_core::id::{AppName, CommitId, EnvironmentName};
use holdfast_core::notice::Told;
use holdfast_core::schedule::{NextSync, Queue, SyncCause, SyncVerdict, WantedSync, backoff_ms};
use holdfast_core::time::Timestamp;

use super::control::{Approved, ControlReply, ControlRequest, RefUpdate};
use super::environment::{EnvironmentState, SETTLE_MS};
use super::event::{Checked, DaemonEvent, Job, JobKind, LookError, Looks, Ran, Response, StoreChange, Token};
use super::fetching::Fetching;
use super::followers::{Awaited, Followers};
use crate::apply::{OperatorVerb, OperatorWord};
use crate::store::Pause;

/// For how long after a new commit was noticed a pushed tag is taken for its cause.
const JUST_NOW_MS: u64 = 10_000;

/// The daemon's own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds between two looks at the repository.
    pub poll_ms: u64,
    /// Milliseconds between two looks at the hosts when none says anything.
    pub check_ms: u64,
    /// Makes managers that start together look at different times.
    pub seed: u64,
}

/// Decides. Holds all that the daemon knows and touches nothing.
///
/// # Guarantees
/// One job at a time in each environment; here environments do not wait for each other (what they begin may: `apply::Turns`). Of many commits only the newest is synced. Of
/// many hints and wishes to look, at most one look runs and one follows it.
pub struct Dispatcher {
    settings: Settings,
    environments: BTreeMap<EnvironmentName, EnvironmentState>,
    queue: Queue,
    followers: Followers,
    looking: bool,
    look_again: bool,
    fetching: Fetching,
    /// Pushes whose outcome the running look, and the one after it, will show.
    pushes: Vec<(Token, Vec<RefUpdate>)>,
    later_pushes: Vec<(Token, Vec<RefUpdate>)>,
    next_look: Timestamp,
    wake: Option<Timestamp>,
    looks: u32,
    stopping: bool,
    status: String,
}

impl Dispatcher {
    /// Returns a dispatcher for these environments.
    pub fn new(settings: Settings, environments: impl IntoIterator<Item = EnvironmentName>) -> Self {
        Self {
            settings,
            environments: environments.into_iter().map(|name| (name, EnvironmentState::default())).collect(),
            queue: Queue::new(settings.seed),
            followers: Followers::default(),
            looking: false,
            look_again: false,
            fetching: Fetching::default(),
            pushes: Vec::new(),
            later_pushes: Vec::new(),
            next_look: Timestamp(0),
            wake: None,
            looks: 0,
            stopping: false,
            status: String::new(),
        }
    }

    /// Returns when a [`DaemonEvent::Tick`] is wanted, if nothing happens before.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.stopping {
            return None;
        }
        let look = (!self.looking).then_some(self.next_look);
        let environments = self.environments.values().flat_map(|state| {
            let touched = state.touched.map(|at| at.plus_ms(SETTLE_MS));
            let free = state.checking.is_none() && state.running.is_none();
            let moments = [touched, state.next_check, state.next_over].into_iter().flatten();
            let backups = state.next_backups.filter(|_| !state.backing_up);
            moments.filter(move |_| free).chain(state.opening).chain(backups)
        });
        environments.chain(look).chain(self.wake).min()
    }

    /// Takes an event in and returns what is to be done.
    pub fn handle_event(&mut self, event: DaemonEvent, now: Timestamp) -> Vec<Response> {
        let mut out = Vec::new();
        match event {
            DaemonEvent::Started(known) => {
                for (name, known) in known {
                    if let Some(state) = self.environments.get_mut(&name) {
                        *state = EnvironmentState::of(&known);
                    }
                }
                self.look(now, &mut out);
            }
            DaemonEvent::RepositoryChanged => self.look(now, &mut out),
            DaemonEvent::Looked(looks) => self.looked(looks, now, &mut out),
            DaemonEvent::HostChanged(name) => {
                // A host may have said something just before it was no longer listened to.
                if let Some(state) = self.environments.get_mut(&name)
                    && state.drift_policy() != DriftPolicy::Off
                {
                    state.touched.get_or_insert(now);
                }
            }
            DaemonEvent::Ran(job, ran) => self.ran(&job, &ran, now, &mut out),
            DaemonEvent::Checked(name, checked) => {
                self.checked(name, checked.ok(), now, &mut out);
            }
            DaemonEvent::BackedUp(name, told) => {
                if let Some(state) = self.environments.get_mut(&name) {
                    state.backing_up = false;
                }
                // What is not known now is told when it is.
                out.extend(told.ok().filter(|told| *told != Told::default()).map(Response::Tell));
            }
            DaemonEvent::Control(token, request) => self.asked(token, request, now, &mut out),
            DaemonEvent::Approved(token, name, approved) => {
                let reply = self.approved(name, approved, now);
                out.push(Response::Reply(token, reply));
            }
            DaemonEvent::Gone(token) => self.followers.leave(token),
            DaemonEvent::Tick => {}
            DaemonEvent::Stop => {
                self.stopping = true;
            }
        }
        self.due(now, &mut out);
        self.start(now, &mut out);
        self.tell_status(&mut out);
        if self.stopping && self.environments.values().all(|state| state.running.is_none()) {
            out.push(Response::Exit);
        }
        out
    }

    /// Takes a check in. A failed one says nothing: unknown is not in sync, and never a reason to change anything.
    fn checked(&mut self, name: EnvironmentName, checked: Option<Checked>, now: Timestamp, out: &mut Vec<Response>) {
        let Some(state) = self.environments.get_mut(&name) else { return };
        let basis = state.checking.take();
        // What ran meanwhile knows better.
        if state.running.is_some() || basis.is_none() {
            return;
        }
        // Where nobody wants to know of drift it is not told, whatever the look was for.
        let asked = !(state.is_automatic() && state.drift_policy() == DriftPolicy::Off);
        if let (true, Some(compared), Some(checked)) = (asked, &basis, &checked) {
            out.extend(state.tells_drift(&name, (compared, checked), now).map(Response::Tell));
        }
        let drifted = checked.as_ref().is_some_and(|checked| checked.changes > 0);
        let over = checked.as_ref().is_some_and(|checked| checked.changes == 0 && checked.kept_long_enough > 0);
        // What stays although its time has come, or what is not known, is looked at again, but not all the time.
        let later = now.plus_ms(self.settings.check_ms);
        let kept_until = |checked: &Checked| checked.kept_until.map(|at| if at > now { at } else { later });
        state.next_over = if state.clears_away() { checked.as_ref().map_or(Some(later), kept_until) } else { None };
        if asked {
            state.drift = checked;
        }
        if self.queue.is_waiting(&name) {
            // What waits does all there is to do; an older commit must not take its place.
            return;
        }
        // A sync does all there is to do, so one for this alone begins only where nothing else waits.
        if let (true, true, Some(commit)) = (over, state.is_automatic(), &basis)
            && state.basis().as_ref() == Some(commit)
        {
            let wanted = WantedSync { environment: name.clone(), commit: commit.clone(), cause: SyncCause::Timer };
            self.queue.offer(wanted, now);
            return;
        }
        if let (true, DriftPolicy::Heal, Some(commit)) = (drifted, state.drift_policy(), basis)
            && state.basis().as_ref() == Some(&commit)
        {
            self.queue.offer(WantedSync { environment: name, commit, cause: SyncCause::Drift }, now);
        }
    }

    /// Wants a look at the repository: now, or after the running one.
    fn look(&mut self, now: Timestamp, out: &mut Vec<Response>) {
        if self.stopping {
            return;
        }
        if self.looking {
            self.look_again = true;
            return;
        }
        self.looking = true;
        self.looks = self.looks.wrapping_add(1);
        self.pushes.append(&mut self.later_pushes);
        // Between nine and eleven tenths of the interval, by chance.
        let tenth = self.settings.poll_ms / 10;
        let name = "look".parse().expect("BUG: a name by the rules");
        let chance = backoff_ms(self.settings.seed ^ u64::from(self.looks), &name, 1) % (2 * tenth + 1);
        self.next_look = now.plus_ms(self.settings.poll_ms - tenth + chance);
        let last = self.environments.iter().map(|(name, state)| (name.clone(), state.seen.clone()));
        out.push(Response::Look(last.collect()));
    }

    fn looked(&mut self, looks: Looks, now: Timestamp, out: &mut Vec<Response>) {
        self.looking = false;
        out.extend(self.fetching.went(looks.fetched, now).map(Response::Note));
        self.next_look = self.fetching.next(self.settings.seed, self.next_look, now);
        let unfetched = self.fetching.trouble();
        for (name, look) in looks.environments {
            let Some(state) = self.environments.get_mut(&name) else { continue };
            // One that led to nothing was none: what a former run left undone is still to be looked at.
            let first = look.is_ok() && !std::mem::replace(&mut state.looked, true);
            let unfinished = state.unfinished.take();
            state.finishing |= unfinished.is_some();
            state.failed_looks =
                if look.is_ok() && unfetched.is_none() { 0 } else { state.failed_looks.saturating_add(1) };
            let wanted = match look {
                Err(problem) => {
                    let text = format!("{name}: {}", problem.reason);
                    let known = unfetched.is_some_and(|trouble| trouble.reason == problem.reason);
                    if state.stumble(problem, now) && !known {
                        out.push(Response::Note(text));
                    }
                    unfinished.map(|commit| (commit, SyncCause::Resume))
                }
                Ok(look) => {
                    let commit = look.commit.clone();
                    let noticed = state.notice(look, now);
                    // What hosts said before they are no longer listened to is not looked into.
                    if state.is_automatic() && state.drift_policy() == DriftPolicy::Off {
                        state.touched = None;
                    }
                    // Soon after the first look; a new commit changes nothing about when.
                    let declared = state.look.as_ref().is_some_and(|look| look.backups);
                    state.next_backups = declared.then(|| state.next_backups.unwrap_or(now));
                    if noticed.new_commit {
                        out.push(Response::Store(StoreChange::Seen(name.clone(), commit.clone(), now)));
                    }
                    if noticed.watch_changed {
                        let watched = match (state.drift_policy(), &state.look) {
                            (DriftPolicy::Report | DriftPolicy::Heal, Some(look)) => look.watched.clone(),
                            _ => Vec::new(),
                        };
                        out.push(Response::Watch(name.clone(), watched));
                    }
                    state.next_check =
                        (state.drift_policy() != DriftPolicy::Off).then(|| now.plus_ms(self.settings.check_ms));
                    let cause = if noticed.new_commit { SyncCause::Commit } else { SyncCause::Resume };
                    match unfinished {
                        _ if state.is_automatic() && (noticed.new_commit || first) => Some((commit, cause)),
                        // What was begun is ended, also where nothing new is begun.
                        Some(unfinished) => Some((unfinished, SyncCause::Resume)),
                        None => {
                            if (noticed.new_commit || first) && !state.is_automatic() {
                                state.touched.get_or_insert(now);
                            }
                            None
                        }
                    }
                }
            };
            out.extend(state.tells_git(&name, unfetched, now).map(Response::Tell));
            if let Some((commit, cause)) = wanted {
                self.queue.offer(WantedSync { environment: name.clone(), commit, cause }, now);
            }
        }
        for (token, updates) in std::mem::take(&mut self.pushes) {
            self.answer_push(token, &updates, now, out);
        }
        if std::mem::take(&mut self.look_again) {
            self.look(now, out);
        }
    }

    /// Tells somebody who pushed what comes of it, and lets him follow it.
    fn answer_push(&mut self, token: Token, updates: &[RefUpdate], now: Timestamp, out: &mut Vec<Response>) {
        let pushed = |commit: &CommitId| updates.iter().any(|update| update.new == *commit);
        let tags = updates.iter().any(|update| update.name.starts_with("refs/tags/"));
        let (mut followed, mut concerned) = (false, false);
        for (name, state) in &self.environments {
            if let Some((LookError { commit: Some(commit), reason }, _)) = &state.problem
                && pushed(commit)
            {
                concerned = true;
                out.push(Response::Reply(token, ControlReply::message(format!("{name}: {reason}"))));
                continue;
            }
            let Some(look) = &state.look else { continue };
            let commit = &look.commit;
            if !(pushed(commit) || tags && now.since_ms(state.noticed) < JUST_NOW_MS) {
                continue;
            }
            concerned = true;
            let closed = state.closed(false, now).filter(|_| !state.finishing);
            let busy = self.queue.is_waiting(name) && closed.is_none()
                || state.running.as_ref().is_some_and(|(job, _)| job.kind.commit() == commit);
            if busy {
                followed = true;
                self.followers.wait(token, name.clone(), Awaited::Commit(commit.clone()));
                out.push(Response::Stream(token, name.clone()));
                let text = format!("{name} goes to {}", commit.short());
                out.push(Response::Reply(token, ControlReply::message(text)));
            } else if let (Some((end, _)), true) = (&state.last, state.last_commit.as_ref() == Some(commit)) {
                followed = true;
                self.followers.give(token, end.clone());
            } else {
                let why = match &state.suspended {
                    None if state.is_automatic() && closed.is_some() => {
                        let closed = closed.map(|closed| closed.to_string()).unwrap_or_default();
                        format!("is {closed}; it goes to {} when it opens", commit.short())
                    }
                    Some(pause) => {
                        let why = if pause.reason.is_empty() { String::new() } else { format!(" ({})", pause.reason) };
                        format!("is paused by {}{why}; `holdfast resume {name}` lets it go on", pause.by)
                    }
                    None => format!("is synced by hand: `holdfast plan {name}`, then `holdfast apply {name}`"),
                };
                out.push(Response::Reply(token, ControlReply::message(format!("{name} {why}"))));
            }
        }
        if !concerned {
            let text = "no environment follows what was pushed".to_owned();
            out.push(Response::Reply(token, ControlReply::message(text)));
        }
        if !followed {
            out.push(Response::Reply(token, ControlReply::Done));
        } else if let Some((token, ends)) = self.followers.take_if_done(token) {
            out.push(Response::Reply(token, ControlReply::Ended { ends }));
        }
    }

    fn ran(&mut self, job: &Job, ran: &Ran, now: Timestamp, out: &mut Vec<Response>) {
        let name = &job.environment;
        let Some(state) = self.environments.get_mut(name) else { return };
        state.ended(name, job, ran, self.settings.check_ms, now);
        if let Some(held) = state.held.take() {
            // The job was an urgent one. What the queue gave out meanwhile is given back; a newer one takes its place.
            self.queue.ended(name, SyncVerdict::Settled, now);
            if !self.queue.is_waiting(name) {
                self.queue.offer(held, now);
            }
        } else if self.queue.running(name).is_some() {
            self.queue.ended(name, ran.verdict, now);
        }
        let end = state.last.as_ref().map(|(end, _)| end.clone());
        if ran.result == SyncResult::Synced {
            // What it has migrated now, others may have waited for.
            let after = |state: &EnvironmentState| state.look.as_ref().is_some_and(|look| look.after.contains(name));
            for (other, _) in self.environments.iter().filter(|(_, state)| after(state)) {
                self.queue.hurry(other, now);
            }
        }
        let last = !self.queue.is_waiting(name);
        for (token, ends) in end.iter().flat_map(|end| self.followers.ended(&job.kind, end, last)) {
            out.push(Response::Reply(token, ControlReply::Ended { ends }));
        }
    }

    fn asked(&mut self, token: Token, request: ControlRequest, now: Timestamp, out: &mut Vec<Response>) {
        let reply = match request {
            ControlRequest::Status => {
                let all = self.environments.iter();
                let environments = all.map(|(name, state)| state.status(name, self.queue.is_waiting(name), now));
                let unfetched = self.fetching.trouble().cloned();
                Some(ControlReply::Status { environments: environments.collect(), unfetched })
            }
            ControlRequest::Look => {
                self.look(now, out);
                Some(ControlReply::Done)
            }
            ControlRequest::Received { updates } => {
                self.later_pushes.push((token, updates));
                self.look(now, out);
                None
            }
            ControlRequest::Follow { environment } if self.environments.contains_key(&environment) => {
                out.push(Response::Stream(token, environment));
                None
            }
            ControlRequest::Follow { environment } => Some(unknown(&environment)),
            ControlRequest::Sync { environment, app } => self.wanted(token, environment, app, false, now, out),
            ControlRequest::Rollback { environment, app } => self.wanted(token, environment, Some(app), true, now, out),
            ControlRequest::Approve { environment, seal, name } => {
                if self.environments.contains_key(&environment) {
                    out.push(Response::Approve(token, environment, seal, name));
                    None
                } else {
                    Some(unknown(&environment))
                }
            }
            ControlRequest::Pause { environment, app } => self.say(token, environment, app, OperatorVerb::Pause, out),
            ControlRequest::Promote { environment, app } => {
                self.say(token, environment, app, OperatorVerb::Promote, out)
            }
            ControlRequest::Abort { environment, app } => self.say(token, environment, app, OperatorVerb::Abort, out),
            ControlRequest::Suspend { environment, app, by, reason } => {
                Some(match self.environments.get_mut(&environment) {
                    None => unknown(&environment),
                    Some(state) => {
                        let pause = Pause { environment, app, by, reason, at: now };
                        // One app's is read by each sync.
                        if pause.app.is_none() {
                            state.suspended = Some(pause.clone());
                        }
                        out.push(Response::Store(StoreChange::Suspended(pause)));
                        ControlReply::Done
                    }
                })
            }
            ControlRequest::Resume { environment, app } => Some(self.resume(environment, app, now, out)),
        };
        out.extend(reply.map(|reply| Response::Reply(token, reply)));
    }

    /// Takes a word that counts in: with the last one that was needed, what was agreed to begins.
    fn approved(
        &mut self,
        environment: EnvironmentName,
        approved: Result<Approved, String>,
        now: Timestamp,
    ) -> ControlReply {
        let mut approved = match approved {
            Ok(approved) => approved,
            Err(reason) => return ControlReply::Refused { reason },
        };
        let commit = approved.proposal.commit.clone();
        let Some(state) = self.environments.get(&environment) else { return unknown(&environment) };
        // A newer commit asks for itself; by hand, and while suspended, a person begins.
        if approved.is_enough() && state.is_automatic() && state.seen.as_ref() == Some(&commit) && !self.stopping {
            approved.begins = true;
            self.queue.offer(WantedSync { environment, commit, cause: SyncCause::Approval }, now);
        }
        ControlReply::Approved { approved }
    }

    fn resume(
        &mut self,
        environment: EnvironmentName,
        app: Option<AppName>,
        now: Timestamp,
        out: &mut Vec<Response>,
    ) -> ControlReply {
        let Some(state) = self.environments.get_mut(&environment) else { return unknown(&environment) };
        let held = state.running.is_some();
        if held {
            let word = OperatorWord { app: app.clone(), verb: OperatorVerb::Resume };
            out.push(Response::Say(None, environment.clone(), word));
        }
        if app.is_none() && state.suspended.take().is_none() {
            if held {
                return ControlReply::Done;
            }
            return ControlReply::Refused { reason: format!("{environment} is not suspended") };
        }
        out.push(Response::Store(StoreChange::Resumed(environment.clone(), app)));
        if let (true, Some(commit)) = (state.is_automatic(), state.seen.clone()) {
            // Who resumes does not ask to go through a closed window.
            let cause = SyncCause::Commit;
            self.queue.offer(WantedSync { environment, commit, cause }, now);
        }
        ControlReply::Done
    }

    /// A person wants a job.
    fn wanted(
        &mut self,
        token: Token,
        environment: EnvironmentName,
        app: Option<AppName>,
        back: bool,
        now: Timestamp,
        out: &mut Vec<Response>,
    ) -> Option<ControlReply> {
        let Some(state) = self.environments.get_mut(&environment) else { return Some(unknown(&environment)) };
        let Some(commit) = state.seen.clone() else {
            let why =
                state.problem.as_ref().map_or("nothing was read from the repository yet", |(p, _)| p.reason.as_str());
            return Some(ControlReply::Refused { reason: format!("{environment}: {why}") });
        };
        let closed = match &app {
            _ if back => None,
            None => state.closed(true, now),
            Some(app) => state.closed_apps(now).remove(app).filter(|closed| !closed.manual),
        };
        if let Some(closed) = closed {
            let reason = format!(
                "{environment} is {closed}; on the management box, `holdfast apply {environment} --override-window --reason TEXT` \
                 goes through"
            );
            return Some(ControlReply::Refused { reason });
        }
        let awaited = match (app, back) {
            (None, _) => {
                let cause = SyncCause::Operator;
                let wanted = WantedSync { environment: environment.clone(), commit: commit.clone(), cause };
                self.queue.offer(wanted, now);
                Awaited::Commit(commit)
            }
            (Some(app), _) => {
                let kind = if back {
                    JobKind::Rollback { commit, app }
                } else {
                    JobKind::Sync { commit, cause: SyncCause::Operator, app: Some(app) }
                };
                state.urgent.push_back(Job { environment: environment.clone(), kind: kind.clone() });
                Awaited::Job(kind)
            }
        };
        self.followers.wait(token, environment.clone(), awaited);
        out.push(Response::Stream(token, environment));
        None
    }

    fn say(
        &mut self,
        token: Token,
        environment: EnvironmentName,
        app: Option<AppName>,
        verb: OperatorVerb,
        out: &mut Vec<Response>,
    ) -> Option<ControlReply> {
        match self.environments.get(&environment) {
            None => Some(unknown(&environment)),
            Some(state) if state.running.is_none() => {
                Some(ControlReply::Refused { reason: format!("nothing runs in {environment}") })
            }
            Some(_) => {
                out.push(Response::Say(Some(token), environment, OperatorWord { app, verb }));
                None
            }
        }
    }

    /// Does what time has brought.
    fn due(&mut self, now: Timestamp, out: &mut Vec<Response>) {
        if self.stopping {
            return;
        }
        if !self.looking && self.next_look <= now {
            self.look(now, out);
        }
        for (name, state) in &mut self.environments {
            if state.next_backups.is_some_and(|at| at <= now) && !state.backing_up {
                state.next_backups = Some(now.plus_ms(self.settings.check_ms));
                // What is on the hosts, rather than what waits: a class that is not there yet has no backups.
                if let Some(commit) = state.basis().or_else(|| state.seen.clone()) {
                    state.backing_up = true;
                    out.push(Response::Backups(name.clone(), commit));
                }
            }
            if state.opening.is_some_and(|at| at <= now) {
                state.opening = None;
                if let (true, Some(commit)) = (state.is_automatic(), state.seen.clone()) {
                    let cause = SyncCause::Timer;
                    self.queue.offer(WantedSync { environment: name.clone(), commit, cause }, now);
                }
            }
            let touched = state.touched.is_some_and(|at| at.plus_ms(SETTLE_MS) <= now);
            let timer = state.next_check.is_some_and(|at| at <= now);
            // What runs looks at the hosts itself, and at its end once more.
            let over = state.next_over.is_some_and(|at| at <= now);
            if !(touched || timer || over) || state.checking.is_some() || state.running.is_some() {
                continue;
            }
            (state.touched, state.next_over) = (None, None);
            state.next_check = (state.drift_policy() != DriftPolicy::Off).then(|| now.plus_ms(self.settings.check_ms));
            // What is healed is compared with what it would be healed to; else with the newest commit, so that `status` can say
            // what waits.
            let healed = state.basis().filter(|_| state.drift_policy() == DriftPolicy::Heal);
            if let Some(commit) = healed.or_else(|| state.seen.clone()) {
                state.checking = Some(commit.clone());
                out.push(Response::Check(name.clone(), commit));
            }
        }
    }

    /// Starts what can start.
    fn start(&mut self, now: Timestamp, out: &mut Vec<Response>) {
        self.wake = None;
        if self.stopping {
            return;
        }
        for state in self.environments.values_mut().filter(|state| state.running.is_none()) {
            if let Some(job) = state.urgent.pop_front() {
                state.running = Some((job.clone(), now));
                out.push(Response::Start(job));
            }
        }
        self.hold_closed(now, out);
        loop {
            let wanted = match self.queue.next(now) {
                NextSync::Start(wanted) => wanted,
                NextSync::Wait(until) => {
                    self.wake = Some(until);
                    return;
                }
                NextSync::Idle => return,
            };
            let Some(state) = self.environments.get_mut(&wanted.environment) else { continue };
            if state.running.is_some() {
                state.held = Some(wanted);
                continue;
            }
            let kind = JobKind::Sync { commit: wanted.commit, cause: wanted.cause, app: None };
            let job = Job { environment: wanted.environment, kind };
            state.leave_out_closed(now);
            state.running = Some((job.clone(), now));
            out.push(Response::Start(job));
        }
    }

    /// Holds what waits in environments that windows close, and tells those who wait for it.
    fn hold_closed(&mut self, now: Timestamp, out: &mut Vec<Response>) {
        for (name, state) in &self.environments {
            let Some(cause) = self.queue.waiting(name) else { continue };
            let until = state.held_until(cause == SyncCause::Operator, now);
            if !self.queue.hold(name, until) {
                continue;
            }
            let text = state.closed(false, now).map(|closed| format!("{name} is {closed}: it is synced when it opens"));
            let Some(text) = text else { continue };
            for (token, ends) in self.followers.let_go(name) {
                out.push(Response::Reply(token, ControlReply::message(text.clone())));
                if let Some(ends) = ends {
                    let last = if ends.is_empty() { ControlReply::Done } else { ControlReply::Ended { ends } };
                    out.push(Response::Reply(token, last));
                }
            }
        }
    }

    fn tell_status(&mut self, out: &mut Vec<Response>) {
        let running = self.environments.iter().filter_map(|(name, state)| {
            let (job, _) = state.running.as_ref()?;
            Some(format!("{name}: {} {}", job.kind.cause(), job.kind.commit().short()))
        });
        let has_own = |state: &EnvironmentState| {
            let reason = state.problem.as_ref().map(|(problem, _)| &problem.reason);
            reason.is_some() && reason != self.fetching.trouble().map(|trouble| &trouble.reason)
        };
        let problems = self.environments.iter().filter(|(_, state)| has_own(state));
        let problems = problems.map(|(name, _)| format!("{name}: cannot use what git holds"));
        let unfetched = self.fetching.trouble().into_iter().map(|_| "the repository cannot be fetched".to_owned());
        let mut parts: Vec<_> = running.chain(unfetched).chain(problems).collect();
        if parts.is_empty() {
            parts.push(format!("{} environments followed", self.environments.len()));
        }
        let status = parts.join("; ");
        if status != self.status {
            self.status.clone_from(&status);
            out.push(Response::Status(status));
        }
    }
}

fn unknown(environment: &EnvironmentName) -> ControlReply {
    ControlReply::Refused { reason: format!("this manager follows no environment `{environment}`") }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
