//! A shop in two slots behind nginx, as the steps that a manager would send for it.

use std::collections::BTreeMap;

use holdfast_core::id::digest_of;
use holdfast_protocol::{
    Action, ActiveGoal, AppRecord, ComponentRecord, Digest, FilePut, HealthCheck, MigrationRunner, Probe, Prove, Slot,
    SlotRecord, Step, SwitchMethod, TransactionKind, TransactionSpec, Watch,
};

use super::channel::Channel;

/// Where nginx finds the shop.
pub(super) const LISTEN: &str = "127.0.83.1:8101";

/// An app that says which release answers; keep-alive, threads, POST too.
pub(super) const APP: &str = r"import http.server as h, json, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class A(h.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  def do_GET(s):
    s.rfile.read(int(s.headers.get('content-length') or 0))
    body = json.dumps({'release': os.environ['RELEASE']}).encode()
    s.send_response(503 if os.environ['RELEASE'] == 'bad' else 200)
    s.send_header('content-length', str(len(body)))
    s.end_headers()
    s.wfile.write(body)
  do_POST = do_GET
  def log_message(s, *a): pass
h.ThreadingHTTPServer(('0.0.0.0', 8000), A).serve_forever()
";

pub(super) fn compose(release: &str, slot: Slot, digest: &str) -> String {
    let app = serde_json::to_string(APP).unwrap();
    format!(
        "services:\n  web:\n    image: standin:1\n    command: [python3, -c, {app}]\n    environment: {{ RELEASE: \"{release}\" }}\n    \
         ports: [\"127.0.0.1:{}:8000\"]\n    restart: always\n    stop_grace_period: 1s\n    volumes: [\"/root/counter:/counter\"]\n    \
         labels: {{ dev.holdfast.digest: \"{digest}\" }}\n",
        port(slot)
    )
}

pub(super) fn port(slot: Slot) -> u16 {
    match slot {
        Slot::Blue => 8102,
        Slot::Green => 8202,
    }
}

pub(super) const SITE: &str = "upstream shop { server 127.0.83.1:8101; }\n\
server { listen 8080; server_name shop.example; location / { proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection \"\"; } }\n";

pub(super) fn step(title: &str, action: Action) -> Step {
    Step { title: title.to_owned(), component: "web".to_owned(), deadline_ms: 60_000, action }
}

pub(super) fn file(path: &str, blob: Digest) -> FilePut {
    FilePut { path: path.to_owned(), blob, mode: 0o644, owner: "root".to_owned(), group: "root".to_owned() }
}

pub(super) fn health(slot: Slot, passes: u32) -> HealthCheck {
    HealthCheck {
        probe: Probe::Http {
            port: port(slot),
            path: "/".to_owned(),
            host: String::new(),
            status: Vec::new(),
            headers: BTreeMap::new(),
            json: BTreeMap::new(),
        },
        interval_ms: 100,
        timeout_ms: 2000,
        retries: 5,
        start_period_ms: 8000,
        passes,
        min_healthy_ms: 300,
        units: Vec::new(),
        projects: vec![format!("shop-{slot}")],
    }
}

/// What stands before and after.
pub(super) struct Release<'a> {
    pub(super) name: &'a str,
    pub(super) slot: Slot,
    pub(super) from: Option<Slot>,
    /// Seconds that its migration takes; `None` without one.
    pub(super) migrate: Option<&'a str>,
    pub(super) method: SwitchMethod,
}

pub(super) fn spec(channel: &mut Channel, id: &str, fence: u64, release: &Release<'_>) -> TransactionSpec {
    let slot = release.slot;
    let digest = digest_of(format!("{}{slot}", release.name).as_bytes()).to_string();
    let project = format!("shop-{slot}");
    let path = format!("/srv/shop/{slot}/compose.yaml");
    let compose_blob = channel.put(&compose(release.name, slot, &digest));
    let site_blob = channel.put(SITE);
    let site = file("/etc/nginx/conf.d/shop.conf", site_blob);
    let mut prepare = vec![
        step(
            "preflight",
            Action::Preflight { ports_free: vec![port(slot)], disk_free: 1 << 20, nginx: true, docker: true },
        ),
        step("images", Action::Images { images: vec!["standin:1".to_owned()], archives: Vec::new() }),
        step("write compose", Action::PutFile(file(&path, compose_blob))),
        step("throw away", Action::OnUndo(Box::new(Action::ComposeDown { project: project.clone(), grace_ms: None }))),
        step(
            "start",
            Action::ComposeUp {
                project: project.clone(),
                file: path.clone(),
                services: BTreeMap::from([("web".to_owned(), digest.clone())]),
            },
        ),
        step("healthy", Action::Health(health(slot, 2))),
        step("test site", Action::NginxTest { put: vec![site.clone()], remove: Vec::new() }),
    ];
    if let Some(seconds) = release.migrate {
        let script = format!("echo ran >>/counter/ran; sleep {seconds}");
        let argv = vec!["sh".to_owned(), "-c".to_owned(), script];
        prepare.push(step(
            "migrate",
            Action::Migrate {
                id: format!("test/shop/web/{id}"),
                runner: MigrationRunner::Service { project: project.clone(), file: path, service: "web".to_owned() },
                argv,
                idempotent: false,
                revision: Vec::new(),
                downgrade: Vec::new(),
                reversible: true,
            },
        ));
    }
    let mut settle = Vec::new();
    if let Some(from) = release.from {
        settle.push(step("drain", Action::Drain { ports: vec![port(from)], timeout_ms: 2000 }));
        settle.push(step("stop old", Action::ComposeStop { project: format!("shop-{from}"), grace_ms: Some(1000) }));
    }
    let record = AppRecord {
        release: release.name.to_owned(),
        commit: "c".to_owned(),
        transaction: id.to_owned(),
        components: BTreeMap::from([(
            "web".to_owned(),
            ComponentRecord {
                active: Some(slot),
                slots: [Slot::Blue, Slot::Green]
                    .into_iter()
                    .map(|slot| {
                        let ports = BTreeMap::from([("http".to_owned(), port(slot))]);
                        (slot, SlotRecord { ports, project: Some(format!("shop-{slot}")), ..SlotRecord::default() })
                    })
                    .collect(),
                switches: BTreeMap::from([(LISTEN.to_owned(), port(slot))]),
                ..ComponentRecord::default()
            },
        )]),
        previous: None,
    };
    settle.push(step("record", Action::Record(Some(Box::new(record)))));
    TransactionSpec {
        id: id.parse().unwrap(),
        fence,
        app: "test/shop".to_owned(),
        release: release.name.to_owned(),
        commit: "c".to_owned(),
        kind: TransactionKind::Apply,
        prepare,
        ready_deadline_ms: 60_000,
        promote: vec![
            step("reload back", Action::OnUndo(Box::new(Action::NginxReload))),
            step("write site", Action::PutFile(site)),
            step("reload", Action::NginxReload),
            step(
                "switch",
                Action::Switch {
                    listen: LISTEN.to_owned(),
                    from: release.from.map(port),
                    to: port(slot),
                    method: release.method,
                },
            ),
            step(
                "prove",
                Action::Prove(Prove {
                    port: 8080,
                    path: "/".to_owned(),
                    host: "shop.example".to_owned(),
                    header: String::new(),
                    json: "release".to_owned(),
                    expect: release.name.to_owned(),
                    passes: 5,
                }),
            ),
        ],
        watch: vec![step(
            "watch",
            Action::Watch(Watch {
                window_ms: 400,
                checks: vec![health(slot, 1)],
                max_error_permille: 0,
                max_p95_ms: Vec::new(),
                metrics: Vec::new(),
            }),
        )],
        settled_gate: false,
        settled_deadline_ms: 60_000,
        settle,
        one_way: Vec::new(),
        confirm_within_ms: None,
    }
}

pub(super) fn release(name: &str, slot: Slot, from: Option<Slot>) -> Release<'_> {
    Release { name, slot, from, migrate: None, method: SwitchMethod::Redirect }
}

pub(super) fn unit_spec(channel: &mut Channel, id: &str, fence: u64, exec: &str, extra: &str) -> TransactionSpec {
    let text = format!(
        "[Unit]\nDescription=test\n[Service]\nExecStart={exec}\nRestart=always\nRestartSec=100ms\n{extra}[Install]\nWantedBy=multi-user.target\n"
    );
    let blob = channel.put(&text);
    let unit = "shoptest@blue.service".to_owned();
    let check = HealthCheck {
        probe: Probe::State,
        interval_ms: 100,
        timeout_ms: 1000,
        retries: 3,
        start_period_ms: 500,
        passes: 2,
        min_healthy_ms: 3000,
        units: vec![unit.clone()],
        projects: Vec::new(),
    };
    let bring = Action::Unit { unit, enabled: Some(true), active: Some(ActiveGoal::Restarted) };
    let mut spec = spec(channel, id, fence, &release("v1", Slot::Blue, None));
    spec.prepare = vec![
        step("reload back", Action::OnUndo(Box::new(Action::DaemonReload))),
        step("unit", Action::PutFile(file("/etc/systemd/system/shoptest@.service", blob))),
        step("reload", Action::DaemonReload),
        step("bring", bring),
        step("healthy", Action::Health(check)),
        step(
            "migrate",
            Action::Migrate {
                id: format!("test/shop/unit/{id}"),
                runner: MigrationRunner::Host { directory: "/root/counter".to_owned(), user: String::new() },
                // Ends when it is told to, so that whoever kills something meanwhile never comes too late.
                argv: ["sh", "-c", "echo ran >>ran; until [ -e go ]; do sleep 0.1; done"].map(str::to_owned).to_vec(),
                idempotent: false,
                revision: Vec::new(),
                downgrade: Vec::new(),
                reversible: true,
            },
        ),
    ];
    spec.promote.clear();
    spec.watch.clear();
    spec.settle.clear();
    spec
}
