//! The monitoring of guide 004 as it is shipped: a real Prometheus, Alertmanager and exporters watch the platform.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::ops::text;
use holdfast_testkit::sink::Sink;
use serde_json::{Value, json};

use super::{Shipped, grafana};

const ENVIRONMENT: &str = "investment-prod";
const PATIENCE: Duration = Duration::from_secs(90);
const GRAFANA_PASSWORD: &str = "grafana-0123456789";
const VARIABLES: [&str; 15] = [
    "registry: lab",
    "postgres_image: lab/postgres:17",
    "redis_image: lab/redis:8",
    "elasticsearch_image: lab/elasticsearch:1",
    "airflow_image: lab/airflow:1",
    "prometheus_image: lab/prometheus:2",
    "alertmanager_image: lab/alertmanager:0",
    "grafana_image: lab/grafana:1",
    "node_exporter_image: lab/node-exporter:1",
    "postgres_exporter_image: lab/postgres-exporter:0",
    "redis_exporter_image: lab/redis-exporter:1",
    // The exporter of PostgreSQL tries three times, for three seconds, before it says that there is none.
    "scrape_interval: 5s",
    "scrape_timeout: 5s",
    "alert_group_wait: 1s",
    "alert_group_interval: 1s",
];

struct Watched<'a> {
    lab: &'a Lab,
    host: &'a str,
}

impl Watched<'_> {
    /// Asks Prometheus, and returns labels and value of each series.
    fn query(&self, expression: &str) -> Vec<(Value, String)> {
        self.try_query(expression).unwrap_or_else(|| panic!("Prometheus does not answer {expression}"))
    }

    /// Does the same while it may be starting.
    fn try_query(&self, expression: &str) -> Option<Vec<(Value, String)>> {
        let url = "http://127.0.0.1:8631/api/v1/query";
        let data = format!("query={expression}");
        let asked = ["exec", self.host, "--", "curl", "-sS", "--max-time", "10", "--data-urlencode", &data, url];
        let said: Value = serde_json::from_slice(&self.lab.try_run(&asked).stdout).ok()?;
        (said["status"] == json!("success")).then_some(())?;
        let series = said["data"]["result"].as_array()?;
        let value = |one: &Value| Some((one["metric"].clone(), one["value"][1].as_str()?.to_owned()));
        series.iter().map(value).collect()
    }

    /// Runs promtool of the image that is deployed, in `/srv` of the host.
    fn promtool(&self, arguments: &str) -> String {
        let run = format!(
            "cd /srv && docker run --rm -i -v /srv:/srv:ro -w /srv --entrypoint promtool lab/prometheus:2 {arguments} 2>&1"
        );
        self.lab.exec(self.host, &["sh", "-c", &run])
    }
}

/// Returns the metrics that queries name: words before `{` or `[`, or alone, that are no function and no label.
fn named(expression: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let mut depth = 0;
    for c in expression.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    let prefixes = ["http_", "pg_", "redis_", "node_", "holdfast_"];
    let words = plain.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// The path of the place where alerts go, which nobody else knows.
const HOOK: &str = "/hook-s3cret";

/// Stops what the platform needs and starts it again: whoever is on duty is told of both, by the shipped rules and route, at an address
/// that only the secrets hold.
fn what_breaks_reaches_somebody(lab: &Lab, host: &str, sink: &Sink) {
    // Each alert that came, by what it said of it: `firing` or `resolved`, its name, and its words for people.
    let told = |status: &str, name: &str| {
        let taken = sink.taken();
        assert!(taken.iter().all(|one| one.path == HOOK), "{taken:#?}");
        let alerts = taken.iter().flat_map(|one| one.body["alerts"].as_array().cloned().unwrap_or_default());
        let mut of = alerts.filter(|alert| alert["labels"]["alertname"] == name && alert["status"] == status);
        of.next()
    };
    for (service, alert, summary) in [
        ("redis", "RedisDown", "Redis of investment-prod does not answer on prod-c"),
        ("postgres", "DatabaseDown", "PostgreSQL of investment-prod does not answer on prod-c"),
    ] {
        assert_eq!(told("firing", alert), None, "nobody is woken before");
        let container = format!("investment-prod-investment-data-{service}-1");
        lab.exec(host, &["docker", "stop", "-t", "5", &container]);
        wait_until(&format!("{alert} reaches somebody"), PATIENCE, || told("firing", alert).is_some());
        let fired = told("firing", alert).unwrap();
        assert_eq!(fired["annotations"]["summary"], json!(summary), "{fired}");
        assert_eq!(fired["labels"]["severity"], json!("critical"), "{fired}");
        assert_eq!(told("resolved", alert), None, "it lasts");
        lab.exec(host, &["docker", "start", &container]);
        wait_until(&format!("the end of {alert} reaches somebody"), PATIENCE, || told("resolved", alert).is_some());
    }
}

/// Capabilities 75, 76, 77 and 78 on a real host.
#[test]
#[ignore = "needs the lab"]
fn cap_76_what_runs_is_asked_and_what_breaks_reaches_somebody() {
    let lab = Lab::up("monitor", "mon", 1, &["--images", "investment,monitor"]);
    let sink = Sink::on(&lab.gateway);
    let host = lab.hosts[0].name.clone();
    let watched = Watched { lab: &lab, host: &host };
    let shipped = Shipped::new(&lab, &["prod-c"], &[ENVIRONMENT], &VARIABLES);
    let secrets = json!({
        "database": { "password": "p@ss=w:/prod", "app_password": "4pp=w:/prod" },
        "redis": { "password": "r#d $-prod" },
        "app": { "jwt_key": "jwt-prod-0123456789abcdef", "gdpr_encryption_key": "gdpr-prod-0123456789abcdef=" },
        "alerts": { "webhook_url": sink.url(HOOK) },
        "grafana": { "admin_password": GRAFANA_PASSWORD },
    });
    shipped.ops.seal(ENVIRONMENT, &secrets.to_string());
    shipped.edit("environments/investment-prod/investment.yaml", "window: 24h", "window: 1s");
    let rules = "templates/prometheus/alerts.rules.yml.j2";
    let as_shipped = fs::read_to_string(shipped.ops.work.join(rules)).unwrap();
    shipped.edit(rules, "for: 1m", "for: 1s");
    shipped.ops.ship("the platform and what watches it");
    let apply = || shipped.ops.run_any(&["apply", ENVIRONMENT, "--yes"]);
    assert_eq!(apply().status.code(), Some(0), "all comes up");
    shipped.assert_plan_is_empty(ENVIRONMENT);

    // Every target of what is declared answers; of two slots the one that serves.
    let jobs = ["alertmanager", "backend", "node", "postgres", "prometheus", "redis"];
    wait_until("every target answers", PATIENCE, || {
        let up = watched.try_query("max by (job, host) (up) == 1").unwrap_or_default();
        let up: BTreeSet<String> = up.iter().map(|(labels, _)| labels["job"].as_str().unwrap().to_owned()).collect();
        up.iter().map(String::as_str).eq(jobs)
    });
    let slots = watched.query(r#"up{job="backend"}"#);
    let of =
        |slot: &str| slots.iter().find(|(labels, _)| labels["slot"] == json!(slot)).map(|(_, value)| value.as_str());
    assert_eq!((of("blue"), of("green")), (Some("1"), Some("0")), "both are listed, one serves: {slots:?}");
    assert_eq!(watched.query("prometheus_config_last_reload_successful")[0].1, "1");
    assert_eq!(watched.query("pg_up")[0].1, "1");
    assert_eq!(watched.query("redis_up")[0].1, "1");
    assert!(
        watched.query("ALERTS").iter().all(|(labels, _)| labels["alertstate"] != json!("firing")),
        "an idle slot is no alert"
    );

    what_breaks_reaches_somebody(&lab, &host, &sink);
    grafana::is_given_what_git_says(&lab, &host, "investment-prod-monitoring-watch-grafana-1", GRAFANA_PASSWORD);

    // Rules and queries name what is there.
    let prometheus = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let srv = lab.hosts[0].root.join("srv");
    let ours = shipped.ops.run(&["metrics"]);
    fs::write(srv.join("metrics.prom"), &ours.stdout).unwrap();
    assert!(
        text(&ours).contains("holdfast_app_health{environment=\"investment-prod\",app=\"monitoring\""),
        "{}",
        text(&ours)
    );
    watched.promtool("check metrics <metrics.prom");
    for name in ["alerts", "holdfast"] {
        let from = prometheus.join(format!("prometheus/{name}.rules.yml.j2"));
        fs::copy(from, srv.join(format!("{name}.rules.yml"))).unwrap();
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/rules/{name}.test.yml"));
        fs::copy(test, srv.join(format!("{name}.test.yml"))).unwrap();
        let said = watched.promtool(&format!("test rules {name}.test.yml"));
        assert!(said.contains("SUCCESS"), "{said}");
    }
    let mut expressions = vec![as_shipped];
    for name in ["application", "data", "host"] {
        let board = fs::read_to_string(prometheus.join(format!("grafana/{name}.json.j2"))).unwrap();
        let board: Value = serde_json::from_str(&board).unwrap();
        for target in board["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap())
        {
            let expression = target["expr"].as_str().unwrap();
            watched.query(expression);
            expressions.push(expression.to_owned());
        }
    }
    for metric in expressions.iter().flat_map(|expression| named(expression)) {
        assert!(!watched.query(&format!("count({metric})")).is_empty(), "nothing tells `{metric}`");
    }

    // What promtool refuses is never started with.
    let configuration = "templates/prometheus/prometheus.yml.j2";
    shipped.edit(configuration, "rule_files:", "rule_flies:");
    shipped.ops.ship("a wrong word");
    let refused = apply();
    assert!(!refused.status.success(), "{}", text(&refused));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &text(&refused);
    assert!(said.contains("check the new files") && said.contains("rule_flies"), "{said}");
    let path = "/var/lib/holdfast/apps/investment-prod/monitoring/watch/prometheus/prometheus.yml";
    assert!(lab.exec(&host, &["cat", path]).contains("rule_files:"), "the files are as they were");
    wait_until("it runs with what it had", PATIENCE, || {
        watched
            .try_query("prometheus_config_last_reload_successful")
            .is_some_and(|all| all.iter().any(|one| one.1 == "1"))
    });
    shipped.edit(configuration, "rule_flies:", "rule_files:");
    shipped.ops.ship("the right word");
    assert_eq!(apply().status.code(), Some(0));
    shipped.assert_plan_is_empty(ENVIRONMENT);
}
