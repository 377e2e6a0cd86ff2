//! What the same question costs with plain `ssh`, measured in the same run: the figures of Holdfast are compared with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fleet::Result;

/// The question of the naive floor in one command: what a person would type.
fn question() -> String {
    let files: Vec<String> = (1..=30).map(|number| format!("/etc/bench/{number:02}.conf")).collect();
    let units: Vec<String> = (1..=5).map(|number| format!("bench-{number}.service")).collect();
    format!(
        "sha256sum {} && systemctl show -p ActiveState,SubState,NRestarts,UnitFileState {}",
        files.join(" "),
        units.join(" ")
    )
}

/// Plain `ssh` to all hosts at once.
pub(crate) struct Floor {
    config: PathBuf,
    sockets: PathBuf,
    hosts: Vec<String>,
    masters: Vec<Child>,
}

impl Floor {
    /// Returns the floor for the hosts of a lab; opens nothing.
    pub(crate) fn new(state: &Path, hosts: Vec<String>) -> Result<Self> {
        let sockets = std::env::temp_dir().join(format!("hfb-{}", std::process::id()));
        std::fs::create_dir_all(&sockets)?;
        Ok(Self { config: state.join("ssh_config"), sockets, hosts, masters: Vec::new() })
    }

    fn ssh(&self, host: &str, shared: bool) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&self.config).args(["-o", "BatchMode=yes"]);
        if shared {
            command.arg("-S").arg(self.sockets.join(host));
        } else {
            command.args(["-o", "ControlPath=none"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn all(&self, shared: bool, remote: &str) -> Result<()> {
        let start = |host: &String| self.ssh(host, shared).args(["--", host, remote]).spawn();
        let running = self.hosts.iter().map(start).collect::<std::io::Result<Vec<_>>>()?;
        for (mut child, host) in running.into_iter().zip(&self.hosts) {
            let status = child.wait()?;
            if !status.success() {
                return Err(format!("`ssh {host} {remote}`: {status}").into());
            }
        }
        Ok(())
    }

    /// Logs in to every host anew and runs `true`.
    pub(crate) fn cold(&self) -> Result<()> {
        self.all(false, "true")
    }

    /// Opens one master for each host, to be used by what follows.
    pub(crate) fn open(&mut self) -> Result<()> {
        for host in &self.hosts {
            self.masters.push(self.ssh(host, true).args(["-M", "-N", "--", host]).spawn()?);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !self.hosts.iter().all(|host| self.sockets.join(host).exists()) {
            if std::time::Instant::now() > deadline {
                return Err("not all masters came up within a minute".into());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(())
    }

    /// Runs `true` on every host over the open masters.
    pub(crate) fn shared_true(&self) -> Result<()> {
        self.all(true, "true")
    }

    /// Asks every host for the digests of 30 files and the state of 5 units over the open masters: the naive floor.
    pub(crate) fn naive(&self) -> Result<()> {
        self.all(true, &question())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        for master in &mut self.masters {
            let _ = master.kill();
            let _ = master.wait();
        }
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}
