use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Decision, Outcome, Phase};

use crate::config::RolloutPolicy;
use crate::event::AppResult;
use crate::id::HostName;

/// What the fleet must know to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetPolicy {
    /// Any failure puts every host back.
    pub all_or_nothing: bool,
    /// After the first wave, wait for the operator. Only where that wave is a canary.
    pub pause_after_first: bool,
    /// The host that migrates, when one does: the others begin when it is ready, and promote when it has promoted.
    pub migrating: Option<HostName>,
}

impl FleetPolicy {
    /// Returns the policy of an environment.
    pub fn new(policy: &RolloutPolicy, migrating: Option<HostName>) -> Self {
        Self {
            all_or_nothing: policy.all_or_nothing,
            pause_after_first: policy.pause_after_canary && policy.canary > 0,
            migrating,
        }
    }
}

/// Something that happened to the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetEvent {
    /// All hosts are staged. Comes once, first.
    Staged,
    /// A host's journal entered a phase.
    Entered(HostName, Phase),
    /// A host's transaction is over.
    Ended(HostName, Outcome),
    /// A host could not be reached for so long that nobody waits for it any more. What it does is unknown.
    Lost(HostName),
    /// The operator says go on: what holds the present wave is over, a pause as well as its open watch windows; so is the pause behind
    /// the first wave, when all of that wave serves. What has not come yet is not answered by it.
    Promote,
    /// The operator says wait: nobody begins, promotes or settles until told to go on.
    Pause,
    /// The operator ends a pause; without one, nothing.
    Resume,
    /// The operator says go back.
    Abort,
}

/// Something to be done to the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FleetCommand {
    /// Start the transaction on this host.
    Begin(HostName),
    /// Tell this host.
    Decide {
        /// Host.
        host: HostName,
        /// What.
        decision: Decision,
        /// Why, for people.
        reason: String,
    },
    /// The rollout waits for a person.
    Pause {
        /// What to do.
        hint: String,
    },
    /// It is over.
    End(AppResult),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Staged; nothing of it runs.
    Staged,
    /// Told to begin; not ready yet.
    Preparing,
    /// At the *ready* gate.
    Ready,
    /// Told to promote; not through yet.
    Promoting,
    /// Promoted, in its watch window.
    Watching,
    /// Watched, at the *settled* gate.
    Watched,
    /// Told to settle, or doing so by itself. No way back.
    Settling,
    /// Told to go back, or doing so by itself.
    GoingBack,
    Ended(Outcome),
    Lost,
}

impl Member {
    /// Returns whether its watch window is open, or opens at once.
    fn has_window(self) -> bool {
        matches!(self, Self::Promoting | Self::Watching)
    }

    /// Returns whether it serves the new release, or does at once.
    fn serves(self) -> bool {
        self.has_window() || matches!(self, Self::Watched | Self::Settling | Self::Ended(Outcome::Done))
    }
}

/// Decides across the hosts of one app: who begins, who promotes, who goes back.
///
/// # Guarantees
/// Nobody promotes after an abort or a failure. Not more hosts than a wave holds are between promotion and settling, unless all or
/// nothing holds them at the *settled* gate. With all or nothing, nobody promotes before all are ready, and nobody settles before all
/// are promoted and watched. It ends when every host has.
#[derive(Debug, Clone)]
pub struct Fleet {
    waves: Vec<Vec<HostName>>,
    members: BTreeMap<HostName, Member>,
    policy: FleetPolicy,
    staged: bool,
    paused: bool,
    /// The pause after the first wave was made.
    first_pause_done: bool,
    /// Hosts whose watch window the operator ended, until they are told.
    hurried: BTreeSet<HostName>,
    /// The operator's pause is not told yet.
    pause_untold: bool,
    /// Why everybody goes back.
    turned: Option<String>,
    ended: bool,
}

impl Fleet {
    /// Returns a fleet of which nothing has begun.
    pub fn new(waves: Vec<Vec<HostName>>, policy: FleetPolicy) -> Self {
        let members: BTreeMap<_, _> = waves.iter().flatten().map(|host| (host.clone(), Member::Staged)).collect();
        // A single host has nobody to wait for.
        let policy = FleetPolicy { all_or_nothing: policy.all_or_nothing && members.len() > 1, ..policy };
        Self {
            waves,
            members,
            policy,
            staged: false,
            paused: false,
            first_pause_done: false,
            hurried: BTreeSet::new(),
            pause_untold: false,
            turned: None,
            ended: false,
        }
    }

    /// Returns the fleet of a rollout whose manager was cut down.
    ///
    /// Where a host has passed the commit point the rest goes forward, for going back would be the second change users see; where
    /// none has, everybody goes back. `unfinished` holds every host whose transaction is known, with how it ended if it has.
    pub fn resume(unfinished: &BTreeMap<HostName, (Phase, Option<Outcome>)>) -> Self {
        let policy = FleetPolicy { all_or_nothing: true, pause_after_first: false, migrating: None };
        let mut fleet = Self::new(vec![unfinished.keys().cloned().collect()], policy);
        fleet.staged = true;
        for (host, (phase, outcome)) in unfinished {
            fleet.members.insert(host.clone(), Member::Preparing);
            fleet.note(&match outcome {
                Some(outcome) => FleetEvent::Ended(host.clone(), *outcome),
                None => FleetEvent::Entered(host.clone(), *phase),
            });
        }
        let passed = |member: &Member| {
            matches!(
                member,
                Member::Promoting
                    | Member::Watching
                    | Member::Watched
                    | Member::Settling
                    | Member::Ended(Outcome::Done)
            )
        };
        if !fleet.members.values().any(passed) {
            fleet.turned = Some("its manager was cut down before any host had switched".to_owned());
        }
        fleet
    }

    /// Returns what is to be done about an event.
    pub fn step(&mut self, event: &FleetEvent) -> Vec<FleetCommand> {
        self.note(event);
        let mut commands = Vec::new();
        if self.ended || !self.staged {
            return commands;
        }
        self.turn_round();
        if self.turned.is_some() {
            self.go_back(&mut commands);
        } else if self.paused {
            if std::mem::take(&mut self.pause_untold) {
                let hint = "held by an operator: `holdfast resume` goes on, `holdfast abort` goes back";
                commands.push(FleetCommand::Pause { hint: hint.to_owned() });
            }
        } else if self.policy.all_or_nothing {
            self.together(&mut commands);
        } else {
            self.in_turn(&mut commands);
        }
        if let Some(result) = self.result() {
            self.ended = true;
            commands.push(FleetCommand::End(result));
        }
        commands
    }

    /// Returns whether the rollout waits for a person.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Returns whether anything starts on a host: what is before its switch, or goes back from it.
    pub fn is_starting(&self) -> bool {
        let starts = |member: &Member| matches!(member, Member::Preparing | Member::Promoting | Member::GoingBack);
        !self.ended && self.members.values().any(starts)
    }

    /// Returns whether a [`FleetEvent::Promote`] would change anything now: the rollout is paused, is about to pause behind its first
    /// wave, or has a watch window that is open or just opens.
    pub fn can_promote(&self) -> bool {
        let pauses_next =
            self.policy.pause_after_first && !self.first_pause_done && self.waves.len() > 1 && self.first_wave_serves();
        let live = self.staged && !self.ended && self.turned.is_none();
        live && (self.paused || pauses_next || self.members.values().any(|member| member.has_window()))
    }

    fn first_wave_serves(&self) -> bool {
        let serves = |host: &HostName| self.members.get(host).is_some_and(|member| member.serves());
        self.waves.first().is_some_and(|wave| wave.iter().all(serves))
    }

    fn note(&mut self, event: &FleetEvent) {
        match event {
            FleetEvent::Staged => self.staged = true,
            FleetEvent::Entered(host, phase) => self.entered(host, *phase),
            FleetEvent::Ended(host, outcome) => self.set(host, Member::Ended(*outcome)),
            FleetEvent::Lost(host) => {
                if !matches!(self.members.get(host), Some(Member::Ended(_))) {
                    self.set(host, Member::Lost);
                }
            }
            FleetEvent::Promote => {
                self.paused = false;
                // Who lets the first wave go on has seen it: he is not asked again behind it.
                self.first_pause_done |= self.first_wave_serves();
                let open = self.members.iter().filter(|(_, member)| member.has_window());
                self.hurried.extend(open.map(|(host, _)| host.clone()));
            }
            FleetEvent::Pause => {
                self.pause_untold = !self.paused;
                self.paused = true;
            }
            FleetEvent::Resume => self.paused = false,
            FleetEvent::Abort => {
                self.turned.get_or_insert_with(|| "the operator aborted the rollout".to_owned());
            }
        }
    }

    fn entered(&mut self, host: &HostName, phase: Phase) {
        let Some(member) = self.members.get(host).copied() else { return };
        if matches!(member, Member::Ended(_)) {
            return;
        }
        let next = match phase {
            Phase::Prepare => Member::Preparing,
            // A decision may be under way while the journal of the gate is still read.
            Phase::Ready if matches!(member, Member::Promoting | Member::GoingBack) => member,
            Phase::Ready => Member::Ready,
            Phase::Promote | Phase::Watch | Phase::Settled if member == Member::GoingBack => member,
            Phase::Promote => Member::Promoting,
            Phase::Watch | Phase::Settled if member == Member::Settling => member,
            Phase::Watch => Member::Watching,
            Phase::Settled => Member::Watched,
            Phase::Settle => Member::Settling,
            Phase::Undo => Member::GoingBack,
            Phase::Ended => member,
        };
        self.set(host, next);
    }

    fn set(&mut self, host: &HostName, member: Member) {
        if let Some(place) = self.members.get_mut(host) {
            *place = member;
        }
    }

    /// A host that failed turns everybody round who has not promoted; with all or nothing, also those who have.
    fn turn_round(&mut self) {
        if self.turned.is_some() {
            return;
        }
        let failed = self.members.iter().find_map(|(host, member)| {
            let how = match member {
                Member::GoingBack => "goes back",
                Member::Lost => "was lost",
                Member::Ended(Outcome::Abandoned) => "abandoned the release",
                Member::Ended(Outcome::RolledBack) => "rolled back",
                Member::Ended(Outcome::Stuck) => "is stuck",
                _ => return None,
            };
            Some(format!("{host} {how}"))
        });
        self.turned = failed;
    }

    fn go_back(&mut self, commands: &mut Vec<FleetCommand>) {
        let reason = self.turned.clone().unwrap_or_default();
        let aborted = reason.starts_with("the operator") || reason.starts_with("its manager");
        let everyone = self.policy.all_or_nothing || aborted;
        for (host, member) in &mut self.members {
            let turns = match member {
                Member::Preparing | Member::Ready => true,
                Member::Promoting | Member::Watching | Member::Watched => everyone,
                Member::Staged | Member::Settling | Member::GoingBack | Member::Ended(_) | Member::Lost => false,
            };
            if turns {
                *member = Member::GoingBack;
                let reason = reason.clone();
                commands.push(FleetCommand::Decide { host: host.clone(), decision: Decision::GoBack, reason });
            }
        }
    }

    /// Wave after wave; the next begins when the last has settled.
    fn in_turn(&mut self, commands: &mut Vec<FleetCommand>) {
        let done = |fleet: &Self, host: &HostName| fleet.members.get(host) == Some(&Member::Ended(Outcome::Done));
        let Some(current) = self.waves.iter().position(|wave| !wave.iter().all(|host| done(self, host))) else {
            return;
        };
        if current > 0 && self.pauses_here(commands) {
            return;
        }
        let wave = self.waves[current].clone();
        self.begin(&wave, commands);
        self.promote(&wave, commands);
        self.end_watches(commands);
    }

    /// Tells those whose window the operator ended. A host that waits at no gate then settles by itself.
    ///
    /// The gate stays closed: with all or nothing, one that fails at this very moment still turns everybody round.
    fn end_watches(&mut self, commands: &mut Vec<FleetCommand>) {
        let watching = |host: &HostName| self.members.get(host) == Some(&Member::Watching);
        for host in self.hurried.iter().filter(|host| watching(host)).cloned().collect::<Vec<_>>() {
            self.hurried.remove(&host);
            let reason = "the operator ended the watch window".to_owned();
            commands.push(FleetCommand::Decide { host, decision: Decision::EndWatch, reason });
        }
    }

    /// All ready, all promoted wave by wave, all settled.
    fn together(&mut self, commands: &mut Vec<FleetCommand>) {
        let all: Vec<HostName> = self.waves.iter().flatten().cloned().collect();
        self.begin(&all, commands);
        let is = |fleet: &Self, host: &HostName, wanted: &[Member]| {
            fleet.members.get(host).is_some_and(|member| wanted.contains(member))
        };
        if all.iter().any(|host| is(self, host, &[Member::Staged, Member::Preparing])) {
            return;
        }
        self.end_watches(commands);
        let through = [Member::Watched, Member::Settling, Member::Ended(Outcome::Done)];
        let current = self.waves.iter().position(|wave| !wave.iter().all(|host| is(self, host, &through)));
        if let Some(current) = current {
            if current > 0 && self.pauses_here(commands) {
                return;
            }
            let wave = self.waves[current].clone();
            self.promote(&wave, commands);
            return;
        }
        self.settle(&all, Member::Watched, "every host serves the new release", commands);
    }

    /// Pauses once after the first wave, where that is wanted.
    fn pauses_here(&mut self, commands: &mut Vec<FleetCommand>) -> bool {
        if !self.policy.pause_after_first || self.first_pause_done {
            return false;
        }
        self.first_pause_done = true;
        self.paused = true;
        let hint = "the first wave serves the new release: `holdfast promote` goes on, `holdfast abort` goes back";
        commands.push(FleetCommand::Pause { hint: hint.to_owned() });
        true
    }

    fn begin(&mut self, hosts: &[HostName], commands: &mut Vec<FleetCommand>) {
        let migrated = self.migrating().is_none_or(|member| !matches!(member, Member::Staged | Member::Preparing));
        for host in hosts {
            let first = self.policy.migrating.as_ref() == Some(host);
            if self.members.get(host) == Some(&Member::Staged) && (first || migrated) {
                self.set(host, Member::Preparing);
                commands.push(FleetCommand::Begin(host.clone()));
            }
        }
    }

    fn promote(&mut self, hosts: &[HostName], commands: &mut Vec<FleetCommand>) {
        // What a component changes where it serves can include its migration.
        let migrated = self.migrating().is_none_or(|member| {
            !matches!(member, Member::Staged | Member::Preparing | Member::Ready | Member::Promoting)
        });
        for host in hosts {
            let first = self.policy.migrating.as_ref() == Some(host);
            if self.members.get(host) == Some(&Member::Ready) && (first || migrated) {
                self.set(host, Member::Promoting);
                let reason = if self.policy.all_or_nothing { "every host is ready" } else { "its turn has come" };
                let decision = Decision::Promote;
                commands.push(FleetCommand::Decide { host: host.clone(), decision, reason: reason.to_owned() });
            }
        }
    }

    fn settle(&mut self, hosts: &[HostName], from: Member, reason: &str, commands: &mut Vec<FleetCommand>) {
        for host in hosts {
            if self.members.get(host) == Some(&from) {
                self.set(host, Member::Settling);
                let decision = Decision::Settle;
                commands.push(FleetCommand::Decide { host: host.clone(), decision, reason: reason.to_owned() });
            }
        }
    }

    fn migrating(&self) -> Option<Member> {
        self.members.get(self.policy.migrating.as_ref()?).copied()
    }

    fn result(&self) -> Option<AppResult> {
        let over = |member: &Member| match member {
            Member::Ended(_) | Member::Lost => true,
            Member::Staged => self.turned.is_some(),
            _ => false,
        };
        if !self.members.values().all(over) {
            return None;
        }
        let seen: BTreeSet<_> = self
            .members
            .values()
            .map(|member| match member {
                Member::Ended(Outcome::Done) => AppResult::Done,
                Member::Ended(Outcome::Stuck) | Member::Lost => AppResult::Stuck,
                _ => AppResult::RolledBack,
            })
            .collect();
        Some(match (seen.contains(&AppResult::Stuck), seen.contains(&AppResult::Done), seen.len()) {
            (true, ..) => AppResult::Stuck,
            (false, true, 2..) => AppResult::Partial,
            (false, true, _) | (false, false, 0) => AppResult::Done,
            (false, false, _) => AppResult::RolledBack,
        })
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
