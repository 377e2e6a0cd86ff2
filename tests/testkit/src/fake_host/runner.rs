//! Carries a transaction out with the real step machine.

use std::time::Duration;

use holdfast_host::transaction::machine::{At, Inputs, Next, next};
use holdfast_protocol::{
    Action, AppRecord, Decision, HealthCheck, JournalEntry, JournalEvent, Phase, Prove, TransactionId, TransactionSpec,
    Watch,
};
use tokio::time::{Instant, sleep, timeout};

use super::act;
use super::behaviour::Behaviour;
use super::fault::FaultPoint;
use super::host::{FakeHost, State, Transaction};

/// A killed runner starts again after this, as its unit does.
const RESTART: Duration = Duration::from_millis(200);

/// The runner was killed.
struct Killed;

/// Why a step did not succeed.
enum Stop {
    Failed(String),
    /// The manager decided otherwise meanwhile.
    Turned,
}

/// Runs a transaction to its end through any number of kills.
pub(super) async fn run(host: FakeHost, id: TransactionId) {
    let mut resumed = false;
    while let Err(Killed) = (Runner { host: &host, id: &id }).run(resumed).await {
        resumed = true;
        sleep(RESTART).await;
    }
    if let Some(transaction) = host.lock().transactions.get_mut(&id) {
        transaction.running = false;
    }
    host.touch();
}

struct Runner<'a> {
    host: &'a FakeHost,
    id: &'a TransactionId,
}

impl Runner<'_> {
    async fn run(&self, resumed: bool) -> Result<(), Killed> {
        if resumed {
            self.write(JournalEvent::Resumed)?;
        }
        loop {
            let (next, spec, step_time) = self.with(|state, transaction| {
                start_clocks(transaction);
                let next = next(&transaction.spec, &transaction.journal, inputs(transaction));
                (next, transaction.spec.clone(), state)
            });
            match next {
                Next::Enter(phase) => self.write(JournalEvent::Entered { phase })?,
                Next::Decide(decision, by) => self.write(JournalEvent::Decided { decision, by: by.to_owned() })?,
                Next::GiveUp(at) => self.failed(at, "its runner was cut down again and again".to_owned())?,
                Next::End(outcome, reason) => self.write(JournalEvent::Ended { outcome, reason })?,
                Next::Over => return Ok(()),
                Next::WaitReady | Next::WaitSettled => self.wait().await,
                Next::Do { at, tries } => {
                    sleep(Duration::from_millis(100 << tries.min(4)) * tries.min(1)).await;
                    self.forward(&spec, at, false, step_time).await?;
                }
                Next::Probe(at) => self.forward(&spec, at, true, step_time).await?,
                Next::Undo { at, .. } => self.undo(&spec, at, step_time).await?,
            }
        }
    }

    fn with<T>(&self, read: impl FnOnce(Duration, &mut Transaction) -> T) -> T {
        let mut state = self.host.lock();
        let step_time = state.step_time;
        let ledger = state.world.ledger.clone().unwrap_or_default();
        let transaction = state.transactions.get_mut(self.id).expect("a runner has a transaction");
        transaction.one_way = ledger.is_one_way(&transaction.spec.one_way);
        read(step_time, transaction)
    }

    /// Writes one entry, or dies at it.
    fn write(&self, event: JournalEvent) -> Result<(), Killed> {
        let mut state = self.host.lock();
        let count = state.entries;
        let before = state.fault(FaultPoint::Before(count));
        if before.is_some_and(|fault| fault.crash) {
            drop(state);
            self.host.touch();
            return Err(Killed);
        }
        state.entries += 1;
        if let Some(transaction) = state.transactions.get_mut(self.id) {
            let seq = transaction.journal.len() as u64;
            transaction.journal.push(JournalEntry { seq, at_ms: 0, event });
        }
        let after = state.fault(FaultPoint::After(count));
        drop(state);
        self.host.touch();
        if after.is_some_and(|fault| fault.crash) { Err(Killed) } else { Ok(()) }
    }

    fn failed(&self, at: At, error: String) -> Result<(), Killed> {
        let operator = error.starts_with(act::OPERATOR);
        self.write(JournalEvent::Failed { phase: at.phase, step: at.step, error, operator })
    }

    async fn wait(&self) {
        let mut changed = self.host.changed.subscribe();
        let deadline = self.with(|_, transaction| {
            let spec = &transaction.spec;
            let after = |since: Option<Instant>, ms: u64| since.map(|since| since + Duration::from_millis(ms));
            let confirm = spec.confirm_within_ms.filter(|_| !transaction.confirmed);
            [
                after(transaction.ready_at, spec.ready_deadline_ms),
                after(transaction.settled_at, spec.settled_deadline_ms),
                confirm.and_then(|ms| after(transaction.promoted_at, ms)),
            ]
            .into_iter()
            .flatten()
            .filter(|deadline| *deadline > Instant::now())
            .min()
        });
        // What is changed between looking and waiting is looked at again after a second.
        let limit = deadline.map_or(Duration::from_secs(1), |deadline| deadline - Instant::now());
        let _ = timeout(limit.min(Duration::from_secs(1)), changed.changed()).await;
    }

    async fn forward(
        &self,
        spec: &TransactionSpec,
        at: At,
        ask_first: bool,
        step_time: Duration,
    ) -> Result<(), Killed> {
        let step = at.of(spec).expect("the machine names steps that are there");
        let began = Instant::now();
        let known = self.before(at);
        if known.is_none() {
            let before = act::capture(&self.host.lock().world, spec, &step.action);
            let (phase, index, title) = (at.phase, at.step, step.title.clone());
            self.write(JournalEvent::Intent { phase, step: index, title, before })?;
        }
        sleep(step_time).await;
        let done = match &step.action {
            Action::Migrate { id, .. } if ask_first && self.has_migrated(id) => Ok(String::new()),
            action => self.apply(spec, at, &step.title, action).await,
        };
        match done {
            Ok(note) => {
                let took_ms = began.elapsed().as_millis() as u64;
                self.write(JournalEvent::Done { phase: at.phase, step: at.step, took_ms, note })
            }
            Err(Stop::Turned) => Ok(()),
            Err(Stop::Failed(error)) => self.failed(at, error),
        }
    }

    fn has_migrated(&self, id: &str) -> bool {
        self.host.lock().world.ledger.as_ref().is_some_and(|ledger| ledger.migrations.contains(id))
    }

    async fn apply(&self, spec: &TransactionSpec, at: At, title: &str, action: &Action) -> Result<String, Stop> {
        if self.host.lock().broken.iter().any(|text| title.contains(text.as_str())) {
            return Err(Stop::Failed("broken by the test".to_owned()));
        }
        match action {
            Action::Health(check) => self.health(at, check).await,
            Action::Watch(watch) => self.watch(at, watch).await,
            Action::Prove(prove) => self.prove(spec, title, prove),
            Action::Drain { timeout_ms, .. } => {
                sleep(Duration::from_millis((*timeout_ms).min(200))).await;
                Ok("no connection left".to_owned())
            }
            action => {
                let mut state = self.host.lock();
                let done = act::apply(&mut state.world, spec, action).map_err(Stop::Failed);
                state.check();
                done
            }
        }
    }

    async fn undo(&self, spec: &TransactionSpec, at: At, step_time: Duration) -> Result<(), Killed> {
        let step = at.of(spec).expect("the machine names steps that are there");
        self.write(JournalEvent::UndoIntent { phase: at.phase, step: at.step })?;
        sleep(step_time).await;
        let before = self.before(at).unwrap_or_default();
        let undone = {
            let mut state = self.host.lock();
            let undone = act::undo(&mut state.world, spec, &step.action, &before);
            state.check();
            undone
        };
        match undone {
            Ok(()) => self.write(JournalEvent::Undone { phase: at.phase, step: at.step }),
            Err(error) => self.failed(at, error),
        }
    }

    fn before(&self, at: At) -> Option<Vec<u8>> {
        self.with(|_, transaction| {
            transaction.journal.iter().find_map(|entry| match &entry.event {
                JournalEvent::Intent { phase, step, before, .. } if *phase == at.phase && *step == at.step => {
                    Some(before.clone())
                }
                _ => None,
            })
        })
    }

    /// Returns whether a long step is over before its time.
    fn is_turned(&self, at: At) -> bool {
        self.with(|_, transaction| match at.phase {
            Phase::Prepare | Phase::Promote => transaction.has(Decision::GoBack),
            Phase::Watch => {
                let inputs = inputs(transaction);
                let unconfirmed =
                    transaction.spec.confirm_within_ms.is_some() && !inputs.confirmed && inputs.confirm_over;
                inputs.go_back || inputs.settle || unconfirmed
            }
            _ => false,
        })
    }

    fn passes(&self, check: &HealthCheck) -> bool {
        self.host.lock().world.is_healthy(&check.units, &check.projects)
    }

    async fn health(&self, at: At, check: &HealthCheck) -> Result<String, Stop> {
        let (mut asked, mut failed, mut passed) = (0_u32, 0_u32, 0_u32);
        let began = Instant::now();
        let limit = Duration::from_millis(check.start_period_ms);
        let mut healthy_since = None;
        loop {
            asked += 1;
            if self.passes(check) {
                passed += 1;
                let since = *healthy_since.get_or_insert(Instant::now());
                if passed >= check.passes && since.elapsed() >= Duration::from_millis(check.min_healthy_ms) {
                    return Ok(format!("{asked} probes, {failed} failed"));
                }
            } else {
                failed += 1;
                (passed, healthy_since) = (0, None);
                if failed >= check.retries && began.elapsed() >= limit {
                    return Err(Stop::Failed(format!("unhealthy: {failed} of {asked} probes failed")));
                }
            }
            sleep(Duration::from_millis(check.interval_ms.max(1))).await;
            if self.is_turned(at) {
                return Err(Stop::Turned);
            }
        }
    }

    async fn watch(&self, at: At, watch: &Watch) -> Result<String, Stop> {
        let (mut asked, mut failed) = (0_u64, 0_u64);
        let until = Instant::now() + Duration::from_millis(watch.window_ms);
        while Instant::now() < until {
            for check in &watch.checks {
                asked += 1;
                failed += u64::from(!self.passes(check));
            }
            if failed >= 3 {
                return Err(Stop::Failed(format!("{failed} of {asked} probes failed in the watch window")));
            }
            sleep(Duration::from_millis(watch.window_ms.div_ceil(20).max(1))).await;
            if self.is_turned(at) {
                return Err(Stop::Turned);
            }
        }
        Ok(format!("{asked} probes, {failed} failed"))
    }

    /// Asks for the release through the switches that the transaction's record names.
    fn prove(&self, spec: &TransactionSpec, title: &str, prove: &Prove) -> Result<String, Stop> {
        let state = self.host.lock();
        let component = title.split(':').next().unwrap_or_default();
        let Some(record) = record_of(spec).and_then(|record| record.components.get(component)) else {
            return Err(Stop::Failed("the record names no such component".to_owned()));
        };
        for (listen, port) in &record.switches {
            let at = state.world.switches.get(listen);
            let place = at.and_then(|at| state.world.places.get(at));
            let texts = place.and_then(|place| state.world.running(&place.units, &place.project));
            let wrong =
                texts.as_ref().is_some_and(|texts| texts.iter().any(|(text, _)| Behaviour::of(text).wrong_release));
            if at != Some(port) || texts.is_none() || wrong {
                return Err(Stop::Failed(format!(
                    "{} of {} probes failed: `{}` does not answer",
                    prove.passes, prove.passes, prove.expect
                )));
            }
        }
        Ok(format!("{} probes, 0 failed", prove.passes))
    }
}

pub(super) fn record_of(spec: &TransactionSpec) -> Option<&AppRecord> {
    spec.settle.iter().find_map(|step| match &step.action {
        Action::Record(Some(record)) => Some(record.as_ref()),
        _ => None,
    })
}

pub(super) fn phase(transaction: &Transaction) -> Phase {
    let last = transaction.journal.iter().rev().find_map(|entry| match entry.event {
        JournalEvent::Entered { phase } => Some(phase),
        JournalEvent::Ended { .. } => Some(Phase::Ended),
        _ => None,
    });
    last.unwrap_or(Phase::Prepare)
}

fn start_clocks(transaction: &mut Transaction) {
    let now = Instant::now();
    match phase(transaction) {
        Phase::Ready => drop(transaction.ready_at.get_or_insert(now)),
        Phase::Watch => drop(transaction.promoted_at.get_or_insert(now)),
        Phase::Settled => {
            transaction.promoted_at.get_or_insert(now);
            transaction.settled_at.get_or_insert(now);
        }
        _ => {}
    }
}

fn inputs(transaction: &Transaction) -> Inputs {
    let over =
        |since: Option<Instant>, ms: u64| since.is_some_and(|since| since.elapsed() >= Duration::from_millis(ms));
    let spec = &transaction.spec;
    let gate_over = match phase(transaction) {
        Phase::Ready => over(transaction.ready_at, spec.ready_deadline_ms),
        Phase::Settled => over(transaction.settled_at, spec.settled_deadline_ms),
        _ => false,
    };
    Inputs {
        promote: transaction.has(Decision::Promote),
        settle: transaction.has(Decision::Settle),
        end_watch: transaction.has(Decision::EndWatch),
        go_back: transaction.has(Decision::GoBack),
        confirmed: transaction.confirmed,
        gate_over,
        confirm_over: spec.confirm_within_ms.is_some_and(|ms| over(transaction.promoted_at, ms)),
        one_way: transaction.one_way,
    }
}

impl State {
    /// Learns what the ports of a transaction belong to.
    pub(super) fn learn(&mut self, spec: &TransactionSpec) {
        if let Some(record) = record_of(spec) {
            self.world.learn(record);
        }
    }
}
