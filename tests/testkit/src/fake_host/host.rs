use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_protocol::{
    Architecture, Capability, Decision, Hello, JournalEntry, Outcome, PROTOCOL_VERSION, Tool, TransactionId,
    TransactionSpec,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::fault::{Fault, FaultPoint};
use super::world::World;

/// One host of a fake fleet. Cheap to clone: all clones are the same host.
#[derive(Clone)]
pub struct FakeHost {
    pub(super) name: String,
    pub(super) state: Arc<Mutex<State>>,
    /// Rises with every change, so that nobody has to poll.
    pub(super) changed: Arc<watch::Sender<u64>>,
}

pub(super) struct State {
    pub(super) world: World,
    pub(super) fence: u64,
    /// By app: its fence, and the transaction that claimed it.
    pub(super) fences: BTreeMap<String, (u64, TransactionId)>,
    pub(super) transactions: BTreeMap<TransactionId, Transaction>,
    /// Journal entries written so far, over all transactions.
    pub(super) entries: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) cut_until: Option<Instant>,
    /// Rises when all channels break.
    pub(super) generation: u64,
    pub(super) violations: BTreeSet<String>,
    /// Titles of steps that fail, while they are in here.
    pub(super) broken: Vec<String>,
    pub(super) step_time: Duration,
}

pub(super) struct Transaction {
    pub(super) spec: TransactionSpec,
    pub(super) journal: Vec<JournalEntry>,
    pub(super) begun: bool,
    pub(super) running: bool,
    pub(super) decisions: BTreeSet<u8>,
    pub(super) confirmed: bool,
    /// Whether its release brought a schema that the one before does not work with.
    pub(super) one_way: bool,
    /// Managers that follow it now.
    pub(super) followers: u32,
    pub(super) ready_at: Option<Instant>,
    pub(super) promoted_at: Option<Instant>,
    pub(super) settled_at: Option<Instant>,
}

impl State {
    /// Claims a transaction's fence for it.
    pub(super) fn claim(&mut self, spec: &TransactionSpec) {
        self.fence = self.fence.max(spec.fence);
        self.fences.insert(spec.app.clone(), (spec.fence, spec.id.clone()));
    }
}

impl Transaction {
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.journal.iter().rev().find_map(|entry| match entry.event {
            holdfast_protocol::JournalEvent::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    pub(super) fn has(&self, decision: Decision) -> bool {
        self.decisions.contains(&(decision as u8))
    }
}

impl FakeHost {
    /// Returns an empty host.
    pub fn new(name: &str) -> Self {
        let state = State {
            world: World::default(),
            fence: 0,
            fences: BTreeMap::new(),
            transactions: BTreeMap::new(),
            entries: 0,
            faults: Vec::new(),
            cut_until: None,
            generation: 0,
            violations: BTreeSet::new(),
            broken: Vec::new(),
            step_time: Duration::from_millis(20),
        };
        Self { name: name.to_owned(), state: Arc::new(Mutex::new(state)), changed: Arc::new(watch::channel(0).0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Lets something go wrong later.
    pub fn plan_fault(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Lets every step fail whose title contains this text, until [`FakeHost::repair`].
    pub fn break_step(&self, title: &str) {
        self.lock().broken.push(title.to_owned());
    }

    /// Ends what [`FakeHost::break_step`] began, and forgets planned faults.
    pub fn repair(&self) {
        let mut state = self.lock();
        state.broken.clear();
        state.faults.clear();
    }

    /// Breaks every channel, and refuses new ones for this long.
    pub fn cut(&self, length: Duration) {
        self.lock().cut(length);
        self.touch();
    }

    /// Sets how long a step takes.
    pub fn set_step_time(&self, time: Duration) {
        self.lock().step_time = time;
    }

    /// Returns what is on the host.
    pub fn world(&self) -> World {
        self.lock().world.clone()
    }

    /// Changes what is on the host behind Holdfast's back.
    pub fn tamper(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.lock().world);
        self.touch();
    }

    /// Returns what should never have been: a switch that led nowhere, a question that the host had answered already.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.iter().cloned().collect()
    }

    /// Returns journal entries written so far, over all transactions.
    pub fn entries(&self) -> u64 {
        self.lock().entries
    }

    /// Returns every transaction that was begun, with its journal.
    pub fn journals(&self) -> BTreeMap<TransactionId, Vec<JournalEntry>> {
        let state = self.lock();
        let begun = state.transactions.iter().filter(|(_, transaction)| transaction.begun);
        begun.map(|(id, transaction)| (id.clone(), transaction.journal.clone())).collect()
    }

    /// Returns whether a transaction was begun and has not ended.
    pub fn is_busy(&self) -> bool {
        self.lock().transactions.values().any(|transaction| transaction.begun && transaction.outcome().is_none())
    }

    pub(super) fn hello(&self) -> Hello {
        let version = |text: &str| Tool::Version(text.to_owned());
        Hello {
            protocol: PROTOCOL_VERSION,
            kernel: "6.12.0-simulated".to_owned(),
            distribution: "Debian GNU/Linux 13 (trixie), simulated".to_owned(),
            architecture: Architecture::X86_64,
            hostname: self.name.clone(),
            systemd: version("257"),
            nginx: version("1.26.3"),
            docker: version("26.1.5"),
            compose: version("2.26.1"),
            capabilities: BTreeSet::from([Capability::NftRedirect]),
            fence: self.lock().fence,
            boot_id: "simulated".to_owned(),
            postgresql_client: holdfast_protocol::Tool::Missing,
            logrotate: holdfast_protocol::Tool::Missing,
        }
    }
}

impl State {
    pub(super) fn cut(&mut self, length: Duration) {
        self.cut_until = Some(Instant::now() + length);
        self.generation += 1;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut_until.is_some_and(|until| Instant::now() < until)
    }

    /// Returns the fault of this moment, once.
    pub(super) fn fault(&mut self, point: FaultPoint) -> Option<Fault> {
        let index = self.faults.iter().position(|fault| fault.at == point)?;
        let fault = self.faults.remove(index);
        if let Some(length) = fault.cut {
            self.cut(length);
        }
        Some(fault)
    }

    /// Checks what must always be true.
    pub(super) fn check(&mut self) {
        let dead = self.world.dead_switches();
        self.violations.extend(dead);
        let twice = self.world.migrations.iter().filter(|(_, runs)| **runs > 1);
        self.violations.extend(twice.map(|(id, runs)| format!("migration {id} ran {runs} times")));
    }
}
