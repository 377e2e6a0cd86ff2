use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Step;

/// The name of a transaction: `[a-z0-9-]`, 1 to 96 characters. It becomes a folder and a unit name on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TransactionId(String);

impl TransactionId {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TransactionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for TransactionId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 96 || !text.bytes().all(fits) {
            return Err("a transaction name is 1 to 96 characters of a-z, 0-9 and -".to_owned());
        }
        Ok(Self(text))
    }
}

impl From<TransactionId> for String {
    fn from(id: TransactionId) -> Self {
        id.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a transaction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionKind {
    /// Brings desired state.
    Apply,
    /// Goes back to the previous release.
    Rollback,
}

/// All a host needs to carry one app from what it is to what it should be, without asking anybody.
///
/// # Guarantees
/// `prepare` changes nothing that serves. Up to the *ready* gate everything can be undone without anyone noticing. `promote` holds
/// the commit point; when it, or `watch`, fails, `promote` and then `prepare` are undone in reverse. `settle` only goes forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSpec {
    /// Its name.
    pub id: TransactionId,
    /// Must be higher than, or (when resumed) equal to, the host's fence.
    pub fence: u64,
    /// The app it is for, `<environment>/<app>`.
    pub app: String,
    /// The release it brings, for people.
    pub release: String,
    /// The commit it comes from.
    pub commit: String,
    /// Why it runs.
    pub kind: TransactionKind,
    /// Before the *ready* gate.
    pub prepare: Vec<Step>,
    /// Milliseconds to wait at the *ready* gate for the manager's decision before abandoning.
    pub ready_deadline_ms: u64,
    /// After the *ready* gate.
    pub promote: Vec<Step>,
    /// After `promote`: watch steps, each able to send the host back.
    pub watch: Vec<Step>,
    /// Whether to wait at the *settled* gate for the manager's decision (so that it can still send every host back). When its
    /// deadline passes without one the host settles: it serves a proven release.
    pub settled_gate: bool,
    /// Milliseconds to wait there.
    pub settled_deadline_ms: u64,
    /// After the *settled* gate: drain, stop, prune, record.
    pub settle: Vec<Step>,
    /// Migrations that this release brings and the one before does not work with, by id. Once everything in `promote` but checks is
    /// done, the host stays with the new release whatever fails then, unless the ledger says that they changed nothing.
    pub one_way: Vec<String>,
    /// Dead man's switch: when set, the host goes back unless a `Confirm` arrives over a connection opened after `promote`,
    /// within this many milliseconds.
    pub confirm_within_ms: Option<u64>,
}
