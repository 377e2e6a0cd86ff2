use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use tokio::sync::Semaphore;

use super::control::ControlFolder;
use super::link::{ChannelLink, GreetError, Greeting, greet};
use super::look::remote_address;
use super::master::Master;
use super::pin::PinnedKey;
use super::program::{HostProgram, HostPrograms};
use super::remote::{self, ABSENT, DIFFERENT, Login};
use super::session::{self, Ending};
use crate::ports::LinkError;

/// How long is waited before a delivered program is checked once more.
const RECHECK_PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// How `ssh` is called.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// Another configuration file than the user's (`ssh -F`).
    pub config: Option<PathBuf>,
    /// A private key to offer besides those of the configuration and the agent (`ssh -i`).
    pub identity: Option<PathBuf>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How many connections are made side by side. Key exchange costs some 70 ms of processor time each, and sshd drops more than
    /// ten unauthenticated ones (`MaxStartups`).
    pub at_once: usize,
    /// What the host program hears first.
    pub greeting: Greeting,
}

impl SshOptions {
    /// Returns the usual options for a manager of this name.
    pub fn new(manager: &str) -> Self {
        Self {
            config: None,
            identity: None,
            connect_timeout: Duration::from_secs(10),
            at_once: 6,
            greeting: Greeting { manager: manager.to_owned(), deadline: Duration::from_secs(20) },
        }
    }
}

/// Opens channels over OpenSSH. Keeps nothing: that is [`crate::links::Links`]' work.
pub struct SshDialer {
    options: SshOptions,
    control: ControlFolder,
    programs: Arc<HostPrograms>,
    turns: Semaphore,
}

/// What came of asking for one program.
enum Attempt {
    Greeted(ChannelLink),
    NotThere(Master, Why),
}

/// Why a program did not start.
#[derive(Debug)]
enum Why {
    Absent,
    Different,
    /// It is there and as it should be, and could not be run. While another manager still writes it, that is `Text file busy`.
    Refused(LinkError),
}

impl SshDialer {
    /// Returns a dialer.
    pub fn new(options: SshOptions, control: ControlFolder, programs: Arc<HostPrograms>) -> Self {
        let turns = Semaphore::new(options.at_once.max(1));
        Self { options, control, programs, turns }
    }

    /// Returns the program that is tried first.
    pub(super) fn program(&self) -> &HostProgram {
        self.programs.first()
    }

    /// Connects to a host that shows the pinned key; nothing is asked of it yet.
    pub(super) async fn open(&self, host: &HostSpec) -> Result<Master, LinkError> {
        let unpinned = |detail: String| LinkError::HostKey { host: host.name.to_string(), detail };
        let address = remote_address(host)?;
        let pin = host.host_key.as_deref().ok_or_else(|| unpinned(format!("none is pinned ({})", host.origin)))?;
        let pin: PinnedKey = pin.parse().map_err(|error| unpinned(format!("{error} ({})", host.origin)))?;
        Master::open(host, address, &pin, &self.control, &self.options).await
    }

    /// Connects to a host, delivers the host program where it is not there or is not what it should be, and greets it.
    ///
    /// # Errors
    /// See [`LinkError`]. One login attempt at most.
    pub async fn dial(&self, host: &HostSpec) -> Result<ChannelLink, LinkError> {
        // Held until the greeting: the host's side of a start costs processor time of ours as well.
        let _turn = self.turns.acquire().await;
        let mut master = self.open(host).await?;
        let login = Login::of(&host.user);
        let mut program = self.programs.first();
        let mut chosen = !self.programs.are_several();
        // What to say when it is not there in the end, once it was delivered.
        let mut in_vain = None;
        let mut pauses = RECHECK_PAUSES.iter();
        loop {
            let (held, why) = match self.attempt(host, master, program, login).await? {
                Attempt::Greeted(link) => return Ok(link),
                Attempt::NotThere(master, why) => (master, why),
            };
            master = held;
            let different = matches!(why, Why::Different);
            if let Why::Refused(error) = why {
                in_vain = Some(error);
            }
            // Another manager may be delivering the same file at this moment: it is whole again soon.
            if in_vain.is_some()
                && let Some(pause) = pauses.next()
            {
                tokio::time::sleep(*pause).await;
                continue;
            }
            if let Some(error) = in_vain {
                return Err(error);
            }
            if different {
                tracing::warn!(host = %host.name, digest = %program.digest, "the host program there is not what was delivered; it is replaced");
            }
            let session = session::on(&master);
            if !chosen {
                chosen = true;
                let architecture = session::architecture(host, &session).await?;
                let right = self.programs.of(architecture).ok_or_else(|| {
                    self.delivery(host, "this manager has no host program for its processor (`uname -m`)".to_owned())
                })?;
                if right.digest != program.digest {
                    program = right;
                    continue;
                }
            }
            in_vain = Some(match session::deliver(host, &session, program, login).await {
                Ok(()) => {
                    tracing::info!(host = %host.name, digest = %program.digest, "the host program was delivered");
                    self.delivery(host, unverifiable(program, login))
                }
                // Of two `install` at the same time one finds that the file exists.
                Err(error @ LinkError::Delivery { .. }) => error,
                Err(error) => return Err(error),
            });
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a sentence at its callers")]
    fn delivery(&self, host: &HostSpec, reason: String) -> LinkError {
        LinkError::Delivery { host: host.name.to_string(), reason }
    }

    /// Starts a program and greets it.
    async fn attempt(
        &self,
        host: &HostSpec,
        master: Master,
        program: &HostProgram,
        login: Login,
    ) -> Result<Attempt, LinkError> {
        let session = session::on(&master);
        let (started, mut streams) = session::start(host, &session, program, login).await?;
        let error = match greet(&mut streams.0, &mut streams.1, &self.options.greeting).await {
            Ok(hello) => {
                let streams = started.streams(streams, master);
                return Ok(Attempt::Greeted(ChannelLink::open(host.name.as_str(), hello, streams)));
            }
            Err(error) => error,
        };
        drop(streams);
        let Ending { status, raw, text } = started.ending().await;
        match (error, status) {
            (GreetError::Ended, Some(ABSENT)) => Ok(Attempt::NotThere(master, Why::Absent)),
            (GreetError::Ended, Some(DIFFERENT)) => Ok(Attempt::NotThere(master, Why::Different)),
            (GreetError::Ended, _) if raw.contains("sudo:") => Err(session::sudo_refused(host, &text)),
            (GreetError::Ended, Some(126 | 127)) => {
                let reason = format!("{path} cannot be run there: {text}", path = remote::path(&program.digest));
                Ok(Attempt::NotThere(master, Why::Refused(self.delivery(host, reason))))
            }
            (GreetError::Ended, None) => {
                let words = master.last_words(Duration::from_millis(500)).await;
                let reason = format!("the connection ended before the greeting; {text} {words}").trim_end().to_owned();
                Err(LinkError::Lost { host: host.name.to_string(), reason })
            }
            (error, _) if text.is_empty() => Err(self.delivery(host, error.to_string())),
            (error, _) => Err(self.delivery(host, format!("{error}; {text}"))),
        }
    }
}

fn unverifiable(program: &HostProgram, login: Login) -> String {
    let mut reason = format!("it was delivered, but {} does not have its digest", remote::path(&program.digest));
    if login == Login::Sudo {
        reason.push_str("; the login must be able to read it: /var/lib/holdfast needs mode 0711 or 0755");
    }
    reason.push_str("; `sha256sum` (coreutils) must be there");
    reason
}
