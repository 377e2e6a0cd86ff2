//! The link over in-process sockets: request numbers, deadlines, streams, and what a broken channel means.

#[path = "support/scripted_host.rs"]
mod scripted_host;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use holdfast_core::config::{Address, HostSpec};
use holdfast_core::time::Timestamp;
use holdfast_engine::links::{Dial, Links};
use holdfast_engine::ports::{BoxFuture, Clock, Connector, HostLink, LinkError};
use holdfast_engine::ssh::{ChannelLink, GreetError, Greeting, Streams, greet};
use holdfast_protocol::{Digest, HostEvent, JournalEvent, ObserveRequest, Reply, Request, TransactionId};
use tokio::io::AsyncWriteExt;

const SOON: Duration = Duration::from_secs(10);

fn greeting() -> Greeting {
    Greeting { manager: "test".to_owned(), deadline: SOON }
}

fn name(text: &str) -> TransactionId {
    text.parse().unwrap()
}

/// Connects to a scripted host that runs in a thread.
async fn connect() -> ChannelLink {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || scripted_host::serve(theirs.try_clone().unwrap(), theirs));
    ours.set_nonblocking(true).unwrap();
    let (mut stdout, mut stdin) = tokio::net::UnixStream::from_std(ours).unwrap().into_split();
    let hello = greet(&mut stdin, &mut stdout, &greeting()).await.unwrap();
    let farewell = Box::pin(async { "the script ended".to_owned() });
    ChannelLink::open("web-1", hello, Streams { stdin: Box::new(stdin), stdout: Box::new(stdout), farewell })
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let link = connect().await;
    assert_eq!(link.hello().fence, 7);
    let held = link.call(Request::Begin(name("hold")), SOON);
    let many = (0..50_u8).map(|n| link.call(Request::Missing(vec![Digest([n; 32]); 3000]), SOON));
    let many = many.collect::<Vec<_>>();
    let echoes = async {
        for (n, call) in many.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Reply::Missing(vec![Digest([n as u8; 32]); 3000]));
        }
        link.call(Request::Begin(name("next")), SOON).await
    };
    let (held, echoes) = tokio::join!(held, echoes);
    assert_eq!((held.unwrap(), echoes.unwrap()), (Reply::Begun, Reply::Begun));
}

#[tokio::test]
async fn a_request_without_an_answer_ends_at_its_deadline_and_the_channel_lives() {
    let link = connect().await;
    let error = link.call(Request::Begin(name("never")), Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(&error, LinkError::Lost { reason, .. } if reason.contains("no answer to `begin`")), "{error}");
    assert!(link.is_open());
    assert_eq!(link.call(Request::Begin(name("go")), SOON).await.unwrap(), Reply::Begun);
}

#[tokio::test]
async fn a_broken_channel_ends_every_call_and_stream_with_its_reason() {
    let link = connect().await;
    let mut endless = link.follow(name("endless"), 3).await.unwrap();
    assert_eq!(endless.recv().await.unwrap().seq, 3);
    let waiting = link.call(Request::Begin(name("never")), SOON);
    let dying = link.call(Request::Begin(name("die")), SOON);
    let (waiting, dying) = tokio::join!(waiting, dying);
    for error in [waiting.unwrap_err(), dying.unwrap_err()] {
        assert!(matches!(&error, LinkError::Lost { reason, .. } if reason.contains("the script ended")), "{error}");
    }
    assert_eq!(endless.recv().await.unwrap().seq, 4);
    assert!(endless.recv().await.is_none());
    assert!(!link.is_open());
    assert!(matches!(link.call(Request::Begin(name("go")), SOON).await, Err(LinkError::Lost { .. })));
}

#[tokio::test]
async fn following_ends_after_the_last_entry_and_begins_where_asked() {
    let link = connect().await;
    let mut entries = link.follow(name("t"), 2).await.unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = entries.recv().await {
        seen.push(entry);
    }
    assert_eq!(seen.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3, 4, 5]);
    assert!(matches!(seen[3].event, JournalEvent::Ended { .. }));
    let unknown = link.follow(name("unknown"), 0).await;
    assert!(matches!(&unknown, Err(LinkError::Fault { fault, .. }) if fault.message == "no such transaction"));
}

#[tokio::test]
async fn watching_brings_hints() {
    let link = connect().await;
    let mut hints = link.watch(ObserveRequest::default()).await.unwrap();
    assert_eq!(hints.recv().await, Some(HostEvent::Unit("nginx.service".to_owned())));
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_before_it_is_sent() {
    let link = connect().await;
    let huge = Request::Missing(vec![Digest([0; 32]); 300_000]);
    assert!(matches!(link.call(huge, SOON).await, Err(LinkError::Fault { .. })));
    assert_eq!(link.call(Request::Begin(name("go")), SOON).await.unwrap(), Reply::Begun);
}

#[tokio::test]
async fn a_talkative_login_shell_is_named_as_the_cause() {
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let (mut stdout, mut stdin) = tokio::io::split(theirs);
    ours.write_all(b"Welcome to web-1!\n").await.unwrap();
    let error = greet(&mut stdin, &mut stdout, &greeting()).await.unwrap_err();
    assert!(matches!(error, GreetError::Noise(_)), "{error}");
    assert!(error.to_string().contains("start-up file"), "{error}");
}

/// Connects to scripted hosts and counts; `down` makes the next ones fail.
#[derive(Default, Clone)]
struct Counting(Arc<Counts>);

#[derive(Default)]
struct Counts {
    dials: AtomicU32,
    down: AtomicU32,
}

impl Dial for Counting {
    fn dial<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<ChannelLink, LinkError>> {
        Box::pin(async move {
            self.0.dials.fetch_add(1, Ordering::SeqCst);
            if self.0.down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err(LinkError::Login { host: host.name.to_string(), reason: "Permission denied".to_owned() });
            }
            Ok(connect().await)
        })
    }
}

struct StillClock(std::sync::Mutex<u64>);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp(*self.0.lock().unwrap())
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

fn host() -> HostSpec {
    HostSpec {
        name: "web-1".parse().unwrap(),
        address: Address::Local,
        user: "root".to_owned(),
        port: 22,
        host_key: None,
        labels: std::collections::BTreeMap::new(),
        variables: std::collections::BTreeMap::new(),
        origin: holdfast_core::diag::Origin::default(),
    }
}

#[tokio::test]
async fn a_channel_is_shared_kept_warm_and_made_anew_when_it_broke() {
    let counting = Counting::default();
    let links = Links::new(counting.clone(), Arc::new(StillClock(0.into())));
    let dials = || counting.0.dials.load(Ordering::SeqCst);
    let host = host();
    let (one, two) = tokio::join!(links.connect(&host), links.connect(&host));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(dials(), 1);

    assert!(one.call(Request::Begin(name("die")), SOON).await.is_err());
    let three = links.connect(&host).await.unwrap();
    assert_eq!(dials(), 2);

    // A dead man's switch wants a connection that did not exist before; the old channel goes on for who holds it.
    let four = links.reconnect(&host).await.unwrap();
    assert_eq!(dials(), 3);
    assert_eq!(three.call(Request::Begin(name("go")), SOON).await.unwrap(), Reply::Begun);
    assert!(Arc::ptr_eq(&links.connect(&host).await.unwrap(), &four));

    let moved = HostSpec { port: 2222, ..host };
    links.connect(&moved).await.unwrap();
    assert_eq!(dials(), 4);
}

#[tokio::test]
async fn a_refused_login_is_not_tried_again_at_once() {
    let counting = Counting(Arc::new(Counts { down: 2.into(), ..Counts::default() }));
    let clock = Arc::new(StillClock(0.into()));
    let links = Links::new(counting.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    let dials = || counting.0.dials.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert!(matches!(links.connect(&host()).await, Err(LinkError::Login { .. })));
    }
    assert_eq!(dials(), 1);
    *clock.0.lock().unwrap() = 5_001;
    for _ in 0..10 {
        assert!(links.connect(&host()).await.is_err());
    }
    assert_eq!(dials(), 2);
    links.refresh(|_| true).await;
    links.connect(&host()).await.unwrap();
    assert_eq!(dials(), 3);
}
