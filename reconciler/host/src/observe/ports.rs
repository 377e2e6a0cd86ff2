//! Looks at the TCP ports that are listened on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use holdfast_protocol::ListeningPort;

/// The most of a table that is read, in bytes: listeners come first, a host has no more than some hundreds.
const MAX_TABLE: usize = 4 * 1024 * 1024;

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

#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    address: String,
    port: u16,
    inode: u64,
}

impl Ports {
    /// Returns one for the `proc` file system at this place.
    pub(super) fn new(proc: PathBuf) -> Self {
        Self { proc, owners: BTreeMap::new() }
    }

    /// Returns the ports, in order.
    ///
    /// # Errors
    /// When the kernel's IPv4 table cannot be read. The one of IPv6 may be missing: the kernel may have none.
    pub(super) fn look(&mut self) -> io::Result<Vec<ListeningPort>> {
        let mut sockets = parse_table(&read_listeners(&self.proc.join("net/tcp"))?);
        match read_listeners(&self.proc.join("net/tcp6")) {
            Ok(table) => sockets.extend(parse_table(&table)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
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

/// Reads a table up to the first line that is no listener: thousands of connections may follow.
///
/// # Source
/// Linux `net/ipv4/tcp_ipv4.c`, `tcp_seq_start`: first the table of listeners, then the one of connections.
fn read_listeners(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut table = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let count = file.read(&mut piece)?;
        table.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&table);
        let ended = text.rsplit('\n').nth(1).is_some_and(|line| !line.contains("local_address") && !is_listener(line));
        if count == 0 || ended || table.len() > MAX_TABLE {
            return Ok(text.into_owned());
        }
    }
}

/// # Source
/// proc_pid_net(5) and the kernel's `Documentation/networking/proc_net_tcp.rst`: state `0A` is LISTEN.
fn is_listener(line: &str) -> bool {
    line.split_ascii_whitespace().nth(3) == Some("0A")
}

fn parse_table(text: &str) -> Vec<Socket> {
    text.lines().filter(|line| is_listener(line)).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    let inode = fields.nth(7)?.parse().ok()?;
    Some(Socket { address: parse_address(address)?, port: u16::from_str_radix(port, 16).ok()?, inode })
}

/// Each group of eight digits is a 32-bit word as it lies in memory, printed as a number of the machine: little-endian here.
fn parse_address(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    for index in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(index..index + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0\n   \
        1: 0100007F:1F90 0100007F:ABCD 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 20 4 30 10 -1\n";

    #[test]
    fn only_listeners_count() {
        assert_eq!(parse_table(TABLE), [Socket { address: "127.0.0.1".to_owned(), port: 8080, inode: 4711 }]);
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_address("00000000").unwrap(), "0.0.0.0");
        assert_eq!(parse_address("0153007F").unwrap(), "127.0.83.1");
        assert_eq!(parse_address("00000000000000000000000000000000").unwrap(), "::");
        assert_eq!(parse_address("0000000000000000FFFF00000100007F").unwrap(), "::ffff:127.0.0.1");
        assert_eq!(parse_address("0000"), None);
    }

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
