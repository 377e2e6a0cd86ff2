//! The secrets of an environment: what somebody supplied, what was generated, and what may not change by chance.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::model::SealedValue;
use super::place::{At, Place};
use super::raw;
use super::read::decode;
use super::suggest;
use crate::diag::Diagnostics;
use crate::id::EnvironmentName;
use crate::secret::Generator;

/// The encrypted values of an environment's files.
#[derive(Debug, Default)]
pub(super) struct SecretFiles<'s> {
    /// `secrets.sops.yaml` by dotted name.
    pub(super) supplied: BTreeMap<String, SealedValue>,
    /// `generated/NAME.sops.yaml` by its name, with the path and what is in it.
    pub(super) generated: BTreeMap<&'s str, (&'s str, BTreeMap<String, SealedValue>)>,
    /// Whether something was found in one of them: what they do not have is not reported then.
    pub(super) broken: bool,
}

/// Returns the path of a generated secret from the repository's root.
pub fn generated_path(environment: &EnvironmentName, name: &str) -> String {
    format!("environments/{environment}/generated/{name}.sops.yaml")
}

/// Returns all secrets by dotted name.
pub(super) fn secrets(
    environment: &EnvironmentName,
    written: Option<&raw::Secrets>,
    files: SecretFiles<'_>,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, SealedValue> {
    let SecretFiles { supplied, mut generated, broken } = files;
    let mut all = supplied;
    // Names that were told already, or will be when their file can be read.
    let mut missing = BTreeSet::new();
    for entry in written.into_iter().flat_map(|secrets| secrets.generate.iter()).flat_map(|named| &named.entries) {
        let (name, at) = (entry.name.value.0.as_str(), &entry.name);
        let found = generated.remove(name);
        missing.insert(name);
        let Some(generator) = entry.value.as_ref().map(|generator| generator.value) else { continue };
        let nested = format!("{name}.");
        if let Some((_, other)) = all.iter().find(|(known, _)| *known == name || known.starts_with(&nested)) {
            let message = format!("the secret `{name}` is to be generated, and {} has it too", other.origin);
            findings.error_at("duplicate-secret", at, message, "take one of them away");
            continue;
        }
        let Some((path, mut values)) = found else {
            let message = format!("the secret `{name}` is to be generated, and was not yet");
            let hint = format!(
                "`holdfast secrets generate {environment}` makes {}: commit it",
                generated_path(environment, name)
            );
            findings.error_at("secret-not-generated", at, message, hint);
            continue;
        };
        match (values.remove(name), values.is_empty()) {
            (Some(value), true) => {
                all.insert(name.to_owned(), SealedValue { generator: Some(generator), ..value });
            }
            _ if broken => {}
            _ => {
                let message = format!("this file is to hold the secret `{name}` and nothing else");
                let hint = "restore it from git; what somebody supplies belongs into `secrets.sops.yaml`";
                findings.error("wrong-name", path, Place::default(), message, hint);
            }
        }
    }
    for (name, (path, _)) in &generated {
        let message = format!("no `generate` in environment.yaml declares `{name}`, so that nothing can use it");
        findings.warning("no-effect", path, Place::default(), message, "declare it, or remove the file");
    }
    for entry in written.into_iter().flat_map(|secrets| secrets.protected.iter()).flat_map(|named| &named.entries) {
        if let Some(meant) = &entry.value {
            let told = broken || missing.contains(entry.name.value.0.as_str());
            protect(&mut all, &entry.name, meant, told, findings);
        }
    }
    all
}

/// Holds the fingerprint of a secret that encrypts data against the one that is meant.
fn protect(
    all: &mut BTreeMap<String, SealedValue>,
    name: &At<raw::SecretName>,
    meant: &At<raw::Fingerprint>,
    told: bool,
    findings: &mut Findings<'_>,
) {
    let Some(value) = all.get_mut(&name.value.0) else {
        if !told {
            let message = format!("there is no secret `{}` to protect", name.value.0);
            let hint = suggest::hint(&name.value.0, "the secrets", all.keys().map(String::as_str));
            findings.error_at("unknown-secret", name, message, hint);
        }
        return;
    };
    value.protected = true;
    let (is, wanted) = (&value.secret.fingerprint, &meant.value.0);
    if is != wanted {
        let message = format!(
            "the protected secret `{}` has another value: its fingerprint is {is}, and {wanted} is meant",
            name.value.0
        );
        let hint = format!(
            "it encrypts data that only the old value can read: put {} back; or when all of that data has been encrypted anew, write \
             `{}: \"{is}\"` here",
            value.secret.file, name.value.0
        );
        findings.error_at("protected-secret", meant, message, hint);
    }
}

/// What an environment says about its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredSecrets {
    /// Whom generated values are encrypted for; empty for those of `secrets.sops.yaml`.
    pub recipients: Vec<String>,
    /// What is generated, by name.
    pub generate: BTreeMap<String, Generator>,
    /// What must not change by chance, by dotted name.
    pub protected: BTreeSet<String>,
}

/// Returns what the text of an `environment.yaml` says about its secrets, however incomplete the rest of the repository still is;
/// `None` after an error.
pub fn declared_secrets(file: &str, text: &str) -> (Option<DeclaredSecrets>, Diagnostics) {
    let mut findings = Findings::default();
    let read: Option<raw::Environment> = decode(file, text, &mut findings);
    let declared = read.map(|environment| {
        let secrets = environment.secrets.as_ref();
        let recipients = secrets.and_then(|secrets| secrets.recipients.as_ref()).into_iter().flatten();
        let generate =
            secrets.and_then(|secrets| secrets.generate.as_ref()).into_iter().flat_map(|named| &named.entries);
        let protected =
            secrets.and_then(|secrets| secrets.protected.as_ref()).into_iter().flat_map(|named| &named.entries);
        DeclaredSecrets {
            recipients: recipients.map(|recipient| recipient.value.0.clone()).collect(),
            generate: generate
                .filter_map(|entry| Some((entry.name.value.0.clone(), entry.value.as_ref()?.value)))
                .collect(),
            protected: protected.map(|entry| entry.name.value.0.clone()).collect(),
        }
    });
    (declared.filter(|_| !findings.has_errors()), findings.finish())
}
