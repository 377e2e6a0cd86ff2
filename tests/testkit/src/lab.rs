//! Real hosts for end-to-end tests: the lab of `tests/lab/lab`, up for as long as a value lives.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::load::LoadReport;

/// Hosts that are up. Taken down when dropped; when the test process dies, the next `lab up` or `lab gc` finds its owner gone.
pub struct Lab {
    id: String,
    script: PathBuf,
    /// The machine's own address on the lab's bridge.
    pub gateway: String,
    /// A private key every host accepts for root and for `deploy`.
    pub identity: PathBuf,
    /// The hosts.
    pub hosts: Vec<LabHost>,
}

/// One host of the lab.
#[derive(Debug, Clone, Deserialize)]
pub struct LabHost {
    /// Its name.
    pub name: String,
    /// Its IPv4 address.
    pub address: String,
    /// Its host key as in `known_hosts`.
    pub host_key: String,
    /// Its root folder as seen from this machine.
    pub root: PathBuf,
}

#[derive(Deserialize)]
struct HostsFile {
    gateway: String,
    identity: PathBuf,
    hosts: Vec<LabHost>,
}

impl Lab {
    /// Boots `count` hosts named `<prefix>1…` with the example's images loaded.
    ///
    /// # Panics
    /// When the lab cannot be had: these tests are only run where it can.
    pub fn up(id: &str, prefix: &str, count: usize, options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/lab");
        let mut lab =
            Self { id: id.to_owned(), script, gateway: String::new(), identity: PathBuf::new(), hosts: Vec::new() };
        lab.run(&["down"]);
        let count = count.to_string();
        let mut arguments = vec!["up", &count, "--name-prefix", prefix];
        arguments.extend(options);
        lab.run(&arguments);
        let state = std::env::var("HOLDFAST_LAB_STATE").unwrap_or_else(|_| "/run/holdfast-lab".to_owned());
        let text =
            std::fs::read_to_string(Path::new(&state).join(id).join("hosts.json")).expect("the lab's hosts.json");
        let file: HostsFile = serde_json::from_str(&text).expect("hosts.json is as the lab writes it");
        (lab.gateway, lab.identity, lab.hosts) = (file.gateway, file.identity, file.hosts);
        lab
    }

    /// Boots one more host, with these images loaded, and returns it: `<prefix>1`, of which there must be none yet.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn add(&mut self, prefix: &str, options: &[&str]) -> LabHost {
        let mut arguments = vec!["up", "1", "--name-prefix", prefix];
        arguments.extend(options);
        self.run(&arguments);
        let state = std::env::var("HOLDFAST_LAB_STATE").unwrap_or_else(|_| "/run/holdfast-lab".to_owned());
        let text =
            std::fs::read_to_string(Path::new(&state).join(&self.id).join("hosts.json")).expect("the lab's hosts.json");
        let file: HostsFile = serde_json::from_str(&text).expect("hosts.json is as the lab writes it");
        self.hosts = file.hosts;
        self.host(&format!("{prefix}1")).clone()
    }

    /// Runs a verb of the lab and returns its standard output.
    ///
    /// # Panics
    /// When it fails: with all it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments);
        assert!(
            output.status.success(),
            "lab {arguments:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a verb of the lab and returns all that came of it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.script)
            .args(arguments)
            .env("LAB_ID", &self.id)
            .env("LAB_OWNER_PID", std::process::id().to_string())
            .stdin(Stdio::null())
            .output()
            .expect("tests/lab/lab starts")
    }

    /// Returns a host by name.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn host(&self, name: &str) -> &LabHost {
        self.hosts.iter().find(|host| host.name == name).unwrap_or_else(|| panic!("the lab has no host {name}"))
    }

    /// Runs a command on a host from outside, also when its network is cut, and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn exec(&self, host: &str, argv: &[&str]) -> String {
        let mut arguments = vec!["exec", host, "--"];
        arguments.extend(argv);
        self.run(&arguments)
    }

    /// Asserts that no request of a load was lost.
    ///
    /// # Panics
    /// When one was, with what nginx and systemd of each host wrote at that time.
    pub fn assert_none_lost(&self, report: &LoadReport) {
        if report.failures == 0 {
            return;
        }
        for host in &self.hosts {
            let told = self.try_run(&["exec", &host.name, "--", "sh", "-c", AROUND_THE_FIRST_ERROR]);
            eprintln!("{}: {}", host.name, String::from_utf8_lossy(&told.stdout));
        }
        panic!("{} of {} requests were lost: {:?}", report.failures, report.requests, report.examples);
    }
}

/// nginx's errors, and the journal from eight seconds before the first of them to two seconds after it.
const AROUND_THE_FIRST_ERROR: &str = r#"
log=/var/log/nginx/error.log
grep '\[error\]' "$log" | tail -n 12 | cut -c1-300
first=$(grep '\[error\]' "$log" | head -n 1 | cut -c1-19 | tr / -)
[ -n "$first" ] || exit 0
journalctl --no-pager -o short-precise --since "$(date -d "$first 8 seconds ago" '+%F %T')" \
    --until "$(date -d "$first 2 seconds" '+%F %T')" | cut -c1-220 | tail -n 90
"#;

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("HOLDFAST_LAB_KEEP").is_none() {
            let output = self.try_run(&["down"]);
            if !output.status.success() {
                eprintln!("lab down: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}

/// Waits until a condition holds, looking again every few milliseconds, or after twice as long as looking takes: what is waited for
/// needs the processors too.
///
/// # Panics
/// When it does not hold by the deadline; `what` says what was waited for.
pub fn wait_until(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    loop {
        let began = Instant::now();
        if holds() {
            return;
        }
        assert!(Instant::now() < end, "waited {deadline:?} for: {what}");
        std::thread::park_timeout((2 * began.elapsed()).clamp(Duration::from_millis(20), Duration::from_secs(2)));
    }
}
