//! How a value is written where it lands: one function for values that are known and for secrets that are revealed later.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a value is written where it lands. Encodings of a secret are a list, innermost first, and are applied on the manager just
/// before it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Filter `b64encode`: RFC 4648 §4 with padding.
    Base64,
    /// Filter `urlencode`: RFC 3986 percent-encoding of everything but unreserved characters.
    Url,
    /// Filter `json`: a JSON string's inside, without the quotes.
    Json,
    /// The inside of a double-quoted YAML scalar in a compose file, with `$` doubled against interpolation.
    ComposeScalar,
    /// The inside of a double-quoted nginx word; refuses `$`.
    NginxWord,
    /// The inside of a double-quoted word of a systemd unit line, `%` doubled.
    SystemdWord,
    /// The same on an `Exec…=` line, `$` doubled too.
    SystemdExecWord,
    /// The inside of a double-quoted value of a compose `env_file`.
    ComposeEnvValue,
    /// The inside of a double-quoted value of a systemd `EnvironmentFile`.
    SystemdEnvValue,
}

/// Why a value cannot be written in an encoding. It never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unwritable {
    /// What is in the value that the destination cannot carry, and what to do.
    pub reason: &'static str,
}

const NUL: Unwritable = Unwritable { reason: "a NUL character cannot be carried by any configuration file" };

impl Encoding {
    /// Returns the text to write.
    ///
    /// # Errors
    /// When the destination has no way to carry a character of the value.
    pub fn encode(self, value: &str) -> Result<Zeroizing<String>, Unwritable> {
        if value.contains('\0') {
            return Err(NUL);
        }
        let mut out = Zeroizing::new(String::with_capacity(value.len() + value.len() / 4 + 8));
        match self {
            Self::Base64 => STANDARD.encode_string(value, &mut out),
            Self::Url => url(value, &mut out),
            Self::Json => json(value, &mut out),
            Self::ComposeScalar => yaml(value, true, &mut out),
            Self::NginxWord => nginx(value, &mut out)?,
            Self::SystemdWord => systemd(value, false, &mut out),
            Self::SystemdExecWord => systemd(value, true, &mut out),
            Self::ComposeEnvValue => compose_env(value, &mut out),
            Self::SystemdEnvValue => systemd_env(value, &mut out)?,
        }
        Ok(out)
    }
}

fn push_hex(out: &mut String, prefix: &str, code: u32, width: usize) {
    out.push_str(prefix);
    for position in (0..width).rev() {
        let digit = code >> (4 * position) & 0xF;
        out.push(char::from_digit(digit, 16).expect("BUG: one hexadecimal digit").to_ascii_uppercase());
    }
}

/// # Source
/// RFC 3986 §2.3.
fn url(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => push_hex(out, "%", u32::from(byte), 2),
        }
    }
}

/// # Source
/// RFC 8259 §7.
fn json(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{7F}' => push_hex(out, "\\u", u32::from(c), 4),
            c => out.push(c),
        }
    }
}

/// Writes the inside of a double-quoted scalar. Compose interpolates values, but not keys.
///
/// # Source
/// YAML 1.2 §5.7 and §7.3.1; compose-go v2 `template`: `$$` is a dollar sign.
pub(super) fn yaml(value: &str, interpolated: bool, out: &mut String) {
    for c in value.chars() {
        match c {
            '$' if interpolated => out.push_str("$$"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{20}'..='\u{7E}' => out.push(c),
            // Line breaks of other YAML versions, a byte order mark, and what is not printable.
            '\u{00}'..='\u{9F}' => push_hex(out, "\\x", u32::from(c), 2),
            '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{E000}'..='\u{F8FF}' | '\u{FFF0}'..='\u{FFFF}' => {
                push_hex(out, "\\u", u32::from(c), 4);
            }
            c if u32::from(c) > 0xE_FFFF => push_hex(out, "\\U", u32::from(c), 8),
            c => out.push(c),
        }
    }
}

/// # Source
/// `ngx_conf_read_token` in nginx 1.22 to 1.29: in quotes, `\\`, `\"`, `\n`, `\r` and `\t` are escapes. There is none for `$`.
fn nginx(value: &str, out: &mut String) -> Result<(), Unwritable> {
    for c in value.chars() {
        match c {
            '$' => {
                return Err(Unwritable {
                    reason: "nginx has no way to write a literal `$`: it always begins a variable; take the `$` out of the value",
                });
            }
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    Ok(())
}

/// # Source
/// systemd.syntax(7) "Quoting" and systemd.service(5) "Command lines", systemd 252 to 257.
fn systemd(value: &str, exec: bool, out: &mut String) {
    for c in value.chars() {
        match c {
            '%' => out.push_str("%%"),
            '$' if exec => out.push_str("$$"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{7F}' => push_hex(out, "\\x", u32::from(c), 2),
            c => out.push(c),
        }
    }
}

/// # Source
/// `dotenv/parser.go` of compose-go v1.20 to v2.9: in double quotes `\\`, `\"`, `\$`, `\n`, `\r`, `\t` are escapes.
fn compose_env(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '$' => out.push_str("\\$"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
}

/// # Source
/// systemd.exec(5) `EnvironmentFile=` and `src/basic/env-file.c`: in double quotes a backslash escapes `"`, `\`, `` ` `` and `$`; a line
/// break is itself. `env_value_is_valid` drops values with control characters other than tab and newline.
fn systemd_env(value: &str, out: &mut String) -> Result<(), Unwritable> {
    for c in value.chars() {
        match c {
            '"' | '\\' | '`' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\t' => out.push(c),
            c if c < ' ' || c == '\u{7F}' => {
                return Err(Unwritable {
                    reason: "systemd drops environment values with control characters other than tab and newline",
                });
            }
            c => out.push(c),
        }
    }
    Ok(())
}
