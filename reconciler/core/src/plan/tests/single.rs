//! Components with one place.

use holdfast_protocol::Observed;

use super::super::ideal::{ask, empty_live, live_as_desired};
use super::super::sample::{Version, state};
use super::super::{PlanOptions, plan};
use super::{codes, lines, moves, plan_of, report, seen};
use crate::desired::DesiredState;

const ALL: [&str; 6] = ["data", "web", "api", "jobs", "report", "edge"];

fn only(component: &str, change: impl FnOnce(&mut Version)) -> DesiredState {
    let mut version = Version::new("v1");
    version.without = ALL.iter().filter(|name| **name != component).map(|name| (*name).to_owned()).collect();
    change(&mut version);
    state(&["web1"], &version)
}

#[test]
fn a_singleton_is_stopped_before_it_starts_anew() {
    let live = live_as_desired(&only("jobs", |_| {}));
    let v2 = only("jobs", |v| v.release = "v2".to_owned());
    let plan = plan_of(&v2, &ask(&v2, &live));
    assert_eq!(
        lines(&plan, "web1"),
        [
            "~ file /etc/systemd/system/nps-jobs.service DesiredChanged file-content-differs",
            "-/+ unit nps-jobs.service DependencyChanged unit-file-changed",
        ]
    );
    assert_eq!(moves(&plan, "web1"), ["jobs DestroyFirst -→- \"v1\"→\"v2\""]);
}

#[test]
fn a_service_that_its_timer_starts_may_rest() {
    let v1 = only("report", |_| {});
    let live = live_as_desired(&v1);
    assert!(plan_of(&v1, &live).is_empty());
    let v2 = only("report", |v| v.release = "v2".to_owned());
    assert_eq!(
        lines(&plan_of(&v2, &ask(&v2, &live)), "web1"),
        ["~ file /etc/systemd/system/nps-report.service DesiredChanged file-content-differs"],
        "its timer goes on as it is"
    );
}

#[test]
fn each_state_of_a_unit_has_its_rule() {
    type Edit = fn(&mut holdfast_protocol::UnitLive);
    let v1 = only("jobs", |_| {});
    let cases: [(Edit, &str); 8] = [
        (|u| "failed".clone_into(&mut u.active), "~ unit nps-jobs.service NotRunning unit-failed"),
        (|u| "inactive".clone_into(&mut u.active), "~ unit nps-jobs.service NotRunning unit-not-active"),
        (
            |u| {
                "activating".clone_into(&mut u.active);
                "auto-restart".clone_into(&mut u.sub);
            },
            "~ unit nps-jobs.service NotRunning unit-restarting",
        ),
        (|u| "disabled".clone_into(&mut u.enabled), "~ unit nps-jobs.service Drifted unit-not-enabled"),
        (|u| u.needs_reload = true, "~ unit nps-jobs.service Drifted unit-needs-reload"),
        (|u| "not-found".clone_into(&mut u.load), "+ unit nps-jobs.service Drifted unit-removed"),
        (|u| "bad-setting".clone_into(&mut u.load), "~ unit nps-jobs.service Drifted unit-not-loaded"),
        (|u| "masked".clone_into(&mut u.load), "unit-masked web1 nps"),
    ];
    for (edit, expected) in cases {
        let mut live = live_as_desired(&v1);
        edit(seen(&mut report(&mut live, "web1").units, "nps-jobs.service"));
        let plan = plan_of(&v1, &live);
        let mut said = lines(&plan, "web1");
        said.extend(codes(&plan));
        assert_eq!(said, [expected]);
    }
}

#[test]
fn a_starting_or_static_unit_is_left_alone() {
    let v1 = only("jobs", |_| {});
    let mut live = live_as_desired(&v1);
    let unit = seen(&mut report(&mut live, "web1").units, "nps-jobs.service");
    "activating".clone_into(&mut unit.active);
    "start".clone_into(&mut unit.sub);
    "static".clone_into(&mut unit.enabled);
    unit.restarts = 7;
    assert!(plan_of(&v1, &live).is_empty());
}

#[test]
fn a_unit_that_is_not_to_start_at_boot_is_disabled() {
    let mut v1 = only("jobs", |_| {});
    let mut live = live_as_desired(&v1);
    for app in v1.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        if let crate::desired::Body::Single(artifacts) = &mut app.components[0].body {
            artifacts.units.values_mut().for_each(|unit| unit.enabled = false);
        }
    }
    live = ask(&v1, &live);
    assert_eq!(lines(&plan_of(&v1, &live), "web1"), ["~ unit nps-jobs.service DesiredChanged unit-not-disabled"]);
}

#[test]
fn an_edited_file_is_drift_and_shows_what_was_done() {
    let v1 = only("edge", |_| {});
    let mut live = live_as_desired(&v1);
    let path = "/etc/nginx/conf.d/prod-nps-edge.conf";
    let file = seen(&mut report(&mut live, "web1").files, path);
    let bytes = b"upstream nps_api { server 10.0.0.9:80; }\n".to_vec();
    file.digest = crate::id::digest_of(&bytes);
    file.content = Some(bytes);
    let plan = plan_of(&v1, &live);
    assert_eq!(lines(&plan, "web1"), ["~ file /etc/nginx/conf.d/prod-nps-edge.conf Drifted file-content-differs"]);
    let change = &plan.hosts.values().next().unwrap().changes[0];
    assert_eq!(
        change.diff,
        "@@ -1 +1 @@\n-upstream nps_api { server 10.0.0.9:80; }\n+upstream nps_api { server 127.0.83.1:8101; }\n"
    );
    assert_eq!(change.origin.to_string(), "environments/prod/nps.yaml:7:5");
}

#[test]
fn a_file_that_may_have_held_a_secret_is_never_shown() {
    let v1 = only("jobs", |_| {});
    let live = live_as_desired(&v1);
    // Git now says that the file holds no secret: its content is asked for, and it still has the old one.
    let mut open = v1.clone();
    for app in open.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        if let crate::desired::Body::Single(artifacts) = &mut app.components[0].body {
            let file = artifacts.files.get_mut("/etc/holdfast/prod/nps/jobs.env").unwrap();
            file.content = crate::render::Content::plain("PASSWORD=\n");
            file.mode = 0o644;
        }
    }
    let mut live = ask(&open, &live);
    let check = |live: &super::LiveState| {
        let plan = plan_of(&open, live);
        let change = plan.hosts.values().next().unwrap().changes[0].clone();
        assert_eq!(change.key.to_string(), "file /etc/holdfast/prod/nps/jobs.env");
        assert_eq!(change.diff, "");
    };
    check(&live);
    // Nor when somebody opened it in between.
    seen(&mut report(&mut live, "web1").files, "/etc/holdfast/prod/nps/jobs.env").mode = 0o644;
    check(&live);
}

#[test]
fn a_private_file_without_a_secret_is_shown_when_that_is_certain() {
    let private = |text: &str| {
        let mut state = only("jobs", |_| {});
        for app in state.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
            if let crate::desired::Body::Single(artifacts) = &mut app.components[0].body {
                let file = artifacts.files.get_mut("/etc/holdfast/prod/nps/jobs.env").unwrap();
                file.content = crate::render::Content::plain(text);
                file.mode = 0o600;
            }
        }
        state
    };
    let (v1, v2) = (private("A=1\n"), private("A=2\n"));
    let plan = plan_of(&v2, &ask(&v2, &live_as_desired(&v1)));
    assert_eq!(plan.hosts.values().next().unwrap().changes[0].diff, "@@ -1 +1 @@\n-A=1\n+A=2\n");
}

#[test]
fn equal_content_is_taken_over_silently_and_other_content_is_refused() {
    let v1 = only("edge", |_| {});
    let path = "/etc/nginx/conf.d/prod-nps-edge.conf";
    let mut live = live_as_desired(&v1);
    report(&mut live, "web1").ledger = Observed::Absent;
    assert!(plan_of(&v1, &live).is_empty());

    let mut live = empty_live(&v1);
    let mut file = super::super::ideal::written(&crate::plan::sample::file("mine\n"));
    file.mode = 0o640;
    report(&mut live, "web1").files.insert(path.to_owned(), Observed::Seen(file));
    let refused = plan_of(&v1, &live);
    assert_eq!(codes(&refused), ["foreign-resource web1 nps"]);
    assert!(refused.blockers[0].message.contains(path) && refused.blockers[0].message.contains("--adopt"));
    assert_eq!(lines(&refused, "web1"), [""; 0]);

    let quarantined = std::collections::BTreeSet::new();
    let options = PlanOptions {
        observed_at: crate::time::Timestamp(0),
        quarantined: &quarantined,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: false,
        adopt: true,
    };
    let adopted = plan(&v1, &live, &options);
    assert_eq!(lines(&adopted, "web1"), [format!("~ file {path} Missing file-adopted")]);
}

#[test]
fn only_a_drifted_file_restarts_services_whose_digest_is_as_before() {
    let single = |secret: &str| {
        only("web", |v| {
            v.slots = false;
            v.secret = secret.to_owned();
        })
    };
    let path = "/etc/holdfast/prod/nps/web/secrets.env";
    let v1 = single("00");
    let mut live = live_as_desired(&v1);
    let rotated = single("11");
    assert_eq!(
        lines(&plan_of(&rotated, &ask(&rotated, &live)), "web1"),
        [format!("~ file {path} DesiredChanged file-content-differs")]
    );
    seen(&mut report(&mut live, "web1").files, path).digest = crate::id::digest_of(b"edited");
    assert_eq!(
        lines(&plan_of(&v1, &ask(&v1, &live)), "web1"),
        [
            format!("~ file {path} Drifted file-content-differs"),
            "~ service prod-nps-web/app DependencyChanged mounted-file-drifted".to_owned(),
            "~ service prod-nps-web/cache DependencyChanged mounted-file-drifted".to_owned(),
        ]
    );
}

#[test]
fn a_service_that_left_the_compose_file_is_removed() {
    let v1 = only("data", |_| {});
    let mut live = live_as_desired(&v1);
    let project = seen(&mut report(&mut live, "web1").projects, "prod-nps-data");
    let mut old = project.containers[0].clone();
    "old".clone_into(&mut old.service);
    let mut foreign = old.clone();
    "foreign".clone_into(&mut foreign.service);
    foreign.digest.clear();
    project.containers.extend([old, foreign]);
    assert_eq!(lines(&plan_of(&v1, &live), "web1"), ["- service prod-nps-data/old NotInDesired service-not-in-git"]);
}

#[test]
fn ignored_things_are_left_alone_but_still_made() {
    let mut v1 = only("edge", |_| {});
    v1.sync.ignore = vec!["file /etc/nginx/*".to_owned()];
    let first = plan_of(&v1, &empty_live(&v1));
    assert_eq!(first.hosts.values().next().unwrap().changes.len(), 1, "what is not there is made");
    let mut live = live_as_desired(&v1);
    seen(&mut report(&mut live, "web1").files, "/etc/nginx/conf.d/prod-nps-edge.conf").mode = 0o600;
    assert!(plan_of(&v1, &live).is_empty());
    v1.sync.ignore = vec!["file /etc/{nginx".to_owned()];
    assert_eq!(codes(&plan_of(&v1, &live)), ["ignore-pattern * *"]);
}

/// Two units beside each other, in one component with a file that any of them may read.
fn pair(edited: &str, shared: &str) -> DesiredState {
    let mut desired = only("jobs", |_| {});
    for app in desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let component = &mut app.components[0];
        component.strategy = crate::config::Strategy::InPlace;
        let crate::desired::Body::Single(artifacts) = &mut component.body else { panic!("one place") };
        artifacts.files.clear();
        artifacts.units.clear();
        for (unit, text) in [("a.service", edited), ("b.service", "[Service]\n")] {
            artifacts.files.insert(format!("/etc/systemd/system/{unit}"), super::super::sample::file(text));
            artifacts.units.insert(unit.to_owned(), crate::desired::DesiredUnit { enabled: true });
        }
        artifacts.files.insert("/etc/shop.conf".to_owned(), super::super::sample::file(shared));
    }
    desired
}

#[test]
fn cap_27_only_the_units_that_start_anew_are_listed() {
    let live = live_as_desired(&pair("[Service]\n", "x\n"));
    let edited = pair("[Service]\nNice=5\n", "x\n");
    assert_eq!(
        lines(&plan_of(&edited, &ask(&edited, &live)), "web1"),
        [
            "~ file /etc/systemd/system/a.service DesiredChanged file-content-differs",
            "~ unit a.service DependencyChanged unit-file-changed",
        ]
    );
    let shared = pair("[Service]\n", "y\n");
    let plan = plan_of(&shared, &ask(&shared, &live));
    assert_eq!(
        lines(&plan, "web1"),
        [
            "~ file /etc/shop.conf DesiredChanged file-content-differs",
            "~ unit a.service DependencyChanged unit-file-changed",
            "~ unit b.service DependencyChanged unit-file-changed",
        ]
    );
    let change = &plan.hosts.values().next().unwrap().changes[1];
    assert_eq!(change.note, "/etc/shop.conf changes");
}

#[test]
fn a_file_that_leaves_restarts_those_that_may_have_read_it() {
    let live = live_as_desired(&pair("[Service]\n", "x\n"));
    let mut gone = pair("[Service]\n", "x\n");
    for app in gone.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let crate::desired::Body::Single(artifacts) = &mut app.components[0].body else { panic!("one place") };
        artifacts.files.remove("/etc/shop.conf");
    }
    assert_eq!(
        lines(&plan_of(&gone, &ask(&gone, &live)), "web1"),
        [
            "~ unit a.service DependencyChanged unit-file-changed",
            "~ unit b.service DependencyChanged unit-file-changed",
            "- file /etc/shop.conf NotInDesired resource-not-in-git",
        ]
    );
}

#[test]
fn a_drop_in_that_nobody_knows_blocks_its_unit() {
    let path = "/etc/systemd/system/a.service.d/override.conf";
    let mut desired = pair("[Service]\n", "x\n");
    let mut live = live_as_desired(&desired);
    seen(&mut report(&mut live, "web1").units, "a.service").drop_ins = vec![path.to_owned()];
    let plan = plan_of(&desired, &live);
    assert_eq!((codes(&plan), lines(&plan, "web1")), (vec!["foreign-resource web1 nps".to_owned()], Vec::new()));
    assert!(plan.blockers[0].message.contains(path));
    let mut ignored = desired.clone();
    ignored.sync.ignore = vec![format!("file {path}")];
    assert!(plan_of(&ignored, &live).is_empty());
    // Once it is in git it is a file like any other.
    for app in desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let crate::desired::Body::Single(artifacts) = &mut app.components[0].body else { panic!("one place") };
        artifacts.files.insert(path.to_owned(), super::super::sample::file("[Service]\nNice=5\n"));
    }
    let mut asked = ask(&desired, &live);
    seen(&mut report(&mut asked, "web1").units, "a.service").drop_ins = vec![path.to_owned()];
    assert_eq!(codes(&plan_of(&desired, &asked)), [""; 0]);
}
