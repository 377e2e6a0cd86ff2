//! Asks a gRPC service how it is: one call of the standard health service on a fresh connection to this host.
//!
//! # Source
//! `grpc.health.v1` (gRPC's "Health Checking Protocol"): `Check` takes `{ string service = 1 }` and answers `{ enum status = 1 }`, in
//! which 1 is SERVING. gRPC over HTTP/2: a message is a byte that says whether it is compressed, its length in four bytes, and itself.
//! RFC 9113 has the frames of HTTP/2, RFC 7541 the table of header fields. What an answer says in its header fields is not read: that
//! takes a decoder for Huffman codes, and only a message can say that a service serves.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::http::connect;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest frame that a peer may send whom nobody allowed more.
const MAX_FRAME: usize = 16 * 1024;
/// The most frames that are read: an answer has three or four.
const MAX_FRAMES: usize = 64;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;

/// In DATA and HEADERS; in SETTINGS and PING the same bit says that it is an answer.
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The stream of our one call.
const CALL: u32 = 1;

/// Asks the service of this name on `127.0.0.1:port`, or the server as a whole where the name is empty.
///
/// # Errors
/// That it does not serve, or what went wrong, for people.
pub(super) fn check(port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("no answer within {} ms", timeout.as_millis()),
        io::ErrorKind::UnexpectedEof => "the connection was closed before an answer: is this a gRPC port?".to_owned(),
        _ => error.to_string(),
    };
    let mut stream = connect(port, timeout)?;
    stream.set_write_timeout(Some(timeout)).and_then(|()| stream.write_all(&call(port, service))).map_err(told)?;
    let message = answer(&mut stream, deadline).map_err(told)?;
    let asked = if service.is_empty() { "the server".to_owned() } else { format!("`{service}`") };
    match status(&message.unwrap_or_default())? {
        1 => Ok(()),
        2 => Err(format!("gRPC says that {asked} is NOT_SERVING")),
        3 => Err(format!("gRPC does not know {asked} (SERVICE_UNKNOWN)")),
        _ => Err(format!(
            "gRPC says of {asked} that its state is UNKNOWN, as servers do of a name that they do not know"
        )),
    }
}

/// Returns all that is sent for a call.
fn call(port: u16, service: &str) -> Vec<u8> {
    let mut fields = vec![
        0x83, // :method POST, entry 3 of the static table
        0x86, // :scheme http, entry 6
    ];
    // Literal fields that nobody is to remember: the name as an entry of the static table, the value as it is.
    fields.push(0x04); // :path
    literal(&mut fields, b"/grpc.health.v1.Health/Check");
    fields.push(0x01); // :authority
    literal(&mut fields, format!("127.0.0.1:{port}").as_bytes());
    fields.extend([0x0f, 31 - 15]); // content-type
    literal(&mut fields, b"application/grpc");
    fields.push(0x00);
    literal(&mut fields, b"te");
    literal(&mut fields, b"trailers");

    let name = &service.as_bytes()[..service.len().min(127)];
    let mut request = Vec::new();
    if !name.is_empty() {
        request.push(0x0a);
        literal(&mut request, name);
    }
    let mut message = vec![0, 0, 0, 0, u8::try_from(request.len()).unwrap_or(u8::MAX)];
    message.extend(request);

    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, CALL, &fields));
    bytes.extend(frame(DATA, END_STREAM, CALL, &message));
    bytes
}

/// Adds a length of less than 128 and the bytes: so both header fields and protocol buffers write them.
fn literal(to: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() < 128);
    to.push(u8::try_from(bytes.len()).unwrap_or(127));
    to.extend(bytes);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Reads frames until the call has its end. Returns the bytes of its message; nothing where there was none.
fn answer(stream: &mut TcpStream, deadline: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    for _ in 0..MAX_FRAMES {
        let mut head = [0; 9];
        read(stream, &mut head, deadline)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let ours = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]) == CALL;
        if length > MAX_FRAME {
            return Err(io::Error::other("the answer is no HTTP/2: is this a gRPC port?"));
        }
        let mut payload = vec![0; length];
        read(stream, &mut payload, deadline)?;
        match kind {
            DATA if ours => {
                message.extend_from_slice(unpadded(&payload, flags)?);
                if flags & END_STREAM != 0 || is_whole(&message) {
                    return Ok(Some(message));
                }
                if message.len() > MAX_FRAME {
                    return Err(io::Error::other("the answer is too long for one about health"));
                }
            }
            HEADERS if ours && flags & END_STREAM != 0 => return Ok((!message.is_empty()).then_some(message)),
            RST_STREAM if ours => return Err(io::Error::other("the server broke the call off")),
            GOAWAY => return Err(io::Error::other("the server takes no call and closes the connection")),
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload))?,
            _ => {}
        }
    }
    Err(io::Error::other("the server sends and sends, and does not answer"))
}

fn unpadded(payload: &[u8], flags: u8) -> io::Result<&[u8]> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(io::ErrorKind::InvalidData)?;
    let end = rest.len().checked_sub(usize::from(*padding)).ok_or(io::ErrorKind::InvalidData)?;
    Ok(&rest[..end])
}

fn is_whole(message: &[u8]) -> bool {
    let Some([_, a, b, c, d]) = message.first_chunk() else { return false };
    message.len() - 5 >= u32::from_be_bytes([*a, *b, *c, *d]) as usize
}

/// Fills the buffer before the deadline.
fn read(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the number of the status that a message holds. A message of no bytes says 0, as protocol buffers leave out what is 0.
fn status(message: &[u8]) -> Result<u8, String> {
    match message {
        [] => Err("gRPC answered without a message: the service is not known there, or the server has no `grpc.health.v1.Health`"
            .to_owned()),
        [0, 0, 0, 0, 0] => Ok(0),
        [0, 0, 0, 0, 2, 0x08, status @ 0..=0x7f] => Ok(*status),
        _ => Err("the answer is none of `grpc.health.v1.Health/Check`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// All that a server may send for a call: settings, room for more, an answer to ours, a ping, header fields, the message, trailers.
    fn answered(message: &[u8]) -> Vec<u8> {
        let mut bytes = frame(SETTINGS, 0, 0, &[0, 4, 0, 0x40, 0, 0]);
        bytes.extend(frame(0x8, 0, 0, &[0, 0x3f, 0, 1]));
        bytes.extend(frame(SETTINGS, ACK, 0, &[]));
        bytes.extend(frame(PING, 0, 0, &[7; 8]));
        bytes.extend(frame(HEADERS, END_HEADERS, CALL, &[0x88]));
        bytes.extend(frame(DATA, PADDED, CALL, &[&[3], message, &[0; 3]].concat()));
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, CALL, &[0x00]));
        bytes
    }

    /// Asks a server that sends these bytes, and returns what was said and what the server got.
    fn ask(service: &str, bytes: Vec<u8>) -> (Result<(), String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let length = call(port, service).len();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All that is asked first: a client that has its answer may close with bytes of ours unread, which is a reset.
            let mut got = vec![0; length];
            stream.read_exact(&mut got).unwrap();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            got
        });
        let said = check(port, service, Duration::from_secs(20));
        (said, server.join().unwrap())
    }

    #[test]
    fn cap_25_a_grpc_service_serves_when_it_says_so() {
        let (said, got) = ask("shop.Cart", answered(&[0, 0, 0, 0, 2, 8, 1]));
        assert_eq!(said, Ok(()));
        assert!(got.starts_with(PREFACE));
        let asked = [&[0, 0, 0, 0, 11, 0x0a, 9][..], b"shop.Cart"].concat();
        assert!(got.windows(asked.len()).any(|window| window == asked), "{got:?}");
        let because = |message: &[u8]| ask("", answered(message)).0.unwrap_err();
        assert_eq!(because(&[0, 0, 0, 0, 2, 8, 2]), "gRPC says that the server is NOT_SERVING");
        assert_eq!(because(&[0, 0, 0, 0, 2, 8, 3]), "gRPC does not know the server (SERVICE_UNKNOWN)");
        assert_eq!(
            because(&[0, 0, 0, 0, 0]),
            "gRPC says of the server that its state is UNKNOWN, as servers do of a name that they do not know"
        );
        assert_eq!(because(&[1, 0, 0, 0, 2, 8, 1]), "the answer is none of `grpc.health.v1.Health/Check`");
    }

    #[test]
    fn what_is_no_grpc_is_told() {
        let because = |bytes: &[u8]| ask("", bytes.to_vec()).0.unwrap_err();
        assert!(because(b"HTTP/1.1 400 Bad Request\r\n\r\n").starts_with("the answer is no HTTP/2"));
        assert!(because(b"").starts_with("the connection was closed before an answer"));
        let trailers_only = frame(HEADERS, END_HEADERS | END_STREAM, CALL, &[0x88]);
        assert!(because(&trailers_only).starts_with("gRPC answered without a message"));
        assert_eq!(because(&frame(RST_STREAM, 0, CALL, &[0; 4])), "the server broke the call off");
        assert!(because(&frame(GOAWAY, 0, 0, &[0; 8])).starts_with("the server takes no call"));
        assert!(because(&frame(DATA, PADDED, CALL, &[9])).contains("invalid"));
    }
}
