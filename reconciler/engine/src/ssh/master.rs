use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use tokio::process::{Child, Command};

use super::control::{ControlEntry, ControlFolder};
use super::dial::SshOptions;
use super::failure;
use super::pin::PinnedKey;
use super::tail::Tail;
use crate::ports::LinkError;

/// How often it is looked whether the control socket is there. `ssh` has no other sign that does not run a command.
const LOOK: Duration = Duration::from_millis(3);
/// Key exchange and login, after the connection stands.
const LOGIN: Duration = Duration::from_secs(15);

/// A running `ssh` that holds the connection to one host.
///
/// # Guarantees
/// It is our child and ends with this value. The connection was made with the pinned key and no other.
pub(super) struct Master {
    child: Child,
    entry: ControlEntry,
    said: Tail,
}

impl Master {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`LinkError::HostKey`], [`LinkError::Login`] or [`LinkError::Unreachable`].
    pub(super) async fn open(
        host: &HostSpec,
        address: &str,
        pin: &PinnedKey,
        control: &ControlFolder,
        options: &SshOptions,
    ) -> Result<Self, LinkError> {
        let here = |error: io::Error, what: &str| LinkError::Unreachable {
            host: host.name.to_string(),
            reason: format!("{what} on the manager failed: {error}"),
        };
        let entry =
            control.entry(&pin.known_hosts_line(&alias(host))).map_err(|e| here(e, "writing the pinned key"))?;
        let mut child = Command::new("ssh")
            .args(arguments(host, address, &entry, options))
            // `ssh` does not translate, but what it calls may.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is ours to handle: the connection is needed to end in good order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| here(e, "starting `ssh`"))?;
        let said = Tail::new();
        let complaints = child.stderr.take().map(|stderr| said.collect(stderr));
        tokio::select! {
            _ = child.wait() => {
                if let Some(complaints) = complaints {
                    let _ = complaints.await;
                }
                Err(failure::of_ssh(host, pin, &said.raw()))
            }
            () = appears(&entry.socket) => Ok(Self { child, entry, said }),
            () = tokio::time::sleep(options.connect_timeout + LOGIN) => {
                let limit = options.connect_timeout + LOGIN;
                Err(failure::of_ssh(host, pin, &format!("no login within {} s\n{}", limit.as_secs(), said.raw())))
            }
        }
    }

    /// Returns the control socket.
    pub(super) fn socket(&self) -> &Path {
        &self.entry.socket
    }

    /// Returns what `ssh` said while the connection ended; waits a moment for it to end when it has not.
    pub(super) async fn last_words(mut self, patience: Duration) -> String {
        let _ = tokio::time::timeout(patience, self.child.wait()).await;
        self.said.text()
    }
}

async fn appears(socket: &Path) {
    while !socket.exists() {
        tokio::time::sleep(LOOK).await;
    }
}

fn alias(host: &HostSpec) -> String {
    format!("holdfast-{}", host.name)
}

/// Returns the arguments of `ssh`. What is set here wins over the user's configuration, which keeps the say over keys, agents,
/// certificates and jump hosts.
///
/// # Source
/// `ssh(1)`, `ssh_config(5)` of OpenSSH 9.2: the first value of an option counts, and the command line comes first.
fn arguments(host: &HostSpec, address: &str, entry: &ControlEntry, options: &SshOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    for (flag, value) in [("-F", &options.config), ("-i", &options.identity)] {
        if let Some(value) = value {
            arguments.extend([OsString::from(flag), value.into()]);
        }
    }
    arguments.extend(["-M", "-N", "-T", "-S"].map(OsString::from));
    arguments.push(entry.socket.clone().into());
    let mut known_hosts = OsString::from("UserKnownHostsFile=");
    known_hosts.push(&entry.known_hosts);
    let fixed = [
        "BatchMode=yes",
        "CheckHostIP=no",
        "ClearAllForwardings=yes",
        "ControlPersist=no",
        "ForkAfterAuthentication=no",
        "ForwardAgent=no",
        "ForwardX11=no",
        "GlobalKnownHostsFile=/dev/null",
        "KnownHostsCommand=none",
        "LogLevel=ERROR",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "ServerAliveCountMax=3",
        "ServerAliveInterval=5",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "VerifyHostKeyDNS=no",
    ];
    let varying = [
        format!("ConnectTimeout={}", options.connect_timeout.as_secs().max(1)),
        format!("HostKeyAlias={}", alias(host)),
    ];
    let all = fixed.into_iter().map(OsString::from).chain(varying.map(OsString::from)).chain([known_hosts]);
    arguments.extend(all.flat_map(|option| [OsString::from("-o"), option]));
    arguments.extend(["-p".to_owned(), host.port.to_string(), "-l".to_owned(), host.user.clone()].map(OsString::from));
    arguments.extend(["--", address].map(OsString::from));
    arguments
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_core::config::Address;

    use super::*;

    #[tokio::test]
    async fn an_address_cannot_become_an_option() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let control = ControlFolder::open(&base.path().join("c")).await.unwrap();
        let host = HostSpec {
            name: "web-1".parse().unwrap(),
            address: Address::Remote("-oProxyCommand=touch /tmp/canary".to_owned()),
            user: "deploy".to_owned(),
            port: 2222,
            host_key: None,
            labels: BTreeMap::new(),
            variables: BTreeMap::new(),
            origin: holdfast_core::diag::Origin::default(),
        };
        let options = SshOptions { identity: Some("/keys/id".into()), ..SshOptions::new("manager") };
        let entry = control.entry("").unwrap();
        let arguments = arguments(&host, "-oProxyCommand=touch /tmp/canary", &entry, &options);
        let texts: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        let [.., dashes, address] = &texts[..] else { panic!("{texts:?}") };
        assert_eq!((*dashes, *address), ("--", "-oProxyCommand=touch /tmp/canary"));
        for expected in
            ["StrictHostKeyChecking=yes", "HostKeyAlias=holdfast-web-1", "ConnectTimeout=10", "2222", "/keys/id"]
        {
            assert!(texts.contains(&expected), "{texts:?}");
        }
        let strict = texts.iter().filter(|text| text.starts_with("StrictHostKeyChecking")).count();
        assert_eq!(strict, 1);
    }
}
