//! Guide 001: NPS in containers for production and development, and the same release as units on a host without Docker.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use serde_json::{Value, json};

use super::foreign::{self, Foreign};
use super::{Shipped, address, ask, asked};

/// The lab's hosts, one after another.
const HOSTS: [&str; 3] = ["prod-b", "bare", "vps"];
/// What a lab has in place of the registry's images.
pub(super) const IMAGES: [&str; 4] =
    ["registry: lab", "postgres_image: lab/postgres:17", "redis_image: lab/redis:8", "worker_class: app.worker.Worker"];
const SITE: &str = "nps.example.com";
const MANUAL_SITE: &str = "manual.nps.example.com";
const DEV_SITE: &str = "dev.nps.example.com";
const PROD: &str = "environments/nps-prod/nps.yaml";
const MANUAL: &str = "environments/nps-manual/nps.yaml";
const DEV: &str = "environments/nps-dev/nps.yaml";
const PATIENCE: Duration = Duration::from_secs(60);

/// The secrets of one of its environments.
pub(super) fn secrets(name: &str) -> Value {
    json!({
        "database": { "password": format!("p@ss w:/{name}") },
        "redis": { "password": format!("r#d $-{name}") },
        "api": { "secret_key": format!("5ec3e7{name}0123456789abcdef") },
        "encryption": { "key": format!("e4c{name}0123456789abcdef"), "salt": format!("5a17{name}01234567") },
        "telegram": { "service_key": format!("b07{name}0123456789abcdef"), "bot_token": format!("110201543:AAH{name}") },
        "anthropic": { "api_key": format!("sk-ant-{name}") },
    })
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// What the guide's steps of a host without Docker make there before any unit: an account, PostgreSQL with its role and database,
/// Redis, and the releases with their programs below `/opt/nps` and `/var/www/nps`.
pub(super) fn prepare_manual(lab: &Lab, host: usize) {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/images");
    let host = &lab.hosts[host];
    for release in ["v4.0.0", "v4.1.0"] {
        for (folder, parts) in [
            ("api", &["nps/api"][..]),
            ("services/oracle", &["nps/oracle"]),
            ("services/telegram-bot", &["nps/telegram", "nps/bot"]),
            ("services/oracle-alerter", &["nps/telegram", "nps/alerter"]),
        ] {
            let to = host.root.join("opt/nps").join(release).join(folder);
            for part in [&["fixture"], parts, &[&*format!("nps/{release}")]].concat() {
                copy(&images.join(part), &to);
            }
            fs::create_dir_all(to.join(".venv/bin")).unwrap();
            for program in ["python3", "gunicorn"] {
                symlink(Path::new("/usr/bin").join(program), to.join(".venv/bin").join(program)).unwrap();
            }
        }
        let site = host.root.join("var/www/nps").join(release);
        fs::create_dir_all(&site).unwrap();
        fs::write(site.join("index.html"), format!("<p>release {release}</p>\n")).unwrap();
        fs::write(site.join("version.json"), json!({ "release": release }).to_string()).unwrap();
    }
    let script = r#"set -eu
systemctl disable -q --now docker.service docker.socket containerd.service 2> /dev/null || true
useradd --system nps
systemctl start postgresql redis-server
until runuser -u postgres -- psql -qc "CREATE ROLE nps LOGIN PASSWORD 'p@ss w:/manual'"; do sleep 0.2; done
runuser -u postgres -- psql -qc "CREATE DATABASE nps OWNER nps"
"#;
    lab.exec(&host.name, &["bash", "-c", script]);
}

fn shipped(lab: &Lab) -> Shipped {
    let shipped = Shipped::new(lab, &HOSTS, &["nps-prod", "nps-manual", "nps-dev"], &IMAGES);
    for name in ["prod", "manual", "dev"] {
        shipped.ops.seal(&format!("nps-{name}"), &secrets(name).to_string());
    }
    // Shipped as ten minutes in production and one elsewhere.
    shipped.edit(PROD, "window: 10m", "window: 3s");
    shipped.edit(MANUAL, "window: 10m", "window: 3s");
    shipped.edit(DEV, "window: 1m", "window: 3s");
    shipped.ops.ship("NPS, v4.0.0");
    shipped
}

/// Has something read by the oracle; the release that spoke.
fn reading(lab: &Lab, host: usize, site: &str) -> String {
    let url = format!("http://{}/api/oracle/readings", lab.hosts[host].address);
    let header = format!("Host: {site}");
    let argv =
        ["-sSf", "-m", "20", "-H", &header, "-H", "Content-Type: application/json", "-d", r#"{"message":"?"}"#, &url];
    let output = Command::new("curl").args(argv).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    said["oracle"].as_str().unwrap_or_default().to_owned()
}

/// Capabilities 17, 24, 25 and 34 on real hosts.
#[test]
#[ignore = "needs the lab"]
fn cap_25_the_same_release_comes_up_in_containers_and_as_units() {
    let lab = Lab::up("nps", "nps", 3, &["--tree", "systems", "--images", "nps"]);
    let shipped = shipped(&lab);
    prepare_manual(&lab, 1);
    let foreign = [
        Foreign::plant(&lab, &lab.hosts[1].name, "", "5433 6380 3001 5173"),
        Foreign::plant(&lab, &lab.hosts[2].name, "lab/redis:8", foreign::PORTS),
    ];
    let apply = |environment: &str| shipped.ops.run_any(&["apply", environment, "--yes"]).status.code();
    std::thread::scope(|scope| {
        let others = ["nps-manual", "nps-dev"].map(|name| scope.spawn(move || apply(name)));
        assert_eq!(apply("nps-prod"), Some(0), "production comes up");
        for other in others {
            assert_eq!(other.join().unwrap(), Some(0), "the others come up");
        }
    });
    for name in ["nps-prod", "nps-manual", "nps-dev"] {
        shipped.assert_plan_is_empty(name);
    }
    serves_what_the_definitions_say(&lab);
    only_what_is_declared_is_reachable(&lab);
    foreign.iter().for_each(Foreign::assert_untouched);
}

fn serves_what_the_definitions_say(lab: &Lab) {
    for (host, site, environment, debug, workers) in [
        (0, SITE, "production", false, 4),
        (1, MANUAL_SITE, "production", false, 4),
        (2, DEV_SITE, "development", true, 1),
    ] {
        wait_until("all workers answer", PATIENCE, || {
            asked(lab, host, site, "/api/version")["workers"] == json!(workers)
        });
        let version = asked(lab, host, site, "/api/version");
        assert_eq!(version["release"], json!("v4.0.0"), "{version}");
        assert_eq!(version["environment"], json!(environment), "{version}");
        assert_eq!(version["debug"], json!(debug), "{version}");
        assert_eq!(asked(lab, host, site, "/api/health/ready")["status"], json!("healthy"));
        assert_eq!(reading(lab, host, site), "v4.0.0", "{site}: the oracle answers");
        assert!(ask(lab, host, site, "/").contains("release v4.0.0"), "{site}");
        assert_eq!(asked(lab, host, site, "/version.json")["release"], json!("v4.0.0"), "{site}");
    }
    let psql = |sql: &str| {
        let argv = ["docker", "exec", "nps-prod-nps-data-postgres-1", "psql", "-XAtq", "-U", "nps", "-c", sql];
        lab.exec(&lab.hosts[0].name, &argv).trim().to_owned()
    };
    for (setting, value) in [
        ("shared_buffers", "512MB"),
        ("work_mem", "32MB"),
        ("effective_cache_size", "1536MB"),
        ("random_page_cost", "1.1"),
        ("effective_io_concurrency", "200"),
        ("max_connections", "200"),
        ("wal_buffers", "16MB"),
        ("checkpoint_completion_target", "0.9"),
    ] {
        assert_eq!(psql(&format!("SHOW {setting}")), value, "{setting}");
    }
    assert_eq!(psql("SELECT count(*) FROM migration_runs"), "13", "each file once, both of the number 013");
    let shm = ["docker", "exec", "nps-prod-nps-data-postgres-1", "df", "--output=size", "-BM", "/dev/shm"];
    assert!(lab.exec(&lab.hosts[0].name, &shm).contains("768M"), "more than shared_buffers");
    let units = lab.exec(&lab.hosts[1].name, &["systemctl", "list-units", "--no-legend", "--state=active", "nps-*"]);
    for unit in
        ["nps-api@blue.service", "nps-oracle@blue.service", "nps-telegram-bot.service", "nps-oracle-alerter.service"]
    {
        assert!(units.contains(unit), "{unit}: {units}");
    }
    assert!(!lab.try_run(&["exec", &lab.hosts[1].name, "--", "systemctl", "is-active", "docker"]).status.success());
}

fn only_what_is_declared_is_reachable(lab: &Lab) {
    let inside = [
        5432, 6379, 8000, 9090, 50052, 8801, 8802, 8803, 8804, 8805, 8811, 8812, 8813, 8814, 8815, 8821, 8823, 8824,
        8825, 8826, 8851, 8852, 8853, 8854, 8871, 8873, 8874,
    ];
    // 5432 of the shared host is foreign, and open.
    for (host, name) in HOSTS.iter().enumerate() {
        let reachable =
            |port: u16| TcpStream::connect_timeout(&address(lab, host, port), Duration::from_millis(500)).is_ok();
        assert!(reachable(22) && reachable(80));
        let open: Vec<u16> = inside.into_iter().filter(|port| reachable(*port)).collect();
        let expected: &[u16] = if host == 2 { &[5432] } else { &[] };
        assert_eq!(open, expected, "ports of {name} open to everybody");
        let from = lab.hosts[(host + 1) % 3].name.as_str();
        for port in [6379, 8000, 9090, 50052] {
            let url = format!("telnet://{}", address(lab, host, port));
            let output = lab.try_run(&["exec", from, "--", "curl", "-sm", "2", "-w", "%{time_connect}", &url]);
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).trim_end(),
                "0.000000",
                "{port} of {name} from another host"
            );
        }
    }
}
