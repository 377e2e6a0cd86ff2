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

/// A file's content with its secrets in place.
pub struct Revealed {
    /// The bytes that travel.
    pub bytes: Secret<Vec<u8>>,
    /// What nobody may be shown: the value of each secret, and what is written for it, sorted and each once.
    pub hidden: Vec<Secret<String>>,
}

/// Collects what is secret while parts are revealed.
#[derive(Default)]
struct Found(Vec<Zeroizing<String>>);

impl Found {
    fn add(&mut self, text: &Zeroizing<String>) {
        if !text.is_empty() && !self.0.contains(text) {
            self.0.push(text.clone());
        }
    }

    fn sorted(mut self) -> Vec<Secret<String>> {
        self.0.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        self.0.into_iter().map(|mut text| Secret::new(std::mem::take(&mut *text))).collect()
    }
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
    ) -> Result<Revealed, RevealError<E>> {
        let mut found = Found::default();
        // Room from the start: a buffer that grows leaves copies behind that are not wiped.
        let mut out = Zeroizing::new(String::new());
        for part in &self.parts {
            let text = part.reveal(value, &mut found)?;
            if out.capacity() - out.len() < text.len() {
                let mut larger = Zeroizing::new(String::with_capacity((out.len() + text.len()) * 2));
                larger.push_str(&out);
                out = larger;
            }
            out.push_str(&text);
        }
        Ok(Revealed { bytes: Secret::new(std::mem::take(&mut *out).into_bytes()), hidden: found.sorted() })
    }
}

impl Part {
    fn reveal<E>(
        &self,
        value: &mut impl FnMut(&SecretRef) -> Result<Secret<String>, E>,
        found: &mut Found,
    ) -> Result<Zeroizing<String>, RevealError<E>> {
        match self {
            Self::Plain(text) => Ok(Zeroizing::new(text.clone())),
            Self::Secret { secret, encodings } => {
                let name = secret.name();
                let revealed = value(secret).map_err(|source| RevealError::Source { name: name.clone(), source })?;
                found.add(&Zeroizing::new(revealed.expose().clone()));
                let text =
                    encoded(revealed.expose(), encodings).map_err(|source| RevealError::Unwritable { name, source })?;
                found.add(&text);
                Ok(text)
            }
            Self::Joined { parts, encodings } => {
                let mut joined = Zeroizing::new(String::new());
                for part in parts {
                    let text = part.reveal(value, found)?;
                    let mut larger = Zeroizing::new(String::with_capacity(joined.len() + text.len()));
                    larger.push_str(&joined);
                    larger.push_str(&text);
                    joined = larger;
                }
                let text = encoded(&joined, encodings)
                    .map_err(|source| RevealError::Unwritable { name: self.names(), source })?;
                found.add(&text);
                Ok(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, encodings: Vec<Encoding>) -> Part {
        let secret = SecretRef { file: "f".to_owned(), path: vec![name.to_owned()], fingerprint: String::new() };
        Part::Secret { secret, encodings }
    }

    #[test]
    fn what_nobody_may_be_shown_is_each_value_and_what_is_written_for_it() {
        let parts = vec![
            Part::Plain("a ".to_owned()),
            secret("one", Vec::new()),
            Part::Joined {
                parts: vec![Part::Plain("app:".to_owned()), secret("two", Vec::new())],
                encodings: vec![Encoding::Base64],
            },
            secret("two", vec![Encoding::Url]),
            secret("one", Vec::new()),
        ];
        let content = Content { parts, provenance: Vec::new() };
        let value = |secret: &SecretRef| Ok::<_, ()>(Secret::new(format!("<{}>", secret.path[0])));
        let revealed = content.reveal(&mut { value }).unwrap();
        assert_eq!(revealed.bytes.expose(), b"a <one>YXBwOjx0d28+%3Ctwo%3E<one>");
        let hidden: Vec<&str> = revealed.hidden.iter().map(|text| text.expose().as_str()).collect();
        assert_eq!(hidden, ["%3Ctwo%3E", "<one>", "<two>", "YXBwOjx0d28+"]);
    }
}
