//! Built frontends.

use std::collections::BTreeSet;

use holdfast_protocol::{Digest, Observed, StaticAt, StaticContent, StaticLive};

use super::super::ideal::{apply, empty_live, live_as_desired, plan_of, report};
use super::super::sample::{Version, component, host_name, origin, state};
use super::super::{Approach, LiveState, Plan, PlanOptions, plan};
use super::{codes, lines};
use crate::config::Strategy;
use crate::desired::{Artifacts, Body, DesiredState, DesiredStatic, StaticFound};
use crate::time::Timestamp;

const AT: &str = "/var/www/nps";
const KEY: &str = "static /var/www/nps";

/// The sample with a frontend of some release.
fn with_frontend(release: u8) -> DesiredState {
    let mut state = state(&["web1"], &Version::new("v1"));
    for app in state.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let mut frontend = component("frontend", Strategy::InPlace, Body::Single(Artifacts::default()));
        frontend.statics = Some(DesiredStatic {
            path: AT.to_owned(),
            archive: format!("nps-v{release}.tar"),
            sha256: Digest([release; 32]),
            origin: origin("environments/prod/nps.yaml", 9),
            found: StaticFound::Read { size: 2_000_000, content: StaticContent { files: 214, bytes: 1_900_000 } },
        });
        app.components.push(frontend);
    }
    state
}

fn found(state: &mut DesiredState, found: &StaticFound) {
    let apps = state.hosts.values_mut().flat_map(|host| host.apps.values_mut());
    for wanted in apps.flat_map(|app| &mut app.components).filter_map(|component| component.statics.as_mut()) {
        wanted.found = found.clone();
    }
}

fn live_at(live: &mut LiveState, at: StaticAt, unpacked: bool, changed: &[&str]) {
    let changed = changed.iter().map(|text| (*text).to_owned()).collect();
    let seen = Observed::Seen(StaticLive { at, unpacked, changed });
    report(live, "web1").statics.insert(AT.to_owned(), seen);
}

/// The change of the frontend: its symbol, its rule and its note.
fn said(plan: &Plan) -> Vec<String> {
    let changes = plan.hosts[&host_name("web1")].changes.iter();
    changes
        .filter(|change| change.key.to_string() == KEY)
        .map(|change| {
            assert_eq!((change.origin.file.as_str(), change.origin.line), ("environments/prod/nps.yaml", 9));
            format!("{} {} {:?}: {}", change.action.symbol(), change.rule, change.reason, change.note)
        })
        .collect()
}

#[test]
fn cap_33_a_plan_says_what_comes_and_a_second_one_is_empty() {
    let v1 = with_frontend(1);
    let empty = empty_live(&v1);
    let first = plan_of(&v1, &empty);
    assert_eq!(said(&first), ["+ static-missing Missing: nps-v1.tar (214 files, 2 MB); it is sent"]);
    let mut live = apply(&v1, &first, &empty);
    assert!(plan_of(&v1, &live).is_empty());
    assert_ne!(first.seal, plan_of(&v1, &live).seal);
    // A host is asked for the release that is wanted.
    live_at(&mut live, StaticAt::Release(Digest([1; 32])), false, &[]);
    let v2 = with_frontend(2);
    let next = plan_of(&v2, &live);
    assert_eq!(
        said(&next),
        [
            "~ static-release-differs DesiredChanged: nps-v1.tar (0 files, 0 kB) → nps-v2.tar (214 files, 2 MB); it is sent"
        ]
    );
    assert_eq!(lines(&next, "web1").len(), 1, "nothing else changes: {:?}", lines(&next, "web1"));
    let moved = &next.hosts[&host_name("web1")].components[0];
    assert_eq!((moved.approach, moved.component.as_str()), (Approach::InPlace, "frontend"));
    assert!(plan_of(&v2, &apply(&v2, &next, &live)).is_empty());
}

#[test]
fn cap_33_drift_of_link_and_files_is_seen() {
    let v1 = with_frontend(1);
    let mut live = live_as_desired(&v1);
    let ours = StaticAt::Release(Digest([1; 32]));
    for (at, unpacked, changed, wanted) in [
        (ours.clone(), true, &[][..], None),
        (StaticAt::Nothing, true, &[], Some("static-link-differs Drifted: the link is gone")),
        (StaticAt::Elsewhere("/srv/x".to_owned()), true, &[], Some("static-link-differs Drifted: it leads to /srv/x")),
        (
            StaticAt::Release(Digest([9; 32])),
            true,
            &[],
            Some("static-link-differs Drifted: it leads to the release 0909090909090909"),
        ),
        (
            ours.clone(),
            true,
            &["index.html was changed", "x was added"],
            Some("static-files-differ Drifted: index.html was changed; x was added; it is sent"),
        ),
        (ours, false, &[], Some("static-files-differ Drifted: its folder is gone; it is sent")),
    ] {
        live_at(&mut live, at, unpacked, changed);
        let plan = plan_of(&v1, &live);
        let wanted: Vec<String> = wanted.into_iter().map(|text| format!("~ {text}")).collect();
        // How much of a digest is shown is not this test's matter.
        let cut = |all: Vec<String>| -> Vec<String> {
            all.into_iter().map(|line| line.split(" 0909").next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(cut(said(&plan)), cut(wanted));
        assert_eq!(codes(&plan), [""; 0]);
    }
    // What could not be looked at is not changed.
    report(&mut live, "web1").statics.insert(AT.to_owned(), Observed::Unknown("EIO".to_owned()));
    let plan = plan_of(&v1, &live);
    assert_eq!((said(&plan), codes(&plan)), (Vec::new(), vec!["unknown web1 nps".to_owned()]));
}

#[test]
fn cap_33_an_archive_is_only_missed_where_it_is_needed() {
    let mut v1 = with_frontend(1);
    let live = live_as_desired(&v1);
    found(&mut v1, &StaticFound::Wrong("the archive nps-v1.tar is not there".to_owned()));
    assert!(plan_of(&v1, &live).is_empty(), "what serves does not need it");
    let plan = plan_of(&v1, &empty_live(&v1));
    assert!(codes(&plan).contains(&"bad-archive web1 nps".to_owned()), "{:?}", codes(&plan));
    let mut v2 = with_frontend(2);
    let mut full = live;
    live_at(&mut full, StaticAt::Release(Digest([1; 32])), false, &[]);
    report(&mut full, "web1").resources.disk_free = 270_000_000;
    assert_eq!(codes(&plan_of(&v2, &full)), ["no-headroom web1 nps"]);
    found(&mut v2, &StaticFound::Unread);
    assert_eq!(codes(&plan_of(&v2, &full)), [""; 0]);
}

#[test]
fn cap_33_what_somebody_else_has_there_stays_unless_it_is_asked_for() {
    let v1 = with_frontend(1);
    for at in [StaticAt::Foreign("a folder".to_owned()), StaticAt::Elsewhere("/srv/old".to_owned())] {
        let mut live = empty_live(&v1);
        live_at(&mut live, at, false, &[]);
        let refused = plan_of(&v1, &live);
        assert_eq!((said(&refused), codes(&refused)), (Vec::new(), vec!["foreign-resource web1 nps".to_owned()]));
        assert!(refused.blockers[0].message.contains("aside as /var/www/nps.adopted with --adopt"));
        let options = PlanOptions {
            observed_at: Timestamp(1_000),
            quarantined: &BTreeSet::new(),
            migrated: &BTreeSet::new(),
            allow_prune: false,
            adopt: true,
        };
        let adopted = said(&plan(&v1, &live, &options));
        assert!(adopted[0].starts_with("~ static-adopted Missing: nps-v1.tar (214 files, 2 MB); a "), "{adopted:?}");
    }
    // Also when a folder took the place of our link: it may be all somebody has.
    let mut live = live_as_desired(&v1);
    live_at(&mut live, StaticAt::Foreign("a folder".to_owned()), true, &[]);
    assert_eq!(codes(&plan_of(&v1, &live)), ["foreign-resource web1 nps"]);
}

#[test]
fn cap_33_what_git_has_no_more_is_pruned() {
    let v1 = with_frontend(1);
    let live = live_as_desired(&v1);
    let without = state(&["web1"], &Version::new("v1"));
    let plan = plan_of(&without, &live);
    assert_eq!(said_of_prune(&plan), ["- component-not-in-git"]);
    assert!(plan_of(&without, &apply(&without, &plan, &live)).is_empty());
}

fn said_of_prune(plan: &Plan) -> Vec<String> {
    let changes = plan.hosts[&host_name("web1")].changes.iter();
    changes.map(|change| format!("{} {}", change.action.symbol(), change.rule)).collect()
}
