//! A site of nps's own nginx configuration, with a certificate of a real ACME server that asks it over HTTP.

use std::process::{Command, Output};
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::ops::{Ops, text};
use serde_json::Value;

const ENVIRONMENT: &str = "environments/prod/environment.yaml";
const APP: &str = "environments/prod/nps.yaml";
const SITE: &str = "nps.example.com";
const NAMES: [&str; 3] = [SITE, "www.nps.example.com", "api.nps.example.com"];
const SERVICE: &str = "holdfast-certificate-prod-nps.service";
const DECLARATION: &str = "/var/lib/holdfast/apps/prod/nps/edge-certificate/nps.json";
pub(super) const TRUST: &str = "/srv/acme/trust.pem";
const HSTS: &str = "max-age=31536000; includeSubDomains";

const ENVIRONMENT_TEXT: &str = "\
hosts: { role: web }
certificates:
  nps:
    domains: [nps.example.com, www.nps.example.com]
    email: ops@example.com
    directory: https://localhost:14000/dir
    trust: /srv/acme/trust.pem
    hsts: { max_age: 365d, include_subdomains: true }
";

const APP_TEXT: &str = "\
app: nps
release: v1
variables: { domain: nps.example.com, aliases: [www.nps.example.com, api.nps.example.com], upstream: nps, local_port: 18480 }
components:
  web:
    systemd: systemd/nps-web@.service.j2
    strategy: blue_green
    ports: { api: { blue: 8101, green: 8201 }, site: { blue: 8102, green: 8202 } }
    files:
      - { path: \"{{ dir }}/server.py\", template: files/server.py.j2 }
    healthcheck: { tcp: { port: api }, interval: 100ms, timeout: 2s, retries: 40, start_period: 10s, passes: 2, min_healthy_time: 200ms }
    watch: { window: 300ms, max_error_ratio: 1% }
    drain: { timeout: 1s }
    prove: { port: 18480, path: /api/version, host: nps.example.com, json: release, expect: release }
  edge:
    nginx: nginx/nps.conf.j2
    certificate: nps
    upstreams: { nps_api: web.api, nps_site: web.site }
";

const UNIT: &str = "\
[Service]
ExecStart=/usr/bin/python3 {{ dir }}/server.py {{ port.api }} {{ port.site }} {{ release }}
[Install]
WantedBy=multi-user.target
";

const SERVER: &str = r#"
import base64, hashlib, json, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers()
            self.close_connection = True
            return
        body = dict(who=self.server.who, release=sys.argv[3], proto=self.headers["X-Forwarded-Proto"], pad="x" * 600)
        body = json.dumps(body).encode()
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


for who, port in (("api", sys.argv[1]), ("site", sys.argv[2])):
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Answer)
    server.who = who
    threading.Thread(target=server.serve_forever).start()
"#;

/// pebble as an authority of one's own: real HTTP validation against the site, and a key of its own for its API. By itself it refuses one
/// in twenty requests as a test of clients; what is tried again after ten minutes is no matter of this one.
pub(super) const AUTHORITY: &str = r#"set -e
mkdir -p /srv/acme
cd /srv/acme
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem 2>/dev/null
cat >pebble.json <<'X'
{ "pebble": { "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "/srv/acme/cert.pem",
  "privateKey": "/srv/acme/key.pem", "httpPort": 80, "tlsPort": 443 } }
X
systemd-run --quiet --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 /usr/bin/pebble -config /srv/acme/pebble.json
for _ in $(seq 100); do curl -s --cacert cert.pem -o root.pem https://localhost:15000/roots/0 && break; sleep 0.1; done
cat cert.pem root.pem >trust.new
mv trust.new trust.pem"#;

/// The lab's host with the site, and the clone that declares it.
struct Site {
    lab: Lab,
    ops: Ops,
    trust: tempfile::NamedTempFile,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::up("tls", "web", 1, &["--tree", "systems"]);
        let ops = Ops::blank(std::path::Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
        ops.take_definitions(&[]);
        for (path, content) in [
            (ENVIRONMENT, ENVIRONMENT_TEXT),
            (APP, APP_TEXT),
            ("templates/systemd/nps-web@.service.j2", UNIT),
            ("templates/files/server.py.j2", SERVER),
        ] {
            ops.write(path, content);
        }
        ops.ship("nps with a certificate");
        Self { lab, ops, trust: tempfile::NamedTempFile::new().unwrap() }
    }

    fn host(&self) -> &str {
        &self.lab.hosts[0].name
    }

    fn shell(&self, script: &str) -> String {
        self.lab.exec(self.host(), &["sh", "-c", script]).trim().to_owned()
    }

    /// Asks as a browser elsewhere would, who knows nothing but the authority.
    fn curl(&self, arguments: &[&str]) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "20"]);
        // An empty file is an error of its own to curl; before there is an authority, those of the machine count.
        if self.trust.as_file().metadata().unwrap().len() > 0 {
            curl.arg("--cacert").arg(self.trust.path());
        }
        for name in NAMES {
            for port in [80, 443] {
                curl.args(["--resolve", &format!("{name}:{port}:{}", self.lab.hosts[0].address)]);
            }
        }
        curl.args(arguments).output().unwrap()
    }

    /// Returns status and headers, names in lower case.
    fn head(&self, url: &str, more: &[&str]) -> (u16, Vec<(String, String)>) {
        let mut arguments = vec!["-D", "-", "-o", "/dev/null"];
        arguments.extend(more);
        arguments.push(url);
        let output = self.curl(&arguments);
        let text = text(&output);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
        (status.unwrap_or_else(|| panic!("{url}: {output:?}")), headers.collect())
    }

    fn json(&self, url: &str) -> Value {
        let output = self.curl(&[url]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{url}: {error}: {output:?}"))
    }

    /// How often nginx was reloaded.
    fn reloads(&self) -> usize {
        self.shell("journalctl -u nginx -o cat | grep -c '^Reloaded nginx' || :").parse().unwrap()
    }

    fn serial(&self) -> String {
        let ask = format!(
            "openssl s_client -connect 127.0.0.1:443 -servername {SITE} </dev/null 2>/dev/null | openssl x509 -noout -serial"
        );
        self.shell(&ask)
    }

    fn status(&self) -> Value {
        let output = self.ops.run_any(&["status", "prod", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        status["environments"][0]["apps"][0].clone()
    }

    fn is_issued_for(&self, names: usize) -> bool {
        let certificate = &self.status()["certificates"][0];
        certificate["domains"].as_array().is_some_and(|domains| domains.len() == names)
            && certificate["issuer"].as_str().is_some_and(|issuer| issuer.contains("Pebble"))
            && certificate["problem"] == ""
            && certificate["hsts"] == true
    }
}

/// Capabilities 40, 44, 45 and 47 on a real host.
#[test]
#[ignore = "needs the lab"]
fn cap_44_a_site_goes_live_has_its_certificate_issued_and_renewed_and_is_never_stopped() {
    let site = Site::new();
    site.shell(&format!("echo '127.0.0.1 {}' >>/etc/hosts", NAMES.join(" ")));

    // No authority yet: the site is live all the same.
    let plan = text(&site.ops.run_any(&["plan", "prod"]));
    assert!(plan.contains("holdfast-certificate-prod-nps.timer"), "{plan}");
    site.ops.run(&["apply", "prod", "--yes"]);
    site.ops.assert_plan_is_empty();
    let (status, headers) = site.head(&format!("https://{SITE}/"), &["--insecure"]);
    assert_eq!(status, 200);
    assert!(!headers.iter().any(|(name, _)| name == "strict-transport-security"), "nothing is proven: {headers:?}");
    assert_eq!(site.curl(&[&format!("https://{SITE}/")]).status.code(), Some(60), "nobody trusts what holds the place");
    wait_until("the status says what is missing", Duration::from_secs(60), || {
        site.status()["certificates"][0]["problem"].as_str().is_some_and(|problem| problem.contains(TRUST))
    });
    assert_eq!(site.status()["health"], "Degraded");

    // What the timer does every twenty minutes.
    site.lab.exec(site.host(), &["sh", "-c", AUTHORITY]);
    site.lab.exec(site.host(), &["systemctl", "start", SERVICE]);
    std::fs::write(site.trust.path(), site.lab.exec(site.host(), &["cat", "/srv/acme/root.pem"])).unwrap();
    assert!(site.is_issued_for(2), "{}", site.status());
    assert_eq!(site.status()["health"], "Healthy");
    for name in &NAMES[..2] {
        assert_eq!(site.json(&format!("https://{name}/api/version"))["release"], "v1", "{name} is trusted");
    }
    site.ops.assert_plan_is_empty();
    every_feature_works_on_every_location(&site);

    // Nothing is due, then renewed by force: one reload, and nothing but the certificate changed.
    let (before, reloads) = (site.serial(), site.reloads());
    site.lab.exec(site.host(), &["systemctl", "start", SERVICE]);
    assert_eq!((site.serial(), site.reloads()), (before.clone(), reloads));
    site.lab.exec(site.host(), &["/var/lib/holdfast/host/current", "certificate", "renew", DECLARATION]);
    assert_ne!(site.serial(), before);
    assert_eq!(site.reloads(), reloads + 1);
    assert!(site.is_issued_for(2), "{}", site.status());
    site.ops.assert_plan_is_empty();

    // Another name, and the run that fetches it is killed in the middle.
    let text = ENVIRONMENT_TEXT.replace("www.nps.example.com]", "www.nps.example.com, api.nps.example.com]");
    site.ops.write(ENVIRONMENT, &text);
    site.ops.ship("one more name");
    site.ops.run(&["apply", "prod", "--yes"]);
    let kill = format!(
        "for _ in $(seq 1000); do pgrep -x certbot >/dev/null && break; sleep 0.01; done; systemctl kill -s KILL {SERVICE}"
    );
    site.shell(&kill);
    site.lab.exec(site.host(), &["systemctl", "start", SERVICE]);
    assert!(site.is_issued_for(3), "{}", site.status());
    assert_eq!(site.json("https://api.nps.example.com/api/version")["release"], "v1");

    // Lost by hand: what was issued is put back, and nobody is asked.
    let serial = site.serial();
    site.shell("rm -r /var/lib/holdfast/certificates/prod/nps/live /var/lib/holdfast/certificates/prod/nps/pairs");
    let plan = text_of(&site, &["plan", "prod"]);
    assert!(plan.contains("certificate-missing") || plan.contains("certificate that is not there"), "{plan}");
    site.ops.run(&["apply", "prod", "--yes"]);
    wait_until("the certificate is back", Duration::from_secs(60), || site.is_issued_for(3));
    assert_eq!(site.serial(), serial);
    site.ops.assert_plan_is_empty();

    // Only the host knows the keys.
    let journal = site.shell("journalctl -o cat | grep -c 'PRIVATE KEY' || :");
    assert_eq!(journal, "0");
    assert!(!String::from_utf8_lossy(&site.ops.transcript()).contains("PRIVATE KEY"));
}

fn text_of(site: &Site, arguments: &[&str]) -> String {
    text(&site.ops.run_any(arguments))
}

/// The guide's configuration, feature by feature.
fn every_feature_works_on_every_location(site: &Site) {
    let https = |path: &str| format!("https://{SITE}{path}");
    let one = |headers: &[(String, String)], name: &str| -> String {
        let found: Vec<&str> = headers.iter().filter(|(k, _)| k == name).map(|(_, v)| v.as_str()).collect();
        found.join(" | ")
    };
    let cached = "public, max-age=2592000, immutable";
    for (path, wanted, cache) in [
        ("/", 200, "no-cache"),
        ("/missing", 404, ""),
        ("/app.js", 200, cached),
        ("/missing.js", 404, ""),
        ("/api/version", 200, ""),
        ("/api/missing", 404, ""),
        ("/api/logo.svg", 200, ""),
        ("/ws", 200, ""),
        ("/nginx-health", 200, ""),
    ] {
        let (status, headers) = site.head(&https(path), &[]);
        assert_eq!(status, wanted, "{path}");
        for (name, value) in [
            ("strict-transport-security", HSTS),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("x-xss-protection", "1; mode=block"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("cache-control", cache),
        ] {
            assert_eq!(one(&headers, name), value, "{name} of {path}: {headers:?}");
        }
    }
    for (path, who) in [("/app.js", "site"), ("/logo.svg", "site"), ("/api/logo.svg", "api"), ("/api/app.js", "api")] {
        let answer = site.json(&https(path));
        assert_eq!((&answer["who"], &answer["proto"]), (&who.into(), &"https".into()), "{path}");
    }

    // Port 80 sends everything on but what must answer there.
    let (status, headers) = site.head(&format!("http://{SITE}/api/version?a=b"), &[]);
    assert_eq!((status, one(&headers, "location")), (301, https("/api/version?a=b")));
    assert_eq!(site.head(&format!("http://{SITE}/nginx-health"), &[]).0, 200);

    // TLS.
    let refused = site.curl(&["--tls-max", "1.1", "--tlsv1.0", &https("/")]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(site.curl(&["--tls-max", "1.2", &https("/")]).status.success());
    let session = format!("openssl s_client -connect 127.0.0.1:443 -servername {SITE} -tls1_2 </dev/null 2>/dev/null");
    let session = site.shell(&session);
    assert!(session.contains("Cipher    : ECDHE-") && session.contains("GCM-SHA"), "{session}");
    assert!(!session.contains("TLS session ticket:"), "{session}");
    assert!(text(&site.curl(&["-o", "/dev/null", "-w", "%{http_version}", &https("/")])).ends_with('2'));

    let (_, headers) = site.head(&https("/api/version"), &["--compressed"]);
    assert_eq!((one(&headers, "content-encoding"), one(&headers, "vary")), ("gzip".into(), "Accept-Encoding".into()));

    let upgrade = [
        "--http1.1",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let (status, headers) = site.head(&https("/ws"), &upgrade);
    assert_eq!((status, one(&headers, "sec-websocket-accept")), (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into()));

    // Past the burst; the zone for signing in is the stricter one. Errors of nginx itself have the headers, too.
    let many = |path: &str, count: usize| -> Vec<u16> {
        let mut arguments = vec!["-w", "%{http_code}\n"];
        let url = https(path);
        for _ in 0..count {
            arguments.extend(["-o", "/dev/null", &url]);
        }
        text(&site.curl(&arguments)).lines().map(|line| line.parse().unwrap()).collect()
    };
    let codes = many("/api/auth/login", 12);
    assert!(codes[..5].iter().all(|code| *code == 200) && codes[8..].contains(&429), "{codes:?}");
    let (status, headers) = site.head(&https("/api/auth/login"), &[]);
    assert_eq!((status, one(&headers, "strict-transport-security")), (429, HSTS.into()));
    let codes = many("/api/version", 150);
    assert!(codes[..40].iter().all(|code| *code == 200) && codes.contains(&429), "{codes:?}");
    assert!(many("/", 150).iter().all(|code| *code == 200), "the site itself has no limit");
}
