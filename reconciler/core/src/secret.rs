//! Secrets: references that everybody may see, and values that cannot be shown.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Names one value of an environment's `secrets.sops.yaml`, without its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// The SOPS file, from the repository's root.
    pub file: String,
    /// The keys from the root of the file to the value: `["database", "password"]`.
    pub path: Vec<String>,
    /// Sixteen hexadecimal digits: HMAC-SHA-256 of the ciphertext, keyed by the file's encrypted MAC. Changes when the value is
    /// encrypted anew; says nothing about the value; needs no key.
    pub fingerprint: String,
}

impl SecretRef {
    /// Returns the dotted name a template uses after `secrets.`.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// A value that came out of decryption. It has no `Display`, `Debug`, `Serialize` or `PartialEq`, and is wiped when dropped.
pub struct Secret<T: zeroize::Zeroize>(Zeroizing<T>);

impl<T: zeroize::Zeroize> Secret<T> {
    /// Takes a value in.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value. The one way to it, so that every use can be found by this name.
    pub fn expose(&self) -> &T {
        &self.0
    }
}
