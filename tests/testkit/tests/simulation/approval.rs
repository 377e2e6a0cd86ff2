use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_core::approval::{Agreement, ApprovalRule, Proposal};
use holdfast_core::event::SyncResult;
use holdfast_engine::sync::{Approving, SyncRequest, sync};

use super::sample::{Release, host_names, policy, shop};
use super::windows::closed_by;
use super::*;

/// Ada wrote it, and Bob may approve it.
fn asked(release: &str, given: &[Agreement]) -> SyncRequest {
    let emails = |name: &str| (name.to_owned(), BTreeSet::from([format!("{name}@example.net")]));
    let rule = ApprovalRule { required: 1, approvers: BTreeMap::from([emails("ada"), emails("bob")]) };
    let authors = BTreeSet::from(["ada@example.net".to_owned()]);
    let approving = Some(Approving { rule, authors, given: given.to_vec(), released: None });
    SyncRequest { approving, ..request(shop(2, Some(&Release::good(release)), &policy())) }
}

fn word(report: &Report, by: &str) -> Agreement {
    let (environment, commit) = (report.environment.clone().unwrap(), report.commit.clone().unwrap());
    Agreement { to: Proposal { environment, commit, seal: report.seal.parse().unwrap() }, by: by.to_owned() }
}

fn worlds(fleet: &FakeFleet) -> Vec<String> {
    fleet.hosts().map(|(_, host)| format!("{:?}", host.world())).collect()
}

#[tokio::test(start_paused = true)]
async fn cap_03_nothing_is_touched_before_the_word_and_exactly_that_after_it() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let before = worlds(&fleet);
    let waits = sync(&fleet.ports(), &asked("v2", &[]), &mut silent()).await;
    assert_result(&waits, SyncResult::AwaitsApproval);
    assert!(waits.apps.is_empty() && waits.awaits.as_ref().is_some_and(|awaits| awaits.required == 1), "{waits:?}");
    for by in ["ada", "mallory"] {
        let report = sync(&fleet.ports(), &asked("v2", &[word(&waits, by)]), &mut silent()).await;
        assert_result(&report, SyncResult::AwaitsApproval);
    }
    assert_eq!(worlds(&fleet), before, "no host has changed");

    let done = sync(&fleet.ports(), &asked("v2", &[word(&waits, "bob")]), &mut silent()).await;
    assert_result(&done, SyncResult::Synced);
    assert_eq!(done.approved_by, ["bob"]);
    assert_serves(&fleet, "v2");
    let again = sync(&fleet.ports(), &asked("v2", &[]), &mut silent()).await;
    assert_result(&again, SyncResult::NoChange);
}

#[tokio::test(start_paused = true)]
async fn cap_03_a_host_that_moved_after_the_word_makes_it_void() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let waits = sync(&fleet.ports(), &asked("v2", &[]), &mut silent()).await;
    let given = [word(&waits, "bob")];
    let host = fleet.host(&host_names(2)[1]);
    host.tamper(|world| {
        let switch = world.switches.values_mut().next().unwrap();
        *switch = if *switch == 8101 { 8201 } else { 8101 };
    });
    let before = worlds(&fleet);
    let report = sync(&fleet.ports(), &asked("v2", &given), &mut silent()).await;
    assert_result(&report, SyncResult::AwaitsApproval);
    assert_ne!(report.seal, waits.seal);
    assert_eq!(worlds(&fleet), before);
    // Another release with the same words of Bob is not what he saw either.
    let other = sync(&fleet.ports(), &asked("v3", &given), &mut silent()).await;
    assert_result(&other, SyncResult::AwaitsApproval);
}

#[tokio::test(start_paused = true)]
async fn cap_03_a_word_on_a_plan_that_could_not_see_a_host_releases_nothing_it_did_not_begin() {
    let fleet = fleet(2);
    let together = RolloutPolicy { all_or_nothing: true, ..policy() };
    bring(&fleet, 2, &Release::good("v1"), &together).await;
    let v2 = |given: &[Agreement]| SyncRequest {
        desired: shop(2, Some(&Release::good("v2")), &together),
        ..asked("v2", given)
    };
    fleet.host(&host_names(2)[1]).cut(Duration::from_secs(3600));
    let partial = sync(&fleet.ports(), &v2(&[]), &mut silent()).await;
    assert_result(&partial, SyncResult::AwaitsApproval);
    let given = [word(&partial, "bob")];
    let held = sync(&fleet.ports(), &v2(&given), &mut silent()).await;
    assert_result(&held, SyncResult::Blocked);
    assert_eq!(held.approved_by, Vec::<String>::new(), "nothing began, so nothing is released");
    assert_serves(&fleet, "v1");

    tokio::time::sleep(Duration::from_secs(3600)).await;
    let whole = sync(&fleet.ports(), &v2(&given), &mut silent()).await;
    assert_result(&whole, SyncResult::AwaitsApproval);
    assert!(whole.seal != partial.seal && whole.changes > partial.changes, "{} {}", whole.changes, partial.changes);
    assert_serves(&fleet, "v1");
    let done = sync(&fleet.ports(), &v2(&[word(&whole, "bob")]), &mut silent()).await;
    assert_result(&done, SyncResult::Synced);
    assert_serves(&fleet, "v2");
}

#[tokio::test(start_paused = true)]
async fn cap_03_a_word_given_while_a_window_is_closed_is_good_at_its_opening() {
    let fleet = fleet(2);
    bring(&fleet, 2, &Release::good("v1"), &policy()).await;
    let closed = |given: &[Agreement]| closed_by(true, asked("v2", given));
    let waits = sync(&fleet.ports(), &closed(&[]), &mut silent()).await;
    assert_result(&waits, SyncResult::AwaitsApproval);
    let given = [word(&waits, "bob")];
    let held = sync(&fleet.ports(), &closed(&given), &mut silent()).await;
    assert_result(&held, SyncResult::Blocked);
    assert_eq!(held.approved_by, Vec::<String>::new());
    let opened = SyncRequest { windows: WindowConsent::Manual, ..closed(&given) };
    let done = sync(&fleet.ports(), &opened, &mut silent()).await;
    assert_result(&done, SyncResult::Synced);
    assert_eq!(done.approved_by, ["bob"]);
    assert_serves(&fleet, "v2");
}
