//! Speaks HTTP/1.1 over a Unix socket.
//!
//! # Source
//! RFC 9112, "HTTP/1.1": message framing by `Content-Length` or chunks, connections kept by default.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The largest body of an answer, in bytes. The list of a thousand containers has 3 MiB.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Why the engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// There is no socket: no engine is installed, or it does not run.
    #[error("no Docker engine listens on {0}")]
    NoSocket(String),
    /// The connection broke or took too long. Connect again.
    #[error("the Docker engine: {0}")]
    Io(#[from] io::Error),
    /// The answer is not HTTP, or not what the engine's API documents.
    #[error("the Docker engine gave an answer that is not understood: {0}")]
    Malformed(String),
    /// The engine answered with an error.
    #[error("the Docker engine answered {status}: {message}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The engine's text.
        message: String,
    },
    /// Containers came and went while they were looked at, several times in a row.
    #[error("the containers changed while they were looked at; look again")]
    Unsettled,
}

impl DockerError {
    /// Returns whether the engine said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
    }
}

/// One connection to the engine.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    deadline: Instant,
    /// Whether another request may follow on it.
    pub(super) reusable: bool,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    framing: Framing,
    keep: bool,
    length: usize,
}

impl Connection {
    pub(super) fn open(socket: &Path) -> Result<Self, DockerError> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                DockerError::NoSocket(socket.display().to_string())
            }
            _ => DockerError::Io(error),
        })?;
        Ok(Self { stream, buffer: Vec::new(), deadline: Instant::now(), reusable: true })
    }

    /// Asks and returns the body of a successful answer.
    pub(super) fn get(&mut self, path: &str, timeout: Duration) -> Result<Vec<u8>, DockerError> {
        self.reusable = false;
        let head = self.request(path, timeout)?;
        let body = self.body(head.framing)?;
        self.reusable = head.keep && self.buffer.is_empty();
        if !(200..300).contains(&head.status) {
            return Err(refusal(head.status, &body));
        }
        Ok(body)
    }

    /// Asks for an endless answer; its chunks are read with [`Connection::read_chunks`].
    pub(super) fn stream(mut self, path: &str, timeout: Duration) -> Result<Self, DockerError> {
        let head = self.request(path, timeout)?;
        if !(200..300).contains(&head.status) {
            let body = self.body(head.framing)?;
            return Err(refusal(head.status, &body));
        }
        if head.framing != Framing::Chunked {
            return Err(DockerError::Malformed("an endless answer does not come in chunks".to_owned()));
        }
        Ok(self)
    }

    /// Reads what has arrived of an endless answer; to be called when the descriptor is readable.
    pub(super) fn read_chunks(&mut self) -> Result<Vec<u8>, DockerError> {
        self.deadline = Instant::now() + Duration::from_secs(1);
        self.fill()?;
        self.buffered_chunks()
    }

    /// Returns the chunks that came in together with the head of an endless answer.
    pub(super) fn buffered_chunks(&mut self) -> Result<Vec<u8>, DockerError> {
        let mut data = Vec::new();
        while let Some((start, length, end)) = chunk(&self.buffer)? {
            data.extend_from_slice(&self.buffer[start..start + length]);
            self.buffer.drain(..end);
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(data)
    }

    fn request(&mut self, path: &str, timeout: Duration) -> Result<Head, DockerError> {
        self.deadline = Instant::now() + timeout;
        self.stream.set_write_timeout(Some(timeout))?;
        self.stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: holdfast\r\n\r\n").as_bytes())?;
        loop {
            if let Some(head) = parse_head(&self.buffer)? {
                self.buffer.drain(..head.length);
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(DockerError::Malformed(format!("its head is over {MAX_HEAD} bytes")));
            }
            self.fill()?;
        }
    }

    fn body(&mut self, framing: Framing) -> Result<Vec<u8>, DockerError> {
        match framing {
            Framing::Length(length) => {
                if length > MAX_BODY {
                    return Err(too_large());
                }
                while self.buffer.len() < length {
                    self.fill()?;
                }
                Ok(self.buffer.drain(..length).collect())
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let Some((start, length, end)) = chunk(&self.buffer)? else {
                        self.fill()?;
                        continue;
                    };
                    body.extend_from_slice(&self.buffer[start..start + length]);
                    self.buffer.drain(..end);
                    if length == 0 {
                        return Ok(body);
                    }
                    if body.len() > MAX_BODY {
                        return Err(too_large());
                    }
                }
            }
            Framing::UntilClose => {
                loop {
                    match self.fill() {
                        Ok(()) if self.buffer.len() > MAX_BODY => return Err(too_large()),
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(late()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn too_large() -> DockerError {
    DockerError::Malformed(format!("its body is over {MAX_BODY} bytes"))
}

/// The engine's errors are `{"message": "…"}`.
fn refusal(status: u16, body: &[u8]) -> DockerError {
    let text = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message").and_then(|message| message.as_str().map(str::to_owned)))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let message = text.chars().take(300).flat_map(char::escape_debug).collect();
    DockerError::Status { status, message }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, DockerError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(DockerError::Malformed(error.to_string())),
    };
    let status = response.code.unwrap_or(0);
    let mut framing = if status == 204 || status == 304 { Framing::Length(0) } else { Framing::UntilClose };
    let mut keep = response.version == Some(1);
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_ascii_lowercase();
        if header.name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked" {
            framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("content-length") && framing != Framing::Chunked {
            let length =
                value.parse().map_err(|_| DockerError::Malformed("its Content-Length is no number".to_owned()))?;
            framing = Framing::Length(length);
        } else if header.name.eq_ignore_ascii_case("connection") && value == "close" {
            keep = false;
        }
    }
    Ok(Some(Head { status, framing, keep: keep && framing != Framing::UntilClose, length }))
}

/// Returns where the data of the first chunk starts, its length, and where the chunk ends, once it is complete.
fn chunk(bytes: &[u8]) -> Result<Option<(usize, usize, usize)>, DockerError> {
    let (start, length) = match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Complete((start, length))) => (start, length),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(DockerError::Malformed("a chunk has no size".to_owned())),
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BODY).ok_or_else(too_large)?;
    let end = start + length + 2;
    if bytes.len() < end {
        return Ok(None);
    }
    // The engine sends no trailers, so the last chunk ends with the same empty line as any other.
    if &bytes[end - 2..end] != b"\r\n" {
        return Err(DockerError::Malformed("a chunk is longer than its size".to_owned()));
    }
    Ok(Some((start, length, end)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads() {
        let head = |text: &str| parse_head(text.as_bytes()).unwrap().unwrap();
        let chunked = head("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!((chunked.framing, chunked.keep), (Framing::Chunked, true));
        let sized = head("HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\nConnection: close\r\n\r\n");
        assert_eq!((sized.status, sized.framing, sized.keep), (404, Framing::Length(12), false));
        let old = head("HTTP/1.0 200 OK\r\n\r\n");
        assert_eq!((old.framing, old.keep), (Framing::UntilClose, false));
        assert!(parse_head(b"HTTP/1.1 200").unwrap().is_none());
        assert!(parse_head(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n").is_err());
    }

    #[test]
    fn chunks() {
        assert_eq!(chunk(b"5\r\nhello\r\n0\r\n\r\n").unwrap(), Some((3, 5, 10)));
        assert_eq!(chunk(b"0\r\n\r\n").unwrap(), Some((3, 0, 5)));
        assert_eq!(chunk(b"5\r\nhel").unwrap(), None);
        assert!(chunk(b"5\r\nhello!!\r\n").is_err());
        assert!(chunk(b"ffffffffffff\r\n").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = parse_head(&bytes);
            let _ = chunk(&bytes);
            let _ = refusal(500, &bytes);
        }
    }
}
