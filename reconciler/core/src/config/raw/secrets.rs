//! The secrets of an environment.

use super::leaf::Identifier;
use crate::config::decode::{Named, parsed, record, words};
use crate::config::place::At;
use crate::secret::Generator;

record!(
    /// Secrets that are made, and secrets whose values must not change by chance.
    Secrets, "`secrets`", {
    /// The age recipients that generated values are encrypted for. Default: those of `secrets.sops.yaml`.
    recipients: Option<Vec<At<AgeRecipient>>>,
    /// Values that `holdfast secrets generate` makes, by name. Each is kept in `generated/NAME.sops.yaml` beside this file.
    generate: Option<Named<Identifier, At<Generator>>>,
    /// Secrets that encrypt data, by name, with the fingerprint of the value that is meant: another value is refused until this says so.
    protected: Option<Named<SecretName, At<Fingerprint>>>,
});

words!(Generator, "form of a generated secret", {
    "hex16" => Generator::Hex16,
    "hex32" => Generator::Hex32,
    "urlsafe32" => Generator::Urlsafe32,
    "fernet" => Generator::Fernet,
    "password" => Generator::Password,
});

/// A public key of age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgeRecipient(pub(crate) String);

parsed!(AgeRecipient, "an age recipient", "^age1[a-z0-9]{58}$", |text| {
    let rest = text.strip_prefix("age1").unwrap_or_default();
    if rest.len() == 58 && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(Self(text.to_owned()));
    }
    // Somebody may have pasted the key itself.
    Err("this is no age recipient: it begins with `age1` and has 62 characters; `age-keygen -y KEYFILE` prints it"
        .to_owned())
});

/// The dotted name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SecretName(pub(crate) String);

parsed!(SecretName, "the name of a secret", "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$", |text| {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if text.len() <= 256 && text.split('.').all(word) {
        return Ok(Self(text.to_owned()));
    }
    let shown: String = text.chars().take(60).collect();
    Err(format!("`{}` is no name of a secret: write it as templates do after `secrets.`", shown.escape_debug()))
});

/// The fingerprint of an encrypted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) String);

parsed!(Fingerprint, "a fingerprint", "^[0-9a-f]{16}$", |text| {
    if text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(Self(text.to_owned()));
    }
    Err("this is no fingerprint: sixteen hexadecimal digits, in quotes; `holdfast secrets list` shows them".to_owned())
});
