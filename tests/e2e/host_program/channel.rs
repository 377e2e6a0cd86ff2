//! The manager's end of a channel, spoken by hand, and the lab host at the other end.

use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use holdfast_core::id::digest_of;
use holdfast_protocol::{
    Decision, Digest, Envelope, HelloRequest, JournalEntry, JournalEvent, ObserveRequest, Outcome, PROTOCOL_VERSION,
    Reply, Request, TransactionId, TransactionSpec, read_frame, write_frame,
};
use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::host_program;

const PROGRAM: &str = "/var/lib/holdfast/bin/holdfast-host";

/// A lab's host with the program on it.
pub(super) struct Bench {
    lab: Arc<Lab>,
    /// The host's name.
    host: String,
}

impl Bench {
    /// Boots hosts and brings the program there by hand.
    pub(super) fn up(id: &str, count: usize) -> Vec<Self> {
        let lab = Arc::new(Lab::up(id, "host", count, &["--images"]));
        let benches = lab.hosts.iter().map(|host| Self { lab: Arc::clone(&lab), host: host.name.clone() });
        benches.inspect(Self::deliver).collect()
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.lab.identity.with_file_name("ssh_config")).arg(&self.host);
        ssh
    }

    /// Runs a command of the test itself (not of the product) on the host.
    pub(super) fn on_host(&self, script: &str) -> String {
        let output = self.ssh().arg(script).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    fn deliver(&self) {
        // `tests/build-host` puts it there: the one that a manager would send.
        let program = host_program(Path::new(env!("CARGO_BIN_EXE_holdfast")));
        let bytes = std::fs::read(program).unwrap();
        let script = format!("mkdir -p /var/lib/holdfast/bin && cat >{PROGRAM} && chmod 755 {PROGRAM}");
        let mut child = self.ssh().arg(script).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Cuts the power, or gives it back.
    pub(super) fn power(&self, verb: &str) {
        self.lab.run(&[verb, &self.host]);
    }

    /// Returns what the site answers on the host.
    pub(super) fn answers(&self) -> String {
        self.on_host("curl -s -m 5 -H 'Host: shop.example' http://127.0.0.1:8080/")
    }
}

/// A manager's channel.
pub(super) struct Channel {
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Drop for Channel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Channel {
    pub(super) fn open(bench: &Bench) -> Self {
        let mut child =
            bench.ssh().arg(format!("{PROGRAM} serve")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = BufWriter::new(child.stdin.take().unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut channel = Self { child, input, output, next: 0 };
        let hello = HelloRequest { protocol: PROTOCOL_VERSION, manager: "test".to_owned() };
        assert!(matches!(channel.ask(Request::Hello(hello)), Reply::Hello(_)));
        channel
    }

    pub(super) fn send(&mut self, body: Request) -> u64 {
        self.next += 1;
        write_frame(&mut self.input, &Envelope { id: self.next, body }).unwrap();
        self.next
    }

    pub(super) fn receive(&mut self, id: u64) -> Reply {
        loop {
            let envelope: Envelope<Reply> = read_frame(&mut self.output).unwrap();
            if envelope.id == id {
                return envelope.body;
            }
        }
    }

    pub(super) fn ask(&mut self, body: Request) -> Reply {
        let id = self.send(body);
        self.receive(id)
    }

    pub(super) fn put(&mut self, content: &str) -> Digest {
        let digest = digest_of(content.as_bytes());
        let reply = self.ask(Request::PutBlob { digest, offset: 0, bytes: content.as_bytes().to_vec(), last: true });
        assert_eq!(reply, Reply::Stored);
        digest
    }

    pub(super) fn stage(&mut self, spec: &TransactionSpec) {
        match self.ask(Request::Stage(Box::new(spec.clone()))) {
            Reply::Staged(problems) => assert_eq!(problems, [], "stage"),
            other => panic!("stage: {other:?}"),
        }
    }

    pub(super) fn begin(&mut self, spec: &TransactionSpec) {
        self.stage(spec);
        assert_eq!(self.ask(Request::Begin(spec.id.clone())), Reply::Begun);
    }

    /// Follows to the end.
    pub(super) fn follow(
        &mut self,
        id: &TransactionId,
        mut seen: impl FnMut(&JournalEntry),
    ) -> (Outcome, String, Vec<JournalEntry>) {
        let request = self.send(Request::Follow { id: id.clone(), from: 0 });
        let mut entries = Vec::new();
        loop {
            match self.receive(request) {
                Reply::Entry(entry) => {
                    seen(&entry);
                    entries.push(entry);
                }
                Reply::Followed => break,
                other => panic!("follow: {other:?}"),
            }
        }
        match entries.last().map(|entry| entry.event.clone()) {
            Some(JournalEvent::Ended { outcome, reason }) => (outcome, reason, entries),
            other => panic!("ended with {other:?}"),
        }
    }

    pub(super) fn run(&mut self, spec: &TransactionSpec) -> (Outcome, String, Vec<JournalEntry>) {
        self.begin(spec);
        let decide = Request::Decide { id: spec.id.clone(), fence: spec.fence, decision: Decision::Promote };
        // One that fails at once may be over before the decision comes: then there is nothing to decide, and how it ended counts.
        match self.ask(decide) {
            Reply::Decided => {}
            Reply::Fault(fault) if fault.message.contains("is past that decision") => {}
            other => panic!("decide: {other:?}"),
        }
        self.follow(&spec.id, |_| ())
    }

    pub(super) fn observe(&mut self) -> holdfast_protocol::LiveReport {
        let request = ObserveRequest {
            projects: vec!["shop-blue".to_owned(), "shop-green".to_owned()],
            ..ObserveRequest::default()
        };
        match self.ask(Request::Observe(request)) {
            Reply::Observed(report) => *report,
            other => panic!("observe: {other:?}"),
        }
    }
}
