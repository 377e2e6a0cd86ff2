//! A small fleet with one component of every kind, for tests.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Digest, Prerequisites, Slot};

use crate::config::{
    Address, DrainSpec, DriftPolicy, HostSpec, MigrateSpec, RolloutPolicy, SlotPorts, Strategy, SyncMode, SyncPolicy,
};
use crate::desired::{
    Artifacts, Body, DesiredApp, DesiredComponent, DesiredFile, DesiredHost, DesiredMigration, DesiredProject,
    DesiredService, DesiredState, DesiredSwitch, DesiredUnit,
};
use crate::diag::Origin;
use crate::id::{DigestWriter, HostName};
use crate::render::{Content, Part, Provenance};
use crate::secret::SecretRef;
use crate::time::Millis;

/// What differs between two samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// The release, written into every file.
    pub(crate) release: String,
    /// The fingerprint of the secret.
    pub(crate) secret: String,
    /// Whether the web component has one more file.
    pub(crate) extra: bool,
    /// Whether the component `web` has slots.
    pub(crate) slots: bool,
    /// Components that are left out.
    pub(crate) without: Vec<String>,
    /// First port of the web component.
    pub(crate) port: u16,
}

impl Version {
    pub(crate) fn new(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            secret: "00aa11bb22cc33dd".to_owned(),
            extra: false,
            slots: true,
            without: Vec::new(),
            port: 8101,
        }
    }
}

pub(crate) fn origin(file: &str, line: u32) -> Origin {
    Origin { file: file.to_owned(), line, column: 5 }
}

pub(crate) fn host_name(name: &str) -> HostName {
    name.parse().unwrap()
}

/// Returns a state in which every host has the app `nps`.
pub(crate) fn state(hosts: &[&str], version: &Version) -> DesiredState {
    let order: Vec<HostName> = hosts.iter().map(|name| host_name(name)).collect();
    let hosts = order.iter().map(|name| (name.clone(), host(name, app(version, name == &order[0])))).collect();
    let commit = DigestWriter::new().field(format!("{version:?}")).finish().to_string();
    DesiredState {
        environment: "prod".parse().unwrap(),
        commit: commit.parse().unwrap(),
        rollout: RolloutPolicy {
            canary: 1,
            max_unavailable: 1,
            all_or_nothing: true,
            pause_after_canary: false,
            ready_deadline: Millis(60_000),
            confirm_within: Millis(120_000),
        },
        sync: SyncPolicy {
            mode: SyncMode::Manual,
            drift: DriftPolicy::Report,
            ignore: Vec::new(),
            prune_limit_percent: 100,
            windows: Vec::new(),
        },
        requires: BTreeMap::new(),
        order,
        hosts,
    }
}

fn host(name: &HostName, app: DesiredApp) -> DesiredHost {
    let host = HostSpec {
        name: name.clone(),
        address: Address::Local,
        user: "root".to_owned(),
        port: 22,
        host_key: None,
        labels: BTreeMap::new(),
        variables: BTreeMap::new(),
        origin: origin("inventory/hosts.yaml", 2),
    };
    DesiredHost { host, apps: BTreeMap::from([(app.name.clone(), app)]) }
}

pub(crate) fn app(version: &Version, first: bool) -> DesiredApp {
    let mut components =
        vec![data(version), web(version, first), api(version), jobs(version), report(version), edge(version)];
    components.retain(|component| !version.without.iter().any(|name| name == component.name.as_str()));
    DesiredApp {
        name: "nps".parse().unwrap(),
        release: version.release.clone(),
        release_origin: origin("environments/prod/nps.yaml", 2),
        keep_releases: 3,
        archives: Vec::new(),
        components,
    }
}

pub(crate) fn component(name: &str, strategy: Strategy, body: Body) -> DesiredComponent {
    DesiredComponent {
        name: name.parse().unwrap(),
        strategy,
        body,
        ports: BTreeMap::new(),
        switches: BTreeMap::new(),
        healthcheck: None,
        migrate: None,
        check: None,
        watch: None,
        drain: DrainSpec { timeout: Millis(10_000), stop_grace: None },
        prove: None,
        smoke: Vec::new(),
        keep_previous: Millis(86_400_000),
        backups: BTreeMap::new(),
        certificates: BTreeMap::new(),
        statics: None,
        databases: None,
        prerequisites: Prerequisites::default(),
        packages: BTreeSet::new(),
        origin: origin("environments/prod/nps.yaml", 5),
    }
}

pub(crate) fn file(text: &str) -> DesiredFile {
    let provenance = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("release"))
        .map(|(index, _)| Provenance {
            output_line: index as u32 + 1,
            field: "release".to_owned(),
            value: origin("environments/prod/nps.yaml", 2),
            template: origin("templates/compose/nps-web.yaml.j2", index as u32 + 1),
        })
        .collect();
    DesiredFile {
        content: Content { parts: vec![Part::Plain(text.to_owned())], provenance },
        mode: 0o644,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        nginx: false,
        reload: false,
        origin: origin("environments/prod/nps.yaml", 7),
    }
}

pub(crate) fn secret_file(version: &Version) -> DesiredFile {
    let secret = SecretRef {
        file: "environments/prod/secrets.sops.yaml".to_owned(),
        path: vec!["database".to_owned(), "password".to_owned()],
        fingerprint: version.secret.clone(),
    };
    let mut file = file("");
    file.content.parts = vec![
        Part::Plain("PASSWORD=".to_owned()),
        Part::Secret { secret, encodings: Vec::new() },
        Part::Plain("\n".to_owned()),
    ];
    file.mode = 0o600;
    file
}

fn project(name: &str, file: &str, services: &[(&str, &str)], text: &str) -> DesiredProject {
    let services = services.iter().map(|(service, image)| {
        let digest = DigestWriter::new().field(text).field(service).finish().short();
        (
            (*service).to_owned(),
            DesiredService {
                digest,
                image: (*image).to_owned(),
                replicas: 1,
                published: Vec::new(),
                memory: None,
                processors: None,
            },
        )
    });
    DesiredProject {
        name: name.to_owned(),
        file: file.to_owned(),
        services: services.collect(),
        volumes: BTreeSet::new(),
    }
}

fn compose(name: &str, text: &str, services: &[(&str, &str)]) -> Artifacts {
    let path = format!("/etc/holdfast/prod/nps/{name}/compose.yaml");
    let project = project(&format!("prod-nps-{name}"), &path, services, text);
    Artifacts { files: BTreeMap::from([(path, file(text))]), units: BTreeMap::new(), project: Some(project) }
}

fn data(_: &Version) -> DesiredComponent {
    let text = "services:\n  postgres:\n    image: postgres:17\n";
    component("data", Strategy::Stateful, Body::Single(compose("data", text, &[("postgres", "postgres:17")])))
}

fn web_place(version: &Version, slot: Option<Slot>) -> Artifacts {
    let port = if slot == Some(Slot::Green) { version.port + 100 } else { version.port };
    let release = &version.release;
    let name = slot.map_or_else(|| "web".to_owned(), |slot| format!("web-{slot}"));
    let image = format!("nps:{release}");
    let text =
        format!("# release {release}\nservices:\n  app:\n    image: {image}\n    ports: [\"127.0.0.1:{port}:80\"]\n");
    let mut artifacts = compose(&name, &text, &[("app", &image), ("cache", "redis:8")]);
    artifacts.files.insert(format!("/etc/holdfast/prod/nps/{name}/secrets.env"), secret_file(version));
    if version.extra {
        artifacts.files.insert(format!("/etc/holdfast/prod/nps/{name}/extra.conf"), file("extra\n"));
    }
    artifacts
}

fn web(version: &Version, first: bool) -> DesiredComponent {
    let ports = SlotPorts { blue: version.port, green: version.port + 100 };
    let body = if version.slots {
        Body::Slots { blue: web_place(version, Some(Slot::Blue)), green: web_place(version, Some(Slot::Green)) }
    } else {
        Body::Single(web_place(version, None))
    };
    let strategy = if version.slots { Strategy::BlueGreen } else { Strategy::Rolling };
    let mut web = component("web", strategy, body);
    web.ports = BTreeMap::from([("api".to_owned(), ports)]);
    if version.slots {
        let listen = format!("{}:{}", crate::desired::SWITCH_ADDRESS, version.port);
        web.switches = BTreeMap::from([(listen, DesiredSwitch { port: "api".to_owned(), ports })]);
    }
    web.migrate = Some(DesiredMigration {
        id: format!("prod/nps/web/{}", version.release),
        spec: MigrateSpec {
            command: vec!["alembic".to_owned(), "upgrade".to_owned(), "head".to_owned()],
            service: "app".to_owned(),
            reversible: true,
            idempotent: false,
            timeout: Millis(60_000),
            ..MigrateSpec::default()
        },
        after: None,
        project: String::new(),
        here: first,
    });
    web
}

/// Units in slots: one unit file for each.
fn api(version: &Version) -> DesiredComponent {
    let place = |slot: Slot| {
        let unit = format!("nps-api@{slot}.service");
        let text = format!("[Service]\n# release {}\nExecStart=/usr/bin/nps-api --slot {slot}\n", version.release);
        Artifacts {
            files: BTreeMap::from([(format!("/etc/systemd/system/{unit}"), file(&text))]),
            units: BTreeMap::from([(unit, DesiredUnit { enabled: true })]),
            project: None,
        }
    };
    component("api", Strategy::Workers, Body::Slots { blue: place(Slot::Blue), green: place(Slot::Green) })
}

/// A singleton with an environment file beside its unit.
fn jobs(version: &Version) -> DesiredComponent {
    let text = format!("[Service]\n# release {}\nExecStart=/usr/bin/nps-jobs\n", version.release);
    let files = BTreeMap::from([
        ("/etc/systemd/system/nps-jobs.service".to_owned(), file(&text)),
        ("/etc/holdfast/prod/nps/jobs.env".to_owned(), secret_file(version)),
    ]);
    let units = BTreeMap::from([("nps-jobs.service".to_owned(), DesiredUnit { enabled: true })]);
    component("jobs", Strategy::Singleton, Body::Single(Artifacts { files, units, project: None }))
}

/// A service that its timer starts.
fn report(version: &Version) -> DesiredComponent {
    let service = format!("[Service]\nType=oneshot\n# release {}\nExecStart=/usr/bin/nps-report\n", version.release);
    let files = BTreeMap::from([
        ("/etc/systemd/system/nps-report.service".to_owned(), file(&service)),
        ("/etc/systemd/system/nps-report.timer".to_owned(), file("[Timer]\nOnCalendar=daily\n")),
    ]);
    let units = BTreeMap::from([("nps-report.timer".to_owned(), DesiredUnit { enabled: true })]);
    component("report", Strategy::InPlace, Body::Single(Artifacts { files, units, project: None }))
}

fn edge(version: &Version) -> DesiredComponent {
    let text = format!("upstream nps_api {{ server {}:{}; }}\n", crate::desired::SWITCH_ADDRESS, version.port);
    let mut site = file(&text);
    site.nginx = true;
    let files = BTreeMap::from([("/etc/nginx/conf.d/prod-nps-edge.conf".to_owned(), site)]);
    component("edge", Strategy::InPlace, Body::Single(Artifacts { files, ..Artifacts::default() }))
}

/// Returns the local id an image has on every sample host.
pub(crate) fn image_id(reference: &str) -> String {
    format!("sha256:{}", Digest(crate::id::digest_of(reference.as_bytes()).0))
}
