//! Secrets: references that everybody may see, values that cannot be shown, and how values are made.

mod generator;

pub use generator::{Generator, RANDOM_BYTES};

use hmac::{Hmac, Mac};
use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Names one value of an environment's SOPS files, without its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretRef {
    /// The SOPS file, from the repository's root.
    pub file: String,
    /// The keys from the root of the file to the value: `["database", "password"]`.
    pub path: Vec<String>,
    /// Sixteen hexadecimal digits, made by [`fingerprint`].
    pub fingerprint: String,
}

impl SecretRef {
    /// Returns the dotted name a template uses after `secrets.`.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// Returns the fingerprint of one encrypted value: sixteen hexadecimal digits of HMAC-SHA-256 over the ciphertext text
/// (`ENC[AES256_GCM,…]`), keyed by the path of its SOPS file from the repository's root.
///
/// It is made of the ciphertext, never of the value, so it needs no decryption key and nothing can be guessed from it, however
/// short the value is. It changes when the value is encrypted anew. It does not depend on the file's MAC: that one changes with
/// every edit of the file, and an edit of one secret must not look like a change of all of them (SOPS keeps the ciphertext of
/// values that an edit leaves alone).
pub fn fingerprint(ciphertext: &str, file: &str) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(file.as_bytes()).expect("BUG: HMAC takes keys of any length");
    mac.update(b"holdfast secret fingerprint 1\0");
    mac.update(ciphertext.as_bytes());
    let mut text = Digest(mac.finalize().into_bytes().into()).to_string();
    text.truncate(16);
    text
}

/// Returns whether a value is one that guides and images write where a secret is to be put: everybody knows it.
pub fn is_placeholder(value: &str) -> bool {
    /// As they are without case, blanks and joiners.
    const WORDS: [&str; 17] = [
        "",
        "admin",
        "changeit",
        "default",
        "guest",
        "insecure",
        "minioadmin",
        "mypassword",
        "mysecret",
        "none",
        "pass",
        "password",
        "postgres",
        "root",
        "secret",
        "todo",
        "user",
    ];
    const BEGINNINGS: [&str; 5] = ["changeme", "changethis", "replaceme", "replacethis", "fillin"];
    let lower = value.trim().to_ascii_lowercase();
    let joined: String = lower.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '.')).collect();
    let digits_of_the_keyboard = joined.len() > 3 && "1234567890".starts_with(&joined);
    WORDS.contains(&joined.as_str())
        || digits_of_the_keyboard
        || BEGINNINGS.iter().any(|beginning| joined.starts_with(beginning))
        || ["your-", "your_", "your ", "my-secret-", "insert-"].iter().any(|beginning| lower.starts_with(beginning))
        || (lower.starts_with('<') && lower.ends_with('>'))
        || lower.chars().all(|c| matches!(c, 'x' | '*' | '.'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_50_what_guides_write_for_a_secret_is_known() {
        for value in [
            "changeme",
            "change-me-in-production",
            "CHANGE_ME",
            "changeme-generate-with-openssl",
            "minioadmin",
            "admin",
            "password",
            "your-openai-api-key",
            "your_secret_here",
            "<generate>",
            "xxxxxxxx",
            "123456",
            "",
            "  ",
        ] {
            assert!(is_placeholder(value), "{value:?}");
        }
        for value in ["s3cr3t-8f", "yourself9!", "correct horse battery staple", "0", "admin7Kq", "/run/secrets/key"] {
            assert!(!is_placeholder(value), "{value:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_sixteen_digits_of_ciphertext_and_file() {
        let one = fingerprint("ENC[AES256_GCM,data:AA==]", "environments/a/secrets.sops.yaml");
        assert_eq!(one.len(), 16);
        assert!(one.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(one, fingerprint("ENC[AES256_GCM,data:AA==]", "environments/a/secrets.sops.yaml"));
        assert_ne!(one, fingerprint("ENC[AES256_GCM,data:AB==]", "environments/a/secrets.sops.yaml"));
        assert_ne!(one, fingerprint("ENC[AES256_GCM,data:AA==]", "environments/b/secrets.sops.yaml"));
    }
}
