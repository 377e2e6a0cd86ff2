//! The rules for what has to be on a host before a component.

use std::collections::BTreeSet;

use holdfast_protocol::{AccountLive, AccountSpec, FolderLive, FolderSpec, Observed};

use super::component::Subject;
use super::files::is_account;
use super::place::{Found, Problem, see};
use super::rule::{Rule, Verdict, blocked, first_match, in_place};
use super::{PlanAction, Reason, ResourceKey};

/// All that is known about one account.
struct AccountFacts<'a> {
    name: &'a str,
    desired: &'a AccountSpec,
    live: Observed<&'a AccountLive>,
    record: Option<&'a AccountSpec>,
    adopt: bool,
}

/// All that is known about one folder.
struct FolderFacts<'a> {
    path: &'a str,
    desired: &'a FolderSpec,
    live: Observed<&'a FolderLive>,
    record: Option<&'a FolderSpec>,
    adopt: bool,
}

/// Returns what is to change about what has to be on the host, how much is as it should be, and what stands in the way.
pub(super) fn compare_prerequisites(subject: Subject<'_>) -> (Vec<Found>, u32, Vec<Problem>) {
    let Subject { context, component, record, .. } = subject;
    let (wanted, live) = (&component.prerequisites, &context.report.prerequisites);
    let recorded = record.map(|record| &record.prerequisites);
    let adopt = context.options.adopt;
    let groups = wanted.groups.iter().map(|name| {
        let known = recorded.is_some_and(|recorded| recorded.groups.contains(name));
        (ResourceKey::Group(name.clone()), judge_group(name, &see(&live.groups, name), known))
    });
    let accounts = wanted.accounts.iter().map(|(name, desired)| {
        let record = recorded.and_then(|recorded| recorded.accounts.get(name));
        let facts = AccountFacts { name, desired, live: see(&live.accounts, name), record, adopt };
        (ResourceKey::Account(name.clone()), first_match(account_rules(), &facts))
    });
    let folders = wanted.folders.iter().map(|(path, desired)| {
        let record = recorded.and_then(|recorded| recorded.folders.get(path));
        let facts = FolderFacts { path, desired, live: see(&live.folders, path), record, adopt };
        (ResourceKey::Folder(path.clone()), first_match(folder_rules(), &facts))
    });
    let (mut found, mut unchanged, mut problems) = (Vec::new(), 0, Vec::new());
    for (key, (rule, verdict)) in groups.chain(accounts).chain(folders) {
        match verdict {
            Verdict::InSync => unchanged += 1,
            Verdict::Change(ref finding) if finding.action != PlanAction::Create && context.ignore.matches(&key) => {
                unchanged += 1;
            }
            Verdict::Blocked { .. } if context.ignore.matches(&key) => unchanged += 1,
            Verdict::Change(finding) => found.push(subject.found(key, rule, finding)),
            Verdict::Blocked { code, message } => problems.push((code, message)),
        }
    }
    let mut missing = Vec::new();
    for name in &component.packages {
        match see(&live.packages, name) {
            Observed::Seen(_) => unchanged += 1,
            Observed::Absent => missing.push(name.as_str()),
            Observed::Unknown(why) => {
                problems.push(("unknown", format!("package {name} could not be looked at: {why}")));
            }
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "{} not installed: `apt-get install --no-install-recommends {}`, then plan again",
            if missing.len() == 1 { "a package is" } else { "packages are" },
            missing.join(" ")
        );
        problems.push(("missing-package", message));
    }
    (found, unchanged, problems)
}

fn judge_group(name: &str, live: &Observed<&u32>, known: bool) -> (&'static str, Verdict) {
    match live {
        Observed::Unknown(why) => {
            ("unknown", blocked("unknown", format!("group {name} could not be looked at: {why}")))
        }
        Observed::Seen(_) => ("in-sync", Verdict::InSync),
        Observed::Absent if known => {
            ("group-removed", in_place(PlanAction::Create, Reason::Drifted, "it was removed from the host"))
        }
        Observed::Absent => ("group-missing", in_place(PlanAction::Create, Reason::Missing, "")),
    }
}

impl AccountFacts<'_> {
    /// Returns what differs, for people; empty when nothing does.
    fn differences(&self) -> Vec<String> {
        let Some(live) = self.live.seen() else { return Vec::new() };
        let mut differences = Vec::new();
        let pairs = [
            ("group", &live.group, &self.desired.group),
            ("home", &live.home, &self.desired.home),
            ("shell", &live.shell, &self.desired.shell),
        ];
        for (what, live, desired) in pairs {
            if live != desired {
                differences.push(format!("{what} {live} → {desired}"));
            }
        }
        let missing: BTreeSet<&str> =
            self.desired.groups.iter().filter(|group| !live.is_in(group)).map(String::as_str).collect();
        if !missing.is_empty() {
            differences.push(format!("not in {}", missing.into_iter().collect::<Vec<_>>().join(", ")));
        }
        differences
    }
}

trait Member {
    fn is_in(&self, group: &str) -> bool;
}

impl Member for AccountLive {
    fn is_in(&self, group: &str) -> bool {
        self.group == group || self.groups.contains(group)
    }
}

fn account_rules<'a>() -> &'a [Rule<AccountFacts<'a>>] {
    &[
        Rule {
            word: "unknown",
            judge: |a| match &a.live {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("account {} could not be looked at: {why}", a.name)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        Rule {
            word: "account-removed",
            judge: |a| {
                (a.live == Observed::Absent && a.record.is_some())
                    .then(|| in_place(PlanAction::Create, Reason::Drifted, "it was removed from the host"))
            },
        },
        Rule {
            word: "account-missing",
            judge: |a| (a.live == Observed::Absent).then(|| in_place(PlanAction::Create, Reason::Missing, "")),
        },
        // Somebody else's account: what it is for we do not know.
        Rule {
            word: "foreign-resource",
            judge: |a| {
                let differences = a.differences();
                (a.record.is_none() && !a.adopt && !differences.is_empty()).then(|| {
                    let message = format!(
                        "account {} is there, was not made by Holdfast and differs from git ({}): use another name, or take it over \
                         with --adopt",
                        a.name,
                        differences.join("; ")
                    );
                    blocked("foreign-resource", message)
                })
            },
        },
        Rule {
            word: "account-differs",
            judge: |a| {
                let differences = a.differences();
                let reason = if a.record == Some(a.desired) { Reason::Drifted } else { Reason::DesiredChanged };
                (!differences.is_empty()).then(|| in_place(PlanAction::Update, reason, differences.join("; ")))
            },
        },
    ]
}

impl FolderFacts<'_> {
    /// Returns what differs, for people.
    fn difference(&self) -> Option<String> {
        let (live, wanted) = (self.live.seen()?, self.desired);
        let fits = live.mode == wanted.mode
            && is_account(&wanted.owner, &live.owner, live.numbers.0)
            && is_account(&wanted.group, &live.group, live.numbers.1);
        let shown = |mode: u32, owner: &str, group: &str| format!("{mode:04o} {owner}:{group}");
        (!fits).then(|| {
            let is = shown(live.mode, &live.owner, &live.group);
            format!("{is} → {}", shown(wanted.mode, &wanted.owner, &wanted.group))
        })
    }
}

fn folder_rules<'a>() -> &'a [Rule<FolderFacts<'a>>] {
    &[
        Rule {
            word: "unknown",
            judge: |f| match &f.live {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("folder {} could not be looked at: {why}", f.path)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        // Through a link the mode of something else would change.
        Rule {
            word: "not-a-folder",
            judge: |f| {
                f.live.seen().filter(|live| !live.folder).map(|_| {
                    let message = format!("{} is no folder: move away what stands there, then plan again", f.path);
                    blocked("not-a-folder", message)
                })
            },
        },
        Rule {
            word: "folder-removed",
            judge: |f| {
                (f.live == Observed::Absent && f.record.is_some())
                    .then(|| in_place(PlanAction::Create, Reason::Drifted, "it was removed from the host"))
            },
        },
        Rule {
            word: "folder-missing",
            judge: |f| (f.live == Observed::Absent).then(|| in_place(PlanAction::Create, Reason::Missing, "")),
        },
        Rule {
            word: "foreign-resource",
            judge: |f| {
                let difference = f.difference().filter(|_| f.record.is_none() && !f.adopt)?;
                let message = format!(
                    "folder {} is there, was not made by Holdfast and differs from git ({difference}): change one of the two, or take \
                     it over with --adopt",
                    f.path
                );
                Some(blocked("foreign-resource", message))
            },
        },
        Rule {
            word: "folder-mode-differs",
            judge: |f| {
                let difference = f.difference()?;
                let reason = if f.record == Some(f.desired) { Reason::Drifted } else { Reason::DesiredChanged };
                Some(in_place(PlanAction::Update, reason, difference))
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> AccountSpec {
        AccountSpec {
            group: "nps".to_owned(),
            groups: ["readers".to_owned()].into(),
            home: "/opt/nps".to_owned(),
            shell: "/bin/sh".to_owned(),
            system: true,
        }
    }

    fn live() -> AccountLive {
        AccountLive {
            group: "nps".to_owned(),
            groups: ["readers".to_owned(), "more".to_owned()].into(),
            home: "/opt/nps".to_owned(),
            shell: "/bin/sh".to_owned(),
        }
    }

    fn word(desired: &AccountSpec, live: Observed<&AccountLive>, record: Option<&AccountSpec>, adopt: bool) -> String {
        let facts = AccountFacts { name: "nps", desired, live, record, adopt };
        let (word, verdict) = first_match(account_rules(), &facts);
        match verdict {
            Verdict::Change(finding) => format!("{word} {:?} {}", finding.reason, finding.note),
            Verdict::Blocked { .. } | Verdict::InSync => word.to_owned(),
        }
    }

    #[test]
    fn cap_14_an_account_is_made_put_right_or_left_to_whom_it_belongs() {
        let (spec, live) = (spec(), live());
        let other = AccountLive { shell: "/bin/bash".to_owned(), groups: BTreeSet::new(), ..live.clone() };
        assert_eq!(word(&spec, Observed::Seen(&live), None, false), "in-sync", "more groups are fine");
        assert_eq!(word(&spec, Observed::Absent, None, false), "account-missing Missing ");
        assert_eq!(
            word(&spec, Observed::Absent, Some(&spec), false),
            "account-removed Drifted it was removed from the host"
        );
        assert_eq!(word(&spec, Observed::Seen(&other), None, false), "foreign-resource");
        let differs = "shell /bin/bash → /bin/sh; not in readers";
        assert_eq!(
            word(&spec, Observed::Seen(&other), None, true),
            format!("account-differs DesiredChanged {differs}")
        );
        assert_eq!(
            word(&spec, Observed::Seen(&other), Some(&spec), false),
            format!("account-differs Drifted {differs}")
        );
        assert_eq!(word(&spec, Observed::Unknown("x".to_owned()), Some(&spec), true), "unknown");
    }

    #[test]
    fn cap_14_a_folder_is_made_put_right_or_left_to_whom_it_belongs() {
        let desired = FolderSpec { owner: "5".to_owned(), group: "root".to_owned(), mode: 0o750 };
        let live = FolderLive {
            folder: true,
            mode: 0o750,
            owner: "nps".to_owned(),
            group: "root".to_owned(),
            numbers: (5, 0),
        };
        let word = |live: Observed<&FolderLive>, record: Option<&FolderSpec>, adopt: bool| {
            first_match(folder_rules(), &FolderFacts { path: "/srv/x", desired: &desired, live, record, adopt }).0
        };
        assert_eq!(word(Observed::Seen(&live), None, false), "in-sync", "an owner by number");
        let open = FolderLive { mode: 0o755, ..live.clone() };
        assert_eq!(word(Observed::Seen(&open), None, false), "foreign-resource");
        assert_eq!(word(Observed::Seen(&open), None, true), "folder-mode-differs");
        assert_eq!(word(Observed::Seen(&open), Some(&desired), false), "folder-mode-differs");
        assert_eq!(word(Observed::Absent, Some(&desired), false), "folder-removed");
        assert_eq!(word(Observed::Absent, None, false), "folder-missing");
        let link = FolderLive { folder: false, ..live.clone() };
        assert_eq!(word(Observed::Seen(&link), Some(&desired), true), "not-a-folder");
    }
}
