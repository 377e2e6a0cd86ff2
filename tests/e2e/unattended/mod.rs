//! The daemon on its own, over real hosts: what it follows, what people say to it, what it clears away, and whom it meets.

mod kept;
mod managers;
mod remote;
mod words;

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use holdfast_testkit::lab::LabHost;
use holdfast_testkit::ops::{Ops, text};

use crate::journals::release;

const PATIENCE: Duration = Duration::from_secs(90);

/// A daemon that ends with this value.
struct Daemon<'a> {
    ops: &'a Ops,
    child: Child,
}

impl<'a> Daemon<'a> {
    fn start(ops: &'a Ops) -> Self {
        let log = File::options().create(true).append(true).open(log(ops)).expect("a log");
        let child = ops.holdfast(&["daemon"]).stdout(Stdio::null()).stderr(log).spawn().expect("holdfast starts");
        let this = Self { ops, child };
        // Not asked through `status`, which has nothing to show before the first fetch.
        let socket = ops.work.with_file_name("run").join("control");
        this.wait("the daemon listens", || UnixStream::connect(&socket).is_ok() || this.has_ended());
        this
    }

    /// Returns what `holdfast status` prints for people.
    fn said(&self) -> String {
        text(&self.ops.run(&["status", "prod"]))
    }

    /// Returns what `holdfast status` prints as JSON; `None` before the first fetch.
    fn status(&self) -> Option<serde_json::Value> {
        let output = self.ops.holdfast(&["status", "prod", "--json"]).output().expect("holdfast starts");
        self.ops.keep(&output);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until nothing runs and nothing waits.
    #[track_caller]
    fn rests(&self) {
        self.wait("the daemon rests", || {
            self.status().is_some_and(|status| {
                let daemon = &status["environments"][0]["daemon"];
                daemon["waiting"] == false && daemon["running"].is_null()
            })
        });
    }

    fn has_ended(&self) -> bool {
        !fs::exists(format!("/proc/{}/exe", self.child.id())).unwrap_or(false)
    }

    /// Waits, and shows what the daemon said when that was in vain.
    #[track_caller]
    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !holds() {
            let log = fs::read_to_string(log(self.ops)).unwrap_or_default();
            assert!(std::time::Instant::now() < end, "waited for: {what}\n{log}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn serves(&self, hosts: &[LabHost], wanted: &str) {
        let all = || hosts.iter().filter(|host| host.name != "mgmt").all(|host| is(host, wanted));
        self.wait(&format!("{wanted} serves everywhere"), all);
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(ops: &Ops) -> std::path::PathBuf {
    ops.work.with_file_name("daemon.log")
}

fn is(host: &LabHost, wanted: &str) -> bool {
    release(host).is_ok_and(|release| release == wanted)
}

/// Sets a line of the manager's configuration, which replaces the one that begins alike.
fn configure(ops: &Ops, key: &str, value: &str) {
    let old = fs::read_to_string(&ops.config).expect("manager.yaml");
    let mut lines: Vec<String> =
        old.lines().filter(|line| !line.starts_with(&format!("{key}:"))).map(str::to_owned).collect();
    if !value.is_empty() {
        lines.push(format!("{key}: {value}"));
    }
    fs::write(&ops.config, lines.join("\n") + "\n").expect("manager.yaml");
}

/// Replaces a text of a file of the clone, which must be there.
#[track_caller]
fn replace(ops: &Ops, path: &str, from: &str, to: &str) {
    let old = fs::read_to_string(ops.work.join(path)).expect("a file of the clone");
    assert!(old.contains(from), "{path} has no {from:?}");
    ops.write(path, &old.replace(from, to));
}
