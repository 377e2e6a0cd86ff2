//! The secrets of an environment, for people and programs; never a value.

use schemars::JsonSchema;
use serde::Serialize;

use crate::diag::Origin;
use crate::id::{CommitId, EnvironmentName};

/// What `secrets list --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Holdfast secrets")]
pub struct SecretsDocument {
    /// Rises when a reader of the former version would misread a list.
    pub format_version: u32,
    /// The environment.
    pub environment: EnvironmentName,
    /// The full id of the commit.
    pub commit: CommitId,
    /// Its secrets by name.
    pub secrets: Vec<SecretDocument>,
}

/// One secret.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretDocument {
    /// Its name, as templates write it after `secrets.`.
    pub name: String,
    /// `supplied`, or the form in which it was generated.
    pub form: String,
    /// Sixteen hexadecimal digits of its ciphertext; they change with its value.
    pub fingerprint: String,
    /// Whether another value is refused until `protected` names its fingerprint.
    pub protected: bool,
    /// Who prints it, as `app/component`, sorted.
    pub used_by: Vec<String>,
    /// Where it is.
    pub origin: Origin,
}

impl SecretsDocument {
    /// Returns the list for people, a line each.
    pub fn text(&self) -> String {
        let name = self.secrets.iter().map(|secret| secret.name.chars().count()).max().unwrap_or(0);
        let line = |secret: &SecretDocument| {
            let users = if secret.used_by.is_empty() { "nobody".to_owned() } else { secret.used_by.join(", ") };
            let protected = if secret.protected { ", protected" } else { "" };
            format!("{:name$}  {}  {:9}  used by {users}{protected}\n", secret.name, secret.fingerprint, secret.form)
        };
        self.secrets.iter().map(line).collect()
    }
}
