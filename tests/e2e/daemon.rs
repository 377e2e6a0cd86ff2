//! The daemon as shipped: its unit on a management host, a push over ssh, and nobody types a command.

use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_protocol::JournalEvent;
use holdfast_testkit::lab::{Lab, LabHost, wait_until};
use holdfast_testkit::ops::{Ops, host_program};
use holdfast_testkit::quick;

use crate::journals::{all_ended, events, outcome, release, transactions};

const PATIENCE: Duration = Duration::from_secs(60);

/// A management host set up as `packaging/README.md` says.
struct Management<'a> {
    lab: &'a Lab,
    host: &'a LabHost,
}

impl<'a> Management<'a> {
    fn install(lab: &'a Lab) -> Self {
        let host = lab.host("mgmt");
        let box_ = Self { lab, host };
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
        let holdfast = Path::new(env!("CARGO_BIN_EXE_holdfast"));
        box_.copy(holdfast, "usr/bin/holdfast");
        box_.copy(&host_program(holdfast), "usr/lib/holdfast/holdfast-host-x86_64");
        box_.copy(&packaging.join("holdfast.service"), "usr/lib/systemd/system/holdfast.service");
        box_.copy(&packaging.join("holdfast.sysusers"), "usr/lib/sysusers.d/holdfast.conf");
        box_.exec(&["systemd-sysusers"]);
        box_.copy(&packaging.join("manager.yaml"), "etc/holdfast/manager.yaml");
        box_.exec(&["chown", "root:holdfast", "/etc/holdfast/manager.yaml"]);
        box_.exec(&["chmod", "0640", "/etc/holdfast/manager.yaml"]);
        box_.exec(&["holdfast", "secrets", "keygen", "/etc/holdfast/age.key"]);
        box_.copy(&lab.identity, "etc/holdfast/ssh.key");
        box_.exec(&["chmod", "0600", "/etc/holdfast/ssh.key"]);
        box_.exec(&["git", "init", "-q", "--bare", "-b", "main", "/srv/git/ops.git"]);
        box_.exec(&["chgrp", "-R", "holdfast", "/srv/git/ops.git"]);
        box_.exec(&["holdfast", "--config", "/etc/holdfast/manager.yaml", "hook", "install", "/srv/git/ops.git"]);
        box_.exec(&["systemctl", "daemon-reload"]);
        box_.exec(&["systemctl", "enable", "--now", "holdfast.service"]);
        box_
    }

    fn exec(&self, argv: &[&str]) -> String {
        self.lab.exec(&self.host.name, argv)
    }

    fn copy(&self, from: &Path, to: &str) {
        let to = self.host.root.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
    }

    fn property(&self, name: &str) -> String {
        let value = self.exec(&["systemctl", "show", "--value", "--property", name, "holdfast.service"]);
        value.trim().to_owned()
    }

    fn journal(&self) -> String {
        self.exec(&["journalctl", "--no-pager", "--unit", "holdfast.service", "--lines", "200", "--output", "cat"])
    }

    /// Waits, and shows what the daemon said when that was in vain.
    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !holds() {
            assert!(std::time::Instant::now() < end, "waited for: {what}\n{}", self.journal());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

fn serves(host: &LabHost, wanted: &str) -> bool {
    release(host).is_ok_and(|release| release == wanted)
}

#[test]
#[ignore = "needs the lab"]
fn cap_01_a_push_to_the_management_host_is_followed_by_the_shipped_unit() {
    let lab = Lab::up("dmn", "web", 2, &["--no-docker", "--mgmt"]);
    let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let box_ = Management::install(&lab);
    let web: Vec<&LabHost> = lab.hosts.iter().filter(|host| host.name.starts_with("web")).collect();
    let [first, _] = web[..] else { panic!("two hosts") };

    assert_eq!(box_.property("ActiveState"), "active");
    assert_eq!(box_.property("Type"), "notify");
    assert_eq!(box_.property("User"), "holdfast");
    let watchdog = box_.property("WatchdogUSec");
    assert!(watchdog != "0" && watchdog != "infinity", "the watchdog is set: {watchdog}");
    let security = box_.exec(&["systemd-analyze", "security", "--no-pager", "holdfast.service"]);
    eprintln!("{}", security.lines().last().unwrap_or_default());

    let ssh = lab.identity.with_file_name("ssh_config");
    ops.git(&["config", "core.sshCommand", &format!("ssh -F {}", ssh.display())]);
    ops.git(&["remote", "set-url", "origin", "mgmt:/srv/git/ops.git"]);
    let said = ops.push();
    eprintln!("{said}");
    for host in &web {
        box_.wait("v1 serves", || serves(host, "v1"));
        assert!(said.contains(&host.name), "the push shows what happens on {}:\n{said}", host.name);
    }
    assert!(said.lines().any(|line| line.starts_with("remote:") && line.contains("Synced")), "{said}");

    ops.release("v2");
    let said = ops.push();
    eprintln!("{said}");
    for host in &web {
        box_.wait("v2 serves", || serves(host, "v2"));
    }
    assert!(said.contains("new release serves"), "{said}");
    assert_eq!(box_.property("NRestarts"), "0");

    // Cut down in the middle: systemd starts it again, and it ends what it began. The hook tells, and the push is in.
    let pushing = {
        ops.release("v3");
        std::thread::scope(|scope| {
            let push = scope.spawn(|| ops.push());
            wait_until("the rollout of v3 has begun", PATIENCE, || {
                let migrates = |event: &JournalEvent| matches!(event, JournalEvent::Intent { title, .. } if title.ends_with("migrate"));
                let open = transactions(first).into_iter().filter(|folder| outcome(folder).is_none());
                open.into_iter().any(|folder| events(&folder).iter().any(migrates))
            });
            box_.exec(&["systemctl", "kill", "--signal", "SIGKILL", "holdfast.service"]);
            push.join().expect("the push ends")
        })
    };
    eprintln!("{pushing}");
    for host in &web {
        box_.wait("v3 serves after a restart", || serves(host, "v3") && all_ended(host));
    }
    assert_eq!(box_.property("ActiveState"), "active");
    assert_eq!(box_.property("NRestarts"), "1");
    let runs = fs::read_to_string(first.root.join(quick::MIGRATIONS)).expect("migrations");
    assert_eq!(runs.matches("end").count(), 3, "one migration for each release: {runs}");
    let work = ops.work.to_string_lossy();
    let plan = ["-C", &work, "plan", "prod", "--detailed-exitcode"];
    box_.wait("a plan is empty", || ops.run_any(&plan).status.code() == Some(0));

    // Told to end, it ends at once and well.
    box_.exec(&["systemctl", "stop", "holdfast.service"]);
    assert_eq!(box_.property("Result"), "success", "{}", box_.journal());
}
