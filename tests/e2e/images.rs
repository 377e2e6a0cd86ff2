//! The lab's images of the five systems: each starts, finds its real dependencies, migrates, serves its routes.
//!
//! A test of the lab, not of the product: the tests of the systems rest on it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use serde_json::{Value, json};

const COMPOSE: &str = "/root/images/compose.yaml";
const SETS: &str = "shia,numbers,nps,neurocore,investment,monitor";

/// Files beside the compose file: path, content, owner. All are for their owner alone.
const FILES: [(&str, &str, u32); 10] = [
    ("compose.yaml", include_str!("images/compose.yaml"), 0),
    ("postgres", "p@ss", 0),
    (
        "databases.sql",
        "CREATE DATABASE numbers; CREATE DATABASE nps; CREATE DATABASE neurocore; CREATE DATABASE investment;",
        70,
    ),
    (
        "redis.conf",
        "dir /data\nprotected-mode no\nrequirepass r3dis\nuser health on nopass resetkeys -@all +ping\nappendonly yes\n",
        999,
    ),
    (
        "pgbouncer/pgbouncer.ini",
        "[databases]\n* = host=postgres port=5432\n[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\nauth_type = scram-sha-256\n\
         auth_file = /etc/pgbouncer/userlist.txt\npool_mode = transaction\n",
        70,
    ),
    ("pgbouncer/userlist.txt", "\"lab\" \"p@ss\"\n", 70),
    ("secrets/database_url", "postgresql+asyncpg://lab:p%40ss@postgres:5432/shia\n", 1000),
    ("secrets/redis_url", "redis://:r3dis@redis:6379/5\n", 1000),
    ("secrets/secret_key", "10\n", 1000),
    ("alertmanager.yml", "route: { receiver: none }\nreceivers: [{ name: none }]\n", 65534),
];

const PROMETHEUS: &str = "global: { scrape_interval: 1s }
scrape_configs:
  - job_name: all
    static_configs:
      - targets: [shia:8000, backend:8000, mcp-research:5000, api:8000, oracle-service:9090, neurocore:8000, investment:8000,
                  node-exporter:9100, postgres-exporter:9187, redis-exporter:9121]
";

/// A word to the websocket.
const TALK: &str = "from websockets.sync.client import connect
with connect('ws://shia:8000/ws') as s:
    s.recv(); s.send('ping'); print(s.recv())";

/// The standard question for health.
const CHECK: &str = "import grpc
channel = grpc.insecure_channel('oracle-service:50052')
print(channel.unary_unary('/grpc.health.v1.Health/Check')(b'', timeout=5))";

/// One host with everything on it.
struct Systems {
    lab: Lab,
}

impl Systems {
    fn compose(&self, arguments: &[&str]) -> String {
        let mut argv = vec!["docker", "compose", "--file", COMPOSE];
        argv.extend(arguments);
        self.lab.exec("host1", &argv)
    }

    /// Runs a command in a new container of a service; whether it succeeded, and all it printed.
    fn run(&self, service: &str, command: &[&str]) -> (bool, String) {
        let mut arguments = vec!["exec", "host1", "--", "docker", "compose", "--file", COMPOSE, "run", "--rm", "-T"];
        arguments.push(service);
        arguments.extend(command);
        let output = self.lab.try_run(&arguments);
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
    }

    fn run_well(&self, service: &str, command: &[&str]) -> String {
        let (well, printed) = self.run(service, command);
        assert!(well, "{service} {command:?}: {printed}");
        printed
    }

    fn sql(&self, database: &str, statement: &str) -> String {
        self.compose(&["exec", "-T", "postgres", "psql", "-XAtq", "-U", "lab", "-d", database, "-c", statement])
            .trim()
            .to_owned()
    }

    /// Asks a published port; the status, 0 where nothing answers, and the body.
    fn ask(&self, address: &str, options: &[&str]) -> (u16, String) {
        let url = format!("http://127.0.0.1:{address}");
        let mut arguments = vec!["exec", "host1", "--", "curl", "-sm", "20", "-w", "\n%{http_code}", &url];
        arguments.extend(options);
        let output = self.lab.try_run(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    fn json(&self, address: &str) -> Value {
        let (status, body) = self.ask(address, &[]);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{address}: {status} {body:?}: {error}"))
    }

    fn post(&self, address: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.ask(address, &["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Waits until each address answers with that status and a body that holds that text.
    fn await_answers(&self, answers: &[(&str, u16, &str)]) {
        for (address, status, text) in answers {
            wait_until(&format!("{address}: {status} {text}"), Duration::from_secs(120), || {
                let (now, body) = self.ask(address, &[]);
                now == *status && body.contains(text)
            });
        }
    }
}

fn write(root: &Path, name: &str, content: &str, owner: u32) {
    let path = root.join("root/images").join(name);
    let folder = path.parent().expect("a folder");
    fs::create_dir_all(folder).expect("the folder is made");
    fs::write(&path, content).expect("the file is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    chown(&path, Some(owner), Some(owner)).expect("its owner is set");
}

#[test]
#[ignore = "needs the lab"]
fn each_image_of_the_systems_serves_what_it_stands_for() {
    let systems = Systems { lab: Lab::up("fximg", "host", 1, &["--images", SETS]) };
    let root = &systems.lab.host("host1").root;
    for (name, content, owner) in FILES {
        write(root, name, content, owner);
    }
    write(root, "prometheus.yml", PROMETHEUS, 65534);

    systems.compose(&["up", "--detach", "--quiet-pull", "postgres", "redis", "pgbouncer"]);
    wait_until("PostgreSQL", Duration::from_secs(120), || {
        let ready = ["exec", "-T", "postgres", "pg_isready", "-q", "-h", "127.0.0.1", "-U", "lab"];
        let mut arguments = vec!["exec", "host1", "--", "docker", "compose", "--file", COMPOSE];
        arguments.extend(ready);
        systems.lab.try_run(&arguments).status.success()
    });
    migrations(&systems);
    systems.compose(&["up", "--detach", "--quiet-pull"]);
    health(&systems);
    work(&systems);
    watching(&systems);
    oracle(&systems);
    draining(&systems);
    going_back(&systems);
}

fn migrations(systems: &Systems) {
    for (service, database, revision) in [
        ("shia", "shia", "0001"),
        ("backend", "numbers", "0001"),
        ("neurocore", "neurocore", "0002"),
        ("investment", "investment", "0001"),
    ] {
        systems.run_well(service, &["alembic", "upgrade", "head"]);
        assert_eq!(systems.sql(database, "SELECT version_num FROM alembic_version"), revision, "{service}");
    }
    assert_eq!(systems.sql("neurocore", "SELECT count(*) FROM pg_extension WHERE extname = 'vector'"), "1");

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/sql/nps");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| !file.to_string_lossy().ends_with("_rollback.sql"));
    files.sort();
    for file in files {
        systems.sql("nps", &fs::read_to_string(file).unwrap());
    }
    assert_eq!(systems.sql("nps", "SELECT count(*) FROM oracle_readings"), "0");
}

fn health(systems: &Systems) {
    systems.await_answers(&[
        ("8001/health", 200, r#""status":"healthy","release":"v1.0.0","slot":"blue""#),
        ("8002/health", 200, r#""release":"v1.1.0""#),
        ("8003/health", 503, "broken on purpose"),
        ("8011/health", 200, r#""mcp_research":"ok""#),
        ("8012/health", 200, r#""release":"v5.0""#),
        ("8013/version.json", 200, r#""release":"v5.0""#),
        ("8021/api/health", 200, r#"{"status":"healthy","version":"4.0.0"}"#),
        ("8021/api/health/ready", 200, r#""database":"healthy","redis":"healthy","oracle_service":"healthy""#),
        ("8022/", 200, "app.v4.0.0.js"),
        ("8022/assets/app.v4.0.0.js", 200, "v4.0.0"),
        ("8022/version.json", 200, r#""slot":"green""#),
        ("8023/", 503, ""),
        ("8031/health", 200, r#""release":"v1.1.0""#),
        ("8031/api/docs", 200, "swagger"),
        ("8032/health", 200, "healthy"),
        ("8041/api/health", 200, r#"{"status":"healthy","version":"1.0.0"}"#),
        ("8041/health/db", 200, "healthy"),
        ("8041/health/redis", 200, r#""broker":"ok""#),
        ("8042/health", 200, "healthy"),
        ("8061/api/health", 200, r#""database":"ok""#),
        ("8062/healthz", 200, "passed"),
        ("8063/minio/health/live", 200, ""),
        ("8064/healthcheck", 200, "OK"),
        ("8065/v1/.well-known/ready", 200, ""),
        ("8066/", 200, "Adminer"),
        ("8067/ready", 200, "ready"),
        ("8068/healthz", 200, "ok"),
        ("8069/_cluster/health", 200, r#""status":"green""#),
        ("8070/health", 200, r#""scheduler""#),
    ]);
    assert_eq!(systems.json("8041/api/health"), json!({ "status": "healthy", "version": "1.0.0" }));
    let who = systems.json("8002/version");
    assert_eq!((&who["workers"], &who["environment"]), (&json!(2), &json!("prod")), "{who}");
    // A server that asks for a password answers this one account without it.
    let ping = ["exec", "-T", "redis", "redis-cli", "--no-auth-warning", "--user", "health", "--pass", "-", "ping"];
    assert_eq!(systems.compose(&ping).trim(), "PONG");
}

/// Requests are stored, tasks run, the clock ticks.
fn work(systems: &Systems) {
    let record = json!({ "message": "hello", "client_ref": "one" });
    for (path, release) in [
        ("8001/api/v1/chat", "v1.0.0"),
        ("8011/api/analyses", "v5.0"),
        ("8021/api/oracle/readings", "v4.0.0"),
        ("8031/api/documents", "v1.1.0"),
        ("8041/api/portfolio/transaction", "v1.0.0"),
    ] {
        let (status, answer) = systems.post(path, &record);
        assert_eq!((status, answer["release"].as_str()), (200, Some(release)), "{path}: {answer}");
        assert_eq!(systems.json(&format!("{path}/1"))["client_ref"], "one");
    }
    // The next release needs its migration first.
    assert_eq!(systems.post("8002/api/v1/chat", &record).0, 500);
    systems.run_well("shia-next", &["alembic", "upgrade", "head"]);
    assert_eq!(systems.post("8002/api/v1/chat", &record).1["channel"], "api");
    assert_eq!(systems.post("8001/api/v1/chat", &record).0, 200, "the first release lives with it");

    for (path, environment) in
        [("8001/api/v1/tasks", "prod"), ("8031/api/tasks", "staging"), ("8041/api/tasks", "production")]
    {
        assert_eq!(systems.post(path, &json!({ "ref": "slow", "seconds": 0.2 })).0, 200);
        wait_until("the task's end", Duration::from_secs(60), || {
            let runs = systems.json(&format!("{path}?ref=slow"));
            runs[0]["environment"] == environment && runs[0]["ended_at"].is_string()
        });
    }
    wait_until("the clock", Duration::from_secs(60), || {
        systems.sql("investment", "SELECT count(DISTINCT name), count(DISTINCT scheduler) FROM ticks") == "9|1"
    });
    assert_eq!(systems.compose(&["exec", "-T", "neurocore", "cat", "/tmp/data/pdfs/1.txt"]), "hello");
    let echo = systems.run_well("shia", &["python3", "-c", TALK]);
    assert!(echo.contains(r#""echo":"ping","release":"v1.0.0""#), "{echo}");
}

fn watching(systems: &Systems) {
    systems.await_answers(&[("8051/-/healthy", 200, "Healthy"), ("8052/-/healthy", 200, "")]);
    let mut down = Vec::new();
    wait_until("all targets of Prometheus", Duration::from_secs(60), || {
        let targets = systems.json("8051/api/v1/targets?state=active");
        let targets = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        down = targets.iter().filter(|target| target["health"] != "up").cloned().collect();
        targets.len() == 10 && down.is_empty()
    });
    for series in ["pg_up == 1", "redis_up == 1", "http_requests_total{path=\"/api/v1/chat\"}", "oracle_healthy == 1"] {
        let encoded = format!("query={series}");
        wait_until(series, Duration::from_secs(30), || {
            let (_, body) = systems.ask("8051/api/v1/query", &["--data-urlencode", &encoded]);
            serde_json::from_str::<Value>(&body)
                .is_ok_and(|answer| answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty()))
        });
    }
    systems.compose(&["exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml"]);
}

/// gRPC's health, and an API that goes on without the oracle, but says so of Redis.
fn oracle(systems: &Systems) {
    let answer = systems.run_well("api", &["python3", "-c", CHECK]);
    assert!(answer.contains(r"b'\x08\x01'"), "{answer}");
    let record = json!({ "message": "hello" });
    assert_eq!(systems.post("8021/api/oracle/readings", &record).1["oracle"], "v4.0.0");
    systems.compose(&["stop", "oracle-service"]);
    assert_eq!(systems.post("8021/api/oracle/readings", &record).1["oracle"], "direct_mode");
    systems.await_answers(&[("8021/api/health/ready", 200, r#""status":"healthy""#)]);
    systems.compose(&["stop", "redis"]);
    systems.await_answers(&[
        ("8021/api/health/ready", 200, r#""status":"degraded""#),
        ("8021/api/health", 200, "healthy"),
        ("8001/health", 503, "degraded"),
    ]);
    systems.compose(&["start", "redis"]);
    systems.await_answers(&[("8001/health", 200, "healthy")]);
}

/// A request that is under way when its server is told to stop is answered.
fn draining(systems: &Systems) {
    for (service, metrics, path) in
        [("shia", "8001/metrics", "8001/api/v1/chat"), ("api", "8021/metrics", "8021/api/oracle/readings")]
    {
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| systems.post(path, &json!({ "message": "slow", "delay_ms": 3000 })));
            wait_until("the request is under way", Duration::from_secs(20), || {
                systems.ask(metrics, &[]).1.contains("http_requests_active 2")
            });
            systems.compose(&["stop", service]);
            assert_eq!(slow.join().expect("the request ends").0, 200, "{service}");
        });
    }
}

fn going_back(systems: &Systems) {
    systems.run_well("shia-next", &["alembic", "downgrade", "0001"]);
    let (well, printed) = systems.run("shia", &["alembic", "downgrade", "base"]);
    assert!(well, "{printed}");
    systems.run_well("shia-irreversible", &["alembic", "upgrade", "head"]);
    let (well, printed) = systems.run("shia-irreversible", &["alembic", "downgrade", "0002"]);
    assert!(!well && printed.contains("cannot be undone"), "{printed}");
    assert_eq!(systems.sql("shia", "SELECT version_num FROM alembic_version"), "0003");
}
