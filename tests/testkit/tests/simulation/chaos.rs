//! Random faults at random moments: kills of runners, cut links, kills of the manager, bad releases. The seed is in the failure.

use std::time::Duration;

use holdfast_core::config::RolloutPolicy;
use holdfast_testkit::fake_host::{Fault, FaultPoint};
use proptest::prelude::*;

use super::sample::{Release, host_names, policy, shop};
use super::*;

#[derive(Debug, Clone)]
struct Chaos {
    hosts: usize,
    all_or_nothing: bool,
    max_unavailable: u32,
    marker: &'static str,
    /// Host, moment (before or after the entry), kill, cut in milliseconds.
    faults: Vec<(usize, bool, u64, bool, Option<u64>)>,
    /// Milliseconds after which the manager is killed, one life after the other.
    lives: Vec<u64>,
}

fn chaos() -> impl Strategy<Value = Chaos> {
    let fault = (0_usize..5, any::<bool>(), 0_u64..120, any::<bool>(), proptest::option::of(10_u64..20_000));
    let marker = prop_oneof![
        4 => Just(""),
        1 => Just("simulate: unhealthy"),
        1 => Just("simulate: dies"),
        1 => Just("simulate: wrong release"),
    ];
    (
        1_usize..=5,
        any::<bool>(),
        1_u32..4,
        marker,
        proptest::collection::vec(fault, 0..5),
        proptest::collection::vec(1_u64..40_000, 0..4),
    )
        .prop_map(|(hosts, all_or_nothing, max_unavailable, marker, faults, lives)| Chaos {
            hosts,
            all_or_nothing,
            max_unavailable,
            marker,
            faults,
            lives,
        })
}

/// Waits, without the manager, until no host has anything under way.
async fn quiet(fleet: &FakeFleet) {
    while fleet.hosts().any(|(_, host)| host.is_busy()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn survive(chaos: &Chaos) {
    let rollout =
        RolloutPolicy { all_or_nothing: chaos.all_or_nothing, max_unavailable: chaos.max_unavailable, ..policy() };
    let names = host_names(chaos.hosts);
    let fleet = fleet(chaos.hosts);
    // Two releases, so that the idle slot holds something older.
    for name in ["v0", "v1"] {
        assert_result(&bring(&fleet, chaos.hosts, &Release::good(name), &rollout).await, SyncResult::Synced);
    }

    for (host, before, after_entries, crash, cut) in &chaos.faults {
        let host = fleet.host(&names[host % chaos.hosts]);
        let moment = host.entries() + after_entries;
        let at = if *before { FaultPoint::Before(moment) } else { FaultPoint::After(moment) };
        host.plan_fault(Fault { at, crash: *crash, cut: cut.map(Duration::from_millis) });
    }
    let v2 = Release::bad("v2", chaos.marker);
    let wanted = request(shop(chaos.hosts, Some(&v2), &rollout));
    let mut finished = None;
    for life in &chaos.lives {
        // The manager dies: what it awaited is gone, what hosts do goes on.
        let limit = Duration::from_millis(*life);
        if let Ok(report) = tokio::time::timeout(limit, sync(&fleet.ports(), &wanted, &mut silent())).await {
            finished = Some(report);
            break;
        }
    }
    if finished.is_none() {
        finished = Some(sync(&fleet.ports(), &wanted, &mut silent()).await);
    }
    quiet(&fleet).await;
    let report = finished.expect("the last life is long enough");

    assert_sound(&fleet);
    if chaos.faults.is_empty() && chaos.marker.is_empty() {
        // The manager that takes over finishes it: it does not wait for deadlines.
        assert!(matches!(report.result, Some(SyncResult::Synced | SyncResult::NoChange)), "{:?}", report.blockers);
    }
    let all = served(&fleet);
    assert!(all.values().all(Option::is_some), "somebody serves nothing: {all:?}");
    let runs = migrations(&fleet);
    assert!(runs.values().all(|runs| *runs == 1), "{runs:?}");
    if !chaos.marker.is_empty() {
        assert!(all.values().all(|release| release.as_deref() == Some("v1")), "a bad release stayed: {all:?}");
    }
    if chaos.all_or_nothing && report.result == Some(SyncResult::RolledBack) {
        assert!(all.values().all(|release| release.as_deref() == Some("v1")), "{all:?}");
    }

    // A host that was out of reach comes later; then everything is new, or everything is old and says why.
    for (_, host) in fleet.hosts() {
        host.repair();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let last = sync(&fleet.ports(), &wanted, &mut silent()).await;
    quiet(&fleet).await;
    assert_sound(&fleet);
    if chaos.marker.is_empty() {
        assert!(
            matches!(last.result, Some(SyncResult::Synced | SyncResult::NoChange)),
            "{:?} {:?} {:#?}",
            last.result,
            last.blockers,
            last.troubles
        );
        assert_serves(&fleet, "v2");
        assert_eq!(left_to_do(&fleet, &wanted.desired).await, Vec::<String>::new());
        assert_eq!(migrations(&fleet)["prod/shop/web/v2"], 1);
        assert_no_orphans(&fleet, &wanted.desired);
    } else {
        assert_serves(&fleet, "v1");
        let old = shop(chaos.hosts, Some(&Release::good("v1")), &rollout);
        assert_eq!(left_to_do(&fleet, &old).await, Vec::<String>::new());
        assert_no_orphans(&fleet, &old);
    }
}

/// Asserts that nothing runs and no file lies about but what git wants and the slot before.
fn assert_no_orphans(fleet: &FakeFleet, desired: &DesiredState) {
    for (name, host) in fleet.hosts() {
        let world = host.world();
        let ledger = world.ledger.clone().unwrap();
        let record = &ledger.apps["prod/shop"];
        let mut files = BTreeSet::new();
        for component in record.components.values() {
            files.extend(component.files.keys().cloned());
            files.extend(component.slots.values().flat_map(|slot| slot.files.keys().cloned()));
        }
        let there: BTreeSet<String> = world.files.keys().cloned().collect();
        assert_eq!(there, files, "{name}");
        for component in &desired.hosts[name].apps.values().next().unwrap().components {
            let Some(record) = record.components.get(component.name.as_str()) else { panic!("{name} lacks a record") };
            let Some(active) = record.active else { continue };
            let idle = component.body.artifacts(Some(active.other()));
            for unit in idle.units.keys() {
                assert!(world.units.get(unit).is_none_or(|unit| unit.running.is_none()), "{name}: {unit} runs");
            }
            for project in idle.project.iter().filter_map(|project| world.projects.get(&project.name)) {
                assert!(project.values().all(|container| container.running.is_none()), "{name}: {project:?} runs");
            }
        }
    }
}

fn run(chaos: &Chaos) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(survive(chaos));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_faults_end_in_the_old_or_the_new_release(chaos in chaos()) {
        run(&chaos);
    }
}

/// Every entry of a rollout once: the runner dies instead of writing it, and right after.
#[test]
fn a_kill_at_every_entry_ends_in_the_new_release() {
    for before in [true, false] {
        for entry in 0..90 {
            // Every other kill takes the channel with it.
            let cut = (entry % 2 == u64::from(before)).then_some(5_000);
            run(&Chaos {
                hosts: 1,
                all_or_nothing: false,
                max_unavailable: 1,
                marker: "",
                faults: vec![(0, before, entry, true, cut)],
                lives: Vec::new(),
            });
        }
    }
}

/// The manager dies at many moments of a rollout over three hosts, and a new one takes over.
#[test]
fn a_kill_of_the_manager_at_any_moment_is_taken_over() {
    for all_or_nothing in [true, false] {
        for life in (0..30_000).step_by(577) {
            run(&Chaos {
                hosts: 3,
                all_or_nothing,
                max_unavailable: 1,
                marker: "",
                faults: Vec::new(),
                lives: vec![life + 1],
            });
        }
    }
}
