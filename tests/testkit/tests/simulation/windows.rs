//! What windows mean for a sync: nothing new begins where they close, and every way on and back that began stays open.

use std::time::Duration;

use holdfast_core::diag::Origin;
use holdfast_core::event::SyncResult;
use holdfast_core::window::{Schedule, Window, WindowKind, Zone};
use holdfast_engine::rollback::{RollbackRequest, rollback};
use holdfast_engine::sync::{SyncRequest, WindowConsent, sync};

use super::sample::{Release, policy, shop};
use super::*;

/// A sync to a release while everything is closed.
fn closed(hosts: usize, release: &Release, manual: bool, windows: WindowConsent) -> SyncRequest {
    closed_by(manual, SyncRequest { windows, ..request(shop(hosts, Some(release), &policy())) })
}

/// The same sync where a window closes everything, by hand too unless `manual`.
pub(super) fn closed_by(manual: bool, mut request: SyncRequest) -> SyncRequest {
    request.desired.sync.windows.push(Window {
        kind: WindowKind::Deny,
        schedule: Schedule::Hours("daily".parse().unwrap()),
        zone: Zone::default(),
        apps: Vec::new(),
        manual,
        origin: Origin { file: "environments/prod/environment.yaml".to_owned(), line: 3, column: 5 },
    });
    request
}

#[tokio::test(start_paused = true)]
async fn a_closed_app_is_left_as_it_is_and_said_to_be_closed() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let v2 = Release::good("v2");
    for (manual, consent) in [(false, WindowConsent::None), (true, WindowConsent::None), (false, WindowConsent::Manual)]
    {
        let report = sync(&fleet.ports(), &closed(2, &v2, manual, consent), &mut silent()).await;
        assert_result(&report, SyncResult::Blocked);
        assert_eq!(report.blockers, ["closed: shop is closed for years, by environments/prod/environment.yaml:3"]);
        assert_serves(&fleet, "v1");
    }
    let report = sync(&fleet.ports(), &closed(2, &v2, true, WindowConsent::Manual), &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    assert_eq!(report.window_override, None);
    assert_serves(&fleet, "v2");
}

#[tokio::test(start_paused = true)]
async fn who_overrides_a_window_is_written_down_and_going_back_needs_nobody() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let v2 = Release::good("v2");
    let consent = WindowConsent::Override { by: "ann".to_owned(), reason: "the shop is down".to_owned() };
    let request = closed(2, &v2, false, consent);
    let report = sync(&fleet.ports(), &request, &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    let word = report.window_override.unwrap();
    assert_eq!((word.by.as_str(), word.reason.as_str(), word.apps.len()), ("ann", "the shop is down", 1));
    assert_serves(&fleet, "v2");
    // Nothing is left to override the second time.
    let report = sync(&fleet.ports(), &request, &mut silent()).await;
    assert_result(&report, SyncResult::NoChange);
    assert_eq!(report.window_override, None);

    let back = RollbackRequest {
        desired: request.desired,
        app: "shop".parse().unwrap(),
        to: None,
        by: String::new(),
        downgrade: false,
    };
    assert_result(&rollback(&fleet.ports(), &back, &mut silent()).await, SyncResult::Synced);
    assert_serves(&fleet, "v1");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_began_in_time_is_not_torn_apart() {
    let v2 = Release::good("v2");
    let mut torn = 0;
    for ms in (200..12_000).step_by(400) {
        let fleet = fleet(3);
        bring(&fleet, 3, &Release::good("v1"), &policy()).await;
        // The manager dies in the middle, and the window closes before it comes again.
        let open = request(shop(3, Some(&v2), &policy()));
        let limit = Duration::from_millis(ms);
        if tokio::time::timeout(limit, sync(&fleet.ports(), &open, &mut silent())).await.is_ok() {
            break;
        }
        let before: BTreeSet<_> = served(&fleet).into_values().collect();
        // Between two waves nothing is under way on any host: that it had begun is what the history says.
        let begun = if before.len() > 1 { BTreeSet::from(["shop".parse().unwrap()]) } else { BTreeSet::new() };
        let again = SyncRequest { begun, ..closed(3, &v2, false, WindowConsent::None) };
        let report = sync(&fleet.ports(), &again, &mut silent()).await;
        let after: BTreeSet<_> = served(&fleet).into_values().collect();
        assert_eq!(after.len(), 1, "after {ms} ms: {before:?} to {:?}\n{:#?}", served(&fleet), report.blockers);
        torn += usize::from(before.len() > 1);
        assert_sound(&fleet);
    }
    assert!(torn > 0, "no manager died between two waves");
}
