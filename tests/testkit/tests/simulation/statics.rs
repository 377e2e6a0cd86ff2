//! A built frontend beside the shop: brought, brought back, put right and taken away.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast_core::config::Strategy;
use holdfast_core::desired::{Artifacts, Body, DesiredState, DesiredStatic, StaticFound};
use holdfast_core::diag::Origin;
use holdfast_core::event::SyncResult;
use holdfast_core::id::digest_of;
use holdfast_engine::ports::Ports;
use holdfast_engine::sync::sync;
use holdfast_protocol::{Digest, StaticContent};
use holdfast_testkit::fake_host::FakeFleet;

use super::sample::{Release, component, host_names, policy, shop};
use super::{assert_result, assert_serves, fleet, left_to_do, request, silent};

const AT: &str = "/var/www/shop";

fn archive(release: &str) -> Vec<u8> {
    release.as_bytes().repeat(600_000)
}

/// The shop with a frontend, whose archive lies in a folder.
fn with_frontend(hosts: usize, release: &Release, archives: &Path) -> DesiredState {
    let bytes = archive(&release.name);
    let file = format!("shop-{}.tar", release.name);
    std::fs::write(archives.join(&file), &bytes).unwrap();
    let mut desired = shop(hosts, Some(release), &policy());
    for app in desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let mut frontend = component("frontend", Strategy::InPlace, Body::Single(Artifacts::default()));
        frontend.statics = Some(DesiredStatic {
            path: AT.to_owned(),
            archive: file.clone(),
            sha256: digest_of(&bytes),
            origin: Origin::default(),
            found: StaticFound::Read { size: bytes.len() as u64, content: StaticContent { files: 1, bytes: 1 } },
        });
        app.components.push(frontend);
    }
    desired
}

/// By host the release that the link leads to, and how many are there.
fn led(fleet: &FakeFleet) -> BTreeMap<String, (Option<Digest>, usize)> {
    let held = |world: holdfast_testkit::fake_host::World| world.statics.get(AT).cloned().unwrap_or_default();
    fleet
        .hosts()
        .map(|(name, host)| {
            let held = held(host.world());
            (name.to_string(), (held.at, held.releases.len()))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn cap_33_a_frontend_goes_with_its_release_forth_and_back() {
    let (fleet, folder) = (fleet(2), tempfile::tempdir().unwrap());
    let ports = Ports { archives: folder.path().into(), ..fleet.ports() };
    let all = |release: &str, count: usize| -> BTreeMap<String, (Option<Digest>, usize)> {
        let at = Some(digest_of(&archive(release)));
        host_names(2).iter().map(|name| (name.to_string(), (at, count))).collect()
    };
    let v1 = with_frontend(2, &Release::good("v1"), folder.path());
    let report = sync(&ports, &request(v1.clone()), &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    assert_eq!(led(&fleet), all("v1", 1));
    assert_eq!(left_to_do(&fleet, &v1).await, Vec::<String>::new());
    // An archive has done its work when it is unpacked.
    std::fs::remove_file(folder.path().join("shop-v1.tar")).unwrap();
    for (_, host) in fleet.hosts() {
        assert!(!host.world().blobs.contains_key(&digest_of(&archive("v1"))));
    }

    // A release that is not healthy never shows its page, and leaves none.
    let bad = with_frontend(2, &Release::bad("v2", "simulate: unhealthy"), folder.path());
    let report = sync(&ports, &request(bad), &mut silent()).await;
    assert_ne!(report.result, Some(SyncResult::Synced));
    assert_eq!(led(&fleet), all("v1", 1));
    // One that fails in its window shows it, and goes back with it.
    let sick = with_frontend(2, &Release::bad("v3", "simulate: dies"), folder.path());
    let report = sync(&ports, &request(sick), &mut silent()).await;
    assert_ne!(report.result, Some(SyncResult::Synced));
    assert_eq!(led(&fleet), all("v1", 1));
    assert_serves(&fleet, "v1");

    let v4 = with_frontend(2, &Release::good("v4"), folder.path());
    assert_result(&sync(&ports, &request(v4.clone()), &mut silent()).await, SyncResult::Synced);
    assert_eq!(led(&fleet), all("v4", 2));
    assert_serves(&fleet, "v4");
    assert_eq!(left_to_do(&fleet, &v4).await, Vec::<String>::new());

    // By hand.
    let first = &host_names(2)[0];
    fleet.host(first).tamper(|world| world.statics.get_mut(AT).unwrap().at = None);
    assert_eq!(left_to_do(&fleet, &v4).await, ["h1: ~ static /var/www/shop (static-link-differs)"]);
    assert_result(&sync(&ports, &request(v4.clone()), &mut silent()).await, SyncResult::Synced);
    assert_eq!(led(&fleet), all("v4", 2));

    // Away with it; the release that is gone back to needs it.
    let without = shop(2, Some(&Release::good("v4")), &policy());
    assert_result(&sync(&ports, &request(without.clone()), &mut silent()).await, SyncResult::Synced);
    assert!(led(&fleet).values().all(|(at, count)| at.is_none() && *count > 0), "{:?}", led(&fleet));
    assert_eq!(left_to_do(&fleet, &without).await, Vec::<String>::new());
    assert_result(&sync(&ports, &request(shop(2, None, &policy())), &mut silent()).await, SyncResult::Synced);
    assert!(led(&fleet).values().all(|held| *held == (None, 0)), "{:?}", led(&fleet));
}
