//! Two hosts with the quick app on both, an app of all other kinds on the first, and others' things beside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;
use serde_json::Value;

/// The host with everything on it.
pub(super) const HOST: &str = "drift1";

/// The host with the quick app alone.
pub(super) const OTHER: &str = "drift2";

/// The file of the app that has everything but slots.
pub(super) const TOOLS: &str = "environments/prod/tools.yaml";

const ENVIRONMENT: &str = "environments/prod/environment.yaml";

pub(super) const TOOLS_APP: &str = r"app: tools
release: v1
hosts: [drift1]
components:
  conf:
    files:
      - { path: /etc/tools/content.conf, template: files/tools.conf.j2 }
      - { path: /etc/tools/mode.conf, template: files/tools.conf.j2 }
      - { path: /etc/tools/owner.conf, template: files/tools.conf.j2 }
      - { path: /etc/tools/deleted.conf, template: files/tools.conf.j2 }
  jobs:
    systemd: [systemd/edited.service.j2, systemd/disabled.service.j2, systemd/stopped.service.j2, systemd/dropin.service.j2]
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  stopped:
    compose: compose/box.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  removed:
    compose: compose/box.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  image:
    compose: compose/box.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  variable:
    compose: compose/box.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  limits:
    compose: compose/box.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  site:
    nginx: nginx/tools.conf.j2
";

/// What is removed from git later: as a component of an app that stays, and as an app of its own.
const GONE: &str = r"  gone:
    compose: compose/store.yaml.j2
    strategy: stateful
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
    files:
      - { path: /etc/gone.conf, template: files/tools.conf.j2 }
";

const EXTRA_APP: &str = r"app: extra
release: v1
hosts: [drift1]
components:
  data:
    compose: compose/store.yaml.j2
    strategy: stateful
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  unit:
    systemd: systemd/extra.service.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  site:
    nginx: nginx/extra.conf.j2
";

const BOX: &str = "services:\n  box:\n    image: standin:1\n    logging: { driver: local }\n    stop_grace_period: 1s\n    environment: { STANDIN_NAME: box }\n";
const STORE: &str = "services:\n  store:\n    image: standin:1\n    logging: { driver: local }\n    stop_grace_period: 1s\n    volumes: [\"data:/data\", \"/srv/store:/srv\"]\nvolumes:\n  data: {}\n";

/// A unit that does nothing for ever.
pub(super) const UNIT: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n";

/// The lab with the repository, and the words that the parts of the story are told in.
pub(super) struct Story {
    pub(super) lab: Lab,
    pub(super) ops: Ops,
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Planned {
    pub(super) host: String,
    pub(super) key: String,
    pub(super) reason: String,
    pub(super) rule: String,
}

impl Story {
    /// Boots, and applies both apps.
    pub(super) fn begin(id: &str) -> Self {
        let lab = Lab::up(id, "drift", 2, &["--images"]);
        let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
        let story = Self { lab, ops };
        story.environment("manual", "report", "[]");
        story.ops.write(TOOLS, &[TOOLS_APP, GONE].concat());
        story.ops.write("environments/prod/extra.yaml", EXTRA_APP);
        story.ops.write("templates/files/tools.conf.j2", "greeting = {{ vars.greeting }}\n");
        story.ops.write("templates/compose/box.yaml.j2", BOX);
        story.ops.write("templates/compose/store.yaml.j2", STORE);
        for unit in ["edited", "disabled", "stopped", "dropin", "extra"] {
            story.ops.write(&format!("templates/systemd/{unit}.service.j2"), UNIT);
        }
        story.ops.write("templates/nginx/tools.conf.j2", "server {\n    listen 8101;\n    return 200 tools;\n}\n");
        story.ops.write("templates/nginx/extra.conf.j2", "server {\n    listen 8102;\n    return 200 extra;\n}\n");
        story.ops.ship("three apps");
        story.apply();
        story
    }

    /// Writes how the environment is synced; nothing is committed.
    pub(super) fn environment(&self, mode: &str, drift: &str, ignore: &str) {
        let text = format!(
            "hosts: {{ role: web }}\nsync: {{ mode: {mode}, drift: {drift}, ignore: {ignore}, prune_limit_percent: 100 }}\n\
             variables: {{ greeting: hello }}\n"
        );
        self.ops.write(ENVIRONMENT, &text);
    }

    /// Runs a command on the first host.
    pub(super) fn exec(&self, argv: &[&str]) -> String {
        self.lab.exec(HOST, argv)
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.lab.host(HOST).root.join(path.trim_start_matches('/'))
    }

    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of the host");
        fs::write(path, text).expect("a file of the host");
    }

    pub(super) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Asks a port of the first host.
    pub(super) fn ask(&self, port: u16) -> String {
        self.exec(&["curl", "--silent", "--show-error", "--fail", &format!("http://127.0.0.1:{port}/")])
    }

    /// Returns a plan as data.
    pub(super) fn plan(&self) -> Value {
        let output = self.ops.holdfast(&["plan", "prod", "--json"]).output().expect("holdfast starts");
        self.ops.keep(&output);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("a plan in JSON")
    }

    /// Returns what a plan would change.
    pub(super) fn planned(&self) -> Vec<Planned> {
        let plan = self.plan();
        let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let mut all = Vec::new();
        for host in plan["hosts"].as_array().expect("hosts") {
            for change in host["changes"].as_array().expect("changes") {
                all.push(Planned {
                    host: word(host, "name"),
                    key: format!("{} {}", word(change, "kind"), word(change, "name")),
                    reason: word(change, "reason"),
                    rule: word(change, "rule"),
                });
            }
        }
        all
    }

    /// Asserts that a plan for the first host changes exactly this: key, reason and rule of each.
    #[track_caller]
    pub(super) fn assert_planned(&self, wanted: &[[&str; 3]]) {
        let planned = self.planned();
        let found: BTreeSet<[&str; 3]> =
            planned.iter().map(|change| [change.key.as_str(), change.reason.as_str(), change.rule.as_str()]).collect();
        let wanted: BTreeSet<[&str; 3]> = wanted.iter().copied().collect();
        let missing: Vec<_> = wanted.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&wanted).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "not planned: {missing:#?}\nplanned too: {surplus:#?}");
        assert!(planned.iter().all(|change| change.host == HOST), "{planned:#?}");
    }

    /// Returns code, host and message of each blocker of a plan.
    pub(super) fn blockers(&self) -> Vec<[String; 4]> {
        let plan = self.plan();
        let blockers = plan["blockers"].as_array().expect("blockers");
        let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        blockers.iter().map(|b| ["code", "host", "app", "message"].map(|key| word(b, key))).collect()
    }

    /// Applies, and a second plan is empty.
    #[track_caller]
    pub(super) fn apply(&self) {
        self.ops.run(&["apply", "prod", "--yes"]);
        self.ops.assert_plan_is_empty();
    }

    /// Returns the number that says which start of a unit runs.
    pub(super) fn invocation(&self, unit: &str) -> String {
        self.exec(&["systemctl", "show", "--value", "--property", "InvocationID", unit]).trim().to_owned()
    }

    /// Returns a property of a container.
    pub(super) fn inspect(&self, container: &str, format: &str) -> String {
        self.exec(&["docker", "inspect", "--format", format, container]).trim().to_owned()
    }
}
