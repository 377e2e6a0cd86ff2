use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// A host key pinned in the inventory, as one line of `known_hosts` without the host: `ssh-ed25519 AAAA…`.
///
/// # Source
/// `sshd(8)`, SSH_KNOWN_HOSTS FILE FORMAT, OpenSSH 9.2; the fingerprint is that of `ssh-keygen -l`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedKey {
    algorithm: String,
    blob: Vec<u8>,
}

/// The text is no host key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pinned host key is not of the form `ssh-ed25519 AAAA…`: {0}; take it from /etc/ssh/ssh_host_ed25519_key.pub on the host"
)]
pub struct InvalidHostKey(&'static str);

impl PinnedKey {
    /// Returns the line of a `known_hosts` file that lets only this key pass for `alias`.
    pub fn known_hosts_line(&self, alias: &str) -> String {
        format!("{alias} {self}\n")
    }

    /// Returns the fingerprint as OpenSSH shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }
}

impl fmt::Display for PinnedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, STANDARD.encode(&self.blob))
    }
}

impl FromStr for PinnedKey {
    type Err = InvalidHostKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A comment may follow, as in a .pub file; it is dropped, so nothing but these two words reaches the file.
        let mut words = text.split_ascii_whitespace();
        let algorithm = words.next().ok_or(InvalidHostKey("it is empty"))?;
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-@.".contains(&byte);
        if !algorithm.bytes().all(known) || algorithm.starts_with('@') {
            return Err(InvalidHostKey("the first word is no key type"));
        }
        let encoded = words.next().ok_or(InvalidHostKey("the key itself is missing"))?;
        let blob = STANDARD.decode(encoded).map_err(|_| InvalidHostKey("the second word is not base64"))?;
        // RFC 4253 §6.6: the blob begins with the length and name of its own type.
        let name = blob.get(..4).and_then(|head| {
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            blob.get(4..4_usize.checked_add(length)?)
        });
        if name != Some(algorithm.as_bytes()) {
            return Err(InvalidHostKey("the two words name different key types"));
        }
        Ok(Self { algorithm: algorithm.to_owned(), blob })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A key made for this test with `ssh-keygen -t ed25519`; the fingerprint is what `ssh-keygen -l` said of it.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP1nESEkFTK1QL3S647lGbQ7KXyIdziBRHm0QUsWGMsy";

    #[test]
    fn takes_a_pub_file_and_shows_the_fingerprint_of_ssh_keygen() {
        let key: PinnedKey = format!("{KEY} root@web-1\n").parse().unwrap();
        assert_eq!(key.fingerprint(), "SHA256:RJlBR7RZqV3sZ3H63hgK8saSRH1MPIRIn1doEp1Zb6M");
        assert_eq!(key.known_hosts_line("holdfast-web-1"), format!("holdfast-web-1 {KEY}\n"));
    }

    #[test]
    fn refuses_what_would_not_pin() {
        let other = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
        for text in ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", &other, "@cert-authority * ssh-ed25519"]
        {
            assert!(text.parse::<PinnedKey>().is_err(), "{text}");
        }
    }
}
