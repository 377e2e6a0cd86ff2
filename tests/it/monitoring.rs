//! The shipped rules and dashboards, as far as they can be judged without a Prometheus that runs. `tests/e2e/systems/monitoring.rs` has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns Debian's promtool (package `prometheus`), where this machine has it.
fn promtool() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("promtool")).find(|file| file.is_file())
}

#[test]
fn cap_76_rules_weigh_rates_and_fire_as_their_tests_say() {
    let mut names = BTreeSet::new();
    for file in ["alerts", "holdfast"] {
        let text = read(&format!("templates/prometheus/{file}.rules.yml.j2"));
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        for rule in document["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let (name, expression) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            assert!(rule["labels"]["severity"].is_string() && rule["annotations"]["summary"].is_string(), "{name}");
            // A counter says nothing by itself: the rules of two guides could never fire, or always did, for that reason.
            for (at, _) in expression.match_indices("_total").chain(expression.match_indices("_bucket")) {
                let before = &expression[..at];
                let begin = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(0);
                let before = &expression[..=begin];
                assert!(before.ends_with("rate(") || before.ends_with("increase("), "{name}: {expression}");
            }
        }
        let tested = read(&format!("tests/rules/{file}.test.yml"));
        for name in names.iter().filter(|name| text.contains(&format!("alert: {name}\n"))) {
            assert!(tested.contains(&format!("alertname: {name}")), "no test of {name}");
        }
    }
    assert_eq!(names.len(), 15, "{names:?}");
    let Some(promtool) = promtool() else {
        eprintln!(
            "promtool is not here (Debian: prometheus): its tests of the rules are run by the long end-to-end tests alone"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for file in ["alerts", "holdfast"] {
        let rules = read(&format!("templates/prometheus/{file}.rules.yml.j2"));
        fs::write(folder.path().join(format!("{file}.rules.yml")), rules).unwrap();
        let tests = folder.path().join(format!("{file}.test.yml"));
        fs::write(&tests, read(&format!("tests/rules/{file}.test.yml"))).unwrap();
        let output = Command::new(&promtool).args(["test", "rules"]).arg(&tests).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn cap_77_dashboards_ask_one_source_of_git_for_what_is_told() {
    let sources: Value =
        serde_saphyr::from_str(&read("templates/grafana/datasources.yaml.j2").replace("{{ port.prometheus }}", "9090"))
            .unwrap();
    let source = sources["datasources"][0]["uid"].as_str().unwrap();
    let providers: Value = serde_saphyr::from_str(&read("templates/grafana/dashboards.yaml.j2")).unwrap();
    assert_eq!(providers["providers"][0]["allowUiUpdates"], Value::Bool(false));
    let told = read("docs/reference/metrics.md");
    let app = read("environments/investment-prod/monitoring.yaml");
    let mut boards = BTreeSet::new();
    for file in fs::read_dir(root().join("templates/grafana")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".json.j2") {
            continue;
        }
        assert!(app.contains(&format!("grafana/{name} }}")), "{name} is provisioned");
        let board: Value = serde_json::from_str(&read(&format!("templates/grafana/{name}"))).unwrap();
        assert!(boards.insert(board["uid"].as_str().unwrap().to_owned()), "{name}: its uid is there twice");
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()) && panel["title"].is_string(), "{name}: {panel}");
            assert_eq!(panel["datasource"]["uid"], source, "{name}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], source, "{name}");
                let expression = target["expr"].as_str().unwrap();
                let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                for metric in words.filter(|word| word.starts_with("holdfast_")) {
                    assert!(told.contains(&format!("`{metric}`")), "{name}: nothing tells {metric}");
                }
            }
        }
    }
    assert_eq!(boards.len(), 4);
}
