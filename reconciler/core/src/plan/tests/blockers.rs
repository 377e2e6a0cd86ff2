//! What stands in the way.

use std::collections::BTreeSet;

use holdfast_protocol::{ListeningPort, NginxLive, Observed, Phase, Tool, TransactionStatus};

use super::super::ideal::{ask, empty_live, live_as_desired};
use super::super::sample::{Version, host_name, state};
use super::super::{LiveHost, PlanOptions, Quarantined, app_digest, plan};
use super::{codes, lines, plan_of, report};
use crate::desired::{Body, DesiredState};
use crate::time::Timestamp;

fn v(release: &str) -> DesiredState {
    state(&["web1", "web2"], &Version::new(release))
}

#[test]
fn cap_18_an_unreachable_host_blocks_itself_only() {
    let v1 = v("v1");
    let mut live = empty_live(&v1);
    let away = LiveHost::Unreachable { reason: "connection timed out".to_owned() };
    live.hosts.insert(host_name("web2"), away);
    if let Observed::Absent = report(&mut live, "web1").ledger {
        let ledger = holdfast_protocol::Ledger {
            version: 1,
            migrations: BTreeSet::from(["prod/nps/web/v1".to_owned()]),
            ..Default::default()
        };
        report(&mut live, "web1").ledger = Observed::Seen(ledger);
    }
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["unreachable web2 *"]);
    assert_eq!(plan.blockers[0].message, "web2 cannot be reached: connection timed out");
    assert_eq!(lines(&plan, "web2"), [""; 0]);
    assert!(!lines(&plan, "web1").is_empty());
    let app = "nps".parse().unwrap();
    assert!(plan.is_blocked(&host_name("web2"), &app) && !plan.is_blocked(&host_name("web1"), &app));
    live.hosts.remove(&host_name("web2"));
    assert_eq!(codes(&plan_of(&v1, &live)), ["unreachable web2 *"]);
}

#[test]
fn a_migration_that_an_absent_host_may_have_run_blocks_the_app() {
    let v1 = v("v1");
    let mut live = live_as_desired(&v1);
    live.hosts.insert(host_name("web2"), LiveHost::Unreachable { reason: "down".to_owned() });
    assert_eq!(codes(&plan_of(&v1, &live)), ["unreachable web2 *"], "nothing changes, so nothing is at stake");
    let v2 = v("v2");
    let mut asked = ask(&v2, &live);
    asked.hosts.insert(host_name("web2"), LiveHost::Unreachable { reason: "down".to_owned() });
    assert_eq!(codes(&plan_of(&v2, &asked)), ["migration-unknown * nps", "unreachable web2 *"]);
}

#[test]
fn an_unreadable_ledger_stops_the_host() {
    let v1 = v("v1");
    let mut live = live_as_desired(&v1);
    report(&mut live, "web1").ledger = Observed::Unknown("not JSON".to_owned());
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["unknown web1 *"]);
    assert_eq!(lines(&plan, "web1"), [""; 0]);
}

#[test]
fn cap_13_missing_and_old_tools_are_named() {
    let v1 = v("v1");
    let mut live = live_as_desired(&v1);
    if let Some(LiveHost::Reached { hello, .. }) = live.hosts.get_mut(&host_name("web1")) {
        hello.docker = Tool::Broken("the socket does not answer".to_owned());
        hello.compose = Tool::Version("1.29.2".to_owned());
        hello.nginx = Tool::Missing;
        hello.systemd = Tool::Version("232".to_owned());
    }
    let messages: Vec<_> = plan_of(&v1, &live).blockers.into_iter().map(|b| b.message).collect();
    assert_eq!(
        messages,
        [
            "Docker engine does not answer (the socket does not answer): `systemctl start docker`, then plan again",
            "docker compose 1.29.2 is too old: install 2.0 or newer",
            "nginx is not installed: install 1.18 or newer",
            "systemd 232 is too old: install 236 or newer",
        ]
    );
}

#[test]
fn cap_42_a_broken_nginx_blocks_only_changes_of_nginx() {
    let error = "nginx: [emerg] unknown directive \"brokn\" in /etc/nginx/sites-enabled/shop.conf:7";
    let broken = |error: &str| Observed::Seen(NginxLive { active: true, error: error.to_owned() });
    let v1 = v("v1");
    let mut live = live_as_desired(&v1);
    report(&mut live, "web1").nginx = broken(error);
    assert!(plan_of(&v1, &live).is_empty());
    let mut other = Version::new("v1");
    other.port = 8102;
    let other = state(&["web1", "web2"], &other);
    let plan = plan_of(&other, &ask(&other, &live));
    assert_eq!(codes(&plan), ["foreign-nginx-error web1 nps"]);
    assert!(plan.blockers[0].message.ends_with(error));
    // An error in the file that is about to be replaced is what the change puts right.
    report(&mut live, "web1").nginx = broken("nginx: [emerg] oops in /etc/nginx/conf.d/prod-nps-edge.conf:1");
    assert_eq!(codes(&plan_of(&other, &ask(&other, &live))), [""; 0]);
    report(&mut live, "web1").nginx = Observed::Seen(NginxLive { active: false, error: String::new() });
    assert_eq!(codes(&plan_of(&other, &ask(&other, &live))), ["nginx-not-running web1 nps"]);
    report(&mut live, "web1").nginx = Observed::Unknown("timeout".to_owned());
    assert_eq!(codes(&plan_of(&other, &ask(&other, &live))), ["unknown web1 nps"]);
}

#[test]
fn cap_16_a_port_that_somebody_holds_is_named_with_its_owner() {
    let v1 = v("v1");
    let listen = |port: u16| ListeningPort { address: "0.0.0.0".to_owned(), port, owner: "python3 (812)".to_owned() };
    let mut live = empty_live(&v1);
    report(&mut live, "web1").listening = vec![listen(8101), listen(9999)];
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["port-taken web1 nps"]);
    assert_eq!(
        plan.blockers[0].message,
        "port 8101 (`api` of blue) is held by python3 (812): stop it, or choose another port"
    );
    // The active slot holds its own port; only the idle one's counts.
    let v2 = v("v2");
    let mut live = ask(&v2, &live_as_desired(&v1));
    report(&mut live, "web1").listening = vec![listen(8101)];
    assert_eq!(codes(&plan_of(&v2, &live)), [""; 0]);
    report(&mut live, "web1").listening = vec![listen(8101), listen(8201)];
    assert_eq!(codes(&plan_of(&v2, &live)), ["port-taken web1 nps"]);
}

#[test]
fn too_little_room_blocks_a_host_that_changes() {
    let v1 = v("v1");
    let mut live = empty_live(&v1);
    report(&mut live, "web1").resources.disk_free = 1 << 20;
    report(&mut live, "web2").resources.inodes_free = 10;
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["no-headroom web1 *", "no-headroom web2 *"]);
    let mut live = live_as_desired(&v1);
    report(&mut live, "web1").resources.disk_free = 0;
    assert!(plan_of(&v1, &live).is_empty());
}

#[test]
fn an_unfinished_transaction_blocks_its_app() {
    let v1 = v("v1");
    let mut live = live_as_desired(&v1);
    let status = |app: &str, outcome| TransactionStatus {
        id: "t-1".to_owned().try_into().unwrap(),
        app: app.to_owned(),
        release: "v2".to_owned(),
        fence: 1,
        phase: Phase::Watch,
        outcome,
        running: false,
        followed: false,
        confirms: false,
        manager: String::new(),
        since_ms: 0,
        commit: "c".to_owned(),
    };
    let done = Some(holdfast_protocol::Outcome::Done);
    report(&mut live, "web1").transactions = vec![status("prod/nps", done), status("staging/nps", None)];
    assert!(plan_of(&v1, &live).is_empty());
    report(&mut live, "web1").transactions = vec![status("prod/nps", None)];
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["unfinished-transaction web1 nps"]);
    assert!(plan.blockers[0].message.contains("was cut down and can be resumed"));
}

#[test]
fn cap_36_a_failed_release_is_not_tried_again_until_it_changes() {
    let (v1, v2, v3) = (v("v1"), v("v2"), v("v3"));
    let live = live_as_desired(&v1);
    let app = "nps".parse().unwrap();
    let held = BTreeSet::from([Quarantined {
        app: "nps".parse().unwrap(),
        content: app_digest(&v2, &app),
        reason: "web1: /health answered 500".to_owned(),
    }]);
    let options = PlanOptions {
        observed_at: Timestamp(0),
        quarantined: &held,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: false,
        adopt: false,
    };
    let plan_for = |desired: &DesiredState| plan(desired, &ask(desired, &live), &options);
    assert_eq!(codes(&plan_for(&v2)), ["quarantined * nps"]);
    assert_eq!(codes(&plan_for(&v3)), [""; 0]);
    assert_eq!(codes(&plan_for(&v1)), [""; 0]);
    // Another commit with the same content is the same release.
    let mut again = v2.clone();
    again.commit = v3.commit.clone();
    assert_eq!(codes(&plan_for(&again)), ["quarantined * nps"]);
}

#[test]
fn a_container_of_somebody_else_under_our_name_is_not_touched() {
    let v1 = v("v1");
    let mut live = empty_live(&v1);
    let foreign = super::super::ideal::container("prod-nps-data", "postgres", "", "postgres:17");
    report(&mut live, "web1").projects.insert(
        "prod-nps-data".to_owned(),
        Observed::Seen(holdfast_protocol::ProjectLive { containers: vec![foreign] }),
    );
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["foreign-resource web1 nps"]);
    assert!(!lines(&plan, "web1").iter().any(|line| line.contains("postgres")));

    // What a transaction has made so far is in no ledger yet: it is under way, and nobody else's.
    let row = |live: &crate::plan::LiveState| crate::plan::status(&v1, live, &plan_of(&v1, live)).remove(0);
    assert!(row(&live).note.contains("was not made by Holdfast"), "{}", row(&live).note);
    let running = TransactionStatus {
        id: "t-1".to_owned().try_into().unwrap(),
        app: "prod/nps".to_owned(),
        release: "v1".to_owned(),
        fence: 1,
        phase: Phase::Prepare,
        outcome: None,
        running: true,
        followed: true,
        confirms: false,
        manager: String::new(),
        since_ms: 0,
        commit: "c".to_owned(),
    };
    report(&mut live, "web1").transactions = vec![running];
    assert_eq!(row(&live).note, "v1 is under way");
}

#[test]
fn a_link_in_our_place_is_refused() {
    let v1 = v("v1");
    let mut live = live_as_desired(&v1);
    super::seen(&mut report(&mut live, "web1").files, "/etc/nginx/conf.d/prod-nps-edge.conf").regular = false;
    assert_eq!(codes(&plan_of(&v1, &live)), ["not-a-regular-file web1 nps"]);
}

#[test]
fn what_cannot_be_looked_at_stays_as_it_is() {
    let v1 = v("v1");
    for unknown in ["prod-nps-data", "prod-nps-web-blue"] {
        let mut live = live_as_desired(&v1);
        let why = Observed::Unknown("the engine does not answer".to_owned());
        report(&mut live, "web1").projects.insert(unknown.to_owned(), why);
        // Also when git changes: nothing is said of a component that was seen in part.
        let v2 = v("v2");
        let mut asked = ask(&v2, &live);
        let why = Observed::Unknown("the engine does not answer".to_owned());
        report(&mut asked, "web1").projects.insert(unknown.to_owned(), why);
        for (desired, live) in [(&v1, &live), (&v2, &asked)] {
            let plan = plan_of(desired, live);
            assert!(codes(&plan).contains(&"unknown web1 nps".to_owned()), "{:?}", codes(&plan));
            let component = if unknown == "prod-nps-data" { "data" } else { "web" };
            let touched = plan.hosts[&host_name("web1")].changes.iter().any(|change| change.component == component);
            assert!(!touched, "{unknown}: {:?}", lines(&plan, "web1"));
        }
    }
}

#[test]
fn cap_53_no_migration_is_planned_where_another_host_may_have_run_it() {
    let v1 = v("v1");
    let v2 = v("v2");
    let base = live_as_desired(&v1);
    let migrates = |plan: &crate::plan::Plan| {
        let changes = plan.hosts.values().flat_map(|host| &host.changes);
        changes.into_iter().any(|change| matches!(change.key, crate::plan::ResourceKey::Migration(_)))
    };
    assert!(migrates(&plan_of(&v2, &ask(&v2, &base))), "both hosts answer, and neither has run it");
    let mut blind = ask(&v2, &base);
    report(&mut blind, "web2").ledger = Observed::Unknown("not JSON".to_owned());
    let plan = plan_of(&v2, &blind);
    assert!(!migrates(&plan) && codes(&plan).contains(&"migration-unknown * nps".to_owned()), "{:?}", codes(&plan));
    let mut away = ask(&v2, &base);
    away.hosts.insert(host_name("web2"), LiveHost::Unreachable { reason: "down".to_owned() });
    assert!(!migrates(&plan_of(&v2, &away)));
    // It did run there: then it is known, and the app goes on.
    let mut ran = ask(&v2, &base);
    let Observed::Seen(ledger) = &mut report(&mut ran, "web2").ledger else { panic!("a ledger") };
    ledger.migrations.insert("prod/nps/web/v2".to_owned());
    let plan = plan_of(&v2, &ran);
    assert_eq!((migrates(&plan), codes(&plan)), (false, Vec::new()));
}

/// Gives each container of the web component a limit, and each of its services so many replicas.
fn limited(desired: &mut DesiredState, memory: u64, replicas: u32) {
    let apps = desired.hosts.values_mut().flat_map(|host| host.apps.values_mut());
    for component in apps.flat_map(|app| &mut app.components).filter(|component| component.name.as_str() == "web") {
        let Body::Slots { blue, green } = &mut component.body else { panic!("it has slots") };
        let services = [blue, green]
            .into_iter()
            .flat_map(|place| &mut place.project)
            .flat_map(|project| project.services.values_mut());
        services.for_each(|service| (service.memory, service.replicas) = (Some(memory), replicas));
    }
}

#[test]
fn cap_15_limits_over_what_a_host_has_are_refused_with_both_slots_counted() {
    let gib = 1 << 30;
    let mut v1 = v("v1");
    // Two services in two slots.
    limited(&mut v1, gib, 2);
    for (total, refused) in [(8 * gib, false), (8 * gib - 1, true), (0, false)] {
        let mut live = empty_live(&v1);
        report(&mut live, "web1").resources.memory_total = total;
        report(&mut live, "web2").resources.memory_total = 0;
        let plan = plan_of(&v1, &live);
        assert_eq!(codes(&plan) == ["over-capacity web1 *"], refused, "{total}: {:?}", codes(&plan));
        if refused {
            let message = &plan.blockers[0].message;
            assert!(message.contains("may take 8192 MiB") && message.contains("the host has 8191 MiB"), "{message}");
        }
    }
    // What is there stays; only a change has to fit.
    let mut live = live_as_desired(&v("v1"));
    report(&mut live, "web1").resources.memory_total = gib;
    assert_eq!(codes(&plan_of(&v("v1"), &live)), [""; 0]);
}

#[test]
fn cap_21_one_replica_too_few_or_too_many_is_drift_in_place() {
    let mut v1 = v("v1");
    limited(&mut v1, 1, 1);
    let live = live_as_desired(&v1);
    limited(&mut v1, 1, 2);
    let plan = plan_of(&v1, &live);
    let wanted =
        ["app", "cache"].map(|service| format!("~ service prod-nps-web-blue/{service} [blue] Drifted replicas-differ"));
    assert_eq!(lines(&plan, "web1"), wanted);
    let notes: Vec<_> = plan.hosts[&host_name("web1")].changes.iter().map(|change| change.note.as_str()).collect();
    assert_eq!(notes, ["1 containers are there, and git says 2"; 2]);
    // None are wanted, and none are there.
    limited(&mut v1, 1, 0);
    let live = live_as_desired(&v1);
    assert!(!matches!(report(&mut live.clone(), "web1").projects["prod-nps-web-blue"], Observed::Seen(_)));
    assert!(plan_of(&v1, &live).is_empty());
}

#[test]
fn cap_57_a_migration_waits_until_the_environment_before_has_done_it() {
    let (v1, mut v2) = (v("v1"), v("v2"));
    for component in v2.hosts.values_mut().flat_map(|host| host.apps.values_mut()).flat_map(|app| &mut app.components) {
        if let Some(migrate) = &mut component.migrate {
            migrate.after = Some("stage/nps/web/v2".to_owned());
            migrate.spec.reversible = false;
            migrate.spec.breaking = true;
        }
    }
    let live = ask(&v2, &live_as_desired(&v1));
    let held = BTreeSet::new();
    let with = |migrated: &BTreeSet<String>| {
        let options =
            PlanOptions { observed_at: Timestamp(0), quarantined: &held, migrated, allow_prune: false, adopt: false };
        plan(&v2, &live, &options)
    };
    let waits = with(&BTreeSet::new());
    assert_eq!(codes(&waits), ["migration-not-staged * nps"]);
    assert!(waits.blockers[0].message.contains("only after stage has"), "{}", waits.blockers[0].message);
    let done = with(&BTreeSet::from(["stage/nps/web/v2".to_owned()]));
    assert_eq!(codes(&done), [""; 0]);
    // And what a reviewer has to know stands beside it.
    let migration = done.hosts[&host_name("web1")].changes.iter().find(|change| change.rule == "migration-breaking");
    let note = &migration.unwrap().note;
    assert!(note.contains("nobody is served") && note.contains("cannot be gone back from"), "{note}");
}
