use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Digest, Prerequisites, Slot, SqlFile};
use serde_json::json;

use super::*;
use crate::config::*;
use crate::diag::{Diagnostics, Origin};
use crate::id::HostName;
use crate::secret::SecretRef;
use crate::time::Millis;

const COMPOSE: &str = "\
services:
  api:
    image: registry.example/nps-api:{{ release }}
    logging: { driver: local }
    ports: [\"127.0.0.1:{{ port.api }}:8000\"]
    environment:
      DOMAIN: {{ vars.domain }}
      PASSWORD: {{ secrets.db.password }}
      PRICE: $$5
    env_file: app.env
";
const NGINX: &str = "\
server {
    server_name {{ vars.domain }};
    location / { proxy_pass http://nps_api; }
}
";
const UNIT: &str = "\
[Unit]
Description=worker of {{ app }} in {{ slot }}
[Service]
Environment=GREETING={{ vars.greeting }}
ExecStart=/usr/bin/worker --port {{ port.metrics }} {{ vars.greeting }}
";

fn at(line: u32) -> Origin {
    Origin { file: "environments/prod/nps.yaml".to_owned(), line, column: 1 }
}

fn located(value: &str, line: u32) -> Located<String> {
    Located { value: value.to_owned(), origin: at(line) }
}

fn variable(value: serde_json::Value, line: u32) -> Variable {
    Variable { value, origin: at(line), inner: BTreeMap::new() }
}

fn component(name: &str, kind: ComponentKind, strategy: Strategy, hosts: &[HostName]) -> Component {
    Component {
        name: name.parse().unwrap(),
        kind,
        strategy,
        hosts: hosts.to_vec(),
        ports: BTreeMap::new(),
        replicas: 1,
        healthcheck: None,
        migrate: None,
        check: None,
        metrics: BTreeMap::new(),
        watch: None,
        drain: DrainSpec { timeout: Millis(30_000), stop_grace: None },
        prove: None,
        smoke: Vec::new(),
        keep_previous: Millis(0),
        max_connections: None,
        connections: None,
        files: Vec::new(),
        prerequisites: Prerequisites::default(),
        packages: BTreeSet::new(),
        backups: Vec::new(),
        certificate: None,
        postgres: None,
        redis: None,
        upstreams: BTreeMap::new(),
        preview: None,
        variables: Variables::new(),
        origin: at(5),
    }
}

fn host(name: &str) -> HostSpec {
    HostSpec {
        name: name.parse().unwrap(),
        address: Address::Remote(format!("{name}.example")),
        user: "root".to_owned(),
        port: 22,
        host_key: Some("ssh-ed25519 AAAA".to_owned()),
        labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
        variables: Variables::new(),
        origin: Origin { file: "inventory/hosts.yaml".to_owned(), line: 3, column: 3 },
    }
}

pub(super) fn config() -> Config {
    let names: Vec<HostName> = ["web-1", "web-2"].iter().map(|name| name.parse().unwrap()).collect();
    let mut web = component(
        "web",
        ComponentKind::Compose { template: located("compose/web.yaml.j2", 7) },
        Strategy::BlueGreen,
        &names,
    );
    web.ports = BTreeMap::from([("api".to_owned(), SlotPorts { blue: 8101, green: 8201 })]);
    web.files = vec![FileSpec {
        path: located("{{ dir }}/app.env", 8),
        template: located("files/app.env.j2", 9),
        format: FileFormat::ComposeEnv,
        mode: 0o644,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        on_change: OnChange::default(),
    }];
    web.migrate = Some(MigrateSpec {
        command: vec!["alembic".to_owned(), "upgrade".to_owned(), "head".to_owned()],
        service: String::new(),
        reversible: true,
        idempotent: false,
        timeout: Millis(60_000),
        ..MigrateSpec::default()
    });
    let mut edge = component(
        "edge",
        ComponentKind::Nginx { template: located("nginx/nps.conf.j2", 12) },
        Strategy::InPlace,
        &names,
    );
    edge.upstreams = BTreeMap::from([(
        "nps_api".to_owned(),
        UpstreamSpec { component: "web".parse().unwrap(), port: "api".to_owned(), origin: at(13) },
    )]);
    let kind = ComponentKind::Systemd { templates: vec![located("systemd/nps-worker@.service.j2", 15)], enabled: true };
    let mut worker = component("worker", kind, Strategy::Workers, &names[..1]);
    worker.ports = BTreeMap::from([("metrics".to_owned(), SlotPorts { blue: 9101, green: 9201 })]);
    let data = component(
        "data",
        ComponentKind::Compose { template: located("compose/data.yaml.j2", 17) },
        Strategy::Stateful,
        &names[1..],
    );
    let secret = SecretRef {
        file: "environments/prod/secrets.sops.yaml".to_owned(),
        path: vec!["db".to_owned(), "password".to_owned()],
        fingerprint: "0123456789abcdef".to_owned(),
    };
    let app = App {
        archives: Vec::new(),
        keep_releases: 3,
        name: "nps".parse().unwrap(),
        release: located("v4.0.0", 2),
        hosts: names.clone(),
        components: vec![edge, web, worker, data],
        variables: BTreeMap::from([("greeting".to_owned(), variable(json!("50% \"off\" $x; done"), 20))]),
        origin: at(1),
    };
    let environment = Environment {
        name: "prod".parse().unwrap(),
        purpose: Purpose::Production,
        hosts: names.clone(),
        certificates: BTreeMap::new(),
        sync: SyncPolicy {
            mode: SyncMode::Manual,
            drift: DriftPolicy::Report,
            ignore: Vec::new(),
            prune_limit_percent: 30,
            windows: Vec::new(),
        },
        rollout: RolloutPolicy {
            canary: 1,
            max_unavailable: 1,
            all_or_nothing: false,
            pause_after_canary: false,
            ready_deadline: Millis(600_000),
            confirm_within: Millis(120_000),
        },
        requires: BTreeMap::new(),
        variables: BTreeMap::from([("domain".to_owned(), variable(json!("nps.example"), 21))]),
        apps: BTreeMap::from([(app.name.clone(), app)]),
        secrets: BTreeMap::from([(
            "db.password".to_owned(),
            SealedValue { secret, generator: None, protected: false, origin: at(30) },
        )]),
        origin: at(1),
    };
    let templates = [
        ("templates/compose/web.yaml.j2", COMPOSE),
        ("templates/compose/data.yaml.j2", "services: {db: {image: 'postgres:17', logging: {driver: local}}}\n"),
        ("templates/nginx/nps.conf.j2", NGINX),
        ("templates/systemd/nps-worker@.service.j2", UNIT),
        ("templates/files/app.env.j2", "GREETING={{ vars.greeting }}\nHOST={{ host.name }}\n"),
    ];
    Config {
        hosts: ["web-1", "web-2"].iter().map(|name| (name.parse().unwrap(), host(name))).collect(),
        environments: BTreeMap::from([(environment.name.clone(), environment)]),
        templates: templates.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect(),
        variables: BTreeMap::from([("domain".to_owned(), variable(json!("weakest.example"), 40))]),
    }
}

pub(super) fn resolved(config: &Config) -> Result<DesiredState, Diagnostics> {
    resolve(config, &"prod".parse().unwrap(), &"0123456789012345678901234567890123456789".parse().unwrap())
}

pub(super) fn change(mut config: Config, change: impl FnOnce(&mut App)) -> Config {
    let environment = config.environments.values_mut().next().unwrap();
    change(environment.apps.values_mut().next().unwrap());
    config
}

#[expect(clippy::format_push_string, reason = "a test's own output")]
fn shown(desired: &DesiredState) -> String {
    let mut out = String::new();
    for (host, desired) in &desired.hosts {
        for app in desired.apps.values() {
            for component in &app.components {
                let slots = match &component.body {
                    Body::Single(artifacts) => vec![("-", artifacts)],
                    Body::Slots { blue, green } => vec![("blue", blue), ("green", green)],
                };
                for (slot, artifacts) in slots {
                    out.push_str(&format!("=== {host} {} {slot}\n", component.name));
                    for (path, file) in &artifacts.files {
                        out.push_str(&format!(
                            "--- {path} {:o} nginx={}\n{}",
                            file.mode,
                            file.nginx,
                            file.content.shown()
                        ));
                    }
                    out.push_str(&format!("units {:?}\n", artifacts.units));
                    if let Some(project) = &artifacts.project {
                        let services: Vec<_> =
                            project.services.iter().map(|(n, s)| format!("{n}={}", s.image)).collect();
                        out.push_str(&format!("project {} {}\n", project.name, services.join(" ")));
                    }
                }
                if let Some(migrate) = &component.migrate {
                    out.push_str(&format!("migrate {} {} here={}\n", migrate.id, migrate.spec.service, migrate.here));
                }
                for (listen, switch) in &component.switches {
                    out.push_str(&format!("switch {listen} {} {:?}\n", switch.port, switch.ports));
                }
            }
        }
    }
    out
}

#[test]
fn cap_20_an_environment_is_resolved_for_all_its_hosts() {
    insta::assert_snapshot!(shown(&resolved(&config()).unwrap()));
}

/// Returns the codes of what is found when the compose file of the web component is another one.
fn found(purpose: Purpose, strategy: Option<Strategy>, compose: &str) -> Vec<String> {
    let mut config = change(config(), |app| {
        let data = app.components.iter_mut().find(|component| component.name.as_str() == "data").unwrap();
        data.strategy = strategy.unwrap_or(data.strategy);
    });
    config.environments.values_mut().next().unwrap().purpose = purpose;
    // Where nothing is said of logs, they have an end.
    let silent = !compose.contains("logging");
    let compose =
        if silent { compose.replace("{image:", "{logging: {driver: local}, image:") } else { compose.to_owned() };
    config.templates.insert("templates/compose/data.yaml.j2".to_owned(), compose);
    resolved(&config).err().unwrap_or_default().0.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn cap_08_a_tag_that_may_move_is_for_development() {
    let compose = "services: {db: {image: 'grafana/grafana:latest'}}\n";
    assert_eq!(found(Purpose::Production, None, compose), ["mutable-tag"]);
    assert_eq!(found(Purpose::Staging, None, compose), ["mutable-tag"]);
    assert_eq!(found(Purpose::Development, None, compose), [""; 0]);
}

#[test]
fn cap_81_a_log_without_end_is_for_development() {
    let compose = "services: {db: {image: 'postgres:17', logging: {driver: json-file}}}\n";
    assert_eq!(found(Purpose::Production, None, compose), ["unbounded-log"]);
    assert_eq!(found(Purpose::Staging, None, compose), ["unbounded-log"]);
    assert_eq!(found(Purpose::Development, None, compose), [""; 0]);
    let bounded = compose.replace("json-file}", "json-file, options: {max-size: 10m}}");
    assert_eq!(found(Purpose::Production, None, &bounded), [""; 0]);
    // An anchor and a merge say it for many services.
    let shared = "x-common: &common {logging: {options: {max-size: 10m}}}\nservices: {db: {<<: *common, image: 'postgres:17'}}\n";
    assert_eq!(found(Purpose::Production, None, shared), [""; 0]);
}

#[test]
fn cap_81_files_of_logrotate_are_held_against_its_rules_and_each_other() {
    let with = |paths: [&str; 2], texts: [&str; 2]| {
        let mut config = change(config(), |app| {
            let data = app.components.iter_mut().find(|component| component.name.as_str() == "data").unwrap();
            data.files = (0..2)
                .map(|index| FileSpec {
                    path: located(paths[index], 40),
                    template: located(&format!("files/{index}.j2"), 41),
                    format: FileFormat::Plain,
                    mode: 0o644,
                    owner: "root".to_owned(),
                    group: "root".to_owned(),
                    on_change: OnChange::Restart,
                })
                .collect();
        });
        for (index, text) in texts.iter().enumerate() {
            config.templates.insert(format!("templates/files/{index}.j2"), (*text).to_owned());
        }
        let list = resolved(&config).err().unwrap_or_default().0;
        list.into_iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect::<Vec<_>>()
    };
    let (one, other) = ("/var/log/a.log {\n daily\n}\n", "/var/log/b.log {\n daily\n}\n");
    assert_eq!(with(["/etc/logrotate.d/a", "/etc/logrotate.d/b"], [one, other]), [""; 0]);
    assert_eq!(with(["/srv/a", "/srv/b"], [one, one]), [""; 0], "elsewhere it is somebody else's");
    let twice = with(["/etc/logrotate.d/a", "/etc/logrotate.d/b"], [one, one]);
    let wanted = "claimed-twice: /etc/logrotate.d/a and /etc/logrotate.d/b both name the log /var/log/a.log on";
    assert!(twice.len() == 1 && twice[0].starts_with(wanted), "{twice:?}");
    let taboo = with(["/etc/logrotate.d/a.bak", "/etc/logrotate.d/b"], [one, other]);
    assert!(taboo.len() == 1 && taboo[0].starts_with("logrotate-ignores: "), "{taboo:?}");
}

#[test]
fn cap_16_a_port_that_is_not_in_the_ledger_is_refused() {
    let compose = "services: {db: {image: 'postgres:17', ports: ['127.0.0.1:5432:5432']}}\n";
    assert_eq!(found(Purpose::Production, None, compose), ["undeclared-port"]);
    assert_eq!(found(Purpose::Production, None, &compose.replace("5432:5432", ":5432")), [""; 0], "any that is free");
}

#[test]
fn cap_23_several_replicas_of_a_singleton_are_refused() {
    let compose = "services: {beat: {image: 'app:v1', deploy: {replicas: 2}}}\n";
    assert_eq!(found(Purpose::Production, Some(Strategy::Singleton), compose), ["singleton-replicas"]);
    assert_eq!(found(Purpose::Production, Some(Strategy::Rolling), compose), [""; 0]);
    let one = compose.replace("replicas: 2", "replicas: 1");
    assert_eq!(found(Purpose::Production, Some(Strategy::Singleton), &one), [""; 0]);
}

#[test]
fn cap_31_debug_and_reload_are_refused_in_production() {
    for setting in ["DEBUG: 'true'", "API_RELOAD: 'yes'", "APP_DEBUG: 1"] {
        let compose = format!("services: {{db: {{image: 'app:v1', environment: {{{setting}}}}}}}\n");
        assert_eq!(found(Purpose::Production, None, &compose), ["development-setting"], "{setting}");
        assert_eq!(found(Purpose::Staging, None, &compose), [""; 0], "{setting}");
    }
    let off = "services: {db: {image: 'app:v1', environment: {DEBUG: 'false', DEBUG_LEVEL: 1}}}\n";
    assert_eq!(found(Purpose::Production, None, off), [""; 0]);
}

#[test]
fn cap_50_placeholders_are_for_development_in_compose_and_in_files() {
    let compose =
        "services: {db: {image: 'postgres:17', environment: [POSTGRES_PASSWORD=changeme, POSTGRES_USER=postgres]}}\n";
    assert_eq!(found(Purpose::Production, None, compose), ["placeholder-secret"]);
    assert_eq!(found(Purpose::Development, None, compose), [""; 0]);
    let mut file = config();
    file.templates.insert(
        "templates/files/app.env.j2".to_owned(),
        "JWT_SECRET_KEY=\nTOKEN={{ secrets.db.password }}\n".to_owned(),
    );
    let codes: Vec<_> =
        resolved(&file).unwrap_err().0.into_iter().map(|finding| (finding.code, finding.message)).collect();
    assert!(
        codes.len() == 1 && codes[0].0 == "placeholder-secret" && codes[0].1.contains("JWT_SECRET_KEY"),
        "{codes:?}"
    );
}

#[test]
fn cap_52_a_secret_in_a_file_is_as_strict_as_git_says() {
    for (wanted, mode) in [(0o644, 0o600), (0o400, 0o400), (0o440, 0o400)] {
        let mut config = change(config(), |app| {
            let web = app.components.iter_mut().find(|component| component.name.as_str() == "web").unwrap();
            web.files[0].mode = wanted;
        });
        let template = "GREETING={{ secrets.db.password }}\n".to_owned();
        config.templates.insert("templates/files/app.env.j2".to_owned(), template);
        let desired = resolved(&config).unwrap();
        let app = desired.hosts.values().next().unwrap().apps.values().next().unwrap();
        let web = app.components.iter().find(|component| component.name.as_str() == "web").unwrap();
        let file = web.body.artifacts(None).files.iter().find(|(path, _)| path.ends_with("app.env")).unwrap().1;
        assert_eq!(file.mode, mode, "{wanted:o}");
    }
}

#[test]
fn cap_60_connections_of_all_replicas_and_both_slots_are_held_against_the_database() {
    // Two hosts, two slots, four workers: 2 × 2 × 4 × 10 = 160.
    for (most, refused) in [(160, false), (159, true)] {
        let config = change(config(), |app| {
            for component in &mut app.components {
                match component.name.as_str() {
                    "data" => component.max_connections = Some(most),
                    "web" => {
                        let to = "data".parse().unwrap();
                        component.connections = Some(ConnectionSpec { to, workers: 4, pool: 10, origin: at(12) });
                    }
                    _ => {}
                }
            }
        });
        let found = resolved(&config);
        assert_eq!(found.is_err(), refused, "{most}");
        if let Err(findings) = found {
            let finding = &findings.0[0];
            assert_eq!((finding.code.as_str(), finding.origin.line), ("too-many-connections", 12));
            assert!(
                finding.message.contains("up to 160 connections to `data`, which takes 159"),
                "{}",
                finding.message
            );
        }
    }
}

#[test]
fn equal_input_gives_equal_output_and_survives_json() {
    let desired = resolved(&config()).unwrap();
    assert_eq!(desired, resolved(&config()).unwrap());
    let text = serde_json::to_string(&desired).unwrap();
    assert_eq!(desired, serde_json::from_str(&text).unwrap());
}

#[test]
fn the_host_is_the_strongest_place_of_a_variable() {
    let mut config = config();
    let web = config.hosts.get_mut(&"web-2".parse().unwrap()).unwrap();
    web.variables.insert("domain".to_owned(), variable(json!("strongest.example"), 50));
    let text = shown(&resolved(&config).unwrap());
    let [first, second] = text.split("=== web-2").collect::<Vec<_>>()[..2] else { panic!() };
    assert!(first.contains("server_name nps.example;"));
    assert!(!second.contains("weakest.example"));
    assert!(text.contains("server_name strongest.example;"));
}

#[test]
fn hosts_that_differ_get_files_that_differ() {
    let base = resolved(&config()).unwrap();
    let sealed = |desired: &DesiredState, host: &str, path: &str| {
        let app = desired.hosts[&host.parse().unwrap()].apps.values().next().unwrap().clone();
        let web = app.components.into_iter().find(|c| c.name.as_str() == "web").unwrap();
        web.body.artifacts(None).files[path].content.shown()
    };
    let path = "/var/lib/holdfast/apps/prod/nps/web/blue/app.env";
    assert!(sealed(&base, "web-1", path).contains("HOST=\"web-1\""));
    assert!(sealed(&base, "web-2", path).contains("HOST=\"web-2\""));
    let mut included = config();
    included.templates.insert("templates/files/host.j2".to_owned(), "HOST={{ host.name }}\n".to_owned());
    let text = "{% include 'files/host.j2' %}\n".to_owned();
    included.templates.insert("templates/files/app.env.j2".to_owned(), text);
    assert!(sealed(&resolved(&included).unwrap(), "web-2", path).contains("HOST=\"web-2\""));
}

#[test]
fn a_site_names_the_hosts_that_have_another_component() {
    let site = "server { location / { proxy_pass http://nps_api; } }\nupstream all {\n{% for name, other in hosts_of.worker | dictsort %}    server {{ other.address }}:1;\n{% endfor %}}\n";
    let worker = |at: usize| -> String {
        let mut config = config();
        config.templates.insert("templates/nginx/nps.conf.j2".to_owned(), site.to_owned());
        let names: Vec<HostName> = config.environments.values().next().unwrap().hosts.clone();
        shown(&resolved(&change(config, |app| app.components[2].hosts = names[at..].to_vec())).unwrap())
    };
    let both = worker(0);
    assert_eq!(both.matches("    server web-1.example:1;\n    server web-2.example:1;\n").count(), 2, "{both}");
    let one = worker(1);
    assert_eq!(one.matches("upstream all {\n    server web-2.example:1;\n").count(), 2, "{one}");
    let mut wrong = config();
    let text = "server_name {{ hosts_of.wroker }};\n".to_owned();
    wrong.templates.insert("templates/nginx/nps.conf.j2".to_owned(), text);
    let list = resolved(&wrong).unwrap_err();
    assert!(list.0.iter().any(|d| d.code == "undefined-variable"), "{list:?}");
}

#[test]
fn cap_75_targets_are_every_slot_of_every_host_that_has_the_component() {
    let told = |text: &str| {
        let mut config = config();
        config.templates.insert("templates/files/app.env.j2".to_owned(), text.to_owned());
        change(config, |app| {
            let spec = |port: &str| MetricsSpec { port: port.to_owned(), path: "/metrics".to_owned(), origin: at(50) };
            app.components[1].metrics = BTreeMap::from([("api".to_owned(), spec("api"))]);
            app.components[1].files[0].format = FileFormat::Plain;
            app.components[2].metrics = BTreeMap::from([("worker".to_owned(), spec("metrics"))]);
        })
    };
    let seen = |desired: &DesiredState, host: &str| -> Vec<String> {
        let app = desired.hosts[&host.parse().unwrap()].apps.values().next().unwrap().clone();
        let web = app.components.into_iter().find(|c| c.name.as_str() == "web").unwrap();
        let text = web.body.artifacts(None).files["/var/lib/holdfast/apps/prod/nps/web/blue/app.env"].content.shown();
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let line = |group: &serde_json::Value| {
            let label = |name: &str| group["labels"][name].as_str().unwrap_or("-").to_owned();
            let target = group["targets"][0].as_str().unwrap();
            format!("{target} {} {} {} {}", label("host"), label("component"), label("job"), label("slot"))
        };
        all.iter().map(line).collect()
    };
    let desired = resolved(&told("{{ scrape_targets | tojson }}")).unwrap();
    let expected = [
        "127.0.0.1:8101 web-1 web api blue",
        "127.0.0.1:8201 web-1 web api green",
        "web-2.example:8101 web-2 web api blue",
        "web-2.example:8201 web-2 web api green",
        "127.0.0.1:9101 web-1 worker worker blue",
        "127.0.0.1:9201 web-1 worker worker green",
    ];
    assert_eq!(seen(&desired, "web-1"), expected);
    assert_eq!(seen(&desired, "web-2")[0], "web-1.example:8101 web-1 web api blue");
    let one = resolved(&told("{{ targets_of.worker | tojson }}")).unwrap();
    assert_eq!(seen(&one, "web-1"), expected[4..]);
    for (wrong, hint) in
        [("wroker", "targets_of.worker"), ("edge", "tells Prometheus nothing"), ("nothing", "no component")]
    {
        let list = resolved(&told(&format!("\n{{{{ targets_of.{wrong} | tojson }}}}"))).unwrap_err();
        let found = list.0.iter().find(|d| d.code == "undefined-variable").unwrap_or_else(|| panic!("{list:?}"));
        assert!(found.hint.contains(hint), "{found:?}");
        assert_eq!((found.origin.file.as_str(), found.origin.line), ("templates/files/app.env.j2", 2));
    }
}

#[test]
fn cap_75_a_check_is_named_after_all_that_its_verdict_hangs_on() {
    let with = |text: &str, service: &str, command: &str| {
        let mut config = config();
        config.templates.insert("templates/compose/data.yaml.j2".to_owned(), text.to_owned());
        let spec = CheckSpec {
            command: vec![command.to_owned()],
            service: service.to_owned(),
            timeout: Millis(1),
            origin: at(51),
        };
        resolved(&change(config, |app| app.components[3].check = Some(spec)))
    };
    let id = |text: &str, command: &str| {
        let desired = with(text, "db", command).unwrap();
        let app = desired.hosts[&"web-2".parse().unwrap()].apps.values().next().unwrap().clone();
        app.components.into_iter().find_map(|component| component.check).unwrap().id
    };
    let compose = "services: {db: {image: 'postgres:17', logging: {driver: local}}}\n";
    let first = id(compose, "look");
    assert!(first.starts_with("prod/nps/data/check-"), "{first}");
    assert_eq!(first, id(compose, "look"));
    for other in [id(compose, "see"), id("services: {db: {image: 'postgres:16', logging: {driver: local}}}\n", "look")]
    {
        assert_ne!(first, other);
    }
    let list = with(compose, "dbb", "look").unwrap_err();
    assert!(list.0.iter().any(|d| d.code == "unknown-service"), "{list:?}");
}

#[test]
fn cap_30_a_service_changes_with_the_files_it_uses_and_with_nothing_else() {
    let digest = |config: &Config| -> String {
        let desired = resolved(config).unwrap();
        let app = desired.hosts[&"web-1".parse().unwrap()].apps.values().next().unwrap().clone();
        let web = app.components.iter().find(|c| c.name.as_str() == "web").unwrap().clone();
        web.body.artifacts(None).project.as_ref().unwrap().services["api"].digest.clone()
    };
    let base = digest(&config());
    let other_file = change(config(), |app| {
        app.variables.insert("greeting".to_owned(), variable(json!("other"), 20));
    });
    assert_ne!(base, digest(&other_file));
    let mut other_site = config();
    other_site.templates.get_mut("templates/nginx/nps.conf.j2").unwrap().push_str("# more\n");
    assert_eq!(base, digest(&other_site));
    let mut comment = config();
    comment.templates.get_mut("templates/compose/web.yaml.j2").unwrap().insert_str(0, "# a comment\nx-a: 1\n");
    assert_eq!(base, digest(&comment));
    let mut rotated = config();
    let environment = rotated.environments.values_mut().next().unwrap();
    environment.secrets.values_mut().next().unwrap().secret.fingerprint = "ffffffffffffffff".to_owned();
    assert_ne!(base, digest(&rotated));
}

#[test]
fn a_migration_is_the_same_until_release_command_or_image_change() {
    let id = |config: &Config| -> String {
        let desired = resolved(config).unwrap();
        let apps = &desired.hosts[&"web-1".parse().unwrap()].apps;
        apps.values().next().unwrap().components.iter().find_map(|c| c.migrate.clone()).unwrap().id
    };
    let base = id(&config());
    assert!(base.starts_with("prod/nps/web/") && base.len() == "prod/nps/web/".len() + 16, "{base}");
    assert_ne!(base, id(&change(config(), |app| app.release.value = "v4.0.1".to_owned())));
    let command = |app: &mut App| {
        app.components[1].migrate.as_mut().unwrap().command.push("x".to_owned());
    };
    assert_ne!(base, id(&change(config(), command)));
    let mut text = config();
    text.templates.get_mut("templates/compose/web.yaml.j2").unwrap().push_str("    restart: always\n");
    assert_eq!(base, id(&text));
}

#[test]
fn cap_54_another_sql_file_is_another_release_of_its_component_beside_its_database() {
    let with = |names: &[&str], host: &str| {
        change(config(), |app| {
            for component in app.components.iter_mut().filter(|component| component.name.as_str() != "data") {
                component.hosts = vec![host.parse().unwrap()];
            }
            let migrate = app.components[1].migrate.as_mut().unwrap();
            migrate.command.clear();
            let file = |name: &&str| SqlFile {
                name: (*name).to_owned(),
                text: "SELECT 1;".to_owned(),
                checksum: Digest([7; 32]),
            };
            migrate.sql = Some(SqlSpec {
                component: "data".parse().unwrap(),
                service: "db".to_owned(),
                database: "nps".to_owned(),
                user: "nps".to_owned(),
                files: names.iter().map(file).collect(),
                one_way: Vec::new(),
            });
        })
    };
    let web = |names: &[&str]| {
        let desired = resolved(&with(names, "web-2")).unwrap();
        let apps = &desired.hosts[&"web-2".parse().unwrap()].apps;
        apps.values().next().unwrap().components.iter().find(|one| one.migrate.is_some()).unwrap().clone()
    };
    let (one, two) = (web(&["010_a.sql"]), web(&["010_a.sql", "9_b.sql"]));
    let migrate = one.migrate.as_ref().unwrap();
    assert!(migrate.here && migrate.project == "prod-nps-data", "{migrate:?}");
    assert_ne!(migrate.id, two.migrate.as_ref().unwrap().id);
    for slot in [Slot::Blue, Slot::Green] {
        let list = |component: &DesiredComponent| {
            let files = &component.body.artifacts(Some(slot)).files;
            let path = files.keys().find(|path| path.ends_with(&format!("{slot}/holdfast-migrations.sha256"))).unwrap();
            files[path].content.as_text().unwrap()
        };
        let line = format!("{}  010_a.sql\n", "07".repeat(32));
        assert_eq!(list(&one), line);
        assert!(list(&two).starts_with(&line) && list(&two).lines().count() == 2);
    }
    let elsewhere = resolved(&with(&["010_a.sql"], "web-1")).unwrap_err();
    assert!(elsewhere.0.iter().any(|finding| finding.message.contains("which is not on web-1")), "{elsewhere:?}");
}

#[test]
fn all_that_is_wrong_is_said_at_once_with_places() {
    let mut config = change(config(), |app| {
        app.components[1].files[0].path.value = "/etc/nginx/x.conf".to_owned();
        app.components[0].upstreams.get_mut("nps_api").unwrap().port = "nope".to_owned();
        app.components[2].kind =
            ComponentKind::Systemd { templates: vec![located("systemd/plain.service.j2", 15)], enabled: true };
    });
    config
        .templates
        .insert("templates/compose/data.yaml.j2".to_owned(), "services: {db: {image: '{{ vars.nope }}'}}\n".to_owned());
    let list = resolved(&config).unwrap_err();
    let all: Vec<String> = list.0.iter().map(|d| format!("{} {} {}", d.origin, d.code, d.message)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn destinations_are_bounded() {
    for path in [
        "relative",
        "/a/../b",
        "/a//b",
        "/a/",
        "/proc/x",
        "/sys/x",
        "/dev/x",
        "/boot/x",
        "/etc/nginx/x",
        "/etc/systemd/system/x",
        "/a b",
        "/a\nb",
        "/ä",
        "/var/lib/holdfast/ledger.json",
        "/var/lib/holdfast/apps/prod/other/web/x",
        "/{{ nope }}",
        "/{{ slot",
        "/opt/{{ dir }}/../../x",
    ] {
        let config = change(config(), |app| app.components[1].files[0].path.value = path.to_owned());
        let list = resolved(&config).unwrap_err();
        assert!(list.0.iter().any(|d| d.code == "file-path" && d.origin == at(8)), "{path}: {list:?}");
    }
    let mut shared = change(config(), |app| app.components[1].files[0].path.value = "/opt/x/app.env".to_owned());
    let compose = COMPOSE.replace("env_file: app.env", "env_file: /opt/x/app.env");
    shared.templates.insert("templates/compose/web.yaml.j2".to_owned(), compose);
    let list = resolved(&shared).unwrap_err();
    assert!(list.0.iter().any(|d| d.code == "claimed-twice"), "{list:?}");
}
