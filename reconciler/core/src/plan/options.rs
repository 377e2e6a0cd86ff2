use std::collections::BTreeSet;

use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};

use crate::id::AppName;
use crate::time::Timestamp;

/// What a plan depends on besides desired and live state.
#[derive(Debug, Clone, Copy)]
pub struct PlanOptions<'a> {
    /// When the hosts were observed; shown, not sealed.
    pub observed_at: Timestamp,
    /// Releases that failed and are not tried again.
    pub quarantined: &'a BTreeSet<Quarantined>,
    /// Ids of migrations that succeeded, also in other environments, as far as the manager knows.
    pub migrated: &'a BTreeSet<String>,
    /// Lifts the limit on how much one sync may prune.
    pub allow_prune: bool,
    /// Takes over files that stand in our place with other content, instead of refusing.
    pub adopt: bool,
}

/// A release that failed: it is not tried again until its rendered content changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Quarantined {
    /// The app.
    pub app: AppName,
    /// Its content, as [`super::app_digest`] names it.
    pub content: Digest,
    /// Why, for people.
    pub reason: String,
}
