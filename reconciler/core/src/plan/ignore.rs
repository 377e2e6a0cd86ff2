//! The ignore rules of an environment: what drift and diff leave alone.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::ResourceKey;

/// Glob patterns on the text of a resource key, such as `file /etc/nps/*.local`. A `*` also matches `/`.
///
/// # Guarantees
/// An ignored thing that is there is neither changed nor pruned. One that is not there yet is still made: ignoring is about
/// differences.
pub(super) struct IgnoreRules(GlobSet);

impl IgnoreRules {
    /// Returns the rules, and the patterns that are none with what is wrong with them.
    pub(super) fn new(patterns: &[String]) -> (Self, Vec<String>) {
        let mut builder = GlobSetBuilder::new();
        let mut wrong = Vec::new();
        for pattern in patterns {
            match Glob::new(pattern) {
                Ok(glob) => {
                    builder.add(glob);
                }
                Err(error) => wrong.push(error.to_string()),
            }
        }
        match builder.build() {
            Ok(set) => (Self(set), wrong),
            Err(error) => {
                wrong.push(error.to_string());
                (Self(GlobSet::empty()), wrong)
            }
        }
    }

    /// Returns whether differences of this thing are left alone.
    pub(super) fn matches(&self, key: &ResourceKey) -> bool {
        !self.0.is_empty() && self.0.is_match(key.to_string())
    }
}
