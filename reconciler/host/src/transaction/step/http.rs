//! A tiny HTTP/1.1 client for probes: one request on a fresh connection to this host.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::exec::shown;

/// The most bytes taken of an answer: a health answer is small, and a wrong one must not fill our memory.
const MAX_ANSWER: usize = 1024 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Returns the first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Looks whether the answer is what is wanted: one of the status codes, any 2xx where there are none, and these JSON fields.
    ///
    /// # Errors
    /// What is different, for people.
    pub(super) fn expect(&self, status: &[u16], json: &BTreeMap<String, String>) -> Result<(), String> {
        let fits = if status.is_empty() { (200..300).contains(&self.status) } else { status.contains(&self.status) };
        if !fits {
            return Err(format!("answered {}: {}", self.status, shown(&self.body, 200)));
        }
        for (field, wanted) in json {
            let found = self.json(field)?;
            if found != *wanted {
                let found = shown(found.as_bytes(), 80);
                return Err(format!("the answer says `{field}` is `{found}`, expected `{wanted}`"));
            }
        }
        Ok(())
    }

    /// Looks whether these headers have these values.
    ///
    /// # Errors
    /// What is different, for people.
    pub(super) fn expect_headers(&self, wanted: &BTreeMap<String, String>) -> Result<(), String> {
        for (name, wanted) in wanted {
            match self.header(name) {
                Some(found) if found == wanted => {}
                Some(found) => {
                    let found = shown(found.as_bytes(), 80);
                    return Err(format!("the header `{name}` is `{found}`, expected `{wanted}`"));
                }
                None => return Err(format!("the answer has no header `{name}`, expected `{wanted}`")),
            }
        }
        Ok(())
    }

    /// Returns the field of a JSON body at a dotted path, as text; numbers in the path index lists.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub(super) fn json(&self, path: &str) -> Result<String, String> {
        let value: serde_json::Value =
            serde_json::from_slice(&self.body).map_err(|error| format!("the answer is no JSON: {error}"))?;
        let mut at = &value;
        for part in path.split('.') {
            let next = part.parse::<usize>().ok().and_then(|index| at.get(index)).or_else(|| at.get(part));
            at = next.ok_or_else(|| format!("the answer has no field `{path}`"))?;
        }
        Ok(match at {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }
}

/// Asks `127.0.0.1:port`.
///
/// # Errors
/// What went wrong, for people.
pub(super) fn get(port: u16, path: &str, host: &str, timeout: Duration) -> Result<Answer, String> {
    let deadline = Instant::now() + timeout;
    if !path.starts_with('/') || has_odd_bytes(path) || has_odd_bytes(host) {
        return Err("path or host name hold characters that HTTP does not allow".to_owned());
    }
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let mut stream = connect(port, timeout)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: holdfast\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("no answer within {} ms", timeout.as_millis()),
        _ => error.to_string(),
    };
    stream.set_write_timeout(Some(timeout)).and_then(|()| stream.write_all(request.as_bytes())).map_err(told)?;
    let bytes = read(&mut stream, deadline).map_err(told)?;
    parse(&bytes)
}

/// Opens a connection to a loopback port.
///
/// # Errors
/// What went wrong, for people.
pub(super) fn connect(port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, timeout).map_err(|error| format!("connect to port {port}: {error}"))
}

fn has_odd_bytes(text: &str) -> bool {
    text.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
}

/// Reads until the answer is complete or the peer closes.
fn read(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > MAX_ANSWER {
            return Err(io::Error::other(format!("the answer is over {MAX_ANSWER} bytes")));
        }
        if is_complete(&bytes) {
            return Ok(bytes);
        }
    }
}

/// A peer that ignores `Connection: close` is not waited for.
fn is_complete(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(start)) = response.parse(bytes) else { return false };
    let header = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if header("transfer-encoding").is_some() {
        return bytes.ends_with(b"0\r\n\r\n");
    }
    let length =
        header("content-length").and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    length.is_some_and(|length: usize| bytes.len() >= start.saturating_add(length))
}

/// # Source
/// RFC 9112: the body ends with the connection, at `Content-Length`, or comes in chunks.
fn parse(bytes: &[u8]) -> Result<Answer, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let start = match response.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Err("the connection was closed before an answer".to_owned()),
        Err(error) => return Err(format!("the answer is no HTTP: {error}")),
    };
    let status = response.code.unwrap_or(0);
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    let rest = &bytes[start..];
    answer.body = if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)?
    } else {
        let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
        rest[..length.unwrap_or(rest.len()).min(rest.len())].to_owned()
    };
    Ok(answer)
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(rest) else {
            return Err("the answer was cut off".to_owned());
        };
        if length == 0 {
            return Ok(body);
        }
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let data = end.and_then(|end| rest.get(start..end)).ok_or("the answer was cut off")?;
        body.extend_from_slice(data);
        rest = rest.get(start + data.len() + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    /// Answers each connection with the next of these texts, the last one for ever.
    pub(in super::super) fn server(answers: Vec<String>) -> u16 {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for (index, stream) in listening.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answers[index.min(answers.len() - 1)].as_bytes());
            }
        });
        port
    }

    #[test]
    fn answers_in_all_framings() {
        let port = server(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nX-Release: v2\r\n\r\n{\"a\":{\"b\":[1]}}ignored".to_owned(),
            "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_owned(),
            "HTTP/1.0 200 OK\r\n\r\nall of it".to_owned(),
            "SSH-2.0-x\r\n\r\n".to_owned(),
        ]);
        let ask = || get(port, "/", "", Duration::from_secs(10));
        let first = ask().unwrap();
        assert_eq!((first.status, first.header("x-release")), (200, Some("v2")));
        assert_eq!(first.json("a.b.0").unwrap(), "1");
        assert!(first.json("a.c").unwrap_err().contains("no field `a.c`"));
        let second = ask().unwrap();
        assert_eq!((second.status, second.body.as_slice()), (503, &b"abcde"[..]));
        assert_eq!(ask().unwrap().body, b"all of it");
        assert!(ask().is_err());
    }

    #[test]
    fn a_silent_peer_and_an_odd_path_are_errors() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        assert!(get(port, "/", "", Duration::from_millis(50)).unwrap_err().contains("no answer within"));
        assert!(get(port, "/ HTTP/1.1\r\nX: y", "", Duration::from_secs(1)).is_err());
        drop(listening);
        assert!(get(port, "/", "", Duration::from_secs(1)).unwrap_err().starts_with("connect to port"));
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0..120_usize) {
            let _ = parse(&bytes);
            let good = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nffffffffffffffff\r\n";
            let _ = parse(&[&good[..cut.min(good.len())], &bytes].concat());
        }
    }
}
