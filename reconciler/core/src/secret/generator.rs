//! How the value of a secret is made of random bytes.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Secret;

/// Random bytes that one value is made of; what is left over is not used.
pub const RANDOM_BYTES: usize = 64;

/// What a password is made of: nothing that a shell, a URL, a compose file or SQL reads as more than a character.
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Characters of a password: more than 160 bits.
const PASSWORD: usize = 28;

/// The form of a value that is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// 16 bytes in hexadecimal: 32 digits.
    Hex16,
    /// 32 bytes in hexadecimal: 64 digits.
    Hex32,
    /// 32 bytes in base64 for URLs without `=`: 43 characters, as Python's `secrets.token_urlsafe(32)`.
    Urlsafe32,
    /// 32 bytes in base64 for URLs with `=`: a key of Fernet.
    Fernet,
    /// 28 letters and digits.
    Password,
}

impl Generator {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hex16, Self::Hex32, Self::Urlsafe32, Self::Fernet, Self::Password];

    /// Returns the word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hex16 => "hex16",
            Self::Hex32 => "hex32",
            Self::Urlsafe32 => "urlsafe32",
            Self::Fernet => "fernet",
            Self::Password => "password",
        }
    }

    /// Returns the value that random bytes make.
    ///
    /// # Source
    /// Fernet: <https://github.com/fernet/spec>, a key is 32 bytes in base64url with padding.
    pub fn value(self, random: &Zeroizing<[u8; RANDOM_BYTES]>) -> Secret<String> {
        let (half, rest) = random.split_at(RANDOM_BYTES / 2);
        Secret::new(match self {
            Self::Hex16 => hex(&half[..16]),
            Self::Hex32 => hex(half),
            Self::Urlsafe32 => URL_SAFE_NO_PAD.encode(half),
            Self::Fernet => URL_SAFE.encode(half),
            Self::Password => half.iter().chain(rest).filter_map(|byte| letter(*byte)).take(PASSWORD).collect(),
        })
    }
}

/// Returns the letter of a byte; `None` for the few that would make some letters likelier than others.
fn letter(byte: u8) -> Option<char> {
    let fair = 256 - 256 % LETTERS.len();
    (usize::from(byte) < fair).then(|| char::from(LETTERS[usize::from(byte) % LETTERS.len()]))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::is_placeholder;

    #[test]
    fn cap_48_each_form_is_what_its_readers_expect() {
        let random = Zeroizing::new(std::array::from_fn(|index| index as u8 * 3));
        let made = |generator: Generator| generator.value(&random).expose().clone();
        assert_eq!(made(Generator::Hex16), "000306090c0f1215181b1e2124272a2d");
        assert_eq!(made(Generator::Hex32).len(), 64);
        assert_eq!(made(Generator::Urlsafe32), "AAMGCQwPEhUYGx4hJCcqLTAzNjk8P0JFSEtOUVRXWl0");
        assert_eq!(made(Generator::Fernet), "AAMGCQwPEhUYGx4hJCcqLTAzNjk8P0JFSEtOUVRXWl0=");
        assert_eq!(made(Generator::Password), "ADGJMPSVYbehknqtwz258BEHKNQT");
    }

    proptest! {
        #[test]
        fn other_bytes_make_another_value_of_the_same_form(
            one in proptest::collection::vec(0..248u8, RANDOM_BYTES),
            at in 0..16usize,
        ) {
            let one: [u8; RANDOM_BYTES] = one.try_into().unwrap();
            let mut two = one;
            // Another letter too: a password has one in 62 of them.
            two[at] = (one[at] + 1) % 248;
            for generator in Generator::ALL {
                let value = |bytes: [u8; RANDOM_BYTES]| generator.value(&Zeroizing::new(bytes)).expose().clone();
                let (first, second) = (value(one), value(two));
                prop_assert_ne!(&first, &second);
                prop_assert_eq!(first.len(), second.len());
                prop_assert!(!is_placeholder(&first));
                prop_assert!(first.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)));
            }
        }
    }
}
