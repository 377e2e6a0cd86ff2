//! HTTP load that judges a switch: keep-alive connections, every second request a POST, and never a retry.
//!
//! What a client library would hide by sending again is a failure here: a reset, an early end, an answer that is not 2xx.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Where and how much.
#[derive(Debug, Clone)]
pub struct LoadSpec {
    /// nginx of each host.
    pub targets: Vec<SocketAddr>,
    /// `Host` header.
    pub host: String,
    /// Path of the GET requests.
    pub get: String,
    /// Path of the POST requests.
    pub post: String,
    /// JSON body of the POST requests.
    pub body: String,
    /// Connections to each target.
    pub connections: usize,
    /// Pause between two requests of one connection: bounds the load.
    pub pause: Duration,
    /// The load ends by itself after this long.
    pub limit: Duration,
}

impl LoadSpec {
    /// Returns what the chatbot of `tests/lab/images` is asked: its health, and a message, over four connections to each target.
    pub fn chatbot(targets: Vec<SocketAddr>, host: &str, pause: Duration, limit: Duration) -> Self {
        Self {
            targets,
            host: host.to_owned(),
            get: "/health".to_owned(),
            post: "/api/v1/chat".to_owned(),
            body: r#"{"message":"does it hold?"}"#.to_owned(),
            connections: 4,
            pause,
            limit,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadReport {
    /// Requests sent.
    pub requests: u64,
    /// Of these, POST.
    pub posts: u64,
    /// Requests that failed.
    pub failures: u64,
    /// The first failures in words.
    pub examples: Vec<String>,
    /// Answers by the release they name.
    pub releases: BTreeMap<String, u64>,
    /// By target: seconds from the start at which each release was first seen there.
    pub first_seen: BTreeMap<String, BTreeMap<String, f64>>,
    /// The longest answer in milliseconds.
    pub slowest_ms: u64,
}

/// Load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<LoadReport>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts all connections.
    pub fn start(spec: &LoadSpec) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(LoadReport::default()));
        let start = Instant::now();
        let mut threads = Vec::new();
        for target in &spec.targets {
            for number in 0..spec.connections {
                let (spec, target, stop, report) = (spec.clone(), *target, Arc::clone(&stop), Arc::clone(&report));
                threads.push(std::thread::spawn(move || client(&spec, target, number, start, &stop, &report)));
            }
        }
        Self { stop, report, threads }
    }

    /// Returns the figures so far.
    pub fn report(&self) -> LoadReport {
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }

    /// Ends all connections after their present request and returns the figures.
    pub fn stop(self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                // A client that panicked lost its requests: count it, so that no test passes by it.
                if let Ok(mut report) = self.report.lock() {
                    report.failures += 1;
                    report.examples.push("a client panicked".to_owned());
                }
            }
        }
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }
}

/// Returns the release that answers one GET request, over a connection of its own.
///
/// # Errors
/// As any client would see it; also an answer that is not 2xx.
pub fn release_at(target: SocketAddr, host: &str, path: &str) -> io::Result<String> {
    let spec = LoadSpec {
        targets: Vec::new(),
        host: host.to_owned(),
        get: path.to_owned(),
        post: String::new(),
        body: String::new(),
        connections: 1,
        pause: Duration::ZERO,
        limit: Duration::ZERO,
    };
    request(&mut None, &spec, target, false).map(|body| release_of(&body))
}

fn client(
    spec: &LoadSpec,
    target: SocketAddr,
    number: usize,
    start: Instant,
    stop: &AtomicBool,
    report: &Mutex<LoadReport>,
) {
    let mut connection: Option<BufReader<TcpStream>> = None;
    let mut count = number;
    while !stop.load(Ordering::Relaxed) && start.elapsed() < spec.limit {
        let post = count % 2 == 1;
        count += 1;
        let begun = Instant::now();
        let result = request(&mut connection, spec, target, post);
        let took = begun.elapsed().as_millis() as u64;
        {
            let Ok(mut report) = report.lock() else { return };
            report.requests += 1;
            report.posts += u64::from(post);
            report.slowest_ms = report.slowest_ms.max(took);
            match result {
                Ok(body) => {
                    let release = release_of(&body);
                    *report.releases.entry(release.clone()).or_default() += 1;
                    report
                        .first_seen
                        .entry(target.to_string())
                        .or_default()
                        .entry(release)
                        .or_insert_with(|| start.elapsed().as_secs_f64());
                }
                Err(error) => {
                    connection = None;
                    report.failures += 1;
                    if report.examples.len() < 20 {
                        let verb = if post { "POST" } else { "GET" };
                        let at = start.elapsed().as_secs_f64();
                        report.examples.push(format!("{at:.2}s {verb} {target}: {error} after {took} ms"));
                    }
                }
            }
        }
        std::thread::park_timeout(spec.pause);
    }
}

fn release_of(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("release").and_then(|release| release.as_str().map(str::to_owned)))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn request(
    connection: &mut Option<BufReader<TcpStream>>,
    spec: &LoadSpec,
    target: SocketAddr,
    post: bool,
) -> io::Result<Vec<u8>> {
    if connection.is_none() {
        let stream = TcpStream::connect_timeout(&target, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        *connection = Some(BufReader::new(stream));
    }
    let reader = connection.as_mut().ok_or_else(|| io::Error::other("no connection"))?;
    let (verb, path, body) = if post { ("POST", &spec.post, spec.body.as_str()) } else { ("GET", &spec.get, "") };
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        spec.host,
        body.len()
    );
    reader.get_mut().write_all(head.as_bytes())?;
    let (status, close, body) = answer(reader)?;
    if close {
        *connection = None;
    }
    if (200..300).contains(&status) { Ok(body) } else { Err(io::Error::other(format!("status {status}"))) }
}

/// Reads one HTTP/1.1 answer (RFC 9112): status, whether the connection ends with it, and the body.
fn answer(reader: &mut impl BufRead) -> io::Result<(u16, bool, Vec<u8>)> {
    let mut line = String::new();
    let mut next = |reader: &mut dyn BufRead| -> io::Result<String> {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer"));
        }
        Ok(line.trim_end().to_owned())
    };
    let status = next(reader)?;
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status line: {status:?}")))?;
    let (mut length, mut chunked, mut close) = (0, false, false);
    loop {
        let header = next(reader)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        close |= header == "connection: close";
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = usize::from_str_radix(next(reader)?.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk)?;
            body.extend(chunk);
            next(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    }
    Ok((status, close, body))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn spec(target: SocketAddr) -> LoadSpec {
        LoadSpec {
            targets: vec![target],
            host: "example.net".to_owned(),
            get: "/health".to_owned(),
            post: "/chat".to_owned(),
            body: "{}".to_owned(),
            connections: 2,
            pause: Duration::from_millis(1),
            limit: Duration::from_secs(20),
        }
    }

    /// Serves `good` answers on each connection and then closes it without a word.
    fn server(good: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    for _ in 0..good {
                        let mut length = 0;
                        loop {
                            let mut line = String::new();
                            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                                return;
                            }
                            if let Some(value) = line.strip_prefix("Content-Length:") {
                                length = value.trim().parse().unwrap();
                            }
                            if line == "\r\n" {
                                break;
                            }
                        }
                        let mut body = vec![0; length];
                        reader.read_exact(&mut body).unwrap();
                        let _ = reader
                            .get_mut()
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"release\":\"v1\"}");
                    }
                });
            }
        });
        address
    }

    fn run(target: SocketAddr, requests: u64) -> LoadReport {
        let load = Load::start(&spec(target));
        let deadline = Instant::now() + Duration::from_secs(20);
        while load.report().requests < requests && Instant::now() < deadline {
            std::thread::yield_now();
        }
        load.stop()
    }

    #[test]
    fn counts_releases_and_halves_the_verbs() {
        let report = run(server(usize::MAX), 200);
        assert_eq!(report.failures, 0, "{:?}", report.examples);
        assert!(report.requests >= 200);
        assert_eq!(report.releases.get("v1"), Some(&report.requests));
        assert!(report.posts.abs_diff(report.requests / 2) <= 2, "{report:?}");
    }

    #[test]
    fn a_connection_that_ends_early_is_a_failure() {
        let report = run(server(5), 100);
        assert!(report.failures > 0, "{report:?}");
        assert!(report.failures < report.requests);
    }
}
