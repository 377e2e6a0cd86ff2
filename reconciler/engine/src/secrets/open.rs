use std::collections::BTreeMap;

use holdfast_core::secret::Secret;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::Identities;
use super::document::Node;
use super::value::{DataKey, ValueType, is_encrypted};

/// Seeds the MAC of files that have `mac_only_encrypted`, so that the two kinds of MAC never agree.
pub(super) const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];
/// Most recipients of a file.
const RECIPIENTS: usize = 64;

/// Why a SOPS file cannot be opened. No message holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file is no SOPS file that is read here.
    #[error("{reason}")]
    Form {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No identity fits.
    #[error(
        "none of the {count} age recipients has its key on this management box; give the manager the key file of one of them, or add its recipient with `sops updatekeys`"
    )]
    NoKey {
        /// How many recipients the file has.
        count: usize,
    },
    /// A value was tampered with.
    #[error("the value of `{name}` cannot be trusted: {reason}")]
    Value {
        /// Dotted name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The MAC does not fit.
    #[error(
        "the file's MAC does not fit its content: a value or key was added, removed or moved without SOPS; restore the file and edit it with `sops`"
    )]
    Mac,
}

/// A decrypted file.
pub struct Opened {
    pub(super) key: DataKey,
    pub(super) values: BTreeMap<Vec<String>, Value>,
}

/// A decrypted value and its ciphertext.
pub(super) struct Value {
    pub(super) secret: Secret<Vec<u8>>,
    pub(super) kind: ValueType,
    pub(super) ciphertext: String,
}

impl Opened {
    /// Returns how many values are in the file.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the text of a value and its ciphertext. A truth value reads `true` or `false`.
    pub fn value(&self, path: &[String]) -> Option<(Option<Secret<String>>, &str)> {
        let value = self.values.get(path)?;
        let text = match value.kind {
            ValueType::Bool => Some(value.secret.expose().eq_ignore_ascii_case(b"true").to_string()),
            _ => std::str::from_utf8(value.secret.expose()).ok().map(str::to_owned),
        };
        Some((text.map(Secret::new), &value.ciphertext))
    }
}

/// Opens a SOPS file: finds the data key, decrypts all values, and verifies the MAC over them.
///
/// # Errors
/// See [`OpenError`]. A file whose MAC is missing or does not fit is never opened.
pub fn open(text: &str, identities: &Identities) -> Result<Opened, OpenError> {
    let form = |reason: &str| OpenError::Form { reason: reason.to_owned() };
    let root = Node::read(text).map_err(|error| OpenError::Form { reason: error.to_string() })?;
    let Node::Map(entries) = &root else { return Err(form("a file of secrets is a map")) };
    let sops = root.get("sops").ok_or_else(|| form("the key `sops` is missing: the file is not encrypted"))?;
    if sops.get("shamir_threshold").is_some() || sops.get("key_groups").is_some() {
        return Err(form("key groups are not read here; encrypt the file for age recipients without groups"));
    }
    let metadata =
        |name: &str| sops.get(name).and_then(Node::text).ok_or_else(|| form(&format!("`sops.{name}` is missing")));
    let (mac, modified) = (metadata("mac")?, metadata("lastmodified")?);
    let key = data_key(sops, identities)?;
    let mut hash = Sha512::new();
    let partly = sops.get("mac_only_encrypted") == Some(&Node::Bool(true));
    if partly {
        hash.update(ONLY_ENCRYPTED);
    }
    let mut reader = Reader { key: &key, partly, hash, values: BTreeMap::new() };
    for (name, node) in entries.iter().filter(|(name, _)| name != "sops") {
        reader.walk(node, &mut vec![name.clone()], &format!("{name}:"))?;
    }
    let Reader { hash, values, .. } = reader;
    let (stored, _) = key.decrypt(mac, modified).map_err(|_| OpenError::Mac)?;
    let computed = Zeroizing::new(hex(&hash.finalize()));
    if !same(&stored, computed.as_bytes()) {
        return Err(OpenError::Mac);
    }
    Ok(Opened { key, values })
}

fn data_key(sops: &Node, identities: &Identities) -> Result<DataKey, OpenError> {
    let Some(Node::List(recipients)) = sops.get("age") else {
        let reason = "the file has no age recipient; only age is read here: sops encrypt --age age1… FILE";
        return Err(OpenError::Form { reason: reason.to_owned() });
    };
    if recipients.len() > RECIPIENTS {
        let reason = format!("the file has {} age recipients; at most {RECIPIENTS} are read", recipients.len());
        return Err(OpenError::Form { reason });
    }
    let mut found = recipients.iter().filter_map(|recipient| recipient.get("enc").and_then(Node::text));
    found.find_map(|armoured| identities.data_key(armoured)).ok_or(OpenError::NoKey { count: recipients.len() })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// Compares without telling by time where a difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

struct Reader<'k> {
    key: &'k DataKey,
    /// Values in the clear do not count in the MAC. They are no secrets and are passed over.
    partly: bool,
    hash: Sha512,
    values: BTreeMap<Vec<String>, Value>,
}

impl Reader<'_> {
    /// Walks in file order. Items of a list share the context of their list.
    fn walk(&mut self, node: &Node, path: &mut Vec<String>, context: &str) -> Result<(), OpenError> {
        match node {
            Node::Null => Ok(()),
            // SOPS writes an empty text as it is.
            Node::Text(text) if text.is_empty() => Ok(()),
            Node::Text(text) if is_encrypted(text) => {
                let (plain, kind) = self
                    .key
                    .decrypt(text, context)
                    .map_err(|error| OpenError::Value { name: path.join("."), reason: error.to_string() })?;
                self.hash.update(&plain);
                let secret = Secret::new(plain.to_vec());
                self.values.insert(path.clone(), Value { secret, kind, ciphertext: text.clone() });
                Ok(())
            }
            Node::List(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                path.push(index.to_string());
                let result = self.walk(item, path, context);
                path.pop();
                result
            }),
            Node::Map(entries) => entries.iter().try_for_each(|(name, node)| {
                path.push(name.clone());
                let result = self.walk(node, path, &format!("{context}{name}:"));
                path.pop();
                result
            }),
            Node::Text(_) | Node::Bool(_) | Node::Integer(_) | Node::Float(_) if self.partly => Ok(()),
            Node::Text(_) | Node::Bool(_) | Node::Integer(_) | Node::Float(_) => Err(OpenError::Value {
                name: path.join("."),
                reason: "it is not encrypted; encrypt the file, and change the value, for git keeps it".to_owned(),
            }),
        }
    }
}
