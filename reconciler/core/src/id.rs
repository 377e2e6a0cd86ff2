//! Names that cannot be wrong once built: their character set is so small that none can carry a shell, path or markup meaning.

use std::fmt;
use std::str::FromStr;

use holdfast_protocol::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Text that is no valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}: {expected}")]
pub struct InvalidName {
    /// What was given, shortened.
    pub text: String,
    /// Which kind of name was wanted.
    pub kind: &'static str,
    /// The rule.
    pub expected: &'static str,
}

const NAME_RULE: &str = "1 to 40 characters of a-z, 0-9 and -, beginning with a letter and not ending with -";

fn is_name(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        ///
        /// One to 40 characters of `a-z`, `0-9` and `-`, beginning with a letter and not ending with `-`.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let text = text.chars().take(60).collect();
                    Err(InvalidName { text, kind: $kind, expected: NAME_RULE })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// The name of an environment.
    EnvironmentName,
    "environment name"
);
name_type!(
    /// The name of a host in the inventory.
    HostName,
    "host name"
);
name_type!(
    /// The name of an app.
    AppName,
    "app name"
);
name_type!(
    /// The name of a component of an app.
    ComponentName,
    "component name"
);

/// A git commit: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// Returns the full hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first ten digits, for display only.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl FromStr for CommitId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (text.len() == 40 || text.len() == 64) {
            return Ok(Self(text.to_owned()));
        }
        let text = text.chars().take(60).collect();
        Err(InvalidName { text, kind: "commit id", expected: "40 or 64 lower-case hexadecimal digits" })
    }
}

impl TryFrom<String> for CommitId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the first twelve digits of a seal that is kept as text, as [`Digest::short`] does of a seal itself; for display only.
pub fn short_seal(seal: &str) -> &str {
    seal.get(..12).unwrap_or(seal)
}

/// Returns the SHA-256 digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Collects values into one digest without their borders running together.
#[derive(Default)]
pub struct DigestWriter(Sha256);

impl DigestWriter {
    /// Returns an empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one field, length first.
    #[must_use]
    pub fn field(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Returns the digest of all fields.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
