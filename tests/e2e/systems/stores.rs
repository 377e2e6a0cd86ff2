//! Backups and restores of a real Redis with an append-only file and of a volume, under writers that never rest.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::ops::{Ops, text};
use serde_json::{Value, json};

const APP: &str = "\
app: shop
release: v1
components:
  data:
    compose: compose/shop-data.yaml.j2
    strategy: stateful
    ports: { redis: 6399 }
    healthcheck: { tcp: { port: redis }, interval: 250ms, passes: 1, min_healthy_time: 1s }
    redis:
      service: redis
      password_file: \"{{ dir }}/password\"
      settings: { maxmemory: 256mb, maxmemory-policy: allkeys-lru }
    backups:
      cache:
        redis: { service: redis, password_file: \"{{ dir }}/password\" }
        at: \"HOUR:00\"
        writers: [tickers]
      objects:
        volumes: [objects]
        at: \"HOUR:00\"
    files:
      - { path: \"{{ dir }}/password\", template: files/password.j2 }
      - { path: \"{{ dir }}/redis.conf\", template: files/redis.conf.j2, owner: \"999\" }
  tickers:
    compose: compose/shop-tickers.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 250ms, passes: 1, min_healthy_time: 1s }
";

const DATA: &str = "\
services:
  redis:
    image: chatbot-redis:8
    logging: { driver: local }
    restart: unless-stopped
    command: [redis-server, /etc/redis/redis.conf]
    ports: [\"127.0.0.1:{{ port.redis }}:6379\"]
    volumes:
      - redis:/data
      - objects:/objects
      - \"{{ dir }}/redis.conf:/etc/redis/redis.conf:ro\"
      - \"{{ dir }}-redis:/etc/redis/settings:ro\"
volumes:
  redis: {}
  objects: {}
";

/// Beside an append-only file Redis reads no dump.
const REDIS: &str = "\
dir /data
appendonly yes
protected-mode no
requirepass {{ secrets.redis.password | quote }}
user ticker on nopass ~ticks -@all +incr
include /etc/redis/settings/*.conf
";

/// They write all the time, and none goes before it has to: one second after it was told to, and five.
const TICKERS: &str = "\
services:
{% for name, grace in [(\"quick\", \"1s\"), (\"slow\", \"5s\")] %}
  {{ name }}:
    image: chatbot-redis:8
    logging: { driver: local }
    restart: unless-stopped
    stop_grace_period: {{ grace }}
    network_mode: host
    command: [redis-cli, -p, \"6399\", --no-auth-warning, --user, ticker, --pass, \"-\", -r, \"-1\", -i, \"0.05\", INCR, ticks]
{% endfor %}
";

const PASSWORD: &str = "canary-R3d1s$'";
const REDIS_CONTAINER: &str = "prod-shop-data-redis-1";
const QUICK: &str = "prod-shop-tickers-quick-1";
const SOON: Duration = Duration::from_secs(90);

struct Shop {
    lab: Lab,
    ops: Ops,
}

impl Shop {
    fn up() -> Self {
        let lab = Lab::up("stores", "web", 1, &["--images"]);
        let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
        ops.write(
            "environments/prod/environment.yaml",
            "hosts: { role: web }\nsync: { mode: manual, drift: report }\n",
        );
        // Far from now: what runs in this test, the test has started.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let hour = format!("{:02}", (since.as_secs() / 3600 + 6) % 24);
        ops.write("environments/prod/shop.yaml", &APP.replace("HOUR", &hour));
        ops.write("templates/compose/shop-data.yaml.j2", DATA);
        ops.write("templates/compose/shop-tickers.yaml.j2", TICKERS);
        ops.write("templates/files/redis.conf.j2", REDIS);
        ops.write("templates/files/password.j2", "{{ secrets.redis.password }}");
        ops.seal("prod", &json!({ "redis": { "password": PASSWORD } }).to_string());
        ops.ship("a shop with stores");
        Self { lab, ops }
    }

    fn on(&self, argv: &[&str]) -> String {
        self.lab.exec("web1", argv)
    }

    /// A file of the host as this machine sees it.
    fn path(&self, path: &str) -> PathBuf {
        self.lab.host("web1").root.join(path)
    }

    /// Says something to Redis as its owner.
    fn redis(&self, words: &[&str]) -> String {
        let login = format!("REDISCLI_AUTH={PASSWORD}");
        let exec = ["docker", "exec", "--env", &login, REDIS_CONTAINER, "redis-cli"];
        self.on(&[&exec[..], words].concat()).trim().to_owned()
    }

    fn ticks(&self) -> u64 {
        self.redis(&["GET", "ticks"]).parse().unwrap_or(0)
    }

    /// Whether the quick one of the writers runs, and since when.
    fn writer(&self) -> (bool, String) {
        let format = "{{.State.Running}} {{.State.StartedAt}}";
        let said = self.on(&["docker", "inspect", "--format", format, QUICK]);
        let (running, since) = said.trim().split_once(' ').unwrap();
        (running == "true", since.to_owned())
    }

    /// Runs a command in the container of Redis, which has the volume of objects.
    fn object(&self, command: &str) -> String {
        self.on(&["docker", "exec", REDIS_CONTAINER, "sh", "-c", command]).trim().to_owned()
    }

    fn folder(&self, class: &str) -> PathBuf {
        self.path(&format!("var/lib/holdfast/backups/prod/shop/{class}"))
    }

    /// Takes a backup now, and returns its sidecar.
    fn back_up(&self, class: &str) -> Value {
        let unit = format!("holdfast-backup-prod-shop-{class}.service");
        let started = self.lab.try_run(&["exec", "web1", "--", "systemctl", "start", &unit]);
        assert!(started.status.success(), "{}", self.on(&["journalctl", "-n", "30", "--no-pager", "-u", &unit]));
        let entries = std::fs::read_dir(self.folder(class)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let newest = names.filter(|name| name.ends_with(".meta.json")).max().unwrap();
        serde_json::from_slice(&std::fs::read(self.folder(class).join(newest)).unwrap()).unwrap()
    }

    fn restored(&self, class: &str, file: &str) -> Value {
        let output = self.ops.run(&["restore", "prod", "shop", class, "--from", file, "--yes", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Capability 34: settings are said to Redis while it runs, seen when somebody else changed them, and there after a new start.
fn settings_change_while_redis_runs(shop: &Shop) {
    const PATH: &str = "environments/prod/shop.yaml";
    let ops = &shop.ops;
    let is = |name: &str| shop.redis(&["CONFIG", "GET", name]).lines().nth(1).unwrap_or_default().to_owned();
    let run = || {
        let info = shop.redis(&["INFO", "server"]);
        info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned()
    };
    let settings = |to: &str| {
        let text = std::fs::read_to_string(ops.work.join(PATH)).unwrap();
        let line = text.lines().find(|line| line.contains("settings: {")).unwrap();
        ops.write(PATH, &text.replace(line, &format!("      settings: {{ {to} }}")));
        ops.ship("other settings");
    };
    let plan = |code: i32, words: &[&str]| {
        let plan = ops.run_any(&["plan", "prod", "--detailed-exitcode"]);
        let said = text(&plan) + &String::from_utf8_lossy(&plan.stderr);
        // A plan is wrapped at the width of the terminal.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(plan.status.code(), Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("~ service"), "{said}");
    };
    let apply = || ops.run_any(&["apply", "prod", "--yes"]);
    let both = || (is("maxmemory"), is("maxmemory-policy"));
    let declared = |maxmemory: &str| (maxmemory.to_owned(), "allkeys-lru".to_owned());
    assert_eq!(both(), declared("268435456"), "also after the new starts until here");
    let (first, ticks) = (run(), shop.ticks());

    settings("maxmemory: 128mb, maxmemory-policy: allkeys-lru, timeout: 600");
    plan(
        2,
        &["reload: setting maxmemory is 268435456, and 128mb is declared; setting timeout is 0, and 600 is declared"],
    );
    assert_eq!(apply().status.code(), Some(0));
    ops.assert_plan_is_empty();
    assert_eq!((both(), is("timeout")), (declared("134217728"), "600".to_owned()));

    // By hand.
    shop.redis(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    plan(2, &["setting maxmemory-policy is noeviction, and allkeys-lru is declared"]);
    assert_eq!(apply().status.code(), Some(0));
    ops.assert_plan_is_empty();
    assert_eq!(both(), declared("134217728"));

    // What Redis does not know stands in the way, and what it does not take is taken back whole.
    settings("maxmemoryy: 1mb");
    plan(2, &["this Redis knows no setting maxmemoryy"]);
    assert_ne!(apply().status.code(), Some(0));
    settings("maxmemory: 64mb, maxmemory-policy: of-my-own");
    let failed = apply();
    let said = text(&failed) + &String::from_utf8_lossy(&failed.stderr);
    assert!(failed.status.code() == Some(4) && said.contains("all left as they were"), "{said}");
    assert_eq!((both(), is("timeout")), (declared("134217728"), "600".to_owned()));

    // What git says no more is as it was, and what it says is there after a new start.
    settings("maxmemory: 192mb, maxmemory-policy: allkeys-lru");
    assert_eq!(apply().status.code(), Some(0));
    ops.assert_plan_is_empty();
    assert_eq!((both(), is("timeout")), (declared("201326592"), "0".to_owned()));
    assert_eq!(run(), first, "all without a new start");
    assert!(shop.ticks() > ticks, "its clients went on");
    shop.on(&["docker", "restart", REDIS_CONTAINER]);
    wait_until("it has started anew", SOON, || shop.ticks() > 0);
    assert!(run() != first);
    assert_eq!(both(), declared("201326592"));
    ops.assert_plan_is_empty();
}

/// Capabilities 34, 66, 67 and 68 on a real host.
#[test]
#[ignore = "needs the lab"]
fn cap_67_redis_and_volumes_come_back_under_writers_that_never_rest() {
    let shop = Shop::up();
    let ops = &shop.ops;
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();

    shop.redis(&["SET", "kept", "of the backup"]);
    shop.redis(&["-n", "3", "SET", "other", "database"]);
    wait_until("the writers write", SOON, || shop.ticks() > 0);
    shop.object("echo one > /objects/object");
    let (dump, archive) = (shop.back_up("cache"), shop.back_up("objects"));
    assert_eq!(dump["rows"], json!({ "keys": 3, "expires": 0 }), "{dump}");
    let (dump, archive) = (dump["file"].as_str().unwrap(), archive["file"].as_str().unwrap());
    let paused = ["docker", "ps", "--quiet", "--filter", "status=paused"];
    assert_eq!(shop.on(&paused), "", "nothing is left standing still");
    assert_eq!(shop.path("var/lib/holdfast/paused").read_dir().unwrap().count(), 0);

    // Killed while it stops the writers: everything runs as before, by itself.
    shop.redis(&["SET", "kept", "changed since"]);
    shop.object("echo two > /objects/object");
    let (_, since) = shop.writer();
    let mut restore = ops.holdfast(&["restore", "prod", "shop", "cache", "--from", dump, "--yes"]);
    let mut restore = restore.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a writer is stopped", SOON, || !shop.writer().0);
    shop.on(&["systemctl", "kill", "--signal=KILL", "holdfast-restore-prod-shop-cache.service"]);
    assert!(!restore.wait().unwrap().success());
    let journal = shop.folder("cache").join("restore.json");
    wait_until("the exchange is undone", SOON, || !journal.exists());
    assert!(shop.writer().0 && shop.writer().1 != since, "it was stopped, and runs");
    let ticks = shop.ticks();
    wait_until("the writers write again", SOON, || shop.ticks() > ticks);
    assert_eq!(shop.redis(&["GET", "kept"]), "changed since");

    // All of it comes back, also for the next start, and what was live is kept.
    let (_, since) = shop.writer();
    let restored = shop.restored("cache", dump);
    assert_eq!(restored["before"].as_array().map(Vec::len), Some(2), "{restored}");
    assert_eq!(restored["rows"], json!(3), "{restored}");
    assert!(shop.writer().0 && shop.writer().1 != since, "it was stopped meanwhile, and runs");
    let is_back =
        || shop.redis(&["GET", "kept"]) == "of the backup" && shop.redis(&["-n", "3", "GET", "other"]) == "database";
    assert!(is_back(), "{}", shop.redis(&["GET", "kept"]));
    shop.on(&["docker", "restart", REDIS_CONTAINER]);
    wait_until("Redis has it after a start of its own", SOON, is_back);
    assert_eq!(shop.redis(&["CONFIG", "GET", "appendonly"]), "appendonly\nyes");

    let restored = shop.restored("objects", archive);
    assert_eq!(shop.object("cat /objects/object"), "one");
    let before = format!("{}/object", restored["before"][0].as_str().unwrap());
    assert_eq!(shop.on(&["cat", &before]), "two\n");
    ops.assert_plan_is_empty();

    settings_change_while_redis_runs(&shop);

    // No password in what the journal and `docker inspect` show.
    let shown = shop.on(&["journalctl", "--no-pager", "-o", "cat", "-u", "holdfast-*"])
        + &shop.on(&["docker", "inspect", REDIS_CONTAINER]);
    assert!(!shown.contains(PASSWORD));
}
