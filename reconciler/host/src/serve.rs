//! Answers the frames of one channel.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use holdfast_protocol::{
    BackupLive, BackupReply, BackupRequest, CertificateLive, CertificateSpec, DatabasesLive, DatabasesQuery, Decision,
    Envelope, Fault, FaultKind, FrameError, HelloRequest, JournalEntry, Ledger, ObserveRequest, Observed,
    PROTOCOL_VERSION, Reply, Request, RestoreRequest, Restored, StageProblem, SwitchLive, TransactionId,
    TransactionSpec, TransactionStatus, read_frame, write_frame,
};

use crate::blob::{self, Inbox};
use crate::cancel::Cancel;
use crate::mask::Masks;
use crate::observe::{Known, Observer};
use crate::paths::Root;
use crate::watch;

/// The most requests one channel may have open.
const MAX_OPEN: usize = 64;

/// The most digests one request may ask about.
const MAX_DIGESTS: usize = 100_000;

/// What the frame loop needs of the transactions of a host.
///
/// Calls come from several threads at once, and from several processes: every channel is a process of its own.
pub trait Transactions: Send + Sync {
    /// Validates a transaction beside the live state and stores it. Empty means it can begin.
    fn stage(&self, spec: &TransactionSpec) -> Result<Vec<StageProblem>, Fault>;

    /// Starts, or resumes, the runner of a staged transaction in a unit of its own.
    fn begin(&self, id: &TransactionId) -> Result<(), Fault>;

    /// Gives journal entries from number `from` on to `send` until the transaction has ended, or `cancel` is cancelled, or `send`
    /// returns `false`: the channel is gone. `manager` is what the one at its other end calls itself.
    fn follow(
        &self,
        manager: &str,
        id: &TransactionId,
        from: u64,
        cancel: &Cancel,
        send: &mut dyn FnMut(JournalEntry) -> bool,
    ) -> Result<(), Fault>;

    /// Hands a decision of the manager on.
    fn decide(&self, id: &TransactionId, fence: u64, decision: Decision) -> Result<(), Fault>;

    /// Confirms a transaction with a dead man's switch over a channel opened at `opened` on the clock that [`since_boot`] reads.
    fn confirm(&self, id: &TransactionId, opened: Duration) -> Result<(), Fault>;

    /// Returns the transactions that are not finished, and the last few that are.
    fn statuses(&self) -> Vec<TransactionStatus>;

    /// Returns the ledger.
    fn ledger(&self) -> Observed<Ledger>;

    /// Returns the live switches.
    fn switches(&self) -> Observed<BTreeMap<String, SwitchLive>>;

    /// Returns how the backups of these declarations stand.
    fn backups(&self, declarations: &[String]) -> BTreeMap<String, Observed<BackupLive>>;

    /// Returns how these certificates stand, by the path of their declaration.
    fn certificates(
        &self,
        certificates: &BTreeMap<String, CertificateSpec>,
    ) -> BTreeMap<String, Observed<CertificateLive>>;

    /// Returns how the databases of these declarations stand.
    fn databases(&self, declarations: &[DatabasesQuery]) -> BTreeMap<String, Observed<DatabasesLive>>;

    /// Restores a backup in a unit of its own, and waits for it.
    fn restore(&self, request: &RestoreRequest) -> Result<Restored, Fault>;

    /// Answers something about backups and their copies.
    fn backup(&self, request: BackupRequest) -> Result<BackupReply, Fault>;

    /// Returns the fence: the highest number a transaction here has carried; 0 when none has.
    fn fence(&self) -> Result<u64, Fault>;
}

/// What all requests of a host are answered from.
pub struct Host {
    root: Root,
    observer: Observer,
    transactions: Box<dyn Transactions>,
    masks: Masks,
}

impl Host {
    /// Returns a host that stores below `root`.
    pub fn new(root: Root, observer: Observer, transactions: Box<dyn Transactions>) -> Self {
        let masks = Masks::new(root.clone());
        Self { root, observer, transactions, masks }
    }
}

/// One connection of a manager: what its requests share.
struct Channel<W> {
    host: Arc<Host>,
    output: Mutex<W>,
    opened: Duration,
    open: Mutex<BTreeMap<u64, Cancel>>,
    /// What the manager calls itself.
    manager: OnceLock<String>,
}

/// Answers requests from `input` on `output` until `input` ends.
///
/// # Guarantees
/// One thread reads; every request that may take long runs in a thread of its own, and replies never mix. When the channel ends
/// the long-lived requests are told so; a thread in the middle of a bounded one is not waited for: what it writes goes nowhere,
/// and the caller is about to end the process.
///
/// # Errors
/// When `input` holds something else than frames of this version.
pub fn serve<W: Write + Send + 'static>(mut input: impl Read, output: W, host: Arc<Host>) -> Result<(), FrameError> {
    let mut inbox = Inbox::new(host.root.clone());
    let channel = Arc::new(Channel {
        host,
        output: Mutex::new(output),
        opened: since_boot(),
        open: Mutex::new(BTreeMap::new()),
        manager: OnceLock::new(),
    });
    let mut greeted = false;
    let ended = loop {
        let Envelope { id, body } = match read_frame::<Envelope<Request>>(&mut input) {
            Ok(envelope) => envelope,
            Err(FrameError::Closed) => break Ok(()),
            Err(error) => break Err(error),
        };
        if !greeted && !matches!(body, Request::Hello(_)) {
            channel.reply(id, Reply::Fault(refused("the first request must be hello".to_owned())));
            continue;
        }
        match body {
            Request::Hello(hello) => match check(&hello) {
                Ok(()) => {
                    greeted = true;
                    channel.manager.get_or_init(|| hello.manager.clone());
                    channel.spawn(id, Request::Hello(hello));
                }
                Err(fault) => channel.reply(id, Reply::Fault(fault)),
            },
            Request::Cancel(open) => {
                if let Some(cancel) = channel.open().get(&open) {
                    cancel.cancel();
                }
            }
            // In order, and quick: pieces of a blob must not overtake each other.
            Request::PutBlob { digest, offset, bytes, last } => {
                let stored = inbox.put(digest, offset, &bytes, last);
                channel.reply(id, stored.map_or_else(Reply::Fault, |()| Reply::Stored));
            }
            // In order too: its pieces come next.
            Request::Room { digest, size } => {
                let room = inbox.make_room(digest, size);
                channel.reply(id, room.map_or_else(Reply::Fault, |()| Reply::Stored));
            }
            // In order too: a blob must not come before what is secret in it.
            Request::Mask { blob, values } => {
                let stored = channel.host.masks.put(&blob, &values).map_err(|error| Fault {
                    kind: FaultKind::Failed,
                    message: format!("store what is secret in blob {}: {error}", blob.short()),
                });
                channel.reply(id, stored.map_or_else(Reply::Fault, |()| Reply::Stored));
            }
            Request::Missing(digests) if digests.len() > MAX_DIGESTS => {
                channel.reply(id, Reply::Fault(refused(format!("more than {MAX_DIGESTS} digests in one request"))));
            }
            Request::Missing(digests) => {
                channel.reply(id, Reply::Missing(blob::missing(&channel.host.root, &digests)));
            }
            body => channel.spawn(id, body),
        }
    };
    channel.close();
    ended
}

impl<W: Write + Send + 'static> Channel<W> {
    /// Answers one request in a thread of its own.
    fn spawn(self: &Arc<Self>, id: u64, request: Request) {
        let cancel = match self.admit(id) {
            Ok(cancel) => cancel,
            Err(fault) => return self.reply(id, Reply::Fault(fault)),
        };
        let channel = Arc::clone(self);
        let started = std::thread::Builder::new().spawn(move || {
            let reply = channel.answer(id, request, &cancel);
            // Closed before it is answered, so that the number is free again once the manager has the answer.
            channel.open().remove(&id);
            if let Some(reply) = reply {
                channel.reply(id, reply.unwrap_or_else(Reply::Fault));
            }
        });
        if let Err(error) = started {
            self.open().remove(&id);
            self.reply(
                id,
                Reply::Fault(Fault { kind: FaultKind::Failed, message: format!("start a thread: {error}") }),
            );
        }
    }

    fn manager(&self) -> &str {
        self.manager.get().map_or("", String::as_str)
    }

    fn admit(&self, id: u64) -> Result<Cancel, Fault> {
        let mut open = self.open();
        if open.contains_key(&id) {
            return Err(refused(format!("request {id} is still open")));
        }
        if open.len() >= MAX_OPEN {
            return Err(refused(format!("more than {MAX_OPEN} requests are open")));
        }
        let cancel = Cancel::new()
            .map_err(|error| Fault { kind: FaultKind::Failed, message: format!("open a file descriptor: {error}") })?;
        open.insert(id, cancel.clone());
        Ok(cancel)
    }

    /// Returns the last reply, or nothing when the request was closed by the manager.
    fn answer(&self, id: u64, request: Request, cancel: &Cancel) -> Option<Result<Reply, Fault>> {
        let host = &*self.host;
        let transactions = &*host.transactions;
        let reply = match request {
            Request::Hello(_) => transactions.fence().map(|fence| Reply::Hello(Box::new(host.observer.hello(fence)))),
            Request::Observe(request) => known(transactions, &request)
                .map(|known| Reply::Observed(Box::new(host.observer.observe(&request, known)))),
            Request::Stage(spec) => transactions.stage(&spec).map(Reply::Staged),
            Request::Begin(transaction) => transactions.begin(&transaction).map(|()| Reply::Begun),
            Request::Follow { id: transaction, from } => {
                let mut send = |entry| self.send(id, Reply::Entry(entry));
                transactions.follow(self.manager(), &transaction, from, cancel, &mut send).map(|()| Reply::Followed)
            }
            Request::Decide { id: transaction, fence, decision } => {
                transactions.decide(&transaction, fence, decision).map(|()| Reply::Decided)
            }
            Request::Confirm(transaction) => transactions.confirm(&transaction, self.opened).map(|()| Reply::Decided),
            Request::Restore(request) => transactions.restore(&request).map(Reply::Restored),
            Request::Backup(request) => transactions.backup(request).map(Reply::Backup),
            Request::Watch(request) => {
                self.watch(id, &request, cancel);
                return None;
            }
            Request::Missing(_)
            | Request::PutBlob { .. }
            | Request::Room { .. }
            | Request::Mask { .. }
            | Request::Cancel(_) => Err(refused("this request is answered in order".to_owned())),
        };
        (!cancel.is_cancelled()).then_some(reply)
    }

    fn watch(&self, id: u64, request: &ObserveRequest, cancel: &Cancel) {
        let host = &*self.host;
        let ledger = || host.transactions.ledger();
        watch::watch(&host.root, host.observer.system(), request, &ledger, cancel, &mut |event| {
            self.send(id, Reply::Event(event))
        });
    }

    fn reply(&self, id: u64, reply: Reply) {
        self.send(id, reply);
    }

    /// Sends one reply, its secrets covered, and returns whether the manager can still be reached.
    fn send(&self, id: u64, body: Reply) -> bool {
        let body = self.host.masks.reply(body);
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match write_frame(&mut *output, &Envelope { id, body }) {
            Err(error @ FrameError::TooLarge(_)) => {
                let fault = Fault { kind: FaultKind::Failed, message: format!("{error}: ask for less at once") };
                write_frame(&mut *output, &Envelope { id, body: Reply::Fault(fault) })
            }
            sent => sent,
        };
        drop(output);
        if sent.is_err() {
            // The reading side will see the end as well; until then nothing long-lived needs to go on.
            self.close();
        }
        sent.is_ok()
    }

    fn close(&self) {
        for cancel in self.open().values() {
            cancel.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Cancel>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the observation cannot find out itself. Without a fence nothing may be planned, so it fails as a whole.
///
/// A transaction may end between two of these questions, so their order matters. Which are open is asked before what they leave
/// behind: one that shows as over has its record in the ledger that is read after. The other way round the ledger of before would
/// come with "nothing is open", and a plan from it would take the slot that serves for the idle one. The fence comes first of all:
/// whatever begins after it holds a higher one, and refuses what was planned without it.
fn known(transactions: &dyn Transactions, request: &ObserveRequest) -> Result<Known, Fault> {
    let fence = transactions.fence()?;
    let open = transactions.statuses();
    Ok(Known {
        ledger: transactions.ledger(),
        switches: transactions.switches(),
        transactions: open,
        backups: transactions.backups(&request.backups),
        certificates: transactions.certificates(&request.certificates),
        databases: transactions.databases(&request.databases),
        fence,
    })
}

fn check(hello: &HelloRequest) -> Result<(), Fault> {
    if hello.protocol == PROTOCOL_VERSION {
        return Ok(());
    }
    let message = format!(
        "the manager speaks version {}, this program {PROTOCOL_VERSION}: deliver the matching program",
        hello.protocol
    );
    Err(refused(message))
}

fn refused(message: String) -> Fault {
    Fault { kind: FaultKind::Refused, message }
}

/// Returns the time since the machine was booted, suspended time included. Comparable between processes of one boot.
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
