//! What people say to a rollout that the daemon runs.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_protocol::{JournalEvent, Phase};
use holdfast_testkit::lab::{Lab, LabHost};
use holdfast_testkit::ops::{Ops, text};
use holdfast_testkit::quick;

use super::{Daemon, configure, is, replace};
use crate::journals::{all_ended, events, outcome, transactions};

const ENVIRONMENT: &str = "environments/prod/environment.yaml";

/// Returns whether a rollout that has not ended has come to this phase on a host.
fn stands_at(host: &LabHost, wanted: Phase) -> bool {
    let open = transactions(host).into_iter().filter(|folder| outcome(folder).is_none());
    let at = |event: &JournalEvent| matches!(event, JournalEvent::Entered { phase } if *phase == wanted);
    open.into_iter().any(|folder| events(&folder).iter().rev().find(|event| is_phase(event)).is_some_and(at))
}

fn is_phase(event: &JournalEvent) -> bool {
    matches!(event, JournalEvent::Entered { .. })
}

/// Asks as Prometheus does.
fn scrape(address: SocketAddr) -> String {
    let url = format!("http://{address}/metrics");
    let output = Command::new("curl").args(["-sSf", "--max-time", "20", &url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text(&output)
}

/// Returns the value of the first sample of a metric whose labels have all these.
fn sample(said: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let of_it = said.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    let line = of_it.into_iter().find(|rest| labels.iter().all(|label| rest.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
#[ignore = "needs the lab"]
fn people_pause_promote_and_abort_the_daemons_rollout_and_what_it_would_begin() {
    let lab = Lab::up("daw", "web", 2, &["--no-docker"]);
    let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let [first, second] = &lab.hosts[..] else { panic!("two hosts") };
    let scraped = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    configure(&ops, "metrics", &format!("{{ listen: {scraped} }}"));
    let daemon = Daemon::start(&ops);
    daemon.serves(&lab.hosts, "v1");
    daemon.rests();
    let begun = scrape(scraped);
    assert!(
        sample(&begun, "holdfast_deploys_total", &["app=\"quick\"", &first.name, "result=\"done\""]) >= Some(1.0),
        "{begun}"
    );
    assert_eq!(sample(&begun, "holdfast_drift_changes", &[]), Some(0.0), "{begun}");
    assert_eq!(sample(&begun, "holdfast_app_health", &[&first.name, "\"Healthy\""]), Some(1.0), "{begun}");

    // In the canary's window: held, and then promoted. One word for the canary, also for the pause behind it; one for the next wave.
    replace(&ops, ENVIRONMENT, "canary: 1", "canary: 1, pause_after_canary: true");
    replace(&ops, quick::APP, "window: 300ms", "window: 10m");
    ops.release("v2");
    ops.push();
    daemon.wait("the canary is watched", || stands_at(first, Phase::Watch));
    let said = String::from_utf8_lossy(&ops.run(&["pause", "prod"]).stderr).into_owned();
    assert!(said.contains("Later ones begin as ever"), "{said}");
    daemon.wait("it says that it is held", || daemon.said().contains("it waits: held by an operator"));
    assert!(is(first, "v2") && is(second, "v1"));
    ops.run(&["promote", "prod"]);
    daemon.wait("the second host is watched", || stands_at(second, Phase::Watch));
    assert!(is(second, "v2"), "nobody was asked again behind the canary");
    ops.run(&["promote", "prod"]);
    daemon.wait("all has ended", || lab.hosts.iter().all(all_ended));
    daemon.serves(&lab.hosts, "v2");
    daemon.rests();
    ops.assert_plan_is_empty();

    // At the pause behind the canary, which waits for somebody who looks.
    replace(&ops, quick::APP, "window: 10m", "window: 300ms");
    ops.release("v3");
    ops.push();
    let waits = || daemon.said().contains("it waits: the first wave serves the new release: `holdfast promote`");
    daemon.wait("the canary serves v3, and that is said", || is(first, "v3") && waits());
    assert!(is(second, "v2"), "nobody said that the others may go on");
    ops.run(&["promote", "prod"]);
    daemon.serves(&lab.hosts, "v3");
    daemon.rests();
    ops.assert_plan_is_empty();

    // Sent back in the middle: the release before serves everywhere, and what was sent back does not come again.
    ops.release("v4");
    ops.push();
    daemon.wait("the canary serves v4", || is(first, "v4") && waits());
    ops.run(&["abort", "prod"]);
    daemon.serves(&lab.hosts, "v3");
    daemon.wait("all has ended", || lab.hosts.iter().all(all_ended));
    daemon.rests();
    assert!(is(first, "v3") && is(second, "v3"));
    let history = text(&ops.run(&["history", "prod", "-n", "1"]));
    assert!(history.contains("RolledBack") && history.contains("v4"), "{history}");
    let plan = text(&ops.run(&["plan", "prod"]));
    assert!(plan.contains("quarantined") && plan.contains("aborted"), "{plan}");
    for verb in ["promote", "abort", "resume"] {
        assert_eq!(ops.run_any(&[verb, "prod"]).status.code(), Some(3), "{verb}: nothing runs");
    }

    // Nothing begins by itself while it is paused, and who pushes and who looks is told.
    ops.run(&["hook", "install", &ops.bare.to_string_lossy()]);
    ops.run(&["pause", "prod", "--reason", "the fair"]);
    replace(&ops, ENVIRONMENT, ", pause_after_canary: true", "");
    ops.release("v5");
    for said in [ops.push(), daemon.said()] {
        for wanted in ["paused by", "the fair", "holdfast resume prod"] {
            assert!(said.contains(wanted), "wanted {wanted:?}: {said}");
        }
    }
    daemon.rests();
    assert!(is(first, "v3") && is(second, "v3"), "nothing begins by itself");
    daemon.wait("metrics say what came of it all", || {
        sample(&scrape(scraped), "holdfast_drift_changes", &[]) > Some(0.0)
    });
    let (served, printed) = (scrape(scraped), text(&ops.run(&["metrics"])));
    for said in [&served, &printed] {
        assert_eq!(sample(said, "holdfast_daemon_up", &[]), Some(1.0), "{said}");
        assert_eq!(sample(said, "holdfast_environment_paused", &["environment=\"prod\""]), Some(1.0), "{said}");
        assert_eq!(sample(said, "holdfast_app_quarantined", &["app=\"quick\""]), Some(1.0), "{said}");
        assert_eq!(sample(said, "holdfast_last_sync_result", &["rolled_back"]), Some(1.0), "{said}");
        assert_eq!(sample(said, "holdfast_deploys_total", &[&first.name, "rolled_back"]), Some(1.0), "{said}");
        assert!(sample(said, "holdfast_last_success_timestamp_seconds", &[]) > Some(1.7e9), "{said}");
        assert!(
            sample(said, "holdfast_app_info", &["live=\"v3\"", "desired=\"v5\"", &second.name]).is_some(),
            "{said}"
        );
    }
    ops.run(&["resume", "prod"]);
    daemon.serves(&lab.hosts, "v5");
    daemon.rests();
    assert!(!daemon.said().contains("paused"));
    ops.assert_plan_is_empty();

    // Nor while a window closes it, until a person takes the responsibility, or git opens it.
    let windows = closed_now();
    replace(&ops, ENVIRONMENT, "rollout:", &format!("{windows}rollout:"));
    ops.release("v6");
    for said in [ops.push(), daemon.said()] {
        assert!(said.contains("closed until") && said.contains(ENVIRONMENT), "until when, and by which line: {said}");
    }
    let refused = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused));
    assert!(is(first, "v5") && is(second, "v5"), "nobody overrode the window");
    ops.run(&["apply", "prod", "--yes", "--override-window", "--reason", "the shop is down"]);
    assert!(is(first, "v6") && is(second, "v6"));
    let history = text(&ops.run(&["history", "prod", "-n", "1", "--json"]));
    assert!(history.contains("the shop is down"), "{history}");
    replace(&ops, ENVIRONMENT, &windows, "");
    ops.release("v7");
    ops.push();
    daemon.serves(&lab.hosts, "v7");
    daemon.rests();
    ops.assert_plan_is_empty();
}

/// Returns windows that close an environment from two hours ago for four hours, and leave it open at another time of the day.
fn closed_now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let hour = now.as_secs() / 3600 % 24;
    format!("windows:\n  - {{ kind: deny, schedule: \"0 {} * * *\", duration: 4h }}\n", (hour + 22) % 24)
}
