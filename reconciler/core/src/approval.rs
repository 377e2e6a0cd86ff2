//! Whether a plan may be applied: an environment's rule, who agreed, and to what exactly.
//!
//! # Flow
//! The rule comes from the management box, never from the repository. [`may_agree`] judges a person before his word is taken,
//! [`clearance`] judges the plan that was made just now, whatever was taken before: an agreement counts only for the environment,
//! the commit and the seal it was given for, and only from somebody who may agree at this moment.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};

use crate::id::{CommitId, EnvironmentName};

/// Fewest digits of a seal that name a plan: what `plan` and `status` show.
pub const LEAST_SEAL: usize = 12;

/// Who must agree before anything is applied to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRule {
    /// How many different people.
    pub required: u32,
    /// Who may: names on the management box, each with the e-mail addresses that person commits with, in lower case.
    pub approvers: BTreeMap<String, BTreeSet<String>>,
}

/// What somebody agrees to: one plan, for one environment, of one commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Proposal {
    /// Environment.
    pub environment: EnvironmentName,
    /// Commit.
    pub commit: CommitId,
    /// Seal of the plan.
    pub seal: Digest,
}

/// Somebody's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// To what.
    pub to: Proposal,
    /// Whose.
    pub by: String,
}

/// What is known when a plan is about to be applied.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The plan that was made just now.
    pub proposal: &'a Proposal,
    /// Whether it changes anything.
    pub changes: bool,
    /// The e-mail addresses of who wrote the commit.
    pub authors: &'a BTreeSet<String>,
    /// Every word given, also to other plans.
    pub given: &'a [Agreement],
    /// The commit that was released last in this environment.
    pub released: Option<&'a CommitId>,
}

/// Whether a plan may be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearance {
    /// Nobody needs to agree: there is no rule, nothing would change, or the commit was released before and is being kept up.
    Free,
    /// These people agreed to exactly this.
    Approved(BTreeSet<String>),
    /// Too few did.
    Awaits {
        /// Who agreed so far.
        given: BTreeSet<String>,
        /// How many must.
        required: u32,
    },
}

/// Why somebody's word does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// No rule asks for approval.
    #[error("no approval is asked for in this environment: `holdfast apply` needs none")]
    NotAsked,
    /// Not one of them.
    #[error("`{who}` may not approve here; these may: {}", .approvers.join(", "))]
    NotAnApprover {
        /// Who wants to.
        who: String,
        /// Who may.
        approvers: Vec<String>,
    },
    /// His own change.
    #[error("`{who}` wrote this commit ({email}): somebody else must approve it")]
    OwnChange {
        /// Who wants to.
        who: String,
        /// By which address the commit is his.
        email: String,
    },
}

/// Returns whether somebody's word on a commit counts.
///
/// # Errors
/// See [`Objection`].
pub fn may_agree(rule: Option<&ApprovalRule>, authors: &BTreeSet<String>, who: &str) -> Result<(), Objection> {
    let rule = rule.ok_or(Objection::NotAsked)?;
    let Some(emails) = rule.approvers.get(who) else {
        let approvers = rule.approvers.keys().cloned().collect();
        return Err(Objection::NotAnApprover { who: who.to_owned(), approvers });
    };
    match emails.iter().find(|email| authors.contains(*email)) {
        Some(email) => Err(Objection::OwnChange { who: who.to_owned(), email: email.clone() }),
        None => Ok(()),
    }
}

/// Returns whose words count for a plan: given to exactly it, by people who may agree now.
pub fn counted(
    rule: Option<&ApprovalRule>,
    authors: &BTreeSet<String>,
    given: &[Agreement],
    to: &Proposal,
) -> BTreeSet<String> {
    let to_this = given.iter().filter(|agreement| agreement.to == *to);
    let counted = to_this.filter(|agreement| may_agree(rule, authors, &agreement.by).is_ok());
    counted.map(|agreement| agreement.by.clone()).collect()
}

/// Returns whether a plan may be applied now.
///
/// # Guarantees
/// With a rule and changes, [`Clearance::Approved`] needs as many different people as the rule asks for, each of whom may agree now
/// and gave his word for this environment, this commit and this seal.
pub fn clearance(rule: Option<&ApprovalRule>, case: &Case<'_>) -> Clearance {
    let Some(asked) = rule else { return Clearance::Free };
    if !case.changes || case.released == Some(&case.proposal.commit) {
        return Clearance::Free;
    }
    let given = counted(rule, case.authors, case.given, case.proposal);
    if given.len() as u64 >= u64::from(asked.required.max(1)) {
        Clearance::Approved(given)
    } else {
        Clearance::Awaits { given, required: asked.required.max(1) }
    }
}

/// Returns whether text names a seal: its first twelve digits or more.
pub fn names_seal(text: &str, seal: Digest) -> bool {
    text.len() >= LEAST_SEAL && seal.to_string().starts_with(&text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commit(digit: char) -> CommitId {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn proposal(environment: &str, digit: char, seal: u8) -> Proposal {
        Proposal { environment: environment.parse().unwrap(), commit: commit(digit), seal: Digest([seal; 32]) }
    }

    fn rule(required: u32) -> ApprovalRule {
        let person = |name: &str| (name.to_owned(), BTreeSet::from([format!("{name}@example.net")]));
        ApprovalRule { required, approvers: BTreeMap::from([person("ada"), person("bob"), person("carol")]) }
    }

    fn word(to: &Proposal, by: &str) -> Agreement {
        Agreement { to: to.clone(), by: by.to_owned() }
    }

    fn emails(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| format!("{name}@example.net")).collect()
    }

    #[test]
    fn cap_03_a_word_counts_once_and_the_authors_own_never() {
        let plan = proposal("prod", 'a', 1);
        let authors = emails(&["ada"]);
        let judge = |required, words: &[&str]| {
            let given: Vec<_> = words.iter().map(|by| word(&plan, by)).collect();
            let case = Case { proposal: &plan, changes: true, authors: &authors, given: &given, released: None };
            clearance(Some(&rule(required)), &case)
        };
        let awaits = |given: &[&str], required| Clearance::Awaits {
            given: given.iter().map(|name| (*name).to_owned()).collect(),
            required,
        };
        assert_eq!(judge(1, &[]), awaits(&[], 1));
        assert_eq!(judge(1, &["ada"]), awaits(&[], 1), "she wrote it");
        assert_eq!(judge(1, &["mallory"]), awaits(&[], 1), "nobody asked him");
        assert_eq!(judge(1, &["bob"]), Clearance::Approved(["bob".to_owned()].into()));
        assert_eq!(judge(2, &["bob", "bob"]), awaits(&["bob"], 2));
        assert_eq!(judge(2, &["bob", "carol"]), Clearance::Approved(["bob".to_owned(), "carol".to_owned()].into()));
        assert_eq!(judge(0, &[]), awaits(&[], 1), "a rule that asks for nobody asks for one");

        let own = may_agree(Some(&rule(1)), &authors, "ada").unwrap_err();
        assert_eq!(own.to_string(), "`ada` wrote this commit (ada@example.net): somebody else must approve it");
        let foreign = may_agree(Some(&rule(1)), &authors, "mallory").unwrap_err();
        assert!(foreign.to_string().contains("ada, bob, carol"), "{foreign}");
        assert_eq!(may_agree(None, &authors, "bob"), Err(Objection::NotAsked));
    }

    #[test]
    fn what_was_released_is_kept_up_and_what_changes_nothing_needs_nobody() {
        let plan = proposal("prod", 'a', 1);
        let nobody = BTreeSet::new();
        let (same, other) = (commit('a'), commit('b'));
        let judge = |changes, released| {
            let case = Case { proposal: &plan, changes, authors: &nobody, given: &[], released };
            clearance(Some(&rule(1)), &case)
        };
        assert_eq!(judge(true, Some(&same)), Clearance::Free);
        assert_eq!(judge(false, None), Clearance::Free);
        assert!(matches!(judge(true, Some(&other)), Clearance::Awaits { .. }));
        assert!(matches!(judge(true, None), Clearance::Awaits { .. }));
        let case = Case { proposal: &plan, changes: true, authors: &nobody, given: &[], released: None };
        assert_eq!(clearance(None, &case), Clearance::Free);
    }

    #[test]
    fn a_seal_is_named_by_what_is_shown_of_it() {
        let seal = Digest([0xab; 32]);
        assert!(names_seal(seal.short().as_ref(), seal) && names_seal(&seal.to_string(), seal));
        assert!(names_seal("ABABABABABAB", seal));
        assert!(!names_seal("abababababa", seal) && !names_seal("", seal) && !names_seal("abababababac", seal));
    }

    proptest! {
        /// One input that moved between the word and the apply, and the word is void.
        #[test]
        fn cap_03_whatever_moves_after_the_word_makes_it_void(
            which in 0_usize..6, seal in 1_u8..255, digit in prop::sample::select(vec!['b', 'c', 'f']), required in 1_u32..3,
        ) {
            let agreed = proposal("prod", 'a', 0);
            let given: Vec<_> = ["bob", "carol"].iter().map(|by| word(&agreed, by)).collect();
            let (mut now, mut authors, mut asked) = (agreed.clone(), emails(&["ada"]), rule(required));
            let judge = |now: &Proposal, authors: &BTreeSet<String>, asked: &ApprovalRule| {
                let case = Case { proposal: now, changes: true, authors, given: &given, released: None };
                clearance(Some(asked), &case)
            };
            prop_assert!(matches!(judge(&now, &authors, &asked), Clearance::Approved(_)));
            match which {
                0 => now.environment = "stage".parse().unwrap(),
                1 => now.commit = commit(digit),
                2 => now.seal.0[usize::from(seal) % 32] ^= seal,
                3 => authors = emails(&["bob", "carol"]),
                4 => asked.approvers.retain(|name, _| name == "ada"),
                _ => asked.required = 3,
            }
            let awaits = matches!(judge(&now, &authors, &asked), Clearance::Awaits { .. });
            prop_assert!(awaits, "input {} moved", which);
        }
    }
}
