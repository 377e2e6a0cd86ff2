use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::approval::{Agreement, ApprovalRule, Proposal};
use holdfast_core::event::SyncResult;
use holdfast_engine::sync::{Approving, SyncRequest, sync};

use super::sample::{Release, host_names, policy, shop};
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
