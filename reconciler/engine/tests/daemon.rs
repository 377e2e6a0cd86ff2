//! The running daemon around a fake repository and a fake syncer: sources, socket, store, stopping.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_core::approval::Proposal;
use holdfast_core::config::{DriftPolicy, HostSpec, SyncMode, SyncPolicy};
use holdfast_core::event::{SyncEvent, SyncEventKind, SyncResult};
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::schedule::SyncVerdict;
use holdfast_core::time::Timestamp;
use holdfast_engine::apply::{Operator, OperatorHandle};
use holdfast_engine::clock::SystemClock;
use holdfast_engine::daemon::{
    Approved, Checked, ControlClient, ControlReply, ControlRequest, DaemonConfig, DaemonError, Job, Look, Looks, Parts,
    Ran, RefUpdate, Repository, Settings, Syncer, Voice, run,
};
use holdfast_engine::ports::{BoxFuture, Connector, EventSink, HostLink, LinkError};
use holdfast_engine::store::Store;
use tokio::sync::{Notify, mpsc};

const SOON: Duration = Duration::from_secs(20);

fn commit(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn prod() -> EnvironmentName {
    "prod".parse().unwrap()
}

/// Follows whatever commit stands in it.
struct FakeRepository(Mutex<char>);

impl Repository for FakeRepository {
    fn look(&self, last: BTreeMap<EnvironmentName, Option<CommitId>>) -> BoxFuture<'_, Looks> {
        let commit = commit(*self.0.lock().unwrap());
        let policy = SyncPolicy {
            mode: SyncMode::Automatic,
            drift: DriftPolicy::Off,
            ignore: Vec::new(),
            prune_limit_percent: 20,
            windows: Vec::new(),
        };
        let look = Look {
            commit,
            policy,
            approval: false,
            apps: Vec::new(),
            watched: Vec::new(),
            keeps: false,
            backups: false,
            after: std::collections::BTreeSet::new(),
        };
        let environments = last.into_keys().map(|name| (name, Ok(look.clone()))).collect();
        Box::pin(async move { Looks { fetched: Ok(()), environments } })
    }
}

/// Says what it is asked to do, and ends when it is let go. The commit `f…` panics.
struct FakeSyncer {
    jobs: mpsc::UnboundedSender<Job>,
    go: Notify,
}

impl Syncer for FakeSyncer {
    fn run<'a>(
        &'a self,
        job: &'a Job,
        _: (OperatorHandle, Operator),
        events: Arc<dyn EventSink>,
    ) -> BoxFuture<'a, Ran> {
        Box::pin(async move {
            self.jobs.send(job.clone()).unwrap();
            assert_ne!(*job.kind.commit(), commit('f'), "a bug in a sync");
            for seq in 0..3 {
                let kind = SyncEventKind::HostTrouble {
                    app: None,
                    host: "web-1".parse().unwrap(),
                    error: format!("event {seq} of {}", job.kind.commit().short()),
                };
                events.emit(&SyncEvent { at: Timestamp(seq), kind });
            }
            self.go.notified().await;
            Ran {
                result: SyncResult::Synced,
                reason: String::new(),
                verdict: SyncVerdict::Settled,
                awaits: None,
                released: None,
            }
        })
    }

    fn check<'a>(&'a self, _: &'a EnvironmentName, _: &'a CommitId) -> BoxFuture<'a, Result<Checked, String>> {
        Box::pin(async { Ok(Checked { changes: 0, kept_long_enough: 0, kept_until: None, blockers: Vec::new() }) })
    }

    fn approve<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        seal: &'a str,
        voice: Voice,
    ) -> BoxFuture<'a, Result<Approved, String>> {
        let by = format!("{} for {}", voice.uid, voice.name.unwrap_or_default());
        Box::pin(async move {
            let seal = seal.parse().map_err(|_| "no such plan waits".to_owned())?;
            let proposal = Proposal { environment: environment.clone(), commit: commit('a'), seal };
            Ok(Approved { proposal, given: [by.clone()].into(), by, required: 1, begins: false })
        })
    }
}

struct NoHosts;

impl Connector for NoHosts {
    fn connect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>> {
        let error = LinkError::Unreachable { host: host.name.to_string(), reason: "none here".to_owned() };
        Box::pin(async { Err(error) })
    }

    fn reconnect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>> {
        self.connect(host)
    }
}

struct Running {
    folder: tempfile::TempDir,
    repository: Arc<FakeRepository>,
    syncer: Arc<FakeSyncer>,
    jobs: mpsc::UnboundedReceiver<Job>,
    store: Store,
    daemon: tokio::task::JoinHandle<Result<(), DaemonError>>,
}

impl Running {
    fn start(store: Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("git/refs/heads")).unwrap();
        let (sender, jobs) = mpsc::unbounded_channel();
        let repository = Arc::new(FakeRepository(Mutex::new('a')));
        let syncer = Arc::new(FakeSyncer { jobs: sender, go: Notify::new() });
        let parts = Parts {
            store: store.clone(),
            repository: Arc::clone(&repository) as Arc<dyn Repository>,
            syncer: Arc::clone(&syncer) as Arc<dyn Syncer>,
            connector: Arc::new(NoHosts),
            clock: Arc::new(SystemClock),
        };
        let config = DaemonConfig {
            environments: vec![prod()],
            settings: Settings { poll_ms: 3_600_000, check_ms: 3_600_000, seed: 1 },
            socket: folder.path().join("run/control"),
            watched_repository: Some(folder.path().join("git")),
            grace: SOON,
            retention: holdfast_engine::store::RetentionPolicy::default(),
            rollouts: 4,
        };
        let daemon = tokio::spawn(run(parts, config));
        Self { folder, repository, syncer, jobs, store, daemon }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/control")
    }

    async fn job(&mut self) -> Job {
        tokio::time::timeout(SOON, self.jobs.recv()).await.expect("a job begins").unwrap()
    }

    async fn ask(&self, request: ControlRequest) -> Asked {
        Asked(ControlClient::ask(&self.socket(), &request, SOON).await.unwrap())
    }

    /// Asks for the status until it is as wanted.
    async fn until(&self, wanted: impl Fn(&holdfast_engine::daemon::EnvironmentStatus) -> bool) {
        let look = async {
            loop {
                let ControlReply::Status { environments, .. } = self.ask(ControlRequest::Status).await.line().await
                else {
                    panic!("no status")
                };
                if wanted(&environments[0]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, look).await.expect("the status comes");
    }
}

struct Asked(ControlClient);

impl Asked {
    async fn line(&mut self) -> ControlReply {
        tokio::time::timeout(SOON, self.0.next()).await.expect("a line comes").unwrap().expect("a line, not the end")
    }
}

#[tokio::test]
async fn a_push_streams_its_rollout_to_the_pusher() {
    let mut this = Running::start(Store::in_memory().unwrap());
    assert_eq!(*this.job().await.kind.commit(), commit('a'));
    this.syncer.go.notify_one();
    this.until(|status| status.synced == Some(commit('a')) && status.running.is_none()).await;

    *this.repository.0.lock().unwrap() = 'b';
    let update = RefUpdate { old: commit('a'), new: commit('b'), name: "refs/heads/main".to_owned() };
    let mut pusher = this.ask(ControlRequest::Received { updates: vec![update] }).await;
    let line = pusher.line().await;
    assert!(matches!(&line, ControlReply::Message { text } if text.contains("bbbbbbbbbb")), "{line:?}");
    assert_eq!(*this.job().await.kind.commit(), commit('b'));
    for seq in 0..3 {
        let line = pusher.line().await;
        let ControlReply::Event { event, .. } = &line else { panic!("{line:?}") };
        assert_eq!(event.at, Timestamp(seq));
    }
    this.syncer.go.notify_one();
    let line = pusher.line().await;
    assert!(matches!(&line, ControlReply::Ended { ends } if ends[0].result == SyncResult::Synced), "{line:?}");
    assert!(pusher.0.next().await.unwrap().is_none(), "the connection ends after the last line");
    let seen = this.store.seen_commit(&prod()).await.unwrap();
    assert_eq!(seen.map(|(commit, _)| commit), Some(commit('b')));
}

#[tokio::test]
async fn a_moved_reference_on_disk_is_noticed_without_polling() {
    let mut this = Running::start(Store::in_memory().unwrap());
    this.job().await;
    this.syncer.go.notify_one();
    this.until(|status| status.running.is_none() && status.last.is_some()).await;
    *this.repository.0.lock().unwrap() = 'c';
    let heads = this.folder.path().join("git/refs/heads");
    std::fs::write(heads.join("main.lock"), "c").unwrap();
    std::fs::rename(heads.join("main.lock"), heads.join("main")).unwrap();
    assert_eq!(*this.job().await.kind.commit(), commit('c'));
}

#[tokio::test]
async fn a_sync_that_panics_fails_alone() {
    let mut this = Running::start(Store::in_memory().unwrap());
    this.job().await;
    this.syncer.go.notify_one();
    *this.repository.0.lock().unwrap() = 'f';
    assert_eq!(this.ask(ControlRequest::Look).await.line().await, ControlReply::Done);
    this.job().await;
    this.until(|status| {
        status.last.as_ref().is_some_and(|(end, _)| end.result == SyncResult::Failed && end.reason.contains("panic"))
    })
    .await;
    *this.repository.0.lock().unwrap() = 'd';
    this.ask(ControlRequest::Look).await.line().await;
    assert_eq!(*this.job().await.kind.commit(), commit('d'));
}

#[tokio::test]
async fn nonsense_is_refused_and_one_daemon_is_enough() {
    let this = Running::start(Store::in_memory().unwrap());
    this.until(|_| true).await;
    let nonsense = tokio::net::UnixStream::connect(this.socket()).await.unwrap();
    let (read, mut write) = nonsense.into_split();
    tokio::io::AsyncWriteExt::write_all(&mut write, b"{\"verb\":\"shell\"}\n").await.unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(read));
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("refused") && line.contains("shell"), "{line}");

    let second = Running::start(Store::in_memory().unwrap());
    second.until(|_| true).await;
    let config_socket = this.socket();
    let parts = Parts {
        store: Store::in_memory().unwrap(),
        repository: Arc::clone(&second.repository) as Arc<dyn Repository>,
        syncer: Arc::clone(&second.syncer) as Arc<dyn Syncer>,
        connector: Arc::new(NoHosts),
        clock: Arc::new(SystemClock),
    };
    let config = DaemonConfig {
        environments: vec![prod()],
        settings: Settings { poll_ms: 1000, check_ms: 1000, seed: 1 },
        socket: config_socket,
        watched_repository: None,
        grace: SOON,
        retention: holdfast_engine::store::RetentionPolicy::default(),
        rollouts: 4,
    };
    let error = run(parts, config).await.unwrap_err();
    assert!(error.to_string().contains("another daemon"), "{error}");
    assert!(!this.daemon.is_finished());
}

#[tokio::test]
async fn cap_03_a_word_is_whose_the_socket_says_and_what_it_released_begins() {
    let mut this = Running::start(Store::in_memory().unwrap());
    this.job().await;
    this.syncer.go.notify_one();
    this.until(|status| status.running.is_none() && status.last.is_some()).await;
    let approve = |environment: &str, seal: String| ControlRequest::Approve {
        environment: environment.parse().unwrap(),
        seal,
        name: Some("ada".to_owned()),
    };
    let seal = "7".repeat(64);
    let ControlReply::Approved { approved } = this.ask(approve("prod", seal)).await.line().await else { panic!() };
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(this.socket()).unwrap());
    assert_eq!((approved.by, approved.begins), (format!("{uid} for ada"), true));
    let job = this.job().await;
    assert_eq!((job.kind.commit().clone(), job.kind.cause()), (commit('a'), "approval"));
    for (environment, seal) in [("prod", "nonsense"), ("stage", "7777")] {
        let line = this.ask(approve(environment, seal.to_owned())).await.line().await;
        assert!(matches!(line, ControlReply::Refused { .. }), "{line:?}");
    }
}

#[tokio::test]
async fn what_a_crash_cut_short_is_closed_in_the_history_and_resumed() {
    let store = Store::in_memory().unwrap();
    let cut = store.begin_sync(&prod(), &commit('a'), "commit", Timestamp(1)).await.unwrap();
    store.see_commit(&prod(), &commit('a'), Timestamp(1)).await.unwrap();
    let mut this = Running::start(store);
    let job = this.job().await;
    assert_eq!((job.kind.commit().clone(), job.kind.cause()), (commit('a'), "resume"));
    let record = this.store.sync(cut).await.unwrap().unwrap();
    assert_eq!(record.result, Some(SyncResult::Failed));
    assert!(record.reason.contains("cut short"), "{}", record.reason);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_an_absent_daemon_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere: &Path = &folder.path().join("control");
    let error = ControlClient::ask(nowhere, &ControlRequest::Status, Duration::ZERO).await.err().unwrap();
    assert!(error.to_string().contains("is `holdfast daemon` running"), "{error}");
    drop(std::os::unix::net::UnixListener::bind(nowhere).unwrap());
    assert!(nowhere.exists(), "a dead daemon leaves its socket");
    let parts = Parts {
        store: Store::in_memory().unwrap(),
        repository: Arc::new(FakeRepository(Mutex::new('a'))),
        syncer: Arc::new(FakeSyncer { jobs: mpsc::unbounded_channel().0, go: Notify::new() }),
        connector: Arc::new(NoHosts),
        clock: Arc::new(SystemClock),
    };
    let config = DaemonConfig {
        environments: Vec::new(),
        settings: Settings { poll_ms: 1000, check_ms: 1000, seed: 1 },
        socket: nowhere.to_owned(),
        watched_repository: None,
        grace: SOON,
        retention: holdfast_engine::store::RetentionPolicy::default(),
        rollouts: 4,
    };
    let _daemon = tokio::spawn(run(parts, config));
    let mut client = ControlClient::ask(nowhere, &ControlRequest::Status, SOON).await.unwrap();
    assert!(matches!(client.next().await.unwrap(), Some(ControlReply::Status { .. })));
}
