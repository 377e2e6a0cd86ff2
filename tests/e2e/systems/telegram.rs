//! A Bot API that keeps what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// Telegram as far as the bot and the alerter ask it: it keeps what is sent.
pub(super) struct Telegram {
    /// Its line of an inventory's variables.
    pub(super) variable: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Telegram {
    /// Listens on an address of the machine that the lab's hosts reach.
    pub(super) fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let variable = format!("telegram_api: http://{}", listener.local_addr().unwrap());
        let told = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let into = Arc::clone(&into);
                std::thread::spawn(move || answer(stream, &into));
            }
        });
        Self { variable, told }
    }

    /// What chats were told that has these words in it.
    pub(super) fn told(&self, words: &str) -> Vec<String> {
        self.told.lock().unwrap().iter().filter(|text| text.contains(words)).cloned().collect()
    }
}

/// Takes one call of the Bot API. Whoever asks for messages waits a while and gets none.
fn answer(stream: TcpStream, into: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {
        let last = head.lines().last().unwrap_or_default().to_ascii_lowercase();
        if let Some(value) = last.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    if head.contains("/sendMessage") {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        into.lock().unwrap().push(body["text"].as_str().unwrap_or_default().to_owned());
    } else {
        std::thread::park_timeout(Duration::from_secs(5));
    }
    let said = r#"{"ok": true, "result": []}"#;
    let _ = write!(
        reader.get_mut(),
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
        said.len()
    );
}
