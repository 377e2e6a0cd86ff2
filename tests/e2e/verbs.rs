//! What people say to a rollout, and what machines do to it: on three real hosts, under load, one story after the other.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_host::transaction::folder::Folder;
use holdfast_protocol::{JournalEvent, Outcome, Phase};
use holdfast_testkit::lab::{Lab, LabHost, wait_until};
use holdfast_testkit::load::Load;
use holdfast_testkit::ops::{Ops, text};

use crate::crew::{Running, UNITS, api, app, fault, load, serves, templates};
use crate::journals::{all_ended, events, outcome, transactions};

const PATIENCE: Duration = Duration::from_secs(90);

/// A window that is never over while a test runs.
const LONG: &str = "10m";

const EDGE: &str = "  edge:\n    nginx: nginx/units.conf.j2\n    upstreams: { crew_api: api.http }\n";

struct Fleet<'a> {
    lab: &'a Lab,
    ops: Ops,
}

impl<'a> Fleet<'a> {
    fn new(lab: &'a Lab, rollout: &str) -> Self {
        let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), lab);
        templates(&ops);
        let fleet = Self { lab, ops };
        fleet.rollout(rollout);
        fleet
    }

    fn hosts(&self) -> &[LabHost] {
        &self.lab.hosts
    }

    fn rollout(&self, rollout: &str) {
        let text = format!("hosts: {{ role: web }}\nrollout: {{ {rollout} }}\n");
        self.ops.write("environments/prod/environment.yaml", &text);
    }

    fn ship(&self, release: &str, watch: &str) {
        self.ops.write("environments/prod/crew.yaml", &app("crew", release, &[&api(watch), EDGE]));
        self.ops.ship(release);
    }

    fn apply(&self) -> Running<'_> {
        Running::start(&self.ops, &["apply", "prod", "--yes"])
    }

    /// Ships and applies, and wants exit code 0.
    fn bring(&self, release: &str) {
        self.ship(release, "300ms");
        self.ops.run(&["apply", "prod", "--yes"]);
        self.ops.assert_plan_is_empty();
        self.assert_serves(release);
    }

    #[track_caller]
    fn assert_serves(&self, release: &str) {
        for host in self.hosts() {
            assert_eq!(serves(host, UNITS), release, "{}", host.name);
        }
    }

    fn wait_for(&self, release: &str) {
        let all = || self.hosts().iter().all(|host| serves(host, UNITS) == release);
        wait_until(&format!("{release} serves everywhere"), PATIENCE, all);
    }

    /// Waits until a transaction that brings a release has entered a phase on a host, and is not over.
    fn wait_phase(&self, host: usize, release: &str, phase: Phase) {
        let host = &self.hosts()[host];
        let what = format!("{} enters {phase:?} with {release}", host.name);
        let there = |folder: Folder| entered(&folder, phase) && outcome(&folder).is_none();
        wait_until(&what, PATIENCE, || bringing(host, release).is_some_and(there));
    }

    fn wait_all(&self, release: &str, phase: Phase) {
        (0..self.hosts().len()).for_each(|host| self.wait_phase(host, release, phase));
    }

    #[track_caller]
    fn assert_ended(&self, release: &str, wanted: &[Outcome]) {
        let found: Vec<_> =
            self.hosts().iter().map(|host| bringing(host, release).and_then(|folder| outcome(&folder))).collect();
        let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
        assert_eq!(found, wanted, "{release}");
        assert!(self.hosts().iter().all(all_ended));
    }

    /// Returns the last line of the history.
    fn last_sync(&self) -> String {
        text(&self.ops.run(&["history", "prod", "-n", "1"]))
    }
}

/// Returns the newest transaction that brings a release.
fn bringing(host: &LabHost, release: &str) -> Option<Folder> {
    let mut own: Vec<Folder> = transactions(host)
        .into_iter()
        .filter(|folder| folder.load().is_ok_and(|spec| spec.release == release))
        .collect();
    own.sort_by_key(|folder| folder.load().map_or(0, |spec| spec.fence));
    own.pop()
}

fn entered(folder: &Folder, wanted: Phase) -> bool {
    events(folder).iter().any(|event| matches!(event, JournalEvent::Entered { phase } if *phase == wanted))
}

#[test]
#[ignore = "needs the lab"]
fn cap_37_a_release_that_turns_bad_and_people_who_abort_or_promote_lose_no_request() {
    let lab = Lab::up("strv", "web", 3, &["--no-docker"]);
    let fleet = Fleet::new(&lab, "canary: 1, max_unavailable: 1, all_or_nothing: true");
    let ops = &fleet.ops;

    // A first install that fails leaves nothing, is not tried again, and stands in nobody's way.
    fault(&lab.hosts[0], "bad", "api", "v0");
    fleet.ship("v0", "300ms");
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(4));
    for host in &lab.hosts {
        for path in ["etc/systemd/system/crew-api@.service", "etc/nginx/conf.d/holdfast-prod-crew-edge.conf"] {
            assert!(!host.root.join(path).exists(), "{path} is left on {}", host.name);
        }
        let units = lab.exec(&host.name, &["systemctl", "list-units", "--all", "--plain", "--no-legend", "crew-*"]);
        assert_eq!(units, "", "units are left on {}", host.name);
    }
    let plan = text(&ops.run(&["plan", "prod"]));
    assert!(plan.contains("quarantined"), "the plan says why nothing will be done:\n{plan}");
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(3));
    fleet.bring("v1");

    let load = load(&lab.hosts, UNITS);
    wait_until("v1 answers", PATIENCE, || load.report().first_seen.len() == 3);

    // It turns bad on one host when everybody has it already.
    fleet.rollout("canary: 0, max_unavailable: 3, all_or_nothing: true");
    fleet.ship("v2", LONG);
    let apply = fleet.apply();
    fleet.wait_all("v2", Phase::Watch);
    fleet.assert_serves("v2");
    fault(&lab.hosts[1], "bad", "api", "v2");
    let since = Instant::now();
    wait_until("v1 serves on web2", PATIENCE, || serves(&lab.hosts[1], UNITS) == "v1");
    eprintln!("FIGURE a release that turned bad was off traffic in {} ms", since.elapsed().as_millis());
    let (code, _) = apply.end();
    assert_eq!(code, Some(4), "rolled back");
    fleet.assert_serves("v1");
    fleet.assert_ended("v2", &[Outcome::RolledBack; 3]);
    let said = fleet.last_sync();
    assert!(said.contains("v2") && said.contains("503"), "the history says why: {said}");
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(3), "not again before it changes");

    // Abort: the old slots are warm.
    fleet.ship("v3", LONG);
    let apply = fleet.apply();
    fleet.wait_all("v3", Phase::Watch);
    let since = Instant::now();
    ops.run(&["abort", "prod", "crew"]);
    fleet.wait_for("v1");
    eprintln!("FIGURE abort: the old slots had traffic on all hosts after {} ms", since.elapsed().as_millis());
    assert_eq!(apply.end().0, Some(4));
    fleet.assert_ended("v3", &[Outcome::RolledBack; 3]);
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(3), "what a person sent back stays back");
    ops.run(&["unlock", "prod", "--app", "crew"]);

    // Promote ends the window, also with all or nothing; words to nobody are refused.
    let apply = fleet.apply();
    fleet.wait_all("v3", Phase::Watch);
    ops.run(&["promote", "prod"]);
    assert_eq!(apply.end().0, Some(0));
    fleet.assert_ended("v3", &[Outcome::Done; 3]);
    ops.assert_plan_is_empty();
    for verb in ["promote", "abort", "resume"] {
        assert_eq!(ops.run_any(&[verb, "prod"]).status.code(), Some(3), "{verb}: nothing runs");
    }
    assert_no_loss(fleet.lab, load);
}

#[test]
#[ignore = "needs the lab"]
fn cap_39_a_pause_a_bad_host_a_loss_of_power_and_a_way_back_lose_no_request() {
    let lab = Lab::up("strw", "web", 3, &["--no-docker"]);
    let fleet = Fleet::new(&lab, "canary: 0, max_unavailable: 3, all_or_nothing: true");
    let ops = &fleet.ops;
    fleet.bring("v3");
    let load = load(&lab.hosts, UNITS);
    wait_until("v3 answers", PATIENCE, || load.report().first_seen.len() == 3);

    // Pause between waves: the others stay ready; then on.
    fleet.rollout("canary: 1, max_unavailable: 2, all_or_nothing: true");
    fleet.ship("v4", "1s");
    let apply = fleet.apply();
    fleet.wait_phase(0, "v4", Phase::Promote);
    ops.run(&["pause", "prod"]);
    fleet.wait_phase(0, "v4", Phase::Settled);
    // Time enough for a manager that does not hold.
    let plan = text(&ops.run(&["plan", "prod"]));
    assert!(plan.contains("unfinished-transaction"), "{plan}");
    for host in &lab.hosts[1..] {
        let folder = bringing(host, "v4").expect("it was begun");
        assert!(entered(&folder, Phase::Ready) && !entered(&folder, Phase::Promote), "{} went on", host.name);
        assert_eq!(serves(host, UNITS), "v3");
    }
    assert_eq!(serves(&lab.hosts[0], UNITS), "v4");
    ops.run(&["resume", "prod"]);
    assert_eq!(apply.end().0, Some(0));
    fleet.assert_serves("v4");

    // One of three fails and not all or nothing: the canary keeps it, the bad one goes back, the last is not touched.
    fleet.rollout("canary: 1, max_unavailable: 1, all_or_nothing: false");
    fault(&lab.hosts[1], "bad", "api", "v5");
    fleet.ship("v5", "300ms");
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(5), "partial");
    let found: Vec<_> = lab.hosts.iter().map(|host| serves(host, UNITS)).collect();
    assert_eq!(found, ["v5", "v4", "v4"]);
    assert!(bringing(&lab.hosts[2], "v5").is_none_or(|folder| folder.begun().is_none()), "the last host never began");
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(3), "quarantined");
    heal(&lab.hosts[1], "bad", "api", "v5");
    ops.run(&["unlock", "prod", "--app", "crew"]);
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();
    fleet.assert_serves("v5");
    let order: Vec<u64> = lab.hosts[1..].iter().map(|host| begun_at(host, "v5")).collect();
    let ends: Vec<u64> = lab.hosts[1..].iter().map(|host| ended_at(host, "v5")).collect();
    assert!(ends[0] <= order[1], "one at a time: {order:?} {ends:?}");

    // A host loses its power in the middle. The others wait for it, and everybody ends with the new release.
    assert_no_loss(fleet.lab, load);
    fleet.rollout("canary: 0, max_unavailable: 3, all_or_nothing: true");
    fleet.ship("v6", "1s");
    let apply = fleet.apply();
    fleet.wait_phase(2, "v6", Phase::Watch);
    lab.run(&["kill", "web3"]);
    lab.run(&["start", "web3"]);
    assert_eq!(apply.end().0, Some(0));
    fleet.wait_for("v6");
    fleet.assert_ended("v6", &[Outcome::Done; 3]);
    ops.assert_plan_is_empty();

    // Back without a name, in the window and after it.
    fleet.ship("v7", LONG);
    let apply = fleet.apply();
    fleet.wait_all("v7", Phase::Watch);
    ops.run(&["rollback", "prod", "--yes"]);
    assert_eq!(apply.end().0, Some(4));
    fleet.assert_serves("v6");
    ops.run(&["rollback", "prod", "--yes"]);
    fleet.assert_serves("v5");
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(3), "what was left is not brought again");
}

fn assert_no_loss(lab: &Lab, load: Load) {
    let report = load.stop();
    eprintln!("{report:#?}");
    lab.assert_none_lost(&report);
}

/// Takes a fault away.
fn heal(host: &LabHost, what: &str, component: &str, release: &str) {
    fs::remove_file(host.root.join("srv").join(what).join(format!("{component}.{release}")))
        .expect("the fault is there");
}

/// Milliseconds of the first and last entry of the transaction that brought a release.
fn begun_at(host: &LabHost, release: &str) -> u64 {
    times(host, release)[0]
}

fn ended_at(host: &LabHost, release: &str) -> u64 {
    *times(host, release).last().expect("a journal")
}

fn times(host: &LabHost, release: &str) -> Vec<u64> {
    let folder = bringing(host, release).expect("a transaction");
    let entries = holdfast_host::journal::read(&folder.journal()).expect("a journal");
    entries.iter().map(|entry| entry.at_ms).collect()
}
