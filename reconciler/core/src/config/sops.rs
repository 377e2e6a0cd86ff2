//! The names in a `secrets.sops.yaml`, without any value: nothing here decrypts.
//!
//! # Guarantees
//! No line of the file reaches a finding: it may hold a secret that someone forgot to encrypt.
//!
//! # Source
//! SOPS 3.9: leaf values are `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`; the key `sops` at the root holds the metadata with the
//! encrypted MAC. Keys are in the clear.

use std::collections::BTreeMap;

use super::decode::PlainValue;
use super::findings::Findings;
use super::model::SealedValue;
use super::place::Place;
use super::yaml::{self, Kind, Node};
use crate::secret::{SecretRef, fingerprint};

/// What to do about a value that is not encrypted.
const ENCRYPT: &str =
    "encrypt the file with `sops encrypt --in-place`, and change the value everywhere: git keeps it for ever";

/// Returns the encrypted values of a file by dotted name.
pub(super) fn read<'s>(file: &'s str, text: &'s str, findings: &mut Findings<'s>) -> BTreeMap<String, SealedValue> {
    findings.hide(file);
    let mut secrets = BTreeMap::new();
    let Some(root) = yaml::parse(file, text, findings) else {
        return secrets;
    };
    let Kind::Map(entries) = &root.kind else {
        findings.error("not-encrypted", file, root.place, "a file of secrets is a map", ENCRYPT);
        return secrets;
    };
    match entries.iter().find(|entry| entry.key == "sops") {
        Some(metadata) => metadata_of(&metadata.value, file, findings),
        None => findings.error(
            "not-encrypted",
            file,
            Place::default(),
            "the key `sops` is missing: the file is not encrypted",
            ENCRYPT,
        ),
    }
    for entry in entries.iter().filter(|entry| entry.key != "sops") {
        let mut path = vec![entry.key.clone()];
        collect(&entry.value, entry.place, &mut path, file, &mut secrets, findings);
    }
    secrets
}

fn metadata_of(node: &Node, file: &str, findings: &mut Findings<'_>) {
    let Kind::Map(entries) = &node.kind else {
        findings.error("sops-metadata", file, node.place, "`sops` is not a map", ENCRYPT);
        return;
    };
    let value = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let text = |key: &str| match value(key).map(|node| &node.kind) {
        Some(Kind::Scalar { text, .. }) => Some(text.as_str()),
        _ => None,
    };
    if !text("mac").is_some_and(is_encrypted) {
        findings.error("sops-metadata", file, node.place, "`sops.mac` is missing or not encrypted", ENCRYPT);
    }
    if text("lastmodified").is_none_or(str::is_empty) {
        findings.error("sops-metadata", file, node.place, "`sops.lastmodified` is missing", ENCRYPT);
    }
    let recipients = match value("age").map(|node| &node.kind) {
        Some(Kind::List(items)) => items.len(),
        _ => 0,
    };
    if recipients == 0 {
        let hint = "encrypt it for an age recipient: `sops encrypt --age age1… --in-place`";
        findings.error("sops-metadata", file, node.place, "the file has no age recipient", hint);
    }
}

fn collect(
    node: &Node,
    key: Place,
    path: &mut Vec<String>,
    file: &str,
    secrets: &mut BTreeMap<String, SealedValue>,
    findings: &mut Findings<'_>,
) {
    let name = path.join(".");
    let shown: String = name.chars().take(120).collect();
    let word = path.last().is_some_and(|part| {
        !part.is_empty()
            && part.len() <= 64
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    });
    if !word {
        let message = format!("`{}` is no name for a secret", shown.escape_debug());
        findings.error("bad-name", file, key, message, "use letters, digits, `_` and `-`, 64 at the most");
        return;
    }
    match &node.kind {
        Kind::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                collect(&entry.value, entry.place, path, file, secrets, findings);
                path.pop();
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                collect(item, item.place, path, file, secrets, findings);
                path.pop();
            }
        }
        Kind::Scalar { text, .. } if is_encrypted(text) => {
            let secret = SecretRef { file: file.to_owned(), path: path.clone(), fingerprint: fingerprint(text, file) };
            secrets.insert(name, SealedValue { secret, generator: None, protected: false, origin: key.origin(file) });
        }
        Kind::Scalar { text, plain } if text.is_empty() || PlainValue::of(text, *plain) == PlainValue::Null => {
            let hint = "SOPS leaves empty values as they are; take the key away";
            findings.error("not-encrypted", file, key, format!("the secret `{shown}` is empty"), hint);
        }
        Kind::Scalar { .. } => {
            findings.error("not-encrypted", file, key, format!("the value of `{shown}` is not encrypted"), ENCRYPT);
        }
    }
}

/// Returns whether a scalar is what SOPS writes for a value.
fn is_encrypted(text: &str) -> bool {
    let Some(inside) = text.strip_prefix("ENC[AES256_GCM,").and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let fields: Vec<&str> = inside.split(',').collect();
    matches!(fields.as_slice(), [data, iv, tag, kind]
        if data.len() > "data:".len() && data.starts_with("data:") && iv.starts_with("iv:") && tag.starts_with("tag:") && kind.starts_with("type:"))
}
