use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_protocol::Architecture;
use openssh::{Child, Error, Session, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::link::Streams;
use super::master::Master;
use super::program::HostProgram;
use super::remote::{self, Login};
use super::tail::Tail;
use crate::ports::LinkError;

/// How long a session waits for another one to be closed, where the server allows only one (`MaxSessions 1`).
const REFUSED_PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];
/// How long a process may take to end once its streams have.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a delivery may take.
const DELIVERY: Duration = Duration::from_secs(120);

/// A host program that was asked to start.
pub(super) struct Started {
    child: Child<Arc<Session>>,
    complaints: Tail,
    collecting: Option<tokio::task::JoinHandle<()>>,
}

/// How a remote command ended.
pub(super) struct Ending {
    /// Its exit status; `None` when a signal ended it or the connection broke.
    pub(super) status: Option<i32>,
    /// What it said on its standard error, as it came.
    pub(super) raw: String,
    /// The same, for people.
    pub(super) text: String,
}

/// Returns a session on a master. Opening it sends nothing.
pub(super) fn on(master: &Master) -> Arc<Session> {
    Arc::new(Session::resume_mux(master.socket().into(), None))
}

/// Starts a command with all streams piped.
pub(super) async fn spawn(session: &Arc<Session>, command: &str) -> Result<Child<Arc<Session>>, Error> {
    let mut pauses = REFUSED_PAUSES.iter();
    loop {
        let mut remote = Arc::clone(session).arc_raw_command(command);
        remote.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match (remote.spawn().await, pauses.next()) {
            (Err(Error::SshMux(_)), Some(pause)) => tokio::time::sleep(*pause).await,
            (result, _) => return result,
        }
    }
}

pub(super) fn unreachable(host: &HostSpec, error: &Error) -> LinkError {
    let reason =
        format!("no session on the open connection: {error}; is MaxSessions 0, or a forced command set, in its sshd?");
    LinkError::Unreachable { host: host.name.to_string(), reason }
}

/// Asks the login shell to check and become the host program.
///
/// # Errors
/// [`LinkError::Unreachable`]. Whether the program was there shows in [`Started::ending`] once the channel has ended.
pub(super) async fn start(
    host: &HostSpec,
    session: &Arc<Session>,
    program: &HostProgram,
    login: Login,
) -> Result<(Started, StdStreams), LinkError> {
    let mut child =
        spawn(session, &remote::serve(&program.digest, login)).await.map_err(|error| unreachable(host, &error))?;
    let complaints = Tail::new();
    let collecting = child.stderr().take().map(|stderr| complaints.collect(stderr));
    let (Some(stdin), Some(stdout)) = (child.stdin().take(), child.stdout().take()) else {
        return Err(LinkError::Unreachable { host: host.name.to_string(), reason: "ssh gave no streams".to_owned() });
    };
    Ok((Started { child, complaints, collecting }, (stdin, stdout)))
}

/// The remote command's standard input and output.
pub(super) type StdStreams = (openssh::ChildStdin, openssh::ChildStdout);

impl Started {
    /// Waits for the end.
    ///
    /// Standard error is read to its end first: the exit status can overtake it, and openssh then closes the session, with which
    /// `ssh` throws away what it has not handed over yet.
    async fn ended(self) -> Ending {
        if let Some(collecting) = self.collecting {
            let _ = collecting.await;
        }
        let status = match self.child.wait().await {
            Ok(status) => status.code(),
            // openssh turns the status 127 into this error.
            Err(Error::Remote(_)) => Some(127),
            Err(_) => None,
        };
        Ending { status, raw: self.complaints.raw(), text: self.complaints.text() }
    }

    /// Returns how it ended; waits only a moment when it has not.
    pub(super) async fn ending(self) -> Ending {
        let complaints = self.complaints.clone();
        let waited = tokio::time::timeout(PATIENCE, self.ended()).await;
        waited.unwrap_or_else(|_| Ending { status: None, raw: complaints.raw(), text: complaints.text() })
    }

    /// Returns the streams of a channel that owns this program and its connection.
    pub(super) fn streams(self, (stdin, stdout): StdStreams, master: Master) -> Streams {
        let farewell = Box::pin(async move {
            let ending = self.ending().await;
            let connection = master.last_words(PATIENCE).await;
            let status = ending.status.map(|status| format!("holdfast-host ended with status {status}"));
            let words = [status.unwrap_or_default(), ending.text, connection];
            words.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
        });
        Streams { stdin: Box::new(stdin), stdout: Box::new(stdout), farewell }
    }
}

/// Puts a program on the host.
///
/// # Errors
/// [`LinkError::Delivery`], or [`LinkError::Login`] when sudo refuses.
pub(super) async fn deliver(
    host: &HostSpec,
    session: &Arc<Session>,
    program: &HostProgram,
    login: Login,
) -> Result<(), LinkError> {
    let failed = |reason: String| LinkError::Delivery { host: host.name.to_string(), reason };
    let bytes = program.bytes().map_err(|error| failed(error.to_string()))?;
    let work = async {
        let command = remote::deliver(&program.digest, login);
        let mut child = spawn(session, &command).await.map_err(|error| unreachable(host, &error))?;
        let complaints = Tail::new();
        let collecting = child.stderr().take().map(|stderr| complaints.collect(stderr));
        if let Some(mut stdin) = child.stdin().take() {
            // A refused write shows in the exit status, with the reason on standard error.
            let _ = stdin.write_all(&bytes).await;
            let _ = stdin.shutdown().await;
        }
        Ok(Started { child, complaints, collecting }.ended().await)
    };
    let ending = match tokio::time::timeout(DELIVERY, work).await {
        Ok(ending) => ending?,
        Err(_) => return Err(failed(format!("not delivered within {} s", DELIVERY.as_secs()))),
    };
    match ending.status {
        Some(0) => Ok(()),
        _ if ending.raw.contains("sudo:") => Err(sudo_refused(host, &ending.text)),
        status => {
            let status = status.map_or("a broken connection".to_owned(), |status| format!("status {status}"));
            Err(failed(format!("`install` ended with {status}: {}", ending.text)))
        }
    }
}

/// Returns the host's processor, asked with a command that changes nothing.
///
/// # Errors
/// [`LinkError::Unreachable`].
pub(super) async fn architecture(host: &HostSpec, session: &Arc<Session>) -> Result<Architecture, LinkError> {
    let mut child = spawn(session, remote::ARCHITECTURE).await.map_err(|error| unreachable(host, &error))?;
    drop(child.stdin().take());
    let mut word = String::new();
    if let Some(stdout) = child.stdout().take() {
        let _ = stdout.take(64).read_to_string(&mut word).await;
    }
    Ok(match word.trim() {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        _ => Architecture::Other,
    })
}

/// Returns the error of a login that may not become root.
pub(super) fn sudo_refused(host: &HostSpec, said: &str) -> LinkError {
    let line = remote::sudoers(&host.user);
    let reason = format!("{said}; put this line into /etc/sudoers.d/holdfast there (sudo 1.9.10 or newer): {line}");
    LinkError::Login { host: host.name.to_string(), reason }
}
