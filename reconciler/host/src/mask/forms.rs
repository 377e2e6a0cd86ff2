//! The forms in which a tool may repeat a secret.

use std::fmt::Write as _;

/// Bytes above which a value is looked for in its plain forms only: nobody prints such a value encoded, and tables have their price.
const LONG: usize = 16 * 1024;

/// The alphabets of base64: RFC 4648 §4 and §5.
const ALPHABETS: [&[u8; 64]; 2] = [
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
];

/// Returns a value as it is, as our own errors write it, as JSON and Go write it, percent-encoded, in hexadecimal, and in base64 as
/// it stands in a text that begins at, one or two bytes before it.
pub(super) fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_owned()];
    let mut add = |form: Vec<u8>| {
        if !form.is_empty() && !forms.contains(&form) {
            forms.push(form);
        }
    };
    if let Ok(text) = std::str::from_utf8(value) {
        add(crate::exec::shown(value, usize::MAX).into_bytes());
        add(json(text).into_bytes());
        add(text.escape_debug().to_string().into_bytes());
        add(text.escape_default().to_string().into_bytes());
    }
    if value.len() > LONG {
        return forms;
    }
    for upper in [false, true] {
        add(percent(value, upper));
        add(hex(value, upper));
    }
    for alphabet in ALPHABETS {
        for shift in 0..3 {
            add(base64(value, shift, alphabet));
        }
    }
    forms
}

/// The inside of a JSON string.
fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// # Source
/// RFC 3986 §2.1 and §2.3.
fn percent(value: &[u8], upper: bool) -> Vec<u8> {
    let mut text = String::new();
    for &byte in value {
        // Writing to a String cannot fail.
        let _ = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => write!(text, "{}", char::from(byte)),
            _ if upper => write!(text, "%{byte:02X}"),
            _ => write!(text, "%{byte:02x}"),
        };
    }
    text.into_bytes()
}

fn hex(value: &[u8], upper: bool) -> Vec<u8> {
    let mut text = String::with_capacity(value.len() * 2);
    for byte in value {
        let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text.into_bytes()
}

/// Returns the characters of base64 that depend on this value alone when `shift` bytes stand before it.
fn base64(value: &[u8], shift: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |at: usize| value[at / 8] >> (7 - at % 8) & 1;
    let end = value.len() * 8;
    // Six bits each, counted from the beginning of the group of three bytes.
    let mut at = (6 - shift * 8 % 6) % 6;
    let mut text = Vec::with_capacity(value.len() * 4 / 3);
    while at + 6 <= end {
        let digit = (at..at + 6).fold(0, |digit, at| digit << 1 | bit(at));
        text.push(alphabet[usize::from(digit)]);
        at += 6;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &[u8]) -> Vec<String> {
        forms(value).into_iter().map(|form| String::from_utf8_lossy(&form).into_owned()).collect()
    }

    #[test]
    fn every_form_is_there() {
        let all = all("a\"ü\n".as_bytes());
        for form in ["a\"ü\n", "a\\\"ü\\n", "a\"ü", "a%22%C3%BC%0A", "a%22%c3%bc%0a", "6122c3bc0a", "6122C3BC0A"] {
            assert!(all.iter().any(|one| one == form), "{form}: {all:?}");
        }
    }

    #[test]
    fn base64_is_what_any_encoder_writes_for_text_around_it() {
        // `printf 'xSECRET!?>y' | base64` and its neighbours, by GNU coreutils 9.7.
        let all = all(b"SECRET!?>");
        for encoded in ["U0VDUkVUIT8+", "eFNFQ1JFVCE/Png=", "eHhTRUNSRVQhPz54"] {
            assert!(all.iter().any(|form| form.len() >= 10 && encoded.contains(form.as_str())), "{encoded}: {all:?}");
        }
    }
}
