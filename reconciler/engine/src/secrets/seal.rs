use std::fmt::Write as _;
use std::io::Write as _;

use age::x25519::Recipient;
use sha2::{Digest as _, Sha512};

use super::Opened;
use super::document::Node;
use super::open::hex;
use super::value::{DataKey, ValueType, is_encrypted};

/// The version of SOPS whose format is written.
const VERSION: &str = "3.9.4";

/// Why a plain file cannot be encrypted. No message holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file is no plain YAML map.
    #[error("{reason}")]
    Form {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// There is nobody to encrypt for.
    #[error("no age recipient was given: pass at least one age1… (age-keygen -y KEYFILE prints it)")]
    NoRecipient,
    /// The data key could not be encrypted.
    #[error("the data key cannot be encrypted for {recipient}: {reason}")]
    Recipient {
        /// Recipient.
        recipient: String,
        /// Why.
        reason: String,
    },
}

/// Returns a SOPS file with all values of a plain YAML map encrypted for some age recipients, as `sops` would write it.
///
/// `modified` is the time in RFC 3339, such as `2026-11-21T09:00:00Z`. With `previous`, the same file as it was, values that did not
/// change keep their ciphertext, so that a plan shows the changed ones only.
///
/// # Errors
/// See [`SealError`].
pub fn seal(
    plain: &str,
    recipients: &[Recipient],
    modified: &str,
    previous: Option<&Opened>,
) -> Result<String, SealError> {
    let form = |reason: String| SealError::Form { reason };
    let root = Node::read(plain).map_err(|error| form(error.to_string()))?;
    let Node::Map(entries) = &root else { return Err(form("a file of secrets is a map".to_owned())) };
    if root.get("sops").is_some() {
        return Err(form("the file is encrypted already; edit it with `sops`".to_owned()));
    }
    if recipients.is_empty() {
        return Err(SealError::NoRecipient);
    }
    let new_key = DataKey::generate();
    let key = previous.map_or(&new_key, |previous| &previous.key);
    let mut writer = Writer { key, previous, hash: Sha512::new(), out: String::new() };
    for (name, node) in entries {
        writer.entry(name, node, 0, &mut Vec::new(), "")?;
    }
    let Writer { hash, mut out, .. } = writer;
    let mac = key.encrypt(hex(&hash.finalize()).as_bytes(), ValueType::Text, modified);
    out.push_str("sops:\n    age:\n");
    for recipient in recipients {
        let armoured = wrapped(key, recipient)
            .map_err(|error| SealError::Recipient { recipient: recipient.to_string(), reason: error.to_string() })?;
        let _ = writeln!(out, "        - recipient: {recipient}\n          enc: |");
        for line in armoured.lines() {
            let _ = writeln!(out, "            {line}");
        }
    }
    let _ = writeln!(out, "    lastmodified: \"{modified}\"\n    mac: {mac}\n    version: {VERSION}");
    Ok(out)
}

fn wrapped(key: &DataKey, recipient: &Recipient) -> Result<String, Box<dyn std::error::Error>> {
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient as &dyn age::Recipient))?;
    let mut armoured = Vec::new();
    let armour = age::armor::ArmoredWriter::wrap_output(&mut armoured, age::armor::Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armour)?;
    writer.write_all(key.0.as_slice())?;
    writer.finish()?.finish()?;
    Ok(String::from_utf8(armoured)?)
}

/// Returns whether a name is text for every reader of YAML when it stands without quotes (YAML 1.1 §2.4 types, YAML 1.2 §10.3).
fn is_plain(name: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && !WORDS.contains(&name.to_ascii_lowercase().as_str())
}

struct Writer<'a> {
    key: &'a DataKey,
    previous: Option<&'a Opened>,
    hash: Sha512,
    out: String,
}

impl Writer<'_> {
    fn entry(
        &mut self,
        name: &str,
        node: &Node,
        indent: usize,
        path: &mut Vec<String>,
        context: &str,
    ) -> Result<(), SealError> {
        let word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !word || name.ends_with("_unencrypted") {
            let reason = format!(
                "`{}` cannot be the name of a secret: use letters, digits, `_` and `-`, and not the ending `_unencrypted`",
                name.escape_debug()
            );
            return Err(SealError::Form { reason });
        }
        let quote = if is_plain(name) { "" } else { "\"" };
        let _ = write!(self.out, "{:indent$}{quote}{name}{quote}:", "");
        path.push(name.to_owned());
        let result = self.value(node, indent, path, &format!("{context}{name}:"));
        path.pop();
        result
    }

    fn value(&mut self, node: &Node, indent: usize, path: &mut Vec<String>, context: &str) -> Result<(), SealError> {
        match node {
            Node::Map(entries) if entries.is_empty() => self.out.push_str(" {}\n"),
            Node::List(items) if items.is_empty() => self.out.push_str(" []\n"),
            Node::Map(entries) => {
                self.out.push('\n');
                for (name, node) in entries {
                    self.entry(name, node, indent + 4, path, context)?;
                }
            }
            Node::List(items) => {
                self.out.push('\n');
                for (index, item) in items.iter().enumerate() {
                    let _ = write!(self.out, "{:1$}-", "", indent + 4);
                    path.push(index.to_string());
                    let result = self.value(item, indent + 4, path, context);
                    path.pop();
                    result?;
                }
            }
            Node::Null => {
                let reason =
                    format!("`{}` is empty; SOPS leaves empty values as they are: take the key away", path.join("."));
                return Err(SealError::Form { reason });
            }
            Node::Text(text) if is_encrypted(text) => {
                let reason = format!("`{}` is encrypted already", path.join("."));
                return Err(SealError::Form { reason });
            }
            Node::Text(text) if text.is_empty() => {
                let reason =
                    format!("`{}` is an empty text; SOPS leaves it as it is: take the key away", path.join("."));
                return Err(SealError::Form { reason });
            }
            Node::Text(text) => self.leaf(text.as_bytes(), ValueType::Text, path, context),
            Node::Bool(flag) => {
                self.leaf(if *flag { b"True" } else { b"False" }, ValueType::Bool, path, context);
            }
            Node::Integer(number) => self.leaf(number.to_string().as_bytes(), ValueType::Integer, path, context),
            Node::Float(number) => self.leaf(number.to_string().as_bytes(), ValueType::Float, path, context),
        }
        Ok(())
    }

    fn leaf(&mut self, plain: &[u8], kind: ValueType, path: &[String], context: &str) {
        self.hash.update(plain);
        let kept = self
            .previous
            .and_then(|previous| previous.values.get(path))
            .filter(|value| value.kind == kind && value.secret.expose().as_slice() == plain);
        let ciphertext = match kept {
            Some(value) => value.ciphertext.clone(),
            None => self.key.encrypt(plain, kind, context),
        };
        let _ = writeln!(self.out, " {ciphertext}");
    }
}
