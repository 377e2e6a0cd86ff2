//! Apps of every strategy from one small program, whose faults are files that a test puts on a host.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use holdfast_testkit::lab::LabHost;
use holdfast_testkit::load::{Load, LoadSpec, release_at};
use holdfast_testkit::ops::Ops;

/// The name of its site.
pub(crate) const SITE: &str = "crew.example.net";

/// nginx's port for the units.
pub(crate) const UNITS: u16 = 8100;

/// nginx's port for the containers.
pub(crate) const CONTAINERS: u16 = 8110;

const CREW: &str = include_str!("crew.py");

/// Writes the templates that all apps here share.
pub(crate) fn templates(ops: &Ops) {
    ops.write("templates/files/crew.py.j2", &format!("{{% raw %}}{CREW}{{% endraw %}}"));
    let unit = |name: &str, arguments: &str| {
        let text = format!(
            "[Unit]\nDescription={name} {{{{ release }}}}\n\n[Service]\nExecStart=/usr/bin/python3 {{{{ dir }}}}/crew.py {arguments}\n\
             Restart=always\nRestartSec=100ms\n\n[Install]\nWantedBy=multi-user.target\n"
        );
        ops.write(&format!("templates/systemd/{name}.service.j2"), &text);
    };
    unit("crew-api@", "serve api {{ release }} {{ port.http }} 127.0.0.1");
    unit("crew-worker@", "work worker {{ release }}");
    unit("crew-cron", "alone cron {{ release }}");
    unit("crew-roll", "serve roll {{ release }} {{ port.http }} 127.0.0.1");
    let compose_with = |name: &str, restart: &str, rest: &str| {
        let text = format!(
            "services:\n  {name}:\n    image: standin:1\n    logging: {{ driver: local }}\n    restart: \"{restart}\"\n    stop_grace_period: 60s\n    entrypoint: [python3, -u, /crew.py]\n    \
             volumes: [\"{{{{ dir }}}}/crew.py:/crew.py:ro\", \"/srv:/srv\"{rest}"
        );
        ops.write(&format!("templates/compose/{name}.yaml.j2"), &text);
    };
    let compose = |name: &str, rest: &str| compose_with(name, "always", rest);
    let command = |words: &str| format!("]\n    command: [{words}]\n");
    compose(
        "web",
        &(command("serve, web, \"{{ release }}\", \"8000\", 0.0.0.0")
            + "    ports: [\"127.0.0.1:{{ port.http }}:8000\"]\n"),
    );
    compose("cworker", &command("work, cworker, \"{{ release }}\""));
    compose_with("ccron", "no", &command("alone, ccron, \"{{ release }}\""));
    let store = ", \"data:/data\"".to_owned()
        + &command("store, store, \"{{ release }}\"")
        + "    healthcheck: { test: [CMD, test, -s, /data/log], interval: 500ms, timeout: 5s, retries: 20, start_period: 5s, start_interval: 500ms }\n\
           volumes:\n  data: {}\n";
    compose("store", &store);
    let site = |port: u16, upstream: &str| {
        format!(
            "server {{\n    listen {port};\n    server_name {SITE};\n    location / {{\n        proxy_pass http://{upstream};\n        \
             proxy_http_version 1.1;\n        proxy_set_header Host $host;\n        proxy_set_header Connection \"\";\n    }}\n}}\n"
        )
    };
    ops.write("templates/nginx/units.conf.j2", &site(UNITS, "crew_api"));
    ops.write("templates/nginx/both.conf.j2", &(site(UNITS, "crew_api") + &site(CONTAINERS, "crew_web")));
}

/// The check of most components: quick, and soon strict.
pub(crate) const CHECK: &str =
    "interval: 100ms, timeout: 2s, retries: 3, start_period: 1500ms, passes: 2, min_healthy_time: 700ms";

/// Returns the units in two slots, with nginx before them.
pub(crate) fn api(watch: &str) -> String {
    format!(
        "  api:
    systemd: systemd/crew-api@.service.j2
    strategy: blue_green
    ports: {{ http: {{ blue: 8601, green: 8701 }} }}
    files: [{{ path: \"{{{{ dir }}}}/crew.py\", template: files/crew.py.j2 }}]
    healthcheck: {{ http: {{ path: /health, json: {{ status: healthy }} }}, {CHECK} }}
    watch: {{ window: {watch}, max_error_ratio: 1% }}
    drain: {{ timeout: 2s }}
    prove: {{ port: {UNITS}, path: /health, host: {SITE}, json: release, expect: release }}
"
    )
}

/// Returns an app's file.
pub(crate) fn app(name: &str, release: &str, components: &[&str]) -> String {
    format!("app: {name}\nrelease: {release}\ncomponents:\n{}", components.concat())
}

/// Puts a file of faults on a host: from now on `what` (`bad`, `crash`) holds for a component's release.
pub(crate) fn fault(host: &LabHost, what: &str, component: &str, release: &str) {
    let folder = host.root.join("srv").join(what);
    fs::create_dir_all(&folder).expect("a folder on the host");
    fs::write(folder.join(format!("{component}.{release}")), "").expect("a file on the host");
}

/// Returns what the program wrote on a host: name, release, process, word.
pub(crate) fn log(host: &LabHost) -> Vec<(String, String, String, String)> {
    let text = fs::read_to_string(host.root.join("srv/log")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?, words.next()?))
    };
    text.lines().filter_map(line).collect()
}

/// Returns one component's lines as `release word`.
pub(crate) fn words(host: &LabHost, component: &str) -> Vec<String> {
    let own = log(host).into_iter().filter(|(name, ..)| name == component);
    own.map(|(_, release, _, word)| format!("{release} {word}")).collect()
}

/// Returns the release that answers on one of nginx's ports of a host; why not, as text.
pub(crate) fn serves(host: &LabHost, port: u16) -> String {
    let target: SocketAddr = format!("{}:{port}", host.address).parse().expect("an address");
    release_at(target, SITE, "/health").unwrap_or_else(|error| error.to_string())
}

/// Starts half GET, half POST over kept connections to one of nginx's ports of some hosts.
pub(crate) fn load(hosts: &[LabHost], port: u16) -> Load {
    Load::start(&LoadSpec {
        targets: hosts.iter().map(|host| format!("{}:{port}", host.address).parse().expect("an address")).collect(),
        host: SITE.to_owned(),
        get: "/".to_owned(),
        post: "/work".to_owned(),
        body: "{}".to_owned(),
        connections: 2,
        pause: Duration::from_millis(40),
        limit: Duration::from_secs(600),
    })
}

/// A run of the program in the background.
pub(crate) struct Running<'a> {
    ops: &'a Ops,
    words: String,
    child: Option<Child>,
}

impl<'a> Running<'a> {
    /// Starts it.
    pub(crate) fn start(ops: &'a Ops, arguments: &[&str]) -> Self {
        let mut command = ops.holdfast(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("holdfast starts");
        Self { ops, words: arguments.join(" "), child: Some(child) }
    }

    /// Waits for its end and returns its exit code and all that it printed.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let output: Output = self.child.take().expect("it runs").wait_with_output().expect("it ends");
        self.ops.keep(&output);
        let mut said = String::new();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let _ = write!(said, "{out}{err}");
        eprintln!("$ holdfast {}   ({})\n{said}", self.words, output.status);
        (output.status.code(), said)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
