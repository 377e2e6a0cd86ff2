//! The rules for one systemd unit.

use holdfast_protocol::{Observed, UnitLive};

use super::rule::{Rule, Verdict, blocked, content, first_match, in_place};
use super::{PlanAction, Reason};
use crate::desired::DesiredUnit;

/// All that is known about one unit.
pub(super) struct UnitFacts<'a> {
    pub(super) name: &'a str,
    pub(super) desired: &'a DesiredUnit,
    pub(super) live: Observed<&'a UnitLive>,
    /// The enabled state we gave it last.
    pub(super) record: Option<bool>,
    /// Whether the file that should hold it is certainly not there.
    pub(super) own_file_absent: bool,
    /// Drop-ins of it that neither git nor the ledger has.
    pub(super) drop_ins: Vec<&'a str>,
}

impl UnitFacts<'_> {
    fn desired_reason(&self) -> Reason {
        match self.record {
            Some(enabled) if enabled == self.desired.enabled => Reason::Drifted,
            Some(_) => Reason::DesiredChanged,
            None => Reason::Missing,
        }
    }
}

/// Returns what is to be done about a unit, with the word of the rule.
pub(super) fn judge(facts: &UnitFacts<'_>) -> (&'static str, Verdict) {
    first_match(rules(), facts)
}

/// States of `UnitFileState` in which a unit cannot be enabled, so that asking for it would never end. The empty one is of units
/// without a file.
///
/// # Source
/// systemctl(1), table of `is-enabled`, systemd 257.
const NOT_ENABLABLE: [&str; 6] = ["", "static", "indirect", "generated", "alias", "transient"];

/// Returns the unit a file belongs to, when systemd reads it: its own file, or a drop-in.
///
/// # Source
/// systemd.unit(5): `NAME`, and `NAME.d/*.conf`.
pub(crate) fn unit_of(path: &str) -> Option<&str> {
    let rest = ["/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/"]
        .iter()
        .find_map(|folder| path.strip_prefix(folder))?;
    match rest.split_once('/') {
        None => Some(rest),
        Some((folder, _)) => folder.strip_suffix(".d"),
    }
}

/// Returns whether a unit starts anew because a file of its component changes: its own, one of the template it is made of, or one
/// that systemd does not read, which any unit of the component may.
pub(crate) fn restarts_unit(path: &str, unit: &str) -> bool {
    let Some(owner) = unit_of(path) else { return true };
    let is_instance = |(stem, suffix): (&str, &str)| {
        let rest = unit.strip_prefix(stem).and_then(|rest| rest.strip_prefix('@'));
        rest.is_some_and(|rest| rest.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')))
    };
    owner == unit || owner.split_once("@.").is_some_and(is_instance)
}

fn rules<'a>() -> &'a [Rule<UnitFacts<'a>>] {
    &[
        Rule {
            word: "unknown",
            judge: |u| match &u.live {
                Observed::Unknown(why) => {
                    Some(blocked("unknown", format!("unit {} could not be looked at: {why}", u.name)))
                }
                Observed::Seen(_) | Observed::Absent => None,
            },
        },
        // Somebody has forbidden this unit on this host.
        Rule {
            word: "unit-masked",
            judge: |u| {
                u.live.seen().filter(|live| live.load == "masked").map(|_| {
                    blocked(
                        "unit-masked",
                        format!("unit {0} is masked: `systemctl unmask {0}`, then plan again", u.name),
                    )
                })
            },
        },
        // A unit of that name runs from a place that is not ours, such as a distribution's package.
        Rule {
            word: "foreign-resource",
            judge: |u| {
                let foreign = u.record.is_none()
                    && u.own_file_absent
                    && u.live.seen().is_some_and(|live| live.load == "loaded" && live.active != "inactive");
                foreign.then(|| {
                    let message = format!(
                        "unit {} runs and was not put there by Holdfast: remove it, or use another name",
                        u.name
                    );
                    blocked("foreign-resource", message)
                })
            },
        },
        // Somebody changed what our unit does, beside its file. What is in there may be all somebody has.
        Rule {
            word: "unit-drop-in",
            judge: |u| {
                let path = u.drop_ins.first()?;
                let message = format!(
                    "{path} changes unit {} and was not written by Holdfast: remove it and run `systemctl daemon-reload`, bring it \
                     into git under `files`, or leave it alone with `file {path}` under `sync.ignore`",
                    u.name
                );
                Some(blocked("foreign-resource", message))
            },
        },
        Rule {
            word: "unit-removed",
            judge: |u| {
                let gone = u.live.seen().is_none_or(|live| live.load == "not-found");
                (gone && u.record.is_some())
                    .then(|| in_place(PlanAction::Create, Reason::Drifted, "it was removed from the host"))
            },
        },
        Rule {
            word: "unit-missing",
            judge: |u| {
                let gone = u.live.seen().is_none_or(|live| live.load == "not-found");
                gone.then(|| content(PlanAction::Create, Reason::Missing, ""))
            },
        },
        Rule {
            word: "unit-not-loaded",
            judge: |u| {
                let live = u.live.seen().filter(|live| live.load != "loaded")?;
                Some(in_place(PlanAction::Update, Reason::Drifted, format!("systemd says `{}`", live.load)))
            },
        },
        // What systemd has loaded is older than the file.
        Rule {
            word: "unit-needs-reload",
            judge: |u| {
                u.live.seen().is_some_and(|live| live.needs_reload).then(|| {
                    in_place(PlanAction::Update, Reason::Drifted, "its file is newer than what systemd loaded")
                })
            },
        },
        Rule {
            word: "unit-failed",
            judge: |u| {
                (u.live.seen()?.active == "failed")
                    .then(|| in_place(PlanAction::Update, Reason::NotRunning, "it has failed"))
            },
        },
        // A crash loop looks active most of the time: between two tries it is *activating (auto-restart)*.
        Rule {
            word: "unit-restarting",
            judge: |u| {
                (u.live.seen()?.sub == "auto-restart")
                    .then(|| in_place(PlanAction::Update, Reason::NotRunning, "it is in a restart loop"))
            },
        },
        Rule {
            word: "unit-not-active",
            judge: |u| {
                let live = u.live.seen()?;
                matches!(live.active.as_str(), "inactive" | "deactivating" | "maintenance").then(|| {
                    let reason = if u.record.is_some() { Reason::NotRunning } else { Reason::Missing };
                    in_place(PlanAction::Update, reason, format!("it is {}", live.active))
                })
            },
        },
        Rule {
            word: "unit-not-enabled",
            judge: |u| {
                let live = u.live.seen()?;
                let off =
                    u.desired.enabled && live.enabled != "enabled" && !NOT_ENABLABLE.contains(&live.enabled.as_str());
                off.then(|| in_place(PlanAction::Update, u.desired_reason(), "it does not start at boot"))
            },
        },
        Rule {
            word: "unit-not-disabled",
            judge: |u| {
                let on = !u.desired.enabled && matches!(u.live.seen()?.enabled.as_str(), "enabled" | "enabled-runtime");
                on.then(|| in_place(PlanAction::Update, u.desired_reason(), "it starts at boot"))
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_restarts_the_units_it_is_about() {
        let cases = [
            ("/etc/systemd/system/a.service", "a.service", true),
            ("/etc/systemd/system/a.service", "b.service", false),
            ("/etc/systemd/system/a.service.d/limits.conf", "a.service", true),
            ("/etc/systemd/system/a.service.d/limits.conf", "b.service", false),
            ("/etc/systemd/system/a@.service", "a@blue.service", true),
            ("/etc/systemd/system/a@.service.d/x.conf", "a@blue.service", true),
            ("/etc/systemd/system/a@.service", "a@blue.timer", false),
            ("/etc/systemd/system/a@.service", "ab@blue.service", false),
            ("/etc/shop.conf", "a.service", true),
        ];
        for (path, unit, expected) in cases {
            assert_eq!(restarts_unit(path, unit), expected, "{path} {unit}");
        }
    }
}
