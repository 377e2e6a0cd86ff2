//! An environment to simulate: a shop with a database, a web app in two slots, workers on units, and a site.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::config::{
    Address, DrainSpec, DriftPolicy, HealthSpec, HostSpec, MigrateSpec, ProbeSpec, ProveExpect, ProveSpec,
    RolloutPolicy, SlotPorts, Strategy, SyncMode, SyncPolicy, WatchSpec,
};
use holdfast_core::desired::{
    Artifacts, Body, DesiredApp, DesiredComponent, DesiredFile, DesiredHost, DesiredMigration, DesiredProject,
    DesiredService, DesiredState, DesiredSwitch, DesiredUnit,
};
use holdfast_core::diag::Origin;
use holdfast_core::id::{HostName, digest_of};
use holdfast_core::render::{Content, Part};
use holdfast_core::secret::SecretRef;
use holdfast_core::time::Millis;
use holdfast_protocol::{AccountSpec, CertificateIssuer, CertificateSpec, FolderSpec, Prerequisites, Smoke};

/// A release of the shop, and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) name: String,
    /// A marker of the fake host; empty for a good release.
    pub(crate) marker: &'static str,
}

impl Release {
    pub(crate) fn good(name: &str) -> Self {
        Self { name: name.to_owned(), marker: "" }
    }

    pub(crate) fn bad(name: &str, marker: &'static str) -> Self {
        Self { name: name.to_owned(), marker }
    }
}

pub(crate) fn policy() -> RolloutPolicy {
    RolloutPolicy {
        canary: 1,
        max_unavailable: 2,
        all_or_nothing: false,
        pause_after_canary: false,
        ready_deadline: Millis(600_000),
        confirm_within: Millis(120_000),
    }
}

pub(crate) fn host_names(count: usize) -> Vec<HostName> {
    (1..=count).map(|index| format!("h{index}").parse().unwrap()).collect()
}

/// Returns the environment on `hosts` hosts; `None` for one from which the shop is gone.
pub(crate) fn shop(hosts: usize, release: Option<&Release>, rollout: &RolloutPolicy) -> DesiredState {
    let order = host_names(hosts);
    let host = |(index, name): (usize, &HostName)| {
        let spec = HostSpec {
            name: name.clone(),
            address: Address::Remote("192.0.2.1".to_owned()),
            user: "root".to_owned(),
            port: 22,
            host_key: None,
            labels: BTreeMap::new(),
            variables: BTreeMap::new(),
            origin: Origin::default(),
        };
        let apps = release.map(|release| ("shop".parse().unwrap(), app(release, index == 0))).into_iter().collect();
        (name.clone(), DesiredHost { host: spec, apps })
    };
    DesiredState {
        environment: "prod".parse().unwrap(),
        commit: release.map_or_else(|| "0".repeat(40), |r| digest_of(r.name.as_bytes()).to_string()).parse().unwrap(),
        rollout: rollout.clone(),
        sync: SyncPolicy {
            mode: SyncMode::Automatic,
            drift: DriftPolicy::Heal,
            ignore: Vec::new(),
            prune_limit_percent: 100,
            windows: Vec::new(),
        },
        hosts: order.iter().enumerate().map(host).collect(),
        requires: BTreeMap::new(),
        order,
    }
}

fn file(content: Content, nginx: bool) -> DesiredFile {
    let mode = if content.has_secret() { 0o600 } else { 0o644 };
    DesiredFile {
        content,
        mode,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        nginx,
        reload: false,
        origin: Origin::default(),
    }
}

fn compose(project: &str, service: &str, image: &str, text: &str) -> Artifacts {
    let folder = format!("/etc/holdfast/apps/{project}");
    let text = format!("# {text}\nservices:\n  {service}:\n    image: {image}\n");
    let secret = SecretRef {
        file: "secrets.sops.yaml".to_owned(),
        path: vec!["database".to_owned(), "password".to_owned()],
        fingerprint: "0123456789abcdef".to_owned(),
    };
    let env = Content {
        parts: vec![Part::Plain("PASSWORD=".to_owned()), Part::Secret { secret, encodings: Vec::new() }],
        provenance: Vec::new(),
    };
    let digest = digest_of(text.as_bytes()).to_string();
    Artifacts {
        files: BTreeMap::from([
            (format!("{folder}/compose.yaml"), file(Content::plain(text), false)),
            (format!("{folder}/secret.env"), file(env, false)),
        ]),
        units: BTreeMap::new(),
        project: Some(DesiredProject {
            name: project.to_owned(),
            file: format!("{folder}/compose.yaml"),
            services: BTreeMap::from([(
                service.to_owned(),
                DesiredService {
                    digest,
                    image: image.to_owned(),
                    replicas: 1,
                    published: Vec::new(),
                    memory: None,
                    processors: None,
                },
            )]),
            volumes: BTreeSet::new(),
        }),
    }
}

fn unit(name: &str, text: &str) -> Artifacts {
    let text = format!("# {text}\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n");
    Artifacts {
        files: BTreeMap::from([(format!("/etc/systemd/system/{name}"), file(Content::plain(text), false))]),
        units: BTreeMap::from([(name.to_owned(), DesiredUnit { enabled: true })]),
        project: None,
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
        drain: DrainSpec { timeout: Millis(5_000), stop_grace: None },
        prove: None,
        smoke: Vec::new(),
        keep_previous: Millis(86_400_000),
        backups: BTreeMap::new(),
        certificates: BTreeMap::new(),
        statics: None,
        databases: None,
        prerequisites: Prerequisites::default(),
        packages: BTreeSet::new(),
        origin: Origin::default(),
    }
}

fn app(release: &Release, migrates: bool) -> DesiredApp {
    let Release { name, marker } = release;
    let mut data =
        component("data", Strategy::Stateful, Body::Single(compose("prod-shop-data", "db", "postgres:17", "db")));
    let account = AccountSpec {
        group: "shop".to_owned(),
        groups: ["adm".to_owned(), "readers".to_owned()].into(),
        home: "/srv/shop".to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
        system: true,
    };
    let folder = FolderSpec { owner: "shop".to_owned(), group: "readers".to_owned(), mode: 0o750 };
    data.prerequisites = Prerequisites {
        groups: ["readers".to_owned()].into(),
        accounts: BTreeMap::from([("shop".to_owned(), account)]),
        folders: BTreeMap::from([("/srv/shop".to_owned(), folder)]),
    };
    let ports = SlotPorts { blue: 8101, green: 8201 };
    let slot = |slot: &str| {
        let text = format!("release {name} {marker}");
        compose(&format!("prod-shop-web-{slot}"), "api", &format!("shop:{name}"), &text)
    };
    let mut web = component("web", Strategy::BlueGreen, Body::Slots { blue: slot("blue"), green: slot("green") });
    web.ports.insert("api".to_owned(), ports);
    web.switches.insert("127.0.83.1:8101".to_owned(), DesiredSwitch { port: "api".to_owned(), ports });
    web.healthcheck = Some(HealthSpec {
        probe: ProbeSpec::Http {
            port: "api".to_owned(),
            path: "/health".to_owned(),
            host: String::new(),
            status: Vec::new(),
            headers: BTreeMap::new(),
            json: BTreeMap::new(),
        },
        interval: Millis(500),
        timeout: Millis(1_000),
        retries: 3,
        start_period: Millis(2_000),
        passes: 2,
        min_healthy_time: Millis(1_000),
    });
    web.migrate = Some(DesiredMigration {
        id: format!("prod/shop/web/{name}"),
        spec: MigrateSpec {
            command: vec!["migrate".to_owned()],
            service: String::new(),
            reversible: true,
            idempotent: false,
            timeout: Millis(60_000),
            ..MigrateSpec::default()
        },
        after: None,
        project: String::new(),
        here: migrates,
    });
    web.watch = Some(WatchSpec { window: Millis(10_000), max_error_permille: 10, max_p95: None, metrics: None });
    web.prove = Some(ProveSpec {
        port: 80,
        path: "/".to_owned(),
        host: "shop.example".to_owned(),
        header: "x-release".to_owned(),
        json: String::new(),
        expect: ProveExpect::Release,
    });
    web.smoke = vec![Smoke {
        port: 80,
        path: "/".to_owned(),
        host: "shop.example".to_owned(),
        status: Vec::new(),
        json: BTreeMap::new(),
        contains: "Shop".to_owned(),
    }];
    let worker = |slot: &str| unit(&format!("shop-worker@{slot}.service"), &format!("worker {name}"));
    let worker = component("worker", Strategy::Workers, Body::Slots { blue: worker("blue"), green: worker("green") });
    let beat = component("beat", Strategy::Singleton, Body::Single(unit("shop-beat.service", &format!("beat {name}"))));
    let site = Artifacts {
        files: BTreeMap::from([("/etc/nginx/conf.d/shop.conf".to_owned(), file(Content::plain("server {}"), true))]),
        ..Artifacts::default()
    };
    let edge = component("edge", Strategy::InPlace, Body::Single(site));
    DesiredApp {
        name: "shop".parse().unwrap(),
        release: name.clone(),
        release_origin: Origin::default(),
        keep_releases: 3,
        archives: Vec::new(),
        components: vec![data, web, worker, beat, edge],
    }
}

/// Returns the component that a site's certificate becomes.
pub(crate) fn certificate() -> DesiredComponent {
    let name = "holdfast-certificate-prod-shop.timer";
    let path = "/var/lib/holdfast/apps/prod/shop/edge-certificate/shop.json".to_owned();
    let spec = CertificateSpec {
        environment: "prod".to_owned(),
        name: "shop".to_owned(),
        domains: vec!["shop.example.net".to_owned()],
        issuer: CertificateIssuer::Acme {
            directory: "https://acme.example.net/directory".to_owned(),
            email: "ops@example.net".to_owned(),
            trust: String::new(),
        },
        renew_before_ms: 3_600_000,
        hsts: String::new(),
        port: 443,
    };
    let mut made = component("edge-certificate", Strategy::InPlace, Body::Single(unit(name, "timer")));
    made.certificates.insert(path, spec);
    made
}
