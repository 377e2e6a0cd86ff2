//! A secret is on the hosts that need it, in files that only root can read, and nowhere else in any form.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_testkit::canary::{Canary, assert_unseen, files_below, holders, seen};
use holdfast_testkit::host::Holdings;
use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::ops::{Ops, yaml};

const HOST: &str = "vault1";

/// Each call makes its own: a test that looks at all processes of the machine must not see another's, which says them aloud.
fn canaries() -> Vec<Canary> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let own = format!("{}n{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    let canary =
        |name, before: &str, fragment: &str, after: &str| Canary::new(name, before, &format!("{fragment}{own}"), after);
    vec![
        canary("db.password", "Db9#x$'\"%k", "Qw7LmZ2pXc4VbN8tRy", ";{}\\t ü"),
        canary("web.token", "Ng\"'\\ %;", "Hj3KdS6fGa1PoI9uEw", "{}#="),
        canary("box.key", "-----BEGIN\n", "Zx5CvB0nMq8WeR3tYu", "\n$END-----\n"),
        // What the second release rotates to.
        canary("db.password", "New$", "Lk4JhG7fDs2AqW9eRt", "'\""),
    ]
}

fn seal(ops: &Ops, [password, token, key]: [&Canary; 3]) {
    let (password, token, key) = (yaml(&password.value), yaml(&token.value), yaml(&key.value));
    ops.seal("prod", &format!("db:\n  password: {password}\nweb:\n  token: {token}\nbox:\n  key: {key}\n"));
}

fn write(ops: &Ops) {
    ops.write("environments/prod/environment.yaml", "hosts: { role: web }\nsync: { mode: automatic, drift: report }\n");
    // Comes first and has no secret: it must not change either when the next one's cannot be had.
    ops.write(
        "environments/prod/early.yaml",
        "app: early\nrelease: v1\ncomponents:\n  note:\n    files:\n      - { path: /etc/early.txt, template: files/early.txt.j2 }\n",
    );
    ops.write("templates/files/early.txt.j2", "early\n");
    ops.write("environments/prod/vault.yaml", APP);
    ops.write("templates/files/vault.env.j2", "PASSWORD={{ secrets.db.password }}\n");
    ops.write("templates/files/dsn.j2", "postgresql://app:{{ secrets.db.password | urlencode }}@127.0.0.1/db\n");
    ops.write("templates/files/basic.j2", "Basic {{ (\"app:\" ~ secrets.db.password) | b64encode }}\n");
    ops.write("templates/files/json.j2", "{\"token\": \"{{ secrets.web.token | json }}\"}\n");
    ops.write("templates/files/key.pem.j2", "{{ secrets.box.key }}");
    ops.write("templates/files/credential.j2", "{{ secrets.db.password }}");
    ops.write("templates/systemd/vault.service.j2", UNIT);
    ops.write("templates/compose/box.yaml.j2", BOX);
    ops.write("templates/nginx/edge.conf.j2", SITE);
}

const APP: &str = r#"app: vault
release: v1
components:
  svc:
    systemd: systemd/vault.service.j2
    strategy: in_place
    files:
      - { path: "{{ dir }}/vault.env", template: files/vault.env.j2, format: systemd_env }
      - { path: "{{ dir }}/credential", template: files/credential.j2 }
      - { path: "{{ dir }}/dsn", template: files/dsn.j2 }
      - { path: /etc/vault.basic, template: files/basic.j2 }
      - { path: /etc/vault.json, template: files/json.j2, owner: www-data, group: www-data }
    healthcheck: { state: true, interval: 100ms, passes: 1, min_healthy_time: 100ms }
  box:
    compose: compose/box.yaml.j2
    strategy: in_place
    files:
      - { path: "{{ dir }}/key.pem", template: files/key.pem.j2 }
    healthcheck: { state: true, interval: 100ms, passes: 1, min_healthy_time: 100ms }
  edge:
    nginx: nginx/edge.conf.j2
"#;

const UNIT: &str = r"[Unit]
Description=vault
[Service]
EnvironmentFile={{ dir }}/vault.env
LoadCredential=password:{{ dir }}/credential
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
";

const BOX: &str = r#"services:
  box:
    image: standin:1
    logging: { driver: local }
    environment:
      TOKEN: "{{ secrets.web.token }}"
    volumes:
      - "{{ dir }}/key.pem:/run/secrets/key.pem:ro"
"#;

const SITE: &str = r#"server {
    listen 8180;
    location / { if ($http_x_token = "{{ secrets.web.token }}") { return 204; } return 403; }
}
"#;

/// The files that hold one, 0600 and of their owner.
const DESTINATIONS: [(&str, &str); 8] = [
    ("/etc/nginx/conf.d/holdfast-prod-vault-edge.conf", "root"),
    ("/etc/vault.basic", "root"),
    ("/etc/vault.json", "www-data"),
    ("/var/lib/holdfast/apps/prod/vault/box/compose.yaml", "root"),
    ("/var/lib/holdfast/apps/prod/vault/box/key.pem", "root"),
    ("/var/lib/holdfast/apps/prod/vault/svc/credential", "root"),
    ("/var/lib/holdfast/apps/prod/vault/svc/dsn", "root"),
    ("/var/lib/holdfast/apps/prod/vault/svc/vault.env", "root"),
];

/// A release that fails: what happens, the app's component, its templates.
type Failure = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Each fails in a way of its own, with a tool or a program of the app that says a secret aloud.
const FAILURES: [Failure; 6] = [
    (
        "nginx is given a secret for a port",
        "  edge:\n    nginx: nginx/bad.conf.j2\n",
        &[("nginx/bad.conf.j2", "server {\n    listen {{ secrets.web.token }};\n}\n")],
    ),
    (
        "compose is given a secret for a size",
        "  box:\n    compose: compose/bad.yaml.j2\n    strategy: in_place\n",
        &[(
            "compose/bad.yaml.j2",
            "services:\n  box:\n    image: standin:1\n    logging: { driver: local }\n    mem_limit: \"{{ secrets.web.token }}\"\n",
        )],
    ),
    (
        "the engine is given a secret for a list of processors",
        "  box:\n    compose: compose/bad.yaml.j2\n    strategy: in_place\n",
        &[(
            "compose/bad.yaml.j2",
            "services:\n  box:\n    image: standin:1\n    logging: { driver: local }\n    cpuset: \"{{ secrets.web.token }}\"\n",
        )],
    ),
    (
        "a migration prints its environment in every form",
        "  box:\n    compose: compose/bad.yaml.j2\n    strategy: in_place\n    migrate: { command: [python3, /print.py, fail], reversible: true }\n    files:\n      - { path: \"{{ dir }}/print.py\", template: files/print.py.j2 }\n",
        &[("compose/bad.yaml.j2", PRINTS), ("files/print.py.j2", PRINT)],
    ),
    (
        "a health command prints its environment",
        "  box:\n    compose: compose/bad.yaml.j2\n    strategy: in_place\n    healthcheck: { command: { service: box, argv: [python3, /print.py, fail] }, interval: 100ms, retries: 1, start_period: 0s }\n    files:\n      - { path: \"{{ dir }}/print.py\", template: files/print.py.j2 }\n",
        &[("compose/bad.yaml.j2", PRINTS), ("files/print.py.j2", PRINT)],
    ),
    (
        "a service logs what it was given and ends",
        "  svc:\n    systemd: systemd/bad.service.j2\n    strategy: in_place\n    healthcheck: { state: true, interval: 100ms, retries: 1, start_period: 0s }\n    files:\n      - { path: \"{{ dir }}/bad.env\", template: files/bad.env.j2, format: systemd_env }\n      - { path: \"{{ dir }}/print.py\", template: files/print.py.j2 }\n",
        &[
            ("files/bad.env.j2", "TOKEN={{ secrets.web.token }}\nPASSWORD={{ secrets.db.password }}\n"),
            ("files/print.py.j2", PRINT),
            (
                "systemd/bad.service.j2",
                "[Service]\nEnvironmentFile={{ dir }}/bad.env\nExecStart=/usr/bin/python3 {{ dir }}/print.py fail\n[Install]\nWantedBy=multi-user.target\n",
            ),
        ],
    ),
];

const PRINTS: &str = r#"services:
  box:
    image: standin:1
    logging: { driver: local }
    command: [python3, -c, "import signal, os; signal.signal(15, lambda *_: os._exit(0)); signal.pause()"]
    environment:
      TOKEN: "{{ secrets.web.token }}"
      PASSWORD: "{{ secrets.db.password }}"
    volumes:
      - "{{ dir }}/print.py:/print.py:ro"
"#;

const PRINT: &str = r"import base64, json, os, sys, urllib.parse

for name in ('TOKEN', 'PASSWORD'):
    value = os.environ[name].encode()
    for form in (
        value, value.hex().encode(), value.hex().upper().encode(), urllib.parse.quote(value, safe='').encode(),
        json.dumps(os.environ[name]).encode(), repr(os.environ[name]).encode(), value[5:], value[:-5],
        *(base64.b64encode(before + value) for before in (b'', b'x', b'xx')),
        *(base64.urlsafe_b64encode(before + value) for before in (b'', b'x', b'xx')),
    ):
        sys.stderr.buffer.write(name.encode() + b' ' + form + b'\n')
sys.stderr.write('the end of the log\n')
sys.exit(1)
";

/// Reads command lines and environments of all processes over and over while something runs.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(BTreeSet<Vec<u8>>, usize)>,
}

impl Sampler {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let ours = fs::read_link("/proc/self/ns/pid").ok();
            let (mut seen, mut rounds) = (BTreeSet::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let path = entry.path();
                    let cmdline = fs::read(path.join("cmdline")).unwrap_or_default();
                    if cmdline.is_empty() {
                        continue;
                    }
                    // The app's own processes on the host are given their secrets; Holdfast's, there and here, never are.
                    let text = String::from_utf8_lossy(&cmdline);
                    let tool = ["holdfast", "docker\0compose", "systemctl", "systemd-analyze", "nginx\0-t"];
                    if fs::read_link(path.join("ns/pid")).ok() == ours || tool.iter().any(|tool| text.contains(tool)) {
                        seen.insert(fs::read(path.join("environ")).unwrap_or_default());
                    }
                    seen.insert(cmdline);
                }
                rounds += 1;
                std::thread::park_timeout(Duration::from_millis(5));
            }
            (seen, rounds)
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<u8> {
        self.stop.store(true, Ordering::Relaxed);
        let (seen, rounds) = self.thread.join().expect("the sampler");
        assert!(rounds > 20, "{rounds} looks are not enough");
        let text = seen.into_iter().collect::<Vec<_>>().join(&b'\n');
        let shown = String::from_utf8_lossy(&text);
        for program in ["holdfast-host\0serve", "holdfast-host\0run", "docker\0compose"] {
            assert!(shown.contains(program), "the sampler saw {program:?}");
        }
        text
    }
}

/// The daemon, whose log is among the files that are looked at.
struct Daemon(Child);

impl Daemon {
    fn start(ops: &Ops) -> Self {
        let log = fs::File::create(ops.work.with_file_name("daemon.log")).expect("a log");
        let mut command = ops.holdfast(&["daemon", "-vv"]);
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let daemon = Self(command.spawn().expect("holdfast starts"));
        let socket = ops.runtime().join("control");
        wait_until("the daemon listens", Duration::from_secs(30), || socket.exists());
        daemon
    }

    /// Ends it as systemd would.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the daemon runs");
        assert!(self.0.wait().expect("it ends").success(), "the daemon ends well");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every file of the host that holds one is a destination, or stored for the next time, and its owner's alone.
fn assert_host(lab: &Lab, canaries: &[Canary], destinations: &[(&str, &str)]) {
    let root = &lab.hosts[0].root;
    let mut holding = BTreeSet::new();
    for folder in ["etc", "var/lib/holdfast", "var/log", "var/tmp", "opt", "srv", "root", "home", "var/spool"] {
        for (path, seen) in holders(canaries, &root.join(folder)) {
            let on_host = format!("/{}", path.strip_prefix(root).expect("below the root").display());
            // systemd's journal is read in its own words below.
            if on_host.starts_with("/var/log/journal/") {
                continue;
            }
            let stored =
                ["/var/lib/holdfast/blobs/", "/var/lib/holdfast/masks/"].iter().any(|at| on_host.starts_with(at));
            let wanted = destinations.iter().find(|(path, _)| *path == on_host).map(|(_, owner)| *owner);
            assert!(stored || wanted.is_some(), "{on_host} holds {seen}");
            let owner = wanted.unwrap_or("root");
            let id = lab.exec(HOST, &["id", "--user", owner]).trim().parse::<u32>().expect("a number");
            let data = fs::metadata(&path).expect("a file");
            assert_eq!((data.mode() & 0o7777, data.uid()), (0o600, id), "{on_host} is for {owner} alone");
            holding.insert(on_host);
        }
    }
    for (wanted, _) in destinations {
        assert!(holding.contains(*wanted), "{wanted} should hold a secret: the search would find it");
    }
    assert!(holding.iter().any(|path| path.starts_with("/var/lib/holdfast/masks/")), "masks are looked at");
    for argv in [
        ["grep", "--recursive", "--binary-files=text", "", "/run/holdfast"].as_slice(),
        &["systemctl", "show", "vault.service"],
        &["systemctl", "show", "--all", "holdfast-*"],
        &["docker", "logs", "prod-vault-box-box-1"],
    ] {
        assert_unseen(canaries, &format!("{argv:?}"), &everything(&lab_exec(lab, argv)));
    }
    assert_journal(lab, canaries);
}

/// What anybody but the apps themselves wrote into the host's journal.
fn assert_journal(lab: &Lab, canaries: &[Canary]) {
    let output = lab_exec(lab, &["journalctl", "--no-pager", "--all", "--output=json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() > 20, "the journal is read");
    for line in text.lines().filter(|line| !seen(canaries, line.as_bytes()).is_empty()) {
        let entry: serde_json::Value = serde_json::from_str(line).expect("the journal speaks JSON");
        let unit = entry["_SYSTEMD_UNIT"].as_str().unwrap_or_default();
        assert_eq!(unit, "bad.service", "the host's journal holds {:?}", seen(canaries, line.as_bytes()));
    }
}

fn lab_exec(lab: &Lab, argv: &[&str]) -> Output {
    let mut arguments = vec!["exec", HOST, "--"];
    arguments.extend(argv);
    lab.try_run(&arguments)
}

fn everything(output: &Output) -> Vec<u8> {
    [output.stdout.as_slice(), &output.stderr].concat()
}

fn assert_manager(ops: &Ops, canaries: &[Canary], files_of_ours: &[&str]) {
    assert_unseen(canaries, "what the program printed", &ops.transcript());
    let folder = ops.work.parent().expect("a parent");
    let files = files_below(folder);
    for name in files_of_ours {
        assert!(files.iter().any(|path| path.ends_with(name)), "{name} is looked at");
    }
    let holding = holders(canaries, folder);
    assert!(holding.is_empty(), "the management box holds {holding:?}");
}

/// Runs everything that shows something.
fn show(ops: &Ops, when: &str) {
    let saved = ops.work.with_file_name(format!("{when}.plan"));
    let (saved, rendered) = (saved.display().to_string(), saved.with_extension("rendered").display().to_string());
    for arguments in [
        &["validate"] as &[&str],
        &["validate", "--json"],
        &["render", "prod", "--out", &rendered],
        &["diff", "HEAD~1..HEAD"],
        &["diff", "HEAD~1..HEAD", "--json"],
        &["diff", "HEAD~1..HEAD", "--format", "markdown"],
        &["plan", "prod", "--out", &saved],
        &["plan", "prod", "--json"],
        &["plan", "prod", "--format", "markdown"],
        &["plan", "prod", "--format", "html"],
        &["explain", "prod"],
        &["explain", "prod", "--json"],
        &["status", "prod"],
        &["status", "prod", "--json"],
        &["history", "prod"],
        &["history", "prod", "--json"],
        &["unlock", "prod"],
        &["unlock", "prod", "--json"],
        &["doctor", "--host", HOST],
        &["doctor", "--host", HOST, "--json"],
    ] {
        ops.run(arguments);
    }
}

/// Shows what would change, for people and for programs.
fn plan(ops: &Ops) {
    ops.run(&["plan", "prod"]);
    ops.run(&["plan", "prod", "--json"]);
    ops.run(&["status", "prod", "--json"]);
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&everything(output)).into_owned()
}

/// Without a key everything can be looked at, and nothing is applied.
fn without_a_key(lab: &Lab, ops: &Ops) {
    let with = fs::read_to_string(&ops.config).expect("manager.yaml");
    let without: String =
        with.lines().filter(|line| !line.starts_with("age_key_files")).map(|line| format!("{line}\n")).collect();
    assert_ne!(with, without);
    fs::write(&ops.config, without).expect("manager.yaml");
    let plan = ops.run(&["plan", "prod", "--json"]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("/etc/vault.basic"), "a plan needs no key");
    let diff = said(&ops.run(&["diff", "HEAD~1..HEAD"]));
    let fingerprints: BTreeSet<&str> = diff
        .split("‹secret db.password ")
        .skip(1)
        .filter_map(|rest| rest.split_once('›'))
        .map(|(print, _)| print)
        .collect();
    let is_print = |print: &&str| print.len() == 16 && print.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(fingerprints.len() == 2 && fingerprints.iter().all(is_print), "old and new fingerprint: {fingerprints:?}");
    let before = Holdings::of(lab, HOST);
    let output = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(output.status.code(), Some(3), "an apply without the key is refused");
    for wanted in ["db.password", "environments/prod/secrets.sops.yaml", "age", "templates/files/"] {
        assert!(said(&output).contains(wanted), "the refusal does not name {wanted}:\n{}", said(&output));
    }
    before.assert_same(lab, HOST, "an apply without the key changes nothing");
    assert!(!lab.hosts[0].root.join("etc/early.txt").exists(), "not even the app without a secret");
    fs::write(&ops.config, with).expect("manager.yaml");
}

/// Returns the numbers of all syncs.
fn syncs(ops: &Ops) -> Vec<i64> {
    let history = ops.run(&["history", "prod", "--limit", "50", "--json"]);
    let history: serde_json::Value = serde_json::from_slice(&history.stdout).expect("JSON");
    let syncs = history["syncs"].as_array().expect("syncs");
    assert!(syncs.len() > FAILURES.len(), "{history:#}");
    syncs.iter().map(|sync| sync["id"].as_i64().expect("a number")).collect()
}

/// Pushes a release that fails to the daemon, and returns what the pusher was shown.
fn push_failure(ops: &Ops, (what, component, templates): Failure) -> String {
    for (path, text) in templates {
        ops.write(&format!("templates/{path}"), text);
    }
    ops.write("environments/prod/bad.yaml", &format!("app: bad\nrelease: v1\ncomponents:\n{component}"));
    ops.commit(what);
    let shown = ops.push();
    eprintln!("== {what}\n{shown}");
    assert!(shown.contains("‹secret›"), "{what}: the pusher sees that there was something to hide:\n{shown}");
    shown
}

#[test]
#[ignore = "needs the lab"]
fn cap_49_a_secret_is_seen_nowhere_but_in_the_file_that_needs_it() {
    let lab = Lab::up("secvlt", "vault", 1, &["--images"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let all = canaries();
    let [old, token, key, new] = all.as_slice() else { panic!("four") };
    write(&ops);
    seal(&ops, [new, token, key]);
    ops.ship("the first secrets");
    seal(&ops, [old, token, key]);
    ops.ship("other secrets");

    without_a_key(&lab, &ops);

    let sampler = Sampler::start();
    show(&ops, "first");
    ops.run(&["apply", "prod", "--yes", "--json"]);
    assert_unseen(&all, "a command line or environment", &sampler.stop());
    ops.assert_plan_is_empty();
    assert_host(&lab, &all, &DESTINATIONS);

    // Rotated, and one taken out of a file: what stands there still is not shown in the plan that takes it out.
    seal(&ops, [new, token, key]);
    ops.write("templates/files/json.j2", "{}\n");
    ops.ship("rotated, and one less");
    plan(&ops);
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();
    let left: Vec<_> = DESTINATIONS.into_iter().filter(|(path, _)| *path != "/etc/vault.json").collect();
    assert_host(&lab, &all, &left);
    // Somebody changes a file that held one, and one that holds one.
    for path in ["etc/vault.json", "etc/vault.basic"] {
        fs::write(lab.hosts[0].root.join(path), format!("by hand: {}\n", token.value)).expect("a file of the host");
    }
    plan(&ops);
    ops.run(&["apply", "prod", "--yes"]);
    ops.run(&["rollback", "prod", "vault", "--yes"]);
    assert_host(&lab, &all, &DESTINATIONS);
    show(&ops, "last");
    assert_manager(&ops, &all, &["holdfast.sqlite"]);
}

#[test]
#[ignore = "needs the lab"]
fn cap_49_a_secret_that_a_failure_says_aloud_is_shown_to_nobody() {
    let lab = Lab::up("secbad", "vault", 1, &["--images"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let all = canaries();
    let [old, token, key, _] = all.as_slice() else { panic!("four") };
    write(&ops);
    seal(&ops, [old, token, key]);
    ops.ship("secrets");
    ops.run(&["apply", "prod", "--yes"]);

    let hook = ["hook", "install", &ops.bare.display().to_string()].map(str::to_owned);
    ops.run(&hook.each_ref().map(String::as_str));
    let daemon = Daemon::start(&ops);
    for failure in FAILURES {
        let shown = push_failure(&ops, failure);
        assert_unseen(&all, failure.0, shown.as_bytes());
    }
    // The same by hand.
    ops.run_any(&["apply", "prod", "--yes"]);
    ops.run_any(&["apply", "prod", "--yes", "--json"]);
    daemon.stop();
    for sync in syncs(&ops) {
        ops.run(&["history", "prod", "--sync", &sync.to_string(), "--json"]);
    }
    show(&ops, "last");
    assert_host(&lab, &all, &DESTINATIONS);
    assert_manager(&ops, &all, &["holdfast.sqlite", "daemon.log"]);
}
