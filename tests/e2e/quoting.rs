//! Values that break careless quoting, through the real `docker compose`, systemd and nginx of a host and back.

use std::collections::BTreeMap;
use std::path::Path;

use holdfast_core::config::{
    App, Component, ComponentKind, Config, DrainSpec, DriftPolicy, Environment, FileFormat, FileSpec, HostSpec,
    Located, RolloutPolicy, SlotPorts, Strategy, SyncMode, SyncPolicy, Variable, Variables,
};
use holdfast_core::desired::{Body, resolve};
use holdfast_core::diag::Origin;
use holdfast_core::id::HostName;
use holdfast_core::render::corpus::{Nasty, corpus};
use holdfast_core::time::Millis;
use holdfast_testkit::lab::Lab;
use serde_json::{Value, json};

/// Prints its arguments and environment as JSON.
const DUMP: &str = "import json, os, sys; print(json.dumps({'argv': sys.argv[1:], 'env': dict(os.environ)}))";

fn located(value: &str) -> Located<String> {
    Located { value: value.to_owned(), origin: Origin::default() }
}

fn component(name: &str, kind: ComponentKind, hosts: &[HostName]) -> Component {
    Component {
        name: name.parse().unwrap(),
        kind,
        strategy: Strategy::InPlace,
        hosts: hosts.to_vec(),
        ports: BTreeMap::<String, SlotPorts>::new(),
        healthcheck: None,
        migrate: None,
        watch: None,
        drain: DrainSpec { timeout: Millis(0), stop_grace: Millis(0) },
        prove: None,
        keep_previous: Millis(0),
        files: Vec::new(),
        upstreams: BTreeMap::new(),
        variables: Variables::new(),
        origin: Origin::default(),
    }
}

/// Returns the files of an environment of one host, by path.
fn files(host: &str, components: Vec<Component>, templates: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hosts: Vec<HostName> = vec![host.parse().unwrap()];
    let variables = corpus()
        .iter()
        .map(|nasty| {
            let variable = Variable { value: json!(nasty.value), origin: Origin::default(), inner: BTreeMap::new() };
            (nasty.name.to_owned(), variable)
        })
        .collect();
    let app = App {
        name: "quoting".parse().unwrap(),
        release: located("1"),
        hosts: hosts.clone(),
        components,
        variables,
        origin: Origin::default(),
    };
    let environment = Environment {
        name: "lab".parse().unwrap(),
        hosts: hosts.clone(),
        sync: SyncPolicy {
            mode: SyncMode::Manual,
            drift: DriftPolicy::Off,
            ignore: Vec::new(),
            prune_limit_percent: 0,
        },
        rollout: RolloutPolicy {
            canary: 0,
            max_unavailable: 1,
            all_or_nothing: false,
            pause_after_canary: false,
            ready_deadline: Millis(0),
        },
        variables: Variables::new(),
        apps: BTreeMap::from([(app.name.clone(), app)]),
        secrets: BTreeMap::new(),
        origin: Origin::default(),
    };
    let spec = HostSpec {
        name: hosts[0].clone(),
        address: holdfast_core::config::Address::Local,
        user: "root".to_owned(),
        port: 22,
        host_key: None,
        labels: BTreeMap::new(),
        variables: Variables::new(),
        origin: Origin::default(),
    };
    let config = Config {
        hosts: BTreeMap::from([(hosts[0].clone(), spec)]),
        environments: BTreeMap::from([(environment.name.clone(), environment)]),
        templates,
        variables: Variables::new(),
    };
    let desired = resolve(&config, &"lab".parse().unwrap(), &"0".repeat(40).parse().unwrap())
        .unwrap_or_else(|findings| panic!("{findings:#?}"));
    let mut files = BTreeMap::new();
    for component in desired.hosts[&hosts[0]].apps.values().flat_map(|app| &app.components) {
        let Body::Single(artifacts) = &component.body else { panic!("no slots here") };
        for (path, file) in &artifacts.files {
            files.insert(path.clone(), file.content.as_text().expect("no secrets here"));
        }
    }
    files
}

fn lines(nasties: &[&Nasty], line: impl Fn(&Nasty) -> String) -> String {
    nasties.iter().map(|nasty| line(nasty)).collect()
}

fn kept(keep: impl Fn(&Nasty) -> bool) -> Vec<&'static Nasty> {
    corpus().iter().filter(|nasty| keep(nasty)).collect()
}

fn env_value<'v>(dump: &'v Value, name: &str) -> &'v str {
    dump["env"][name].as_str().unwrap_or_else(|| panic!("{name} did not arrive: {dump:#}"))
}

fn put(lab: &Lab, files: &BTreeMap<String, String>) {
    let root = &lab.hosts[0].root;
    for (path, text) in files {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn file(path: &str, template: &str, format: FileFormat) -> FileSpec {
    let (path, template) = (located(path), located(template));
    FileSpec { path, template, format, mode: 0o644, owner: "root".to_owned(), group: "root".to_owned() }
}

/// Every value as an argument, in `Environment=` and in an `EnvironmentFile`, as a running unit sees them.
fn systemd(lab: &Lab, host: &str) {
    let all = kept(|_| true);
    let environment = kept(|nasty| nasty.systemd_environment);
    let unit = format!(
        "[Service]\nType=oneshot\nEnvironmentFile=/etc/quoting.env\nStandardOutput=file:/root/unit.json\n{}ExecStart=/usr/bin/python3 /root/dump.py {}\n",
        lines(&environment, |n| format!("Environment=U_{0}={{{{ vars.{0} }}}}\n", n.name)),
        lines(&all, |n| format!("{{{{ vars.{} }}}} ", n.name)).trim_end(),
    );
    let env = lines(&environment, |n| format!("F_{0}={{{{ vars.{0} }}}}\n", n.name));
    let templates = BTreeMap::from([
        ("templates/quoting.service.j2".to_owned(), unit),
        ("templates/quoting.env.j2".to_owned(), env),
    ]);
    let kind = ComponentKind::Systemd { templates: vec![located("quoting.service.j2")], enabled: false };
    let mut component = component("unit", kind, &[host.parse().unwrap()]);
    component.files = vec![file("/etc/quoting.env", "quoting.env.j2", FileFormat::SystemdEnv)];
    put(lab, &files(host, vec![component], templates));
    put(lab, &BTreeMap::from([("/root/dump.py".to_owned(), DUMP.to_owned())]));
    lab.exec(host, &["systemctl", "daemon-reload"]);
    lab.exec(host, &["systemctl", "start", "quoting.service"]);
    let dump: Value = serde_json::from_str(&lab.exec(host, &["cat", "/root/unit.json"])).unwrap();
    let argv: Vec<&str> = dump["argv"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let want: Vec<&str> = all.iter().map(|nasty| nasty.value).collect();
    assert_eq!(argv, want);
    for nasty in environment {
        assert_eq!(env_value(&dump, &format!("U_{}", nasty.name)), nasty.value, "Environment= {}", nasty.name);
        assert_eq!(env_value(&dump, &format!("F_{}", nasty.name)), nasty.value, "EnvironmentFile= {}", nasty.name);
    }
}

/// Every value nginx can carry, as the body of an answer.
fn nginx(lab: &Lab, host: &str) {
    let carried = kept(|nasty| nasty.nginx);
    let site = format!(
        "server {{\n  listen 127.0.0.1:8999;\n  default_type application/octet-stream;\n{}}}\n",
        lines(&carried, |n| format!("  location = /{0} {{ return 200 \"<{{{{ vars.{0} }}}}>\"; }}\n", n.name)),
    );
    let templates = BTreeMap::from([("templates/site.conf.j2".to_owned(), site)]);
    let kind = ComponentKind::Nginx { template: located("site.conf.j2") };
    put(lab, &files(host, vec![component("edge", kind, &[host.parse().unwrap()])], templates));
    lab.exec(host, &["nginx", "-t", "-q"]);
    lab.exec(host, &["systemctl", "reload-or-restart", "nginx"]);
    for nasty in carried {
        let url = format!("http://127.0.0.1:8999/{}", nasty.name);
        let body = lab.exec(host, &["curl", "--silent", "--fail", "--retry", "5", "--retry-connrefused", &url]);
        assert_eq!(body, format!("<{}>", nasty.value), "{}", nasty.name);
    }
}

/// Every value as an argument, in `environment` and in an `env_file`, as a process in a container sees them.
fn compose(lab: &Lab, host: &str) {
    let all = kept(|_| true);
    let project = format!(
        "services:\n  dump:\n    image: {{{{ vars.image|default('chatbot:v1') }}}}\n    entrypoint: [python3, -c, {:?}]\n    env_file: [dump.env]\n    network_mode: none\n    environment:\n{}    command:\n{}",
        DUMP,
        lines(&all, |n| format!("      C_{0}: {{{{ vars.{0} }}}}\n", n.name)),
        lines(&all, |n| format!("      - {{{{ vars.{} }}}}\n", n.name)),
    );
    let env = lines(&all, |n| format!("E_{0}={{{{ vars.{0} }}}}\n", n.name));
    let templates =
        BTreeMap::from([("templates/dump.yaml.j2".to_owned(), project), ("templates/dump.env.j2".to_owned(), env)]);
    let kind = ComponentKind::Compose { template: located("dump.yaml.j2") };
    let mut component = component("dump", kind, &[host.parse().unwrap()]);
    component.files = vec![file("{{ dir }}/dump.env", "dump.env.j2", FileFormat::ComposeEnv)];
    put(lab, &files(host, vec![component], templates));
    let path = "/var/lib/holdfast/apps/lab/quoting/dump/compose.yaml";
    let arguments = ["docker", "compose", "-p", "lab-quoting-dump", "-f", path, "run", "--rm", "-T", "dump"];
    let output = lab.exec(host, &arguments);
    let text = output.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no dump in {output}"));
    let dump: Value = serde_json::from_str(text).unwrap();
    for nasty in &all {
        assert_eq!(env_value(&dump, &format!("C_{}", nasty.name)), nasty.value, "environment {}", nasty.name);
        assert_eq!(env_value(&dump, &format!("E_{}", nasty.name)), nasty.value, "env_file {}", nasty.name);
    }
    let argv: Vec<&str> = dump["argv"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let want: Vec<&str> = all.iter().map(|nasty| nasty.value).collect();
    assert_eq!(argv, want);
}

#[test]
#[ignore = "needs the lab"]
fn every_value_arrives_byte_for_byte_in_units_sites_and_containers() {
    let lab = Lab::up("quoting", "quoting", 1, &["--images"]);
    let host = lab.hosts[0].name.clone();
    assert!(Path::new(&lab.hosts[0].root).is_dir());
    systemd(&lab, &host);
    nginx(&lab, &host);
    compose(&lab, &host);
}
