//! The frame loop over in-memory pipes: what a manager sees of a host.

use std::collections::BTreeMap;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_host::cancel::Cancel;
use holdfast_host::digest;
use holdfast_host::observe::Observer;
use holdfast_host::paths::{Root, System};
use holdfast_host::serve::{Host, Transactions, serve};
use holdfast_protocol::{
    BackupLive, BackupReply, BackupRequest, CertificateLive, CertificateSpec, DatabasesLive, DatabasesQuery, Decision,
    Envelope, Fault, FaultKind, FileQuery, FrameError, HelloRequest, HostEvent, JournalEntry, JournalEvent, Ledger,
    ObserveRequest, Observed, Outcome, PROTOCOL_VERSION, Phase, Reply, Request, RestoreRequest, Restored, StageProblem,
    SwitchLive, TransactionId, TransactionSpec, TransactionStatus, read_frame, write_frame,
};

/// A transaction side that has one journal entry and then waits to be cancelled; it tells when it was.
#[derive(Default)]
struct Waiting {
    cancelled: Arc<(Mutex<bool>, Condvar)>,
    /// Number of questions about what is there, and before which of them its one transaction comes to its end; it has none else.
    asked: AtomicUsize,
    ends_before: Option<usize>,
}

impl Waiting {
    /// Counts a question, and returns whether the transaction was over then.
    fn is_over(&self) -> bool {
        let question = self.asked.fetch_add(1, Ordering::SeqCst);
        self.ends_before.is_some_and(|end| question >= end)
    }
}

impl Transactions for Waiting {
    fn stage(&self, _: &TransactionSpec) -> Result<Vec<StageProblem>, Fault> {
        Ok(Vec::new())
    }

    fn begin(&self, _: &TransactionId) -> Result<(), Fault> {
        Err(Fault { kind: FaultKind::Busy, message: "busy".to_owned() })
    }

    fn follow(
        &self,
        _: &str,
        _: &TransactionId,
        from: u64,
        cancel: &Cancel,
        send: &mut dyn FnMut(JournalEntry) -> bool,
    ) -> Result<(), Fault> {
        send(JournalEntry { seq: from, at_ms: 0, event: JournalEvent::Resumed });
        assert!(cancel.wait(Duration::from_secs(30)), "nobody cancelled");
        *self.cancelled.0.lock().unwrap() = true;
        self.cancelled.1.notify_all();
        Ok(())
    }

    fn decide(&self, _: &TransactionId, _: u64, _: Decision) -> Result<(), Fault> {
        Ok(())
    }

    fn confirm(&self, _: &TransactionId, opened: Duration) -> Result<(), Fault> {
        assert!(opened > Duration::ZERO);
        Ok(())
    }

    fn certificates(
        &self,
        certificates: &BTreeMap<String, CertificateSpec>,
    ) -> BTreeMap<String, Observed<CertificateLive>> {
        certificates.keys().map(|path| (path.clone(), Observed::Absent)).collect()
    }

    fn backups(&self, declarations: &[String]) -> BTreeMap<String, Observed<BackupLive>> {
        declarations.iter().map(|path| (path.clone(), Observed::Seen(BackupLive::default()))).collect()
    }

    fn databases(&self, declarations: &[DatabasesQuery]) -> BTreeMap<String, Observed<DatabasesLive>> {
        declarations.iter().map(|query| (query.path.clone(), Observed::Absent)).collect()
    }

    fn restore(&self, request: &RestoreRequest) -> Result<Restored, Fault> {
        let file = request.file.clone().unwrap_or_default();
        Ok(Restored { file, safety: String::new(), before: Vec::new(), counted: 0, rows: 0 })
    }

    fn backup(&self, _: BackupRequest) -> Result<BackupReply, Fault> {
        Ok(BackupReply::Taken)
    }

    fn statuses(&self) -> Vec<TransactionStatus> {
        let over = self.is_over();
        let status = |_| TransactionStatus {
            id: id("t"),
            app: "prod/web".to_owned(),
            release: "v2".to_owned(),
            fence: 42,
            phase: if over { Phase::Ended } else { Phase::Settle },
            outcome: over.then_some(Outcome::Done),
            running: !over,
            manager: String::new(),
            since_ms: 0,
            followed: false,
            confirms: false,
            commit: String::new(),
        };
        self.ends_before.map(status).into_iter().collect()
    }

    fn ledger(&self) -> Observed<Ledger> {
        if self.is_over() { Observed::Seen(Ledger::default()) } else { Observed::Absent }
    }

    fn switches(&self) -> Observed<BTreeMap<String, SwitchLive>> {
        let live = SwitchLive { to: 8201 };
        let moved = self.is_over().then(|| ("prod/web".to_owned(), live));
        Observed::Seen(moved.into_iter().collect())
    }

    fn fence(&self) -> Result<u64, Fault> {
        Ok(42)
    }
}

struct Manager {
    folder: tempfile::TempDir,
    requests: PipeWriter,
    replies: PipeReader,
    cancelled: Arc<(Mutex<bool>, Condvar)>,
    serving: JoinHandle<Result<(), FrameError>>,
}

impl Manager {
    fn connect() -> Self {
        Self::to(Waiting::default())
    }

    fn to(transactions: Waiting) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (input, requests) = pipe().unwrap();
        let (replies, output) = pipe().unwrap();
        let nowhere = folder.path().join("nowhere");
        let system = System {
            docker: nowhere.clone(),
            systemd_private: nowhere.clone(),
            system_bus: nowhere,
            programs: Vec::new(),
            ..System::real()
        };
        let root = Root::new(folder.path().join("root"));
        let cancelled = Arc::clone(&transactions.cancelled);
        let host = Arc::new(Host::new(root.clone(), Observer::new(root, system), Box::new(transactions)));
        let serving = std::thread::spawn(move || serve(input, output, host));
        Self { folder, requests, replies, cancelled, serving }
    }

    fn greeted() -> Self {
        let mut manager = Self::connect();
        let hello = manager.ask(0, hello(PROTOCOL_VERSION));
        assert!(matches!(hello, Reply::Hello(hello) if hello.fence == 42 && hello.protocol == PROTOCOL_VERSION));
        manager
    }

    fn send(&mut self, id: u64, body: Request) {
        write_frame(&mut self.requests, &Envelope { id, body }).unwrap();
    }

    fn receive(&mut self) -> (u64, Reply) {
        let Envelope { id, body } = read_frame(&mut self.replies).unwrap();
        (id, body)
    }

    fn ask(&mut self, id: u64, body: Request) -> Reply {
        self.send(id, body);
        let (answered, reply) = self.receive();
        assert_eq!(answered, id);
        reply
    }

    fn wait_until_cancelled(&self) {
        let (flag, changed) = &*self.cancelled;
        let waited =
            changed.wait_timeout_while(flag.lock().unwrap(), Duration::from_secs(30), |cancelled| !*cancelled).unwrap();
        assert!(*waited.0);
    }
}

fn hello(protocol: u16) -> Request {
    Request::Hello(HelloRequest { protocol, manager: "test".to_owned() })
}

fn id(text: &str) -> TransactionId {
    text.parse().unwrap()
}

fn refused(reply: &Reply) -> bool {
    matches!(reply, Reply::Fault(Fault { kind: FaultKind::Refused, .. }))
}

#[test]
fn nothing_is_answered_before_hello_of_this_version() {
    let mut manager = Manager::connect();
    assert!(refused(&manager.ask(1, Request::Observe(ObserveRequest::default()))));
    assert!(refused(&manager.ask(2, hello(PROTOCOL_VERSION + 1))));
    assert!(refused(&manager.ask(3, Request::Begin(id("t")))));
    assert!(matches!(manager.ask(4, hello(PROTOCOL_VERSION)), Reply::Hello(_)));
    assert!(matches!(
        manager.ask(5, Request::Decide { id: id("t"), fence: 1, decision: Decision::Settle }),
        Reply::Decided
    ));
}

/// Whoever plans from a ledger of before and is told that nothing is open would take the slot that serves for the idle one.
#[test]
fn a_transaction_that_shows_as_over_has_left_its_record_whenever_it_ended() {
    let mut seen = [false; 2];
    for end in 0..6 {
        let mut manager = Manager::to(Waiting { ends_before: Some(end), ..Waiting::default() });
        assert!(matches!(manager.ask(0, hello(PROTOCOL_VERSION)), Reply::Hello(_)));
        let reply = manager.ask(1, Request::Observe(ObserveRequest::default()));
        let Reply::Observed(report) = reply else { panic!("no report") };
        let over = report.transactions[0].outcome.is_some();
        seen[usize::from(over)] = true;
        if over {
            assert!(matches!(report.ledger, Observed::Seen(_)), "over before question {end}: {report:?}");
            assert!(
                matches!(&report.switches, Observed::Seen(live) if live.len() == 1),
                "over before {end}: {report:?}"
            );
        }
    }
    assert_eq!(seen, [true; 2], "it was seen open, and over");
}

#[test]
fn the_end_of_the_input_ends_the_loop_and_tells_what_is_open() {
    let mut manager = Manager::greeted();
    manager.send(1, Request::Follow { id: id("t"), from: 5 });
    assert!(matches!(manager.receive(), (1, Reply::Entry(entry)) if entry.seq == 5));
    let (requests, serving) = (manager.requests, manager.serving);
    drop(requests);
    serving.join().unwrap().unwrap();
    let (flag, changed) = &*manager.cancelled;
    let waited =
        changed.wait_timeout_while(flag.lock().unwrap(), Duration::from_secs(30), |cancelled| !*cancelled).unwrap();
    assert!(*waited.0);
}

#[test]
fn a_long_request_does_not_hold_up_others_and_is_closed_without_a_reply() {
    let mut manager = Manager::greeted();
    manager.send(1, Request::Follow { id: id("t"), from: 0 });
    assert!(matches!(manager.receive(), (1, Reply::Entry(_))));
    assert!(matches!(manager.ask(2, Request::Confirm(id("t"))), Reply::Decided));
    assert!(refused(&manager.ask(1, Request::Confirm(id("t")))), "its number is taken");
    manager.send(3, Request::Cancel(1));
    manager.wait_until_cancelled();
    // The next reply is that of the next request, not one of the closed one.
    assert!(matches!(manager.ask(4, Request::Begin(id("t"))), Reply::Fault(Fault { kind: FaultKind::Busy, .. })));
}

#[test]
fn a_blob_goes_in_and_is_no_longer_missing() {
    let mut manager = Manager::greeted();
    let digest = digest::of(b"abcdef");
    assert!(matches!(manager.ask(1, Request::Missing(vec![digest])), Reply::Missing(missing) if missing == [digest]));
    manager.send(2, Request::PutBlob { digest, offset: 0, bytes: b"abc".to_vec(), last: false });
    manager.send(3, Request::PutBlob { digest, offset: 3, bytes: b"def".to_vec(), last: true });
    assert!(matches!(manager.receive(), (2, Reply::Stored)));
    assert!(matches!(manager.receive(), (3, Reply::Stored)));
    assert!(matches!(manager.ask(4, Request::Missing(vec![digest])), Reply::Missing(missing) if missing.is_empty()));
    let stored = manager.folder.path().join("root/blobs").join(digest.to_string());
    assert_eq!(std::fs::read(stored).unwrap(), b"abcdef");
}

#[test]
fn one_observation_says_all_and_a_failed_look_is_unknown() {
    let mut manager = Manager::greeted();
    let file = manager.folder.path().join("a").to_str().unwrap().to_owned();
    std::fs::write(&file, "live").unwrap();
    let request = ObserveRequest {
        files: vec![
            FileQuery { path: file.clone(), expected: Some(digest::of(b"desired")) },
            FileQuery { path: file.clone() + "-not-there", expected: None },
        ],
        units: vec!["a.service".to_owned()],
        projects: vec!["p".to_owned()],
        images: vec!["i:1".to_owned()],
        backups: vec!["/b.json".to_owned()],
        certificates: BTreeMap::new(),
        ..ObserveRequest::default()
    };
    let Reply::Observed(report) = manager.ask(1, Request::Observe(request)) else { panic!("no report") };
    assert_eq!(report.files[&file].seen().unwrap().content.as_deref(), Some(&b"live"[..]));
    assert_eq!(report.files[&(file + "-not-there")], Observed::Absent);
    assert!(matches!(report.units["a.service"], Observed::Unknown(_)), "{report:?}");
    assert!(matches!(report.projects["p"], Observed::Unknown(_)));
    assert!(matches!(report.images["i:1"], Observed::Unknown(_)));
    assert!(matches!(report.nginx, Observed::Unknown(_)));
    assert_eq!((report.fence, &report.ledger), (42, &Observed::Absent));
    assert!(report.resources.disk_free > 0);
}

#[test]
fn a_watch_tells_of_a_change_until_it_is_closed() {
    let mut manager = Manager::greeted();
    let file = manager.folder.path().join("a").to_str().unwrap().to_owned();
    let files = vec![FileQuery { path: file.clone(), expected: None }];
    manager.send(1, Request::Watch(ObserveRequest { files, ..ObserveRequest::default() }));
    assert!(matches!(manager.receive(), (1, Reply::Event(HostEvent::Alive))));
    std::fs::write(&file, "x").unwrap();
    assert!(matches!(manager.receive(), (1, Reply::Event(HostEvent::File(path))) if path == file));
}

#[test]
fn bytes_that_are_no_frame_end_the_channel_with_an_error() {
    let mut manager = Manager::connect();
    manager.requests.write_all(&[0xff; 16]).unwrap();
    assert!(matches!(manager.serving.join().unwrap(), Err(FrameError::TooLarge(_))));
}
