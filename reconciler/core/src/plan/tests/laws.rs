//! What holds for every state.

use std::collections::BTreeSet;

use holdfast_protocol::{FileLive, LiveReport, Observed};
use proptest::prelude::*;

use super::super::ideal::{apply, ask, empty_live, ledger_keys};
use super::super::sample::{Version, state};
use super::super::{LiveHost, LiveState, Plan, PlanAction, PlanOptions, ResourceKey, plan};
use super::plan_of;
use crate::desired::DesiredState;
use crate::time::Timestamp;

const COMPONENTS: [&str; 6] = ["data", "web", "api", "jobs", "report", "edge"];

fn version() -> impl Strategy<Value = Version> {
    (
        0..4_u8,
        0..2_u8,
        any::<bool>(),
        prop::bool::weighted(0.8),
        prop::sample::subsequence(&COMPONENTS[..], 0..3),
        0..2_u16,
    )
        .prop_map(|(release, secret, extra, slots, without, port)| Version {
            release: format!("v{release}"),
            secret: format!("{secret:016x}"),
            extra,
            slots,
            without: without.into_iter().map(str::to_owned).collect(),
            port: 8101 + port,
        })
}

/// Something that happens to a host behind our back. The number picks what it happens to.
#[derive(Debug, Clone)]
enum Mishap {
    FileRemoved(usize),
    FileEdited(usize),
    FileOpened(usize),
    UnitFailed(usize),
    UnitDisabled(usize),
    UnitEdited(usize),
    ContainerStopped(usize),
    ContainerRemoved(usize),
    ContainerReplaced(usize),
    ImageMoved(usize),
    SwitchMoved(usize),
    SwitchRemoved(usize),
    Foreign(usize),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    use Mishap::*;
    let kinds: [fn(usize) -> Mishap; 13] = [
        FileRemoved,
        FileEdited,
        FileOpened,
        UnitFailed,
        UnitDisabled,
        UnitEdited,
        ContainerStopped,
        ContainerRemoved,
        ContainerReplaced,
        ImageMoved,
        SwitchMoved,
        SwitchRemoved,
        Foreign,
    ];
    (prop::sample::select(kinds.to_vec()), any::<usize>()).prop_map(|(kind, pick)| kind(pick))
}

fn pick<'a, T>(map: impl Iterator<Item = &'a mut Observed<T>>, at: usize) -> Option<&'a mut Observed<T>> {
    let mut there: Vec<_> = map.filter(|value| value.seen().is_some()).collect();
    let count = there.len().max(1);
    if there.is_empty() { None } else { Some(there.swap_remove(at % count)) }
}

fn pick_seen<'a, T>(map: impl Iterator<Item = &'a mut Observed<T>>, at: usize) -> Option<&'a mut T> {
    pick(map, at).and_then(|value| match value {
        Observed::Seen(value) => Some(value),
        Observed::Absent | Observed::Unknown(_) => None,
    })
}

fn happen(report: &mut LiveReport, mishap: &Mishap) {
    match mishap {
        Mishap::FileRemoved(at) => {
            if let Some(file) = pick(report.files.values_mut(), *at) {
                *file = Observed::Absent;
            }
        }
        Mishap::FileEdited(at) => {
            if let Some(file) = pick_seen(report.files.values_mut(), *at) {
                let bytes = b"edited by hand\n".to_vec();
                file.digest = crate::id::digest_of(&bytes);
                file.content = Some(bytes);
            }
        }
        Mishap::FileOpened(at) => {
            if let Some(file) = pick_seen(report.files.values_mut(), *at) {
                file.mode = 0o666;
            }
        }
        Mishap::UnitFailed(at) => {
            if let Some(unit) = pick_seen(report.units.values_mut(), *at) {
                "failed".clone_into(&mut unit.active);
            }
        }
        Mishap::UnitDisabled(at) => {
            if let Some(unit) = pick_seen(report.units.values_mut(), *at) {
                "disabled".clone_into(&mut unit.enabled);
            }
        }
        Mishap::UnitEdited(at) => {
            if let Some(unit) = pick_seen(report.units.values_mut(), *at) {
                unit.needs_reload = true;
            }
        }
        Mishap::ContainerStopped(at) => {
            if let Some(container) = pick_seen(report.projects.values_mut(), *at).and_then(|p| p.containers.first_mut())
            {
                "exited".clone_into(&mut container.state);
            }
        }
        Mishap::ContainerRemoved(at) => {
            if let Some(project) = pick_seen(report.projects.values_mut(), *at) {
                project.containers.pop();
            }
        }
        Mishap::ContainerReplaced(at) => {
            if let Some(container) = pick_seen(report.projects.values_mut(), *at).and_then(|p| p.containers.first_mut())
            {
                container.digest.clear();
            }
        }
        Mishap::ImageMoved(at) => {
            if let Some(container) = pick_seen(report.projects.values_mut(), *at).and_then(|p| p.containers.first_mut())
            {
                "sha256:0000000000000000".clone_into(&mut container.image);
            }
        }
        Mishap::SwitchMoved(at) => {
            if let Observed::Seen(switches) = &mut report.switches {
                let count = switches.len().max(1);
                if let Some(switch) = switches.values_mut().nth(at % count) {
                    switch.to = 1;
                }
            }
        }
        Mishap::SwitchRemoved(at) => {
            if let Observed::Seen(switches) = &mut report.switches {
                let gone = switches.keys().nth(at % switches.len().max(1)).cloned();
                gone.and_then(|listen| switches.remove(&listen));
            }
        }
        Mishap::Foreign(at) => {
            report.files.insert(format!("/etc/foreign/{at}"), Observed::Seen(foreign_file()));
            report.units.insert(format!("foreign-{at}.service"), Observed::Absent);
        }
    }
}

fn foreign_file() -> FileLive {
    let bytes = b"somebody else's\n".to_vec();
    FileLive {
        digest: crate::id::digest_of(&bytes),
        mode: 0o644,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        numbers: (0, 0),
        size: bytes.len() as u64,
        regular: true,
        content: Some(bytes),
    }
}

/// A fleet after some releases and mishaps, and what git says now.
fn history() -> impl Strategy<Value = (Vec<Version>, Vec<Vec<Mishap>>, Version)> {
    (
        prop::collection::vec(version(), 0..4),
        prop::collection::vec(prop::collection::vec(mishap(), 0..4), 2..3),
        version(),
    )
}

fn lived((versions, mishaps, head): &(Vec<Version>, Vec<Vec<Mishap>>, Version)) -> (DesiredState, LiveState) {
    let hosts = ["web1", "web2"];
    let desired = state(&hosts, head);
    let mut live = empty_live(&desired);
    for version in versions {
        let desired = state(&hosts, version);
        let plan = plan_of(&desired, &ask(&desired, &live));
        live = apply(&desired, &plan, &live);
    }
    for (host, mishaps) in live.hosts.values_mut().zip(mishaps) {
        let LiveHost::Reached { report, .. } = host else { continue };
        for mishap in mishaps {
            happen(report, mishap);
        }
    }
    let live = ask(&desired, &live);
    (desired, live)
}

fn changed(plan: &Plan) -> BTreeSet<(String, ResourceKey, PlanAction)> {
    plan.hosts
        .iter()
        .flat_map(|(host, plan)| plan.changes.iter().map(|c| (host.to_string(), c.key.clone(), c.action)))
        .collect()
}

/// Makes the answer about one thing unknown.
fn blind(report: &mut LiveReport, at: usize) {
    fn veil<T>(map: &mut std::collections::BTreeMap<String, Observed<T>>, at: usize) {
        let count = map.len().max(1);
        if let Some(value) = map.values_mut().nth(at % count) {
            *value = Observed::Unknown("timeout".to_owned());
        }
    }
    match at % 6 {
        0 => veil(&mut report.files, at / 6),
        1 => veil(&mut report.units, at / 6),
        2 => veil(&mut report.projects, at / 6),
        3 => veil(&mut report.images, at / 6),
        4 => report.switches = Observed::Unknown("timeout".to_owned()),
        _ => report.ledger = Observed::Unknown("timeout".to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Each case is a fleet with a history; `PROPTEST_CASES` asks for more.
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn cap_05_a_second_plan_is_empty(history in history()) {
        let (desired, live) = lived(&history);
        let first = plan_of(&desired, &live);
        prop_assert!(first.blockers.is_empty(), "{:#?}", first.blockers);
        let after = apply(&desired, &first, &live);
        let second = plan_of(&desired, &ask(&desired, &after));
        prop_assert!(second.is_empty(), "first: {:#?}\nsecond: {:#?}", changed(&first), second);
    }

    #[test]
    fn unknown_never_causes_a_change(history in history(), at in prop::collection::vec(any::<usize>(), 1..6)) {
        let (desired, live) = lived(&history);
        let known = changed(&plan_of(&desired, &live));
        let mut veiled = live.clone();
        for (index, host) in veiled.hosts.values_mut().enumerate() {
            let LiveHost::Reached { report, .. } = host else { continue };
            for at in &at {
                blind(report, at.wrapping_add(index));
            }
        }
        let plan = plan_of(&desired, &veiled);
        let new: Vec<_> = changed(&plan).into_iter().filter(|change| !known.contains(change)).collect();
        prop_assert!(new.is_empty(), "{new:#?}\nblockers: {:#?}", plan.blockers);
    }

    #[test]
    fn cap_07_only_what_the_ledger_has_is_pruned(history in history()) {
        let (desired, live) = lived(&history);
        let ours = ledger_keys(&live);
        let quarantined = BTreeSet::new();
        let options = PlanOptions { observed_at: Timestamp(0), quarantined: &quarantined, migrated: &std::collections::BTreeSet::new(), allow_prune: true, adopt: true };
        for (host, plan) in &plan(&desired, &live, &options).hosts {
            for change in plan.changes.iter().filter(|change| change.action == PlanAction::Prune) {
                let listed = match &change.key {
                    ResourceKey::Service { project, .. } => ResourceKey::Project(project.clone()),
                    key => key.clone(),
                };
                prop_assert!(ours.get(host).is_some_and(|keys| keys.contains(&listed)), "{host}: {}", change.key);
            }
        }
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter(history in history()) {
        let (desired, live) = lived(&history);
        let mut turned = live.clone();
        for host in turned.hosts.values_mut() {
            let LiveHost::Reached { report, .. } = host else { continue };
            report.listening.reverse();
            report.transactions.reverse();
            for project in report.projects.values_mut() {
                if let Observed::Seen(project) = project {
                    project.containers.reverse();
                }
            }
        }
        prop_assert_eq!(plan_of(&desired, &live), plan_of(&desired, &turned));
    }

    #[test]
    fn what_moves_by_itself_does_not_break_the_seal(history in history(), noise in 1..1000_u32) {
        let (desired, live) = lived(&history);
        let mut later = live.clone();
        for host in later.hosts.values_mut() {
            let LiveHost::Reached { report, .. } = host else { continue };
            report.resources.memory_available += u64::from(noise);
            report.resources.disk_free += u64::from(noise);
            report.fence += u64::from(noise);
            for unit in report.units.values_mut() {
                if let Observed::Seen(unit) = unit {
                    unit.main_pid = noise;
                    unit.restarts += noise;
                }
            }
            for project in report.projects.values_mut() {
                if let Observed::Seen(project) = project {
                    project.containers.iter_mut().for_each(|c| c.started_at = noise.to_string());
                }
            }
        }
        let (saved, fresh) = (plan_of(&desired, &live), plan_of(&desired, &later));
        prop_assert_eq!(super::super::staleness(&saved, &fresh), None);
    }
}
