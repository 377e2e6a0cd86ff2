//! Ordered rule tables: the first rule that matches decides, and its word is kept with the change.

use super::{PlanAction, Reason};

/// One row of a rule table.
pub(super) struct Rule<F> {
    /// A stable word, shown by `explain` and in the plan's JSON.
    pub(super) word: &'static str,
    /// Returns what follows when the rule matches.
    pub(super) judge: fn(&F) -> Option<Verdict>,
}

/// What a rule says about a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it should be.
    InSync,
    /// It is to change.
    Change(Finding),
    /// Nothing may be done about it, and nothing about what depends on it.
    Blocked {
        /// The blocker's word.
        code: &'static str,
        /// What, where, and what to do.
        message: String,
    },
}

/// Why and how a thing is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) action: PlanAction,
    pub(super) reason: Reason,
    pub(super) weight: Weight,
    pub(super) note: String,
}

/// What a finding means for a component with slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It is put right where it is, without touching what runs.
    InPlace,
    /// What runs is not what should run: only a fresh slot can change that without losing a request.
    Content,
}

/// Returns the word and the verdict of the first rule that matches; in sync when none does.
pub(super) fn first_match<F>(rules: &[Rule<F>], facts: &F) -> (&'static str, Verdict) {
    rules
        .iter()
        .find_map(|rule| (rule.judge)(facts).map(|verdict| (rule.word, verdict)))
        .unwrap_or(("in-sync", Verdict::InSync))
}

/// Returns a change that is made in place.
pub(super) fn in_place(action: PlanAction, reason: Reason, note: impl Into<String>) -> Verdict {
    Verdict::Change(Finding { action, reason, weight: Weight::InPlace, note: note.into() })
}

/// Returns a change of what runs.
pub(super) fn content(action: PlanAction, reason: Reason, note: impl Into<String>) -> Verdict {
    Verdict::Change(Finding { action, reason, weight: Weight::Content, note: note.into() })
}

/// Returns a refusal.
pub(super) fn blocked(code: &'static str, message: impl Into<String>) -> Verdict {
    Verdict::Blocked { code, message: message.into() }
}
