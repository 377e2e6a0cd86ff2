//! Answers `GET /metrics` over HTTP/1.1, and nothing else.
//!
//! # Guarantees
//! Nobody who connects costs more than a little memory for a short time: heads are cut at 8 KiB and 5 s, at most 16 connections are
//! served at once, each one request long. Bodies are not read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ports::BoxFuture;

/// Longest head of a request in bytes.
const LONGEST: usize = 8 * 1024;
/// Most header lines of a request.
const HEADERS: usize = 64;
/// How long somebody may take to say what he wants.
const ASKING: Duration = Duration::from_secs(5);
/// How long he may take to read the answer.
const READING: Duration = Duration::from_secs(10);
/// Connections that are served at once; others wait in the kernel's queue.
const AT_ONCE: usize = 16;

/// Where the text comes from.
pub trait Exposed: Send + Sync {
    /// Returns the metrics in Prometheus' text format, within a few seconds.
    ///
    /// # Errors
    /// Why there are none, for the log.
    fn text(&self) -> BoxFuture<'_, Result<String, String>>;
}

/// Serves until it is told to stop.
pub async fn serve(listener: TcpListener, exposed: Arc<dyn Exposed>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let exposed = Arc::clone(&exposed);
                connections.spawn(async move {
                    // Whoever went away wants no answer.
                    let _ = answer(stream, exposed.as_ref()).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics was not taken");
                // Such as too many open files: trying again at once would only spin.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, exposed: &dyn Exposed) -> io::Result<()> {
    let response = match timeout(ASKING, head(&mut stream)).await {
        Ok(Ok(head)) => match asked(&head) {
            Asked::Metrics { body } => {
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                match exposed.text().await {
                    Ok(text) => response("200 OK", kind, "", &text, body),
                    Err(error) => {
                        tracing::warn!(%error, "there are no metrics");
                        plain("500 Internal Server Error", "", "there are no metrics; the log says why\n")
                    }
                }
            }
            Asked::Elsewhere => plain("404 Not Found", "", "metrics are at /metrics\n"),
            Asked::Otherwise => plain("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "only GET and HEAD\n"),
            Asked::Nonsense => plain("400 Bad Request", "", "this is no request of HTTP/1\n"),
        },
        Ok(Err(error)) => return Err(error),
        Err(_) => plain("408 Request Timeout", "", "the request took too long\n"),
    };
    let send = async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await
    };
    timeout(READING, send).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads up to the empty line, or as much as a head may have.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while head.len() < LONGEST && !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => break,
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(head)
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The metrics, or with `HEAD` only the head of the answer.
    Metrics {
        /// Whether the text is wanted too.
        body: bool,
    },
    /// Another page.
    Elsewhere,
    /// Another method.
    Otherwise,
    /// It is no request, or too long.
    Nonsense,
}

fn asked(head: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
        return Asked::Nonsense;
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match (request.method, path) {
        (Some("GET"), "/metrics") => Asked::Metrics { body: true },
        (Some("HEAD"), "/metrics") => Asked::Metrics { body: false },
        (Some("GET" | "HEAD"), _) => Asked::Elsewhere,
        _ => Asked::Otherwise,
    }
}

fn plain(status: &str, more: &str, text: &str) -> String {
    response(status, "text/plain; charset=utf-8", more, text, true)
}

fn response(status: &str, kind: &str, more: &str, text: &str, body: bool) -> String {
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
    );
    if body { head + text } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Exposed for Fixed {
        fn text(&self) -> BoxFuture<'_, Result<String, String>> {
            Box::pin(async { Ok("up 1\n".to_owned()) })
        }
    }

    async fn say(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that has heard enough may hang up while this still speaks.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn cap_78_one_page_is_served_and_all_else_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Arc::new(Fixed), stop.clone()));
        let good = say(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(
            good.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{good}"
        );
        assert!(good.ends_with("\r\nContent-Length: 5\r\nConnection: close\r\n\r\nup 1\n"), "{good}");
        let head = say(address, b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n").await;
        assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /metricsx HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405"),
            (b"hello\r\n\r\n", "400"),
            (b"\x16\x03\x01\x02\x00\r\n\r\n", "400"),
            (&[b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 9000], b"\r\n\r\n"].concat(), "400"),
        ] {
            let answer = say(address, request).await;
            let shown = String::from_utf8_lossy(&request[..request.len().min(40)]);
            // The end of what was not read may cost the answer on its way (RFC 9112 §9.6), never more.
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) || answer.is_empty() && request.len() > 8192,
                "{shown}: {answer}"
            );
        }
        // Somebody who says nothing keeps nobody waiting.
        let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(address)).collect();
        let mut open = Vec::new();
        for connection in silent {
            open.push(connection.await.unwrap());
        }
        assert!(say(address, b"GET /metrics HTTP/1.1\r\n\r\n").await.contains("200 OK"));
        stop.cancel();
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
