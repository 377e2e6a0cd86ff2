use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore as _;
use age::x25519::Recipient;
use holdfast_core::secret::{Generator, RANDOM_BYTES};
use zeroize::Zeroizing;

use super::document::Node;
use super::{SealError, seal};

/// Returns a SOPS file with one value made anew. Only the recipients' public keys are needed: who rotates a secret need not be able to
/// read any.
///
/// # Errors
/// See [`SealError`].
pub fn generate(
    name: &str,
    generator: Generator,
    recipients: &[Recipient],
    modified: &str,
) -> Result<String, SealError> {
    let mut random = Zeroizing::new([0; RANDOM_BYTES]);
    OsRng.fill_bytes(random.as_mut_slice());
    let value = generator.value(&random);
    // No form has a character that YAML would take for more than itself inside quotes.
    let plain = Zeroizing::new(format!("\"{name}\": \"{}\"\n", value.expose()));
    seal(&plain, recipients, modified, None)
}

/// Returns the age recipients that a SOPS file is encrypted for; none where it is no such file.
pub fn recipients_of(text: &str) -> Vec<String> {
    let Ok(root) = Node::read(text) else { return Vec::new() };
    match root.get("sops").and_then(|sops| sops.get("age")) {
        Some(Node::List(all)) => {
            let texts = all.iter().filter_map(|one| one.get("recipient").and_then(Node::text));
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
