use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use age::stream::StreamWriter;
use age::x25519::Recipient;

use super::OffsiteError;

/// Returns the recipients that some texts name.
///
/// # Errors
/// The first that is none, with why.
pub fn recipients(texts: &[String]) -> Result<Vec<Recipient>, OffsiteError> {
    let one = |text: &String| {
        text.parse::<Recipient>()
            .map_err(|reason| OffsiteError::Recipient { recipient: text.clone(), reason: reason.to_owned() })
    };
    texts.iter().map(one).collect()
}

/// Bytes in, bytes as they are stored out: encrypted for some recipients, or as they are where there is none.
///
/// # Source
/// The age file format, version 1 (age-encryption.org/v1): a header with the file key for each recipient, then the content in
/// authenticated chunks of 64 KiB.
pub struct Sealer {
    writer: Option<StreamWriter<Bucket>>,
    bucket: Bucket,
}

/// What was written and not yet taken.
#[derive(Clone, Default)]
struct Bucket(Arc<Mutex<Vec<u8>>>);

impl Bucket {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Bucket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sealer {
    /// Returns one for some recipients.
    ///
    /// # Errors
    /// When nothing can be encrypted to them.
    pub fn new(recipients: &[Recipient]) -> Result<Self, OffsiteError> {
        let bucket = Bucket::default();
        if recipients.is_empty() {
            return Ok(Self { writer: None, bucket });
        }
        let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(all).map_err(|error| OffsiteError::Seal(error.to_string()))?;
        let writer = encryptor.wrap_output(bucket.clone()).map_err(failed)?;
        Ok(Self { writer: Some(writer), bucket })
    }

    /// Takes bytes in and returns those that are ready.
    ///
    /// # Errors
    /// When they cannot be encrypted.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, OffsiteError> {
        match &mut self.writer {
            Some(writer) => writer.write_all(bytes).map_err(failed)?,
            None => return Ok(bytes.to_vec()),
        }
        Ok(self.bucket.take())
    }

    /// Returns the last bytes.
    ///
    /// # Errors
    /// When they cannot be encrypted.
    pub fn finish(self) -> Result<Vec<u8>, OffsiteError> {
        if let Some(writer) = self.writer {
            writer.finish().map_err(failed)?;
        }
        Ok(self.bucket.take())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where an error is mapped")]
fn failed(error: io::Error) -> OffsiteError {
    OffsiteError::Seal(format!("a copy cannot be encrypted: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use age::secrecy::ExposeSecret;

    use super::*;
    use crate::secrets::Identities;

    fn sealed(recipients: &[Recipient], content: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(recipients).unwrap();
        let mut stored: Vec<u8> = content.chunks(100_000).flat_map(|piece| sealer.push(piece).unwrap()).collect();
        stored.extend(sealer.finish().unwrap());
        stored
    }

    #[test]
    fn cap_64_only_who_has_a_key_reads_a_copy_and_only_whole() {
        let key = age::x25519::Identity::generate();
        let own = Identities::from_text(key.to_string().expose_secret()).unwrap();
        let stranger = age::x25519::Identity::generate();
        let other = Identities::from_text(stranger.to_string().expose_secret()).unwrap();
        let to = recipients(&[key.to_public().to_string()]).unwrap();
        let content: Vec<u8> = (0..300_000_u32).map(|n| (n / 7) as u8).collect();
        let stored = sealed(&to, &content);
        assert!(
            stored.starts_with(b"age-encryption.org/v1\n") && !stored.windows(64).any(|part| part == &content[..64])
        );
        let read = |identities: &Identities, stored: &[u8]| {
            let mut plain = Vec::new();
            identities.open(std::io::Cursor::new(stored.to_vec()))?.read_to_end(&mut plain)?;
            Ok::<_, io::Error>(plain)
        };
        assert_eq!(read(&own, &stored).unwrap(), content);
        assert!(read(&other, &stored).is_err());
        // Cut off, or changed in its last chunk.
        assert!(read(&own, &stored[..stored.len() - 1]).is_err());
        let mut changed = stored.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(read(&own, &changed).is_err());
        assert_eq!(sealed(&[], &content), content, "without a recipient as it is");
    }

    #[test]
    fn cap_64_a_mistyped_recipient_is_named() {
        let key = age::x25519::Identity::generate().to_public().to_string();
        let mut wrong = key.clone();
        let last = if wrong.ends_with('q') { "p" } else { "q" };
        wrong.replace_range(wrong.len() - 1.., last);
        let Err(error) = recipients(&[key, wrong.clone()]) else { panic!("it was taken") };
        assert!(error.to_string().contains(&wrong), "{error}");
    }
}
