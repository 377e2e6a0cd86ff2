//! Rendered text in which every secret is still only named.

use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};

use crate::diag::Origin;
use crate::id::DigestWriter;
use crate::secret::SecretRef;

/// How a secret's value is written where it lands, innermost first. Applied on the manager just before it travels.
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
    /// The inside of a quoted value of an environment file.
    EnvValue,
}

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
        self.parts.iter().any(|part| matches!(part, Part::Secret { .. }))
    }

    /// Returns the text when no secret is in it.
    pub fn as_text(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Plain(text) => Some(text.as_str()),
                Part::Secret { .. } => None,
            })
            .collect()
    }

    /// Returns the text for people, each secret as `‹secret NAME FINGERPRINT›`.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Plain(plain) => text.push_str(plain),
                Part::Secret { secret, .. } => {
                    let name = secret.name();
                    text.extend(["‹secret ", &name, " ", &secret.fingerprint, "›"]);
                }
            }
        }
        text
    }

    /// Returns the digest that tells *changed* without a key: secrets count by their fingerprint and encodings.
    pub fn sealed(&self) -> Digest {
        let mut writer = DigestWriter::new();
        for part in &self.parts {
            writer = match part {
                Part::Plain(text) => writer.field("p").field(text),
                Part::Secret { secret, encodings } => writer
                    .field("s")
                    .field(&secret.file)
                    .field(secret.name())
                    .field(&secret.fingerprint)
                    .field(format!("{encodings:?}")),
            };
        }
        writer.finish()
    }
}
