//! Guide 004: the investment platform in production on one host, and in development on another.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadSpec};
use holdfast_testkit::ops::text;
use serde_json::{Value, json};

use super::{CERTIFICATE, Counting, Shipped, address, ask, asked, assert_hidden, tls};

/// The lab's hosts, one after another.
const HOSTS: [&str; 2] = ["prod-c", "vps"];
const IMAGES: [&str; 5] = [
    "registry: lab",
    "postgres_image: lab/postgres:17",
    "redis_image: lab/redis:8",
    "elasticsearch_image: lab/elasticsearch:1",
    "airflow_image: lab/airflow:1",
];
const SITE: &str = "invest.example.com";
const DEV_SITE: &str = "dev.invest.example.com";
const PROD: &str = "environments/investment-prod/investment.yaml";

/// Counts the clocks that run, ten times a second: the most of all rounds, and the rounds.
const COUNT: &str = r#"most=0 rounds=0
while [ ! -e /run/counted ]; do
    now=$(docker ps -q --filter label=com.docker.compose.project=investment-prod-investment-scheduler | wc -l)
    [ "$now" -le "$most" ] || most=$now
    rounds=$((rounds + 1))
    sleep 0.1
done
echo "$most $rounds""#;

/// The secrets of one of its environments.
fn sealed(name: &str) -> Value {
    json!({
        "database": { "password": format!("p@ss=w:/{name}"), "app_password": format!("4pp=w:/{name}") },
        "redis": { "password": format!("r#d $-{name}") },
        "app": {
            "jwt_key": format!("jwt-{name}-0123456789abcdef"),
            "gdpr_encryption_key": format!("gdpr-{name}-0123456789abcdef="),
        },
    })
}

fn shipped(lab: &Lab) -> Shipped {
    let shipped = Shipped::new(lab, &HOSTS, &["investment-dev", "investment-prod"], &IMAGES);
    for name in ["dev", "prod"] {
        shipped.ops.seal(&format!("investment-{name}"), &sealed(name).to_string());
    }
    // What watches it has a test of its own.
    std::fs::remove_file(shipped.ops.work.join("environments/investment-prod/monitoring.yaml")).unwrap();
    // Shipped as a day in production and a minute elsewhere.
    shipped.edit(PROD, "window: 24h", "window: 3s");
    shipped.edit("environments/investment-dev/investment.yaml", "window: 1m", "window: 3s");
    shipped.ops.ship("the investment platform, 1.0.0");
    shipped
}

/// Runs a command in a container of production.
fn inside(lab: &Lab, project: &str, service: &str, argv: &[&str]) -> String {
    let container = format!("investment-prod-investment-{project}-{service}-1");
    let mut all = vec!["docker", "exec", "-e", "REDISCLI_AUTH=r#d $-prod", &container];
    all.extend(argv);
    lab.exec(&lab.hosts[0].name, &all).trim().to_owned()
}

/// Capabilities 17, 23, 32, 35, 36, 37, 38, 53 and 74 on real hosts.
#[test]
#[ignore = "needs the lab"]
fn cap_23_one_clock_and_a_queue_that_forgets_nothing_beside_a_release() {
    let lab = Lab::up("invest", "inv", 2, &["--tree", "systems", "--images", "investment"]);
    let shipped = shipped(&lab);
    let apply = |environment: &str| shipped.ops.run_any(&["apply", environment, "--yes"]).status.code();
    std::thread::scope(|scope| {
        let development = scope.spawn(|| apply("investment-dev"));
        assert_eq!(apply("investment-prod"), Some(0), "production comes up");
        assert_eq!(development.join().unwrap(), Some(0), "development comes up");
    });
    for name in ["investment-dev", "investment-prod"] {
        shipped.assert_plan_is_empty(name);
    }
    serves_what_the_definitions_say(&lab);
    a_filled_cache_costs_the_queue_nothing(&lab);

    let load = load(&lab);
    let host = lab.hosts[0].name.as_str();
    let [most, rounds] = std::thread::scope(|scope| {
        let counted = scope.spawn(|| Counting::run(&lab, host, COUNT));
        let counting = Counting { lab: &lab, host };
        // Under way when its worker is told to stop.
        enqueue(&lab, "long", 120);
        wait_until("the long task runs", Duration::from_secs(60), || runs(&lab, "long").contains("started_at"));
        shipped.edit(PROD, "release: 1.0.0", "release: 1.1.0");
        shipped.ops.ship("1.1.0");
        assert_eq!(apply("investment-prod"), Some(0), "1.1.0 goes out");
        shipped.assert_plan_is_empty("investment-prod");
        assert_eq!(asked(&lab, 0, SITE, "/api/health"), json!({ "status": "healthy", "version": "1.1.0" }));
        let next = "investment-prod-investment-worker-green-worker-1";
        let started = lab.exec(host, &["docker", "inspect", "-f", "{{.State.StartedAt}}", next]);
        let long = asked(&lab, 0, SITE, "/api/tasks?ref=long");
        let ended = long[0]["ended_at"].as_str().unwrap_or_default();
        assert!(ended > started.as_str(), "it was under way when the next worker started at {started}: {long}");
        assert_eq!(
            (long.as_array().unwrap().len(), &long[0]["release"]),
            (1, &json!("1.0.0")),
            "it ended where it began"
        );

        shipped.edit(PROD, "release: 1.1.0", "release: 1.2.0");
        shipped.ops.ship("1.2.0, which is broken");
        assert_eq!(apply("investment-prod"), Some(4), "a release that never gets healthy goes back");
        drop(counting);
        counted.join().unwrap()
    });
    let report = load.stop();
    assert_eq!(report.failures, 0, "no request may be lost: {:?}", report.examples);
    assert!(report.requests > 500, "the load was real: {} requests", report.requests);
    assert_eq!(report.releases.keys().collect::<Vec<_>>(), ["1.0.0", "1.1.0"]);

    a_release_that_is_healthy_and_fails_its_users_goes_back(&lab, &shipped);
    assert!(most == 1 && rounds > 50, "clocks at once: {most} at the most, of {rounds} rounds");
    enqueue(&lab, "after", 0);
    wait_until("the new workers work", Duration::from_secs(60), || {
        runs(&lab, "after").contains("\"release\":\"1.1.0\"")
    });
    let sql = "SELECT revision || ' ' || count(*) FROM migration_runs GROUP BY revision ORDER BY revision";
    let psql = ["psql", "-XAtq", "-U", "postgres", "-d", "investment_db", "-c", sql];
    assert_eq!(inside(&lab, "data", "postgres", &psql), "0001 1\n0002 1");
    its_backup_is_as_young_as_promised(&lab, &shipped);
    its_names_get_a_certificate(&lab, &shipped);
    the_key_of_its_data_never_changes_by_accident(&lab, &shipped);
}

/// How old the newest backup is, and how old it may get, are figures that a rule compares.
fn its_backup_is_as_young_as_promised(lab: &Lab, shipped: &Shipped) {
    let unit = "holdfast-backup-investment-prod-investment-database.service";
    lab.exec(&lab.hosts[0].name, &["systemctl", "start", unit]);
    let metrics = text(&shipped.ops.run(&["metrics"]));
    let of = |metric: &str| -> &str {
        let is_its = |line: &&str| {
            line.starts_with(&format!("{metric}{{"))
                && line.contains("environment=\"investment-prod\"")
                && line.contains("class=\"database\"")
        };
        let line = metrics.lines().find(is_its).unwrap_or_else(|| panic!("{metric}: {metrics}"));
        line.rsplit(' ').next().unwrap()
    };
    assert_eq!(of("holdfast_backup_age_limit_seconds"), "86400", "the day that git promises");
    assert_eq!(of("holdfast_backup_problem"), "0");
    assert!(of("holdfast_backup_age_seconds").parse::<f64>().unwrap() < 300.0, "{metrics}");
}

/// Pinned in git, the key that encrypts people's data is refused with another value, and nothing moves.
fn the_key_of_its_data_never_changes_by_accident(lab: &Lab, shipped: &Shipped) {
    let work = shipped.ops.work.to_str().unwrap();
    let listed = text(&shipped.ops.run(&["-C", work, "secrets", "list", "investment-prod", "--json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let secrets = listed["secrets"].as_array().unwrap();
    let key = secrets.iter().find(|secret| secret["name"] == "app.gdpr_encryption_key").unwrap();
    let pin = key["fingerprint"].as_str().unwrap();
    let values = "environments/investment-prod/environment.yaml";
    let kept = std::fs::read_to_string(shipped.ops.work.join(values)).unwrap();
    let pinned = format!("{kept}secrets: {{ protected: {{ app.gdpr_encryption_key: \"{pin}\" }} }}\n");
    shipped.ops.write(values, &pinned);
    shipped.ops.ship("the key of the data is pinned");
    shipped.assert_plan_is_empty("investment-prod");

    let running = || lab.exec(&lab.hosts[0].name, &["docker", "ps", "-q", "--no-trunc"]);
    let before = running();
    let mut other = sealed("prod");
    other["app"]["gdpr_encryption_key"] = json!("another-0123456789abcdef=");
    shipped.ops.seal("investment-prod", &other.to_string());
    shipped.ops.ship("another key of the data");
    let refused = shipped.ops.run_any(&["apply", "investment-prod", "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &text(&refused);
    assert!(!refused.status.success() && said.contains("protected-secret"), "{said}");
    assert!(said.contains("app.gdpr_encryption_key") && !said.contains("another-0123456789"), "{said}");
    assert_eq!(running(), before, "nothing was touched");
}

/// Its health says that all is well, and every second POST of a user is answered with 500: only its own counts tell.
fn a_release_that_is_healthy_and_fails_its_users_goes_back(lab: &Lab, shipped: &Shipped) {
    shipped.edit(PROD, "release: 1.2.0", "release: 1.1.0");
    let template = "templates/compose/investment-backend.yaml.j2";
    shipped.edit(template, "    environment:\n", "    environment:\n      FIXTURE_FAIL_SHARE: \"0.5\"\n");
    shipped.ops.ship("1.1.0 with a fault that no health check sees");
    let load = load(lab);
    let applied = shipped.ops.run_any(&["apply", "investment-prod", "--yes"]);
    let report = load.stop();
    let said = String::from_utf8_lossy(&applied.stderr).into_owned() + &text(&applied);
    assert_eq!(applied.status.code(), Some(4), "{} of {} requests failed: {said}", report.failures, report.requests);
    assert!(said.contains("requests failed by its `http_requests_total`, at most 50 of 1000 may"), "{said}");
    // Those of the window. None is met once the release before serves again.
    assert!(report.failures > 0, "users met it: {} requests", report.requests);
    assert_eq!(asked(lab, 0, SITE, "/api/health"), json!({ "status": "healthy", "version": "1.1.0" }));
    for _ in 0..20 {
        post(lab, "/api/portfolio/transaction", r#"{"message":"buy"}"#);
    }
}

/// As it is shipped: both names have a certificate of an authority that asks them on port 80, and who comes there is sent to HTTPS.
fn its_names_get_a_certificate(lab: &Lab, shipped: &Shipped) {
    let host = lab.hosts[0].name.as_str();
    let names = [SITE.to_owned(), format!("www.{SITE}")];
    lab.exec(host, &["sh", "-c", tls::AUTHORITY]);
    lab.exec(host, &["sh", "-c", &format!("echo '127.0.0.1 {}' >>/etc/hosts", names.join(" "))]);
    let site = "    nginx: nginx/investment.conf.j2\n";
    shipped.edit(PROD, site, &format!("{site}{CERTIFICATE}"));
    let email = "    email: ops@example.com\n";
    let ours = format!("{email}    directory: https://localhost:14000/dir\n    trust: {}\n", tls::TRUST);
    shipped.edit("environments/investment-prod/environment.yaml", email, &ours);
    shipped.edit("templates/compose/investment-backend.yaml.j2", "      FIXTURE_FAIL_SHARE: \"0.5\"\n", "");
    shipped.ops.ship("with its certificate");
    assert_eq!(shipped.ops.run_any(&["apply", "investment-prod", "--yes"]).status.code(), Some(0));
    shipped.assert_plan_is_empty("investment-prod");
    wait_until("the certificate is issued and HTTPS proven", Duration::from_secs(180), || {
        let status = shipped.ops.run_any(&["status", "investment-prod", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let certificate = &status["environments"][0]["apps"][0]["certificates"][0];
        certificate["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble")) && certificate["hsts"] == true
    });
    for name in &names {
        let ask = |url: &str| {
            let to = format!("{name}:443:127.0.0.1");
            lab.exec(host, &["curl", "-sSi", "-m", "20", "--cacert", tls::TRUST, "--resolve", &to, url])
        };
        let answer = ask(&format!("https://{name}/api/health"));
        assert!(answer.starts_with("HTTP/2 200") && answer.contains("\"status\":\"healthy\""), "{answer}");
        assert!(answer.to_lowercase().contains("strict-transport-security: max-age=31536000"), "{answer}");
        let answer = ask(&format!("http://{name}/api/health?x=1"));
        assert!(
            answer.starts_with("HTTP/1.1 301") && answer.contains(&format!("https://{name}/api/health?x=1")),
            "{answer}"
        );
    }
}

fn load(lab: &Lab) -> Load {
    Load::start(&LoadSpec {
        targets: vec![address(lab, 0, 80)],
        host: SITE.to_owned(),
        get: "/api/version".to_owned(),
        post: "/api/portfolio/transaction".to_owned(),
        body: r#"{"message":"buy"}"#.to_owned(),
        connections: 4,
        pause: Duration::from_millis(80),
        limit: Duration::from_secs(900),
    })
}

fn enqueue(lab: &Lab, reference: &str, seconds: u32) {
    post(lab, "/api/tasks", &json!({ "ref": reference, "seconds": seconds }).to_string());
}

/// Posts, which has to be answered well.
fn post(lab: &Lab, path: &str, body: &str) {
    let url = format!("http://{}{path}", lab.hosts[0].address);
    let header = format!("Host: {SITE}");
    let argv = [
        "-sSf",
        "-o",
        "/dev/null",
        "-m",
        "20",
        "-H",
        &header,
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
        &url,
    ];
    assert!(Command::new("curl").args(argv).status().unwrap().success(), "POST {path}");
}

fn runs(lab: &Lab, reference: &str) -> String {
    asked(lab, 0, SITE, &format!("/api/tasks?ref={reference}")).to_string()
}

fn serves_what_the_definitions_say(lab: &Lab) {
    for (host, site, environment, debug, workers) in
        [(0, SITE, "production", false, 2), (1, DEV_SITE, "development", true, 1)]
    {
        wait_until("all workers answer", Duration::from_secs(60), || {
            asked(lab, host, site, "/api/version")["workers"] == json!(workers)
        });
        let version = asked(lab, host, site, "/api/version");
        assert_eq!(version["release"], json!("1.0.0"), "{version}");
        assert_eq!(version["environment"], json!(environment), "{version}");
        assert_eq!(version["debug"], json!(debug), "{version}");
        // The guide's smoke test, to the letter.
        assert_eq!(asked(lab, host, site, "/api/health"), json!({ "status": "healthy", "version": "1.0.0" }));
        for path in ["/health", "/health/db", "/health/redis"] {
            assert_eq!(asked(lab, host, site, path)["status"], json!("healthy"), "{path}");
        }
        assert!(ask(lab, host, site, "/").contains("release v1.0.0"));
        assert!(ask(lab, host, &format!("www.{site}"), "/api/docs").contains("swagger"));
        assert_hidden(lab, host, 80, site, &["/metrics", "/flower", "/docs", "/openapi.json"]);
        let socket = Command::new("curl")
            .args([
                "-sim",
                "3",
                "-H",
                &format!("Host: {site}"),
                "-H",
                "Connection: Upgrade",
                "-H",
                "Upgrade: websocket",
            ])
            .args(["-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])
            .arg(format!("http://{}/ws", lab.hosts[host].address))
            .output()
            .unwrap();
        let socket = String::from_utf8_lossy(&socket.stdout).into_owned();
        assert!(socket.starts_with("HTTP/1.1 101 "), "{socket}");
    }
    let count = "docker ps -q --filter label=com.docker.compose.service=worker | wc -l";
    let workers = |host: usize| lab.exec(&lab.hosts[host].name, &["sh", "-c", count]).trim().to_owned();
    assert_eq!((workers(0), workers(1)), ("2".to_owned(), "1".to_owned()), "replicas as the environments say");
    for (host, name) in HOSTS.iter().enumerate() {
        let reachable =
            |port: u16| TcpStream::connect_timeout(&address(lab, host, port), Duration::from_secs(1)).is_ok();
        assert!(reachable(22) && reachable(80));
        let inside = [5432, 6379, 8000, 8080, 9200, 8611, 8612, 8621, 8622, 8623, 8661, 8662, 8671, 8672];
        let open: Vec<u16> = inside.into_iter().filter(|port| reachable(*port)).collect();
        assert!(open.is_empty(), "ports of {name} open to everybody: {open:?}");
    }
}

/// The guide had one Redis for both, of 128 MB, which evicts whatever was used least.
fn a_filled_cache_costs_the_queue_nothing(lab: &Lab) {
    let cache = |argv: &[&str]| inside(lab, "data", "redis", &[&["redis-cli", "--no-auth-warning"], argv].concat());
    let broker = |argv: &[&str]| inside(lab, "broker", "broker", &[&["redis-cli", "--no-auth-warning"], argv].concat());
    assert!(cache(&["CONFIG", "GET", "maxmemory-policy"]).contains("allkeys-lru"));
    assert!(broker(&["CONFIG", "GET", "maxmemory-policy"]).contains("noeviction"));
    let push = "for i = 1, 200 do redis.call('rpush', 'waiting', i) end return redis.call('llen', 'waiting')";
    assert_eq!(broker(&["EVAL", push, "0"]), "200");
    let fill = "for i = 1, 2000 do redis.call('set', ARGV[1] .. i, string.rep('x', 10000)) end return 'OK'";
    for round in 0..12 {
        assert_eq!(cache(&["EVAL", fill, "0", &round.to_string()]), "OK");
    }
    let stats = cache(&["INFO", "stats"]);
    let evicted = stats.lines().find_map(|line| line.trim().strip_prefix("evicted_keys:")).unwrap();
    assert_ne!(evicted, "0", "the cache was filled over its limit");
    assert_eq!(broker(&["LLEN", "waiting"]), "200");
    assert_eq!(broker(&["DEL", "waiting"]), "1");
}
