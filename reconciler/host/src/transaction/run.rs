//! Carries one transaction out: asks the machine what is next, does it, writes it down.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_protocol::{
    Action, Decision, Fault, JournalEntry, JournalEvent, Outcome, Phase, TransactionId, TransactionSpec,
};

use super::folder::{Clock, Folder};
use super::host::Host;
use super::machine::{At, Inputs, Next, next};
use super::step::{self, Probed, StepError, Work};
use super::wake::Wake;
use crate::journal::{Journal, JournalError};
use crate::mask::Masks;

/// The least time an undo gets, whatever its step's deadline was.
const UNDO_AT_LEAST: Duration = Duration::from_secs(60);

/// How often a wait looks at its clock although nothing woke it.
const LOOK: Duration = Duration::from_secs(1);

/// The least time between two progress entries.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Why a runner stopped before the transaction was over.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing to run, or it cannot be read: starting again does not help.
    #[error("{0}")]
    Unusable(String),
    /// Another runner is alive.
    #[error("another runner of this transaction is alive")]
    Running,
    /// The journal cannot be written, for example on a full disk: to be started again.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Any other I/O error: to be started again.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs a begun transaction to its end.
///
/// # Errors
/// [`RunError`]; what was done is in the journal, and the next runner goes on from there.
pub fn run(host: &Host, id: &TransactionId) -> Result<Outcome, RunError> {
    let folder = Folder::of(&host.root, id);
    let spec = folder.load().map_err(|fault: Fault| RunError::Unusable(fault.message))?;
    if folder.begun().is_none() {
        return Err(RunError::Unusable(format!("transaction {id} was not begun")));
    }
    let Some(_lock) = folder.lock_runner()? else { return Err(RunError::Running) };
    let journal = match Journal::open(&folder.journal()) {
        Err(error @ (JournalError::Version(_) | JournalError::Damaged { .. })) => {
            return Err(RunError::Unusable(error.to_string()));
        }
        opened => opened?,
    };
    let wake = Wake::on(folder.path());
    let resumed = !journal.entries().is_empty();
    let masks = Masks::new(host.root.clone());
    let runner = Runner { host, folder, spec, journal: RefCell::new(journal), masks, wake, told: Cell::new(None) };
    if resumed && runner.outcome().is_none() {
        runner.write(JournalEvent::Resumed)?;
    }
    runner.run()
}

struct Runner<'a> {
    host: &'a Host,
    folder: Folder,
    spec: TransactionSpec,
    journal: RefCell<Journal>,
    masks: Masks,
    wake: Wake,
    told: Cell<Option<Instant>>,
}

impl Runner<'_> {
    fn run(&self) -> Result<Outcome, RunError> {
        loop {
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
            match self.decide()? {
                Next::Do { at, tries } => {
                    self.back_off(tries);
                    self.forward(at, false)?;
                }
                Next::Probe(at) => self.forward(at, true)?,
                Next::Undo { at, tries } => {
                    self.back_off(tries);
                    self.undo(at)?;
                }
                Next::WaitReady => self.wait(Clock::Ready, self.spec.ready_deadline_ms),
                Next::WaitSettled => {
                    let confirm = self.spec.confirm_within_ms.filter(|_| !self.folder.is_confirmed());
                    match confirm {
                        Some(limit) => self.wait(Clock::Promoted, limit),
                        None => self.wait(Clock::Settled, self.spec.settled_deadline_ms),
                    }
                }
                Next::Enter(_) | Next::Decide(..) | Next::GiveUp(_) | Next::End(..) | Next::Over => {}
            }
            if self.host.disk.is_broken() {
                return Err(io::Error::other("broken by the test").into());
            }
        }
    }

    /// Asks the machine, and writes what is only to be written. Under the decisions' lock, so that whoever decides knows whether it
    /// still counts.
    fn decide(&self) -> Result<Next, RunError> {
        let _lock = self.folder.lock_decisions()?;
        self.start_clocks()?;
        let next = next(&self.spec, self.journal.borrow().entries(), self.inputs());
        match &next {
            Next::Enter(phase) => self.write(JournalEvent::Entered { phase: *phase })?,
            Next::Decide(decision, by) => {
                self.write(JournalEvent::Decided { decision: *decision, by: (*by).to_owned() })?;
            }
            Next::GiveUp(at) => self.write(JournalEvent::Failed {
                phase: at.phase,
                step: at.step,
                error: "its runner was cut down again and again".to_owned(),
                operator: false,
            })?,
            Next::End(outcome, reason) => {
                self.write(JournalEvent::Ended { outcome: *outcome, reason: reason.clone() })?;
            }
            Next::Do { .. } | Next::Probe(_) | Next::Undo { .. } | Next::WaitReady | Next::WaitSettled | Next::Over => {
            }
        }
        Ok(next)
    }

    fn phase(&self) -> Option<Phase> {
        self.journal.borrow().entries().iter().rev().find_map(|entry| match entry.event {
            JournalEvent::Entered { phase } => Some(phase),
            _ => None,
        })
    }

    fn start_clocks(&self) -> io::Result<()> {
        match self.phase() {
            Some(Phase::Ready) => self.folder.start_clock(self.host, Clock::Ready),
            Some(Phase::Watch) => self.folder.start_clock(self.host, Clock::Promoted),
            Some(Phase::Settled) => {
                self.folder.start_clock(self.host, Clock::Promoted)?;
                self.folder.start_clock(self.host, Clock::Settled)
            }
            _ => Ok(()),
        }
    }

    fn is_over(&self, clock: Clock, limit_ms: u64) -> bool {
        self.folder.clock(self.host, clock).is_some_and(|passed| passed >= Duration::from_millis(limit_ms))
    }

    fn inputs(&self) -> Inputs {
        let gate = match self.phase() {
            Some(Phase::Ready) => Some((Clock::Ready, self.spec.ready_deadline_ms)),
            Some(Phase::Settled) => Some((Clock::Settled, self.spec.settled_deadline_ms)),
            _ => None,
        };
        Inputs {
            promote: self.folder.has_decision(Decision::Promote),
            settle: self.folder.has_decision(Decision::Settle),
            end_watch: self.folder.has_decision(Decision::EndWatch),
            go_back: self.folder.has_decision(Decision::GoBack),
            confirmed: self.folder.is_confirmed(),
            gate_over: gate.is_some_and(|(clock, limit)| self.is_over(clock, limit)),
            confirm_over: self.spec.confirm_within_ms.is_some_and(|limit| self.is_over(Clock::Promoted, limit)),
            one_way: self.is_one_way(),
        }
    }

    /// A ledger that cannot be read says nothing of what changed: then the release stays.
    fn is_one_way(&self) -> bool {
        !self.spec.one_way.is_empty()
            && crate::ledger::load(&self.host.root)
                .ok()
                .flatten()
                .is_none_or(|ledger| ledger.is_one_way(&self.spec.one_way))
    }

    fn wait(&self, clock: Clock, limit_ms: u64) {
        let passed = self.folder.clock(self.host, clock).unwrap_or_default();
        let left = Duration::from_millis(limit_ms).saturating_sub(passed);
        self.wake.wait(left.min(LOOK), None);
    }

    fn back_off(&self, tries: u32) {
        if tries > 0 {
            std::thread::sleep(self.host.backoff.saturating_mul(1 << (tries - 1).min(4)));
        }
    }

    /// Whether the step that runs now is no longer wanted.
    fn stops(&self, phase: Phase) -> bool {
        match phase {
            Phase::Prepare | Phase::Promote => self.folder.has_decision(Decision::GoBack),
            Phase::Watch => {
                let inputs = self.inputs();
                let unconfirmed = self.spec.confirm_within_ms.is_some() && !inputs.confirmed && inputs.confirm_over;
                inputs.go_back || inputs.settle || inputs.end_watch || unconfirmed
            }
            Phase::Ready | Phase::Settled | Phase::Settle | Phase::Undo | Phase::Ended => false,
        }
    }

    fn forward(&self, at: At, ask_first: bool) -> Result<(), RunError> {
        let Some(step) = at.of(&self.spec) else {
            return Err(RunError::Unusable("a step that is not there".to_owned()));
        };
        let started = Instant::now();
        let stop = || self.stops(at.phase);
        let tell = |text: &str| self.tell(text);
        let work = Work {
            host: self.host,
            spec: &self.spec,
            component: &step.component,
            deadline: started + Duration::from_millis(step.deadline_ms),
            stop: &stop,
            tell: &tell,
        };
        let done = self.attempt(at, step, &work, ask_first);
        // A crash in a test is a crash: nothing is written any more.
        if self.host.disk.is_broken() {
            return Err(io::Error::other("broken by the test").into());
        }
        match done? {
            Ok(note) => {
                let took_ms = started.elapsed().as_millis() as u64;
                self.write(JournalEvent::Done { phase: at.phase, step: at.step, took_ms, note })
            }
            // The machine sees what was decided, and turns.
            Err(StepError::Stopped) if stop() => Ok(()),
            // Who was sent back meanwhile did not fail by itself: what was half done when it was told may well fail for that.
            // But a migration is never told to stop, and the way back has to know how it ended.
            Err(StepError::Failed(_))
                if at.phase != Phase::Settle
                    && !matches!(step.action, Action::Migrate { .. } | Action::Sql(_))
                    && self.folder.has_decision(Decision::GoBack) =>
            {
                Ok(())
            }
            Err(error) => self.write(failed(at, &error)),
        }
    }

    /// The outer result is ours, the inner one the step's.
    fn attempt(
        &self,
        at: At,
        step: &holdfast_protocol::Step,
        work: &Work<'_>,
        ask_first: bool,
    ) -> Result<Result<String, StepError>, RunError> {
        let before = if let Some(before) = self.before(at) {
            before
        } else {
            let before = match step::capture(work, &step.action) {
                Ok(before) => before,
                Err(error) => return Ok(Err(error)),
            };
            self.write(JournalEvent::Intent {
                phase: at.phase,
                step: at.step,
                title: step.title.clone(),
                before: before.clone(),
            })?;
            before
        };
        if ask_first {
            match step::probe(work, &step.action, &before) {
                Ok(Probed::Happened(note)) => return Ok(Ok(note)),
                Ok(Probed::DoIt) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(step::apply(work, &step.action, &before))
    }

    fn undo(&self, at: At) -> Result<(), RunError> {
        let Some(step) = at.of(&self.spec) else {
            return Err(RunError::Unusable("a step that is not there".to_owned()));
        };
        self.write(JournalEvent::UndoIntent { phase: at.phase, step: at.step })?;
        let tell = |text: &str| self.tell(text);
        let work = Work {
            host: self.host,
            spec: &self.spec,
            component: &step.component,
            deadline: Instant::now() + Duration::from_millis(step.deadline_ms).max(UNDO_AT_LEAST),
            stop: &|| false,
            tell: &tell,
        };
        let undone = step::undo(&work, &step.action, &self.before(at).unwrap_or_default());
        if self.host.disk.is_broken() {
            return Err(io::Error::other("broken by the test").into());
        }
        self.write(match undone {
            Ok(()) => JournalEvent::Undone { phase: at.phase, step: at.step },
            Err(error) => failed(at, &error),
        })
    }

    fn before(&self, at: At) -> Option<Vec<u8>> {
        self.journal.borrow().entries().iter().find_map(|entry| match &entry.event {
            JournalEvent::Intent { phase, step, before, .. } if *phase == at.phase && *step == at.step => {
                Some(before.clone())
            }
            _ => None,
        })
    }

    fn outcome(&self) -> Option<Outcome> {
        outcome(self.journal.borrow().entries())
    }

    /// Writes an event down, its secrets covered: journals are read by people, and by other programs than this one.
    fn write(&self, event: JournalEvent) -> Result<(), RunError> {
        Ok(self.journal.borrow_mut().append(now_ms(), self.masks.event(event))?)
    }

    fn tell(&self, text: &str) {
        let now = Instant::now();
        if self.told.get().is_some_and(|told| now.duration_since(told) < PROGRESS_EVERY) {
            return;
        }
        self.told.set(Some(now));
        // For display only: a full disk shows when the outcome is to be written.
        let _ = self.write(JournalEvent::Progress { text: text.to_owned() });
    }
}

fn failed(at: At, error: &StepError) -> JournalEvent {
    JournalEvent::Failed {
        phase: at.phase,
        step: at.step,
        error: error.to_string(),
        operator: matches!(error, StepError::Operator(_)),
    }
}

/// Returns how a transaction ended, when it has.
pub(super) fn outcome(entries: &[JournalEntry]) -> Option<Outcome> {
    entries.iter().rev().find_map(|entry| match entry.event {
        JournalEvent::Ended { outcome, .. } => Some(outcome),
        _ => None,
    })
}

/// For display only.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
