//! Secrets: SOPS files with age recipients, decrypted at the last moment.
//!
//! # Flow
//! [`Identities`] are read from key files on the management box. [`SopsSecrets`] takes the files of one commit and gives single
//! values; [`seal()`] makes such a file out of a plain one, and
//! [`generate()`] one with a value made anew.
//!
//! # Source
//! SOPS 3.9 to 3.11: `sops.go` (walk and MAC), `aes/cipher.go`, `age/keysource.go`, `stores/stores.go`.

mod document;
mod generate;
mod identities;
mod open;
mod seal;
mod source;
mod value;

pub use generate::{generate, recipients_of};
pub use identities::{Identities, IdentityError};
pub use open::{OpenError, Opened, open};
pub use seal::{SealError, seal};
pub use source::SopsSecrets;

#[cfg(test)]
mod tests;
