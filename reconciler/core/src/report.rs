//! Events folded into the result of a sync: what happened, how long it took, and how many probe requests ran and failed.

use std::collections::BTreeMap;

use holdfast_protocol::{Decision, JournalEvent, Outcome, Phase, UNSERVED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{AppResult, DOWNGRADE, MIGRATE, SWITCH, SyncEvent, SyncEventKind, SyncResult};
use crate::id::{AppName, CommitId, EnvironmentName, HostName};
use crate::time::Timestamp;

/// The version of [`Report`] as JSON. It rises when a reader of the former version would misread a report.
pub const REPORT_FORMAT_VERSION: u32 = 1;

/// The result of one sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`REPORT_FORMAT_VERSION`].
    pub format_version: u32,
    /// The environment; `None` when nothing began.
    pub environment: Option<EnvironmentName>,
    /// The commit.
    pub commit: Option<CommitId>,
    /// Why it ran.
    pub cause: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When its last event was.
    pub ended_at: Timestamp,
    /// How it ended; `None` while it runs.
    pub result: Option<SyncResult>,
    /// Changes planned.
    pub changes: u32,
    /// What stood in the way.
    pub blockers: Vec<String>,
    /// Apps that windows close: each has one line of the blockers.
    #[serde(default)]
    pub closed: Vec<AppName>,
    /// The seal of the plan; empty without one.
    pub seal: String,
    /// Ids of the commit's migrations that the hosts have done, as their ledgers say.
    #[serde(default)]
    pub migrated: Vec<String>,
    /// Who had closed apps changed, and why; `None` when nobody had.
    pub window_override: Option<WindowOverride>,
    /// By app.
    pub apps: BTreeMap<AppName, AppReport>,
    /// What could not be asked or told, in the order it happened.
    pub troubles: Vec<Trouble>,
    /// What it waits for; `None` when it does not.
    pub awaits: Option<Awaits>,
    /// Who agreed to what was applied; empty where nobody was asked.
    pub approved_by: Vec<String>,
}

/// A plan that too few people agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Awaits {
    /// Who agreed so far.
    pub given: Vec<String>,
    /// How many must.
    pub required: u32,
    /// Who may.
    pub approvers: Vec<String>,
}

/// That a person had apps changed that windows close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowOverride {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The apps.
    pub apps: Vec<AppName>,
}

/// The result for one app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppReport {
    /// The release.
    pub release: String,
    /// How it ended; `None` while it runs.
    pub result: Option<AppResult>,
    /// Milliseconds from its begin to its end.
    pub took_ms: u64,
    /// Waves it went in.
    pub waves: Vec<Vec<HostName>>,
    /// By host.
    pub hosts: BTreeMap<HostName, HostReport>,
    /// Why the release is quarantined; empty when it is not.
    pub quarantined: String,
    /// The content that is quarantined; empty when none is.
    pub quarantined_content: String,
    #[serde(skip)]
    began_at: Option<Timestamp>,
}

/// The result for one app on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostReport {
    /// How it ended; `None` when it did not begin or was lost.
    pub outcome: Option<Outcome>,
    /// Why, for people; empty when done.
    pub reason: String,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Milliseconds from its first journal entry to its end, by the manager's clock.
    pub took_ms: u64,
    /// Milliseconds each switch took, in order.
    pub switch_ms: Vec<u64>,
    /// Whether a migration ran here.
    pub migrated: bool,
    /// The migrations that ran here, and those that were taken back.
    #[serde(default)]
    pub migrations: Vec<Migrated>,
    /// Whether the new release serves and stays although it failed, since the one before does not know its schema.
    #[serde(default)]
    pub held: bool,
    /// Whether nobody is served, since neither release could be started on the schema that is there.
    #[serde(default)]
    pub unserved: bool,
    /// Milliseconds going back took; `None` when it did not go back.
    pub back_ms: Option<u64>,
    /// Probe requests: health, proof, watch.
    pub probes: Probes,
    /// Steps done.
    pub steps: u32,
    /// Title and error of the first step that failed; empty when none did.
    pub failed: String,
    // What follows is for folding alone: of a report that was read, nothing more is folded.
    #[serde(skip)]
    began_at: Option<Timestamp>,
    #[serde(skip)]
    back_at: Option<Timestamp>,
    #[serde(skip)]
    sent_back: bool,
    #[serde(skip)]
    titles: BTreeMap<(Phase, u32), String>,
    /// Probes of the step under way, from its progress: counted when it fails without saying how many.
    #[serde(skip)]
    running: Probes,
}

/// A migration that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Migrated {
    /// Its id.
    pub id: String,
    /// The schema's revision before: a word, `empty` or `unknown`.
    pub from: String,
    /// The schema's revision after: a word, `empty` or `unknown`.
    pub to: String,
    /// Whether it was taken back.
    pub back: bool,
}

impl Migrated {
    /// Returns what a host's words hold: `prod/shop/web/0123456789abcdef: 0001 to 0002`.
    fn read(text: &str, back: bool) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').take(4).collect();
        match words.as_slice() {
            [id, from, "to", to] => {
                let id = id.strip_suffix(':')?.to_owned();
                Some(Self { id, from: (*from).to_owned(), to: (*to).to_owned(), back })
            }
            _ => None,
        }
    }
}

/// Probe requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probes {
    /// That ran.
    pub run: u64,
    /// Of these, that failed.
    pub failed: u64,
}

/// Something that could not be asked or told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// Host.
    pub host: HostName,
    /// App; `None` while observing.
    pub app: Option<AppName>,
    /// What.
    pub error: String,
}

impl Report {
    /// Returns a report of nothing.
    pub fn new() -> Self {
        Self {
            format_version: REPORT_FORMAT_VERSION,
            environment: None,
            commit: None,
            cause: String::new(),
            began_at: Timestamp::default(),
            ended_at: Timestamp::default(),
            result: None,
            changes: 0,
            blockers: Vec::new(),
            closed: Vec::new(),
            seal: String::new(),
            migrated: Vec::new(),
            window_override: None,
            apps: BTreeMap::new(),
            troubles: Vec::new(),
            awaits: None,
            approved_by: Vec::new(),
        }
    }

    /// Returns milliseconds from the first to the last event.
    pub fn took_ms(&self) -> u64 {
        self.ended_at.since_ms(self.began_at)
    }

    /// Returns all probe requests of the sync.
    pub fn probes(&self) -> Probes {
        let hosts = self.apps.values().flat_map(|app| app.hosts.values());
        hosts.fold(Probes::default(), |sum, host| sum.plus(host.probes))
    }

    /// Takes one event in.
    pub fn add(&mut self, event: &SyncEvent) {
        let at = event.at;
        self.ended_at = at;
        match &event.kind {
            SyncEventKind::Started { environment, commit, cause, by: _ } => {
                self.began_at = at;
                self.environment = Some(environment.clone());
                self.commit = Some(commit.clone());
                self.cause.clone_from(cause);
            }
            SyncEventKind::Planned { changes, blockers, closed, seal, migrated } => {
                self.migrated.clone_from(migrated);
                self.changes = *changes;
                self.closed.clone_from(closed);
                self.blockers.clone_from(blockers);
                self.seal.clone_from(seal);
            }
            SyncEventKind::AwaitsApproval { given, required, approvers, .. } => {
                let (given, approvers) = (given.clone(), approvers.clone());
                self.awaits = Some(Awaits { given, required: *required, approvers });
            }
            SyncEventKind::Approved { by, .. } => self.approved_by.clone_from(by),
            SyncEventKind::WindowOverridden { apps, by, reason, .. } => {
                let (by, reason, apps) = (by.clone(), reason.clone(), apps.clone());
                self.window_override = Some(WindowOverride { by, reason, apps });
            }
            SyncEventKind::AppStarted { app, release, waves } => {
                let report = self.apps.entry(app.clone()).or_default();
                report.release.clone_from(release);
                report.waves.clone_from(waves);
                report.began_at = Some(at);
                for host in waves.iter().flatten() {
                    report.hosts.entry(host.clone()).or_default();
                }
            }
            SyncEventKind::Staged { app, host, bytes } => self.host(app, host).sent_bytes += bytes,
            SyncEventKind::Host { app, host, entry } => self.host(app, host).journal(at, &entry.event),
            SyncEventKind::HostEnded { app, host, outcome, reason } => {
                self.host(app, host).end(at, *outcome, reason);
            }
            SyncEventKind::HostTrouble { app, host, error } => {
                self.troubles.push(Trouble { at, host: host.clone(), app: app.clone(), error: error.clone() });
            }
            SyncEventKind::Quarantined { app, reason, content, release } => {
                let report = self.apps.entry(app.clone()).or_default();
                report.quarantined.clone_from(reason);
                report.quarantined_content.clone_from(content);
                if report.release.is_empty() {
                    report.release.clone_from(release);
                }
            }
            SyncEventKind::AppEnded { app, result } => {
                let report = self.apps.entry(app.clone()).or_default();
                report.result = Some(*result);
                // One that was blocked never began.
                report.took_ms = report.began_at.map_or(0, |began| at.since_ms(began));
            }
            SyncEventKind::Ended { result, migrated } => {
                self.result = Some(*result);
                self.migrated
                    .extend(migrated.iter().filter(|id| !self.migrated.contains(id)).cloned().collect::<Vec<_>>());
            }
            SyncEventKind::WaitsForTurn { .. } | SyncEventKind::Decided { .. } | SyncEventKind::Paused { .. } => {}
        }
    }

    fn host(&mut self, app: &AppName, host: &HostName) -> &mut HostReport {
        self.apps.entry(app.clone()).or_default().hosts.entry(host.clone()).or_default()
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the result of a sync from its events.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a SyncEvent>) -> Report {
    let mut report = Report::new();
    for event in events {
        report.add(event);
    }
    report
}

impl Probes {
    fn plus(self, other: Self) -> Self {
        Self { run: self.run + other.run, failed: self.failed + other.failed }
    }

    /// Returns the counts a host's words hold: `12 probes, 1 failed` or `1 of 12 probes failed`.
    fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split([' ', ',', ':', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == "probes")?;
        let number = |index: Option<usize>| words.get(index?)?.parse::<u64>().ok();
        let run = number(at.checked_sub(1))?;
        let failed = if at.checked_sub(2).and_then(|of| words.get(of)) == Some(&"of") {
            number(at.checked_sub(3))
        } else {
            number(Some(at + 1)).filter(|_| words.get(at + 2) == Some(&"failed"))
        };
        Some(Self { run, failed: failed.unwrap_or_default() })
    }
}

impl HostReport {
    fn journal(&mut self, at: Timestamp, event: &JournalEvent) {
        self.began_at.get_or_insert(at);
        match event {
            JournalEvent::Entered { phase: Phase::Undo } => {
                self.back_at.get_or_insert(at);
            }
            JournalEvent::Intent { phase, step, title, .. } => {
                self.titles.insert((*phase, *step), title.clone());
                self.running = Probes::default();
            }
            JournalEvent::Progress { text } => {
                if let Some(probes) = Probes::read(text) {
                    self.running = probes;
                }
            }
            JournalEvent::Done { phase, step, took_ms, note } => {
                self.steps += 1;
                self.count(note);
                match self.titles.get(&(*phase, *step)).and_then(|title| verb(title)) {
                    Some(SWITCH) => self.switch_ms.push(*took_ms),
                    Some(MIGRATE) => {
                        self.migrated = true;
                        self.migrations.extend(Migrated::read(note, false));
                    }
                    Some(DOWNGRADE) => self.migrations.extend(Migrated::read(note, true)),
                    _ => {}
                }
            }
            JournalEvent::Failed { phase, step, error, .. } => {
                self.count(error);
                if self.failed.is_empty() {
                    let title = self.titles.get(&(*phase, *step)).map_or("a step", String::as_str);
                    self.failed = format!("{title}: {error}");
                }
            }
            JournalEvent::Ended { outcome, reason } => self.end(at, *outcome, reason),
            // From there the way leads back, if there is one.
            JournalEvent::Entered { phase: Phase::Settle } => self.held = self.sent_back || !self.failed.is_empty(),
            JournalEvent::Decided { decision: Decision::GoBack, .. } => self.sent_back = true,
            JournalEvent::Entered { .. }
            | JournalEvent::UndoIntent { .. }
            | JournalEvent::Undone { .. }
            | JournalEvent::Decided { .. }
            | JournalEvent::Resumed => {}
        }
    }

    fn count(&mut self, words: &str) {
        let probes = Probes::read(words).unwrap_or(self.running);
        self.probes = self.probes.plus(probes);
        self.running = Probes::default();
    }

    fn end(&mut self, at: Timestamp, outcome: Outcome, reason: &str) {
        self.outcome = Some(outcome);
        reason.clone_into(&mut self.reason);
        self.unserved = outcome == Outcome::Stuck && reason.starts_with(UNSERVED);
        self.took_ms = self.began_at.map_or(0, |began| at.since_ms(began));
        self.back_ms = self.back_at.map(|back| at.since_ms(back));
    }
}

/// Returns the first word of a title after its component.
fn verb(title: &str) -> Option<&str> {
    title.split_once(": ").map_or(title, |(_, rest)| rest).split(' ').next()
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::JournalEntry;

    use super::*;

    #[test]
    fn reads_the_hosts_words() {
        let read = |text| Probes::read(text).map(|probes| (probes.run, probes.failed));
        assert_eq!(read("12 probes, 1 failed"), Some((12, 1)));
        assert_eq!(read("watching: 7 probes, 2 failed, 3 s left"), Some((7, 2)));
        assert_eq!(read("30 of 40 probes failed in the watch window, at most 10 of 1000 may"), Some((40, 30)));
        assert_eq!(read("no probes here"), None);
        assert_eq!(read("healthy"), None);
    }

    #[test]
    fn a_whole_report_is_json_and_back() {
        let (app, host) = ("web".parse::<AppName>().unwrap(), "h1".parse::<HostName>().unwrap());
        let mut report = Report::new();
        let event =
            JournalEvent::Intent { phase: Phase::Prepare, step: 1, title: "preflight".to_owned(), before: Vec::new() };
        let entry = JournalEntry { seq: 0, at_ms: 0, event };
        report.add(&SyncEvent {
            at: Timestamp(1),
            kind: SyncEventKind::Host { app: app.clone(), host: host.clone(), entry },
        });
        assert_eq!(report.apps[&app].hosts[&host].titles.len(), 1, "it folds what JSON has no key for");
        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn folds_a_rollout_that_went_back() {
        let host: HostName = "h1".parse().unwrap();
        let app: AppName = "web".parse().unwrap();
        let journal = |at, event| SyncEvent {
            at: Timestamp(at),
            kind: SyncEventKind::Host {
                app: app.clone(),
                host: host.clone(),
                entry: JournalEntry { seq: 0, at_ms: 0, event },
            },
        };
        let intent = |phase, step, title: &str| JournalEvent::Intent {
            phase,
            step,
            title: title.to_owned(),
            before: Vec::new(),
        };
        let done =
            |phase, step, took_ms, note: &str| JournalEvent::Done { phase, step, took_ms, note: note.to_owned() };
        let events = [
            SyncEvent {
                at: Timestamp(1_000),
                kind: SyncEventKind::Started {
                    by: "ada".to_owned(),
                    environment: "prod".parse().unwrap(),
                    commit: "a".repeat(40).parse().unwrap(),
                    cause: "commit".to_owned(),
                },
            },
            SyncEvent {
                at: Timestamp(1_100),
                kind: SyncEventKind::AppStarted {
                    app: app.clone(),
                    release: "v3".to_owned(),
                    waves: vec![vec![host.clone()]],
                },
            },
            journal(1_200, intent(Phase::Prepare, 0, "web: green healthy")),
            journal(1_300, done(Phase::Prepare, 0, 90, "3 probes, 1 failed")),
            journal(1_310, intent(Phase::Prepare, 1, "web: migrate")),
            journal(1_320, done(Phase::Prepare, 1, 10, "prod/shop/web/01: 0001 to 0002")),
            journal(1_330, intent(Phase::Promote, 0, "web: switch 127.0.83.1:8101 to green on 8201")),
            journal(1_340, done(Phase::Promote, 0, 4, "")),
            journal(1_350, intent(Phase::Watch, 0, "watch")),
            journal(1_360, JournalEvent::Progress { text: "watching: 5 probes, 5 failed, 9 s left".to_owned() }),
            journal(
                1_370,
                JournalEvent::Failed { phase: Phase::Watch, step: 0, error: "unhealthy".to_owned(), operator: false },
            ),
            journal(1_400, JournalEvent::Entered { phase: Phase::Undo }),
            journal(1_450, JournalEvent::Ended { outcome: Outcome::RolledBack, reason: "unhealthy".to_owned() }),
            SyncEvent {
                at: Timestamp(1_500),
                kind: SyncEventKind::AppEnded { app: app.clone(), result: AppResult::RolledBack },
            },
        ];
        let report = fold(&events);
        assert_eq!((report.took_ms(), report.apps[&app].took_ms), (500, 400));
        let host = &report.apps[&app].hosts[&host];
        assert_eq!(host.outcome, Some(Outcome::RolledBack));
        assert_eq!(host.probes, Probes { run: 8, failed: 6 });
        assert_eq!((host.switch_ms.as_slice(), host.migrated, host.back_ms), ([4].as_slice(), true, Some(50)));
        let migrated =
            Migrated { id: "prod/shop/web/01".to_owned(), from: "0001".to_owned(), to: "0002".to_owned(), back: false };
        assert_eq!((host.migrations.as_slice(), host.held), ([migrated].as_slice(), false));
        assert_eq!(host.failed, "watch: unhealthy");
        assert_eq!((host.steps, host.took_ms), (3, 250));
    }
}
