//! TCP sockets of this host.

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
    state: u8,
}

/// Returns how many connections to these local ports are established.
///
/// # Errors
/// When the kernel's table cannot be read.
pub(super) fn established(proc: &Path, ports: &[u16]) -> std::io::Result<usize> {
    Ok(sockets(proc)?.iter().filter(|socket| socket.state == ESTABLISHED && ports.contains(&socket.port)).count())
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
            let (address, port) = words.next()?.split_once(':')?;
            let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
            Some(Socket { address: address_of(address)?, port: u16::from_str_radix(port, 16).ok()?, state })
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
        assert_eq!(found[0], Socket { address: "127.0.0.1".parse().unwrap(), port: 8101, state: LISTEN });
        let six =
            "h\n 0: 00000000000000000000000001000000:0050 0:0 0A\n 1: 0000000000000000FFFF00000100007F:0051 0:0 01\n";
        let found = parse(six);
        assert_eq!(found[0].address, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(found[1].address, "127.0.0.1".parse::<IpAddr>().unwrap());
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
        assert_eq!(established(proc, &[port]).unwrap(), 1);
    }
}
