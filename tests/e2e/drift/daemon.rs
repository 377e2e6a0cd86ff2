//! What the daemon does about drift.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use holdfast_engine::daemon::{ControlReply, ControlRequest, DriftWord, EnvironmentStatus};
use holdfast_testkit::lab::wait_until;

use super::fleet::Story;

const PATIENCE: Duration = Duration::from_secs(60);
const FILE: &str = "/etc/tools/content.conf";
const DROP_IN: &str = "/etc/systemd/system/dropin.service.d/by-hand.conf";
const BY_HAND: &str = "greeting = by hand\n";

/// What somebody changes, how, and how it shows that it was put right.
type Case = (&'static str, fn(&Story), fn(&Story) -> bool);

/// A daemon that ends with this value.
struct Daemon<'a> {
    story: &'a Story,
    child: Child,
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon<'_> {
    fn status(&self) -> Option<EnvironmentStatus> {
        let mut stream = UnixStream::connect(self.story.ops.runtime().join("control")).ok()?;
        let request = serde_json::to_string(&ControlRequest::Status).expect("plain data");
        stream.write_all(format!("{request}\n").as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        match serde_json::from_str(&line).ok()? {
            ControlReply::Status { environments, .. } => environments.into_iter().next(),
            _ => None,
        }
    }

    /// Waits until all of a commit is applied and the daemon is at rest.
    fn rests_at(&self, commit: &str) {
        wait_until("the daemon is at rest", PATIENCE, || {
            self.status().is_some_and(|status| {
                let at = |found: &Option<holdfast_core::id::CommitId>| {
                    found.as_ref().is_some_and(|id| id.as_str() == commit)
                };
                at(&status.seen) && at(&status.synced) && status.running.is_none() && !status.waiting
            })
        });
    }

    fn sees_drift(&self) -> bool {
        matches!(self.status().map(|status| status.drift), Some(DriftWord::OutOfSync { .. }))
    }
}

pub(super) fn drift_is_off_reported_or_healed(story: &Story) {
    let ship = |drift: &str| {
        story.environment("automatic", drift, "[\"file /etc/tools/mode.conf\"]");
        story.ops.ship(&format!("drift: {drift}"))
    };
    // A folder for drop-ins that is there already, with nothing in it that systemd reads.
    story.put("/etc/systemd/system/dropin.service.d/README", "for operators\n");
    let commit = ship("report");
    let log = std::fs::File::create(story.ops.work.with_file_name("daemon.log")).expect("a log");
    let child = story.ops.holdfast(&["daemon"]).stdout(Stdio::null()).stderr(log).spawn().expect("holdfast starts");
    let daemon = Daemon { story, child };
    daemon.rests_at(&commit);

    // Said, and left.
    for round in 0..3 {
        story.put(FILE, BY_HAND);
        let began = Instant::now();
        wait_until("drift of a file is noticed", PATIENCE, || daemon.sees_drift());
        eprintln!("drift of a file noticed after {} ms (the goal is 1000)", began.elapsed().as_millis());
        if round < 2 {
            story.put(FILE, "greeting = hello\n");
            wait_until("its end is noticed", PATIENCE, || !daemon.sees_drift());
        }
    }
    let said = holdfast_testkit::ops::text(&story.ops.run(&["status", "prod"]));
    assert!(said.contains("OutOfSync") && said.contains(FILE), "status says it: {said}");
    assert_eq!(story.read(FILE).as_deref(), Some(BY_HAND), "and nothing is done about it");

    // So is a file that systemd has not read yet, in a folder that git does not name.
    story.put(FILE, "greeting = hello\n");
    wait_until("all is right", PATIENCE, || !daemon.sees_drift());
    let began = Instant::now();
    story.put(DROP_IN, "[Service]\nNice=3\n");
    wait_until("a drop-in is noticed", PATIENCE, || daemon.sees_drift());
    eprintln!("a drop-in noticed after {} ms (the goal is 1000)", began.elapsed().as_millis());
    story.exec(&["rm", DROP_IN]);
    wait_until("its end is noticed", PATIENCE, || !daemon.sees_drift());
    story.put(FILE, BY_HAND);
    wait_until("drift of a file is noticed", PATIENCE, || daemon.sees_drift());

    // Mended, unattended: also what has gone on before.
    let commit = ship("heal");
    daemon.rests_at(&commit);
    assert_eq!(story.read(FILE).as_deref(), Some("greeting = hello\n"));
    let cases: [Case; 4] = [
        ("a file", |story| story.put(FILE, BY_HAND), |story| story.read(FILE).is_some_and(|text| text != BY_HAND)),
        (
            "a unit",
            |story| drop(story.exec(&["systemctl", "stop", "stopped.service"])),
            |story| {
                story.exec(&["systemctl", "show", "--value", "--property", "ActiveState", "stopped.service"]).trim()
                    == "active"
            },
        ),
        (
            "a container",
            |story| drop(story.exec(&["docker", "rm", "--force", "prod-tools-removed-box-1"])),
            |story| story.exec(&["docker", "ps", "--format", "{{.Names}}"]).contains("prod-tools-removed-box-1"),
        ),
        (
            "a switch",
            |story| drop(story.exec(&["nft", "delete", "table", "ip", "holdfast"])),
            |story| story.exec(&["nft", "list", "tables"]).contains("ip holdfast"),
        ),
    ];
    for (what, change, is_mended) in cases {
        let began = Instant::now();
        change(story);
        wait_until(&format!("{what} is put right"), PATIENCE, || is_mended(story));
        eprintln!("{what} changed by hand is right again after {} ms", began.elapsed().as_millis());
        daemon.rests_at(&commit);
    }
    let history = holdfast_testkit::ops::text(&story.ops.run(&["history", "prod"]));
    assert!(history.contains("drift"), "the history says why: {history}");

    // What is ignored is no drift for the daemon either.
    story.exec(&["chmod", "0666", "/etc/tools/mode.conf"]);
    story.put(FILE, BY_HAND);
    wait_until("the file is put right", PATIENCE, || story.read(FILE).is_some_and(|text| text != BY_HAND));
    daemon.rests_at(&commit);
    assert_eq!(story.exec(&["stat", "--format", "%a", "/etc/tools/mode.conf"]).trim(), "666");

    let commit = ship("off");
    daemon.rests_at(&commit);
    story.put(FILE, BY_HAND);
    story.ops.run(&["plan", "prod"]);
    assert!(!daemon.sees_drift(), "drift is not looked for");
    assert_eq!(story.read(FILE).as_deref(), Some(BY_HAND));
    drop(daemon);
    story.exec(&["rm", "-r", "/etc/systemd/system/dropin.service.d"]);
    story.environment("manual", "report", "[]");
    story.ops.ship("by hand again");
    story.apply();
}
