//! A websocket through a site.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A websocket at `/ws`, as far as short texts need one (RFC 6455, section 5.2).
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Opens it through a site of this name.
    pub(super) fn open(address: SocketAddr, site: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {site}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    /// Says a word, and returns what comes back; `None` when the socket was closed.
    pub(super) fn say(&mut self, word: &str) -> Option<String> {
        let mut frame = vec![0x81, 0x80 | word.len() as u8, 0, 0, 0, 0];
        frame.extend(word.as_bytes());
        self.0.write_all(&frame).ok()?;
        self.hear()
    }

    /// Returns the next text; `None` when the socket was closed. Whoever asks whether somebody is there is answered.
    pub(super) fn hear(&mut self) -> Option<String> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).ok()?;
            let mut length = usize::from(head[1]);
            if length == 126 {
                let mut long = [0; 2];
                self.0.read_exact(&mut long).ok()?;
                length = usize::from(u16::from_be_bytes(long));
            }
            let mut text = vec![0; length];
            self.0.read_exact(&mut text).ok()?;
            match head[0] {
                0x81 => return String::from_utf8(text).ok(),
                // Ping: what came goes back, masked with zeros.
                0x89 => {
                    let pong = [&[0x8a, 0x80 | length as u8, 0, 0, 0, 0], &text[..]].concat();
                    self.0.write_all(&pong).ok()?;
                }
                _ => return None,
            }
        }
    }
}
