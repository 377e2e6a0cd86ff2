//! The slot that served before is kept for a while, and then cleared away by nobody's word.

use std::path::Path;

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;

use super::{Daemon, configure};
use crate::crew::{CHECK, CONTAINERS, UNITS, api, app, serves, templates};

const EDGE: &str =
    "  edge:\n    nginx: nginx/both.conf.j2\n    upstreams: { crew_api: api.http, crew_web: web.http }\n";

fn ship(ops: &Ops, release: &str) {
    let keep = "    keep_previous: 3s\n";
    let web = format!(
        "  web:
    compose: compose/web.yaml.j2
    strategy: blue_green
    ports: {{ http: {{ blue: 8602, green: 8702 }} }}
    files: [{{ path: \"{{{{ dir }}}}/crew.py\", template: files/crew.py.j2 }}]
    healthcheck: {{ http: {{ path: /health, json: {{ status: healthy }} }}, {CHECK} }}
    watch: {{ window: 300ms, max_error_ratio: 1% }}
    drain: {{ timeout: 2s }}
    prove: {{ port: {CONTAINERS}, path: /health, host: crew.example.net, json: release, expect: release }}
"
    );
    let components = [api("300ms") + keep, web + keep, EDGE.to_owned()];
    let components: Vec<&str> = components.iter().map(String::as_str).collect();
    ops.write("environments/prod/crew.yaml", &app("crew", release, &components));
    ops.ship(release);
}

#[test]
#[ignore = "needs the lab"]
fn what_was_kept_long_enough_goes_by_itself_and_the_way_back_starts_it_anew() {
    let lab = Lab::up("dak", "web", 1, &["--images"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    templates(&ops);
    let environment = |drift: &str| {
        let text = format!("hosts: {{ role: web }}\nsync: {{ mode: automatic, drift: {drift} }}\n");
        ops.write("environments/prod/environment.yaml", &text);
    };
    let host = lab.host("web1");
    let both = |release: &str| serves(host, UNITS) == release && serves(host, CONTAINERS) == release;
    let containers = |slot: &str| {
        let filter = format!("name=prod-crew-web-{slot}");
        lab.exec("web1", &["docker", "ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])
    };
    let unit = |slot: &str| {
        let name = format!("crew-api@{slot}.service");
        lab.exec("web1", &["systemctl", "list-units", "--all", "--plain", "--no-legend", &name])
    };
    let files = |slot: &str| host.root.join(format!("etc/holdfast/prod/crew/web/{slot}")).exists();

    // Nobody looks for drift, and it goes all the same.
    environment("\"off\"");
    configure(&ops, "poll_interval", "1s");
    ship(&ops, "v1");
    let daemon = Daemon::start(&ops);
    daemon.wait("v1 serves", || both("v1"));
    daemon.rests();
    ship(&ops, "v2");
    daemon.wait("v2 serves", || both("v2"));
    eprintln!("{:?} {:?} {}", containers("blue"), unit("blue"), files("blue"));
    daemon.wait("the old slot has gone", || containers("blue").is_empty() && unit("blue").is_empty());
    daemon.rests();
    assert!(both("v2"), "the new one serves on");
    assert!(!containers("green").is_empty() && !unit("green").is_empty());
    ops.assert_plan_is_empty();
    let said = daemon.said();
    assert!(said.contains("Synced") && !said.contains("OutOfSync"), "{said}");
    let history = holdfast_testkit::ops::text(&ops.run(&["history", "prod"]));
    assert!(history.contains("timer"), "the history says why: {history}");

    // Back: nothing of it runs any more, so it is started anew, from what the host kept.
    ops.run(&["rollback", "prod", "crew", "--yes"]);
    assert!(both("v1"));
    let said = daemon.said();
    assert!(said.contains("v1"), "status says what serves: {said}");
    daemon.rests();
    assert!(both("v1"), "the daemon leaves it there");

    // And on, with drift looked for: the same.
    environment("report");
    ship(&ops, "v3");
    daemon.wait("v3 serves", || both("v3"));
    daemon.wait("the old slot has gone", || containers("blue").is_empty() && unit("blue").is_empty());
    daemon.rests();
    ops.assert_plan_is_empty();
}
