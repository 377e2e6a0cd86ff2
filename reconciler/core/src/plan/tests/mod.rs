//! Tests of the whole planner, one file per subject.

mod archives;
mod blockers;
mod capacity;
mod laws;
mod observing;
mod prerequisites;
mod prune;
mod seal;
mod single;
mod slots;
mod statics;

use holdfast_protocol::Observed;

use super::ideal::{live_as_desired, plan_of, report};
use super::sample::{Version, host_name, state};
use super::{AppStatus, Change, LiveHost, LiveState, Plan, PlanAction, Reason};

/// Returns one line per change of a host: symbol, key, reason, rule, slot.
fn lines(plan: &Plan, host: &str) -> Vec<String> {
    let line = |change: &Change| {
        let slot = change.slot.map(|slot| format!(" [{slot}]")).unwrap_or_default();
        format!("{} {}{slot} {:?} {}", change.action.symbol(), change.key, change.reason, change.rule)
    };
    plan.hosts[&super::sample::host_name(host)].changes.iter().map(line).collect()
}

/// Returns one line per component: name, approach, slots, releases.
fn moves(plan: &Plan, host: &str) -> Vec<String> {
    let slot = |slot: Option<holdfast_protocol::Slot>| slot.map_or("-", |slot| slot.as_str());
    plan.hosts[&super::sample::host_name(host)]
        .components
        .iter()
        .map(|c| {
            format!(
                "{} {:?} {}→{} {:?}→{:?}",
                c.component,
                c.approach,
                slot(c.from),
                slot(c.to),
                c.from_release,
                c.to_release
            )
        })
        .collect()
}

fn codes(plan: &Plan) -> Vec<String> {
    plan.blockers
        .iter()
        .map(|b| {
            let host = b.host.as_ref().map_or("*", |host| host.as_str());
            let app = b.app.as_ref().map_or("*", |app| app.as_str());
            format!("{} {host} {app}", b.code)
        })
        .collect()
}

fn seen<'a, T>(map: &'a mut std::collections::BTreeMap<String, Observed<T>>, key: &str) -> &'a mut T {
    match map.get_mut(key) {
        Some(Observed::Seen(value)) => value,
        Some(Observed::Absent) => panic!("{key} is absent"),
        Some(Observed::Unknown(why)) => panic!("{key}: {why}"),
        None => panic!("{key} was not observed"),
    }
}

#[test]
fn only_drift_and_stopped_things_count_as_drift() {
    use super::ideal::live_as_desired;
    use super::sample::{Version, state};
    let v1 = state(&["web1"], &Version::new("v1"));
    let mut live = live_as_desired(&v1);
    let unit = seen(&mut report(&mut live, "web1").units, "nps-jobs.service");
    "failed".clone_into(&mut unit.active);
    let v2 = state(&["web1"], &Version::new("v2"));
    let plan = plan_of(&v2, &super::ideal::ask(&v2, &live));
    assert_eq!(super::drift(&plan).count(), 0, "the unit's file changes too: {:?}", lines(&plan, "web1"));
    let plan = plan_of(&v1, &live);
    let drifted: Vec<_> = super::drift(&plan).map(|(host, change)| format!("{host} {}", change.key)).collect();
    assert_eq!(drifted, ["web1 unit nps-jobs.service"]);
    assert_eq!(
        plan.hosts.values().flat_map(|h| &h.changes).next().map(|c| (c.reason, c.action)),
        Some((Reason::NotRunning, PlanAction::Update))
    );
}

#[test]
fn every_rule_and_blocker_is_documented() {
    let page = include_str!("../../../../../docs/reference/plan.md");
    let sources = [
        include_str!("../files.rs"),
        include_str!("../units.rs"),
        include_str!("../services.rs"),
        include_str!("../switches.rs"),
        include_str!("../capacity.rs"),
        include_str!("../component.rs"),
        include_str!("../slots.rs"),
        include_str!("../place.rs"),
        include_str!("../prerequisites.rs"),
        include_str!("../prune.rs"),
        include_str!("../migrations.rs"),
        include_str!("../needs.rs"),
        include_str!("../ports.rs"),
        include_str!("../fleet.rs"),
    ];
    // Words are the string literals of lower-case letters with at least one hyphen.
    let mut words = std::collections::BTreeSet::from(["unknown", "unreachable", "quarantined"]);
    for source in sources {
        let code = source.split("#[cfg(test)]").next().unwrap();
        words.extend(code.split('"').skip(1).step_by(2).filter(|text| {
            text.contains('-') && !text.ends_with('-') && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        }));
    }
    // systemd's own.
    for word in ["auto-restart", "not-found", "enabled-runtime"] {
        words.remove(word);
    }
    assert!(words.len() > 40, "{words:?}");
    let missing: Vec<_> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/reference/plan.md lacks {missing:?}");
}

#[test]
fn cap_83_only_what_is_as_git_says_and_runs_is_well() {
    let v1 = state(&["web1", "web2"], &Version::new("v1"));
    let rows = |live: &LiveState| super::status(&v1, live, &plan_of(&v1, live));
    let live = live_as_desired(&v1);
    assert!(rows(&live).iter().all(AppStatus::is_well), "{:#?}", rows(&live));
    let well = |change: &dyn Fn(&mut LiveState)| {
        let mut live = live_as_desired(&v1);
        change(&mut live);
        rows(&live).iter().map(AppStatus::is_well).collect::<Vec<_>>()
    };
    let away = LiveHost::Unreachable { reason: "down".to_owned() };
    assert_eq!(well(&|live| drop(live.hosts.insert(host_name("web1"), away.clone()))), [false, true]);
    let stopped = |live: &mut LiveState| {
        let jobs = seen(&mut report(live, "web1").units, "nps-jobs.service");
        "failed".clone_into(&mut jobs.active);
    };
    assert_eq!(well(&stopped), [false, true]);
    let edited = |live: &mut LiveState| {
        let site = seen(&mut report(live, "web2").files, "/etc/nginx/conf.d/prod-nps-edge.conf");
        site.digest = holdfast_protocol::Digest([7; 32]);
    };
    assert_eq!(well(&edited), [true, false]);
}
