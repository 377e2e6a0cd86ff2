//! Keeps one D-Bus connection to systemd.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::wire::{self, Body, Call, Kind, Message, WireError};
use crate::paths::System;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How many calls are written before their answers are read, so that neither side fills the other's buffer and stops.
const BATCH: usize = 64;

/// Why systemd could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No socket answers.
    #[error("no systemd bus answers: {0}")]
    Unreachable(String),
    /// The connection broke or took too long. Connect again.
    #[error("the systemd bus: {0}")]
    Io(#[from] io::Error),
    /// The peer speaks something else.
    #[error("the systemd bus: {0}")]
    Wire(#[from] WireError),
    /// systemd refused the call.
    #[error("systemd says {name}: {message}")]
    Refused {
        /// The error's name on the bus.
        name: String,
        /// The text that came with it.
        message: String,
    },
}

/// Something systemd announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The object it is about.
    pub path: String,
    /// The signal's name.
    pub member: String,
    /// For `UnitNew` and `UnitRemoved`: the unit's name.
    pub unit: Option<String>,
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    buffer: Vec<u8>,
    serial: u32,
    /// Whether a bus daemon is in between, which wants a destination in every call.
    brokered: bool,
}

/// A call to systemd, without the parts that depend on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    path: String,
    interface: &'static str,
    member: &'static str,
    body: Body,
}

impl Question {
    /// Calls a method of systemd's manager object.
    pub(super) fn manager(member: &'static str, body: Body) -> Self {
        Self { path: MANAGER_PATH.to_owned(), interface: MANAGER, member, body }
    }

    /// Asks for one property of an object.
    pub(super) fn property(path: &str, interface: &str, name: &str) -> Self {
        Self { path: path.to_owned(), interface: PROPERTIES, member: "Get", body: Body::texts(&[interface, name]) }
    }

    /// Asks for one property of systemd's manager object.
    pub(super) fn manager_property(name: &str) -> Self {
        Self::property(MANAGER_PATH, MANAGER, name)
    }
}

impl Bus {
    /// Connects to systemd: its private socket where that is allowed, else the system bus.
    ///
    /// # Errors
    /// [`BusError::Unreachable`] with what each socket said.
    pub fn connect(system: &System, timeout: Duration) -> Result<Self, BusError> {
        let mut said = Vec::new();
        for (path, brokered) in [(&system.systemd_private, false), (&system.system_bus, true)] {
            match Self::open(path, brokered, timeout) {
                Ok(bus) => return Ok(bus),
                Err(error) => said.push(format!("{}: {error}", path.display())),
            }
        }
        Err(BusError::Unreachable(said.join("; ")))
    }

    fn open(path: &std::path::Path, brokered: bool, timeout: Duration) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut bus = Self { stream, buffer: Vec::new(), serial: 0, brokered };
        bus.authenticate(Instant::now() + timeout)?;
        if brokered {
            let hello = Call {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                body: Body::default(),
            };
            bus.send_calls(&[hello], Instant::now() + timeout)?.remove(0)?;
        }
        Ok(bus)
    }

    /// # Source
    /// D-Bus Specification, "Authentication Protocol", mechanism EXTERNAL: the user id in decimal, in hexadecimal of its ASCII. The
    /// client may begin without waiting, as sd-bus does too.
    fn authenticate(&mut self, deadline: Instant) -> Result<(), BusError> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        // A digit's code is 0x30 and the digit.
        let hex: String = uid.chars().flat_map(|digit| ['3', digit]).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").as_bytes())?;
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                if line.starts_with("OK ") {
                    return Ok(());
                }
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "authentication was refused").into());
            }
            if self.buffer.len() > 1024 {
                return Err(WireError("the answer to the authentication is too long").into());
            }
            self.fill(deadline)?;
        }
    }

    /// Asks many questions in one go and returns the answers in their order.
    ///
    /// # Errors
    /// The outer one: the connection is unusable. The inner ones: systemd refused that question.
    pub(super) fn ask(
        &mut self,
        questions: &[Question],
        timeout: Duration,
    ) -> Result<Vec<Result<Message, BusError>>, BusError> {
        let destination = if self.brokered { SYSTEMD } else { "" };
        let deadline = Instant::now() + timeout;
        let mut answers = Vec::with_capacity(questions.len());
        for batch in questions.chunks(BATCH) {
            let calls: Vec<Call<'_>> = batch
                .iter()
                .map(|question| Call {
                    destination,
                    path: &question.path,
                    interface: question.interface,
                    member: question.member,
                    body: question.body.clone(),
                })
                .collect();
            answers.extend(self.send_calls(&calls, deadline)?);
        }
        Ok(answers)
    }

    /// Makes systemd send a signal for every change of a unit from now on; read them with [`Bus::read_signals`].
    ///
    /// # Errors
    /// As any call.
    pub fn subscribe(&mut self, timeout: Duration) -> Result<(), BusError> {
        let deadline = Instant::now() + timeout;
        if self.brokered {
            let rules = [
                "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.DBus.Properties',\
                 path_namespace='/org/freedesktop/systemd1/unit'",
                "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager'",
            ];
            for rule in rules {
                let call = Call {
                    destination: "org.freedesktop.DBus",
                    path: "/org/freedesktop/DBus",
                    interface: "org.freedesktop.DBus",
                    member: "AddMatch",
                    body: Body::texts(&[rule]),
                };
                self.send_calls(&[call], deadline)?.remove(0)?;
            }
        }
        self.ask(&[Question::manager("Subscribe", Body::default())], timeout)?.remove(0)?;
        Ok(())
    }

    /// Reads what has arrived and returns the signals in it; to be called when the descriptor is readable.
    ///
    /// # Errors
    /// When the connection ended or broke.
    pub fn read_signals(&mut self) -> Result<Vec<Signal>, BusError> {
        self.fill(Instant::now() + Duration::from_secs(1))?;
        self.buffered_signals()
    }

    /// Returns the signals that came in together with an earlier answer.
    ///
    /// # Errors
    /// When the peer speaks something else.
    pub fn buffered_signals(&mut self) -> Result<Vec<Signal>, BusError> {
        let mut signals = Vec::new();
        while let Some(message) = self.buffered()? {
            if message.kind == Kind::Signal {
                let unit = matches!(message.member.as_str(), "UnitNew" | "UnitRemoved")
                    .then(|| wire::Reader::new(&message.body).text().map(str::to_owned))
                    .transpose()?;
                signals.push(Signal { path: message.path, member: message.member, unit });
            }
        }
        Ok(signals)
    }

    fn send_calls(
        &mut self,
        calls: &[Call<'_>],
        deadline: Instant,
    ) -> Result<Vec<Result<Message, BusError>>, BusError> {
        let first = self.serial.wrapping_add(1).max(1);
        let mut bytes = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            call.encode(first + index as u32, &mut bytes);
        }
        // Serial 0 is not allowed; a batch never crosses the wrap.
        self.serial = if first > u32::MAX / 2 { 0 } else { first + calls.len() as u32 };
        self.stream.write_all(&bytes)?;
        let mut answers = BTreeMap::new();
        while answers.len() < calls.len() {
            let Some(message) = self.buffered()? else {
                self.fill(deadline)?;
                continue;
            };
            let index = message.reply_serial.wrapping_sub(first) as usize;
            if matches!(message.kind, Kind::Return | Kind::Error) && index < calls.len() {
                answers.insert(index, answer(message));
            }
        }
        Ok(answers.into_values().collect())
    }

    fn buffered(&mut self) -> Result<Option<Message>, WireError> {
        let Some((message, length)) = wire::decode(&self.buffer)? else { return Ok(None) };
        self.buffer.drain(..length);
        Ok(Some(message))
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 8192];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn answer(message: Message) -> Result<Message, BusError> {
    if message.kind == Kind::Return {
        return Ok(message);
    }
    let text =
        if message.signature.starts_with('s') { wire::Reader::new(&message.body).text().unwrap_or("") } else { "" };
    Err(BusError::Refused { message: text.chars().take(300).collect(), name: message.error_name })
}
