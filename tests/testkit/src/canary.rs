//! Values that must never be seen, and a search for them in every form they could be seen in.

use std::fs;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A secret value with a run of letters and digits in it that every way of quoting leaves alone.
#[derive(Debug, Clone)]
pub struct Canary {
    /// The secret's dotted name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What is searched for, each with a word for it.
    forms: Vec<(String, String)>,
}

impl Canary {
    /// Makes one: `fragment` is letters and digits; odd characters are put around it.
    pub fn new(name: &'static str, before: &str, fragment: &str, after: &str) -> Self {
        let value = format!("{before}{fragment}{after}");
        let mut forms = vec![(format!("{name} in JSON"), json(&value))];
        for (what, text) in [("", value.as_str()), ("a part of ", fragment)] {
            let mut add = |form: &str, text: String| forms.push((format!("{what}{name} in {form}"), text));
            add("plain", text.to_owned());
            add("hex", hex(text.as_bytes()));
            add("HEX", hex(text.as_bytes()).to_uppercase());
            add("URL", url(text));
            add("url", url_lower(text));
            for shift in 0..3 {
                add("base64", base64(&STANDARD, text, shift));
                add("base64url", base64(&URL_SAFE, text, shift));
            }
        }
        Self { name, value, forms }
    }

    /// Returns in which forms a text holds it.
    pub fn seen_in(&self, text: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(text);
        self.forms.iter().filter(|(_, form)| text.contains(form)).map(|(what, _)| what.as_str()).collect()
    }
}

/// Returns which of them a text holds, and in which forms.
pub fn seen<'c>(canaries: &'c [Canary], text: &[u8]) -> Vec<&'c str> {
    canaries.iter().flat_map(|canary| canary.seen_in(text)).collect()
}

/// Asserts that a text holds none of them in any form.
///
/// # Panics
/// When it does: names the place, the secret and the form, and not the value.
#[track_caller]
pub fn assert_unseen(canaries: &[Canary], place: &str, text: &[u8]) {
    let seen = seen(canaries, text);
    assert!(seen.is_empty(), "{place} holds {}", seen.join(", "));
}

/// Returns every regular file below a folder, links not followed.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Returns the files below a folder that hold one of them, each with what was seen.
pub fn holders(canaries: &[Canary], folder: &Path) -> Vec<(PathBuf, String)> {
    let holds = |path: &PathBuf| seen(canaries, &fs::read(path).unwrap_or_default()).join(", ");
    files_below(folder)
        .into_iter()
        .map(|path| (path.clone(), holds(&path)))
        .filter(|(_, seen)| !seen.is_empty())
        .collect()
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn url(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The same with the digits of an escape, and nothing else, in lower case.
fn url_lower(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

/// Returns what stands in the base64 of anything that holds the text `shift` bytes after a multiple of three.
fn base64(engine: &impl base64::Engine, text: &str, shift: usize) -> String {
    let mut bytes = vec![0; shift];
    bytes.extend(text.as_bytes());
    // Only characters that no neighbouring byte has a part in: six bits each.
    let (first, last) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
    engine.encode(&bytes)[first..last].to_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn canary() -> Canary {
        Canary::new("a.b", "p$'\"\\ {;", "Fr4gm3ntOfIt99", "%ü\n#")
    }

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        let canary = canary();
        let value = canary.value.as_bytes();
        for shift in 0..3 {
            let mut around = vec![b'x'; shift];
            around.extend(value);
            around.extend(b"tail of it");
            for text in [STANDARD.encode(&around), URL_SAFE.encode(&around), hex(&around), hex(&around).to_uppercase()]
            {
                assert!(!canary.seen_in(text.as_bytes()).is_empty(), "{text}");
            }
        }
        let quoted = canary.value.replace('"', "\\\"").replace('$', "$$");
        let forms = [canary.value.clone(), json(&canary.value), url(&canary.value), url_lower(&canary.value), quoted];
        for text in forms {
            assert!(!canary.seen_in(format!("a {text} b").as_bytes()).is_empty(), "{text}");
        }
        assert!(canary.seen_in(b"nothing of that kind, Fr4gm3nt alone").is_empty());
        assert!(canary.seen_in(canary.name.as_bytes()).is_empty());
    }

    #[test]
    fn files_that_hold_one_are_found_below_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/log"), [b"\x00\xff".as_slice(), canary().value.as_bytes()].concat())
            .unwrap();
        fs::write(folder.path().join("fine"), "fine").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("inner/loop")).unwrap();
        let found = holders(&[canary()], folder.path());
        assert_eq!(found.len(), 1);
        assert!(found[0].0.ends_with("inner/log") && found[0].1.contains("a.b in plain"), "{found:?}");
    }

    #[test]
    #[should_panic(expected = "the log holds a part of a.b in hex")]
    fn an_assertion_names_place_secret_and_form() {
        assert_unseen(&[canary()], "the log", hex(b"-Fr4gm3ntOfIt99-").as_bytes());
    }
}
