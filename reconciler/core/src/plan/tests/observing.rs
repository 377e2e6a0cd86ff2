//! What a host is asked.

use super::super::observe_request;
use super::super::sample::{Version, state};

#[test]
fn both_slots_are_looked_at_and_no_secret_is_asked_for() {
    let v1 = state(&["web1"], &Version::new("v1"));
    let request = observe_request(v1.hosts.values().next().unwrap());
    let paths: Vec<_> = request.files.iter().map(|query| (query.path.as_str(), query.expected.is_some())).collect();
    assert_eq!(
        paths,
        [
            ("/etc/holdfast/prod/nps/data/compose.yaml", true),
            ("/etc/holdfast/prod/nps/jobs.env", false),
            ("/etc/holdfast/prod/nps/web-blue/compose.yaml", true),
            ("/etc/holdfast/prod/nps/web-blue/secrets.env", false),
            ("/etc/holdfast/prod/nps/web-green/compose.yaml", true),
            ("/etc/holdfast/prod/nps/web-green/secrets.env", false),
            ("/etc/nginx/conf.d/prod-nps-edge.conf", true),
            ("/etc/systemd/system/nps-api@blue.service", true),
            ("/etc/systemd/system/nps-api@green.service", true),
            ("/etc/systemd/system/nps-jobs.service", true),
            ("/etc/systemd/system/nps-report.service", true),
            ("/etc/systemd/system/nps-report.timer", true),
        ]
    );
    assert_eq!(request.projects, ["prod-nps-data", "prod-nps-web-blue", "prod-nps-web-green"]);
    assert_eq!(request.images, ["nps:v1", "postgres:17", "redis:8"]);
    assert_eq!(
        request.units,
        ["nps-api@blue.service", "nps-api@green.service", "nps-jobs.service", "nps-report.timer"]
    );
}
