//! The verifier that PostgreSQL keeps of a password, made here, so that the password itself is in no statement and no log of the server.
//!
//! # Source
//! RFC 5802, RFC 7677 (SCRAM-SHA-256), RFC 2104 (HMAC), RFC 8018 §5.2 (PBKDF2); PostgreSQL's form in `src/common/scram-common.c`.

use std::fs::File;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::{DatabasesError, fail};

/// PostgreSQL's own number of rounds.
pub(super) const ROUNDS: u32 = 4096;

/// The most rounds that are counted for a verifier that somebody else made.
const MOST_ROUNDS: u32 = 1_000_000;

type Block = [u8; 32];

/// HMAC-SHA-256 with the key taken in: each block is hashed once and not for every round.
struct Hmac {
    inner: Sha256,
    outer: Sha256,
}

impl Hmac {
    fn new(key: &[u8]) -> Self {
        let mut block = [0; 64];
        if key.len() > block.len() {
            block[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            block[..key.len()].copy_from_slice(key);
        }
        let pad = |byte: u8| Sha256::new_with_prefix(block.map(|one| one ^ byte));
        Self { inner: pad(0x36), outer: pad(0x5c) }
    }

    fn of(&self, parts: &[&[u8]]) -> Block {
        let inner = parts.iter().fold(self.inner.clone(), Sha256::chain_update).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

/// Returns the verifier of a password with this salt.
///
/// # Errors
/// For a password that is not of printable ASCII: its normal form (SASLprep) is not made here.
pub(super) fn verifier(password: &str, salt: &[u8], rounds: u32) -> Result<String, DatabasesError> {
    if password.is_empty() || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return fail("a password of a role has other characters than printable ASCII: give it another one");
    }
    if rounds == 0 || rounds > MOST_ROUNDS {
        return fail(format!("a verifier of {rounds} rounds is not counted"));
    }
    let hmac = Hmac::new(password.as_bytes());
    let mut last = hmac.of(&[salt, &1_u32.to_be_bytes()]);
    let mut salted = last;
    for _ in 1..rounds {
        last = hmac.of(&[&last]);
        salted.iter_mut().zip(last).for_each(|(all, one)| *all ^= one);
    }
    let keyed = Hmac::new(&salted);
    let stored = Sha256::digest(keyed.of(&[b"Client Key"]));
    let server = keyed.of(&[b"Server Key"]);
    Ok(format!("SCRAM-SHA-256${rounds}:{}${}:{}", base64(salt), base64(&stored), base64(&server)))
}

/// Returns a salt that nobody knows before.
pub(super) fn salt() -> Result<[u8; 16], DatabasesError> {
    let mut salt = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut salt));
    read.map(|()| salt).map_err(|error| DatabasesError::Failed(format!("/dev/urandom: {error}")))
}

/// Returns the bytes of hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    text.len().is_multiple_of(2).then(|| (0..text.len()).step_by(2).map(pair).collect())?
}

/// # Source
/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_postgresqls_own() {
        // RFC 7677 §3: user `user`, password `pencil`, 4096 rounds; the server's signature there fits this server key.
        let salt = unhex("5b6d99689d12358eeca04b141236fa81").unwrap();
        let made = verifier("pencil", &salt, 4096).unwrap();
        assert_eq!(
            made,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_ne!(made, verifier("pencils", &salt, 4096).unwrap());
        for refused in ["", "pässword", "line\n"] {
            assert!(verifier(refused, &salt, 4096).is_err());
        }
        assert!(verifier("pencil", &salt, 0).is_err());
    }

    #[test]
    fn base64_is_of_the_standard() {
        for (bytes, wanted) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), wanted);
        }
    }
}
