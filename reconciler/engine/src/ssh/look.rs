use std::sync::Arc;

use holdfast_core::config::{Address, HostSpec};
use openssh::{Session, Stdio};
use tokio::io::AsyncReadExt;

use super::dial::SshDialer;
use super::remote::{self, Login};
use super::session;
use crate::ports::LinkError;

/// The most of a login shell's noise that is kept, in bytes.
const NOISE: u64 = 200;

/// What a login on a host can do, asked with commands that change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginLook {
    /// What its shell prints before it runs anything. It must be nothing: frames travel there.
    pub noise: String,
    /// Whether it can check programs (`sha256sum`).
    pub checks: bool,
    /// Whether it can pass through the folder the host program is in, or there is none yet.
    pub passes: bool,
    /// Whether it may run the host program as root.
    pub may_serve: bool,
    /// Whether it may put a new version of it in place.
    pub may_deliver: bool,
    /// What a sudoers file must hold for it; empty for root.
    pub sudoers: String,
}

impl SshDialer {
    /// Looks at a login over a connection of its own.
    ///
    /// # Errors
    /// [`LinkError`] when there is no connection.
    pub async fn look(&self, host: &HostSpec) -> Result<LoginLook, LinkError> {
        let master = self.open(host).await?;
        let session = session::on(&master);
        let login = Login::of(&host.user);
        let digest = &self.program().digest;
        let noise = said(host, &session, remote::NOTHING).await?;
        let [may_serve, may_deliver] = match login {
            Login::Root => [true, true],
            Login::Sudo => {
                let [serve, deliver] = remote::may(digest);
                [passes(host, &session, &serve).await?, passes(host, &session, &deliver).await?]
            }
        };
        Ok(LoginLook {
            noise,
            checks: passes(host, &session, remote::CHECKS).await?,
            passes: passes(host, &session, remote::PASSES).await?,
            may_serve,
            may_deliver,
            sudoers: if login == Login::Root { String::new() } else { remote::sudoers(&host.user) },
        })
    }
}

/// Returns whether a host has an address that ssh reaches.
pub(super) fn remote_address(host: &HostSpec) -> Result<&str, LinkError> {
    match &host.address {
        Address::Remote(address) => Ok(address),
        Address::Local => Err(LinkError::Unreachable {
            host: host.name.to_string(),
            reason: "its address is not a remote one".to_owned(),
        }),
    }
}

/// Returns the beginning of what a command prints.
async fn said(host: &HostSpec, session: &Arc<Session>, command: &str) -> Result<String, LinkError> {
    let mut child = session::spawn(session, command).await.map_err(|error| session::unreachable(host, &error))?;
    drop(child.stdin().take());
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout().take() {
        // What breaks here shows as an exit status.
        let _ = stdout.take(NOISE).read_to_end(&mut said).await;
    }
    let _ = child.wait().await;
    Ok(super::tail::escaped(&String::from_utf8_lossy(&said)))
}

/// Returns whether a command exits with 0.
async fn passes(host: &HostSpec, session: &Arc<Session>, command: &str) -> Result<bool, LinkError> {
    let mut remote = Arc::clone(session).arc_raw_command(command);
    remote.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match remote.status().await {
        Ok(status) => Ok(status.success()),
        // openssh turns the status 127 into this error.
        Err(openssh::Error::Remote(_)) => Ok(false),
        Err(error) => Err(session::unreachable(host, &error)),
    }
}
