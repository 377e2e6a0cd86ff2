//! What has to be on a host before a component.

use std::collections::BTreeMap;

use holdfast_protocol::{AccountSpec, FolderSpec, Observed, Prerequisites};

use super::super::ideal::{apply, ask, empty_live, live_as_desired, plan_of};
use super::super::sample::{Version, host_name, state};
use super::{codes, lines, moves, report, seen};
use crate::desired::DesiredState;

/// Gives components what has to be there: one with slots, and one without.
fn with(version: &str, mode: u32) -> DesiredState {
    let mut desired = state(&["web1"], &Version::new(version));
    let app = desired.hosts.get_mut(&host_name("web1")).unwrap().apps.values_mut().next().unwrap();
    for component in app.components.iter_mut().filter(|c| ["web", "jobs"].contains(&c.name.as_str())) {
        let name = component.name.to_string();
        let account = AccountSpec {
            group: name.clone(),
            groups: ["readers".to_owned()].into(),
            home: "/nonexistent".to_owned(),
            shell: "/usr/sbin/nologin".to_owned(),
            system: true,
        };
        let folder = FolderSpec { owner: name.clone(), group: "readers".to_owned(), mode };
        component.prerequisites = Prerequisites {
            groups: ["readers".to_owned()].into(),
            accounts: BTreeMap::from([(name.clone(), account)]),
            folders: BTreeMap::from([(format!("/srv/{name}"), folder)]),
        };
    }
    desired
}

#[test]
fn cap_14_what_has_to_be_there_is_made_first_and_once() {
    let v1 = with("v1", 0o750);
    let live = empty_live(&v1);
    let plan = plan_of(&v1, &live);
    let jobs: Vec<String> = lines(&plan, "web1").into_iter().filter(|line| !line.contains("nps-")).collect();
    for line in ["+ group readers Missing group-missing", "+ account jobs Missing account-missing"] {
        assert!(jobs.iter().any(|found| found == line), "{jobs:#?}");
    }
    let live = apply(&v1, &plan, &live);
    assert!(plan_of(&v1, &live).is_empty(), "{:#?}", lines(&plan_of(&v1, &live), "web1"));
}

#[test]
fn cap_14_a_mode_that_git_changes_is_changed_in_place_and_no_slot_moves() {
    let live = live_as_desired(&with("v1", 0o750));
    let head = with("v1", 0o700);
    let plan = plan_of(&head, &ask(&head, &live));
    assert_eq!(
        lines(&plan, "web1"),
        [
            "~ folder /srv/web DesiredChanged folder-mode-differs",
            "~ folder /srv/jobs DesiredChanged folder-mode-differs"
        ]
    );
    assert_eq!(moves(&plan, "web1"), ["web InPlace blue→blue \"v1\"→\"v1\"", "jobs InPlace -→- \"v1\"→\"v1\""]);
    let live = apply(&head, &plan, &live);
    assert!(plan_of(&head, &live).is_empty());
}

#[test]
fn cap_14_what_was_changed_by_hand_is_drift_and_moves_the_seal() {
    let v1 = with("v1", 0o750);
    let mut live = live_as_desired(&v1);
    let before = plan_of(&v1, &live).seal;
    seen(&mut report(&mut live, "web1").prerequisites.folders, "/srv/jobs").mode = 0o777;
    let plan = plan_of(&v1, &live);
    assert_eq!(lines(&plan, "web1"), ["~ folder /srv/jobs Drifted folder-mode-differs"]);
    assert_ne!(plan.seal, before);
    assert_eq!(crate::plan::drift(&plan).count(), 1);
}

/// Unknown is not absent, also for what others stand on.
#[test]
fn cap_14_what_cannot_be_looked_at_stops_what_needs_it() {
    let v1 = with("v1", 0o750);
    let mut live = empty_live(&v1);
    let people = &mut report(&mut live, "web1").prerequisites.accounts;
    people.insert("jobs".to_owned(), Observed::Unknown("no passwd".to_owned()));
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["unknown web1 nps"]);
    assert!(!lines(&plan, "web1").iter().any(|line| line.contains("nps-jobs")));
}

#[test]
fn cap_14_a_missing_package_blocks_and_names_what_installs_it() {
    let mut v1 = with("v1", 0o750);
    let app = v1.hosts.get_mut(&host_name("web1")).unwrap().apps.values_mut().next().unwrap();
    app.components[0].packages = ["jq".to_owned(), "postgresql-client-17".to_owned()].into();
    let mut live = empty_live(&v1);
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["missing-package web1 nps"]);
    assert!(plan.blockers[0].message.contains("apt-get install --no-install-recommends jq postgresql-client-17"));
    let packages = &mut report(&mut live, "web1").prerequisites.packages;
    for package in packages.values_mut() {
        *package = Observed::Seen("1".to_owned());
    }
    assert!(plan_of(&v1, &live).blockers.is_empty());
}
