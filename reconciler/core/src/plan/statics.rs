//! What differs between static files on a host and the release that git names.

use holdfast_protocol::{Observed, StaticAt, StaticContent, StaticLive, StaticRecord};

use super::archives::{human, room};
use super::component::Subject;
use super::place::{Comparison, Found, see};
use super::rule::{Finding, Rule, Verdict, Weight, blocked, first_match};
use super::{PlanAction, Reason, ResourceKey};
use crate::desired::{DesiredStatic, StaticFound};

/// Rule: something that is not ours stands at the path, and goes aside.
pub(crate) const STATIC_ADOPTED: &str = "static-adopted";

/// All that is known about one frontend.
struct Facts<'a> {
    wanted: &'a DesiredStatic,
    live: Observed<&'a StaticLive>,
    /// What was put there last, at this path.
    record: Option<&'a StaticRecord>,
    adopt: bool,
}

impl Facts<'_> {
    fn at(&self) -> Option<&StaticAt> {
        self.live.seen().map(|live| &live.at)
    }

    /// Returns whether the release is there as it was unpacked.
    fn is_whole(&self) -> bool {
        self.live.seen().is_some_and(|live| live.unpacked && live.changed.is_empty())
    }

    /// Returns what stands at the path when that is not ours to replace: a link may be put right, if we made one there.
    fn foreign(&self) -> Option<String> {
        match self.at()? {
            StaticAt::Foreign(what) => Some(what.clone()),
            StaticAt::Elsewhere(target) if self.record.is_none() => {
                Some(format!("a link to {}", target.escape_debug()))
            }
            StaticAt::Nothing | StaticAt::Release(_) | StaticAt::Elsewhere(_) => None,
        }
    }

    /// Returns the archive before, and the one that is wanted.
    fn step(&self) -> String {
        let to = match &self.wanted.found {
            StaticFound::Read { content, .. } => amount(&self.wanted.archive, *content),
            StaticFound::Unread | StaticFound::Wrong(_) => self.wanted.archive.clone(),
        };
        match self.record {
            Some(record) if record.release != self.wanted.sha256 => {
                format!("{} → {to}", amount(&record.archive, record.content))
            }
            _ => to,
        }
    }
}

fn amount(archive: &str, content: StaticContent) -> String {
    let files = if content.files == 1 { "1 file".to_owned() } else { format!("{} files", content.files) };
    format!("{archive} ({files}, {})", human(content.bytes))
}

/// Adds what is to be done about the frontend of a component.
pub(super) fn compare_static(subject: Subject<'_>, comparison: &mut Comparison) {
    let Some(wanted) = &subject.component.statics else { return };
    let context = subject.context;
    let key = ResourceKey::Static(wanted.path.clone());
    let record = subject.record.and_then(|record| record.statics.as_ref());
    let facts = Facts {
        wanted,
        live: see(&context.report.statics, &wanted.path),
        record: record.filter(|record| record.path == wanted.path),
        adopt: context.options.adopt,
    };
    let ignored = context.ignore.matches(&key);
    let (rule, verdict) = first_match(rules(), &facts);
    match verdict {
        Verdict::InSync => comparison.unchanged += 1,
        Verdict::Change(ref finding) if ignored && finding.action != PlanAction::Create => comparison.unchanged += 1,
        Verdict::Blocked { .. } if ignored => comparison.unchanged += 1,
        Verdict::Blocked { code, message } => {
            comparison.blocked.insert(key);
            comparison.problems.push((code, message));
        }
        Verdict::Change(mut finding) => {
            if !facts.is_whole() {
                match &wanted.found {
                    StaticFound::Wrong(why) => comparison.problems.push(("bad-archive", why.clone())),
                    StaticFound::Unread => {}
                    StaticFound::Read { size, .. } => {
                        finding.note = format!("{}; it is sent", finding.note);
                        comparison.problems.extend(room(context, *size));
                    }
                }
            }
            let origin = wanted.origin.clone();
            let found = subject.found(key, rule, finding);
            comparison.found.push(Found { origin, ..found });
        }
    }
}

fn rules<'a>() -> &'a [Rule<Facts<'a>>] {
    fn change(action: PlanAction, reason: Reason, note: String) -> Verdict {
        // A frontend has no slots: nothing but its own link changes.
        Verdict::Change(Finding { action, reason, weight: Weight::InPlace, note })
    }
    &[
        Rule {
            word: "unknown",
            judge: |f| match &f.live {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("{} could not be looked at: {why}", f.wanted.path)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        // Where git wants another place for files than a folder of somebody, all that is in it may be all there is of it.
        Rule {
            word: "foreign-resource",
            judge: |f| {
                let what = f.foreign().filter(|_| !f.adopt)?;
                let message = format!(
                    "{} is {what}, and was not made by Holdfast: move it away, or have it put aside as {0}.adopted with --adopt",
                    f.wanted.path
                );
                Some(blocked("foreign-resource", message))
            },
        },
        Rule {
            word: STATIC_ADOPTED,
            judge: |f| {
                let what = f.foreign()?;
                let note = format!("{}; {what} goes aside as {}.adopted", f.step(), f.wanted.path);
                Some(change(PlanAction::Update, Reason::Missing, note))
            },
        },
        Rule {
            word: "static-missing",
            judge: |f| f.record.is_none().then(|| change(PlanAction::Create, Reason::Missing, f.step())),
        },
        Rule {
            word: "static-release-differs",
            judge: |f| {
                let differs = f.record.is_some_and(|record| record.release != f.wanted.sha256);
                differs.then(|| change(PlanAction::Update, Reason::DesiredChanged, f.step()))
            },
        },
        Rule {
            word: "static-link-differs",
            judge: |f| {
                let note = match f.at()? {
                    StaticAt::Release(release) if *release == f.wanted.sha256 => return None,
                    StaticAt::Release(release) => format!("it leads to the release {}", release.short()),
                    StaticAt::Elsewhere(target) => format!("it leads to {}", target.escape_debug()),
                    StaticAt::Nothing | StaticAt::Foreign(_) => "the link is gone".to_owned(),
                };
                Some(change(PlanAction::Update, Reason::Drifted, note))
            },
        },
        Rule {
            word: "static-files-differ",
            judge: |f| {
                let live = f.live.seen().filter(|_| !f.is_whole())?;
                let note = if live.unpacked { live.changed.join("; ") } else { "its folder is gone".to_owned() };
                Some(change(PlanAction::Update, Reason::Drifted, note))
            },
        },
    ]
}
