//! TCP sockets of this host.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The kernel's number for an established connection.
const ESTABLISHED: u8 = 0x01;

/// The kernel's number for a listening socket.
const LISTEN: u8 = 0x0A;

/// One TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    /// Whom it is connected to, as it was asked for: a rule that redirects is not seen in it.
    peer: (IpAddr, u16),
    state: u8,
}

/// Returns how many connections to these local ports are established.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(super) fn established(proc: &Path, ports: &[u16]) -> std::io::Result<usize> {
    Ok(sockets(proc)?.iter().filter(|socket| socket.state == ESTABLISHED && ports.contains(&socket.port)).count())
}

/// Returns how many connections to these local ports are established that came through a switch. Who is on this host and asked for the
/// port itself, as a Prometheus does that is told both slots, is none of them: its other end says whom it asked for, and what comes
/// through a switch asked for the switch's address.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(super) fn switched(proc: &Path, ports: &[u16]) -> std::io::Result<usize> {
    let all = sockets(proc)?;
    let established = |socket: &&Socket| socket.state == ESTABLISHED;
    let direct: BTreeSet<((IpAddr, u16), (IpAddr, u16))> = all
        .iter()
        .filter(established)
        .filter(|socket| ports.contains(&socket.peer.1))
        .map(|socket| (socket.peer, (socket.address, socket.port)))
        .collect();
    let through = |socket: &&Socket| !direct.contains(&((socket.address, socket.port), socket.peer));
    Ok(all.iter().filter(established).filter(|socket| ports.contains(&socket.port)).filter(through).count())
}

/// Returns on which address a port is listened on, such that `127.0.0.1` could not be bound to it any more.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(super) fn listener(proc: &Path, port: u16) -> std::io::Result<Option<IpAddr>> {
    let in_the_way = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_unspecified() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unspecified() || address.is_loopback(),
    };
    Ok(sockets(proc)?
        .iter()
        .find(|socket| socket.state == LISTEN && socket.port == port && in_the_way(socket.address))
        .map(|socket| socket.address))
}

fn sockets(proc: &Path) -> std::io::Result<Vec<Socket>> {
    let mut found = parse(&fs::read_to_string(proc.join("net/tcp"))?);
    // A kernel without IPv6 has no such file.
    found.extend(parse(&fs::read_to_string(proc.join("net/tcp6")).unwrap_or_default()));
    Ok(found)
}

/// # Source
/// proc_net_tcp(5): after a heading, `sl local_address rem_address st …`; an address is hexadecimal in the machine's byte order for
/// each 32-bit word, the port in plain hexadecimal.
fn parse(text: &str) -> Vec<Socket> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let mut end = || {
                let (address, port) = words.next()?.split_once(':')?;
                Some((address_of(address)?, u16::from_str_radix(port, 16).ok()?))
            };
            let ((address, port), peer) = (end()?, end()?);
            Some(Socket { address, port, peer, state: u8::from_str_radix(words.next()?, 16).ok()? })
        })
        .collect()
}

fn address_of(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..text.len() / 8)
        .map(|index| u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(IpAddr::V4(Ipv4Addr::from(*word))),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [*a, *b, *c, *d].concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table() {
        let text = "  sl  local_address rem_address   st tx_queue\n\
               0: 0100007F:1FA5 00000000:0000 0A 00000000:00000000\n\
               1: 0100007F:1FA5 0100007F:C350 01 00000000:00000000\n\
             junk\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        let at = |address: &str| address.parse::<IpAddr>().unwrap();
        let listening = Socket { address: at("127.0.0.1"), port: 8101, peer: (at("0.0.0.0"), 0), state: LISTEN };
        assert_eq!(found[0], listening);
        assert_eq!(found[1].peer, (at("127.0.0.1"), 50000));
        let six = "h\n 0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A\n \
               1: 0000000000000000FFFF00000100007F:0051 0000000000000000FFFF00000100007F:C350 01\n";
        let found = parse(six);
        assert_eq!(found[0].address, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(found[1].address, "127.0.0.1".parse::<IpAddr>().unwrap());
    }

    /// 127.0.83.1:8101 is a switch whose redirection goes to port 8101 (0x1FA5) of a slot.
    #[test]
    fn cap_38_who_asks_a_slot_itself_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("net")).unwrap();
        let nginx = "  1: 0100007F:C350 0153007F:1FA5 01 0\n  2: 0100007F:1FA5 0100007F:C350 01 0\n";
        let prometheus = "  3: 0100007F:C351 0100007F:1FA5 01 0\n  4: 0100007F:1FA5 0100007F:C351 01 0\n";
        let elsewhere = "  5: 0A00000A:1FA5 0B00000A:C352 01 0\n";
        let open = |lines: &[&str]| {
            let text = format!("  sl  local_address rem_address   st\n{}", lines.concat());
            fs::write(folder.path().join("net/tcp"), text).unwrap();
            (switched(folder.path(), &[8101]).unwrap(), established(folder.path(), &[8101]).unwrap())
        };
        assert_eq!(open(&[nginx, prometheus, elsewhere]), (2, 3));
        assert_eq!(open(&[prometheus]), (0, 1));
        assert_eq!(open(&[nginx]), (1, 1));
        assert_eq!(open(&[]), (0, 0));
    }

    #[test]
    fn live_sockets_are_seen() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening.local_addr().unwrap().port();
        let proc = Path::new("/proc");
        assert_eq!(listener(proc, port).unwrap(), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(established(proc, &[port]).unwrap(), 0);
        let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _server = listening.accept().unwrap();
        assert_eq!((established(proc, &[port]).unwrap(), switched(proc, &[port]).unwrap()), (1, 0));
    }
}
