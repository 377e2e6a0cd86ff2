//! A repository on another machine, over ssh and https.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;

use super::{Daemon, configure, is, log};

const TOKEN: &str = "canary-t0ken-7Qx";

/// nginx with TLS and a password in front, git's own CGI program behind it.
const SITE: &str = r#"
server {
    listen 8443 ssl;
    ssl_certificate /srv/tls/server.pem;
    ssl_certificate_key /srv/tls/server.key;
    client_max_body_size 0;
    location / {
        auth_basic "ops";
        auth_basic_user_file /srv/tls/users;
        proxy_pass http://127.0.0.1:8480;
    }
}
"#;

const GIT_OVER_HTTP: &str = r#"
import os, subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Git(BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        variables = dict(os.environ, GIT_PROJECT_ROOT="/srv/git", GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path,
                         QUERY_STRING=query, REQUEST_METHOD=self.command, CONTENT_LENGTH=str(len(body)),
                         CONTENT_TYPE=self.headers.get("Content-Type", ""), REMOTE_ADDR="127.0.0.1",
                         GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
                         HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""))
        said = subprocess.run(["git", "http-backend"], input=body, env=variables, stdout=subprocess.PIPE).stdout
        head, _, content = said.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((value for name, value in fields if name == "Status"), "200")
        self.send_response(int(status.split()[0]))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET


ThreadingHTTPServer(("127.0.0.1", 8480), Git).serve_forever()
"#;

/// Sets the server up; returns its certificate authority.
fn serve_https(lab: &Lab) -> String {
    let host = lab.host("mgmt");
    let put = |path: &str, text: &str| fs::write(host.root.join(path), text).expect("a file of the host");
    let exec = |argv: &[&str]| drop(lab.exec("mgmt", argv));
    exec(&["mkdir", "-p", "/srv/tls"]);
    let key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let names = format!("subjectAltName=IP:{}", host.address);
    let certificate = ["-days", "2", "-subj", "/CN=ops", "-addext", &names];
    let files = ["-keyout", "/srv/tls/server.key", "-out", "/srv/tls/server.pem"];
    exec(&[&key[..], &certificate, &files].concat());
    put("srv/tls/users", &format!("bot:{{PLAIN}}{TOKEN}\n"));
    put("srv/tls/git.py", GIT_OVER_HTTP);
    put("etc/nginx/conf.d/git.conf", SITE);
    exec(&["systemd-run", "--quiet", "--unit", "git-http", "/usr/bin/python3", "/srv/tls/git.py"]);
    exec(&["systemctl", "restart", "nginx.service"]);
    fs::read_to_string(host.root.join("srv/tls/server.pem")).expect("a certificate")
}

#[test]
#[ignore = "needs the lab"]
fn cap_01_a_repository_elsewhere_is_followed_with_pinned_keys_and_a_token() {
    let lab = Lab::up("dar", "web", 1, &["--no-docker", "--mgmt"]);
    let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let (mgmt, web) = (lab.host("mgmt"), lab.host("web1"));
    lab.exec("mgmt", &["git", "init", "-q", "--bare", "-b", "main", "/srv/git/ops.git"]);
    let ssh = lab.identity.with_file_name("ssh_config");
    ops.git(&["config", "core.sshCommand", &format!("ssh -F {}", ssh.display())]);
    ops.git(&["remote", "set-url", "origin", "mgmt:/srv/git/ops.git"]);
    ops.push();
    configure(&ops, "repository", &format!("ssh://root@{}/srv/git/ops.git", mgmt.address));
    configure(&ops, "poll_interval", "1s");
    let pin = |key: &str| {
        configure(&ops, "ssh", &format!("{{ identity: {}, repository_host_key: {key} }}", lab.identity.display()));
    };
    let refused = |why: &str| {
        let output = ops.run_any(&["plan", "prod"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(0));
        assert!(said.contains(why), "wanted {why:?}: {said}");
    };

    // Another host's key.
    pin(&web.host_key);
    refused("the server's host key is not the pinned one");
    assert!(!is(web, "v1"), "nothing was applied");
    pin(&mgmt.host_key);
    let daemon = Daemon::start(&ops);
    daemon.serves(&lab.hosts, "v1");
    super::replace(&ops, "environments/prod/environment.yaml", "drift: report", "drift: heal");
    ops.release("v2");
    ops.push();
    daemon.serves(&lab.hosts, "v2");
    daemon.rests();

    // The server is away: said, since when and why, and what was fetched stays in force, also for a daemon that starts meanwhile.
    lab.exec("mgmt", &["systemctl", "stop", "ssh.service", "ssh.socket"]);
    daemon.wait("it says that it cannot fetch", || {
        daemon.said().contains("the daemon cannot fetch the repository since 20")
    });
    drop(daemon);
    let said = ops.run_any(&["status", "prod"]);
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    for wanted in ["v2", "no daemon runs here", "shown is what was fetched before"] {
        assert!(said.contains(wanted), "wanted {wanted:?}: {said}");
    }
    let daemon = Daemon::start(&ops);
    daemon.rests();
    let said = daemon.said();
    for wanted in ["v2", "Synced", "cannot fetch the repository since"] {
        assert!(said.contains(wanted), "wanted {wanted:?}: {said}");
    }
    let status = daemon.status().expect("a status");
    assert!(status["daemon"]["unfetched"]["since"].as_u64() > Some(1_700_000_000_000), "{status:#}");
    assert!(status["environments"][0]["daemon"]["problem"].is_null(), "{status:#}");
    lab.exec("web1", &["systemctl", "stop", "quick@*.service"]);
    daemon.serves(&lab.hosts, "v2");
    lab.exec("mgmt", &["systemctl", "start", "ssh.service"]);
    daemon.wait("it recovers", || !daemon.said().contains("cannot fetch"));
    drop(daemon);
    let noted = fs::read_to_string(log(&ops)).expect("a log");
    assert_eq!(noted.matches("the repository can be fetched again").count(), 1, "{noted}");

    // Over https: an authority that nobody knows, no token, a token that others read, a wrong one, the right one.
    let authority = ops.work.with_file_name("ca.pem");
    fs::write(&authority, serve_https(&lab)).expect("a file");
    configure(&ops, "repository", &format!("https://bot@{}:8443/ops.git", mgmt.address));
    refused("the server's certificate is not trusted here");
    configure(&ops, "https", &format!("{{ ca_file: {} }}", authority.display()));
    refused("the server wants a login");
    let token = ops.work.with_file_name("token");
    let write = |text: &str, mode: u32| {
        fs::write(&token, text).expect("a file");
        fs::set_permissions(&token, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    configure(&ops, "https", &format!("{{ ca_file: {}, token_file: {} }}", authority.display(), token.display()));
    write(TOKEN, 0o644);
    refused("may be read by others (mode 0644); run `chmod 0600` on it");
    write("canary-wrong-one", 0o600);
    refused("the server wants a login and does not take what it got");
    write(&format!("{TOKEN}\n"), 0o600);
    let daemon = Daemon::start(&ops);
    ops.release("v3");
    ops.push();
    daemon.serves(&lab.hosts, "v3");
    // The daemon may still be at the end of its sync; a plan takes no lock.
    daemon.wait("a plan finds nothing to do", || ops.plan_is_empty());
    drop(daemon);
    let everything = [fs::read(log(&ops)).expect("a log"), ops.transcript()].concat();
    assert!(!String::from_utf8_lossy(&everything).contains("canary-"), "a token was told");
}
