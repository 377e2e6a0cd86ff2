use std::time::Duration;

use holdfast_core::event::{SyncEventKind, SyncResult};
use holdfast_core::time::Timestamp;
use holdfast_engine::apply::{OperatorVerb, OperatorWord, Turns, operator};
use holdfast_engine::sync::sync;
use holdfast_protocol::{JournalEvent, Phase};

use super::sample::{Release, policy, shop};
use super::*;

/// Returns when something first happened.
fn first(fleet: &FakeFleet, what: impl Fn(&SyncEventKind) -> bool) -> Option<Timestamp> {
    fleet.events().iter().find(|event| what(&event.kind)).map(|event| event.at)
}

fn enters(phase: Phase) -> impl Fn(&SyncEventKind) -> bool {
    move |kind| {
        let SyncEventKind::Host { entry, .. } = kind else { return false };
        matches!(entry.event, JournalEvent::Entered { phase: at } if at == phase)
    }
}

fn plans(fleet: &FakeFleet) -> usize {
    fleet.events().iter().filter(|event| matches!(event.kind, SyncEventKind::Planned { .. })).count()
}

/// Three environments on hosts of their own and one turn: each begins when the one before has switched, and not when it is over.
#[tokio::test(start_paused = true)]
async fn environments_begin_in_turn_and_nobody_waits_for_a_watch_window() {
    let fleets = [fleet(1), fleet(1), fleet(1)];
    let turns = Turns::new(1);
    let v1 = request(shop(1, Some(&Release::good("v1")), &policy()));
    let bring = async |fleet: &FakeFleet| {
        let mut words = operator().1.in_turn(turns.clone());
        sync(&fleet.ports(), &v1, &mut words).await
    };
    let reports = tokio::join!(bring(&fleets[0]), bring(&fleets[1]), bring(&fleets[2]));
    for (fleet, report) in fleets.iter().zip([reports.0, reports.1, reports.2]) {
        assert_result(&report, SyncResult::Synced);
        assert_serves(fleet, "v1");
    }
    let begins = |kind: &SyncEventKind| matches!(kind, SyncEventKind::AppStarted { .. });
    let waits = |kind: &SyncEventKind| matches!(kind, SyncEventKind::WaitsForTurn { most: 1 });
    let mut order: Vec<&FakeFleet> = fleets.iter().collect();
    order.sort_by_key(|fleet| first(fleet, begins));
    assert_eq!(first(order[0], waits), None, "nobody was before it");
    for pair in order.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let switched = first(before, enters(Phase::Watch)).expect("it switched");
        assert!(first(after, waits).expect("it waited") < switched);
        assert!(first(after, begins) >= Some(switched), "for the switch");
        let over = |kind: &SyncEventKind| matches!(kind, SyncEventKind::HostEnded { .. });
        assert!(first(after, begins) < first(before, over), "and not for the window");
        assert_eq!(plans(after), 2, "and then looked again");
    }
}

/// Who waits hears what people say, and what they asked for themselves does not wait.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_can_be_called_off() {
    let (busy, other) = (fleet(1), fleet(1));
    let turns = Turns::new(1);
    let v1 = request(shop(1, Some(&Release::good("v1")), &policy()));
    let slow = async {
        let mut words = operator().1.in_turn(turns.clone());
        sync(&busy.ports(), &v1, &mut words).await
    };
    let called_off = async {
        while first(&busy, |kind| matches!(kind, SyncEventKind::AppStarted { .. })).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (handle, words) = operator();
        let mut words = words.in_turn(turns.clone());
        let speaks = async {
            while handle.held().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let held = handle.held().unwrap();
            assert_eq!(
                held,
                "another environment is being changed, and no more than 1 at once (`rollouts` of the manager's configuration)"
            );
            handle.say(OperatorWord { app: None, verb: OperatorVerb::Abort });
        };
        let ports = other.ports();
        let (report, ()) = tokio::join!(sync(&ports, &v1, &mut words), speaks);
        assert_result(&report, SyncResult::Blocked);
        assert!(other.hosts().all(|(_, host)| host.journals().is_empty()));
        assert!(first(&busy, enters(Phase::Watch)).is_none(), "its turn had not come");
        assert_result(&sync(&other.ports(), &v1, &mut silent()).await, SyncResult::Synced);
    };
    let (report, ()) = tokio::join!(slow, called_off);
    assert_result(&report, SyncResult::Synced);
}
