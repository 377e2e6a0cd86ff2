//! Asks the kernel for lists over netlink.
//!
//! # Source
//! netlink(7): messages of a 16-byte header and a body, each padded to 4 bytes, several in one datagram; a dump ends with `DONE`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with, sockopt,
};

const HEADER: usize = 16;
const REQUEST_AND_DUMP: u16 = 0x301;
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Large enough for any datagram of a dump.
const BUFFER: usize = 64 * 1024;

/// How often a list that changed while it was read is read again.
const ATTEMPTS: usize = 5;

/// Returns the bodies of all messages that answer one question.
///
/// # Errors
/// The kernel's own error, such as `NotFound` for a thing that is not there; or that the list kept changing.
pub(crate) fn dump(protocol: Protocol, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol))?;
    // The kernel answers at once; this keeps a bug of ours from waiting for ever.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(2)))?;
    for _ in 0..ATTEMPTS {
        if let Some(bodies) = once(&socket, kind, body)? {
            return Ok(bodies);
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "the kernel's list changed each time it was read"))
}

fn once(socket: &OwnedFd, kind: u16, body: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
    send(socket, &request(kind, body), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    let mut answer = Answer::default();
    while !answer.done {
        let (_, length) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        answer.take(&buffer[..length])?;
    }
    Ok((!answer.interrupted).then_some(answer.bodies))
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&REQUEST_AND_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    request
}

#[derive(Debug, Default)]
struct Answer {
    bodies: Vec<Vec<u8>>,
    done: bool,
    interrupted: bool,
}

impl Answer {
    /// Reads the messages of one datagram.
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let short = || io::Error::new(io::ErrorKind::InvalidData, "an answer of the kernel is cut off");
        while !bytes.is_empty() {
            let header = bytes.get(..HEADER).ok_or_else(short)?;
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let body = bytes.get(HEADER..length).ok_or_else(short)?;
            self.interrupted |= u16::from_ne_bytes([header[6], header[7]]) & DUMP_INTERRUPTED != 0;
            match u16::from_ne_bytes([header[4], header[5]]) {
                kind @ (ERROR | DONE) => {
                    self.done = true;
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    if code < 0 {
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    if kind == ERROR {
                        return Err(io::Error::other("the kernel acknowledged instead of answering"));
                    }
                }
                _ => self.bodies.push(body.to_vec()),
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Returns the attributes of a body: their kinds without flags, and their values.
///
/// # Source
/// Linux `include/uapi/linux/netlink.h`, `struct nlattr`: length with its header, kind, value, padded to 4 bytes.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    const KIND: u16 = 0x3fff;
    let mut found = Vec::new();
    while let Some(header) = bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let Some(value) = bytes.get(4..length) else { break };
        found.push((u16::from_ne_bytes([header[2], header[3]]) & KIND, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Appends an attribute.
pub(crate) fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = request(kind, body);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn several_messages_in_one_datagram_and_the_end_in_the_next() {
        let mut answer = Answer::default();
        answer.take(&[message(20, 2, b"abcde"), message(20, 2, b"fg")].concat()).unwrap();
        assert!(!answer.done);
        answer.take(&message(DONE, 2, &[0; 4])).unwrap();
        assert!(answer.done && !answer.interrupted);
        assert_eq!(answer.bodies, [b"abcde".to_vec(), b"fg".to_vec()]);
    }

    #[test]
    fn an_error_of_the_kernel_is_told_as_its_own() {
        let error = Answer::default().take(&message(ERROR, 0, &(-2_i32).to_ne_bytes())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_list_that_changed_meanwhile_is_noticed() {
        let mut answer = Answer::default();
        answer.take(&message(20, DUMP_INTERRUPTED, b"")).unwrap();
        assert!(answer.interrupted);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0_u32..200) {
            let _ = Answer::default().take(&bytes);
            let _ = Answer::default().take(&[&length.to_ne_bytes()[..], &bytes].concat());
            attributes(&bytes);
        }

        #[test]
        fn attributes_are_read_back(values in prop::collection::vec((0_u16..0x3fff, prop::collection::vec(any::<u8>(), 0..9)), 0..5)) {
            let mut bytes = Vec::new();
            for (kind, value) in &values {
                put_attribute(&mut bytes, *kind, value);
            }
            let values: Vec<_> = values.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
            prop_assert_eq!(attributes(&bytes), values);
        }
    }
}
