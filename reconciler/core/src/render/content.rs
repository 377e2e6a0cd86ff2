//! Rendered text in which every secret is still only named.

use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};

use super::Encoding;
use crate::diag::Origin;
use crate::id::DigestWriter;
use crate::secret::SecretRef;

/// A piece of rendered text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text as it will be written.
    Plain(String),
    /// The value of a secret, to be written in these encodings.
    Secret {
        /// Which.
        secret: SecretRef,
        /// How, innermost first.
        encodings: Vec<Encoding>,
    },
    /// Several pieces, at least one of them a secret, that are encoded as one: `("user:" ~ secrets.password)|b64encode`.
    Joined {
        /// The pieces in order.
        parts: Vec<Part>,
        /// How the whole is written, innermost first.
        encodings: Vec<Encoding>,
    },
}

impl Part {
    fn show(&self, text: &mut String) {
        match self {
            Self::Plain(plain) => text.push_str(plain),
            Self::Secret { secret, .. } => {
                let name = secret.name();
                text.extend(["‹secret ", &name, " ", &secret.fingerprint, "›"]);
            }
            Self::Joined { parts, .. } => {
                text.push('‹');
                for part in parts {
                    part.show(text);
                }
                text.push('›');
            }
        }
    }

    fn seal(&self, writer: DigestWriter) -> DigestWriter {
        match self {
            Self::Plain(text) => writer.field("p").field(text),
            Self::Secret { secret, encodings } => writer
                .field("s")
                .field(&secret.file)
                .field(secret.name())
                .field(&secret.fingerprint)
                .field(format!("{encodings:?}")),
            Self::Joined { parts, encodings } => {
                let writer = writer.field("j").field(parts.len().to_le_bytes()).field(format!("{encodings:?}"));
                parts.iter().fold(writer, |writer, part| part.seal(writer))
            }
        }
    }

    fn secrets<'a>(&'a self, found: &mut Vec<&'a SecretRef>) {
        match self {
            Self::Plain(_) => {}
            Self::Secret { secret, .. } => found.push(secret),
            Self::Joined { parts, .. } => parts.iter().for_each(|part| part.secrets(found)),
        }
    }
}

/// Which value of the user's files a line of rendered text came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Line of the rendered text, from 1.
    pub output_line: u32,
    /// The value's name in the template: `variables.domain`, `release`.
    pub field: String,
    /// Where the value is written.
    pub value: Origin,
    /// Where the template uses it.
    pub template: Origin,
}

/// The whole text of one rendered file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The pieces in order.
    pub parts: Vec<Part>,
    /// Where the values in it came from, sorted by line.
    pub provenance: Vec<Provenance>,
}

impl Content {
    /// Returns content of plain text only.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Plain(text.into())], provenance: Vec::new() }
    }

    /// Returns whether a secret is in it.
    pub fn has_secret(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Plain(_)))
    }

    /// Returns the secrets in it, in the order they appear, each as often as it does.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        let mut found = Vec::new();
        self.parts.iter().for_each(|part| part.secrets(&mut found));
        found
    }

    /// Returns where a template first prints a secret, by its dotted name; of several names joined with commas, the first.
    pub fn secret_place(&self, name: &str) -> Option<&Origin> {
        let first = name.split(", ").next().unwrap_or(name);
        let field = format!("secrets.{first}");
        self.provenance.iter().find(|entry| entry.field == field).map(|entry| &entry.template)
    }

    /// Returns the text when no secret is in it.
    pub fn as_text(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Plain(text) => Some(text.as_str()),
                Part::Secret { .. } | Part::Joined { .. } => None,
            })
            .collect()
    }

    /// Returns the text for people, each secret as `‹secret NAME FINGERPRINT›`.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        self.parts.iter().for_each(|part| part.show(&mut text));
        text
    }

    /// Returns the digest that tells *changed* without a key: secrets count by their fingerprint and encodings.
    pub fn sealed(&self) -> Digest {
        self.parts.iter().fold(DigestWriter::new(), |writer, part| part.seal(writer)).finish()
    }
}
