//! The control socket: lines of JSON over a Unix socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::control::{ControlReply, ControlRequest};
use super::event::Token;

/// Longest request in bytes: a push of thousands of references fits.
const LONGEST: u64 = 4 * 1024 * 1024;
/// How long somebody may take to say what he wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines that wait for a slow reader.
const WAITING: usize = 4096;

/// Why the daemon cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No daemon is there.
    #[error("no daemon listens on {path}: {source}; is `holdfast daemon` running, and may you use it (group `holdfast`)?", path = path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon is there.
    #[error("another daemon listens on {path} already", path = .0.display())]
    Taken(PathBuf),
    /// The socket cannot be made.
    #[error("the control socket {path} cannot be made: {source}", path = path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke: {0}; the rollout goes on, `holdfast status` shows it")]
    Broken(#[from] io::Error),
    /// The other side does not speak this version.
    #[error("the daemon said something unknown: {0}; is it of another version?")]
    Malformed(#[from] serde_json::Error),
}

/// A connection to the daemon, for one request.
pub struct ControlClient {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    /// Kept open: its end tells the daemon that nobody listens any more.
    _writer: OwnedWriteHalf,
}

impl ControlClient {
    /// Connects and asks. Waits up to `patience` for a daemon that is just starting.
    ///
    /// # Errors
    /// [`ControlError::Absent`] or [`ControlError::Broken`].
    pub async fn ask(path: &Path, request: &ControlRequest, patience: Duration) -> Result<Self, ControlError> {
        let begin = tokio::time::Instant::now();
        let stream = loop {
            match UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied && begin.elapsed() < patience => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(source) => return Err(ControlError::Absent { path: path.to_owned(), source }),
            }
        };
        let (reader, mut writer) = stream.into_split();
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        writer.write_all(&line).await?;
        Ok(Self { lines: BufReader::new(reader).lines(), _writer: writer })
    }

    /// Returns the next line; `None` after the last one.
    ///
    /// # Errors
    /// [`ControlError::Broken`] or [`ControlError::Malformed`].
    pub async fn next(&mut self) -> Result<Option<ControlReply>, ControlError> {
        match self.lines.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

/// What comes from the socket.
pub(super) enum SocketEvent {
    /// An account asks; replies go into the sender until it is dropped.
    Asked(Token, ControlRequest, u32, mpsc::Sender<ControlReply>),
    /// The other end was closed.
    Gone(Token),
}

/// Listens. A socket that a dead daemon left is replaced.
pub(super) async fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    if path.exists() {
        match UnixStream::connect(path).await {
            Ok(_) => return Err(ControlError::Taken(path.to_owned())),
            Err(_) => {
                // The bind below tells what is wrong when this does not work.
                let _ = std::fs::remove_file(path);
            }
        }
    }
    let failed = |source| ControlError::Bind { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Its owner and its group: who may connect may deploy.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Takes connections until the receiver of the events is gone.
pub(super) async fn accept(listener: UnixListener, events: mpsc::UnboundedSender<SocketEvent>) {
    let next = AtomicU64::new(1);
    while !events.is_closed() {
        match listener.accept().await {
            Ok((stream, _)) => {
                let token = Token(next.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(serve(stream, token, events.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control socket failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, token: Token, events: mpsc::UnboundedSender<SocketEvent>) {
    // Without it nobody knows who speaks.
    let Ok(peer) = stream.peer_cred() else { return };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, (&mut reader).take(LONGEST).read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(1..))) {
        return;
    }
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let _ = write(&mut writer, &ControlReply::Refused { reason: format!("not a request: {error}") }).await;
            return;
        }
    };
    let (replies, mut waiting) = mpsc::channel(WAITING);
    if events.send(SocketEvent::Asked(token, request, peer.uid(), replies)).is_err() {
        return;
    }
    let mut rest = [0; 64];
    loop {
        tokio::select! {
            reply = waiting.recv() => {
                let Some(reply) = reply else { break };
                if write(&mut writer, &reply).await.is_err() || reply.is_last() {
                    break;
                }
            }
            // Nothing more is expected from there but its end.
            read = reader.read(&mut rest) => if !matches!(read, Ok(1..)) { break },
        }
    }
    let _ = events.send(SocketEvent::Gone(token));
}

async fn write(writer: &mut OwnedWriteHalf, reply: &ControlReply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
