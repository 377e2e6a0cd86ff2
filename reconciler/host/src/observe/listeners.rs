//! Lists the TCP sockets that listen.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustix::net::netlink;

use crate::netlink::dump;

/// The most of a table that is read, in bytes: listeners come first, a host has no more than some hundreds.
const MAX_TABLE: usize = 4 * 1024 * 1024;

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// Returns the sockets that listen, of IPv4 and then of IPv6.
///
/// The kernel is asked through its diagnosis socket; where it has none the tables below `proc` tell the same, at the price that
/// the kernel goes through every bucket of its table of connections (milliseconds on a machine with much memory).
///
/// # Errors
/// When the kernel tells in neither way. The tables of IPv6 may be missing: the kernel may have none.
pub(super) fn listeners(proc: &Path) -> io::Result<Vec<Socket>> {
    diagnosed().or_else(|_| tables(proc))
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// # Source
/// sock_diag(7) and Linux `include/uapi/linux/inet_diag.h`.
fn diagnosed() -> io::Result<Vec<Socket>> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let answers = match dump(netlink::SOCK_DIAG, SOCK_DIAG_BY_FAMILY, &diagnosis_request(family)) {
            // A kernel without this family.
            Err(error) if family == AF_INET6 && error.kind() == io::ErrorKind::NotFound => break,
            answers => answers?,
        };
        for answer in answers {
            sockets.push(parse_socket(&answer).ok_or_else(|| io::Error::other("a socket of the kernel is cut off"))?);
        }
    }
    Ok(sockets)
}

/// An `inet_diag_req_v2`: all sockets of TCP in the state LISTEN.
fn diagnosis_request(family: u8) -> Vec<u8> {
    const TCP: u8 = 6;
    const LISTEN: u32 = 1 << 10;
    let mut request = vec![family, TCP, 0, 0];
    request.extend_from_slice(&LISTEN.to_ne_bytes());
    request.resize(56, 0);
    request
}

/// An `inet_diag_msg`: family, state, timer, retransmissions; ports and addresses in the network's order; times, queues, user,
/// inode.
fn parse_socket(message: &[u8]) -> Option<Socket> {
    let address = match *message.first()? {
        AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?).to_string(),
        AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?).to_string(),
        _ => return None,
    };
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let inode = u32::from_ne_bytes(message.get(68..72)?.try_into().ok()?);
    Some(Socket { address, port, inode: inode.into() })
}

fn tables(proc: &Path) -> io::Result<Vec<Socket>> {
    let mut sockets = parse_table(&read_listeners(&proc.join("net/tcp"))?);
    match read_listeners(&proc.join("net/tcp6")) {
        Ok(table) => sockets.extend(parse_table(&table)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(sockets)
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
    fn both_ways_tell_of_our_own_ports() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let is_ours = |socket: &&Socket| socket.address == "127.0.0.1" && socket.port == port;
        let (diagnosed, tables) = (diagnosed().unwrap(), tables(Path::new("/proc")).unwrap());
        let ours = diagnosed.iter().find(is_ours).unwrap();
        assert!(ours.inode != 0);
        assert_eq!(Some(ours), tables.iter().find(is_ours));
    }
}
