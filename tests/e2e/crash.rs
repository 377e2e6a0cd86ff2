//! SIGKILL of the manager, and of its SSH connections, at each step of a transaction: no word from anybody, and it ends well.
//!
//! A clean rollout tells which steps there are. Then, for each of them and each kind of kill, a new release is rolled out, the kill
//! comes when the first host's journal says that it is about to do that step, and the manager is started again. A host does its
//! steps by itself, so it may be a step or two further when the kill lands: that is the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use holdfast_host::transaction::folder::Folder;
use holdfast_protocol::{JournalEvent, Outcome, Phase};
use holdfast_testkit::lab::{Lab, LabHost, wait_until};
use holdfast_testkit::load::{Load, LoadSpec};
use holdfast_testkit::ops::Ops;
use holdfast_testkit::quick;
use rustix::process::{Pid, Signal, kill_process};

use crate::journals::{all_ended, events, outcome, release, transactions};

/// When to kill.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Point {
    /// The transaction is stored on the first host, and nothing is begun.
    Staged,
    /// This step is about to be done there.
    Step(Phase, u32, String),
    /// This gate is reached there.
    Gate(Phase),
}

/// What to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The manager.
    Manager,
    /// Each `ssh` that it holds a connection with.
    Ssh,
}

/// Returns the points of a transaction that ran through.
fn points(folder: &Folder) -> Vec<Point> {
    let steps = events(folder).into_iter().filter_map(|event| match event {
        JournalEvent::Intent { phase, step, title, .. } => Some(Point::Step(phase, step, title)),
        JournalEvent::Entered { phase: phase @ (Phase::Ready | Phase::Settled) } => Some(Point::Gate(phase)),
        _ => None,
    });
    std::iter::once(Point::Staged).chain(steps).collect()
}

fn is_at(folder: &Folder, point: &Point) -> bool {
    match point {
        Point::Staged => true,
        Point::Step(wanted, number, _) => events(folder).iter().any(
            |event| matches!(event, JournalEvent::Intent { phase, step, .. } if phase == wanted && step == number),
        ),
        Point::Gate(wanted) => {
            events(folder).iter().any(|event| matches!(event, JournalEvent::Entered { phase } if phase == wanted))
        }
    }
}

/// Processes of this machine, each with its parent's number and its command line.
fn processes() -> BTreeMap<i32, (i32, String)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // proc_pid_stat(5): the command in parentheses, its state, the parent.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let Some(parent) = parent {
            found.insert(number, (parent, String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

fn kill(number: i32) {
    let pid = Pid::from_raw(number).expect("a process has a number");
    // It may have ended by itself.
    let _ = kill_process(pid, Signal::KILL);
}

/// Who rolls out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// `holdfast apply`, started for each release and again after it was killed.
    Apply,
    /// `holdfast daemon`, which hears of each push, started again after it was killed, as systemd does.
    Daemon,
}

/// The manager under test.
struct Manager<'a> {
    ops: &'a Ops,
    runner: Runner,
    log: PathBuf,
    child: Option<Child>,
}

impl<'a> Manager<'a> {
    fn new(ops: &'a Ops, runner: Runner) -> Self {
        Self { ops, runner, log: ops.work.with_file_name("manager.log"), child: None }
    }

    /// Starts it where it does not run.
    fn start(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("manager.log");
        let mut command = match self.runner {
            Runner::Apply => self.ops.holdfast(&["apply", "prod", "--yes"]),
            Runner::Daemon => self.ops.holdfast(&["daemon"]),
        };
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        self.child = Some(command.spawn().expect("holdfast starts"));
    }

    fn number(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.id().cast_signed())
    }

    /// Returns whether it is over, and how.
    fn ended(&mut self) -> Option<i32> {
        let status = self.child.as_mut()?.try_wait().expect("a child can be waited for")?;
        Some(status.code().unwrap_or(-1))
    }

    fn cut(&mut self, cut: Cut) {
        let own = self.number().expect("the manager was started");
        match cut {
            Cut::Manager => {
                kill(own);
                let _ = self.child.take().expect("the manager was started").wait();
            }
            Cut::Ssh => {
                let all = processes();
                let ssh: Vec<i32> =
                    all.iter().filter(|(_, (parent, _))| *parent == own).map(|(number, _)| *number).collect();
                assert!(!ssh.is_empty(), "the manager has no ssh to kill: {:?}", all.get(&own));
                ssh.into_iter().for_each(kill);
            }
        }
    }

    /// Waits until it has nothing left to do.
    fn settle(&mut self, lab: &Lab, wanted: &str) {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let ended = self.ended();
            match (self.runner, ended) {
                (Runner::Apply, Some(0)) => {
                    self.child = None;
                    return;
                }
                (Runner::Apply, None) => {}
                (Runner::Daemon, None) => {
                    let serves = lab
                        .hosts
                        .iter()
                        .all(|host| release(host).is_ok_and(|release| release == wanted) && all_ended(host));
                    if serves && self.ops.plan_is_empty() {
                        return;
                    }
                }
                (_, Some(code)) => panic!("the manager ended with {code}:\n{}", self.tail()),
            }
            assert!(Instant::now() < end, "the manager does not come to an end:\n{}", self.tail());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(8000);
        text.get(from..).unwrap_or(&text).to_owned()
    }
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What must be as it was after a clean rollout, but for what a release changes.
#[derive(Debug, PartialEq, Eq)]
struct Remains {
    files: BTreeSet<PathBuf>,
    units: Vec<String>,
    programs: usize,
}

fn remains(lab: &Lab, host: &LabHost) -> Remains {
    let mut files = BTreeSet::new();
    for folder in ["var/lib/holdfast", "etc/systemd/system", "etc/nginx"] {
        list(&host.root.join(folder), &host.root, &mut files);
    }
    let list = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "holdfast-*", "quick@*"];
    let mut units: Vec<String> = lab
        .exec(&host.name, &list)
        .lines()
        // Name, load and active state; a slot that was stopped may or may not be remembered by systemd.
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .filter(|line| !line.ends_with(" inactive"))
        // Either slot may be the active one.
        .map(|line| line.replace("@blue", "@*").replace("@green", "@*"))
        .collect();
    units.sort();
    // `pgrep` says with 1 that there is none.
    let serving = lab.try_run(&["exec", &host.name, "--", "pgrep", "-f", "^/var/lib/holdfast/host/"]);
    let programs = String::from_utf8_lossy(&serving.stdout).lines().count();
    Remains { files, units, programs }
}

fn list(folder: &Path, root: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let below = path.strip_prefix(root).expect("below the root").to_owned();
        // What each rollout adds to, within limits: asked about apart.
        if ["var/lib/holdfast/transactions", "var/lib/holdfast/blobs"].iter().any(|folder| below == Path::new(folder)) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            list(&path, root, into);
        }
        // Which slot starts at boot changes with each release.
        let name = below.to_string_lossy().replace("wants/quick@blue", "wants/quick@*");
        into.insert(PathBuf::from(name.replace("wants/quick@green", "wants/quick@*")));
    }
}

fn migrations(host: &LabHost) -> (usize, usize) {
    let text = fs::read_to_string(host.root.join(quick::MIGRATIONS)).unwrap_or_default();
    let count = |word: &str| text.lines().filter(|line| *line == word).count();
    (count("begin"), count("end"))
}

fn load(lab: &Lab) -> Load {
    Load::start(&LoadSpec {
        targets: lab.hosts.iter().map(|host| format!("{}:{}", host.address, quick::PORT).parse().unwrap()).collect(),
        host: quick::HOST.to_owned(),
        get: "/health".to_owned(),
        post: "/do".to_owned(),
        body: "{}".to_owned(),
        connections: 2,
        pause: Duration::from_millis(40),
        limit: Duration::from_secs(1200),
    })
}

/// Asserts that nothing is left of what was begun.
fn assert_no_debris(lab: &Lab, ops: &Ops, manager: Option<i32>, host: &LabHost, clean: &Remains) {
    for folder in transactions(host) {
        let journal = events(&folder);
        assert!(outcome(&folder).is_some(), "{} has not ended on {}: {journal:#?}", folder.id(), host.name);
        assert_ne!(outcome(&folder), Some(Outcome::Stuck), "{} on {}: {journal:#?}", folder.id(), host.name);
    }
    let mut now = remains(lab, host);
    // A host notices the end of a connection a moment later.
    wait_until("programs of former connections end on the host", Duration::from_secs(20), || {
        now = remains(lab, host);
        now.programs == clean.programs
    });
    assert_eq!(now, *clean, "debris on {}", host.name);
    // A daemon that lives has connections and a folder of its own.
    let runtime = ops.runtime().to_string_lossy().into_owned();
    let left = || {
        let all = processes().into_iter();
        let ours = all.filter(|(_, (_, line))| line.starts_with("ssh ") && line.contains(&runtime));
        ours.filter(|(_, (parent, _))| Some(*parent) != manager).collect::<Vec<_>>()
    };
    wait_until("ssh processes of dead managers end", Duration::from_secs(10), || left().is_empty());
    let own = manager.map(|number| format!("{number}."));
    let entries = fs::read_dir(ops.runtime()).expect("the runtime folder").flatten().map(|entry| entry.path());
    let folders: Vec<_> = entries
        .filter(|path| path.is_dir())
        .filter(|path| own.as_ref().is_none_or(|own| !path.file_name().unwrap().to_string_lossy().starts_with(own)))
        .collect();
    assert!(folders.is_empty(), "folders of dead managers: {folders:?}");
}

/// One pass over every point that `chosen` picks, with each of these kinds of kill.
fn pass(id: &str, runner: Runner, cuts: &[Cut], chosen: impl Fn(&Point) -> bool) {
    let lab = Lab::up(id, "web", 2, &["--no-docker"]);
    let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let [first, second] = &lab.hosts[..] else { panic!("two hosts") };
    ops.run(&["validate"]);
    // Three times, so that each slot was used before.
    for release in ["v1", "v2", "v3"] {
        if release != "v1" {
            ops.release(release);
            ops.push();
        }
        ops.run(&["apply", "prod", "--yes"]);
        ops.assert_plan_is_empty();
    }
    let newest = |host: &LabHost| {
        let all = transactions(host).into_iter();
        all.max_by_key(|folder| fs::metadata(folder.path()).unwrap().modified().unwrap()).unwrap()
    };
    let points = points(&newest(first));
    eprintln!("{} points: {points:#?}", points.len());
    assert!(points.len() > 10, "a rollout has more steps than that");
    let mut migrated = migrations(first);
    assert_eq!(migrated, (3, 3));

    let mut manager = Manager::new(&ops, runner);
    if runner == Runner::Daemon {
        manager.start();
        manager.settle(&lab, "v3");
        wait_until("the daemon watches both hosts", Duration::from_secs(20), || {
            lab.hosts.iter().all(|host| remains(&lab, host).programs > 0)
        });
    }
    let clean: Vec<Remains> = lab.hosts.iter().map(|host| remains(&lab, host)).collect();
    assert_eq!(clean[0].units.iter().filter(|unit| *unit == "quick@*.service loaded active").count(), 1);

    let load = load(&lab);
    let mut number = 3;
    for &cut in cuts {
        for point in points.iter().filter(|point| chosen(point)) {
            let begun = Instant::now();
            let old = format!("v{number}");
            number += 1;
            let new = format!("v{number}");
            let what = format!("{cut:?} killed at {point:?}");
            let known: BTreeSet<_> = transactions(first).iter().map(|folder| folder.id().clone()).collect();
            ops.release(&new);
            ops.push();
            manager.start();
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                let mut fresh = transactions(first).into_iter().filter(|folder| !known.contains(folder.id()));
                if fresh.any(|folder| is_at(&folder, point)) {
                    break;
                }
                assert_eq!(manager.ended(), None, "it ended before {point:?}:\n{}", manager.tail());
                assert!(Instant::now() < end, "{point:?} never came:\n{}", manager.tail());
                std::thread::park_timeout(Duration::from_millis(1));
            }
            manager.cut(cut);
            let reached = begun.elapsed();
            for host in &lab.hosts {
                let answers = release(host).unwrap_or_else(|error| panic!("{what}: {}: {error}", host.name));
                assert!(answers == new || answers == old, "{what}: {} answers {answers:?}", host.name);
            }
            manager.start();
            manager.settle(&lab, &new);
            eprintln!("{new}: {what} after {reached:?}, over after {:?}", begun.elapsed());

            // Of a daemon that is what was waited for.
            let is_empty = runner == Runner::Daemon || ops.plan_is_empty();
            assert!(is_empty, "{what}: a plan finds something to do:\n{}", manager.tail());
            for host in &lab.hosts {
                assert_eq!(release(host).unwrap(), new, "{what}: {}", host.name);
            }
            migrated = (migrated.0 + 1, migrated.1 + 1);
            assert_eq!(migrations(first), migrated, "{what}: one migration, from its beginning to its end");
            assert_eq!(migrations(second), (0, 0), "{what}: it runs on one host");
            for (host, clean) in lab.hosts.iter().zip(&clean) {
                assert_no_debris(&lab, &ops, manager.number(), host, clean);
            }
        }
    }
    let report = load.stop();
    eprintln!("{report:#?}");
    lab.assert_none_lost(&report);
    assert!(report.requests > 1_000, "the load was real: {} requests", report.requests);
}

/// The old release serves here. The points before the switch and from it on have a lab each, so that they go side by side.
fn is_before_the_switch(point: &Point) -> bool {
    match point {
        Point::Staged => true,
        Point::Step(phase, ..) => *phase == Phase::Prepare,
        Point::Gate(phase) => *phase == Phase::Ready,
    }
}

#[test]
#[ignore = "needs the lab"]
fn cap_36_a_daemon_killed_at_each_step_before_the_switch_leaves_a_release_and_no_debris() {
    pass("crash", Runner::Daemon, &[Cut::Manager], is_before_the_switch);
}

#[test]
#[ignore = "needs the lab"]
fn cap_36_a_daemon_killed_at_each_step_from_the_switch_on_leaves_a_release_and_no_debris() {
    pass("crashs", Runner::Daemon, &[Cut::Manager], |point| !is_before_the_switch(point));
}

#[test]
#[ignore = "needs the lab"]
fn cap_36_a_daemon_whose_connections_are_killed_at_each_step_before_the_switch_leaves_a_release_and_no_debris() {
    pass("crashc", Runner::Daemon, &[Cut::Ssh], is_before_the_switch);
}

#[test]
#[ignore = "needs the lab"]
fn cap_36_a_daemon_whose_connections_are_killed_at_each_step_from_the_switch_on_leaves_a_release_and_no_debris() {
    pass("crashcs", Runner::Daemon, &[Cut::Ssh], |point| !is_before_the_switch(point));
}

#[test]
#[ignore = "needs the lab"]
fn cap_11_an_apply_killed_half_way_is_ended_by_the_next_one() {
    pass("cutoff", Runner::Apply, &[Cut::Manager, Cut::Ssh], |point| match point {
        Point::Staged | Point::Gate(_) => true,
        Point::Step(phase, _, title) => *phase == Phase::Promote || title.ends_with("migrate"),
    });
}
