//! Guide 001: NPS in containers for production and development, and the same release as units on a host without Docker.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadSpec};
use holdfast_testkit::ops::text;
use serde_json::{Value, json};

use super::foreign::{self, Foreign};
use super::telegram::Telegram;
use super::{Counting, Shipped, address, ask, asked, over_tls};

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
/// What v4.1.0 brings for the database.
const MORE: &str = "022_reading_channel.sql";
/// Where the lab has it, and a file that is broken.
const SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/sql/nps");

/// Counts alerters and bots that run, several times a second: the most of either in all rounds, and the rounds.
const COUNT: &str = r#"most=0 rounds=0
while [ ! -e /run/counted ]; do
    # Patterns that do not find themselves.
    for module in 'oracle_alert[s]' 'telegram_bo[t]'; do
        now=$(grep -la "$module" /proc/[0-9]*/cmdline 2> /dev/null | wc -l)
        [ "$now" -le "$most" ] || most=$now
    done
    rounds=$((rounds + 1))
    sleep 0.1
done
echo "$most $rounds""#;

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

/// What the guide's steps of a host without Docker make there before any unit: PostgreSQL with its role and database,
/// Redis, and the releases with their programs below `/opt/nps`.
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
        let sql = host.root.join("opt/nps").join(release).join("api/database");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/sql/nps"), &sql);
        if release == "v4.1.0" {
            fs::copy(Path::new(SQL).join(MORE), sql.join(MORE)).unwrap();
        }
    }
    let script = r#"set -eu
systemctl disable -q --now docker.service docker.socket containerd.service 2> /dev/null || true
systemctl start postgresql redis-server
until runuser -u postgres -- psql -qc "CREATE ROLE nps LOGIN PASSWORD 'p@ss w:/manual'"; do sleep 0.2; done
runuser -u postgres -- psql -qc "CREATE DATABASE nps OWNER nps"
"#;
    lab.exec(&host.name, &["bash", "-c", script]);
}

/// Builds the frontend's archive of a release as CI does, into the management box's folder, and returns its SHA-256. The same files are
/// the same archive: so the one of v4.0.0 is the one that the definitions name.
pub(super) fn build_frontend(shipped: &Shipped, release: &str) -> String {
    let archives = shipped.ops.work.with_file_name("state").join("archives");
    let dist = archives.with_file_name(format!("dist-{release}"));
    fs::create_dir_all(&archives).unwrap();
    fs::create_dir_all(&dist).unwrap();
    fs::write(dist.join("index.html"), format!("<p>release {release}</p>\n")).unwrap();
    fs::write(dist.join("version.json"), format!(r#"{{"release":"{release}"}}"#)).unwrap();
    let archive = archives.join(format!("nps-frontend-{release}.tar"));
    let same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
    let mut tar = Command::new("tar");
    tar.args(same).arg("--format=ustar").arg("-C").arg(&dist).arg("-cf").arg(&archive).arg(".");
    assert!(tar.status().unwrap().success());
    let sum = Command::new("sha256sum").arg(&archive).output().unwrap();
    text(&sum).split(' ').next().unwrap().to_owned()
}

fn shipped(lab: &Lab, telegram: &Telegram) -> Shipped {
    let variables = [&IMAGES[..], &[&*telegram.variable]].concat();
    let shipped = Shipped::new(lab, &HOSTS, &["nps-prod", "nps-manual", "nps-dev"], &variables);
    for name in ["prod", "manual", "dev"] {
        shipped.ops.seal(&format!("nps-{name}"), &secrets(name).to_string());
    }
    build_frontend(&shipped, "v4.0.0");
    // Shipped as ten minutes in production and one elsewhere.
    shipped.edit(PROD, "window: 10m", "window: 3s");
    shipped.edit(MANUAL, "window: 10m", "window: 3s");
    shipped.edit(DEV, "window: 1m", "window: 3s");
    // Development has files of its own here, and at first those up to 012.
    shipped.edit(DEV, "folder: sql/nps", "folder: sql/dev");
    for file in sql_files(&shipped).iter().filter(|file| file.as_str() < "013") {
        take_sql(&shipped, file);
    }
    shipped.ops.ship("NPS, v4.0.0");
    shipped
}

fn sql_files(shipped: &Shipped) -> Vec<String> {
    let folder = fs::read_dir(shipped.ops.work.join("templates/sql/nps")).unwrap();
    let mut names: Vec<String> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn take_sql(shipped: &Shipped, file: &str) {
    let text = fs::read_to_string(shipped.ops.work.join("templates/sql/nps").join(file)).unwrap();
    shipped.ops.write(&format!("templates/sql/dev/{file}"), &text);
}

/// The next release of production and of the host without Docker, with what it brings: a file more for the database, another frontend.
pub(super) fn next_release(shipped: &Shipped) {
    shipped.edit(PROD, "release: v4.0.0", "release: v4.1.0");
    let more = fs::read_to_string(Path::new(SQL).join(MORE)).unwrap();
    shipped.ops.write(&format!("templates/sql/nps/{MORE}"), &more);
    let text = fs::read_to_string(shipped.ops.work.join(MANUAL)).unwrap();
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.contains("--file=") || line.contains("001_init.sql")).collect();
    let text = (kept.join("\n") + "\n")
        .replace("/opt/nps/v4.0.0/api/database/001_init.sql", &format!("/opt/nps/v4.1.0/api/database/{MORE}"))
        .replace("release: v4.0.0", "release: v4.1.0")
        .replace("nps-frontend-v4.0.0.tar", "nps-frontend-v4.1.0.tar");
    let (before, after) = text.split_once("sha256: ").unwrap();
    let after = after.split_once(',').unwrap().1;
    shipped.ops.write(MANUAL, &format!("{before}sha256: {},{after}", build_frontend(shipped, "v4.1.0")));
}

fn load(lab: &Lab, host: usize, site: &str) -> Load {
    Load::start(&LoadSpec {
        targets: vec![address(lab, host, 80)],
        host: site.to_owned(),
        get: "/api/version".to_owned(),
        post: "/api/oracle/readings".to_owned(),
        body: r#"{"message":"what will be?"}"#.to_owned(),
        connections: 4,
        // Within the thirty requests a second that one address may ask the API.
        pause: Duration::from_millis(160),
        limit: Duration::from_secs(1200),
    })
}

/// Has something read by the oracle; the release that spoke.
fn reading(lab: &Lab, host: usize, site: &str) -> String {
    let url = format!("http://{}/api/oracle/readings", lab.hosts[host].address);
    let header = format!("Host: {site}");
    let argv =
        ["-sSf", "-m", "20", "-H", &header, "-H", "Content-Type: application/json", "-d", r#"{"message":"?"}"#, &url];
    let output = Command::new("curl").args(over_tls(lab, host, site)).args(argv).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    said["oracle"].as_str().unwrap_or_default().to_owned()
}

/// What `psql` prints in an environment's database.
fn psql(lab: &Lab, host: usize, environment: &str, sql: &str) -> String {
    let container = format!("{environment}-nps-data-postgres-1");
    let server = match environment {
        "nps-manual" => &["runuser", "--user=postgres", "--", "psql", "--dbname=nps"][..],
        _ => &["docker", "exec", &container, "psql", "--username=nps"],
    };
    lab.exec(&lab.hosts[host].name, &[server, &["-XAtq", "-c", sql]].concat()).trim().to_owned()
}

/// Capabilities 17, 23, 24, 25, 28, 33, 34, 35, 36, 54, 62 and 66 on real hosts.
#[test]
#[ignore = "needs the lab"]
fn cap_25_the_same_release_comes_up_in_containers_and_as_units() {
    let lab = Lab::up("nps", "nps", 3, &["--tree", "systems", "--images", "nps"]);
    let telegram = Telegram::start(&lab.gateway);
    let shipped = shipped(&lab, &telegram);
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
    one_alert_for_one_outage(&lab, &telegram);
    a_broken_file_stops_what_comes_after_it(&shipped, &lab);

    let loads = [load(&lab, 0, SITE), load(&lab, 1, MANUAL_SITE)];
    a_release_goes_out(&shipped, &lab);
    degraded_goes_back_and_no_oracle_does_not(&shipped, &lab);
    for load in loads {
        let report = load.stop();
        eprintln!("{} requests, {} failed, {:?}", report.requests, report.failures, report.releases);
        lab.assert_none_lost(&report);
        assert!(report.requests > 300, "the load was real: {} requests", report.requests);
        assert_eq!(report.releases.keys().collect::<Vec<_>>(), ["v4.0.0", "v4.1.0"]);
    }
    comes_back_as_it_was_counted(&shipped, &lab, 0, "nps-prod", SITE);
    comes_back_as_it_was_counted(&shipped, &lab, 1, "nps-manual", MANUAL_SITE);
    for name in ["nps-prod", "nps-manual", "nps-dev"] {
        shipped.assert_plan_is_empty(name);
    }
    foreign.iter().for_each(Foreign::assert_untouched);
}

/// Capability 54: thirteen files, both of the number 013 with them; 014 is broken at its second statement.
fn a_broken_file_stops_what_comes_after_it(shipped: &Shipped, lab: &Lab) {
    let said = |arguments: &[&str]| {
        let output = shipped.ops.run_any(arguments);
        (output.status.code(), text(&output) + &String::from_utf8_lossy(&output.stderr))
    };
    let recorded = || psql(lab, 2, "nps-dev", "SELECT name FROM holdfast_migrations ORDER BY name COLLATE \"C\"");
    let before = ["001_init.sql", "010_oracle_schema.sql", "011_security_columns.sql", "012_framework_alignment.sql"];
    assert_eq!(recorded().lines().collect::<Vec<_>>(), before);

    for file in sql_files(shipped).iter().filter(|file| file.as_str() >= "013") {
        take_sql(shipped, file);
    }
    let broken = fs::read_to_string(Path::new(SQL).join("014_user_management.broken.sql")).unwrap();
    shipped.ops.write("templates/sql/dev/014_user_management.sql", &broken);
    shipped.ops.ship("files to 021");
    let (_, plan) = said(&["plan", "nps-dev"]);
    let unwrapped = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unwrapped.contains("no file undoes 016_daily_readings_cache.sql"), "{plan}");
    let (code, printed) = said(&["apply", "nps-dev", "--yes"]);
    assert!(
        code != Some(0) && printed.contains("014_user_management.sql") && printed.contains("no_such_table"),
        "{printed}"
    );
    let stopped = [&before[..], &["013_auth_hardening.sql", "013_share_links.sql"]].concat();
    assert_eq!(recorded().lines().collect::<Vec<_>>(), stopped, "013 is recorded, and nothing after it");
    let column = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'email'";
    assert_eq!(psql(lab, 2, "nps-dev", column), "0", "nothing of 014 is there");
    assert_eq!(asked(lab, 2, DEV_SITE, "/api/health/ready")["status"], json!("healthy"), "the release before serves");

    take_sql(shipped, "014_user_management.sql");
    shipped.ops.ship("014 mended");
    assert_eq!(said(&["apply", "nps-dev", "--yes"]).0, Some(0));
    assert_eq!(recorded().lines().count(), 14, "those that ran did not run again");
    assert_eq!(psql(lab, 2, "nps-dev", column), "1");
    // What has no way back in the database is not led back there.
    let (code, printed) = said(&["rollback", "nps-dev", "nps", "--downgrade", "--yes"]);
    assert!(code != Some(0) && printed.contains("downgrade"), "{printed}");
    assert_eq!(recorded().lines().count(), 14);
}

/// v4.1.0 in containers and as units, with never two that ask Telegram or tell it.
fn a_release_goes_out(shipped: &Shipped, lab: &Lab) {
    let apply = |environment: &str| shipped.ops.run_any(&["apply", environment, "--yes"]).status.code();
    let counted = std::thread::scope(|scope| {
        let counting = [0, 1].map(|host| {
            let name = lab.hosts[host].name.as_str();
            (scope.spawn(|| Counting::run(lab, name, COUNT)), Counting { lab, host: name })
        });
        next_release(shipped);
        shipped.ops.ship("v4.1.0");
        let manual = scope.spawn(|| apply("nps-manual"));
        assert_eq!(apply("nps-prod"), Some(0), "v4.1.0 goes out in containers");
        assert_eq!(manual.join().unwrap(), Some(0), "v4.1.0 goes out as units");
        counting.map(|(counted, counting)| {
            drop(counting);
            counted.join().unwrap()
        })
    });
    for (host, [most, rounds]) in HOSTS.iter().zip(counted) {
        assert!(most == 1 && rounds > 20, "{host}: at once {most} at the most, of {rounds} rounds");
    }
    for (host, site) in [(0, SITE), (1, MANUAL_SITE)] {
        assert_eq!(asked(lab, host, site, "/api/version")["release"], json!("v4.1.0"));
        assert_eq!(reading(lab, host, site), "v4.1.0", "the oracle of the release answers");
        assert!(ask(lab, host, site, "/").contains("release v4.1.0"));
    }
    assert_eq!(psql(lab, 0, "nps-prod", "SELECT count(*) FROM holdfast_migrations"), "15");
    assert_eq!(asked(lab, 2, DEV_SITE, "/api/version")["release"], json!("v4.0.0"), "development did not move");
}

/// Who cannot reach Redis says `degraded` with 200, and takes no request; who cannot reach the oracle reads by itself, and serves.
fn degraded_goes_back_and_no_oracle_does_not(shipped: &Shipped, lab: &Lab) {
    let slot = |host, site| asked(lab, host, site, "/api/version")["slot"].clone();
    let apply = |environment: &str| shipped.ops.run_any(&["apply", environment, "--yes"]).status.code();
    let before = slot(0, SITE);
    shipped
        .ops
        .write("templates/files/redis_password_wrong.j2", "{{ (\"not-\" ~ secrets.redis.password) | urlencode }}");
    // The API's alone, not the one by which its settings are said to Redis.
    shipped.edit(PROD, "files/redis_password.j2, owner", "files/redis_password_wrong.j2, owner");
    shipped.ops.ship("a wrong password of Redis");
    assert_eq!(apply("nps-prod"), Some(4), "who says degraded gets no request");
    assert_eq!(
        (slot(0, SITE), asked(lab, 0, SITE, "/api/health/ready")["status"].clone()),
        (before.clone(), json!("healthy"))
    );

    shipped.edit(PROD, "files/redis_password_wrong.j2, owner", "files/redis_password.j2, owner");
    let template = "templates/compose/nps-api.yaml.j2";
    shipped.edit(template, "\"{{ vars.oracle_port }}\"", "\"1\"");
    shipped.ops.ship("no oracle for the API");
    assert_eq!(apply("nps-prod"), Some(0), "without the oracle it serves");
    assert_ne!(slot(0, SITE), before);
    assert_eq!(reading(lab, 0, SITE), "direct_mode");
    assert_eq!(asked(lab, 0, SITE, "/api/health/ready")["checks"]["oracle_service"], json!("direct_mode"));
    shipped.edit(template, "\"1\"", "\"{{ vars.oracle_port }}\"");
    shipped.ops.ship("the oracle again");
    assert_eq!(apply("nps-prod"), Some(0));
    assert_eq!(reading(lab, 0, SITE), "v4.1.0");
}

/// A backup has its facts beside it, and a restore counts: of a database in a container, and of the host's own. Before its release there was
/// one already.
fn comes_back_as_it_was_counted(shipped: &Shipped, lab: &Lab, host: usize, environment: &str, site: &str) {
    let readings = || psql(lab, host, environment, "SELECT count(*) FROM oracle_readings");
    let on = |argv: &[&str]| lab.exec(&lab.hosts[host].name, argv);
    let folder = format!("/var/lib/holdfast/backups/{environment}/nps/daily");
    let releases = on(&["sh", "-c", &format!("cat {folder}/*.meta.json")]);
    assert!(releases.contains("v4.0.0"), "{releases}");
    on(&["systemctl", "start", &format!("holdfast-backup-{environment}-nps-daily.service")]);
    let counted = readings();
    let newest = format!("cat $(ls -t {folder}/*.meta.json | head -n 1)");
    let facts: Value = serde_json::from_str(&on(&["sh", "-c", &newest])).unwrap();
    assert_eq!(reading(lab, host, site), "v4.1.0", "one that the backup does not have");
    assert_ne!(readings(), counted);
    on(&["systemctl", "start", &format!("holdfast-drill-{environment}-nps-daily.service")]);
    let output = shipped.ops.run(&["restore", environment, "nps", "daily", "--yes", "--json"]);
    let restored: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(readings(), counted, "as it was when it was saved: {restored}");
    let tables: u64 = facts["rows"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(restored["rows"], json!(tables), "what was counted in the backup: {restored} {facts}");
    assert_eq!(facts["rows"]["public.oracle_readings"].to_string(), counted, "{facts}");
    // It was stopped for the exchange, and starts again.
    wait_until("the API has its database again", PATIENCE, || {
        let url = format!("http://{}/api/health/ready", lab.hosts[host].address);
        let mut curl = Command::new("curl");
        curl.args(over_tls(lab, host, site)).args(["-sSfm", "5", "-H", &format!("Host: {site}"), &url]);
        let said: Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap_or_default();
        said["status"] == json!("healthy")
    });
    assert_eq!(reading(lab, host, site), "v4.1.0");
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
    let psql = |sql: &str| psql(lab, 0, "nps-prod", sql);
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
    let redis = |setting: &str| {
        let login = format!("REDISCLI_AUTH={}", secrets("prod")["redis"]["password"].as_str().unwrap());
        let container = "nps-prod-nps-data-redis-1";
        let argv = ["docker", "exec", "--env", &login, container, "redis-cli", "CONFIG", "GET", setting];
        lab.exec(&lab.hosts[0].name, &argv).lines().nth(1).unwrap_or_default().to_owned()
    };
    for (setting, value) in [
        ("maxmemory", "536870912"),
        ("maxmemory-policy", "allkeys-lru"),
        ("save", "900 1 300 10"),
        ("appendonly", "yes"),
    ] {
        assert_eq!(redis(setting), value, "{setting}");
    }
    assert_eq!(psql("SELECT count(*) FROM holdfast_migrations"), "14", "each file once, both of the number 013");
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

/// The alerter of production sees the oracle through its door, and says once that it went, and once that it came.
fn one_alert_for_one_outage(lab: &Lab, telegram: &Telegram) {
    let on = |argv: &[&str]| lab.exec(&lab.hosts[0].name, argv).trim().to_owned();
    let alerter = "nps-prod-nps-oracle-alerter-oracle-alerter-1";
    let name = on(&["docker", "inspect", "-f", "{{.Config.Hostname}}", alerter]);
    let count = |words: &str| telegram.told(words).iter().filter(|text| text.contains(&name)).count();
    // It was there before the oracle's door.
    wait_until("the alerter sees the oracle", PATIENCE, || count("oracle is DOWN") == count("oracle is up"));
    let before = count("oracle is up");
    let oracle = "nps-prod-nps-oracle-blue-oracle-service-1";
    on(&["docker", "stop", oracle]);
    wait_until("the alerter tells of the outage", PATIENCE, || count("oracle is DOWN") > before);
    on(&["docker", "start", oracle]);
    wait_until("the alerter tells of its end", PATIENCE, || count("oracle is up") > before);
    wait_until("it is as before", PATIENCE, || reading(lab, 0, SITE) == "v4.0.0");
    assert_eq!((count("oracle is DOWN"), count("oracle is up")), (before + 1, before + 1));
}
