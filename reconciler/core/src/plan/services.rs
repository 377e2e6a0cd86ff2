//! The rules for one service of a compose project.

use std::collections::BTreeSet;

use holdfast_protocol::{ContainerLive, Observed};

use super::rule::{Rule, Verdict, blocked, content, first_match, in_place};
use super::{PlanAction, Reason};
use crate::desired::DesiredService;

/// All that is known about one service.
pub(super) struct ServiceFacts<'a> {
    pub(super) project: &'a str,
    pub(super) desired: &'a DesiredService,
    /// Its containers, sorted by name; `Absent` when the project has none of it.
    pub(super) live: Observed<Vec<&'a ContainerLive>>,
    /// The local image id of its reference.
    pub(super) image: Observed<&'a str>,
    /// The ids of the image in the archive it comes in.
    pub(super) archived: Option<&'a BTreeSet<String>>,
    /// Whether the ledger has its project.
    pub(super) recorded: bool,
    /// Whether git says something else about the component's files than what we applied last.
    pub(super) desired_changed: bool,
}

impl ServiceFacts<'_> {
    fn containers(&self) -> &[&ContainerLive] {
        match &self.live {
            Observed::Seen(containers) => containers,
            Observed::Absent | Observed::Unknown(_) => &[],
        }
    }

    fn reason(&self) -> Reason {
        match (self.recorded, self.desired_changed) {
            (false, _) => Reason::Missing,
            (true, true) => Reason::DesiredChanged,
            (true, false) => Reason::Drifted,
        }
    }
}

/// Returns what is to be done about a service, with the word of the rule.
pub(super) fn judge(facts: &ServiceFacts<'_>) -> (&'static str, Verdict) {
    first_match(rules(), facts)
}

/// Returns an image id as people know it: without the algorithm, twelve digits.
pub(super) fn short_image(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

fn rules<'a>() -> &'a [Rule<ServiceFacts<'a>>] {
    &[
        Rule {
            word: "unknown",
            judge: |s| match &s.live {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("compose project {} could not be looked at: {why}", s.project)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        // Containers of a project of our name that carry no label of ours: somebody else's.
        Rule {
            word: "foreign-resource",
            judge: |s| {
                let foreign =
                    s.containers().iter().find(|container| container.digest.is_empty()).filter(|_| !s.recorded)?;
                let message = format!(
                    "container {} of compose project {} was not made by Holdfast: remove it, then plan again",
                    foreign.name, s.project
                );
                Some(blocked("foreign-resource", message))
            },
        },
        // None are wanted, and none are there.
        Rule {
            word: "none",
            judge: |s| (s.desired.replicas == 0 && s.containers().is_empty()).then_some(Verdict::InSync),
        },
        // The container is gone and git is as before: the same slot is made whole again.
        Rule {
            word: "container-removed",
            judge: |s| {
                (s.containers().is_empty() && s.recorded && !s.desired_changed)
                    .then(|| in_place(PlanAction::Create, Reason::Drifted, "its container was removed"))
            },
        },
        Rule {
            word: "service-missing",
            judge: |s| s.containers().is_empty().then(|| content(PlanAction::Create, s.reason(), "")),
        },
        // Same file, another number of them: whoever brings it up again has the number that git says.
        Rule {
            word: "replicas-differ",
            judge: |s| {
                let (there, wanted) = (s.containers().len(), s.desired.replicas as usize);
                let same = s.containers().iter().all(|container| container.digest == s.desired.digest);
                (there != wanted && same).then(|| {
                    let note = format!("{there} containers are there, and git says {wanted}");
                    in_place(PlanAction::Update, Reason::Drifted, note)
                })
            },
        },
        // What runs was rendered from something else, or was made by somebody else under our project's name.
        Rule {
            word: "service-digest-differs",
            judge: |s| {
                let other = s.containers().iter().find(|container| container.digest != s.desired.digest)?;
                let note = match (s.reason(), other.digest.is_empty()) {
                    (Reason::Drifted, true) => format!("container {} was made by somebody else", other.name),
                    (Reason::Drifted, false) => format!("container {} was changed on the host", other.name),
                    _ => String::new(),
                };
                Some(content(PlanAction::Update, s.reason(), note))
            },
        },
        // Same file, other limits: nothing but making it anew says for sure that all of them are as the file has them.
        Rule {
            word: "container-updated",
            judge: |s| {
                let updated = s.containers().iter().find(|container| !container.updated.is_empty())?;
                let note = format!("container {} was changed with `docker update`: {}", updated.name, updated.updated);
                Some(content(PlanAction::Update, s.reason(), note))
            },
        },
        Rule {
            word: "image-unknown",
            judge: |s| match &s.image {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("image {} could not be looked at: {why}", s.desired.image)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        // The tag names another image than the one that runs. An image that is not here any more says nothing: it is in use.
        Rule {
            word: "image-moved",
            judge: |s| {
                if let Some(ids) = s.archived {
                    let other = s.containers().iter().find(|container| !ids.contains(&container.image))?;
                    let (old, new) = (short_image(&other.image), ids.first().map_or("", |id| short_image(id)));
                    let note = format!("image {}: {old} → {new} of its archive", s.desired.image);
                    return Some(content(PlanAction::Update, s.reason(), note));
                }
                let id = s.image.seen()?;
                let other = s.containers().iter().find(|container| container.image != *id)?;
                let note = format!("image {}: {} → {}", s.desired.image, short_image(&other.image), short_image(id));
                Some(content(PlanAction::Update, s.reason(), note))
            },
        },
        Rule {
            word: "container-restarting",
            judge: |s| {
                let looping = s.containers().iter().find(|container| container.state == "restarting")?;
                let note = format!("container {} is in a restart loop ({} restarts)", looping.name, looping.restarts);
                Some(in_place(PlanAction::Update, Reason::NotRunning, note))
            },
        },
        Rule {
            word: "container-not-running",
            judge: |s| {
                let stopped = s.containers().iter().find(|container| container.state != "running")?;
                let note = format!("container {} is {}", stopped.name, stopped.state);
                Some(in_place(PlanAction::Update, Reason::NotRunning, note))
            },
        },
    ]
}
