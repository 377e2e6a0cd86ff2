//! The rules for one file.

use holdfast_protocol::{Digest, FileLive, FileRecord, Observed};

use super::rule::{Rule, Verdict, blocked, content, first_match, in_place};
use super::{PlanAction, Reason};
use crate::desired::DesiredFile;

/// All that is known about one file.
pub(super) struct FileFacts<'a> {
    pub(super) path: &'a str,
    pub(super) desired: &'a DesiredFile,
    /// Of the bytes git wants; `None` when a secret is in them.
    pub(super) digest: Option<Digest>,
    pub(super) live: Observed<&'a FileLive>,
    pub(super) record: Option<&'a FileRecord>,
    pub(super) adopt: bool,
}

/// Returns whether an account asked for by name or number is the one seen. A name comes first, as where the file is written.
pub(super) fn is_account(wanted: &str, seen: &str, number: u32) -> bool {
    wanted == seen || wanted.parse() == Ok(number)
}

impl FileFacts<'_> {
    /// Returns whether the live bytes are those git wants: by digest, or for a file with a secret by what we wrote last.
    fn content_fits(&self, live: &FileLive) -> bool {
        match self.digest {
            Some(digest) => live.digest == digest,
            None => self.record.is_some_and(|r| r.sealed == self.desired.content.sealed() && r.digest == live.digest),
        }
    }

    fn mode_fits(&self, live: &FileLive) -> bool {
        let (uid, gid) = live.numbers;
        live.mode == self.desired.mode
            && is_account(&self.desired.owner, &live.owner, uid)
            && is_account(&self.desired.group, &live.group, gid)
    }

    fn content_reason(&self) -> Reason {
        match self.record {
            Some(record) if record.sealed == self.desired.content.sealed() => Reason::Drifted,
            Some(_) => Reason::DesiredChanged,
            None => Reason::Missing,
        }
    }
}

/// Returns what is to be done about a file, with the word of the rule.
pub(super) fn judge(facts: &FileFacts<'_>) -> (&'static str, Verdict) {
    first_match(rules(), facts)
}

fn rules<'a>() -> &'a [Rule<FileFacts<'a>>] {
    &[
        // Unknown is not absent.
        Rule {
            word: "unknown",
            judge: |f| match &f.live {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("file {} could not be looked at: {why}", f.path)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        // Writing through a symlink or over a directory is never what was meant.
        Rule {
            word: "not-a-regular-file",
            judge: |f| {
                f.live.seen().filter(|live| !live.regular).map(|_| {
                    let message =
                        format!("{} is not a regular file: move away what stands there, then plan again", f.path);
                    blocked("not-a-regular-file", message)
                })
            },
        },
        Rule {
            word: "file-removed",
            judge: |f| {
                (f.live == Observed::Absent && f.record.is_some())
                    .then(|| content(PlanAction::Create, f.content_reason(), "it was removed from the host"))
            },
        },
        Rule {
            word: "file-missing",
            judge: |f| (f.live == Observed::Absent).then(|| content(PlanAction::Create, Reason::Missing, "")),
        },
        // Something we did not write stands in our place. Equal content is taken over without a word; other content never, unless
        // that is asked for: it may be all somebody has.
        Rule {
            word: "foreign-resource",
            judge: |f| {
                let foreign = f.record.is_none() && f.live.seen().is_some_and(|live| !f.content_fits(live));
                (foreign && !f.adopt).then(|| {
                let message = format!(
                    "{} is there, was not written by Holdfast and differs from git: move it away, or take it over with --adopt",
                    f.path
                );
                blocked("foreign-resource", message)
            })
            },
        },
        Rule {
            word: "file-adopted",
            judge: |f| {
                let foreign = f.record.is_none() && f.live.seen().is_some_and(|live| !f.content_fits(live));
                foreign.then(|| {
                    content(PlanAction::Update, Reason::Missing, "it was not written by Holdfast and is taken over")
                })
            },
        },
        Rule {
            word: "file-content-differs",
            judge: |f| {
                let differs = f.live.seen().is_some_and(|live| !f.content_fits(live));
                differs.then(|| content(PlanAction::Update, f.content_reason(), ""))
            },
        },
        // Git asks for another mode: what runs has to be proven with it, as with any other change.
        Rule {
            word: "file-mode-differs",
            judge: |f| {
                let live = f.live.seen().filter(|live| !f.mode_fits(live))?;
                let was = |mode: u32, owner: &str, group: &str| format!("{mode:04o} {owner}:{group}");
                let note = format!(
                    "{} → {}",
                    was(live.mode, &live.owner, &live.group),
                    was(f.desired.mode, &f.desired.owner, &f.desired.group)
                );
                let unchanged = f.record.is_none_or(|record| {
                    (record.mode, &record.owner, &record.group) == (f.desired.mode, &f.desired.owner, &f.desired.group)
                });
                Some(if unchanged {
                    in_place(PlanAction::Update, Reason::Drifted, note)
                } else {
                    content(PlanAction::Update, Reason::DesiredChanged, note)
                })
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::is_account;

    /// A number stays right where the host happens to have a name for it.
    #[test]
    fn an_owner_asked_for_by_number_is_found_behind_its_name() {
        assert!(is_account("999", "redis", 999));
        assert!(is_account("redis", "redis", 999));
        assert!(!is_account("999", "root", 0));
        assert!(!is_account("redis", "root", 0));
    }
}
