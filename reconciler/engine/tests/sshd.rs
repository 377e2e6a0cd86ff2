//! The whole way over a real sshd: pinned keys, logins, delivery, broken connections. Needs root and openssh-server; says loudly
//! when it has not.

#[path = "support/sshd.rs"]
mod sshd;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_core::config::{Address, HostSpec};
use holdfast_core::diag::Origin;
use holdfast_engine::ports::{HostLink, LinkError};
use holdfast_engine::ssh::{ChannelLink, ControlFolder, HostPrograms, SshDialer, SshOptions};
use holdfast_protocol::{Digest, Reply, Request};
use sshd::{Sshd, kill, masters, skip};

const SOON: Duration = Duration::from_secs(20);

/// Returns the scripted host, which cargo builds beside the tests.
fn scripted_host() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/scripted-host");
    assert!(path.exists(), "{} is missing: cargo builds it with all tests", path.display());
    path
}

fn programs() -> Arc<HostPrograms> {
    Arc::new(HostPrograms::find(&[scripted_host()], None).unwrap())
}

fn host(sshd: &Sshd, name: &str, user: &str) -> HostSpec {
    HostSpec {
        name: name.parse().unwrap(),
        address: Address::Remote("127.0.0.1".to_owned()),
        user: user.to_owned(),
        port: sshd.port,
        host_key: Some(sshd.public("host")),
        labels: std::collections::BTreeMap::new(),
        variables: std::collections::BTreeMap::new(),
        origin: Origin { file: "inventory/web.yaml".to_owned(), line: 2, column: 1 },
    }
}

async fn dialer_with(sshd: &Sshd, identity: &str) -> SshDialer {
    impatient_dialer(sshd, identity, SOON).await
}

async fn impatient_dialer(sshd: &Sshd, identity: &str, connect_timeout: Duration) -> SshDialer {
    let options = SshOptions {
        config: Some(sshd.path("ssh_config")),
        identity: Some(sshd.path(identity)),
        at_once: 2,
        connect_timeout,
        ..SshOptions::new("test")
    };
    let control = ControlFolder::open(&sshd.path("c")).await.unwrap();
    SshDialer::new(options, control, programs())
}

async fn works(link: &ChannelLink) -> bool {
    let echo = vec![Digest([7; 32]); 50_000];
    link.call(Request::Missing(echo.clone()), SOON).await.unwrap() == Reply::Missing(echo)
}

/// Returns from the test, loudly, where there is no sshd.
macro_rules! need_sshd {
    ($name:literal) => {
        if let Some(why) = sshd::missing() {
            skip($name, why);
            return;
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_is_delivered_once_and_again_when_it_was_changed() {
    need_sshd!("the_program_is_delivered_once_and_again_when_it_was_changed");
    let sshd = Sshd::start("MaxSessions 1", None);
    let dialer = dialer_with(&sshd, "user").await;
    let host = host(&sshd, "web-1", "root");
    let program = programs().first().clone();
    let file = sshd.inside(&format!("/var/lib/holdfast/host/{}/holdfast-host", program.digest));

    assert!(!file.exists());
    let link = dialer.dial(&host).await.unwrap();
    assert!(works(&link).await);
    let first = fs::metadata(&file).unwrap();
    assert_eq!((first.uid(), first.gid(), first.permissions().mode() & 0o7777), (0, 0, 0o755));
    drop(link);

    assert!(works(&dialer.dial(&host).await.unwrap()).await);
    assert_eq!(fs::metadata(&file).unwrap().ino(), first.ino(), "a second start delivers nothing");

    // Changed behind our back, or half written: it must not be run, and is put right.
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes).unwrap();
    assert!(works(&dialer.dial(&host).await.unwrap()).await);
    assert_eq!(fs::read(&file).unwrap(), program.bytes().unwrap());

    sshd.until("no master is left", || masters(&sshd.path("c")).is_empty());
    drop(dialer);
    let left: Vec<_> = fs::read_dir(sshd.path("c")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["turn"], "nothing but the lock file is left of the control folder");
}

/// Of two managers that deliver at the same time, `install` of one finds that the file exists, and what the other is still writing
/// cannot be run (`ETXTBSY`). Both find it whole a moment later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_another_manager_is_delivering_is_waited_for() {
    need_sshd!("a_program_that_another_manager_is_delivering_is_waited_for");
    let sshd = Sshd::start("", None);
    let dialer = Arc::new(dialer_with(&sshd, "user").await);
    let program = programs().first().clone();
    let folder = sshd.inside(&format!("/var/lib/holdfast/host/{}", program.digest));
    let file = folder.join("holdfast-host");
    let commands = || sshd.log().matches("Starting session: command").count();
    let dial = || {
        let (dialer, host) = (Arc::clone(&dialer), host(&sshd, "web-1", "root"));
        tokio::spawn(async move { works(&dialer.dial(&host).await.unwrap()).await })
    };

    // As the other one does, which still has it open.
    let delivers = || {
        fs::create_dir(&folder).unwrap();
        let mut writer = fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(&file).unwrap();
        writer.write_all(&program.bytes().unwrap()).unwrap();
        writer
    };

    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(&folder, "in its way").unwrap();
    let late = dial();
    sshd.until("it looks again after its own delivery failed", || commands() > 2);
    fs::remove_file(&folder).unwrap();
    drop(delivers());
    assert!(late.await.unwrap());

    fs::remove_dir_all(&folder).unwrap();
    let writer = delivers();
    let before = commands();
    let early = dial();
    sshd.until("it looks again at what could not be run", || commands() > before + 1);
    drop(writer);
    assert!(early.await.unwrap());
    assert_eq!(fs::read(&file).unwrap(), program.bytes().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cap_19_another_host_key_stops_everything_before_the_login() {
    need_sshd!("cap_19_another_host_key_stops_everything_before_the_login");
    let sshd = Sshd::start("", None);
    let dialer = dialer_with(&sshd, "user").await;
    let right = host(&sshd, "web-1", "root");
    let wrong = HostSpec { host_key: Some(sshd.public("other")), ..right.clone() };

    let error = dialer.dial(&wrong).await.err().unwrap();
    let LinkError::HostKey { detail, .. } = &error else { panic!("{error}") };
    let fingerprint = |name: &str| {
        let shown = std::process::Command::new("ssh-keygen").arg("-lf").arg(sshd.path(name)).output().unwrap().stdout;
        String::from_utf8(shown).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    assert!(detail.contains(&fingerprint("other.pub")) && detail.contains(&fingerprint("host.pub")), "{detail}");
    assert!(!sshd.log().contains("userauth-request"), "{}", sshd.log());

    let unpinned = HostSpec { host_key: None, ..right.clone() };
    assert!(matches!(dialer.dial(&unpinned).await, Err(LinkError::HostKey { .. })));
    assert!(!sshd.log().contains("userauth-request"), "{}", sshd.log());

    // The same sign is there when the key is right: the two assertions above can fail.
    assert!(works(&dialer.dial(&right).await.unwrap()).await);
    assert!(sshd.log().contains("userauth-request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_named_and_tried_once() {
    need_sshd!("a_refused_login_is_named_and_tried_once");
    let sshd = Sshd::start("", None);
    let dialer = dialer_with(&sshd, "stranger").await;
    let error = dialer.dial(&host(&sshd, "web-1", "root")).await.err().unwrap();
    assert!(matches!(&error, LinkError::Login { reason, .. } if reason.contains("Permission denied")), "{error}");
    let attempts = sshd.log().matches("userauth-request for user root service ssh-connection method publickey").count();
    assert_eq!(attempts, 1, "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_ends_calls_at_once_on_either_side() {
    need_sshd!("a_killed_connection_ends_calls_at_once_on_either_side");
    let sshd = Sshd::start("", None);
    let dialer = dialer_with(&sshd, "user").await;
    let host = host(&sshd, "web-1", "root");
    for ours in [true, false] {
        let link = dialer.dial(&host).await.unwrap();
        let waiting = link.call(Request::Begin("never".parse().unwrap()), SOON);
        let victims = if ours { masters(&sshd.path("c")) } else { sshd.sessions() };
        assert!(!victims.is_empty());
        let begin = Instant::now();
        victims.into_iter().for_each(kill);
        let error = waiting.await.unwrap_err();
        assert!(matches!(error, LinkError::Lost { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}: {error}", begin.elapsed());
        assert!(!link.is_open());
        assert!(works(&dialer.dial(&host).await.unwrap()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_program_that_dies_says_so() {
    need_sshd!("a_host_program_that_dies_says_so");
    let sshd = Sshd::start("", None);
    let dialer = dialer_with(&sshd, "user").await;
    let link = dialer.dial(&host(&sshd, "web-1", "root")).await.unwrap();
    let error = link.call(Request::Begin("die".parse().unwrap()), SOON).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("status 3") && text.contains("scripted: told to die"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hosts_pass_a_tight_sshd() {
    need_sshd!("many_hosts_pass_a_tight_sshd");
    // One more than the dialer has under way: sshd learns a moment after us that a login is over.
    let sshd = Sshd::start("MaxStartups 3:100:3\nMaxSessions 1", None);
    let dialer = dialer_with(&sshd, "user").await;
    let hosts: Vec<_> = (0..10).map(|n| host(&sshd, &format!("web-{n}"), "root")).collect();
    let dialer = &dialer;
    let mut links = Vec::new();
    let mut dials: Vec<_> = hosts.iter().map(|host| Box::pin(dialer.dial(host))).collect();
    std::future::poll_fn(|context| {
        dials.retain_mut(|dial| match dial.as_mut().poll(context) {
            std::task::Poll::Ready(link) => {
                links.push(link.unwrap());
                false
            }
            std::task::Poll::Pending => true,
        });
        if dials.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    for link in &links {
        assert!(works(link).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_given_up() {
    need_sshd!("a_silent_server_is_given_up");
    let sshd = Sshd::start("", None);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dialer = impatient_dialer(&sshd, "user", Duration::from_secs(1)).await;
    let host = HostSpec { port: silent.local_addr().unwrap().port(), ..host(&sshd, "web-1", "root") };
    let begin = Instant::now();
    let error = dialer.dial(&host).await.err().unwrap();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_sudoers_file_works_and_one_without_learns_the_line() {
    need_sshd!("a_user_with_the_sudoers_file_works_and_one_without_learns_the_line");
    if !std::path::Path::new("/usr/bin/sudo").exists() {
        skip("a_user_with_the_sudoers_file_works_and_one_without_learns_the_line", "sudo is not installed");
        return;
    }
    let sshd = Sshd::start("", None);
    let error = dialer_with(&sshd, "user").await.dial(&host(&sshd, "web-1", "deploy")).await.err().unwrap();
    let LinkError::Login { reason, .. } = &error else { panic!("{error}") };
    let line = reason.split_once("there (sudo 1.9.10 or newer): ").unwrap().1;

    // The template of the package, and the line of the message: both must do.
    let template = include_str!("../../../packaging/sudoers.d/holdfast");
    for sudoers in [line, template] {
        let sshd = Sshd::start("", Some(sudoers));
        let dialer = dialer_with(&sshd, "user").await;
        let link = dialer.dial(&host(&sshd, "web-1", "deploy")).await.unwrap();
        assert!(works(&link).await);
        drop(link);
        assert!(works(&dialer.dial(&host(&sshd, "web-1", "deploy")).await.unwrap()).await);
    }
}
