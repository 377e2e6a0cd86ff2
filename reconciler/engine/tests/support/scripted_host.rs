//! A host program for the tests of the link: it speaks the real frames and answers from a script, without touching anything.

use std::io::{Read, Write};

use holdfast_protocol::{
    Architecture, Envelope, Fault, FaultKind, Hello, HostEvent, JournalEntry, JournalEvent, Outcome, PROTOCOL_VERSION,
    Reply, Request, Tool, read_frame, write_frame,
};

/// Answers until the channel ends or a request named `die` comes. Returns the status to exit with.
pub(crate) fn serve(mut input: impl Read, mut output: impl Write) -> i32 {
    let mut held = None;
    while let Ok(Envelope { id, body }) = read_frame::<Envelope<Request>>(&mut input) {
        let mut say = |id, body| write_frame(&mut output, &Envelope { id, body }).is_ok();
        let entry = |seq: u64, event| Reply::Entry(JournalEntry { seq, at_ms: 0, event });
        let progress = |seq| entry(seq, JournalEvent::Progress { text: format!("entry {seq}") });
        let alive = match body {
            Request::Hello(_) => say(id, Reply::Hello(Box::new(hello()))),
            // The echo: it carries as many bytes as one likes.
            Request::Missing(digests) => say(id, Reply::Missing(digests)),
            Request::Begin(name) if name.as_str() == "die" => {
                eprintln!("scripted: told to die");
                return 3;
            }
            Request::Begin(name) if name.as_str() == "never" => true,
            // Answered by the next one: replies need not come in order.
            Request::Begin(name) if name.as_str() == "hold" => {
                held = Some(id);
                true
            }
            Request::Begin(_) => say(id, Reply::Begun) && held.take().is_none_or(|first| say(first, Reply::Begun)),
            Request::Follow { id: name, .. } if name.as_str() == "unknown" => {
                let fault = Fault { kind: FaultKind::Refused, message: "no such transaction".to_owned() };
                say(id, Reply::Fault(fault))
            }
            Request::Follow { id: name, from } if name.as_str() == "endless" => {
                say(id, progress(from)) && say(id, progress(from + 1))
            }
            Request::Follow { from, .. } => {
                let ended = JournalEvent::Ended { outcome: Outcome::Done, reason: String::new() };
                (from..5).all(|seq| say(id, progress(seq))) && say(id, entry(5, ended)) && say(id, Reply::Followed)
            }
            Request::Watch(_) => say(id, Reply::Event(HostEvent::Unit("nginx.service".to_owned()))),
            // Seen from the outside as a reply to the cancelled number.
            Request::Cancel(number) => say(number + 1000, Reply::Stored),
            _ => say(id, Reply::Stored),
        };
        if !alive {
            break;
        }
    }
    0
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        kernel: "6.1".to_owned(),
        distribution: "scripted".to_owned(),
        architecture: Architecture::X86_64,
        hostname: "scripted".to_owned(),
        systemd: Tool::Missing,
        nginx: Tool::Missing,
        docker: Tool::Missing,
        compose: Tool::Missing,
        capabilities: std::collections::BTreeSet::new(),
        fence: 7,
        boot_id: "boot".to_owned(),
        postgresql_client: holdfast_protocol::Tool::Missing,
        logrotate: holdfast_protocol::Tool::Missing,
    }
}
