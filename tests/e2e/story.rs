//! The main story: v1, v2 under load, a broken v3 that never takes traffic, and back.

use std::path::Path;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadSpec, release_at};
use holdfast_testkit::ops::Ops;

fn load(lab: &Lab) -> Load {
    let targets = lab.hosts.iter().map(|host| format!("{}:8100", host.address).parse().unwrap()).collect();
    let (pause, limit) = (Duration::from_millis(60), Duration::from_secs(600));
    Load::start(&LoadSpec::chatbot(targets, "chat.example.net", pause, limit))
}

fn migration_runs(lab: &Lab) -> String {
    let query = "SELECT revision, count(*) FROM migration_runs GROUP BY revision ORDER BY revision";
    let container = "prod-chatbot-data-postgres-1";
    lab.exec("web1", &["docker", "exec", container, "psql", "-U", "postgres", "-d", "chatbot", "-Atc", query])
}

#[test]
#[ignore = "needs the lab"]
fn cap_35_v1_then_v2_then_broken_v3_and_back_without_a_lost_request() {
    let lab = Lab::up("story", "web", 3, &["--images"]);
    let ops = Ops::new(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);

    ops.run(&["validate"]);
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();

    for host in &lab.hosts {
        let target = format!("{}:8100", host.address).parse().unwrap();
        let error = release_at(target, "chat.example.net", "/metrics").unwrap_err().to_string();
        assert!(error.contains("404"), "metrics are not for everybody: {error}");
    }
    let load = load(&lab);
    wait_until("v1 answers everywhere", Duration::from_secs(20), || load.report().first_seen.len() == 3);

    ops.release("v2");
    ops.push();
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();
    wait_until("v2 answers everywhere", Duration::from_secs(20), || {
        load.report().first_seen.values().filter(|seen| seen.contains_key("v2")).count() == 3
    });

    ops.release("v3");
    ops.push();
    let broken = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(broken.status.code(), Some(4), "a release that never gets healthy is rolled back");
    let again = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(again.status.code(), Some(3), "a quarantined release is refused");

    ops.run(&["rollback", "prod", "chatbot", "--yes"]);
    let before = load.report().releases.get("v1").copied().unwrap_or(0);
    wait_until("v1 answers again", Duration::from_secs(20), || load.report().releases["v1"] > before + 50);

    let report = load.stop();
    eprintln!("{report:#?}");
    lab.assert_none_lost(&report);
    assert!(report.requests > 1_000, "the load was real: {} requests", report.requests);
    assert_eq!(report.releases.keys().collect::<Vec<_>>(), ["v1", "v2"], "v3 never takes traffic");
    assert_eq!(migration_runs(&lab), "0001|1\n0002|1\n", "each migration ran exactly once");
}
