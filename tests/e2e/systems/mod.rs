//! The five systems as this repository ships them: the definitions of `inventory`, `environments` and `templates`, with nothing
//! replaced but the hosts' addresses and, by variables of the inventory, the images; and without the certificates of production, for
//! which a lab has no authority, but where a test brings one. Those of development are the hosts' own.

mod databases;
mod disaster;
mod five;
mod foreign;
mod frontend;
mod grafana;
mod hosts;
mod investment;
mod migrations;
mod monitoring;
mod neurocore;
mod nps;
mod numbers;
mod shia;
mod socket;
mod stores;
mod telegram;
mod tls;
mod traffic;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;
use serde_json::Value;

/// The line by which a site of production has its certificate.
const CERTIFICATE: &str = "    certificate: site\n";

/// A clone of the shipped definitions for a lab.
struct Shipped {
    ops: Ops,
}

impl Shipped {
    /// Takes the environments that are named. The lab's hosts are, one after another, those of the inventory in `hosts`: they get
    /// their addresses and keys, and `variables`, one a line, as YAML. Everything else of the inventory stays as it is shipped.
    fn new(lab: &Lab, hosts: &[&str], environments: &[&str], variables: &[&str]) -> Self {
        let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), lab);
        ops.take_definitions(environments);
        let shipped = include_str!("../../../inventory/systems.yaml");
        let mut inventory = String::new();
        let mut host = None;
        for line in shipped.lines() {
            if let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
                host = hosts.iter().position(|host| *host == name).map(|index| &lab.hosts[index]);
            }
            match (host, line.trim_start().split(':').next()) {
                (Some(host), Some("address")) => inventory.extend(["    address: ", &host.address, "\n"]),
                (Some(host), Some("host_key")) => {
                    inventory.extend(["    host_key: ", &host.host_key, "\n    variables:\n"]);
                    for line in variables {
                        inventory.extend(["      ", line, "\n"]);
                    }
                }
                _ => inventory.extend([line, "\n"]),
            }
        }
        ops.write("inventory/hosts.yaml", &inventory);
        for environment in environments {
            let text =
                fs::read_to_string(ops.work.join("environments").join(environment).join("environment.yaml")).unwrap();
            if text.contains("issuer: self_signed") {
                continue;
            }
            for file in fs::read_dir(ops.work.join("environments").join(environment)).unwrap() {
                let path = file.unwrap().path();
                let text = fs::read_to_string(&path).unwrap();
                if text.contains(CERTIFICATE) {
                    fs::write(path, text.replace(CERTIFICATE, "")).unwrap();
                }
            }
        }
        let manager = fs::read_to_string(&ops.config).unwrap();
        let sources: String = environments.iter().map(|name| format!("  {name}: {{ branch: main }}\n")).collect();
        fs::write(&ops.config, manager.replace("  prod: { branch: main }\n", &sources)).unwrap();
        Self { ops }
    }

    /// Replaces text of a file of the clone, which must have it.
    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.ops.work.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        self.ops.write(path, &text.replace(from, to));
    }

    fn assert_plan_is_empty(&self, environment: &str) {
        let plan = self.ops.run_any(&["plan", environment, "--detailed-exitcode"]);
        assert_eq!(plan.status.code(), Some(0), "a second plan of {environment} is empty");
    }
}

/// The daemon, for as long as this lives; what it logs is in `daemon.log` beside the clone.
struct Daemon(Child);

impl Daemon {
    fn start(shipped: &Shipped) -> Self {
        let path = shipped.ops.work.with_file_name("daemon.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self(shipped.ops.holdfast(&["daemon"]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A script on a host that counts until this is dropped: also whoever panics ends it.
struct Counting<'a> {
    lab: &'a Lab,
    host: &'a str,
}

impl Counting<'_> {
    /// Runs the script to its end, and returns the two numbers it prints. It has to end when there is `/run/counted`.
    fn run(lab: &Lab, host: &str, script: &str) -> [u32; 2] {
        let printed = lab.exec(host, &["bash", "-c", script]);
        let numbers: Vec<u32> = printed.split_whitespace().map(|word| word.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.lab.try_run(&["exec", self.host, "--", "touch", "/run/counted"]);
    }
}

/// Returns a port of one of the lab's hosts.
fn address(lab: &Lab, host: usize, port: u16) -> SocketAddr {
    SocketAddr::new(lab.hosts[host].address.parse().unwrap(), port)
}

/// Asks a site of one of the lab's hosts on port 80, as somebody outside does, over a connection of its own; its body as text. Where it
/// sends to HTTPS, that is asked.
fn ask(lab: &Lab, host: usize, site: &str, path: &str) -> String {
    let url = format!("http://{}{path}", lab.hosts[host].address);
    let output = Command::new("curl")
        .args(["-sS", "--fail-with-body", "--max-time", "20", "-H", &format!("Host: {site}")])
        .args(over_tls(lab, host, site))
        .arg(&url)
        .output()
        .unwrap();
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{site}{path}: {body}{}", String::from_utf8_lossy(&output.stderr));
    body
}

/// What curl is told to follow a site to HTTPS on the same host, whoever signed its certificate; also with a POST.
fn over_tls(lab: &Lab, host: usize, site: &str) -> [String; 5] {
    let address = &lab.hosts[host].address;
    let options = ["--location", "--post301", "--insecure", "--connect-to"].map(str::to_owned);
    let [location, post, insecure, connect] = options;
    [location, post, insecure, connect, format!("{site}:443:{address}:443")]
}

/// Asserts that somebody outside gets 404 from a site for what is for those who run it.
fn assert_hidden(lab: &Lab, host: usize, port: u16, site: &str, paths: &[&str]) {
    for path in paths {
        let url = format!("http://{}{path}", address(lab, host, port));
        let header = format!("Host: {site}");
        let argv = ["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url];
        let output = Command::new("curl").args(over_tls(lab, host, site)).args(argv).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "404", "{site} {path}");
    }
}

/// Asks a site for JSON.
fn asked(lab: &Lab, host: usize, site: &str, path: &str) -> Value {
    let body = ask(lab, host, site, path);
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{site}{path}: {error}: {body}"))
}
