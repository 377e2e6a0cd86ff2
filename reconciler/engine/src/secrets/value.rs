//! One encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead as _, AeadCore as _, KeyInit as _, OsRng, Payload};
use aes_gcm::{AesGcm, Nonce, aes::Aes256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// AES-256-GCM with the nonce of 32 bytes that SOPS uses.
type Cipher = AesGcm<Aes256, U32>;

/// Bytes of the tag.
const TAG: usize = 16;

/// The key that encrypts the values of one file.
pub(super) struct DataKey(pub(super) Zeroizing<[u8; 32]>);

/// What a value was before it was encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Text,
    Integer,
    Float,
    Bool,
    Bytes,
    Time,
}

impl ValueType {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "str" => Self::Text,
            "int" => Self::Integer,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "str",
            Self::Integer => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Time => "time",
        }
    }
}

/// Why a value could not be decrypted. It names no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    #[error("it is not of the form ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]")]
    Form,
    #[error("it was changed after it was encrypted, moved to another key, or encrypted with another data key")]
    Forged,
}

impl DataKey {
    /// Returns a new random key.
    pub(super) fn generate() -> Self {
        Self(Zeroizing::new(Cipher::generate_key(OsRng).into()))
    }

    fn cipher(&self) -> Cipher {
        Cipher::new(self.0.as_slice().into())
    }

    /// Returns the bytes of a value and what it was. `context` binds it to its place.
    pub(super) fn decrypt(&self, text: &str, context: &str) -> Result<(Zeroizing<Vec<u8>>, ValueType), ValueError> {
        let inside =
            text.strip_prefix("ENC[AES256_GCM,").and_then(|rest| rest.strip_suffix(']')).ok_or(ValueError::Form)?;
        let mut fields = inside.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(ValueError::Form);
        let (data, iv, tag, kind) = (field("data:")?, field("iv:")?, field("tag:")?, field("type:")?);
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| ValueError::Form);
        let (mut data, iv, tag) = (bytes(data)?, bytes(iv)?, bytes(tag)?);
        if fields.next().is_some() || iv.len() != 32 || tag.len() != TAG {
            return Err(ValueError::Form);
        }
        let kind = ValueType::parse(kind).ok_or(ValueError::Form)?;
        data.extend_from_slice(&tag);
        let payload = Payload { msg: &data, aad: context.as_bytes() };
        let plain = self.cipher().decrypt(Nonce::<U32>::from_slice(&iv), payload).map_err(|_| ValueError::Forged)?;
        Ok((Zeroizing::new(plain), kind))
    }

    /// Returns a value encrypted anew.
    pub(super) fn encrypt(&self, plain: &[u8], kind: ValueType, context: &str) -> String {
        let nonce = Cipher::generate_nonce(OsRng);
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self.cipher().encrypt(&nonce, payload).expect("BUG: a value is shorter than AES-GCM's 64 GiB");
        let (data, tag) = sealed.split_at(sealed.len() - TAG);
        let (data, iv, tag) = (STANDARD.encode(data), STANDARD.encode(nonce), STANDARD.encode(tag));
        format!("ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:{}]", kind.word())
    }
}

/// Returns whether a text has the look of an encrypted value.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.starts_with("ENC[AES256_GCM,") && text.ends_with(']')
}
