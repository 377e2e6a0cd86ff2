//! Guide 003: development, staging and production of one system beside each other on one VPS.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadSpec};
use serde_json::{Value, json};

use super::socket::Socket;
use super::{Shipped, assert_hidden};

pub(super) const IMAGES: [&str; 6] = [
    "registry: lab",
    "postgres_image: lab/postgres:17",
    "redis_image: lab/redis:8",
    "qdrant_image: lab/qdrant:1",
    "minio_image: lab/minio:1",
    "flower_image: lab/flower:1",
];

/// Environment, its site, log level, workers, whether it debugs: the table of the guide.
const TABLE: [(&str, &str, &str, u64, bool); 3] = [
    ("dev", "dev.chat.example.net", "DEBUG", 1, true),
    ("stage", "stage.chat.example.net", "INFO", 2, false),
    ("prod", "chat.example.net", "WARNING", 4, false),
];

/// Asks a site of the host, as somebody outside does.
pub(super) fn ask(lab: &Lab, site: &str, path: &str, body: Option<&Value>) -> Value {
    let url = format!("http://{}:8100{path}", lab.hosts[0].address);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-H", &format!("Host: {site}"), &url]);
    if let Some(body) = body {
        curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
    }
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{site}{path}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{site}{path}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// Takes these environments, with windows of seconds.
pub(super) fn shipped_in(lab: &Lab, names: &[&str]) -> Shipped {
    let environments: Vec<String> = names.iter().map(|name| format!("shia-{name}")).collect();
    let environments: Vec<&str> = environments.iter().map(String::as_str).collect();
    let shipped = Shipped::new(lab, &["vps"], &environments, &IMAGES);
    for name in names {
        let secrets = json!({
            "database": { "password": format!("p@ss w:/{name}") },
            "redis": { "password": format!("r#d $-{name}") },
            "app": { "secret_key": format!("key-{name}-0123456789abcdef") },
            "openrouter": { "api_key": format!("sk-{name}") },
            "minio": { "user": "objects", "password": format!("m%n \"{name}") },
        });
        shipped.ops.seal(&format!("shia-{name}"), &secrets.to_string());
        // Shipped as an hour in production and a minute elsewhere.
        let window = if *name == "prod" { "window: 1h" } else { "window: 1m" };
        shipped.edit(&format!("environments/shia-{name}/shia.yaml"), window, "window: 3s");
    }
    shipped.ops.ship("the chatbot, v1.0.0 everywhere");
    shipped
}

/// Capabilities 17, 31, 35 and 36 on a real host.
#[test]
#[ignore = "needs the lab"]
fn cap_31_three_environments_on_one_vps_share_nothing() {
    let lab = Lab::up("shia", "vps", 1, &["--images", "shia"]);
    let shipped = shipped_in(&lab, &["dev", "stage", "prod"]);
    let ops = &shipped.ops;
    for (name, ..) in TABLE {
        ops.run(&["apply", &format!("shia-{name}"), "--yes"]);
    }
    for (name, ..) in TABLE {
        shipped.assert_plan_is_empty(&format!("shia-{name}"));
    }

    // Each is what the guide's table says.
    for (name, site, level, workers, debug) in TABLE {
        wait_until("all workers answer", Duration::from_secs(60), || {
            ask(&lab, site, "/version", None)["workers"] == json!(workers)
        });
        let version = ask(&lab, site, "/version", None);
        assert_eq!(version["environment"], json!(name), "{version}");
        assert_eq!(version["release"], json!("v1.0.0"), "{version}");
        assert!(version["log_level"].as_str().unwrap().eq_ignore_ascii_case(level), "{version}");
        assert_eq!(version["debug"], json!(debug), "{version}");
        assert_hidden(&lab, 0, 8100, site, &["/metrics", "/docs"]);
    }

    // A task of one environment is never done by another's workers, and no message is seen elsewhere.
    for (name, site, ..) in TABLE {
        ask(&lab, site, "/api/v1/tasks", Some(&json!({ "ref": format!("of-{name}"), "seconds": 0 })));
    }
    for (name, site, ..) in TABLE {
        let done = || ask(&lab, site, &format!("/api/v1/tasks?ref=of-{name}"), None);
        wait_until("the task ran", Duration::from_secs(60), || done().to_string().contains("ended_at"));
        let runs = done().to_string();
        assert!(runs.contains(&format!("\"environment\":\"{name}\"")), "{runs}");
        for (other, ..) in TABLE.iter().filter(|(other, ..)| *other != name) {
            let runs = ask(&lab, site, &format!("/api/v1/tasks?ref=of-{other}"), None).to_string();
            assert!(!runs.contains("ended_at"), "{name} knows a task of {other}: {runs}");
        }
    }

    // Nothing but nginx's port, and ssh, can be reached from elsewhere.
    let reachable = |port: u16| {
        let address = SocketAddr::new(lab.hosts[0].address.parse().unwrap(), port);
        TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
    };
    assert!(reachable(8100) && reachable(22));
    let open: Vec<u16> =
        [5432, 5433, 5555, 5556, 5557, 6333, 6379, 8000, 8401, 8402, 8403, 8451, 8452, 8453, 9000, 9001]
            .into_iter()
            .filter(|port| reachable(*port))
            .collect();
    assert!(open.is_empty(), "ports open to everybody: {open:?}");

    let release = |name: &str, from: &str, to: &str| {
        let path = format!("environments/shia-{name}/shia.yaml");
        shipped.edit(&path, &format!("release: {from}"), &format!("release: {to}"));
        ops.ship(&format!("{name} {to}"));
        ops.run_any(&["apply", &format!("shia-{name}"), "--yes"]).status.code()
    };
    assert_eq!(release("stage", "v1.0.0", "v1.1.0"), Some(0));

    // A release of production under load, once staging has it.
    let targets = vec![format!("{}:8100", lab.hosts[0].address).parse().unwrap()];
    let (pause, limit) = (Duration::from_millis(120), Duration::from_secs(600));
    let load = Load::start(&LoadSpec::chatbot(targets, "chat.example.net", pause, limit));
    assert_eq!(release("prod", "v1.0.0", "v1.1.0"), Some(0));
    shipped.assert_plan_is_empty("shia-prod");
    wait_until("v1.1.0 answers", Duration::from_secs(20), || load.report().releases.contains_key("v1.1.0"));

    // One that never gets healthy takes no request in staging, and never gets to production.
    assert_eq!(release("stage", "v1.1.0", "v1.2.0"), Some(4), "a release that never gets healthy goes back");
    assert_eq!(release("prod", "v1.1.0", "v1.2.0"), Some(3), "what staging has not migrated is refused");
    let report = load.stop();
    lab.assert_none_lost(&report);
    assert!(report.requests > 500, "the load was real: {} requests", report.requests);
    assert_eq!(report.releases.keys().collect::<Vec<_>>(), ["v1.0.0", "v1.1.0"]);
    for (name, site, wanted) in [("dev", TABLE[0].1, "v1.0.0"), ("stage", TABLE[1].1, "v1.1.0")] {
        assert_eq!(ask(&lab, site, "/version", None)["release"], json!(wanted), "{name} did not move");
    }
}

/// Releases to and fro in development, under load, each with somebody connected, who stays with the release that took them for as long as
/// they want.
#[test]
#[ignore = "needs the lab"]
fn cap_35_ten_releases_cut_no_websocket() {
    let lab = Lab::up("shiaws", "ws", 1, &["--images", "shia"]);
    let shipped = shipped_in(&lab, &["dev"]);
    shipped.ops.run(&["apply", "shia-dev", "--yes"]);
    let site = TABLE[0].1;
    let path = "environments/shia-dev/shia.yaml";
    let address: SocketAddr = format!("{}:8100", lab.hosts[0].address).parse().unwrap();
    let (pause, limit) = (Duration::from_millis(120), Duration::from_secs(1200));
    let load = Load::start(&LoadSpec::chatbot(vec![address], site, pause, limit));
    for round in 0..10 {
        let [from, to] = if round % 2 == 0 { ["v1.0.0", "v1.1.0"] } else { ["v1.1.0", "v1.0.0"] };
        let mut socket = Socket::open(address, site);
        let greeting = socket.hear().unwrap();
        assert!(greeting.contains(from), "{greeting}");
        shipped.edit(path, &format!("release: {from}"), &format!("release: {to}"));
        shipped.ops.ship(&format!("development {to}"));
        std::thread::scope(|scope| {
            let applying = scope.spawn(|| shipped.ops.run_any(&["apply", "shia-dev", "--yes"]).status.code());
            wait_until("the other release serves", Duration::from_secs(240), || {
                assert!(!applying.is_finished(), "a release waits for who is connected");
                let echo = socket.say("still here").expect("a switch cuts no websocket");
                assert!(echo.contains("still here") && echo.contains(from), "{echo}");
                ask(&lab, site, "/version", None)["release"] == json!(to)
            });
            let echo = socket.say("and after it").expect("a switch cuts no websocket");
            assert!(echo.contains("and after it") && echo.contains(from), "{echo}");
            drop(socket);
            assert_eq!(applying.join().unwrap(), Some(0), "round {round}");
        });
    }
    let report = load.stop();
    eprintln!("ten releases: {} requests, {} lost, {:?}", report.requests, report.failures, report.releases);
    lab.assert_none_lost(&report);
    assert!(report.requests > 1000, "the load was real: {} requests", report.requests);
    shipped.assert_plan_is_empty("shia-dev");
}

/// What goes wrong with v1.1.0 in development: the stage, a file and what is other in it, and what the report says of it.
const FAILURES: [(&str, &str, [&str; 2], &str); 7] = [
    ("migration", DEV, ["[alembic, upgrade, head]", "[alembic, upgrade, nowhere]"], "nowhere"),
    ("image", WEB, ["shia-chatbot:{{ release }}", "shia-chatbot:v9.9.9"], "v9.9.9"),
    ("start", WEB, [DEBUG, "FIXTURE_CRASH_AFTER: \"0.2\"\n      DEBUG: \""], "restart"),
    ("health", WEB, [DEBUG, "FIXTURE_SICK: no model\n      DEBUG: \""], "no model"),
    ("nginx", "templates/nginx/shia.conf.j2", ["client_max_body_size 10m;", "client_max_body_sizes 10m;"], "sizes"),
    (
        "proof",
        DEV,
        ["json: release, expect: release", "json: slot, expect: release"],
        "answers through nginx, expected",
    ),
    ("smoke", DEV, [KEEP, "    keep_previous: 24h\n    smoke: [{ path: /version, json: { debug: 1 } }]\n"], "debug"),
];
/// What only shows in the window: the release has served by then.
const LATE: (&str, &str, [&str; 2], &str) =
    ("window", WEB, [DEBUG, "FIXTURE_SICK_AFTER: \"25\"\n      DEBUG: \""], "sick since");
const DEV: &str = "environments/shia-dev/shia.yaml";
const WEB: &str = "templates/compose/shia-web.yaml.j2";
const DEBUG: &str = "DEBUG: \"";
const KEEP: &str = "    keep_previous: 24h\n";

/// The old release serves on whatever goes wrong with the new one, and whenever somebody takes it back: nobody sees it.
#[test]
#[ignore = "needs the lab"]
fn cap_36_whatever_goes_wrong_the_old_release_serves() {
    let lab = Lab::up("shiabad", "bad", 1, &["--images", "shia"]);
    let shipped = shipped_in(&lab, &["dev"]);
    let ops = &shipped.ops;
    ops.run(&["apply", "shia-dev", "--yes"]);
    let site = TABLE[0].1;
    let address: SocketAddr = format!("{}:8100", lab.hosts[0].address).parse().unwrap();
    let (pause, limit) = (Duration::from_millis(120), Duration::from_secs(1800));
    let load = Load::start(&LoadSpec::chatbot(vec![address], site, pause, limit));
    let before = ask(&lab, site, "/version", None);
    assert_eq!(before["release"], json!("v1.0.0"));
    let release = |from: &str, to: &str| shipped.edit(DEV, &format!("release: {from}"), &format!("release: {to}"));
    let goes_back = |(stage, path, [good, bad], said): (&str, &str, [&str; 2], &str)| {
        let kept = std::fs::read_to_string(ops.work.join(path)).unwrap();
        release("v1.0.0", "v1.1.0");
        shipped.edit(path, good, bad);
        ops.ship(&format!("v1.1.0 with a wrong {stage}"));
        let output = ops.run_any(&["apply", "shia-dev", "--yes"]);
        let text = String::from_utf8_lossy(&output.stderr);
        // nginx's own test comes before anything is touched.
        let code = if stage == "nginx" { 3 } else { 4 };
        assert_eq!(output.status.code(), Some(code), "{stage}");
        assert!(text.contains(said), "{stage}: the report says {said}:\n{text}");
        let now = ask(&lab, site, "/version", None);
        assert_eq!((&now["release"], &now["slot"]), (&before["release"], &before["slot"]), "{stage}");
        if path == DEV {
            shipped.edit(DEV, bad, good);
        } else {
            ops.write(path, &kept);
        }
        release("v1.1.0", "v1.0.0");
        ops.ship(&format!("v1.0.0 again, after a wrong {stage}"));
        ops.run(&["apply", "shia-dev", "--yes"]);
        // Where a check was wrong, nothing else of v1.1.0 is another one the next time.
        ops.run_any(&["unlock", "shia-dev", "--app", "shia"]);
    };
    FAILURES.into_iter().for_each(goes_back);

    // Nothing is wrong with it, and in its window somebody takes it back all the same.
    shipped.edit(DEV, "window: 3s", "window: 10m");
    release("v1.0.0", "v1.1.0");
    ops.ship("v1.1.0");
    let back = std::thread::scope(|scope| {
        let applying = scope.spawn(|| ops.run_any(&["apply", "shia-dev", "--yes"]).status.code());
        let serves = |release: &str| ask(&lab, site, "/version", None)["release"] == json!(release);
        wait_until("v1.1.0 serves", Duration::from_secs(240), || serves("v1.1.0"));
        let since = Instant::now();
        ops.run(&["abort", "shia-dev", "shia"]);
        wait_until("v1.0.0 serves again", Duration::from_secs(60), || serves("v1.0.0"));
        let back = since.elapsed();
        assert_eq!(applying.join().unwrap(), Some(4), "it was taken back");
        back
    });
    eprintln!("FIGURE abort in the window: the old release served after {} ms", back.as_millis());
    let report = load.stop();
    eprintln!("{} requests, {} lost, {:?}", report.requests, report.failures, report.releases);
    lab.assert_none_lost(&report);
    assert!(report.requests > 1000, "the load was real: {} requests", report.requests);

    // What only its window shows has been seen by then, and ends with it.
    release("v1.1.0", "v1.0.0");
    shipped.edit(DEV, "window: 10m", "window: 60s");
    ops.ship("v1.0.0 again");
    ops.run(&["apply", "shia-dev", "--yes"]);
    ops.run(&["unlock", "shia-dev", "--app", "shia"]);
    goes_back(LATE);
}
