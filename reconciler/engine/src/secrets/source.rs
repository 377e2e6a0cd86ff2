use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::config::SourceTree;
use holdfast_core::secret::{Secret, SecretRef, fingerprint, is_placeholder};

use super::{Identities, OpenError, Opened, open};
use crate::ports::{SecretError, SecretSource};

/// Gives the secrets of one commit. A file is opened when its first value is asked for, and stays open until this is dropped.
pub struct SopsSecrets {
    files: BTreeMap<String, String>,
    identities: Arc<Identities>,
    /// Files of environments for development: placeholders will do there.
    lenient: BTreeSet<String>,
    opened: Mutex<BTreeMap<String, Arc<Result<Opened, OpenError>>>>,
}

impl SopsSecrets {
    /// Takes the SOPS files of a commit.
    pub fn new(tree: &SourceTree, identities: Arc<Identities>) -> Self {
        let files = tree
            .files
            .iter()
            .filter(|(path, _)| path.ends_with(".sops.yaml"))
            .filter_map(|(path, bytes)| Some((path.clone(), std::str::from_utf8(bytes).ok()?.to_owned())))
            .collect();
        Self { files, identities, lenient: BTreeSet::new(), opened: Mutex::default() }
    }

    /// Lets well-known placeholders be secrets in these files.
    pub fn with_placeholders_in(mut self, files: impl IntoIterator<Item = String>) -> Self {
        self.lenient.extend(files);
        self
    }

    fn opened(&self, file: &str) -> Option<Arc<Result<Opened, OpenError>>> {
        let text = self.files.get(file)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let known = opened.entry(file.to_owned()).or_insert_with(|| Arc::new(open(text, &self.identities)));
        Some(Arc::clone(known))
    }
}

impl SecretSource for SopsSecrets {
    fn reveal(&self, secret: &SecretRef) -> Result<Secret<String>, SecretError> {
        let fail = |reason: String| SecretError { name: secret.name(), file: secret.file.clone(), reason };
        let opened = self.opened(&secret.file).ok_or_else(|| fail("the commit has no such file".to_owned()))?;
        let opened = opened.as_ref().as_ref().map_err(|error| fail(error.to_string()))?;
        let (text, ciphertext) =
            opened.value(&secret.path).ok_or_else(|| fail("the file has no such value".to_owned()))?;
        if fingerprint(ciphertext, &secret.file) != secret.fingerprint {
            return Err(fail("it is not the value that was planned with; plan again".to_owned()));
        }
        let text =
            text.ok_or_else(|| fail("it is not text in UTF-8; encode it, for example with base64".to_owned()))?;
        if is_placeholder(text.expose()) && !self.lenient.contains(&secret.file) {
            let reason = "it is empty or a placeholder that everybody knows: give it a value of its own; `purpose: development` in the \
                          environment allows it";
            return Err(fail(reason.to_owned()));
        }
        Ok(text)
    }
}
