//! What Grafana is started with. Its program is a stand-in, since Debian has no package of it: what can be seen from outside is all that
//! is asked, and the stand-in answers for itself alone.

use std::fs;
use std::path::Path;

use holdfast_testkit::lab::Lab;
use serde_json::{Value, json};

/// Where Grafana's image reads sources and dashboards.
const PROVISIONING: &str = "/etc/grafana/provisioning";

/// Sources, dashboards and the password are those of git, where Grafana reads them, and no part of the container's description.
pub(super) fn is_given_what_git_says(lab: &Lab, host: &str, container: &str, password: &str) {
    let inspected = lab.exec(host, &["docker", "inspect", container]);
    assert!(!inspected.contains(password), "the password is in a file alone");
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let described = &inspected[0];
    assert_eq!(described["State"]["Running"], json!(true), "{described}");
    let variables = described["Config"]["Env"].as_array().unwrap();
    for variable in [
        "GF_PATHS_PROVISIONING=/etc/grafana/provisioning",
        "GF_SECURITY_ADMIN_PASSWORD__FILE=/run/secrets/admin_password",
    ] {
        assert!(variables.contains(&json!(variable)), "{variable} is not among {variables:?}");
    }

    let root = format!("/proc/{}/root", described["State"]["Pid"]);
    let inside = |path: &str| lab.exec(host, &["cat", &format!("{root}{path}")]);
    let source: Value =
        serde_saphyr::from_str(&inside(&format!("{PROVISIONING}/datasources/prometheus.yaml"))).unwrap();
    let url = source["datasources"][0]["url"].as_str().unwrap();
    // It shares the host's network: its source is what answers there.
    let answer = lab.exec(host, &["curl", "-sS", "--max-time", "10", &format!("{url}/api/v1/query?query=1")]);
    assert!(answer.contains("\"success\""), "{url}: {answer}");
    let provider: Value =
        serde_saphyr::from_str(&inside(&format!("{PROVISIONING}/dashboards/dashboards.yaml"))).unwrap();
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/grafana");
    for board in ["application", "data", "host", "deploys"] {
        let of_git: Value =
            serde_json::from_str(&fs::read_to_string(templates.join(format!("{board}.json.j2"))).unwrap()).unwrap();
        let there: Value = serde_json::from_str(&inside(&format!("{folder}/{board}.json"))).unwrap();
        assert_eq!(there, of_git, "{board}");
    }
    // 472 is the account of Grafana's image.
    let secret = format!("{root}/run/secrets/admin_password");
    assert_eq!(lab.exec(host, &["stat", "-Lc", "%u %a", &secret]).trim(), "472 600");
    assert_eq!(lab.exec(host, &["cat", &secret]), password);
}
