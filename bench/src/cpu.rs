//! Processor time of the manager's side and of the hosts, from cgroups: it counts short processes too, and nobody else's.

use std::fs;
use std::path::{Path, PathBuf};

/// What both sides have used so far, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    manager: f64,
    hosts: f64,
}

/// Accounts for this process with all it starts, and for hosts of the lab.
pub(crate) struct Meter {
    own: PathBuf,
    before: PathBuf,
    hosts: Vec<PathBuf>,
}

/// Returns the root of the hierarchy that counts processor time.
///
/// # Source
/// Linux cgroup-v1/cpuacct.rst (`cpuacct.usage`, nanoseconds) and cgroup-v2.rst (`cpu.stat`, `usage_usec`).
fn root() -> PathBuf {
    let v1 = PathBuf::from("/sys/fs/cgroup/cpuacct");
    if v1.join("cpuacct.usage").exists() { v1 } else { PathBuf::from("/sys/fs/cgroup") }
}

fn used(folder: &Path) -> Option<f64> {
    if let Ok(text) = fs::read_to_string(folder.join("cpuacct.usage")) {
        return Some(text.trim().parse::<f64>().ok()? / 1e6);
    }
    let text = fs::read_to_string(folder.join("cpu.stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(line.trim().parse::<f64>().ok()? / 1e3)
}

impl Meter {
    /// Moves this process into a cgroup of its own. `None` where that cannot be: the figures are then left out.
    pub(crate) fn new<'a>(lab: &str, hosts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let root = root();
        let (own, before) = (root.join(format!("hf-{lab}-manager")), root.clone());
        fs::create_dir_all(&own).ok()?;
        fs::write(own.join("cgroup.procs"), "0").ok()?;
        let hosts = hosts.map(|host| root.join(format!("hf-{lab}-{host}"))).collect();
        let meter = Self { own, before, hosts };
        meter.read().is_some().then_some(meter)
    }

    /// Returns what was used so far.
    pub(crate) fn read(&self) -> Option<Used> {
        let hosts = self.hosts.iter().map(|host| used(host)).sum::<Option<f64>>()?;
        Some(Used { manager: used(&self.own)?, hosts })
    }

    /// Returns what one run on one host has cost since `from`: manager's side and host's.
    pub(crate) fn since(&self, from: Used, runs: usize) -> Option<(f64, f64)> {
        let now = self.read()?;
        let each = (runs * self.hosts.len()).max(1) as f64;
        Some(((now.manager - from.manager) / each, (now.hosts - from.hosts) / each))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = fs::write(self.before.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.own);
    }
}
