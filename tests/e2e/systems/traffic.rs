//! Replicas behind one upstream, a look at the next release, and websockets over a switch: one app of containers on one host.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_testkit::lab::{Lab, LabHost, wait_until};
use holdfast_testkit::load::{Load, LoadSpec, release_at};
use holdfast_testkit::ops::Ops;

use super::socket::Socket;

use crate::crew::Running;

const SITE: &str = "traffic.example.net";
const PREVIEW: &str = "green.traffic.example.net";
const PORT: u16 = 8130;
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves, echoes over websockets, and migrates: the latter waits for a file.
const APP: &str = r#"
import base64, hashlib, json, os, signal, socket, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

kind, release = sys.argv[1:3]
if kind == "migrate":
    while not os.path.exists(f"/srv/go.{release}"):
        time.sleep(0.05)
    sys.exit(0)
SELF = dict(release=release, host=socket.gethostname())


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            return self.echo()
        body = json.dumps(SELF).encode()
        self.send_response(200)
        self.send_header("X-Release", release)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def echo(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                self.close_connection = True
                return
            mask, text = self.rfile.read(4), self.rfile.read(head[1] & 127)
            said = bytes(b ^ mask[i % 4] for i, b in enumerate(text)) + b" " + release.encode()
            self.wfile.write(bytes([0x81, len(said)]) + said)
            self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
Server(("0.0.0.0", 8000), Answer).serve_forever()
"#;

const COMPOSE: &str = r#"services:
  app:
    image: standin:1
    logging: { driver: local }
    restart: always
    entrypoint: [python3, -u, /app.py]
    command: [serve, "{{ release }}"]
    volumes: ["{{ dir }}/app.py:/app.py:ro", "/srv:/srv"]
    ports: ["127.0.0.1:{{ ports.http }}:8000"]
    deploy: { replicas: {{ replicas }} }
"#;

const NGINX: &str = "\
map $http_upgrade $traffic_connection {
    default upgrade;
    '' '';
}
server {
    listen 8130;
    server_name traffic.example.net;
    location / {
        proxy_pass http://traffic_web;
        proxy_http_version 1.1;
        proxy_read_timeout 1h;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $traffic_connection;
    }
}
";

struct Story<'a> {
    lab: &'a Lab,
    ops: Ops,
    /// Where this test comes from, as the host sees it.
    seen_as: String,
}

impl<'a> Story<'a> {
    fn new(lab: &'a Lab) -> Self {
        let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), lab);
        ops.write("environments/prod/environment.yaml", "hosts: { role: web }\n");
        ops.write("templates/files/app.py.j2", &format!("{{% raw %}}{APP}{{% endraw %}}"));
        ops.write("templates/compose/traffic.yaml.j2", COMPOSE);
        ops.write("templates/nginx/traffic.conf.j2", NGINX);
        let ssh = TcpStream::connect((lab.hosts[0].address.as_str(), 22)).expect("a connection to the host");
        let seen_as = ssh.local_addr().expect("an address").ip().to_string();
        Self { lab, ops, seen_as }
    }

    fn host(&self) -> &LabHost {
        &self.lab.hosts[0]
    }

    fn address(&self) -> SocketAddr {
        format!("{}:{PORT}", self.host().address).parse().expect("an address")
    }

    fn ship(&self, release: &str, replicas: u16, drain: &str) {
        let app = format!(
            "app: traffic
release: {release}
components:
  web:
    compose: compose/traffic.yaml.j2
    strategy: blue_green
    replicas: {replicas}
    ports: {{ http: {{ blue: 8631-8633, green: 8731-8733 }} }}
    files: [{{ path: \"{{{{ dir }}}}/app.py\", template: files/app.py.j2 }}]
    healthcheck:
      http: {{ path: /, json: {{ release: {release} }}, headers: {{ X-Release: {release} }} }}
      interval: 100ms
      retries: 3
      start_period: 20s
      min_healthy_time: 500ms
    migrate: {{ command: [migrate, {release}], reversible: true }}
    watch: {{ window: 500ms, max_p95: 30s }}
    drain: {{ {drain} }}
    prove: {{ port: {PORT}, path: /, host: {SITE}, json: release, expect: release }}
  edge:
    nginx: nginx/traffic.conf.j2
    upstreams: {{ traffic_web: web.http }}
    preview: {{ host: {PREVIEW}, port: {PORT}, allow: [{}] }}
",
            self.seen_as
        );
        self.ops.write("environments/prod/traffic.yaml", &app);
        self.ops.ship(&format!("{release}, {replicas} of it"));
    }

    /// Lets a release's migration end.
    fn migrate(&self, release: &str) {
        std::fs::write(self.host().root.join(format!("srv/go.{release}")), "").expect("a file on the host");
    }

    fn serves(&self) -> String {
        release_at(self.address(), SITE, "/").unwrap_or_else(|error| error.to_string())
    }

    fn previews(&self) -> String {
        release_at(self.address(), PREVIEW, "/").unwrap_or_else(|error| error.to_string())
    }

    /// Who answers the site's next questions, each on a connection of its own.
    fn answering(&self) -> std::collections::BTreeSet<String> {
        let ask = |_| {
            let url = format!("http://{}/", self.address());
            let host = format!("Host: {SITE}");
            let argv = ["-sS", "--fail", "--max-time", "20", "-H", &host, &url];
            let output = std::process::Command::new("curl").args(argv).output().expect("curl starts");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        (0..12).map(ask).collect()
    }

    fn running(&self) -> usize {
        let argv = ["docker", "ps", "-q", "--filter", "label=com.docker.compose.service=app"];
        self.lab.exec(&self.host().name, &argv).lines().count()
    }
}

#[test]
#[ignore = "needs the lab"]
fn cap_22_replicas_come_and_go_under_load_while_websockets_stay_and_the_next_release_is_looked_at() {
    let lab = Lab::up("traffi", "web", 1, &["--images"]);
    let story = Story::new(&lab);
    story.ship("v1", 1, "timeout: 2s");
    story.migrate("v1");
    story.ops.run(&["apply", "prod", "--yes"]);
    story.ops.assert_plan_is_empty();
    assert_eq!((story.answering().len(), story.running()), (1, 1));

    let load = Load::start(&LoadSpec {
        targets: vec![story.address()],
        host: SITE.to_owned(),
        get: "/".to_owned(),
        post: "/work".to_owned(),
        body: "{}".to_owned(),
        connections: 6,
        pause: Duration::from_millis(30),
        limit: Duration::from_secs(600),
    });
    wait_until("v1 answers", PATIENCE, || load.report().releases.contains_key("v1"));
    previewed_with_a_websocket(&story);
    assert_eq!(story.answering().len(), 3, "all three have a share of the requests");

    // Fewer again; whoever still holds a connection then has the declared grace, and no more.
    story.ship("v3", 1, "timeout: 4s");
    story.migrate("v3");
    let mut socket = Socket::open(story.address(), SITE);
    let applying = Running::start(&story.ops, &["apply", "prod", "--yes"]);
    wait_until("v3 serves", PATIENCE, || story.serves() == "v3");
    let switched = Instant::now();
    assert_eq!(socket.say("still").as_deref(), Some("still v2"), "a switch cuts no websocket");
    let closed_after = loop {
        if socket.say("there?").is_none() {
            break switched.elapsed();
        }
        assert!(switched.elapsed() < PATIENCE, "it is closed in the end");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(closed_after >= Duration::from_secs(3), "it had its grace: {closed_after:?}");
    assert_eq!(applying.end().0, Some(0));
    story.ops.assert_plan_is_empty();
    assert_eq!((story.answering().len(), story.running()), (1, 1));

    let report = load.stop();
    eprintln!("{report:#?}");
    lab.assert_none_lost(&report);
    assert!(report.requests > 500, "the load was real: {} requests", report.requests);
    assert_eq!(report.releases.keys().collect::<Vec<_>>(), ["v1", "v2", "v3"]);
}

/// Brings v2 with three replicas. While its migration waits, its slot is up and shown to those who may see it. A websocket of v1 is
/// waited for until its client closes it.
fn previewed_with_a_websocket(story: &Story<'_>) {
    let mut socket = Socket::open(story.address(), SITE);
    assert_eq!(socket.say("before").as_deref(), Some("before v1"));
    story.ship("v2", 3, "timeout: 2s, websockets: until_closed, max: 10m");
    let applying = Running::start(&story.ops, &["apply", "prod", "--yes"]);
    wait_until("v2 is to be seen", PATIENCE, || story.previews() == "v2");
    assert_eq!(story.serves(), "v1", "nobody else sees it");
    let status = |host: &str| {
        let header = format!("Host: {host}");
        let url = format!("http://127.0.0.1:{PORT}/");
        let argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url];
        story.lab.exec(&story.host().name, &argv)
    };
    assert_eq!((status(PREVIEW).as_str(), status(SITE).as_str()), ("403", "200"), "who is not named does not see it");

    story.migrate("v2");
    wait_until("v2 serves", PATIENCE, || story.serves() == "v2");
    // Addresses move one after another.
    wait_until("the slot that does not serve is the old one", PATIENCE, || story.previews() == "v1");
    // Longer than what has no websocket is waited for.
    let switched = Instant::now();
    while switched.elapsed() < Duration::from_secs(4) {
        assert_eq!(socket.say("after").as_deref(), Some("after v1"), "a switch cuts no websocket");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(socket);
    assert_eq!(applying.end().0, Some(0), "the drain ends when the websocket does");
    story.ops.assert_plan_is_empty();
    assert_eq!(story.running(), 3);
}
