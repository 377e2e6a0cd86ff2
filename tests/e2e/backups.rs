//! Backups, drills and restores of a real PostgreSQL in a container, and of folders.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::ops::Ops;
use serde_json::{Value, json};

const APP: &str = "\
app: shop
release: v1
components:
  data:
    compose: compose/shop-data.yaml.j2
    strategy: stateful
    healthcheck:
      command: { service: postgres, argv: [pg_isready, -q, -U, shop] }
      interval: 250ms
      retries: 80
      start_period: 30s
      min_healthy_time: 1s
    backups:
      database:
        postgres: { service: postgres, database: shop, user: shop }
        at: \"HOUR:00\"
        rpo: 2d
        floor: 1KiB
        drill: { at: \"HOUR:30\", day: 28 }
      papers:
        files: [/srv/papers]
        at: \"HOUR:00\"
        keep: { age: 1ms, at_least: 2 }
    files:
      - { path: \"{{ dir }}/postgres_password\", template: files/password.j2 }
";

const COMPOSE: &str = "\
services:
  postgres:
    image: chatbot-postgres:17
    logging: { driver: local }
    restart: unless-stopped
    environment:
      POSTGRES_USER: shop
      POSTGRES_DB: shop
      POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password
    volumes:
      - postgres:/var/lib/postgresql/data
      - \"{{ dir }}/postgres_password:/run/secrets/postgres_password:ro\"
volumes:
  postgres: {}
";

const PASSWORD: &str = "canary-B4ck$'up";

const CONTAINER: &str = "prod-shop-data-postgres-1";

/// The one host of these tests and its repository.
struct Shop {
    lab: Lab,
    ops: Ops,
    /// The hour at which backups are due.
    hour: String,
}

impl Shop {
    fn up() -> Self {
        let lab = Lab::up("bkup", "web", 1, &["--images"]);
        let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
        ops.write(
            "environments/prod/environment.yaml",
            "hosts: { role: web }\nsync: { mode: manual, drift: report }\n",
        );
        // Far from now: what runs in this test, the test has started.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let hour = format!("{:02}", (since.as_secs() / 3600 + 6) % 24);
        ops.write("environments/prod/shop.yaml", &APP.replace("HOUR", &hour));
        ops.write("templates/compose/shop-data.yaml.j2", COMPOSE);
        ops.write("templates/files/password.j2", "{{ secrets.database.password }}");
        ops.seal("prod", &json!({ "database": { "password": PASSWORD } }).to_string());
        ops.ship("a shop with backups");
        Self { lab, ops, hour }
    }

    /// Puts off the backup that each timer has taken two minutes after its own start.
    fn not_yet(&self) {
        let timer = |class: &str| format!("holdfast-backup-prod-shop-{class}.timer");
        self.on(&["systemctl", "restart", &timer("database"), &timer("papers")]);
    }

    fn on(&self, argv: &[&str]) -> String {
        self.lab.exec("web1", argv)
    }

    fn succeeds(&self, argv: &[&str]) -> bool {
        let mut arguments = vec!["exec", "web1", "--"];
        arguments.extend(argv);
        self.lab.try_run(&arguments).status.success()
    }

    /// A file of the host as this machine sees it.
    fn path(&self, path: &str) -> PathBuf {
        self.lab.host("web1").root.join(path)
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        let database = format!("--dbname={database}");
        let args = ["docker", "exec", CONTAINER, "psql", "-XqAt", "-U", "shop", &database, "-c", sql];
        self.on(&args).trim().to_owned()
    }

    /// Starts the service that a timer starts, and returns whether it ended well.
    fn start(&self, unit: &str) -> bool {
        self.succeeds(&["systemctl", "start", unit])
    }

    fn names(&self, class: &str) -> Vec<String> {
        let folder = self.path(&format!("var/lib/holdfast/backups/prod/shop/{class}"));
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    /// Files that count: those with a sidecar.
    fn good(&self, class: &str) -> Vec<String> {
        self.names(class).iter().filter_map(|name| name.strip_suffix(".meta.json").map(str::to_owned)).collect()
    }

    /// What `status` says of a class, and of the app's health.
    fn status(&self, class: &str) -> (Value, String) {
        let output = self.ops.run(&["status", "prod", "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let app = &all["environments"][0]["apps"][0];
        let backups = app["backups"].as_array().unwrap();
        let one = backups.iter().find(|backup| backup["class"] == json!(class)).cloned().unwrap_or_default();
        (one, app["health"].as_str().unwrap().to_owned())
    }
}

const BACKUP: &str = "holdfast-backup-prod-shop-database.service";
const DRILL: &str = "holdfast-drill-prod-shop-database.service";
const PAPERS: &str = "holdfast-backup-prod-shop-papers.service";
const SOON: Duration = Duration::from_secs(60);

/// Capabilities 61, 62, 63, 65, 66, 68 and 70 on a real host.
#[test]
#[ignore = "needs the lab"]
fn cap_66_a_backup_is_proven_drilled_and_restored_beside_what_is_live() {
    let shop = Shop::up();
    let ops = &shop.ops;
    std::fs::create_dir_all(shop.path("srv/papers")).unwrap();
    std::fs::write(shop.path("srv/papers/one.pdf"), "one").unwrap();
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();

    // 61: timers that make up for what was missed, and the first soon after they were made.
    let timer = shop.on(&["systemctl", "show", "holdfast-backup-prod-shop-database.timer"]);
    let due = format!("OnCalendar=*-*-* {}:00:00 UTC", shop.hour);
    for wanted in ["Persistent=yes", "ActiveState=active", "UnitFileState=enabled", "OnActiveUSec=2min", &due] {
        assert!(timer.contains(wanted), "{wanted}: {timer}");
    }
    let (none, health) = shop.status("database");
    assert_eq!((&none["age_ms"], &none["problem"], health.as_str()), (&Value::Null, &json!(""), "Healthy"));

    // 62: one that counts, with its sidecar and the rows as they are in it.
    shop.sql("shop", "CREATE TABLE notes (id int PRIMARY KEY, text text)");
    let fill = "INSERT INTO notes SELECT n, (SELECT string_agg(md5(random()::text || n || g), '') FROM generate_series(1, 30) g) \
                FROM generate_series(1, 20000) n";
    shop.sql("shop", fill);
    assert!(shop.start(BACKUP), "{}", shop.on(&["journalctl", "-n", "30", "--no-pager", "-u", BACKUP]));
    let first = shop.good("database").remove(0);
    let folder = shop.path("var/lib/holdfast/backups/prod/shop/database");
    let sidecar: Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("{first}.meta.json"))).unwrap()).unwrap();
    assert_eq!(sidecar["rows"], json!({ "public.notes": 20_000 }), "{sidecar}");
    assert_eq!(sidecar["release"], json!("v1"));
    let modes = shop.on(&[
        "stat",
        "-c",
        "%a %U",
        "/var/lib/holdfast/backups/prod/shop/database",
        &format!("/var/lib/holdfast/backups/prod/shop/database/{first}"),
    ]);
    assert_eq!(modes, "700 root\n600 root\n");
    let sum = shop.on(&["sha256sum", &format!("/var/lib/holdfast/backups/prod/shop/database/{first}")]);
    assert_eq!(sum.split(' ').next(), sidecar["sha256"].as_str());
    ops.assert_plan_is_empty();

    shop.not_yet();
    // The database goes down in mid-dump: the unit fails, and nothing counts that did not before.
    let is_dumping = || {
        let part = shop.names("database").into_iter().find(|name| name.contains(".part"));
        part.is_some_and(|part| std::fs::metadata(folder.join(part)).is_ok_and(|meta| meta.len() > 100_000))
    };
    // So much that a dump takes seconds: what is meant to end it is not too late.
    let heavy = "CREATE TABLE heavy AS SELECT (SELECT string_agg(md5(random()::text || m), '') FROM generate_series(1, 100) m) \
                 FROM generate_series(1, 15000) n";
    shop.sql("shop", heavy);
    shop.on(&["systemctl", "start", "--no-block", BACKUP]);
    wait_until("the dump is under way", SOON, is_dumping);
    shop.on(&["docker", "kill", CONTAINER]);
    wait_until("the unit failed", SOON, || shop.succeeds(&["systemctl", "is-failed", "--quiet", BACKUP]));
    assert_eq!(shop.good("database"), std::slice::from_ref(&first));
    assert!(!shop.names("database").iter().any(|name| name.contains(".part")), "{:?}", shop.names("database"));
    let (failed, health) = shop.status("database");
    assert!(failed["problem"].as_str().unwrap().contains("the last run failed"), "{failed}");
    assert_eq!(health, "Degraded");
    shop.on(&["docker", "start", CONTAINER]);
    wait_until("PostgreSQL is back", SOON, || {
        shop.succeeds(&["docker", "exec", CONTAINER, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "shop"])
    });

    shop.not_yet();
    // The backup itself is killed: what it leaves counts for nothing, and the next run removes it.
    shop.on(&["systemctl", "start", "--no-block", BACKUP]);
    wait_until("the dump is under way", SOON, is_dumping);
    shop.on(&["systemctl", "kill", "--signal=KILL", BACKUP]);
    wait_until("the unit failed", SOON, || shop.succeeds(&["systemctl", "is-failed", "--quiet", BACKUP]));
    shop.sql("shop", "DROP TABLE heavy");
    assert_eq!(shop.good("database"), std::slice::from_ref(&first));
    assert!(shop.names("database").iter().any(|name| name.contains(".part")));
    assert!(shop.start(BACKUP));
    assert_eq!(shop.good("database").len(), 2);
    assert!(!shop.names("database").iter().any(|name| name.contains(".part")));

    shop.not_yet();
    // 65: a drill in a scratch database, which is gone afterwards; one of a spoilt file fails and says so.
    assert!(shop.start(DRILL), "{}", shop.on(&["journalctl", "-n", "30", "--no-pager", "-u", DRILL]));
    let databases = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate";
    assert_eq!(shop.sql("postgres", databases), "postgres shop");
    let (drilled, health) = shop.status("database");
    assert!(drilled["drilled_ms"].is_u64() && drilled["problem"] == json!(""), "{drilled}");
    assert_eq!(health, "Healthy");
    let newest = folder.join(shop.good("database").pop().unwrap());
    let whole = std::fs::read(&newest).unwrap();
    let mut spoilt = whole.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 1;
    std::fs::write(&newest, spoilt).unwrap();
    assert!(!shop.start(DRILL));
    let (drilled, health) = shop.status("database");
    assert!(drilled["problem"].as_str().unwrap().contains("SHA-256"), "{drilled}");
    assert_eq!(health, "Degraded");
    let refused = ops.run_any(&["restore", "prod", "shop", "database", "--yes"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("SHA-256"), "{refused:?}");
    std::fs::write(&newest, whole).unwrap();
    assert!(shop.start(DRILL));

    shop.not_yet();
    // 66: restored beside what is live, under a client that is connected; what was live is kept.
    shop.sql("shop", "DELETE FROM notes WHERE id > 100");
    let asked = ops.run_any(&["restore", "prod", "shop", "database"]);
    assert_eq!(asked.status.code(), Some(3), "without a terminal and --yes nothing is restored");
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM notes"), "100");
    let client = [
        "exec",
        "web1",
        "--",
        "docker",
        "exec",
        CONTAINER,
        "psql",
        "-XqAt",
        "-U",
        "shop",
        "shop",
        "-c",
        "SELECT pg_sleep(600)",
    ];
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab");
    let mut client = Command::new(script)
        .args(client)
        .env("LAB_ID", "bkup")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    wait_until("a client is connected", SOON, || shop.sql("postgres", connected) == "1");
    let kept = shop.good("database").len();
    let restored = ops.run(&["restore", "prod", "shop", "database", "--yes", "--json"]);
    let restored: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!((&restored["rows"], &restored["counted"]), (&json!(20_000), &json!(1)), "{restored}");
    client.wait().unwrap();
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM notes"), "20000");
    let before = restored["before"][0].as_str().unwrap();
    assert!(before.starts_with("shop_before_"), "{before}");
    let closed = format!("SELECT datallowconn FROM pg_database WHERE datname = '{before}'");
    assert_eq!(shop.sql("postgres", &closed), "f", "nobody writes to what was put aside");
    shop.sql("postgres", &format!("ALTER DATABASE {before} ALLOW_CONNECTIONS true"));
    assert_eq!(shop.sql(before, "SELECT count(*) FROM notes"), "100");
    let safety = restored["safety"].as_str().unwrap().to_owned();
    assert!(shop.good("database").contains(&safety) && shop.good("database").len() == kept + 1);
    // And the way back again, by name.
    ops.run(&["restore", "prod", "shop", "database", "--from", &safety, "--yes"]);
    assert_eq!(shop.sql("shop", "SELECT count(*) FROM notes"), "100");
    ops.assert_plan_is_empty();

    shop.not_yet();
    // 63 and 68: folders, of which two stay; and they come back.
    for _ in 0..4 {
        assert!(shop.start(PAPERS), "{}", shop.on(&["journalctl", "-n", "30", "--no-pager", "-u", PAPERS]));
    }
    assert_eq!(shop.good("papers").len(), 2);
    std::fs::remove_file(shop.path("srv/papers/one.pdf")).unwrap();
    ops.run(&["restore", "prod", "shop", "papers", "--yes"]);
    assert_eq!(std::fs::read_to_string(shop.path("srv/papers/one.pdf")).unwrap(), "one");

    // No password in what `ps`, `docker inspect` and the journal show.
    let shown = [
        shop.on(&["journalctl", "--no-pager", "-o", "cat"]),
        shop.on(&["docker", "inspect", CONTAINER]),
        shop.on(&["cat", "/etc/systemd/system/holdfast-backup-prod-shop-database.service"]),
    ];
    assert!(shown.iter().all(|text| !text.contains(PASSWORD)));

    // What git no longer has goes, backups stay.
    let held = shop.good("database");
    ops.git(&["rm", "-q", "environments/prod/shop.yaml"]);
    ops.ship("no shop any more");
    ops.run(&["apply", "prod", "--yes", "--allow-prune"]);
    let units = std::fs::read_dir(shop.path("etc/systemd/system")).unwrap();
    let left: Vec<String> = units.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|unit| unit.contains("prod-shop")), "{left:?}");
    assert_eq!(shop.good("database"), held);
}
