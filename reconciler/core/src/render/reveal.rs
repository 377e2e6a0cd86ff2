//! Puts the values of secrets into a file, just before it travels.

use zeroize::Zeroizing;

use super::{Content, Encoding, Part, Unwritable};
use crate::secret::{Secret, SecretRef};

/// Why a file's secrets could not be put in. It never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum RevealError<E> {
    /// The value could not be had.
    #[error("secret `{name}` cannot be had: {source}")]
    Source {
        /// Dotted name.
        name: String,
        /// Why.
        source: E,
    },
    /// The place where the value stands cannot carry it.
    #[error("secret `{name}` cannot be written where the template prints it: {source}")]
    Unwritable {
        /// Dotted names, joined with commas when several are encoded as one.
        name: String,
        /// Why.
        source: Unwritable,
    },
}

impl Content {
    /// Returns the bytes that travel, each secret in place and in its encodings. `value` is asked once for each place.
    ///
    /// # Errors
    /// [`RevealError::Source`] when `value` fails; [`RevealError::Unwritable`] when an encoding cannot carry a value: change the
    /// value, or print it elsewhere.
    pub fn reveal<E>(
        &self,
        value: &mut impl FnMut(&SecretRef) -> Result<Secret<String>, E>,
    ) -> Result<Secret<Vec<u8>>, RevealError<E>> {
        // Room from the start: a buffer that grows leaves copies behind that are not wiped.
        let mut out = Zeroizing::new(String::new());
        for part in &self.parts {
            let text = part.reveal(value)?;
            if out.capacity() - out.len() < text.len() {
                let mut larger = Zeroizing::new(String::with_capacity((out.len() + text.len()) * 2));
                larger.push_str(&out);
                out = larger;
            }
            out.push_str(&text);
        }
        Ok(Secret::new(std::mem::take(&mut *out).into_bytes()))
    }
}

impl Part {
    fn reveal<E>(
        &self,
        value: &mut impl FnMut(&SecretRef) -> Result<Secret<String>, E>,
    ) -> Result<Zeroizing<String>, RevealError<E>> {
        match self {
            Self::Plain(text) => Ok(Zeroizing::new(text.clone())),
            Self::Secret { secret, encodings } => {
                let name = secret.name();
                let revealed = value(secret).map_err(|source| RevealError::Source { name: name.clone(), source })?;
                encoded(revealed.expose(), encodings).map_err(|source| RevealError::Unwritable { name, source })
            }
            Self::Joined { parts, encodings } => {
                let mut joined = Zeroizing::new(String::new());
                for part in parts {
                    let text = part.reveal(value)?;
                    let mut larger = Zeroizing::new(String::with_capacity(joined.len() + text.len()));
                    larger.push_str(&joined);
                    larger.push_str(&text);
                    joined = larger;
                }
                encoded(&joined, encodings).map_err(|source| RevealError::Unwritable { name: self.names(), source })
            }
        }
    }

    fn names(&self) -> String {
        match self {
            Self::Plain(_) => String::new(),
            Self::Secret { secret, .. } => secret.name(),
            Self::Joined { parts, .. } => {
                let names: Vec<String> = parts.iter().map(Self::names).filter(|name| !name.is_empty()).collect();
                names.join(", ")
            }
        }
    }
}

fn encoded(value: &str, encodings: &[Encoding]) -> Result<Zeroizing<String>, Unwritable> {
    let mut text = Zeroizing::new(value.to_owned());
    if text.contains('\0') {
        return Err(Unwritable { reason: "a NUL character cannot be carried by any configuration file" });
    }
    for encoding in encodings {
        text = encoding.encode(&text)?;
    }
    Ok(text)
}
