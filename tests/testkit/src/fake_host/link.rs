//! The channel to a fake host: the requests of the protocol, answered like `holdfast-host` does.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::id::digest_of;
use holdfast_engine::ports::{BoxFuture, HostLink, LinkError};
use holdfast_protocol::{
    Action, Decision, Digest, Fault, FaultKind, FilePut, Hello, HostEvent, JournalEntry, JournalEvent, ObserveRequest,
    Outcome, Phase, Reply, Request, StageProblem, TransactionId, TransactionSpec,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::host::{FakeHost, State, Transaction};
use super::runner::{phase, run};

/// One way of every message.
const LATENCY: Duration = Duration::from_millis(1);

/// How long a connection is tried before it counts as unreachable.
const CONNECT: Duration = Duration::from_secs(1);

struct FakeLink {
    host: FakeHost,
    hello: Hello,
    generation: u64,
    opened: Instant,
}

/// Opens a channel.
pub(super) async fn open(host: &FakeHost) -> Result<Arc<dyn HostLink>, LinkError> {
    sleep(LATENCY).await;
    if host.lock().is_cut() {
        sleep(CONNECT).await;
    }
    if host.lock().is_cut() {
        return Err(LinkError::Unreachable {
            host: host.name.clone(),
            reason: "simulated: no route to host".to_owned(),
        });
    }
    let generation = host.lock().generation;
    Ok(Arc::new(FakeLink { hello: host.hello(), host: host.clone(), generation, opened: Instant::now() }))
}

impl FakeLink {
    fn is_broken(&self) -> bool {
        self.host.lock().generation != self.generation
    }

    fn lost(&self) -> LinkError {
        LinkError::Lost { host: self.host.name.clone(), reason: "simulated: connection reset".to_owned() }
    }

    fn fault(&self, kind: FaultKind, message: impl Into<String>) -> LinkError {
        LinkError::Fault { host: self.host.name.clone(), fault: Fault { kind, message: message.into() } }
    }

    fn answer(&self, request: Request) -> Result<Reply, LinkError> {
        match request {
            Request::Hello(_) => Ok(Reply::Hello(Box::new(self.host.hello()))),
            Request::Observe(question) => Ok(Reply::Observed(Box::new(self.host.observe(&question)))),
            Request::Missing(digests) => {
                let state = self.host.lock();
                Ok(Reply::Missing(
                    digests.into_iter().filter(|digest| !state.world.blobs.contains_key(digest)).collect(),
                ))
            }
            Request::PutBlob { digest, offset, bytes, last } => self.put(digest, offset, &bytes, last),
            // A simulated host has room, and says nothing that its tests did not put there.
            Request::Room { .. } | Request::Mask { .. } => Ok(Reply::Stored),
            Request::Stage(spec) => self.stage(*spec),
            Request::Begin(id) => self.begin(&id),
            Request::Decide { id, fence, decision } => self.decide(&id, fence, decision),
            Request::Confirm(id) => self.confirm(&id),
            Request::Follow { .. }
            | Request::Watch(_)
            | Request::Cancel(_)
            | Request::Restore(_)
            | Request::Backup(_) => Err(self.fault(FaultKind::Refused, "not a request with one answer")),
        }
    }

    fn put(&self, digest: Digest, offset: u64, bytes: &[u8], last: bool) -> Result<Reply, LinkError> {
        let mut state = self.host.lock();
        // Pieces are kept under a name no blob can have until they are whole.
        let partial = Digest(digest.0.map(|byte| !byte));
        let mut held = state.world.blobs.remove(&partial).unwrap_or_default();
        if held.len() as u64 != offset {
            return Err(self.fault(FaultKind::Refused, "a piece is missing"));
        }
        held.extend_from_slice(bytes);
        if !last {
            state.world.blobs.insert(partial, held);
        } else if digest_of(&held) == digest {
            state.world.blobs.insert(digest, held);
        } else {
            return Err(self.fault(FaultKind::Refused, "the blob has another digest"));
        }
        Ok(Reply::Stored)
    }

    fn stage(&self, spec: TransactionSpec) -> Result<Reply, LinkError> {
        let mut state = self.host.lock();
        self.admitted(&state, &spec)?;
        let busy = state.transactions.values().any(|other| {
            other.spec.app == spec.app && other.spec.id != spec.id && other.begun && other.outcome().is_none()
        });
        if busy {
            return Err(self.fault(FaultKind::Busy, "another transaction for this app has not ended"));
        }
        let steps = [&spec.prepare, &spec.promote, &spec.watch, &spec.settle].into_iter().flatten();
        let mut problems = Vec::new();
        for step in steps {
            let mut action = &step.action;
            while let Action::OnUndo(inner) = action {
                action = inner;
            }
            let puts: &[FilePut] = match action {
                Action::PutFile(file) => std::slice::from_ref(file),
                Action::NginxTest { put, .. } => put,
                _ => &[],
            };
            for put in puts {
                match state.world.blobs.get(&put.blob) {
                    None => return Err(self.fault(FaultKind::Refused, format!("no blob for {}", put.path))),
                    Some(bytes) if String::from_utf8_lossy(bytes).contains("simulate: invalid") => {
                        let message = format!("{} is not valid", put.path);
                        problems.push(StageProblem { component: step.component.clone(), message });
                    }
                    Some(_) => {}
                }
            }
        }
        if problems.is_empty() {
            let id = spec.id.clone();
            state.claim(&spec);
            let staged = |other: &Transaction| other.spec.app == spec.app && other.spec.id != id && !other.begun;
            state.transactions.retain(|_, other| !staged(other));
            state.transactions.entry(id).or_insert_with(|| Transaction {
                spec,
                journal: Vec::new(),
                begun: false,
                running: false,
                decisions: std::collections::BTreeSet::new(),
                confirmed: false,
                one_way: false,
                followers: 0,
                ready_at: None,
                promoted_at: None,
                settled_at: None,
            });
        }
        Ok(Reply::Staged(problems))
    }

    /// The host's rule of fences: no lower number for an app, and none that another transaction holds.
    fn admitted(&self, state: &State, spec: &TransactionSpec) -> Result<(), LinkError> {
        match state.fences.get(&spec.app) {
            Some((number, holder)) if spec.fence < *number || (spec.fence == *number && *holder != spec.id) => {
                Err(self.fault(FaultKind::Fenced, format!("fence {} was overtaken by {number}", spec.fence)))
            }
            _ => Ok(()),
        }
    }

    fn begin(&self, id: &TransactionId) -> Result<Reply, LinkError> {
        let mut state = self.host.lock();
        let Some(transaction) = state.transactions.get_mut(id) else {
            return Err(self.fault(FaultKind::Refused, format!("no transaction {id}")));
        };
        let (spec, first) = (transaction.spec.clone(), !transaction.begun);
        if first {
            self.admitted(&state, &spec)?;
        }
        let Some(transaction) = state.transactions.get_mut(id) else {
            return Err(self.fault(FaultKind::Refused, format!("no transaction {id}")));
        };
        transaction.begun = true;
        let starts = !transaction.running && transaction.outcome().is_none();
        transaction.running |= starts;
        if first {
            state.claim(&spec);
            state.learn(&spec);
        }
        drop(state);
        if starts {
            tokio::spawn(run(self.host.clone(), id.clone()));
        }
        Ok(Reply::Begun)
    }

    fn decide(&self, id: &TransactionId, fence: u64, decision: Decision) -> Result<Reply, LinkError> {
        let mut state = self.host.lock();
        let Some(transaction) = state.transactions.get_mut(id) else {
            return Err(self.fault(FaultKind::Refused, format!("no transaction {id}")));
        };
        if fence < transaction.spec.fence {
            return Err(self.fault(FaultKind::Fenced, "a lower fence than the transaction's"));
        }
        let at = phase(transaction);
        let going_back = at == Phase::Undo || transaction.has(Decision::GoBack);
        let too_late = match (decision, transaction.outcome()) {
            (Decision::GoBack, Some(Outcome::Abandoned | Outcome::RolledBack))
            | (Decision::Promote | Decision::Settle | Decision::EndWatch, Some(Outcome::Done)) => false,
            (_, Some(_)) => true,
            (Decision::GoBack, None) => at == Phase::Settle,
            (Decision::Promote | Decision::Settle | Decision::EndWatch, None) => going_back,
        };
        if too_late {
            return Err(self.fault(FaultKind::Refused, format!("transaction {id} is past that decision: {at:?}")));
        }
        transaction.decisions.insert(decision as u8);
        drop(state);
        self.host.touch();
        Ok(Reply::Decided)
    }

    fn confirm(&self, id: &TransactionId) -> Result<Reply, LinkError> {
        let mut state = self.host.lock();
        let Some(transaction) = state.transactions.get_mut(id) else {
            return Err(self.fault(FaultKind::Refused, format!("no transaction {id}")));
        };
        if transaction.spec.confirm_within_ms.is_none() {
            // Its status says so: whoever asks all the same lets a fleet wait for nothing.
            state.violations.insert(format!("{id} asks for no confirmation and was to be confirmed"));
            drop(state);
            return Err(self.fault(FaultKind::Refused, "it asks for no confirmation"));
        }
        if transaction.promoted_at.is_none_or(|promoted| self.opened < promoted) {
            return Err(self.fault(FaultKind::Refused, "this channel proves nothing: connect anew"));
        }
        transaction.confirmed = true;
        drop(state);
        self.host.touch();
        Ok(Reply::Decided)
    }
}

impl HostLink for FakeLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    fn call(&self, request: Request, _deadline: Duration) -> BoxFuture<'_, Result<Reply, LinkError>> {
        Box::pin(async move {
            sleep(LATENCY).await;
            if self.is_broken() {
                return Err(self.lost());
            }
            let reply = self.answer(request);
            sleep(LATENCY).await;
            // The answer is lost, not the work: what became of it is unknown to who asked.
            if self.is_broken() { Err(self.lost()) } else { reply }
        })
    }

    fn follow(&self, id: TransactionId, from: u64) -> BoxFuture<'_, Result<mpsc::Receiver<JournalEntry>, LinkError>> {
        Box::pin(async move {
            sleep(LATENCY).await;
            if self.is_broken() {
                return Err(self.lost());
            }
            if !self.host.lock().transactions.contains_key(&id) {
                return Err(self.fault(FaultKind::Refused, format!("no transaction {id}")));
            }
            let (to, entries) = mpsc::channel(64);
            tokio::spawn(stream(self.host.clone(), self.generation, id, from, to));
            Ok(entries)
        })
    }

    fn watch(&self, _what: ObserveRequest) -> BoxFuture<'_, Result<mpsc::Receiver<HostEvent>, LinkError>> {
        Box::pin(async move {
            sleep(LATENCY).await;
            if self.is_broken() {
                return Err(self.lost());
            }
            let (to, hints_of_it) = mpsc::channel(64);
            tokio::spawn(hints(self.host.clone(), self.generation, to));
            Ok(hints_of_it)
        })
    }
}

/// Says that something may have changed whenever the host does anything, until the channel breaks.
async fn hints(host: FakeHost, generation: u64, to: mpsc::Sender<HostEvent>) {
    let mut changed = host.changed.subscribe();
    while host.lock().generation == generation {
        let sent = tokio::select! {
            changed = changed.changed() => match changed {
                Ok(()) => to.send(HostEvent::Alive).await,
                Err(_) => return,
            },
            () = to.closed() => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// One that follows a transaction, for as long as this lives.
struct Follower(FakeHost, TransactionId);

impl Follower {
    fn of(host: &FakeHost, id: &TransactionId) -> Self {
        if let Some(transaction) = host.lock().transactions.get_mut(id) {
            transaction.followers += 1;
        }
        Self(host.clone(), id.clone())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(transaction) = self.0.lock().transactions.get_mut(&self.1) {
            transaction.followers -= 1;
        }
    }
}

async fn stream(host: FakeHost, generation: u64, id: TransactionId, from: u64, to: mpsc::Sender<JournalEntry>) {
    let _follower = Follower::of(&host, &id);
    let mut changed = host.changed.subscribe();
    let mut next = from;
    loop {
        let (broken, news) = {
            let state = host.lock();
            let journal =
                state.transactions.get(&id).map(|transaction| transaction.journal.as_slice()).unwrap_or_default();
            let news: Vec<JournalEntry> = journal.iter().skip(next as usize).cloned().collect();
            (state.generation != generation, news)
        };
        if broken {
            return;
        }
        for entry in news {
            next = entry.seq + 1;
            let ended = matches!(entry.event, JournalEvent::Ended { .. });
            if to.send(entry).await.is_err() || ended {
                return;
            }
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = to.closed() => return,
        }
    }
}
