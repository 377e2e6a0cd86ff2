//! The step machine: says what a transaction does next.
//!
//! # Flow
//! Takes the specification, the journal so far and what has come from outside; gives one [`Next`]. The driver (`run.rs`) does it,
//! writes the outcome into the journal, and asks again. Nothing is remembered anywhere else, so a runner that was cut down goes on
//! where its journal ends.
//!
//! # Guarantees
//! No second promotion; no settle step before everything in `promote` is done, but for checks where there is no way back; undo in
//! reverse order, and only of steps that have an intent; every prefix of a journal leads to an end; after the end, nothing.

use std::collections::BTreeMap;

use holdfast_protocol::{
    Action, ActiveGoal, Decision, JournalEntry, JournalEvent, Outcome, Phase, Step, TransactionSpec, UNCONFIRMED,
    UNSERVED,
};

/// Times a settle step, or an undo, is tried before the transaction is stuck.
pub const TRIES: u32 = 5;

/// Times the runner may be cut down within one step before that step counts as failed: a step that kills its runner (by eating all
/// memory, say) must not do so for ever.
pub const CUTS: u32 = 12;

/// The place of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The phase it belongs to.
    pub phase: Phase,
    /// Its index in that phase's list.
    pub step: u32,
}

impl At {
    /// Returns the step of a specification.
    pub fn of(self, spec: &TransactionSpec) -> Option<&Step> {
        steps(spec, self.phase).get(self.step as usize)
    }
}

/// What came from outside: each is durable on the host before the machine sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The manager opened the *ready* gate.
    pub promote: bool,
    /// The manager opened the *settled* gate.
    pub settle: bool,
    /// The manager ended the watch window.
    pub end_watch: bool,
    /// The manager sends the host back.
    pub go_back: bool,
    /// The manager confirmed over a connection opened after `promote`.
    pub confirmed: bool,
    /// The time of the present gate is over.
    pub gate_over: bool,
    /// The time for the confirmation is over.
    pub confirm_over: bool,
    /// The release brought a schema that the one before does not work with.
    pub one_way: bool,
}

/// What a transaction does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write that this phase begins.
    Enter(Phase),
    /// Do a step. `tries` counts its earlier failures: wait a little before trying again.
    Do {
        /// Which.
        at: At,
        /// Earlier failures.
        tries: u32,
    },
    /// A step has an intent but no outcome: ask whether it happened, then do it or write that it is done.
    Probe(At),
    /// The runner was cut down in this step too often: write that the step failed.
    GiveUp(At),
    /// Write this decision and who took it.
    Decide(Decision, &'static str),
    /// Nothing to do before the manager decides or the *ready* gate's time is over.
    WaitReady,
    /// Nothing to do before the manager decides or confirms, or the *settled* gate's time is over.
    WaitSettled,
    /// Undo a step. `tries` counts earlier failures of the undo.
    Undo {
        /// Which.
        at: At,
        /// Earlier failures.
        tries: u32,
    },
    /// Write that the transaction is over.
    End(Outcome, String),
    /// It is over.
    Over,
}

#[derive(Debug, Clone, Copy, Default)]
struct StepTrace {
    intent: bool,
    done: bool,
    undone: bool,
    failures: u32,
    undo_failures: u32,
    /// Its undo failed in a way that only an operator can mend.
    undo_operator: bool,
    cuts: u32,
}

impl StepTrace {
    /// Its undo is not tried any more.
    fn is_given_up(self) -> bool {
        !self.undone && (self.undo_operator || self.undo_failures >= TRIES || self.cuts > 2 * CUTS)
    }
}

/// A journal folded into what the machine needs to know.
#[derive(Debug, Default)]
struct Trace {
    phase: Option<Phase>,
    entered_promote: bool,
    steps: BTreeMap<At, StepTrace>,
    /// The order of first intents; undo walks it backwards.
    order: Vec<At>,
    last_failed: Option<(At, String)>,
    /// The first failure on the way to a release that serves.
    broke: Option<(At, String)>,
    operator: Option<String>,
    /// The last error of each undo that failed.
    undo_errors: BTreeMap<At, String>,
    promote: bool,
    settle: bool,
    end_watch: bool,
    go_back: Option<String>,
    ended: bool,
}

impl Trace {
    fn fold(journal: &[JournalEntry]) -> Self {
        let mut trace = Self::default();
        for entry in journal {
            trace.add(&entry.event);
        }
        trace
    }

    fn step(&mut self, phase: Phase, step: u32) -> &mut StepTrace {
        self.steps.entry(At { phase, step }).or_default()
    }

    fn add(&mut self, event: &JournalEvent) {
        match event {
            JournalEvent::Entered { phase } => {
                self.phase = Some(*phase);
                self.entered_promote |= *phase == Phase::Promote;
            }
            JournalEvent::Intent { phase, step, .. } => {
                let at = At { phase: *phase, step: *step };
                if !self.order.contains(&at) {
                    self.order.push(at);
                }
                self.step(*phase, *step).intent = true;
            }
            JournalEvent::Done { phase, step, .. } => self.step(*phase, *step).done = true,
            JournalEvent::Failed { phase, step, error, operator } => {
                let undoing = self.phase == Some(Phase::Undo);
                let trace = self.step(*phase, *step);
                if undoing {
                    trace.undo_failures += 1;
                    trace.undo_operator |= *operator;
                } else {
                    trace.failures += 1;
                }
                trace.cuts = 0;
                if *operator {
                    self.operator.get_or_insert_with(|| error.clone());
                }
                let failed = (At { phase: *phase, step: *step }, error.clone());
                if undoing {
                    self.undo_errors.insert(failed.0, error.clone());
                }
                if !undoing && *phase != Phase::Settle {
                    self.broke.get_or_insert_with(|| failed.clone());
                }
                self.last_failed = Some(failed);
            }
            JournalEvent::UndoIntent { .. } | JournalEvent::Progress { .. } => {}
            JournalEvent::Undone { phase, step } => self.step(*phase, *step).undone = true,
            JournalEvent::Decided { decision, by } => match decision {
                Decision::Promote => self.promote = true,
                Decision::Settle => self.settle = true,
                Decision::EndWatch => self.end_watch = true,
                Decision::GoBack => {
                    self.go_back.get_or_insert_with(|| by.clone());
                }
            },
            JournalEvent::Resumed => {
                for trace in self.steps.values_mut().filter(|trace| trace.intent && !trace.done && !trace.undone) {
                    trace.cuts += 1;
                }
            }
            JournalEvent::Ended { .. } => self.ended = true,
        }
    }

    fn get(&self, at: At) -> StepTrace {
        self.steps.get(&at).copied().unwrap_or_default()
    }
}

/// Returns the steps of a phase; the gates and the end have none.
pub fn steps(spec: &TransactionSpec, phase: Phase) -> &[Step] {
    match phase {
        Phase::Prepare => &spec.prepare,
        Phase::Promote => &spec.promote,
        Phase::Watch => &spec.watch,
        Phase::Settle => &spec.settle,
        Phase::Ready | Phase::Settled | Phase::Undo | Phase::Ended => &[],
    }
}

/// Returns what the transaction does next.
pub fn next(spec: &TransactionSpec, journal: &[JournalEntry], inputs: Inputs) -> Next {
    let trace = Trace::fold(journal);
    if trace.ended {
        return Next::Over;
    }
    let Some(phase) = trace.phase else { return Next::Enter(Phase::Prepare) };
    match phase {
        Phase::Prepare | Phase::Promote => forward(spec, &trace, inputs, phase),
        Phase::Ready => at_ready(&trace, inputs),
        Phase::Watch => watching(spec, &trace, inputs),
        Phase::Settled => at_settled(spec, &trace, inputs),
        Phase::Settle => settling(spec, &trace),
        Phase::Undo | Phase::Ended => undoing(spec, &trace),
    }
}

/// Going back is possible from here: by decision (written first), by the manager's wish, or since a step failed. A migration whose
/// runner was cut down in its middle is seen to its end first: nobody knows what to go back from before.
fn turning_back(spec: &TransactionSpec, trace: &Trace, inputs: Inputs, phase: Phase) -> Option<Next> {
    if trace.go_back.is_some() || inputs.go_back {
        let is_migration = |step: &Step| matches!(step.action, Action::Migrate { .. } | Action::Sql(_));
        let migrates = |at: &At| at.of(spec).is_some_and(is_migration);
        let cut = first_open(spec, trace, phase).filter(|at| migrates(at) && trace.get(*at).intent);
        if let Some(at) = cut.filter(|at| trace.get(*at).failures == 0) {
            return Some(if trace.get(at).cuts > CUTS { Next::GiveUp(at) } else { Next::Probe(at) });
        }
    }
    if trace.go_back.is_some() || trace.steps.iter().any(|(at, step)| at.phase == phase && step.failures > 0) {
        return Some(Next::Enter(back(spec, trace, inputs)));
    }
    inputs.go_back.then_some(Next::Decide(Decision::GoBack, "manager"))
}

/// Returns where the way back leads. Where the release before does not know the schema, a release that serves stays: it is cleaned
/// up behind it and recorded, so that ledger and host agree. A change that cuts the manager off goes back all the same.
fn back(spec: &TransactionSpec, trace: &Trace, inputs: Inputs) -> Phase {
    let is_check = |step: &Step| {
        matches!(step.action, Action::Health(_) | Action::Prove(_) | Action::Smoke(_) | Action::OnUndo(_))
    };
    let serves = trace.entered_promote
        && spec
            .promote
            .iter()
            .zip(0..)
            .all(|(step, index)| is_check(step) || trace.get(At { phase: Phase::Promote, step: index }).done);
    let unconfirmed = trace.go_back.as_deref() == Some(UNCONFIRMED);
    if inputs.one_way && serves && !unconfirmed { Phase::Settle } else { Phase::Undo }
}

fn forward(spec: &TransactionSpec, trace: &Trace, inputs: Inputs, phase: Phase) -> Next {
    if let Some(next) = turning_back(spec, trace, inputs, phase) {
        return next;
    }
    let after = if phase == Phase::Prepare { Phase::Ready } else { Phase::Watch };
    next_step(spec, trace, phase).unwrap_or(Next::Enter(after))
}

fn next_step(spec: &TransactionSpec, trace: &Trace, phase: Phase) -> Option<Next> {
    let at = first_open(spec, trace, phase)?;
    let step = trace.get(at);
    Some(match (step.intent, step.failures) {
        (true, 0) if step.cuts > CUTS => Next::GiveUp(at),
        (true, 0) => Next::Probe(at),
        (_, tries) => Next::Do { at, tries },
    })
}

fn first_open(spec: &TransactionSpec, trace: &Trace, phase: Phase) -> Option<At> {
    (0..steps(spec, phase).len() as u32).map(|step| At { phase, step }).find(|at| !trace.get(*at).done)
}

fn at_ready(trace: &Trace, inputs: Inputs) -> Next {
    if trace.go_back.is_some() {
        Next::Enter(Phase::Undo)
    } else if trace.promote {
        Next::Enter(Phase::Promote)
    } else if inputs.go_back {
        Next::Decide(Decision::GoBack, "manager")
    } else if inputs.promote {
        Next::Decide(Decision::Promote, "manager")
    } else if inputs.gate_over {
        Next::Decide(Decision::GoBack, "deadline")
    } else {
        Next::WaitReady
    }
}

fn watching(spec: &TransactionSpec, trace: &Trace, inputs: Inputs) -> Next {
    if let Some(next) = turning_back(spec, trace, inputs, Phase::Watch) {
        return next;
    }
    if spec.confirm_within_ms.is_some() && !inputs.confirmed && inputs.confirm_over {
        return Next::Decide(Decision::GoBack, UNCONFIRMED);
    }
    if trace.settle || trace.end_watch {
        return Next::Enter(Phase::Settled);
    }
    if inputs.settle {
        return Next::Decide(Decision::Settle, "manager");
    }
    if inputs.end_watch {
        return Next::Decide(Decision::EndWatch, "manager");
    }
    next_step(spec, trace, Phase::Watch).unwrap_or(Next::Enter(Phase::Settled))
}

fn at_settled(spec: &TransactionSpec, trace: &Trace, inputs: Inputs) -> Next {
    if trace.go_back.is_some() {
        return Next::Enter(back(spec, trace, inputs));
    }
    if inputs.go_back {
        return Next::Decide(Decision::GoBack, "manager");
    }
    if spec.confirm_within_ms.is_some() && !inputs.confirmed {
        return if inputs.confirm_over { Next::Decide(Decision::GoBack, UNCONFIRMED) } else { Next::WaitSettled };
    }
    if trace.settle {
        Next::Enter(Phase::Settle)
    } else if !spec.settled_gate {
        Next::Decide(Decision::Settle, "host")
    } else if inputs.settle {
        Next::Decide(Decision::Settle, "manager")
    } else if inputs.gate_over {
        Next::Decide(Decision::Settle, "deadline")
    } else {
        Next::WaitSettled
    }
}

fn settling(spec: &TransactionSpec, trace: &Trace) -> Next {
    let Some(at) = first_open(spec, trace, Phase::Settle) else {
        return held(spec, trace).map_or(Next::End(Outcome::Done, String::new()), |why| Next::End(Outcome::Stuck, why));
    };
    let step = trace.get(at);
    let error = trace.last_failed.as_ref().map_or("", |(_, error)| error.as_str());
    if step.failures >= TRIES || (step.failures > 0 && trace.operator.is_some()) {
        let title = title(spec, at);
        return Next::End(
            Outcome::Stuck,
            format!(
                "the new release serves, but cleaning up stopped at `{title}`: {error}; put it right and apply again"
            ),
        );
    }
    match (step.intent, step.failures) {
        (true, 0) if step.cuts > CUTS => Next::GiveUp(at),
        (true, 0) => Next::Probe(at),
        (_, tries) => Next::Do { at, tries },
    }
}

/// Returns why a release that should have gone back stays; `None` where nothing failed.
fn held(spec: &TransactionSpec, trace: &Trace) -> Option<String> {
    let why = match (&trace.go_back, &trace.broke) {
        (_, Some((at, error))) => format!("`{}` failed: {error}", title(spec, *at)),
        (Some(_), _) => "it was sent back".to_owned(),
        _ => return None,
    };
    Some(format!(
        "the new release stays, for the one before does not know its schema: {why}; mend it with a new commit, or see what \
         `holdfast rollback --downgrade` can do"
    ))
}

/// Undoes in reverse. A schema that cannot be brought back stops nothing but the start of what does not know it: the rest is undone
/// all the same, so that the ledger is right about everything but that nobody is served, and the next commit finds its way.
fn undoing(spec: &TransactionSpec, trace: &Trace) -> Next {
    let steps = || trace.order.iter().rev().copied();
    let error = |at: At| trace.undo_errors.get(&at).map_or("its undo was cut down again and again", String::as_str);
    let lost: Vec<At> = steps().filter(|at| is_schema(spec, *at) && trace.get(*at).is_given_up()).collect();
    let waits = |at: &At| lost.contains(at) || (!lost.is_empty() && serves_again(spec, *at));
    if let Some(at) = steps().find(|at| !trace.get(*at).undone && !waits(at)) {
        let (step, error) = (trace.get(at), error(at));
        if step.undo_operator {
            return Next::End(Outcome::Stuck, error.to_owned());
        }
        if step.is_given_up() {
            return Next::End(
                Outcome::Stuck,
                format!(
                    "going back stopped at `{}`: {error}; {}; put it right and apply or roll back again",
                    title(spec, at),
                    if trace.entered_promote { "see which release serves" } else { "the old release serves" }
                ),
            );
        }
        return Next::Undo { at, tries: step.undo_failures };
    }
    if let Some(at) = lost.first() {
        let title = title(spec, *at);
        return Next::End(
            Outcome::Stuck,
            format!("{UNSERVED}: `{title}` failed: {}; the rest is as it was before, and stopped", error(*at)),
        );
    }
    if let Some(text) = &trace.operator {
        return Next::End(Outcome::Stuck, text.clone());
    }
    let reason = match (&trace.go_back, &trace.last_failed) {
        (Some(by), _) if by == "deadline" => "no decision came in time".to_owned(),
        (Some(by), _) if by == UNCONFIRMED => "it was not confirmed over a new connection in time".to_owned(),
        (Some(_), _) => "the manager sent the host back".to_owned(),
        (None, Some((at, error))) => format!("`{}` failed: {error}", title(spec, *at)),
        (None, None) => String::new(),
    };
    Next::End(if trace.entered_promote { Outcome::RolledBack } else { Outcome::Abandoned }, reason)
}

/// Returns whether a step, when it is undone, brings the schema back that those who are started after it know.
fn is_schema(spec: &TransactionSpec, at: At) -> bool {
    let Some(Action::OnUndo(inner)) = at.of(spec).map(|step| &step.action) else { return false };
    matches!(**inner, Action::Downgrade { .. } | Action::Migrate { .. })
}

/// Returns whether a step, when it is undone, starts again what was stopped before the schema was touched.
fn serves_again(spec: &TransactionSpec, at: At) -> bool {
    let stops = |action: &Action| {
        matches!(action, Action::ComposeStop { .. } | Action::Unit { active: Some(ActiveGoal::Stopped), .. })
    };
    let Some(step) = at.of(spec) else { return false };
    let starts = match &step.action {
        Action::OnUndo(inner) => {
            matches!(
                **inner,
                Action::ComposeUp { .. } | Action::ComposeStart { .. } | Action::Unit { .. } | Action::Health(_)
            )
        }
        action => stops(action),
    };
    starts && spec.prepare.iter().any(|other| other.component == step.component && stops(&other.action))
}

fn title(spec: &TransactionSpec, at: At) -> String {
    at.of(spec).map_or_else(|| format!("step {}", at.step), |step| step.title.clone())
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
