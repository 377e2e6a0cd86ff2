use std::time::Duration;

use holdfast_core::config::RolloutPolicy;
use holdfast_core::desired::{ArchiveContent, DesiredArchive};
use holdfast_core::event::{SyncEventKind, SyncResult};
use holdfast_core::id::{HostName, digest_of};
use holdfast_core::plan::Quarantined;
use holdfast_engine::apply::{Heard, OperatorVerb, OperatorWord, operator};
use holdfast_engine::ports::Ports;
use holdfast_engine::rollback::{RollbackRequest, rollback};
use holdfast_engine::sync::{Expected, sync};
use holdfast_protocol::{Decision, JournalEvent, Outcome, Phase, Request};
use holdfast_testkit::fake_host::image_id;

use super::sample::{Release, host_names, policy, shop};
use super::*;

fn together() -> RolloutPolicy {
    RolloutPolicy { all_or_nothing: true, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn cap_05_two_releases_and_nothing_left_to_do() {
    for policy in [policy(), together()] {
        let fleet = fleet(3);
        for name in ["v1", "v2", "v3"] {
            let release = Release::good(name);
            let report = bring(&fleet, 3, &release, &policy).await;
            assert_result(&report, SyncResult::Synced);
            assert_serves(&fleet, name);
            assert_eq!(left_to_do(&fleet, &shop(3, Some(&release), &policy)).await, Vec::<String>::new());
            let again = bring(&fleet, 3, &release, &policy).await;
            assert_result(&again, SyncResult::NoChange);
            let commit = shop(3, Some(&release), &policy).commit.to_string();
            assert!(fleet.hosts().all(|(_, host)| host.world().ledger.unwrap().apps["prod/shop"].commit == commit));
            let app = &report.apps[&"shop".parse().unwrap()];
            assert!(report.probes().run > 0, "{report:#?}");
            assert!(app.hosts.values().all(|host| host.switch_ms.len() == 1 || name == "v1"), "{app:#?}");
            assert_eq!(app.hosts.values().filter(|host| host.migrated).count(), 1);
        }
        assert!(migrations(&fleet).values().all(|runs| *runs == 1), "{:?}", migrations(&fleet));
    }
}

/// At the switch of the canary, and on the last host after the others stand.
#[tokio::test(start_paused = true)]
async fn cap_82_a_smoke_test_that_fails_sends_everybody_back() {
    for (failing, touched) in [(0, 1), (2, 3)] {
        let fleet = fleet(3);
        bring(&fleet, 3, &Release::good("v1"), &together()).await;
        fleet.host(&host_names(3)[failing]).break_step("smoke tests");
        let report = bring(&fleet, 3, &Release::good("v2"), &together()).await;
        assert_result(&report, SyncResult::RolledBack);
        assert_serves(&fleet, "v1");
        let app = &report.apps[&"shop".parse().unwrap()];
        let switched = app.hosts.values().filter(|host| !host.switch_ms.is_empty()).count();
        assert_eq!(switched, touched, "{app:#?}");
        assert!(app.quarantined.contains("smoke tests"), "{}", app.quarantined);
        fleet.host(&host_names(3)[failing]).repair();
        let back = bring(&fleet, 3, &Release::good("v1"), &together()).await;
        assert_result(&back, SyncResult::NoChange);
    }
}

#[tokio::test(start_paused = true)]
async fn cap_14_what_has_to_be_on_a_host_is_made_put_right_and_left_there() {
    let fleet = fleet(2);
    let (v1, host) = (Release::good("v1"), &host_names(2)[0]);
    assert_result(&bring(&fleet, 2, &v1, &policy()).await, SyncResult::Synced);
    let made = fleet.host(host).world().prerequisites;
    assert_eq!(made.folders["/srv/shop"].mode, 0o750);
    assert!(made.accounts["shop"].groups.contains("readers"), "{made:?}");
    fleet.host(host).tamper(|world| {
        world.prerequisites.folders.get_mut("/srv/shop").unwrap().mode = 0o777;
        world.prerequisites.accounts.get_mut("shop").unwrap().groups.clear();
    });
    let left = left_to_do(&fleet, &shop(2, Some(&v1), &policy())).await;
    assert_eq!(
        left,
        [
            format!("{host}: ~ account shop (account-differs)"),
            format!("{host}: ~ folder /srv/shop (folder-mode-differs)")
        ]
    );
    assert_result(&bring(&fleet, 2, &v1, &policy()).await, SyncResult::Synced);
    assert_eq!(fleet.host(host).world().prerequisites, made);
    assert_eq!(left_to_do(&fleet, &shop(2, Some(&v1), &policy())).await, Vec::<String>::new());
    let gone = sync(&fleet.ports(), &request(shop(2, None, &policy())), &mut silent()).await;
    assert_result(&gone, SyncResult::Synced);
    assert_eq!(fleet.host(host).world().prerequisites, made, "nothing of it is ever removed");
}

#[tokio::test(start_paused = true)]
async fn cap_09_an_archive_is_sent_where_its_image_is_missing_and_stays_nowhere() {
    let (fleet, release) = (fleet(3), Release::good("v1"));
    let folder = tempfile::tempdir().unwrap();
    // In three pieces.
    let bytes = vec![7; (2 << 20) + 1];
    std::fs::write(folder.path().join("shop.tar"), &bytes).unwrap();
    let ports = Ports { archives: folder.path().into(), ..fleet.ports() };
    let mut desired = shop(3, Some(&release), &policy());
    let images = [("shop:v1".to_owned(), [image_id("shop:v1")].into())].into();
    let content = ArchiveContent::Read { size: bytes.len() as u64, images };
    for app in desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let sha256 = digest_of(&bytes);
        app.archives = vec![DesiredArchive { file: "shop.tar".to_owned(), sha256, content: content.clone() }];
    }
    let names = host_names(3);
    fleet.host(&names[1]).tamper(|world| world.images.extend(["shop:v1".to_owned()]));
    let report = sync(&ports, &request(desired.clone()), &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    assert_serves(&fleet, "v1");
    for name in &names {
        let world = fleet.host(name).world();
        assert!(world.images.contains("shop:v1"));
        assert!(world.blobs.values().all(|blob| blob.len() < bytes.len()), "the archive stays on no host");
    }
    let app = &report.apps[&"shop".parse().unwrap()];
    let sent = |name: &HostName| app.hosts[name].sent_bytes >= bytes.len() as u64;
    assert_eq!([sent(&names[0]), sent(&names[1]), sent(&names[2])], [true, false, true], "{app:#?}");
    assert_eq!(left_to_do(&fleet, &desired).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_old_slot_stays_startable_and_nothing_else_runs() {
    let fleet = fleet(1);
    for name in ["v1", "v2"] {
        bring(&fleet, 1, &Release::good(name), &policy()).await;
    }
    let world = fleet.host(&host_names(1)[0]).world();
    let container = |slot: &str| world.projects[&format!("prod-shop-web-{slot}")]["api"].clone();
    assert_eq!((container("blue").image.as_str(), container("blue").running), ("shop:v1", None));
    assert!(container("green").running.is_some());
    assert!(world.units["shop-worker@green.service"].running.is_some());
    assert!(world.units["shop-worker@blue.service"].running.is_none());
    assert!(!world.units["shop-worker@blue.service"].enabled);
}

#[tokio::test(start_paused = true)]
async fn cap_72_the_old_slot_goes_when_its_time_is_over_and_the_release_can_still_be_gone_back_to() {
    let fleet = fleet(2);
    for name in ["v1", "v2"] {
        bring(&fleet, 2, &Release::good(name), &policy()).await;
    }
    let holds_blue = || {
        fleet.hosts().any(|(_, host)| {
            let world = host.world();
            world.projects.get("prod-shop-web-blue").is_some_and(|project| !project.is_empty())
                || world.files.keys().any(|path| path.contains("@blue") || path.contains("web-blue"))
        })
    };
    let v2 = Release::good("v2");
    tokio::time::advance(Duration::from_secs(23 * 3600)).await;
    assert_result(&bring(&fleet, 2, &v2, &policy()).await, SyncResult::NoChange);
    assert!(holds_blue());
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_result(&bring(&fleet, 2, &v2, &policy()).await, SyncResult::Synced);
    assert!(!holds_blue(), "all of the old slot is gone");
    assert_serves(&fleet, "v2");
    assert_result(&bring(&fleet, 2, &v2, &policy()).await, SyncResult::NoChange);

    let request = RollbackRequest {
        desired: shop(2, Some(&v2), &policy()),
        app: "shop".parse().unwrap(),
        to: None,
        by: String::new(),
        downgrade: false,
    };
    assert_result(&rollback(&fleet.ports(), &request, &mut silent()).await, SyncResult::Synced);
    assert_serves(&fleet, "v1");
    assert!(holds_blue());
    assert!(migrations(&fleet).values().all(|runs| *runs == 1), "{:?}", migrations(&fleet));
}

#[tokio::test(start_paused = true)]
async fn cap_36_a_release_that_never_gets_healthy_takes_no_traffic_and_is_quarantined() {
    for policy in [policy(), together()] {
        let fleet = fleet(3);
        bring(&fleet, 3, &Release::good("v1"), &policy).await;
        let bad = Release::bad("v2", "simulate: unhealthy");
        let report = bring(&fleet, 3, &bad, &policy).await;
        assert_result(&report, SyncResult::RolledBack);
        assert_serves(&fleet, "v1");
        let app = &report.apps[&"shop".parse().unwrap()];
        assert!(app.quarantined.contains("unhealthy"), "{app:#?}");
        assert!(app.hosts.values().all(|host| host.switch_ms.is_empty()), "nobody switched");
        assert_eq!(migrations(&fleet).get("prod/shop/web/v2"), None, "what never got healthy migrates nothing");

        let mut held = request(shop(3, Some(&bad), &policy));
        held.quarantined.insert(Quarantined {
            app: "shop".parse().unwrap(),
            content: app.quarantined_content.parse().unwrap(),
            reason: app.quarantined.clone(),
        });
        let report = sync(&fleet.ports(), &held, &mut silent()).await;
        assert_result(&report, SyncResult::Blocked);
        assert!(report.blockers[0].starts_with("quarantined"), "{:?}", report.blockers);

        let report = bring(&fleet, 3, &Release::good("v3"), &policy).await;
        assert_result(&report, SyncResult::Synced);
        assert_serves(&fleet, "v3");
    }
}

#[tokio::test(start_paused = true)]
async fn cap_37_a_release_that_dies_in_its_watch_window_goes_back_by_itself() {
    for policy in [policy(), together()] {
        let fleet = fleet(2);
        bring(&fleet, 2, &Release::good("v1"), &policy).await;
        let report = bring(&fleet, 2, &Release::bad("v2", "simulate: dies"), &policy).await;
        assert_result(&report, SyncResult::RolledBack);
        assert_serves(&fleet, "v1");
        assert_eq!(left_to_do(&fleet, &shop(2, Some(&Release::good("v1")), &policy)).await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn cap_74_a_release_that_does_not_say_its_name_goes_back() {
    let fleet = fleet(1);
    bring(&fleet, 1, &Release::good("v1"), &policy()).await;
    let report = bring(&fleet, 1, &Release::bad("v2", "simulate: wrong release"), &policy()).await;
    assert_result(&report, SyncResult::RolledBack);
    assert_serves(&fleet, "v1");
}

#[tokio::test(start_paused = true)]
async fn cap_54_a_failed_migration_stops_before_traffic() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let report = bring(&fleet, 2, &Release::bad("v2", "simulate: migration fails"), &policy()).await;
    assert_result(&report, SyncResult::RolledBack);
    assert_serves(&fleet, "v1");
    assert_eq!(fleet.host(&host_names(2)[1]).journals().len(), 1, "the second host never began");
}

#[tokio::test(start_paused = true)]
async fn one_host_that_cannot_stops_everyone_before_anything_begins() {
    let fleet = fleet(3);
    bring(&fleet, 3, &Release::good("v1"), &policy()).await;
    let report = bring(&fleet, 3, &Release::bad("v2", "simulate: invalid"), &policy()).await;
    assert_result(&report, SyncResult::Blocked);
    assert_serves(&fleet, "v1");
    assert!(fleet.hosts().all(|(_, host)| host.journals().len() == 1), "nothing began");
    assert!(report.troubles[0].error.contains("is not valid"), "{:?}", report.troubles);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_fails_is_no_reason_for_a_quarantine() {
    let fleet = fleet(1);
    let host = fleet.host(&host_names(1)[0]);
    host.break_step("images");
    let report = bring(&fleet, 1, &Release::good("v1"), &policy()).await;
    assert_result(&report, SyncResult::RolledBack);
    assert_eq!(report.apps[&"shop".parse().unwrap()].quarantined, "");
    assert_eq!(host.world().files.len(), 0, "an abandoned first release leaves nothing");
    host.repair();
    assert_result(&bring(&fleet, 1, &Release::good("v1"), &policy()).await, SyncResult::Synced);
}

#[tokio::test(start_paused = true)]
async fn cap_18_an_unreachable_host_waits_for_later_or_stops_everyone() {
    let (h1, h2) = (host_names(2)[0].clone(), host_names(2)[1].clone());
    // Whether a host out of reach has migrated is not known, so a release that migrates waits for all.
    for (policy, migrates, moved) in
        [(policy(), false, Some("v2")), (policy(), true, Some("v1")), (together(), false, Some("v1"))]
    {
        let fleet = fleet(2);
        let mut v2 = shop(2, Some(&Release::good("v2")), &policy);
        if !migrates {
            let apps = v2.hosts.values_mut().flat_map(|host| host.apps.values_mut());
            apps.flat_map(|app| &mut app.components).for_each(|component| component.migrate = None);
        }
        bring(&fleet, 2, &Release::good("v1"), &policy).await;
        fleet.host(&h2).cut(Duration::from_secs(3600));
        let report = sync(&fleet.ports(), &request(v2.clone()), &mut silent()).await;
        assert_result(&report, SyncResult::Blocked);
        assert_eq!(serving(&fleet.host(&h1).world()).as_deref(), moved);
        assert_eq!(serving(&fleet.host(&h2).world()).as_deref(), Some("v1"), "unknown is not absent");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_result(&sync(&fleet.ports(), &request(v2), &mut silent()).await, SyncResult::Synced);
        assert_serves(&fleet, "v2");
    }
}

#[tokio::test(start_paused = true)]
async fn cap_72_rollback_needs_no_version_and_the_left_release_does_not_come_back() {
    let fleet = fleet(3);
    for name in ["v1", "v2"] {
        bring(&fleet, 3, &Release::good(name), &policy()).await;
    }
    let before: Vec<_> = fleet.hosts().map(|(_, host)| host.world().ledger.unwrap()).collect();
    let desired = shop(3, Some(&Release::good("v2")), &policy());
    let back = RollbackRequest {
        desired: desired.clone(),
        app: "shop".parse().unwrap(),
        to: None,
        by: String::new(),
        downgrade: false,
    };
    let report = rollback(&fleet.ports(), &back, &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    assert_serves(&fleet, "v1");
    assert_eq!(left_to_do(&fleet, &shop(3, Some(&Release::good("v1")), &policy())).await, Vec::<String>::new());
    let app = &report.apps[&"shop".parse().unwrap()];
    assert!(app.quarantined.contains("v2"), "{app:#?}");

    let mut next = request(desired);
    next.quarantined.insert(Quarantined {
        app: "shop".parse().unwrap(),
        content: app.quarantined_content.parse().unwrap(),
        reason: app.quarantined.clone(),
    });
    assert_result(&sync(&fleet.ports(), &next, &mut silent()).await, SyncResult::Blocked);
    assert_serves(&fleet, "v1");

    // There is nothing before it any more.
    let report = rollback(&fleet.ports(), &back, &mut silent()).await;
    assert_result(&report, SyncResult::Blocked);
    // The ledger of before named v1 as its previous release.
    assert!(before.iter().all(|ledger| ledger.apps["prod/shop"].previous.as_ref().unwrap().release == "v1"));
}

/// Three releases are kept, and a rollback that names one goes through those between, each with its switch. What falls out at the end
/// takes its image along, unless something else needs that.
#[tokio::test(start_paused = true)]
async fn cap_72_several_releases_back_one_after_another_and_no_image_of_them_is_cleared_away() {
    let fleet = fleet(2);
    for name in ["v1", "v2", "v3", "v4", "v5"] {
        assert_result(&bring(&fleet, 2, &Release::good(name), &policy()).await, SyncResult::Synced);
    }
    let kept = |host: &str| -> Vec<String> {
        let ledger = fleet.host(&host.parse().unwrap()).world().ledger.unwrap();
        ledger.apps["prod/shop"].releases().map(|record| record.release.clone()).collect()
    };
    for host in host_names(2) {
        assert_eq!(kept(host.as_str()), ["v5", "v4", "v3", "v2"], "{host}");
        let images = fleet.host(&host).world().images;
        for (release, there) in [("v1", false), ("v2", true), ("v3", true), ("v4", true), ("v5", true)] {
            let found = images.iter().any(|image| image.ends_with(&format!(":{release}")));
            assert_eq!(found, there, "{host} {release}: {images:?}");
        }
    }
    let desired = shop(2, Some(&Release::good("v5")), &policy());
    let back = |to: &str| RollbackRequest {
        desired: desired.clone(),
        app: "shop".parse().unwrap(),
        to: Some(to.to_owned()),
        by: String::new(),
        downgrade: false,
    };
    // Never kept, or not any more: nothing is begun.
    let report = rollback(&fleet.ports(), &back("v1"), &mut silent()).await;
    assert_result(&report, SyncResult::Blocked);
    assert!(report.blockers.iter().any(|blocker| blocker.contains("before v5: v4, v3, v2")), "{:?}", report.blockers);
    assert_serves(&fleet, "v5");

    let report = rollback(&fleet.ports(), &back("v2"), &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    assert_serves(&fleet, "v2");
    assert_sound(&fleet);
    assert_eq!(kept(host_names(2)[0].as_str()), ["v2"], "what was left is nothing to go back to");
    assert_result(&rollback(&fleet.ports(), &back("v2"), &mut silent()).await, SyncResult::Synced);
    assert_eq!(left_to_do(&fleet, &shop(2, Some(&Release::good("v2")), &policy())).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn drift_is_healed_where_it_is() {
    let fleet = fleet(1);
    let release = Release::good("v1");
    bring(&fleet, 1, &release, &policy()).await;
    let host = fleet.host(&host_names(1)[0]);
    host.tamper(|world| {
        world.units.get_mut("shop-beat.service").unwrap().running = None;
        world.files.remove("/etc/nginx/conf.d/shop.conf");
        world.files.get_mut("/etc/holdfast/apps/prod-shop-data/secret.env").unwrap().bytes = b"PASSWORD=other".to_vec();
    });
    assert_result(&bring(&fleet, 1, &release, &policy()).await, SyncResult::Synced);
    assert_serves(&fleet, "v1");
    let world = host.world();
    assert!(world.units["shop-beat.service"].running.is_some());
    let secret = world.text("/etc/holdfast/apps/prod-shop-data/secret.env");
    assert_eq!(secret.as_deref(), Some("PASSWORD=value of database.password"));
    assert!(world.nginx.contains_key("/etc/nginx/conf.d/shop.conf"));
    assert_eq!(world.switches["127.0.83.1:8101"], 8101, "nothing switched");
}

#[tokio::test(start_paused = true)]
async fn an_app_that_git_lost_is_taken_away_and_its_secrets_with_it() {
    let fleet = fleet(2);
    for name in ["v1", "v2"] {
        bring(&fleet, 2, &Release::good(name), &policy()).await;
    }
    let report = sync(&fleet.ports(), &request(shop(2, None, &policy())), &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    for (name, host) in fleet.hosts() {
        let world = host.world();
        assert_eq!(world.files.keys().collect::<Vec<_>>(), Vec::<&String>::new(), "{name}");
        assert!(world.projects.is_empty() && world.switches.is_empty(), "{name}: {world:#?}");
        assert!(world.units.values().all(|unit| unit.running.is_none() && !unit.enabled), "{name}");
        assert!(world.ledger.unwrap().apps.is_empty());
    }
    assert_sound(&fleet);
}

#[tokio::test(start_paused = true)]
async fn a_stale_approval_is_refused() {
    let fleet = fleet(1);
    let desired = shop(1, Some(&Release::good("v1")), &policy());
    let mut approved = request(desired.clone());
    approved.expected = Some(Expected::Seal(holdfast_core::id::digest_of(b"another plan")));
    let report = sync(&fleet.ports(), &approved, &mut silent()).await;
    assert_result(&report, SyncResult::Blocked);
    assert!(report.blockers.iter().any(|blocker| blocker.contains("stale")), "{:?}", report.blockers);
    assert!(fleet.host(&host_names(1)[0]).journals().is_empty());
    approved.expected = Some(Expected::Seal(report.seal.parse().unwrap()));
    assert_result(&sync(&fleet.ports(), &approved, &mut silent()).await, SyncResult::Synced);
}

#[tokio::test(start_paused = true)]
async fn the_operator_pauses_promotes_and_aborts() {
    let careful = RolloutPolicy { pause_after_canary: true, ..policy() };
    for (verb, result, release) in
        [(OperatorVerb::Promote, SyncResult::Synced, "v2"), (OperatorVerb::Abort, SyncResult::Failed, "v1")]
    {
        let fleet = fleet(2);
        let (handle, mut words) = operator();
        assert_eq!(handle.say(OperatorWord { app: None, verb: OperatorVerb::Promote }), Heard::NotRolling);
        let first = request(shop(2, Some(&Release::good("v1")), &policy()));
        sync(&fleet.ports(), &first, &mut words).await;
        let speaker = {
            let fleet = fleet.clone();
            tokio::spawn(async move {
                let paused =
                    |event: &holdfast_core::event::SyncEvent| matches!(event.kind, SyncEventKind::Paused { .. });
                while !fleet.events().iter().any(paused) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                tokio::time::sleep(Duration::from_secs(3600)).await;
                handle.say(OperatorWord { app: Some("shop".parse().unwrap()), verb });
            })
        };
        let report = sync(&fleet.ports(), &request(shop(2, Some(&Release::good("v2")), &careful)), &mut words).await;
        speaker.await.unwrap();
        assert_result(&report, result);
        assert!(report.took_ms() > 3_600_000, "it waited for the operator");
        assert_eq!(serving(&fleet.host(&host_names(2)[0]).world()).as_deref(), Some("v2"), "the canary has settled");
        assert_eq!(serving(&fleet.host(&host_names(2)[1]).world()).as_deref(), Some(release));
        assert_sound(&fleet);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_is_followed_on_and_loses_no_entry() {
    let fleet = fleet(1);
    bring(&fleet, 1, &Release::good("v1"), &policy()).await;
    let host = fleet.host(&host_names(1)[0]).clone();
    let cutter = tokio::spawn(async move {
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            host.cut(Duration::from_secs(1));
        }
    });
    let report = bring(&fleet, 1, &Release::good("v2"), &policy()).await;
    cutter.await.unwrap();
    assert_result(&report, SyncResult::Synced);
    assert!(report.troubles.iter().any(|trouble| trouble.error.contains("following on")), "{:?}", report.troubles);
    let seen: Vec<u64> = fleet
        .events()
        .iter()
        .filter_map(|event| match &event.kind {
            SyncEventKind::Host { entry, .. } => Some(entry.seq),
            _ => None,
        })
        .collect();
    let written: Vec<u64> =
        fleet.host(&host_names(1)[0]).journals().values().flatten().map(|entry| entry.seq).collect();
    assert_eq!(seen.len(), written.len(), "each entry once");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_can_cut_the_manager_off_is_confirmed_over_a_new_connection() {
    let firewall = |text: &str| {
        let mut desired = shop(1, Some(&Release::good("v1")), &policy());
        let app = desired.hosts.values_mut().next().unwrap().apps.values_mut().next().unwrap();
        let edge = app.components.last_mut().unwrap();
        let holdfast_core::desired::Body::Single(artifacts) = &mut edge.body else { panic!("edge has one place") };
        let mut file = artifacts.files.values().next().unwrap().clone();
        file.content = holdfast_core::render::Content::plain(text);
        file.nginx = false;
        artifacts.files.insert("/etc/nftables.conf".to_owned(), file);
        request(desired)
    };
    let fleet = fleet(1);
    let host = fleet.host(&host_names(1)[0]).clone();
    assert_result(&sync(&fleet.ports(), &firewall("accept"), &mut silent()).await, SyncResult::Synced);

    // From the moment the file is in place nobody gets in for ten minutes.
    let locker = {
        let host = host.clone();
        tokio::spawn(async move {
            while host.world().text("/etc/nftables.conf").as_deref() != Some("drop") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            host.cut(Duration::from_secs(600));
        })
    };
    let report = sync(&fleet.ports(), &firewall("drop"), &mut silent()).await;
    locker.await.unwrap();
    assert_eq!(host.world().text("/etc/nftables.conf").as_deref(), Some("accept"), "it undid itself");
    assert_result(&report, SyncResult::RolledBack);
    let ended = host.journals().into_values().flatten().filter_map(|entry| match entry.event {
        JournalEvent::Ended { outcome, .. } => Some(outcome),
        _ => None,
    });
    assert!(ended.into_iter().any(|outcome| outcome == Outcome::RolledBack));
}

/// Two managers that know nothing of each other want different releases at once: whatever the moment, no host mixes them, no
/// fleet is left with both, and the next sync has its way.
#[tokio::test(start_paused = true)]
async fn cap_11_two_managers_never_interleave() {
    let mut won = std::collections::BTreeSet::new();
    for delay_ms in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 400, 1_000, 3_000, 8_000] {
        let fleet = fleet(3);
        bring(&fleet, 3, &Release::good("v1"), &together()).await;
        let manager = |release: &'static str, after_ms: u64| {
            let fleet = fleet.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                bring(&fleet, 3, &Release::good(release), &together()).await
            }
        };
        let (one, two) = tokio::join!(manager("v2", 0), manager("v3", delay_ms));
        for (who, report) in [("one", &one), ("two", &two)] {
            let kept = |app: &holdfast_core::report::AppReport| !app.quarantined.is_empty();
            assert!(!report.apps.values().any(kept), "after {delay_ms} ms, {who} blames a good release: {report:#?}");
        }
        let serving: std::collections::BTreeSet<_> = served(&fleet).into_values().collect();
        assert_eq!(serving.len(), 1, "after {delay_ms} ms: {:?}\n{one:#?}\n{two:#?}", served(&fleet));
        assert_sound(&fleet);
        assert!(
            one.result == Some(SyncResult::Synced) || two.result == Some(SyncResult::Synced),
            "after {delay_ms} ms nobody got through: {one:#?}\n{two:#?}"
        );
        won.extend(serving);
        for (_, host) in fleet.hosts() {
            let journals = host.journals();
            let ended = |journal: &Vec<holdfast_protocol::JournalEntry>| {
                journal.iter().any(|entry| matches!(entry.event, JournalEvent::Ended { .. }))
            };
            assert!(journals.values().all(ended), "after {delay_ms} ms something is left");
        }
        assert_result(&bring(&fleet, 3, &Release::good("v4"), &together()).await, SyncResult::Synced);
        assert_serves(&fleet, "v4");
    }
    assert!(won.len() > 1 || won.contains(&Some("v3".to_owned())), "{won:?}");
}

/// Another manager takes a rollout for one whose manager is dead, and sends it back: that says nothing about the release.
#[tokio::test(start_paused = true)]
async fn cap_11_what_another_manager_sends_back_is_looked_at_again_and_never_quarantined() {
    for phase in [Phase::Prepare, Phase::Ready, Phase::Watch] {
        for rule in [together(), policy()] {
            let fleet = fleet(2);
            bring(&fleet, 2, &Release::good("v1"), &rule).await;
            let meddler = {
                let (fleet, name) = (fleet.clone(), host_names(2)[0].clone());
                tokio::spawn(async move {
                    let host = fleet.host(&name);
                    let known: std::collections::BTreeSet<_> = host.journals().into_keys().collect();
                    let id = loop {
                        let entered = |entry: &holdfast_protocol::JournalEntry| matches!(entry.event, JournalEvent::Entered { phase: at } if at == phase);
                        let mut new = host.journals().into_iter().filter(|(id, _)| !known.contains(id));
                        match new.find(|(_, journal)| journal.iter().any(entered)) {
                            Some((id, _)) => break id,
                            None => tokio::time::sleep(Duration::from_millis(3)).await,
                        }
                    };
                    let spec =
                        request(shop(2, Some(&Release::good("v2")), &policy())).desired.hosts[&name].host.clone();
                    let link = fleet.ports().connector.connect(&spec).await.unwrap();
                    let decide = Request::Decide { id, fence: u64::MAX, decision: Decision::GoBack };
                    link.call(decide, Duration::from_secs(30)).await.map(drop)
                })
            };
            let report = bring(&fleet, 2, &Release::good("v2"), &rule).await;
            let told = meddler.await.unwrap();
            let shop = &report.apps[&"shop".parse().unwrap()];
            assert_eq!(shop.quarantined, "", "{phase:?}: {report:#?}");
            assert_sound(&fleet);
            // What had settled by then stays; all else was looked at again.
            assert!(told.is_ok(), "{phase:?}: {told:?}");
            assert_result(&report, SyncResult::Synced);
            assert_serves(&fleet, "v2");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_a_person_sent_back_is_quarantined() {
    let fleet = fleet(2);
    let (handle, mut words) = operator();
    sync(&fleet.ports(), &request(shop(2, Some(&Release::good("v1")), &together())), &mut words).await;
    let speaker = {
        let fleet = fleet.clone();
        tokio::spawn(async move {
            let said = |event: &holdfast_core::event::SyncEvent| matches!(event.kind, SyncEventKind::Decided { .. });
            while fleet.events().iter().filter(|event| said(event)).count() < 6 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(handle.say(OperatorWord { app: None, verb: OperatorVerb::Abort }), Heard::Yes);
        })
    };
    let report = sync(&fleet.ports(), &request(shop(2, Some(&Release::good("v2")), &together())), &mut words).await;
    speaker.await.unwrap();
    assert_result(&report, SyncResult::RolledBack);
    assert_serves(&fleet, "v1");
    assert_eq!(report.apps[&"shop".parse().unwrap()].quarantined, "its rollout was aborted");
}

#[tokio::test(start_paused = true)]
async fn a_paused_app_is_left_alone() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let mut wanted = request(shop(2, Some(&Release::good("v2")), &policy()));
    wanted.paused.insert("shop".parse().unwrap(), "is paused by ada".to_owned());
    let report = sync(&fleet.ports(), &wanted, &mut silent()).await;
    assert_result(&report, SyncResult::Blocked);
    assert_eq!(report.blockers, ["paused: shop is paused by ada"]);
    assert_serves(&fleet, "v1");
}

/// The shop with a certificate before its site.
fn with_certificate(release: &Release) -> holdfast_core::desired::DesiredState {
    let mut desired = shop(1, Some(release), &policy());
    let app = desired.hosts.values_mut().next().unwrap().apps.values_mut().next().unwrap();
    app.components.insert(0, super::sample::certificate());
    desired
}

#[tokio::test(start_paused = true)]
async fn cap_44_a_certificate_is_state_and_what_it_needs_is_said_before_anything_is_done() {
    let fleet = fleet(1);
    let host = fleet.host(&host_names(1)[0]);
    let (v1, v2) = (with_certificate(&Release::good("v1")), with_certificate(&Release::good("v2")));
    host.tamper(|world| world.lacks.extend(["certbot".to_owned()]));
    let report = sync(&fleet.ports(), &request(v1.clone()), &mut silent()).await;
    assert_result(&report, SyncResult::Blocked);
    assert!(report.blockers[0].contains("certbot is not installed"), "{:?}", report.blockers);
    assert!(host.world().certificates.is_empty());

    host.tamper(|world| world.lacks.clear());
    assert_result(&sync(&fleet.ports(), &request(v1.clone()), &mut silent()).await, SyncResult::Synced);
    let made = host.world().certificates.values().next().unwrap().clone();
    assert_eq!(left_to_do(&fleet, &v1).await, Vec::<String>::new());
    assert_result(&sync(&fleet.ports(), &request(v2.clone()), &mut silent()).await, SyncResult::Synced);
    assert_eq!(host.world().certificates.values().next(), Some(&made), "a release leaves it alone");

    let timer = "holdfast-certificate-prod-shop.timer";
    let since = host.world().units[timer].running.clone();
    tokio::time::advance(Duration::from_secs(60)).await;
    host.tamper(|world| world.certificates.clear());
    assert_eq!(left_to_do(&fleet, &v2).await, [format!("h1: ~ unit {timer} (certificate-missing)")]);
    assert_result(&sync(&fleet.ports(), &request(v2.clone()), &mut silent()).await, SyncResult::Synced);
    assert_eq!(host.world().certificates.len(), 1);
    assert_ne!(host.world().units[timer].running, since, "started anew, it has another one issued");
    assert_eq!(left_to_do(&fleet, &v2).await, Vec::<String>::new());

    let bad = with_certificate(&Release::bad("v3", "simulate: unhealthy"));
    assert_result(&sync(&fleet.ports(), &request(bad), &mut silent()).await, SyncResult::RolledBack);
    assert_eq!(host.world().certificates.len(), 1, "going back takes no certificate away");
}
