//! Looks at the TCP ports that are listened on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use holdfast_protocol::ListeningPort;

use super::listeners::{self, Socket};

/// Looks at listening ports and remembers who owns each socket: finding out means reading every process's descriptors.
#[derive(Debug)]
pub(super) struct Ports {
    proc: PathBuf,
    owners: BTreeMap<u64, Owner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    pid: u32,
    text: String,
}

impl Ports {
    /// Returns one for the `proc` file system at this place.
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, owners: BTreeMap::new() }
    }

    /// Returns the ports, in order.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn look(&mut self) -> io::Result<Vec<ListeningPort>> {
        let sockets = listeners::listeners(&self.proc)?;
        self.owners.retain(|inode, owner| {
            sockets.iter().any(|socket| socket.inode == *inode) && self.proc.join(owner.pid.to_string()).exists()
        });
        // Inode 0 is a socket without a process, such as one of the kernel's own.
        if sockets.iter().any(|socket| socket.inode != 0 && !self.owners.contains_key(&socket.inode)) {
            self.find_owners(&sockets);
        }
        let mut ports: Vec<ListeningPort> = sockets
            .into_iter()
            .map(|socket| ListeningPort {
                address: socket.address,
                port: socket.port,
                owner: self.owners.get(&socket.inode).map(|owner| owner.text.clone()).unwrap_or_default(),
            })
            .collect();
        ports.sort_by(|a, b| (a.port, &a.address, &a.owner).cmp(&(b.port, &b.address, &b.owner)));
        // Several sockets of one process may share a port (SO_REUSEPORT).
        ports.dedup();
        Ok(ports)
    }

    /// Of several processes that hold a socket the one with the lowest number owns it: workers come after their master.
    fn find_owners(&mut self, sockets: &[Socket]) {
        let mut found: BTreeMap<u64, u32> = BTreeMap::new();
        for entry in fs::read_dir(&self.proc).into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            for descriptor in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
                let Ok(target) = fs::read_link(descriptor.path()) else { continue };
                let inode =
                    target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
                let Some(inode) = inode else { continue };
                if sockets.iter().any(|socket| socket.inode == inode) {
                    let lowest = found.entry(inode).or_insert(pid);
                    *lowest = pid.min(*lowest);
                }
            }
        }
        for (inode, pid) in found {
            let name = fs::read_to_string(self.proc.join(pid.to_string()).join("comm")).unwrap_or_default();
            self.owners.insert(inode, Owner { pid, text: format!("{} ({pid})", name.trim_end()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn our_own_port_is_seen_with_us_as_its_owner_and_goes_away() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut ports = Ports::new("/proc".into());
        let seen = ports.look().unwrap();
        let ours = seen.iter().find(|seen| seen.port == port && seen.address == "127.0.0.1").unwrap();
        assert!(ours.owner.ends_with(&format!("({})", std::process::id())), "{ours:?}");
        drop(listener);
        assert!(!ports.look().unwrap().iter().any(|seen| seen.port == port && seen.address == "127.0.0.1"));
    }
}
