//! Whole syncs over a fleet in memory, with time that passes at once: the real planner, compiler, fleet, engine and step machine.

mod approval;
mod chaos;
mod example;
mod migrations;
mod sample;
mod statics;
mod stories;
mod turns;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::config::RolloutPolicy;
use holdfast_core::desired::DesiredState;
use holdfast_core::event::SyncResult;
use holdfast_core::plan::{PlanOptions, Quarantined, plan};
use holdfast_core::report::Report;
use holdfast_core::time::Timestamp;
use holdfast_engine::apply::{Operator, operator};
use holdfast_engine::sync::{SyncRequest, WindowConsent, observe_desired, sync};
use holdfast_protocol::Slot;
use holdfast_testkit::fake_host::{FakeFleet, World};

use sample::{Release, host_names, shop};

fn request(desired: DesiredState) -> SyncRequest {
    SyncRequest {
        checks: Vec::new(),
        windows: WindowConsent::None,
        migrated: BTreeSet::new(),
        begun: BTreeSet::new(),
        desired,
        cause: "commit".to_owned(),
        by: String::new(),
        expected: None,
        quarantined: BTreeSet::new(),
        allow_prune: true,
        adopt: false,
        only: None,
        paused: BTreeMap::new(),
        approving: None,
    }
}

fn silent() -> Operator {
    operator().1
}

async fn bring(fleet: &FakeFleet, hosts: usize, release: &Release, policy: &RolloutPolicy) -> Report {
    sync(&fleet.ports(), &request(shop(hosts, Some(release), policy)), &mut silent()).await
}

fn fleet(hosts: usize) -> FakeFleet {
    FakeFleet::new(&host_names(hosts))
}

/// Returns what a plan would do now, as lines.
async fn left_to_do(fleet: &FakeFleet, desired: &DesiredState) -> Vec<String> {
    let live = observe_desired(&fleet.ports(), desired).await;
    let quarantined: BTreeSet<Quarantined> = BTreeSet::new();
    let options = PlanOptions {
        observed_at: Timestamp(0),
        quarantined: &quarantined,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: true,
        adopt: false,
    };
    let plan = plan(desired, &live, &options);
    let blockers = plan.blockers.iter().map(|blocker| format!("{}: {}", blocker.code, blocker.message));
    let changes = plan.hosts.iter().flat_map(|(host, plan)| {
        plan.changes
            .iter()
            .map(move |change| format!("{host}: {} {} ({})", change.action.symbol(), change.key, change.rule))
    });
    blockers.chain(changes).collect()
}

/// Returns the release that answers through the switch of a host; `None` when nothing does.
fn serving(world: &World) -> Option<String> {
    let port = world.switches.get("127.0.83.1:8101")?;
    let slot = if *port == 8101 { Slot::Blue } else { Slot::Green };
    let container = world.projects.get(&format!("prod-shop-web-{slot}"))?.get("api")?;
    container.running?;
    Some(container.image.strip_prefix("shop:")?.to_owned())
}

fn served(fleet: &FakeFleet) -> BTreeMap<String, Option<String>> {
    fleet.hosts().map(|(name, host)| (name.to_string(), serving(&host.world()))).collect()
}

/// Asserts that every host serves this release, and that nothing was ever wrong.
fn assert_serves(fleet: &FakeFleet, release: &str) {
    let all: BTreeSet<_> = served(fleet).into_values().collect();
    assert_eq!(all, BTreeSet::from([Some(release.to_owned())]), "{:?}", served(fleet));
    assert_sound(fleet);
}

fn assert_sound(fleet: &FakeFleet) {
    for (name, host) in fleet.hosts() {
        assert_eq!(host.violations(), Vec::<String>::new(), "{name}");
    }
}

/// Returns how often each migration ran over the whole fleet.
fn migrations(fleet: &FakeFleet) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for (_, host) in fleet.hosts() {
        for (id, runs) in host.world().migrations {
            *all.entry(id).or_default() += runs;
        }
    }
    all
}

fn assert_result(report: &Report, wanted: SyncResult) {
    assert_eq!(report.result, Some(wanted), "{:#?}\n{:#?}\n{:#?}", report.blockers, report.troubles, report.apps);
}
