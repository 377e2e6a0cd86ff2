//! Streams hints that something changed.
//!
//! # Flow
//! [`watch`] waits on inotify, systemd's and Docker's events at once, gathers what belongs together, and gives the names of what
//! changed. A source that is lost means that everything it tells of may have changed: that is said, and the source is tried again.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use holdfast_protocol::{HostEvent, Ledger, ObserveRequest, Observed, StaticQuery};
use rustix::event::{PollFd, PollFlags, poll};

use crate::cancel::{Cancel, timespec};
use crate::docker::{Engine, Events};
use crate::observe::Subjects;
use crate::paths::{Root, System};
use crate::statics::Layout;
use crate::systemd::{Bus, Signal, drop_in_folders};
use files::{ANY, FileWatch};

/// The longest silence. The manager takes a longer one for a dead channel.
const ALIVE: Duration = Duration::from_secs(10);

/// How long events are gathered: one write is several events of the kernel, one restart several of systemd.
const GATHER: Duration = Duration::from_millis(100);

/// How long to wait before a lost source is tried again; it doubles with each failure.
const RETRY: Duration = Duration::from_secs(1);

/// The most doublings of [`RETRY`].
const MAX_DOUBLINGS: u32 = 5;

/// How long a source may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Gives events to `send` until `cancel` is cancelled or `send` returns `false`.
///
/// What is watched is what the request and the ledger name; when the ledger changes it is found out anew.
pub fn watch(
    root: &Root,
    system: &System,
    request: &ObserveRequest,
    ledger: &dyn Fn() -> Observed<Ledger>,
    cancel: &Cancel,
    send: &mut dyn FnMut(HostEvent) -> bool,
) {
    let ledger_path = root.ledger().to_string_lossy().into_owned();
    let mut sources = Sources::new(system.clone());
    sources.watch(request, &ledger(), &ledger_path);
    let mut quiet_since = Instant::now();
    // The first one says that the watch stands: whatever changes from now on is told.
    if !send(HostEvent::Alive) {
        return;
    }
    while !cancel.is_cancelled() {
        let now = Instant::now();
        sources.connect(now);
        let pending = sources.pending_since.map(|since| since + GATHER);
        if pending.is_some_and(|due| due <= now) {
            sources.pending_since = None;
            let events = std::mem::take(&mut sources.pending);
            if events.contains(&Hint::File(ledger_path.clone())) {
                sources.watch(request, &ledger(), &ledger_path);
            }
            for event in events {
                if !send(event.into()) {
                    return;
                }
            }
            quiet_since = now;
            continue;
        }
        if now.duration_since(quiet_since) >= ALIVE {
            if !send(HostEvent::Alive) {
                return;
            }
            quiet_since = now;
        }
        let until = [Some(quiet_since + ALIVE), pending, sources.next_retry()].into_iter().flatten().min();
        sources.wait(cancel, until.map_or(ALIVE, |until| until.saturating_duration_since(now)));
    }
}

/// A change, in an order of its own so that a set of them can be kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    File(String),
    Unit(String),
    Project(String),
}

impl From<Hint> for HostEvent {
    fn from(hint: Hint) -> Self {
        match hint {
            Hint::File(path) => Self::File(path),
            Hint::Unit(name) => Self::Unit(name),
            Hint::Project(name) => Self::Project(name),
        }
    }
}

/// All that can tell of a change.
struct Sources {
    system: System,
    files: Option<FileWatch>,
    /// The watched units by the last part of their object path on the bus.
    units: BTreeMap<String, String>,
    /// The watched units by the folders of their drop-ins: systemd says nothing of a file there before it loads it.
    drop_ins: BTreeMap<String, BTreeSet<String>>,
    bus: Link<Bus>,
    projects: BTreeSet<String>,
    docker: Link<Events>,
    pending: BTreeSet<Hint>,
    pending_since: Option<Instant>,
}

/// A source that can be lost.
struct Link<T> {
    up: Option<T>,
    retry_at: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Whether it was up before, so that what happened while it was down is unknown.
    was_up: bool,
}

impl<T> Link<T> {
    const DOWN: Self = Self { up: None, retry_at: None, failures: 0, was_up: false };

    fn due(&self, wanted: bool, now: Instant) -> bool {
        wanted && self.up.is_none() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Notes what came of connecting, and returns whether changes may have been missed.
    fn connected(&mut self, up: Option<T>, now: Instant) -> bool {
        self.failures = if up.is_some() { 0 } else { self.failures + 1 };
        self.retry_at = up.is_none().then(|| now + RETRY * 2_u32.pow(self.failures.min(MAX_DOUBLINGS)));
        let missed = up.is_some() && self.was_up;
        self.was_up |= up.is_some();
        self.up = up;
        missed
    }

    fn lost(&mut self, now: Instant) {
        self.up = None;
        self.retry_at = Some(now + RETRY);
    }
}

impl Sources {
    fn new(system: System) -> Self {
        Self {
            system,
            files: FileWatch::new().ok(),
            units: BTreeMap::new(),
            drop_ins: BTreeMap::new(),
            bus: Link::DOWN,
            projects: BTreeSet::new(),
            docker: Link::DOWN,
            pending: BTreeSet::new(),
            pending_since: None,
        }
    }

    fn watch(&mut self, request: &ObserveRequest, ledger: &Observed<Ledger>, ledger_path: &str) {
        let subjects = Subjects::of(request, ledger.seen());
        self.drop_ins.clear();
        for unit in &subjects.units {
            for folder in drop_in_folders(&self.system.etc, unit) {
                let path = folder.join(ANY).to_string_lossy().into_owned();
                self.drop_ins.entry(path).or_default().insert((*unit).to_owned());
            }
        }
        let paths = subjects.files.keys().map(|path| (*path).to_owned()).chain([ledger_path.to_owned()]);
        let paths = paths.chain(self.drop_ins.keys().cloned()).chain(request.statics.iter().flat_map(of_static));
        if let Some(files) = &mut self.files {
            files.watch(paths.collect());
        }
        self.units = subjects.units.iter().map(|name| (bus_label(name), (*name).to_owned())).collect();
        self.projects.clone_from(&subjects.projects);
        self.connect(Instant::now());
    }

    fn connect(&mut self, now: Instant) {
        if self.bus.due(!self.units.is_empty(), now) {
            let mut bus = Bus::connect(&self.system, TIMEOUT).ok();
            let signals =
                bus.as_mut().and_then(|bus| bus.subscribe(TIMEOUT).and_then(|()| bus.buffered_signals()).ok());
            if signals.is_none() {
                bus = None;
            }
            if self.bus.connected(bus, now) {
                self.all_units();
            }
            self.signals(signals.unwrap_or_default());
        }
        if self.docker.due(!self.projects.is_empty(), now) {
            let mut events = Engine::new(self.system.clone()).events().ok();
            let early = events.as_mut().and_then(|events| events.buffered().ok());
            if early.is_none() {
                events = None;
            }
            if self.docker.connected(events, now) {
                self.all_projects();
            }
            self.changed_projects(early.unwrap_or_default());
        }
    }

    fn next_retry(&self) -> Option<Instant> {
        let bus = self.bus.retry_at.filter(|_| !self.units.is_empty());
        let docker = self.docker.retry_at.filter(|_| !self.projects.is_empty());
        bus.into_iter().chain(docker).min()
    }

    /// Waits for any source, and takes what it tells.
    fn wait(&mut self, cancel: &Cancel, timeout: Duration) {
        let ready = {
            let nothing = cancel.as_fd();
            let descriptors = [
                nothing,
                self.files.as_ref().map_or(nothing, AsFd::as_fd),
                self.bus.up.as_ref().map_or(nothing, AsFd::as_fd),
                self.docker.up.as_ref().map_or(nothing, AsFd::as_fd),
            ];
            let mut polled: Vec<PollFd<'_>> =
                descriptors.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
            // One that failed or was interrupted looks as if nothing were ready, and is done again.
            if poll(&mut polled, Some(&timespec(timeout))).is_err() {
                return;
            }
            polled.iter().map(|one| !one.revents().is_empty()).collect::<Vec<bool>>()
        };
        if ready[0] {
            return;
        }
        let now = Instant::now();
        if ready[1]
            && let Some(files) = &mut self.files
        {
            let mut hints = Vec::new();
            for path in files.read() {
                match self.drop_ins.get(&path) {
                    Some(units) => hints.extend(units.iter().cloned().map(Hint::Unit)),
                    None => hints.push(Hint::File(path)),
                }
            }
            self.hint(hints);
        }
        if ready[2]
            && let Some(bus) = &mut self.bus.up
        {
            if let Ok(signals) = bus.read_signals() {
                self.signals(signals);
            } else {
                self.bus.lost(now);
                self.all_units();
            }
        }
        if ready[3]
            && let Some(events) = &mut self.docker.up
        {
            if let Ok(projects) = events.read() {
                self.changed_projects(projects);
            } else {
                self.docker.lost(now);
                self.all_projects();
            }
        }
    }

    fn signals(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            match signal.member.as_str() {
                // After a reload, and when units were enabled or disabled, any of them may differ.
                "Reloading" | "UnitFilesChanged" => self.all_units(),
                "UnitNew" | "UnitRemoved" => {
                    let unit = signal.unit.filter(|unit| self.units.values().any(|watched| watched == unit));
                    self.hint(unit.into_iter().map(Hint::Unit).collect());
                }
                _ => {
                    let unit = signal.path.rsplit('/').next().and_then(|label| self.units.get(label)).cloned();
                    self.hint(unit.into_iter().map(Hint::Unit).collect());
                }
            }
        }
    }

    fn changed_projects(&mut self, projects: BTreeSet<String>) {
        let watched =
            projects.into_iter().filter(|project| self.projects.contains(project)).map(Hint::Project).collect();
        self.hint(watched);
    }

    fn all_units(&mut self) {
        self.hint(self.units.values().cloned().map(Hint::Unit).collect());
    }

    fn all_projects(&mut self) {
        self.hint(self.projects.iter().cloned().map(Hint::Project).collect());
    }

    fn hint(&mut self, hints: Vec<Hint>) {
        if !hints.is_empty() {
            self.pending.extend(hints);
            self.pending_since.get_or_insert_with(Instant::now);
        }
    }
}

/// Returns the last part of a unit's object path.
///
/// # Source
/// systemd `bus_label_escape()`: everything but letters and digits, and a digit in front, becomes `_` and two hexadecimal digits.
fn bus_label(name: &str) -> String {
    let mut label = String::new();
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            label.push(char::from(byte));
        } else {
            let _ = write!(label, "_{byte:02x}");
        }
    }
    label
}

/// Returns what is watched of static files: where the link leads, and what lies uppermost in the release, such as `index.html`.
fn of_static(query: &StaticQuery) -> Vec<String> {
    let release = Layout::of(&query.path).map(|layout| layout.release(&query.release).join(ANY).display().to_string());
    release.into_iter().chain([query.path.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::mpsc::{self, Receiver};

    use holdfast_protocol::FileQuery;

    use super::*;

    #[test]
    fn labels_on_the_bus() {
        assert_eq!(bus_label("app@blue.service"), "app_40blue_2eservice");
        assert_eq!(bus_label("3x-y.timer"), "_33x_2dy_2etimer");
    }

    #[test]
    fn a_source_that_comes_back_says_that_something_may_have_been_missed() {
        let now = Instant::now();
        let mut link = Link::<()>::DOWN;
        assert!(link.due(true, now) && !link.due(false, now));
        assert!(!link.connected(Some(()), now), "the first time nothing was missed");
        link.lost(now);
        assert!(!link.due(true, now));
        assert!(!link.connected(None, now + RETRY));
        let due = link.retry_at.unwrap();
        assert!(due > now + RETRY * 2 && !link.due(true, now + RETRY * 2) && link.due(true, due));
        assert!(link.connected(Some(()), due));
    }

    /// A watch of one file on a host without systemd and Docker.
    fn start(folder: &Path, file: &Path) -> (Cancel, Receiver<HostEvent>, std::thread::JoinHandle<()>) {
        let files = vec![FileQuery { path: file.to_str().unwrap().to_owned(), expected: None }];
        start_with(folder, ObserveRequest { files, ..ObserveRequest::default() })
    }

    /// A watch on a host whose `/etc` is the folder.
    fn start_with(
        folder: &Path,
        request: ObserveRequest,
    ) -> (Cancel, Receiver<HostEvent>, std::thread::JoinHandle<()>) {
        let nowhere = folder.join("nowhere");
        let system = System {
            etc: folder.to_owned(),
            systemd_private: nowhere.clone(),
            system_bus: nowhere.clone(),
            docker: nowhere,
            ..System::real()
        };
        let root = Root::new(folder.join("root"));
        root.prepare().unwrap();
        let cancel = Cancel::new().unwrap();
        let (sender, receiver) = mpsc::channel();
        let ours = cancel.clone();
        let thread = std::thread::spawn(move || {
            watch(&root, &system, &request, &|| Observed::Absent, &ours, &mut |event| sender.send(event).is_ok());
        });
        (cancel, receiver, thread)
    }

    #[test]
    fn a_changed_file_is_told_within_a_second_and_cancelling_ends_the_watch() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.conf");
        fs::write(&file, "one").unwrap();
        let (cancel, events, thread) = start(folder.path(), &file);
        assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(HostEvent::Alive));
        let begun = Instant::now();
        fs::write(folder.path().join("other"), "x").unwrap();
        fs::write(&file, "two").unwrap();
        let told = events.recv_timeout(Duration::from_secs(5));
        assert_eq!(told, Ok(HostEvent::File(file.to_str().unwrap().to_owned())));
        assert!(begun.elapsed() < Duration::from_secs(1));
        cancel.cancel();
        thread.join().unwrap();
    }

    #[test]
    fn a_drop_in_is_told_as_its_unit_whether_its_folder_was_there_or_not() {
        for exists in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let drop_ins = folder.path().join("systemd/system/a@.service.d");
            fs::create_dir_all(if exists { &drop_ins } else { folder.path() }).unwrap();
            let (cancel, events, thread) = start_with(
                folder.path(),
                ObserveRequest { units: vec!["a@blue.service".to_owned()], ..ObserveRequest::default() },
            );
            assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(HostEvent::Alive));
            fs::create_dir_all(&drop_ins).unwrap();
            fs::write(drop_ins.join("by-hand.conf"), "[Service]\n").unwrap();
            let told = HostEvent::Unit("a@blue.service".to_owned());
            assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(told.clone()), "exists: {exists}");
            while events.recv_timeout(GATHER * 3).is_ok() {}
            fs::remove_file(drop_ins.join("by-hand.conf")).unwrap();
            assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(told), "exists: {exists}");
            cancel.cancel();
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_file_in_a_folder_that_does_not_exist_yet_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/a.conf");
        let (_cancel, events, _thread) = start(folder.path(), &file);
        assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(HostEvent::Alive));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "one").unwrap();
        let told = HostEvent::File(file.to_str().unwrap().to_owned());
        assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(told.clone()));
        // The watch has moved down to its folder meanwhile: what was told before is drained, then a new change shows.
        while events.recv_timeout(GATHER * 3).is_ok() {}
        fs::remove_file(&file).unwrap();
        assert_eq!(events.recv_timeout(Duration::from_secs(5)), Ok(told));
    }
}
