//! The operator's words to a sync that runs in another process: a socket that is there as long as the sync.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdfast_core::id::{AppName, EnvironmentName};
use holdfast_engine::apply::{Heard, OperatorHandle, OperatorVerb, OperatorWord};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// One word as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    verb: Verb,
    app: Option<AppName>,
}

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    /// Wait.
    Pause,
    /// Go on after a pause.
    Resume,
    /// End the pause or the watch window.
    Promote,
    /// Go back.
    Abort,
}

/// What became of a word, as a line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// A rollout that it is meant for hears it.
    Heard,
    /// A sync runs, but no rollout that it is meant for.
    NotRolling,
    /// A rollout that it is meant for runs, and there is nothing to promote.
    NothingHeld,
    /// No sync runs, or it has just ended.
    None,
    /// It is not ours to speak to: its process belongs to somebody else.
    Forbidden,
    /// The other side is of another version.
    NotUnderstood,
}

/// Hears words for one sync; the socket is gone with it.
pub(crate) struct Listener {
    path: PathBuf,
    task: JoinHandle<()>,
}

/// Longest line that is read.
const MAX_LINE: u64 = 4096;

fn path(runtime: &Path, environment: &EnvironmentName) -> PathBuf {
    runtime.join(format!("{environment}.sync"))
}

impl Listener {
    /// Listens for the sync of an environment. Whoever holds the environment's lock may replace a dead one's socket.
    pub(crate) fn open(runtime: &Path, environment: &EnvironmentName, handle: OperatorHandle) -> io::Result<Self> {
        let path = path(runtime, environment);
        std::fs::create_dir_all(runtime)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A wrong word is answered, not fatal: the next one may be right.
                let _ = hear(stream, &handle).await;
            }
        });
        Ok(Self { path, task })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn hear(stream: UnixStream, handle: &OperatorHandle) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_LINE)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<Word>(&line) {
        Ok(Word { verb, app }) => {
            let verb = match verb {
                Verb::Pause => OperatorVerb::Pause,
                Verb::Resume => OperatorVerb::Resume,
                Verb::Promote => OperatorVerb::Promote,
                Verb::Abort => OperatorVerb::Abort,
            };
            match handle.say(OperatorWord { app, verb }) {
                Heard::Yes => Answer::Heard,
                Heard::NotRolling => Answer::NotRolling,
                Heard::NothingHeld => Answer::NothingHeld,
                Heard::Ended => Answer::None,
            }
        }
        Err(_) => Answer::NotUnderstood,
    };
    let line = serde_json::to_string(&answer)? + "\n";
    writer.write_all(line.as_bytes()).await
}

/// Says a word to the sync of an environment.
pub(crate) async fn say(
    runtime: &Path,
    environment: &EnvironmentName,
    app: Option<AppName>,
    verb: Verb,
) -> io::Result<Answer> {
    let stream = match UnixStream::connect(path(runtime, environment)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(Answer::None);
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Answer::Forbidden),
        Err(error) => return Err(error),
    };
    let (reader, mut writer) = stream.into_split();
    let line = serde_json::to_string(&Word { verb, app })? + "\n";
    writer.write_all(line.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(reader).read_line(&mut answer).await?;
    // It may end before it has answered.
    Ok(if answer.is_empty() { Answer::None } else { serde_json::from_str(&answer).unwrap_or(Answer::NotUnderstood) })
}
