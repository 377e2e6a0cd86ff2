//! Two managers that know nothing of each other over the same hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;
use holdfast_testkit::quick;

use super::is;
use crate::journals::all_ended;

/// Another manager: a clone of its own, and a state of its own.
struct Other<'a> {
    ops: &'a Ops,
    config: PathBuf,
}

impl<'a> Other<'a> {
    fn new(ops: &'a Ops) -> Self {
        let at = |name: &str| ops.work.with_file_name(name);
        let config = at("other.yaml");
        let text = fs::read_to_string(&ops.config).expect("manager.yaml");
        let lines = text.lines().map(|line| match line.split_once(": ") {
            Some(("repository", _)) => format!("repository: {}", at("other.git").display()),
            Some(("state_dir", _)) => format!("state_dir: {}", at("other-state").display()),
            Some(("runtime_dir", _)) => format!("runtime_dir: {}", at("other-run").display()),
            _ => line.to_owned(),
        });
        fs::write(&config, lines.collect::<Vec<_>>().join("\n") + "\n").expect("a configuration");
        ops.git(&["clone", "-q", "--mirror", &ops.bare.to_string_lossy(), &at("other.git").to_string_lossy()]);
        Self { ops, config }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null());
        command
    }

    fn fetch(&self) {
        let clone = self.ops.work.with_file_name("other.git");
        self.ops.git(&["--git-dir", &clone.to_string_lossy(), "fetch", "-q", "origin"]);
    }
}

fn ended(who: &str, output: &Output) -> Option<i32> {
    let Output { status, stdout, stderr } = output;
    eprintln!("{who}: {status}\n{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    status.code()
}

#[test]
#[ignore = "needs the lab"]
fn cap_11_two_managers_that_begin_at_once_send_nobody_back_for_good() {
    let lab = Lab::up("dam", "web", 2, &["--no-docker"]);
    let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    ops.run(&["apply", "prod", "--yes"]);
    let other = Other::new(&ops);
    for round in 2..6 {
        let release = format!("v{round}");
        ops.release(&release);
        ops.push();
        other.fetch();
        let mut ours = ops.holdfast(&["apply", "prod", "--yes"]);
        let ours = ours.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let theirs = other.command(&["apply", "prod", "--yes"]).output().expect("it starts");
        let ours = ours.wait_with_output().expect("it ends");
        let codes = [ended("one", &ours), ended("other", &theirs)];
        // Who came second found nothing to do, or was refused for the first; a good release goes back nowhere.
        assert!(codes.contains(&Some(0)), "{release}: {codes:?}");
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 3))), "{release}: {codes:?}");
        assert!(lab.hosts.iter().all(|host| is(host, &release) && all_ended(host)), "{release} serves everywhere");
        for (who, output) in [
            ("one", ops.holdfast(&["unlock", "prod"]).output()),
            ("other", other.command(&["unlock", "prod"]).output()),
        ] {
            let output = output.expect("it starts");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("quarantined"), "{who} blames a good release");
        }
    }
    ops.assert_plan_is_empty();
    let runs = fs::read_to_string(lab.hosts[0].root.join(quick::MIGRATIONS)).expect("migrations");
    assert_eq!(runs.matches("end").count(), 5, "one migration for each release: {runs}");
    assert!(!runs.contains("begin\nbegin"), "never two at once: {runs}");
}
