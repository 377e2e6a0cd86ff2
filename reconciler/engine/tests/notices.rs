//! Notices from the queue to local sinks, through the system's curl.

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_core::config::{MailSecurity, NoticeSeverity, NoticeSink, NoticeTarget};
use holdfast_core::notice::{MOST_TRIES, Notice, Told, trial};
use holdfast_core::time::Timestamp;
use holdfast_engine::notify::{Courier, Herald, deliver, send};
use holdfast_engine::ports::{BoxFuture, Clock};
use holdfast_engine::store::Store;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-T0k3n-8fX2";

/// Time that passes as fast as somebody sleeps.
#[derive(Default)]
struct Fast(AtomicU64);

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn sleep(&self, length: Duration) -> BoxFuture<'_, ()> {
        self.0.fetch_add(length.as_millis() as u64, Ordering::Relaxed);
        Box::pin(tokio::time::sleep(Duration::from_millis(2)))
    }
}

/// What arrived, whole.
type Arrived = Arc<Mutex<Vec<String>>>;

/// An HTTP server that answers with this status; with none, never.
fn http(listener: TcpListener, status: Arc<Mutex<Option<u16>>>) -> Arrived {
    let arrived = Arrived::default();
    let seen = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, status) = (Arc::clone(&seen), Arc::clone(&status));
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut text, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    text += &line;
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                seen.lock().unwrap().push(text + &String::from_utf8(body).unwrap());
                let answer = *status.lock().unwrap();
                let Some(code) = answer else { return std::future::pending().await };
                let reply = format!("HTTP/1.1 {code} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.unwrap();
            });
        }
    });
    arrived
}

/// A mail server as small as RFC 5321 lets one be.
async fn mail_server() -> (u16, Arrived) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let arrived = Arrived::default();
    let seen = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move { drop(mail(stream, &seen).await) });
        }
    });
    (port, arrived)
}

async fn mail(stream: TcpStream, seen: &Arrived) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut text, mut in_data) = (String::new(), false);
    stream.write_all(b"220 sink\r\n").await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let word = line.trim_end();
        let answer = match word.split([' ', ':']).next().unwrap_or_default() {
            _ if in_data => {
                text += &line;
                if word != "." {
                    continue;
                }
                in_data = false;
                seen.lock().unwrap().push(std::mem::take(&mut text));
                "250 taken"
            }
            "EHLO" => "250 sink",
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => {
                text += &line;
                "250 well"
            }
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

fn secret(folder: &Path, name: &str, value: &str) -> String {
    use std::io::Write;
    let path = folder.join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(value.as_bytes()).unwrap();
    path.display().to_string()
}

fn sink(name: &str, to: NoticeTarget) -> NoticeSink {
    NoticeSink { name: name.to_owned(), environments: BTreeSet::new(), severity: NoticeSeverity::Info, to }
}

fn hook(name: &str, port: u16) -> NoticeSink {
    sink(name, NoticeTarget::Webhook { url: format!("http://127.0.0.1:{port}/hook"), token_file: None })
}

async fn listening() -> (u16, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

fn says(code: u16) -> Arc<Mutex<Option<u16>>> {
    Arc::new(Mutex::new(Some(code)))
}

fn number(seq: u64) -> Told {
    Told { notices: vec![trial("number", Timestamp(seq))], ..Told::default() }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

fn ids(arrived: &Arrived) -> Vec<String> {
    let all = arrived.lock().unwrap();
    all.iter()
        .map(|text| {
            let body: serde_json::Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
            body["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// A courier at work.
struct Working(CancellationToken, tokio::task::JoinHandle<()>);

fn work(herald: &Herald, scratch: PathBuf) -> Working {
    let stop = CancellationToken::new();
    let clock = Arc::new(Fast(AtomicU64::new(1_000)));
    let date = |_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned();
    let courier = Courier { herald: herald.clone(), clock, scratch, date, stop: stop.clone() };
    Working(stop, tokio::spawn(deliver(courier)))
}

impl Working {
    async fn end(self) {
        self.0.cancel();
        tokio::time::timeout(SOON, self.1).await.expect("it ends when told").unwrap();
    }
}

#[tokio::test]
async fn cap_79_each_kind_of_place_gets_what_it_takes_and_no_secret_is_seen_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (port, listener) = listening().await;
    let arrived = http(listener, says(200));
    let (mail_port, mails) = mail_server().await;
    let token_file = secret(folder.path(), "token", CANARY);
    let url = format!("http://127.0.0.1:{port}");
    let slack = secret(folder.path(), "slack", &format!("{url}/services/{CANARY}\n"));
    let notice: Notice = trial("all", Timestamp(7));
    let date = "Thu, 01 Jan 1970 00:00:00 +0000";
    let to = vec!["ops@example.net".to_owned(), "boss@example.net".to_owned()];
    let (server, from) = ("127.0.0.1".to_owned(), "holdfast@example.net".to_owned());
    let smtp = |port| NoticeTarget::Smtp {
        server: server.clone(),
        port,
        security: MailSecurity::None,
        from: from.clone(),
        to: to.clone(),
        login: None,
    };
    for target in [
        NoticeTarget::Webhook { url: format!("{url}/hook"), token_file: Some(token_file.clone()) },
        NoticeTarget::Slack { url_file: slack.clone() },
        NoticeTarget::Telegram { chat: "-100".to_owned(), token_file: token_file.clone(), api: url.clone() },
        smtp(mail_port),
    ] {
        send(&sink("one", target), &notice, &folder.path().join("scratch"), date).await.unwrap();
    }
    let seen = arrived.lock().unwrap().clone();
    assert!(
        seen[0].contains(&format!("Authorization: Bearer {CANARY}")) && seen[0].contains(r#""kind":"test""#),
        "{}",
        seen[0]
    );
    assert!(seen[0].contains("Idempotency-Key: test/7"), "{}", seen[0]);
    assert!(
        seen[1].starts_with(&format!("POST /services/{CANARY} ")) && seen[1].contains(r#""text":"Holdfast"#),
        "{}",
        seen[1]
    );
    assert!(
        seen[2].starts_with(&format!("POST /bot{CANARY}/sendMessage ")) && seen[2].contains(r#""chat_id":"-100""#),
        "{}",
        seen[2]
    );
    let mail = mails.lock().unwrap()[0].clone();
    for part in ["FROM:<holdfast@example.net>", "RCPT TO:<boss@example.net>", "Subject: =?utf-8?B?", "Message-ID: <"] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("scratch")).unwrap().count(), 0, "no mail stays behind");

    // What fails says so without what is secret.
    let closed = listening().await.0;
    for (target, why) in [
        (
            NoticeTarget::Slack {
                url_file: secret(folder.path(), "bad", &format!("http://127.0.0.1:{closed}/{CANARY}")),
            },
            "connect",
        ),
        (NoticeTarget::Slack { url_file: secret(folder.path(), "worse", &format!("http://[{CANARY}/x")) }, ""),
        (
            NoticeTarget::Telegram {
                chat: "1".to_owned(),
                token_file: secret(folder.path(), "odd", &format!("{CANARY}/../x")),
                api: url,
            },
            "no token",
        ),
        (smtp(closed), "connect"),
    ] {
        let error = send(&sink("one", target), &notice, &folder.path().join("scratch"), date).await.unwrap_err();
        assert!(!error.contains(CANARY) && error.contains(why), "{error}");
    }
    std::fs::set_permissions(&token_file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let target = NoticeTarget::Telegram { chat: "1".to_owned(), token_file, api: "http://127.0.0.1:1".to_owned() };
    let error = send(&sink("one", target), &notice, folder.path(), date).await.unwrap_err();
    assert!(error.contains("read by others") && error.contains("0644"), "{error}");
}

#[tokio::test]
async fn cap_79_a_place_that_hangs_holds_up_neither_the_teller_nor_another_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::in_memory().unwrap();
    let (slow_port, listener) = listening().await;
    let slow = http(listener, Arc::default());
    let (port, listener) = listening().await;
    let arrived = http(listener, says(204));
    let herald = Herald::new(store.clone(), vec![hook("slow", slow_port), hook("quick", port)]);
    let working = work(&herald, folder.path().to_owned());
    for seq in 1..4 {
        herald.tell(number(seq)).await;
    }
    until("all are at the quick one, in order", async || ids(&arrived) == ["test/1", "test/2", "test/3"]).await;
    until("the slow one has the first", async || slow.lock().unwrap().len() == 1).await;
    let states = store.notice_states().await.unwrap();
    assert_eq!((states[1].sink.as_str(), states[1].waiting), ("slow", 3), "it has not answered yet");
    working.1.abort();
}

#[tokio::test]
async fn cap_79_a_restart_loses_nothing_and_tells_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let (port, listener) = listening().await;
    let status = says(503);
    let arrived = http(listener, Arc::clone(&status));
    {
        let store = Store::open(&path).unwrap();
        let herald = Herald::new(store.clone(), vec![hook("hook", port)]);
        let working = work(&herald, folder.path().to_owned());
        for seq in 1..3 {
            herald.tell(number(seq)).await;
            herald.tell(number(seq)).await;
        }
        until("both were tried", async || ids(&arrived).iter().collect::<BTreeSet<_>>().len() == 2).await;
        working.end().await;
    }
    arrived.lock().unwrap().clear();
    *status.lock().unwrap() = Some(200);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.notice_states().await.unwrap()[0].waiting, 2, "nothing is lost");
    let herald = Herald::new(store.clone(), vec![hook("hook", port)]);
    herald.tell(number(1)).await;
    let working = work(&herald, folder.path().to_owned());
    until("both are there", async || store.notice_states().await.unwrap()[0].delivered == 2).await;
    working.end().await;
    let working = work(&herald, folder.path().to_owned());
    herald.tell(number(3)).await;
    until("the third is there", async || store.notice_states().await.unwrap()[0].delivered == 3).await;
    working.end().await;
    let mut ids = ids(&arrived);
    ids.sort();
    assert_eq!(ids, ["test/1", "test/2", "test/3"], "each once");
}

#[tokio::test]
async fn cap_79_what_never_arrives_is_given_up_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::in_memory().unwrap();
    let (port, listener) = listening().await;
    let arrived = http(listener, says(403));
    let herald = Herald::new(store.clone(), vec![hook("hook", port)]);
    let working = work(&herald, folder.path().to_owned());
    herald.tell(number(1)).await;
    until("it is given up", async || store.notice_states().await.unwrap()[0].given_up == 1).await;
    assert_eq!(arrived.lock().unwrap().len(), MOST_TRIES as usize);
    assert_eq!(store.notice_states().await.unwrap()[0].error, "it answered 403");
    working.end().await;
}
