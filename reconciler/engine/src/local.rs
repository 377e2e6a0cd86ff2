//! The management box as one of its own hosts: the host program as a child process.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use tokio::process::Command;

use crate::ports::LinkError;
use crate::ssh::{ChannelLink, GreetError, Greeting, HostPrograms, Streams, Tail, greet};

/// How long the child may take to end once its streams have.
const PATIENCE: Duration = Duration::from_millis(500);

/// Opens channels to the machine this program runs on.
pub struct LocalDialer {
    programs: Arc<HostPrograms>,
    greeting: Greeting,
    root: bool,
}

impl LocalDialer {
    /// Returns a dialer. `root` says whether this process is root; else the program is started by `sudo -n`.
    pub fn new(programs: Arc<HostPrograms>, greeting: Greeting, root: bool) -> Self {
        Self { programs, greeting, root }
    }

    /// Starts the host program and greets it. It ends with the link.
    ///
    /// # Errors
    /// [`LinkError::Delivery`] when it does not start, [`LinkError::Login`] when sudo refuses.
    pub async fn dial(&self, host: &HostSpec) -> Result<ChannelLink, LinkError> {
        let name = host.name.to_string();
        let program = &self.programs.first().path;
        let failed = |reason: String| LinkError::Delivery { host: name.clone(), reason };
        let mut command = if self.root {
            Command::new(program)
        } else {
            let mut command = Command::new("sudo");
            command.arg("-n").arg("--").arg(program);
            command
        };
        let mut child = command
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("{} does not start: {error}", program.display())))?;
        let said = Tail::new();
        let collecting = child.stderr.take().map(|stderr| said.collect(stderr));
        let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("its streams are missing".to_owned()));
        };
        let greeted = greet(&mut stdin, &mut stdout, &self.greeting).await;
        let words = said.clone();
        let farewell = async move {
            let status = tokio::time::timeout(PATIENCE, child.wait()).await;
            if let Some(collecting) = collecting {
                let _ = tokio::time::timeout(PATIENCE, collecting).await;
            }
            match status {
                Ok(Ok(status)) => format!("holdfast-host ended with {status}; {}", words.text()),
                _ => words.text(),
            }
        };
        match greeted {
            Ok(hello) => {
                let streams =
                    Streams { stdin: Box::new(stdin), stdout: Box::new(stdout), farewell: Box::pin(farewell) };
                Ok(ChannelLink::open(&name, hello, streams))
            }
            Err(GreetError::Ended) => {
                let words = farewell.await;
                if said.raw().contains("sudo:") {
                    let reason = format!(
                        "{words}; run as root, or allow `{} serve` for this user in a sudoers file, or reach this machine as \
                         127.0.0.1 over ssh",
                        program.display()
                    );
                    return Err(LinkError::Login { host: name, reason });
                }
                Err(failed(words))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
