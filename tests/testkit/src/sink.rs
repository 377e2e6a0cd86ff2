//! A place that notices are sent to: takes every POST over HTTP and keeps it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// A place that is there until the test process ends.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// One request that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// What was asked for, from the first slash.
    pub path: String,
    /// Its body; null where that is no JSON.
    pub body: Value,
}

impl Sink {
    /// Listens on a free port of an address of this machine.
    ///
    /// # Panics
    /// When there is none.
    pub fn on(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let sink = Self { address: listener.local_addr().expect("an address"), taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever hangs up half way was not heard, and tries again.
                if let Some(one) = take(stream) {
                    taken.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            }
        });
        sink
    }

    /// Returns the address of one of its paths.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns all that arrived so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn take(stream: TcpStream) -> Option<Taken> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut path) = (String::new(), 0, None);
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // Slack's own answer: Alertmanager takes a notice for delivered by this word alone.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    reader.get_mut().write_all(answer).ok()?;
    Some(Taken { path: path?, body: serde_json::from_slice(&body).unwrap_or_default() })
}
