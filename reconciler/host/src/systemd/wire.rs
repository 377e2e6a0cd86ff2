//! Encodes and decodes the few forms of D-Bus messages that are spoken with systemd.
//!
//! # Source
//! D-Bus Specification 0.43, "Message Protocol" and "Marshaling (Wire Format)", little-endian only: both peers are on one machine,
//! and every machine Holdfast has a program for is little-endian.

/// The largest message that is taken, in bytes. The specification allows 128 MiB; an answer about a thousand units has 1 MiB.
pub(super) const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call.
    Call,
    /// The answer to a call.
    Return,
    /// The failure of a call.
    Error,
    /// Something that happened.
    Signal,
}

/// One message as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Its kind.
    pub(super) kind: Kind,
    /// For an answer or a failure: the serial of the call.
    pub(super) reply_serial: u32,
    /// The object it is about; may be empty.
    pub(super) path: String,
    /// The interface; may be empty.
    pub(super) interface: String,
    /// The name of the method or signal; may be empty.
    pub(super) member: String,
    /// The name of the failure; may be empty.
    pub(super) error_name: String,
    /// The types of the body.
    pub(super) signature: String,
    /// The arguments, encoded.
    pub(super) body: Vec<u8>,
}

/// The bytes are no D-Bus message that is understood here. The connection is unusable afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a D-Bus message that is understood here: {0}")]
pub struct WireError(pub &'static str);

/// A call that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call<'a> {
    /// The bus name of who is called; empty on a connection without a bus.
    pub(super) destination: &'a str,
    /// The object.
    pub(super) path: &'a str,
    /// The interface.
    pub(super) interface: &'a str,
    /// The method.
    pub(super) member: &'a str,
    /// The arguments.
    pub(super) body: Body,
}

/// The arguments of a call: only texts and one list of texts are ever sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    /// Returns arguments that are all texts.
    pub(super) fn texts(texts: &[&str]) -> Self {
        let mut bytes = Vec::new();
        for text in texts {
            put_text(&mut bytes, text);
        }
        Self { signature: "s".repeat(texts.len()), bytes }
    }

    /// Returns one argument, a list of texts.
    pub(super) fn list(texts: &[&str]) -> Self {
        let mut bytes = vec![0; 4];
        for text in texts {
            put_text(&mut bytes, text);
        }
        let length = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        Self { signature: "as".to_owned(), bytes }
    }
}

impl Call<'_> {
    /// Appends the encoded call.
    pub(super) fn encode(&self, serial: u32, out: &mut Vec<u8>) {
        // The alignment of a message counts from its own beginning.
        let mut message = vec![b'l', 1, 0, 1];
        put_u32(&mut message, self.body.bytes.len() as u32);
        put_u32(&mut message, serial);
        put_u32(&mut message, 0);
        let fields = message.len();
        put_field(&mut message, 1, "o", self.path);
        put_field(&mut message, 2, "s", self.interface);
        put_field(&mut message, 3, "s", self.member);
        if !self.destination.is_empty() {
            put_field(&mut message, 6, "s", self.destination);
        }
        if !self.body.signature.is_empty() {
            align(&mut message, 8);
            message.push(8);
            put_signature(&mut message, "g");
            put_signature(&mut message, &self.body.signature);
        }
        let length = (message.len() - fields) as u32;
        message[fields - 4..fields].copy_from_slice(&length.to_le_bytes());
        align(&mut message, 8);
        message.extend_from_slice(&self.body.bytes);
        out.append(&mut message);
    }
}

fn put_field(out: &mut Vec<u8>, code: u8, signature: &str, text: &str) {
    align(out, 8);
    out.push(code);
    put_signature(out, signature);
    put_text(out, text);
}

fn put_signature(out: &mut Vec<u8>, signature: &str) {
    out.push(signature.len() as u8);
    out.extend_from_slice(signature.as_bytes());
    out.push(0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    align(out, 4);
    put_u32(out, text.len() as u32);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// Returns the first message of `bytes` and its length, or nothing while it is not complete.
///
/// # Errors
/// When the bytes can never become a message.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Message, usize)>, WireError> {
    const FIXED: usize = 16;
    if bytes.len() < FIXED {
        return Ok(None);
    }
    if bytes[0] != b'l' {
        return Err(WireError("it is not little-endian"));
    }
    if bytes[3] != 1 {
        return Err(WireError("it is not of protocol version 1"));
    }
    let at = |offset: usize| {
        u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]]) as usize
    };
    let (body_length, fields_length) = (at(4), at(12));
    if body_length > MAX_MESSAGE || fields_length > MAX_MESSAGE {
        return Err(WireError("it is too large"));
    }
    let body_start = (FIXED + fields_length).next_multiple_of(8);
    let total = body_start + body_length;
    if bytes.len() < total {
        return Ok(None);
    }
    let kind = match bytes[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return Err(WireError("its type is unknown")),
    };
    let mut message = Message {
        kind,
        reply_serial: 0,
        path: String::new(),
        interface: String::new(),
        member: String::new(),
        error_name: String::new(),
        signature: String::new(),
        body: bytes[body_start..total].to_vec(),
    };
    let mut reader = Reader { bytes: &bytes[..FIXED + fields_length], at: FIXED };
    while reader.at < reader.bytes.len() {
        reader.align(8)?;
        let code = reader.byte()?;
        match (code, reader.signature()?) {
            (1, "o") => reader.text()?.clone_into(&mut message.path),
            (2, "s") => reader.text()?.clone_into(&mut message.interface),
            (3, "s") => reader.text()?.clone_into(&mut message.member),
            (4, "s") => reader.text()?.clone_into(&mut message.error_name),
            (5, "u") => message.reply_serial = reader.number()?,
            (8, "g") => reader.signature()?.clone_into(&mut message.signature),
            // Destination, sender, number of file descriptors, and what later versions add: must be skipped.
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.number()?),
            _ => return Err(WireError("a header field has a type that is not understood")),
        }
    }
    Ok(Some((message, total)))
}

/// Reads values one after another.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A value of one of the few types that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// `s` or `o`.
    Text(String),
    /// `u`.
    Number(u32),
    /// `t`.
    Large(u64),
    /// `b`.
    Flag(bool),
    /// `i`.
    Signed(i32),
    /// `ay`.
    Bytes(Vec<u8>),
}

impl<'a> Reader<'a> {
    /// Returns a reader at the beginning of a body.
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { bytes: body, at: 0 }
    }

    /// Reads a value that carries its type (`v`).
    ///
    /// # Errors
    /// When it is cut off, or of a type that is never asked for.
    pub(super) fn variant(&mut self) -> Result<Value, WireError> {
        Ok(match self.signature()? {
            "s" | "o" => Value::Text(self.text()?.to_owned()),
            "u" => Value::Number(self.number()?),
            "t" => Value::Large(self.large()?),
            "b" => Value::Flag(self.number()? != 0),
            "i" => Value::Signed(self.number()?.cast_signed()),
            "ay" => {
                let length = self.number()? as usize;
                Value::Bytes(self.take(length)?.to_vec())
            }
            _ => return Err(WireError("a value has a type that was not asked for")),
        })
    }

    /// Reads a text or an object path.
    ///
    /// # Errors
    /// When it is cut off or not UTF-8.
    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        let length = self.number()? as usize;
        let bytes = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(bytes).map_err(|_| WireError("a text is not UTF-8"))
    }

    /// Reads a `u32`.
    ///
    /// # Errors
    /// When it is cut off.
    pub(super) fn number(&mut self) -> Result<u32, WireError> {
        self.align(4)?;
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn large(&mut self) -> Result<u64, WireError> {
        self.align(8)?;
        let bytes = self.take(8)?.first_chunk().ok_or(WireError("a value is cut off"))?;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Reads a list of structs and gives the reader to `item` at the beginning of each.
    ///
    /// # Errors
    /// When it is cut off, or any error of `item`.
    pub(super) fn structs(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let length = self.number()? as usize;
        self.align(8)?;
        let end =
            self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(WireError("a list is cut off"))?;
        while self.at < end {
            self.align(8)?;
            item(self)?;
        }
        Ok(())
    }

    fn signature(&mut self) -> Result<&'a str, WireError> {
        let length = self.byte()? as usize;
        let bytes = self.take(length)?;
        self.byte()?;
        std::str::from_utf8(bytes).map_err(|_| WireError("a signature is not ASCII"))
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len())
            .ok_or(WireError("a value is cut off"))?;
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn align(&mut self, to: usize) -> Result<(), WireError> {
        let at = self.at.next_multiple_of(to);
        self.take(at - self.at).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(body: Body) -> Vec<u8> {
        let mut bytes = Vec::new();
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "ListUnitsByNames",
            body,
        };
        call.encode(7, &mut bytes);
        bytes
    }

    #[test]
    fn a_call_has_the_bytes_of_the_specification() {
        let mut bytes = Vec::new();
        Call { destination: "", path: "/a", interface: "b.c", member: "D", body: Body::texts(&["e"]) }
            .encode(1, &mut bytes);
        let expected: &[u8] = &[
            b'l', 1, 0, 1, 6, 0, 0, 0, 1, 0, 0, 0, 55, 0, 0, 0, // fixed part
            1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'a', 0, 0, 0, 0, 0, 0, // path
            2, 1, b's', 0, 3, 0, 0, 0, b'b', b'.', b'c', 0, 0, 0, 0, 0, // interface
            3, 1, b's', 0, 1, 0, 0, 0, b'D', 0, 0, 0, 0, 0, 0, 0, // member
            8, 1, b'g', 0, 1, b's', 0, 0, // signature, and up to the body
            1, 0, 0, 0, b'e', 0, // body
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_list_of_texts_is_read_back() {
        let bytes = call(Body::list(&["a.service", "b@blue.service"]));
        let (message, length) = decode(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        assert_eq!(
            (message.kind, message.member.as_str(), message.signature.as_str()),
            (Kind::Call, "ListUnitsByNames", "as")
        );
        let mut reader = Reader::new(&message.body);
        let end = reader.number().unwrap() as usize + 4;
        let mut names = Vec::new();
        while reader.at < end {
            names.push(reader.text().unwrap());
        }
        assert_eq!(names, ["a.service", "b@blue.service"]);
    }

    #[test]
    fn a_message_that_is_not_complete_waits_for_more() {
        let bytes = call(Body::texts(&["x"]));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn an_announced_size_over_the_limit_is_refused_before_any_allocation() {
        let mut bytes = call(Body::default());
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&bytes[..16]), Err(WireError("it is too large")));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode(&bytes);
            if bytes.len() >= 16 {
                bytes[..4].copy_from_slice(&[b'l', 2, 0, 1]);
                bytes[6..8].fill(0);
                bytes[14..16].fill(0);
                let _ = decode(&bytes);
            }
            let _ = Reader::new(&bytes).variant();
            let _ = Reader::new(&bytes).structs(|reader| reader.text().map(|_| ()));
        }

        #[test]
        fn what_is_encoded_is_decoded(texts in prop::collection::vec("[^\u{0}]{0,20}", 0..5)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let bytes = call(Body::texts(&texts));
            let (message, _) = decode(&bytes).unwrap().unwrap();
            let mut reader = Reader::new(&message.body);
            for text in texts {
                prop_assert_eq!(reader.text().unwrap(), text);
            }
        }
    }
}
