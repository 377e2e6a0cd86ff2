use std::io::Read as _;
use std::path::Path;

use age::{Identity, IdentityFile};
use zeroize::Zeroizing;

use super::value::DataKey;

/// Largest key file.
const KEY_FILE: u64 = 64 << 10;
/// Largest encrypted data key.
const DATA_KEY: usize = 64 << 10;
/// Most recipients of one data key: each costs a key agreement.
const STANZAS: usize = 64;

/// Why key files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key file cannot be read.
    #[error("the age key file {path} cannot be read: {source}")]
    Read {
        /// Path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Everybody on the machine can read a key file.
    #[error("the age key file {path} can be read by every user of this machine; give it mode 0600: chmod 600 {path}")]
    Open {
        /// Path.
        path: String,
    },
    /// A key file is no key file.
    #[error(
        "the age key file {path} holds no identity: expected lines beginning with AGE-SECRET-KEY-1, made by age-keygen"
    )]
    Form {
        /// Path.
        path: String,
    },
}

/// The age identities of the management box.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn Identity + Send + Sync>>);

impl Identities {
    /// Returns the identities of some key files.
    ///
    /// # Errors
    /// See [`IdentityError`]; each message says what to do.
    pub fn from_files<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, IdentityError> {
        let mut all = Self::default();
        for path in paths {
            let shown = path.display().to_string();
            let failed = |source| IdentityError::Read { path: shown.clone(), source };
            let file = std::fs::File::open(path).map_err(failed)?;
            let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(failed)?);
            if mode & 0o007 != 0 {
                return Err(IdentityError::Open { path: shown });
            }
            let mut text = Zeroizing::new(String::with_capacity(KEY_FILE as usize));
            file.take(KEY_FILE).read_to_string(&mut text).map_err(failed)?;
            all.add(&text).ok_or(IdentityError::Form { path: shown })?;
        }
        Ok(all)
    }

    /// Returns the identities of the text of a key file, or `None` when there is none in it.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut all = Self::default();
        all.add(text)?;
        Some(all)
    }

    fn add(&mut self, text: &str) -> Option<()> {
        let found = IdentityFile::from_buffer(text.as_bytes()).ok()?.into_identities().ok()?;
        if found.is_empty() {
            return None;
        }
        self.0.extend(found);
        Some(())
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the content of an encrypted file as it is read.
    ///
    /// # Errors
    /// When it is no age file, or none of the identities can read it. Reading fails where it was changed or cut off.
    pub fn open<R: std::io::Read>(&self, file: R) -> std::io::Result<impl std::io::Read + use<R>> {
        let decryptor = age::Decryptor::new(file).map_err(std::io::Error::other)?;
        let identities = self.0.iter().map(|identity| &**identity as &dyn Identity);
        decryptor.decrypt(identities).map_err(std::io::Error::other)
    }

    /// Decrypts a data key, armoured. `None` when none of the identities fits.
    pub(super) fn data_key(&self, armoured: &str) -> Option<DataKey> {
        if armoured.len() > DATA_KEY {
            return None;
        }
        let mut file = Vec::new();
        age::armor::ArmoredReader::new(armoured.as_bytes()).read_to_end(&mut file).ok()?;
        let header = file.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
        if header.filter(|line| line.starts_with(b"-> ")).count() > STANZAS {
            return None;
        }
        let decryptor = age::Decryptor::new_buffered(file.as_slice()).ok()?;
        if decryptor.is_scrypt() {
            return None;
        }
        let identities = self.0.iter().map(|identity| &**identity as &dyn Identity);
        let mut key = Zeroizing::new([0; 32]);
        let mut reader = decryptor.decrypt(identities).ok()?;
        reader.read_exact(key.as_mut_slice()).ok()?;
        let ends = reader.read(&mut [0]).ok()? == 0;
        ends.then_some(DataKey(key))
    }
}
