//! Guide 000: 1Numbers in production on three hosts, and in development on one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadReport, LoadSpec};
use serde_json::{Value, json};

use super::{CERTIFICATE, Counting, Shipped, address, ask, asked, assert_hidden};

/// The lab's hosts, one after another.
const HOSTS: [&str; 4] = ["prod-a", "prod-b", "prod-c", "vps"];
const IMAGES: [&str; 14] = [
    "registry: lab",
    "postgres_image: lab/postgres:17",
    "redis_image: lab/redis:8",
    "weaviate_image: lab/weaviate:1",
    "adminer_image: lab/adminer:1",
    "prometheus_image: lab/prometheus:2",
    "alertmanager_image: lab/alertmanager:0",
    "grafana_image: lab/grafana:1",
    "node_exporter_image: lab/node-exporter:1",
    "nginx_exporter_image: lab/nginx-exporter:1",
    "postgres_exporter_image: lab/postgres-exporter:0",
    "redis_exporter_image: lab/redis-exporter:1",
    "scrape_interval: 5s",
    "scrape_timeout: 5s",
];
const SITE: &str = "numbers.example.com";
const DEV_SITE: &str = "dev.numbers.example.com";
const PROD: &str = "environments/numbers-prod/numbers.yaml";
const DEV: &str = "environments/numbers-dev/numbers.yaml";

/// Asks each backend's door a few times a second for its release, and counts how many answer: the least of all rounds, and the rounds.
const COUNT: &str = r#"least=9 rounds=0
while [ ! -e /run/counted ]; do
    now=0
    for door in $DOORS; do
        curl -fsm 5 -o /dev/null -H "Host: $SITE" "http://$door:8510/api/version" && now=$((now + 1))
    done
    [ "$now" -ge "$least" ] || least=$now
    rounds=$((rounds + 1))
    sleep 0.2
done
echo "$least $rounds""#;

/// Writes the secrets of an environment; the key of its tokens is one that is generated.
fn seal(shipped: &Shipped, name: &str) {
    let sealed = json!({
        "database": { "password": format!("p@ss=w:/{name}") },
        "redis": { "password": format!("r#d $-{name}") },
        "openai": { "api_key": format!("sk-{name}") },
        "smtp": { "password": format!("smtp \"{name}") },
        "alerts": { "webhook_url": "http://127.0.0.1:9/nobody" },
        "grafana": { "admin_password": format!("grafana-{name}-0123456789") },
    });
    let environment = format!("numbers-{name}");
    shipped.ops.seal(&environment, &sealed.to_string());
    let file = format!("environments/{environment}/environment.yaml");
    let text = fs::read_to_string(shipped.ops.work.join(&file)).unwrap();
    shipped.ops.write(&file, &format!("{text}secrets: {{ generate: {{ jwt_key: urlsafe32 }} }}\n"));
    secrets(shipped, &["generate", &environment]);
}

/// Runs a verb about secrets in the clone.
fn secrets(shipped: &Shipped, arguments: &[&str]) {
    let work = shipped.ops.work.to_str().unwrap();
    shipped.ops.run(&[&["-C", work, "secrets"], arguments].concat());
}

fn shipped(lab: &Lab) -> Shipped {
    let shipped = Shipped::new(lab, &HOSTS, &["numbers-dev", "numbers-prod"], &IMAGES);
    shipped.ops.commit("as it is shipped");
    for name in ["dev", "prod"] {
        seal(&shipped, name);
    }
    shipped.edit("templates/files/jwt_secret_key.j2", "secrets.app.jwt_secret_key", "secrets.jwt_key");
    shipped.edit("templates/prometheus/alerts.rules.yml.j2", "for: 1m", "for: 1s");
    // Shipped as ten minutes in production and one elsewhere.
    shipped.edit(PROD, "window: 10m", "window: 3s");
    shipped.edit(DEV, "window: 1m", "window: 3s");
    shipped.ops.ship("1Numbers, v5.0");
    shipped
}

/// Asks a site of the first host.
fn load(lab: &Lab, site: &str) -> Load {
    Load::start(&LoadSpec {
        targets: vec![address(lab, 0, 80)],
        host: site.to_owned(),
        get: "/api/version".to_owned(),
        post: "/api/analyses".to_owned(),
        body: r#"{"message":"1, 2, 3"}"#.to_owned(),
        connections: 4,
        pause: Duration::from_millis(80),
        limit: Duration::from_secs(900),
    })
}

fn assert_nothing_lost(report: &LoadReport, releases: &[&str]) {
    assert_eq!(report.failures, 0, "no request may be lost: {:?}", report.examples);
    assert!(report.requests > 500, "the load was real: {} requests", report.requests);
    assert_eq!(report.releases.keys().collect::<Vec<_>>(), releases);
}

/// Who answers the site's next questions: a backend's hostname, and its release.
fn answering(lab: &Lab) -> BTreeMap<String, Value> {
    let answers = (0..30).map(|_| asked(lab, 0, SITE, "/api/version"));
    answers.map(|answer| (answer["hostname"].to_string(), answer["release"].clone())).collect()
}

/// Capabilities 17, 21, 22, 24, 25, 32, 36, 39, 53 and 74 on real hosts.
#[test]
#[ignore = "needs the lab"]
fn cap_39_a_release_rolls_over_three_hosts_behind_one_site() {
    let lab = Lab::up("numbrs", "num", 4, &["--images", "numbers,monitor"]);
    let shipped = shipped(&lab);
    let apply = |environment: &str| -> Output { shipped.ops.run_any(&["apply", environment, "--yes"]) };

    // From nothing to both environments in one apply each, side by side.
    std::thread::scope(|scope| {
        let development = scope.spawn(|| apply("numbers-dev"));
        assert!(apply("numbers-prod").status.success(), "production comes up");
        assert!(development.join().unwrap().status.success(), "development comes up");
    });
    for name in ["numbers-dev", "numbers-prod"] {
        shipped.assert_plan_is_empty(name);
    }
    serves_what_the_definitions_say(&lab);
    everything_is_watched(&lab);
    only_what_is_declared_is_reachable(&lab);

    let load = load(&lab, SITE);
    let apply = &apply;
    let host = lab.hosts[0].name.as_str();
    let [least, rounds] = std::thread::scope(|scope| {
        let counted = scope.spawn(|| {
            let doors: Vec<&str> = lab.hosts[..3].iter().map(|host| host.address.as_str()).collect();
            let script = format!("DOORS='{}' SITE={SITE}\n{COUNT}", doors.join(" "));
            Counting::run(&lab, host, &script)
        });
        let counting = Counting { lab: &lab, host };

        // Meanwhile in development: Redis answers its health check, and only the app itself finds that its password is wrong.
        let wrong = "redis://:{{ (\"not-\" ~ secrets.redis.password) | urlencode }}@redis:6379/0";
        shipped.ops.write("templates/files/redis_url_wrong.j2", wrong);
        shipped.edit(DEV, "files/redis_url.j2", "files/redis_url_wrong.j2");
        shipped.edit(PROD, "release: v5.0", "release: v5.1");
        shipped.ops.ship("v5.1 for production, a wrong password for development");
        let development = scope.spawn(|| apply("numbers-dev"));
        assert!(apply("numbers-prod").status.success(), "v5.1 goes out");
        shipped.assert_plan_is_empty("numbers-prod");
        let answering = answering(&lab);
        assert!(answering.len() == 3 && answering.values().all(|release| release == "v5.1"), "{answering:?}");
        assert_eq!(development.join().unwrap().status.code(), Some(4), "a wrong password of Redis is no health");
        assert_eq!(asked(&lab, 3, DEV_SITE, "/health")["checks"]["redis"], json!("ok"), "the old release serves");

        shipped.edit(PROD, "release: v5.1", "release: v5.2");
        shipped.edit(DEV, "files/redis_url_wrong.j2", "files/redis_url.j2");
        shipped.ops.ship("v5.2 for production, which is broken; the right password for development");
        assert_eq!(apply("numbers-prod").status.code(), Some(4), "a release that never gets healthy goes back");
        shipped.assert_plan_is_empty("numbers-dev");
        drop(counting);
        counted.join().unwrap()
    });
    assert!(least >= 2 && rounds > 20, "backends that answered at once: {least} at the least, of {rounds} rounds");

    migrated_once(&lab);
    a_new_key_is_the_backends_matter(&shipped, &lab);
    assert_nothing_lost(&load.stop(), &["v5.0", "v5.1"]);
    scales(&shipped, &lab);
    a_backup_that_is_none_does_not_count(&lab);
    a_database_that_is_gone_is_an_alert(&lab);
}

/// The key of the tokens is rotated, under load: every backend starts with the new one, and nothing else starts.
fn a_new_key_is_the_backends_matter(shipped: &Shipped, lab: &Lab) {
    let running = |backends: bool| -> BTreeSet<String> {
        let of = |host: usize| lab.exec(&lab.hosts[host].name, &["docker", "ps", "--format", "{{.ID}} {{.Names}}"]);
        let all = (0..3).map(of).collect::<String>();
        let chosen = all.lines().filter(|line| line.contains("numbers-prod-numbers-backend-") == backends);
        chosen.map(str::to_owned).collect()
    };
    let (backends, others) = (running(true), running(false));
    assert!(backends.len() >= 3 && others.len() >= 5, "{backends:?} {others:?}");
    secrets(shipped, &["rotate", "numbers-prod", "jwt_key"]);
    shipped.edit(PROD, "release: v5.2", "release: v5.1");
    shipped.ops.ship("another key, and the release that serves");
    assert!(shipped.ops.run_any(&["apply", "numbers-prod", "--yes"]).status.success());
    assert!(running(true).is_disjoint(&backends), "backends start with the new key");
    assert_eq!(running(false), others, "and nothing else does");
    assert_eq!(answering(lab).len(), 3);
}

/// Asks Prometheus of production; labels and value of each series, none while it does not answer.
fn query(lab: &Lab, expression: &str) -> Vec<(Value, String)> {
    let query = format!("query={expression}");
    let url = "http://127.0.0.1:8531/api/v1/query";
    let argv = ["exec", &lab.hosts[0].name, "--", "curl", "-sSm", "10", "--data-urlencode", &query, url];
    let said: Value = serde_json::from_slice(&lab.try_run(&argv).stdout).unwrap_or_default();
    let series = said["data"]["result"].as_array().cloned().unwrap_or_default();
    series.iter().map(|one| (one["metric"].clone(), one["value"][1].as_str().unwrap_or_default().to_owned())).collect()
}

fn everything_is_watched(lab: &Lab) {
    let jobs = ["alertmanager", "backend", "nginx", "node", "postgres", "prometheus", "redis"];
    wait_until("every target answers", Duration::from_secs(90), || {
        let up: BTreeSet<String> = query(lab, "up == 1")
            .iter()
            .map(|(labels, _)| labels["job"].as_str().unwrap_or_default().to_owned())
            .collect();
        up.iter().map(String::as_str).eq(jobs) && query(lab, r#"up{job="backend"} == 1"#).len() == 3
    });
    let all_are = |metric: &str| query(lab, metric).iter().map(|one| one.1.as_str()).eq(["1"]);
    for (metric, exporter) in [("pg_up", "postgres"), ("redis_up", "redis"), ("nginx_up", "nginx")] {
        let end = Instant::now() + Duration::from_secs(60);
        while !all_are(metric) {
            let container = format!("numbers-prod-watch-exporters-{exporter}-exporter-1");
            let log =
                || lab.exec(&lab.hosts[0].name, &["sh", "-c", &format!("docker logs --tail 20 {container} 2>&1")]);
            assert!(Instant::now() < end, "{metric}: {:?}: {}", query(lab, metric), log());
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }
    assert!(!query(lab, r#"http_requests_total{app="numbers",component="backend",host="prod-b"}"#).is_empty());
}

fn a_database_that_is_gone_is_an_alert(lab: &Lab) {
    let firing = || !query(lab, r#"ALERTS{alertname="DatabaseDown",alertstate="firing"}"#).is_empty();
    assert!(!firing());
    let docker = |verb: &str| lab.exec(&lab.hosts[0].name, &["docker", verb, "numbers-prod-numbers-data-postgres-1"]);
    docker("stop");
    assert!(!run(lab, "backup"), "there is nothing to save");
    wait_until("DatabaseDown fires", Duration::from_secs(90), firing);
    docker("start");
    wait_until("it is over", Duration::from_secs(90), || !firing());
}

/// Starts the backup or the drill of production's database; whether it ended well.
fn run(lab: &Lab, what: &str) -> bool {
    let unit = format!("holdfast-{what}-numbers-prod-numbers-database.service");
    lab.try_run(&["exec", &lab.hosts[0].name, "--", "systemctl", "start", &unit]).status.success()
}

/// A good one is drilled. One with another byte, or none at all, is no backup: the drill says so, or takes the one before.
fn a_backup_that_is_none_does_not_count(lab: &Lab) {
    let on = |script: &str| lab.exec(&lab.hosts[0].name, &["bash", "-c", script]).trim().to_owned();
    let newest = "cd /var/lib/holdfast/backups/numbers-prod/numbers/database; file=$(ls -t *.dump | head -n 1)";
    assert!(run(lab, "backup") && run(lab, "drill") && run(lab, "backup"));
    let bad = on(&format!("{newest}; echo $file"));
    on(&format!("{newest}; printf x | dd of=$file bs=1 seek=40 conv=notrunc status=none"));
    assert!(!run(lab, "drill"), "a byte of it is another one");
    on(&format!("{newest}; : > $file"));
    assert!(run(lab, "drill"), "an empty one does not count, and the one before it does");
    let said = on("cat /var/lib/holdfast/backups/numbers-prod/numbers/database/drilled.json");
    assert!(said.contains(".dump") && !said.contains(&bad), "{said}, not {bad}");
}

/// Fewer backends, and more again, by one line in git. The site's nginx reads its upstream anew for that, which no client that keeps
/// its connection survives for sure before nginx 1.27.4: those with a connection for each question must not notice.
fn scales(shipped: &Shipped, lab: &Lab) {
    for (from, to, backends) in [("", "    hosts: [prod-a, prod-b]\n", 2), ("    hosts: [prod-a, prod-b]\n", "", 3)] {
        for component in ["backend", "door"] {
            shipped.edit(PROD, &format!("  {component}:\n{from}"), &format!("  {component}:\n{to}"));
        }
        shipped.ops.ship(&format!("{backends} backends"));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    asked(lab, 0, SITE, "/api/version");
                }
            });
            let applied = shipped.ops.run_any(&["apply", "numbers-prod", "--yes"]);
            over.store(true, Ordering::Relaxed);
            assert!(applied.status.success(), "{backends} backends");
            asking.join().expect("every question has an answer");
        });
        shipped.assert_plan_is_empty("numbers-prod");
        assert_eq!(answering(lab).len(), backends);
        let running = lab.exec(&lab.hosts[2].name, &["docker", "ps", "-q"]);
        assert_eq!(running.is_empty(), backends == 2, "{running}");
    }
}

/// The guide's `--scale backend=5` on one host, and back. As it stands there the database would run out of connections, which is refused.
#[test]
#[ignore = "needs the lab"]
fn cap_22_five_backends_on_one_host_and_back() {
    const VALUES: &str = "environments/numbers-dev/environment.yaml";
    let lab = &Lab::up("numone", "one", 1, &["--images", "numbers"]);
    let shipped = Shipped::new(lab, &["vps"], &["numbers-dev"], &IMAGES);
    shipped.ops.commit("as it is shipped");
    seal(&shipped, "dev");
    shipped.edit("templates/files/jwt_secret_key.j2", "secrets.app.jwt_secret_key", "secrets.jwt_key");
    shipped.edit(DEV, "window: 1m", "window: 3s");
    // The load speaks no TLS.
    shipped.edit(DEV, CERTIFICATE, "");
    shipped.ops.ship("1Numbers, v5.0");
    let apply = || shipped.ops.run_any(&["apply", "numbers-dev", "--yes"]);
    assert!(apply().status.success(), "one backend");
    let backends = || -> BTreeSet<String> {
        (0..40).map(|_| asked(lab, 0, DEV_SITE, "/api/version")["hostname"].to_string()).collect()
    };
    let kept = [DEV, VALUES].map(|path| fs::read_to_string(shipped.ops.work.join(path)).unwrap());
    assert_eq!(backends().len(), 1);
    let load = load(lab, DEV_SITE);

    shipped.edit(
        DEV,
        "    strategy: blue_green\n    # 4 workers",
        "    strategy: blue_green\n    replicas: 5\n    # 4 workers",
    );
    shipped.ops.ship("five backends");
    let refused = apply();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("too-many-connections"), "{said}");

    shipped.edit(DEV, "pool: 45", "pool: 9");
    for (from, to) in [("workers: 4", "workers: 1"), ("pool_size: 5", "pool_size: 2"), ("overflow: 5", "overflow: 2")] {
        shipped.edit(VALUES, from, to);
    }
    shipped.edit(
        VALUES,
        "backend_memory: 1G\n  backend_reservation: 512M",
        "backend_memory: 256M\n  backend_reservation: 128M",
    );
    shipped.ops.ship("five backends of one worker each");
    assert!(apply().status.success(), "five backends");
    assert_eq!(backends().len(), 5);
    for (path, text) in [DEV, VALUES].into_iter().zip(&kept) {
        shipped.ops.write(path, text);
    }
    shipped.ops.ship("one backend");
    assert!(apply().status.success(), "one backend");
    assert_eq!(backends().len(), 1);
    shipped.assert_plan_is_empty("numbers-dev");
    let report = load.stop();
    eprintln!("five backends and back: {} requests, {} lost", report.requests, report.failures);
    assert_nothing_lost(&report, &["v5.0"]);
}

fn serves_what_the_definitions_say(lab: &Lab) {
    for (host, site, environment, debug, level) in
        [(0, SITE, "production", false, "info"), (3, DEV_SITE, "development", true, "debug")]
    {
        wait_until("all workers answer", Duration::from_secs(60), || {
            asked(lab, host, site, "/api/version")["workers"] == json!(4)
        });
        let version = asked(lab, host, site, "/api/version");
        assert_eq!(version["release"], json!("v5.0"), "{version}");
        assert_eq!(version["environment"], json!(environment), "{version}");
        assert_eq!(version["debug"], json!(debug), "{version}");
        assert_eq!(version["log_level"], json!(level), "{version}");
        assert_eq!(version["pool"], json!({ "size": 5, "overflow": 5 }), "{version}");
        let health = asked(lab, host, site, "/health");
        assert_eq!(health["checks"], json!({ "database": "ok", "redis": "ok", "mcp_research": "ok" }), "{health}");
        let page = ask(lab, host, site, "/");
        assert!(page.contains("release v5.0"), "{page}");
        assert!(ask(lab, host, site, "/assets/app.v5.0.js").contains("v5.0"));
        assert_hidden(lab, host, 80, site, &["/metrics", "/flower", "/flower/"]);
        if debug {
            assert!(ask(lab, host, site, "/docs").contains("swagger"));
        } else {
            assert_hidden(lab, host, 80, site, &["/docs", "/redoc", "/openapi.json"]);
        }
    }
    assert_eq!(answering(lab).len(), 3, "a backend on each host");
}

fn only_what_is_declared_is_reachable(lab: &Lab) {
    let inside = [5432, 6379, 5000, 8000, 8080, 8411, 8413, 8415, 8463, 8465, 8511, 8512, 8561, 8562];
    let reachable = |host: usize, port: u16| {
        TcpStream::connect_timeout(&address(lab, host, port), Duration::from_millis(500)).is_ok()
    };
    for (host, name) in HOSTS.iter().enumerate() {
        assert!(reachable(host, 22) && reachable(host, 80));
        let open: Vec<u16> = inside.into_iter().filter(|port| reachable(host, *port)).collect();
        assert!(open.is_empty(), "ports of {name} open to everybody: {open:?}");
    }
    // The doors are for the host with the site; PostgreSQL and Redis for the environment's.
    let from = |host: usize, url: &str| {
        let output = lab.try_run(&[
            "exec",
            &lab.hosts[host].name,
            "--",
            "curl",
            "-sm",
            "3",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            url,
        ]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let door = format!("http://{}/health", address(lab, 2, 8510));
    assert_eq!((from(0, &door), from(1, &door), from(3, &door)), ("200".into(), "403".into(), "403".into()));
    let telnet = |host: usize, port: u16| {
        let url = format!("telnet://{}", address(lab, 0, port));
        let argv = ["exec", &lab.hosts[host].name, "--", "curl", "-sm", "2", "-w", "%{time_connect}", &url];
        let output = lab.try_run(&argv);
        String::from_utf8_lossy(&output.stdout).trim_end() != "0.000000"
    };
    for port in [5432, 6379] {
        assert!(telnet(1, port) && telnet(2, port), "{port} is reached by the hosts with a backend");
        assert!(!telnet(3, port), "{port} is reached by a host of another environment");
    }
}

fn migrated_once(lab: &Lab) {
    let postgres = "numbers-prod-numbers-data-postgres-1";
    let sql = "SELECT revision || ' ' || count(*) FROM migration_runs GROUP BY revision ORDER BY revision";
    let argv = ["docker", "exec", postgres, "psql", "-XAtq", "-U", "numbers", "-d", "numbers_db", "-c", sql];
    assert_eq!(lab.exec(&lab.hosts[0].name, &argv).trim(), "0001 1\n0002 1");
}
