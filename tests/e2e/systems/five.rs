//! All five systems at once: every environment of them, on the hosts of the inventory, from one commit, and a release of each system's
//! production from another.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadSpec};
use serde_json::{Value, json};

use super::foreign::{self, Foreign};
use super::{Daemon, Shipped, address, asked, nps};

/// The lab's hosts, one after another: all of the inventory.
const HOSTS: [&str; 7] = ["prod-a", "prod-b", "prod-c", "stage", "vps", "bare", "vault"];

/// All environments, with the file of their app.
const ENVIRONMENTS: [(&str, &str); 12] = [
    ("investment-dev", "investment"),
    ("investment-prod", "investment"),
    ("neurocore-prod", "neurocore"),
    ("neurocore-stage", "neurocore"),
    ("nps-dev", "nps"),
    ("nps-manual", "nps"),
    ("nps-prod", "nps"),
    ("numbers-dev", "numbers"),
    ("numbers-prod", "numbers"),
    ("shia-dev", "shia"),
    ("shia-prod", "shia"),
    ("shia-stage", "shia"),
];

const IMAGES: [&str; 20] = [
    "registry: lab",
    "worker_class: app.worker.Worker",
    "postgres_image: lab/postgres:17",
    "redis_image: lab/redis:8",
    "qdrant_image: lab/qdrant:1",
    "minio_image: lab/minio:1",
    "flower_image: lab/flower:1",
    "weaviate_image: lab/weaviate:1",
    "adminer_image: lab/adminer:1",
    "elasticsearch_image: lab/elasticsearch:1",
    "airflow_image: lab/airflow:1",
    "prometheus_image: lab/prometheus:2",
    "alertmanager_image: lab/alertmanager:0",
    "node_exporter_image: lab/node-exporter:1",
    "nginx_exporter_image: lab/nginx-exporter:1",
    "postgres_exporter_image: lab/postgres-exporter:0",
    "redis_exporter_image: lab/redis-exporter:1",
    "grafana_image: lab/grafana:1",
    "loki_image: lab/loki:1",
    "cadvisor_image: lab/cadvisor:1",
];

/// Six environments on one host may take 36 GiB as they are shipped, both slots counted, and a plan says so (`over-capacity`). What this
/// lab's `vps` has is less: its own variables say how much each of them may take there.
const SMALLER: &str = "
      app_memory: 512M
      app_reservation: 256M
      celery_memory: 512M
      postgres_memory: 512M
      backend_memory: 512M
      backend_reservation: 256M
      api_memory: 512M
      oracle_memory: 512M";

/// What every secret has in it, whoever writes it down however.
const MARK: &str = "0123456789abcdef";

/// For all of it, on a machine of two processors.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// A system's production: its environment, the lab's host with its site, the site's port and name, what is asked and what is stored
/// there, and its release before and after.
struct Site {
    environment: &'static str,
    host: usize,
    port: u16,
    name: &'static str,
    get: &'static str,
    post: &'static str,
    before: &'static str,
    after: &'static str,
}

const SITES: [Site; 6] = [
    Site {
        environment: "numbers-prod",
        host: 0,
        port: 80,
        name: "numbers.example.com",
        get: "/api/version",
        post: "/api/analyses",
        before: "v5.0",
        after: "v5.1",
    },
    Site {
        environment: "neurocore-prod",
        host: 0,
        port: 80,
        name: "neurocore.example.com",
        get: "/api/version",
        post: "/api/documents",
        before: "v1.0.0",
        after: "v1.1.0",
    },
    Site {
        environment: "nps-prod",
        host: 1,
        port: 80,
        name: "nps.example.com",
        get: "/api/version",
        post: "/api/oracle/readings",
        before: "v4.0.0",
        after: "v4.1.0",
    },
    Site {
        environment: "nps-manual",
        host: 5,
        port: 80,
        name: "manual.nps.example.com",
        get: "/api/version",
        post: "/api/oracle/readings",
        before: "v4.0.0",
        after: "v4.1.0",
    },
    Site {
        environment: "investment-prod",
        host: 2,
        port: 80,
        name: "invest.example.com",
        get: "/api/version",
        post: "/api/portfolio/transaction",
        before: "1.0.0",
        after: "1.1.0",
    },
    Site {
        environment: "shia-prod",
        host: 4,
        port: 8100,
        name: "chat.example.net",
        get: "/version",
        post: "/api/v1/chat",
        before: "v1.0.0",
        after: "v1.1.0",
    },
];

impl Site {
    /// A request now and then: what is tested is all of it at once, not how much one of them takes.
    fn load(&self, lab: &Lab) -> Load {
        Load::start(&LoadSpec {
            targets: vec![address(lab, self.host, self.port)],
            host: self.name.to_owned(),
            get: self.get.to_owned(),
            post: self.post.to_owned(),
            body: r#"{"message":"does it hold?"}"#.to_owned(),
            connections: 2,
            pause: Duration::from_millis(250),
            limit: LIMIT,
        })
    }

    /// Whether a request is answered.
    fn answers(&self, lab: &Lab) -> bool {
        let url = format!("http://{}{}", address(lab, self.host, self.port), self.get);
        let header = format!("Host: {}", self.name);
        let argv = ["-sfm", "20", "-o", "/dev/null", "-H", &header, &url];
        Command::new("curl").args(argv).status().is_ok_and(|status| status.success())
    }

    /// The release that says it answers.
    fn release(&self, lab: &Lab) -> Value {
        if self.port == 80 {
            return asked(lab, self.host, self.name, self.get)["release"].clone();
        }
        let url = format!("http://{}{}", address(lab, self.host, self.port), self.get);
        let output =
            Command::new("curl").args(["-sSfm", "20", "-H", &format!("Host: {}", self.name), &url]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{url}: {error}"));
        said["release"].clone()
    }
}

/// Every secret that any of the templates names.
fn secrets(environment: &str) -> Value {
    let key = |name: &str| format!("{name}-{environment}-{MARK}");
    let password = if environment == "nps-manual" { "p@ss w:/manual".to_owned() } else { key("p@ss w:/") };
    json!({
        "database": { "password": password, "app_password": key("4pp") },
        "redis": { "password": key("r#d $") },
        "app": { "secret_key": key("s"), "jwt_key": key("j"), "jwt_secret_key": key("k"), "gdpr_encryption_key": key("g") },
        "api": { "secret_key": key("a") },
        "encryption": { "key": key("e"), "salt": key("t") },
        "telegram": { "service_key": key("b"), "bot_token": format!("110201543:AAH{MARK}") },
        "anthropic": { "api_key": key("n") },
        "openai": { "api_key": key("o") },
        "openrouter": { "api_key": key("r") },
        "smtp": { "password": key("m") },
        "minio": { "user": "objects", "password": key("i") },
        "grafana": { "password": key("f"), "admin_password": key("d") },
        "slack": { "webhook": format!("https://hooks.example.net/{environment}/{MARK}") },
        "alerts": { "webhook_url": format!("https://hooks.example.net/{environment}/{MARK}") },
    })
}

/// Past syncs, the newest first.
fn history(shipped: &Shipped) -> Vec<Value> {
    let output = shipped.ops.holdfast(&["history", "--json", "--limit", "500"]).output().unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    all["syncs"].as_array().cloned().unwrap_or_default()
}

/// Waits until the last sync of each of these environments is of this commit and found, or left, nothing to do; says how long each took. A
/// release that went back ends it: none of these is bad.
fn synced(shipped: &Shipped, names: &[&'static str], commit: &str, end: Instant) {
    let began = Instant::now();
    let mut left: BTreeSet<&str> = names.iter().copied().collect();
    while !left.is_empty() {
        let syncs = history(shipped);
        left.retain(|name| {
            let Some(last) = syncs.iter().find(|sync| sync["environment"] == *name) else { return true };
            let result = last["result"].as_str().unwrap_or_default();
            let hopeless =
                result == "rolled_back" || last["reason"].as_str().unwrap_or_default().contains("over-capacity");
            assert!(!hopeless, "{name}: {last}");
            let done = last["commit"] == commit && ["synced", "no_change"].contains(&result);
            if done {
                eprintln!("{:4.0} s: {name} is at {}", began.elapsed().as_secs_f64(), &commit[..12]);
            }
            !done
        });
        if Instant::now() > end {
            let log = fs::read_to_string(shipped.ops.work.with_file_name("daemon.log")).unwrap_or_default();
            eprintln!("{}", log.lines().rev().take(60).collect::<Vec<_>>().join("\n"));
            panic!("{left:?} are not at {commit}: {:#?}", syncs.iter().take(30).collect::<Vec<_>>());
        }
        std::thread::park_timeout(Duration::from_secs(2));
    }
}

/// What happened in a sync, as text.
fn events(shipped: &Shipped, sync: &Value) -> String {
    let output = shipped.ops.holdfast(&["history", "--json", "--sync", &sync["id"].to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The environments that waited for others in their syncs to a commit.
fn waited(shipped: &Shipped, commit: &str) -> BTreeSet<String> {
    let of = history(shipped).into_iter().filter(|sync| sync["commit"] == commit);
    let waited = of.filter(|sync| events(shipped, sync).contains("waits_for_turn"));
    waited.map(|sync| sync["environment"].as_str().unwrap().to_owned()).collect()
}

/// Capabilities 16, 31, 35, 39 and 42 on real hosts.
#[test]
#[ignore = "needs the lab"]
fn cap_16_twelve_environments_of_five_systems_from_one_commit() {
    let end = Instant::now() + LIMIT;
    let sets = "numbers,nps,neurocore,shia,investment,monitor";
    let lab = Lab::up("five", "fiv", HOSTS.len(), &["--tree", "systems", "--images", sets]);
    let names: Vec<&'static str> = ENVIRONMENTS.iter().map(|(name, _)| *name).collect();
    let shipped = Shipped::new(&lab, &HOSTS, &names, &IMAGES);
    let inventory = fs::read_to_string(shipped.ops.work.join("inventory/hosts.yaml")).unwrap();
    let (before, vps) = inventory.split_once("  vps:\n").unwrap();
    let vps = vps.replacen("    variables:", &format!("    variables:{SMALLER}"), 1);
    shipped.ops.write("inventory/hosts.yaml", &format!("{before}  vps:\n{vps}"));
    // One machine has all of these hosts: three environments at the same time are what it bears.
    let manager = fs::read_to_string(&shipped.ops.config).unwrap();
    fs::write(&shipped.ops.config, manager + "poll_interval: 2s\nrollouts: 3\n").unwrap();
    for (environment, app) in ENVIRONMENTS {
        shipped.ops.seal(environment, &secrets(environment).to_string());
        // Shipped as a minute to a day.
        let path = format!("environments/{environment}/{app}.yaml");
        let text = fs::read_to_string(shipped.ops.work.join(&path)).unwrap();
        let long = ["window: 24h", "window: 10m", "window: 1h", "window: 1m"];
        shipped.ops.write(&path, &long.iter().fold(text, |text, long| text.replace(long, "window: 3s")));
    }
    nps::prepare_manual(&lab, 5);
    nps::build_frontend(&shipped, "v4.0.0");
    let foreign = Foreign::plant(&lab, &lab.hosts[4].name, "lab/redis:8", foreign::PORTS);

    // One commit, on hosts that have nothing. A second plan of each is empty.
    let first = shipped.ops.ship("all five systems");
    let daemon = Daemon::start(&shipped);
    synced(&shipped, &names, &first, end);
    for site in &SITES {
        assert_eq!(site.release(&lab), json!(site.before), "{}", site.name);
    }
    for name in &names {
        shipped.assert_plan_is_empty(name);
    }
    let waited = waited(&shipped, &first);
    assert!(waited.len() >= 8, "no more than three at once: the others waited for their turn: {waited:?}");

    // A release of each system's production, in one commit, under load; of one, staging goes first.
    let loads: Vec<Load> = SITES.iter().map(|site| site.load(&lab)).collect();
    for site in SITES.iter().filter(|site| !site.environment.starts_with("nps")) {
        let (_, app) = ENVIRONMENTS.iter().find(|(name, _)| *name == site.environment).unwrap();
        let path = format!("environments/{}/{app}.yaml", site.environment);
        shipped.edit(&path, &format!("release: {}", site.before), &format!("release: {}", site.after));
    }
    shipped.edit("environments/shia-stage/shia.yaml", "release: v1.0.0", "release: v1.1.0");
    nps::next_release(&shipped);
    let second = shipped.ops.ship("a release of each");
    // Its daemon is killed in the middle of one, and the next one goes on.
    wait_until("a host has begun", LIMIT, || {
        let is_under_way = |sync: &Value| sync["commit"] == *second && !sync["result"].is_string();
        history(&shipped).iter().filter(|sync| is_under_way(sync)).any(|sync| events(&shipped, sync).contains("staged"))
    });
    drop(daemon);
    let daemon = Daemon::start(&shipped);
    synced(&shipped, &names, &second, end);
    for (site, load) in SITES.iter().zip(loads) {
        assert_eq!(site.release(&lab), json!(site.after), "{}", site.name);
        let report = load.stop();
        eprintln!("{}: {} requests, {} failed, {:?}", site.name, report.requests, report.failures, report.releases);
        lab.assert_none_lost(&report);
        assert!(report.requests > 100, "{}: the load was real: {} requests", site.name, report.requests);
        assert_eq!(report.releases.keys().collect::<Vec<_>>(), [site.before, site.after], "{}", site.name);
    }
    hosts_lose_their_power(&lab, &shipped, &names, end);
    drop(daemon);
    for name in &names {
        shipped.assert_plan_is_empty(name);
    }
    no_secret_is_where_it_need_not_be(&lab, &shipped);
    what_git_has_no_more_goes_and_its_data_stays(&lab, &shipped);
    foreign.assert_untouched();
}

/// Two hosts lose their power, and a commit for everybody comes meanwhile. What has no part on them gets it, sites on other hosts go on, and
/// the rest has it when they are back.
fn hosts_lose_their_power(lab: &Lab, shipped: &Shipped, names: &[&'static str], end: Instant) {
    let off = 1..3;
    let held = ["investment-prod", "neurocore-prod", "nps-prod", "numbers-prod"];
    let serve = |sites: &dyn Fn(&Site) -> bool| {
        for site in SITES.iter().filter(|site| sites(site)) {
            for _ in 0..10 {
                assert_eq!(site.release(lab), json!(site.after), "{}", site.name);
            }
        }
    };
    for host in &lab.hosts[off.clone()] {
        lab.run(&["kill", &host.name]);
    }
    for system in ["investment", "neurocore", "nps", "numbers", "shia"] {
        let path = format!("templates/nginx/{system}.conf.j2");
        let text = fs::read_to_string(shipped.ops.work.join(&path)).unwrap();
        shipped.ops.write(&path, &format!("{text}# For every site.\n"));
    }
    let commit = shipped.ops.ship("a word in every site");
    let elsewhere: Vec<&'static str> = names.iter().copied().filter(|name| !held.contains(name)).collect();
    synced(shipped, &elsewhere, &commit, end);
    serve(&|site| !off.contains(&site.host));
    let has_it = |name: &str| {
        let syncs = history(shipped);
        syncs.iter().any(|sync| sync["environment"] == name && sync["commit"] == commit && sync["result"] == "synced")
    };
    assert!(!held.iter().any(|name| has_it(name)), "none begins while a host of it is off");
    for host in &lab.hosts[off.clone()] {
        lab.run(&["start", &host.name]);
    }
    synced(shipped, names, &commit, end);
    assert!(held.iter().all(|name| has_it(name)), "each has it from the daemon");
    // A host's own nginx answers before what is behind it has started; who has a site on another host gets the answer of a third one.
    serve(&|site| !off.contains(&site.host));
    wait_until("each site answers as often as it is asked", Duration::from_secs(180), || {
        SITES.iter().all(|site| (0..10).all(|_| site.answers(lab)))
    });
    serve(&|_| true);
}

/// Every secret has [`MARK`] in it, as it is and percent-encoded.
fn no_secret_is_where_it_need_not_be(lab: &Lab, shipped: &Shipped) {
    // The pattern does not find itself.
    let script = format!(
        "{{ docker ps -aq | xargs -r docker inspect; cat /proc/[0-9]*/cmdline; journalctl --no-pager -o cat; }} 2> /dev/null \
         | tr '\\0' '\\n' | grep -a '[{}]{}' || true",
        &MARK[..1],
        &MARK[1..]
    );
    for host in &lab.hosts {
        let found = lab.exec(&host.name, &["sh", "-c", &script]);
        assert!(found.is_empty(), "{}: {found}", host.name);
    }
    let home = shipped.ops.work.parent().unwrap();
    for file in ["daemon.log", "state/holdfast.sqlite", "state/holdfast.sqlite-wal"] {
        let bytes = fs::read(home.join(file)).unwrap_or_default();
        assert!(!bytes.windows(MARK.len()).any(|part| part == MARK.as_bytes()), "a secret is in {file}");
    }
}

/// An app is removed from git: what ran of it goes from the host that five others share, and the volumes stay.
fn what_git_has_no_more_goes_and_its_data_stays(lab: &Lab, shipped: &Shipped) {
    let on_vps = |argv: &[&str]| lab.exec(&lab.hosts[4].name, argv);
    let containers = || on_vps(&["docker", "ps", "-aq", "--filter", "name=^numbers-dev-"]);
    let volumes = || on_vps(&["docker", "volume", "ls", "-q", "--filter", "name=numbers-dev-"]);
    let (running, kept) = (containers(), volumes());
    assert!(running.lines().count() >= 4 && kept.lines().count() >= 2, "{running} {kept}");
    shipped.ops.git(&["rm", "-q", "environments/numbers-dev/numbers.yaml"]);
    shipped.ops.ship("1Numbers has no development any more");
    let apply = shipped.ops.run_any(&["apply", "numbers-dev", "--yes", "--allow-prune"]);
    assert_eq!(apply.status.code(), Some(0));
    assert_eq!((containers(), volumes()), (String::new(), kept));
    assert_eq!(on_vps(&["sh", "-c", "ls /etc/nginx/sites-enabled /etc/nginx/conf.d | grep numbers-dev || true"]), "");
    for (name, _) in ENVIRONMENTS.iter().filter(|(name, _)| *name != "nps-manual") {
        shipped.assert_plan_is_empty(name);
    }
}
