//! One sync or rollback with everything around it: lock, quarantine, history, the operator's words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::approval::Proposal;
use holdfast_core::desired::DesiredState;
use holdfast_core::event::{SyncEvent, SyncEventKind, SyncResult};
use holdfast_core::id::{AppName, CommitId, EnvironmentName, short_seal};
use holdfast_core::notice::of_sync;
use holdfast_core::plan::Quarantined;
use holdfast_core::report::{Migrated, Report};
use holdfast_core::view::harmless;
use holdfast_core::window::{Closed, closed_apps};
use holdfast_engine::apply::{Operator, OperatorHandle, operator};
use holdfast_engine::ports::EventSink;
use holdfast_engine::rollback::{RollbackRequest, rollback};
use holdfast_engine::store::{ApprovalRequest, EventSeq, Holder, Lock, LockOutcome, Pause, Quarantine, Store, SyncId};
use holdfast_engine::sync::{Expected, SyncRequest, WindowConsent, sync};

use crate::approval::{approving, own_account};
use crate::commands::history::when;
use crate::commands::plan::Consent;
use crate::control::Listener;
use crate::error::{Error, OrHint};
use crate::setup::{Revision, Setup};
use crate::wire::{Fan, Wire};

/// What is to be done.
pub(crate) enum Work {
    /// Bring the environment to the commit.
    Sync {
        /// Why: `apply`, `commit`, `drift`, `resume`.
        cause: String,
        /// What was reviewed.
        expected: Option<Expected>,
        /// What a person agreed to.
        consent: Consent,
        /// What windows mean for it.
        windows: WindowConsent,
        /// Only this app.
        only: Option<AppName>,
    },
    /// Bring an app's release before the present one back.
    Rollback {
        /// Which.
        app: AppName,
        /// The release; `None` for the one before.
        to: Option<String>,
        /// Whether its schema goes back too.
        downgrade: bool,
    },
}

/// Runs one piece of work; other processes can speak to it.
pub(crate) async fn run(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    environment: &EnvironmentName,
    work: Work,
    watcher: Arc<dyn EventSink>,
) -> Result<Report, Error> {
    run_with(setup, wire, revision, environment, work, operator(), watcher).await
}

/// The same with an operator that somebody else can speak to too.
pub(crate) async fn run_with(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    environment: &EnvironmentName,
    work: Work,
    (handle, mut operator): (OperatorHandle, Operator),
    watcher: Arc<dyn EventSink>,
) -> Result<Report, Error> {
    let seen = wire.store.seen_commit(environment).await.or_hint("")?;
    setup.verify(seen.as_ref().map(|(commit, _)| commit), &revision.commit).await?;
    let desired = wire.archives.look_into(setup.desired(revision, environment)?).await;
    let lock = lock(wire, environment).await?;
    // Behind the lock: whoever holds it may replace the socket of a dead process.
    let listener = Listener::open(&setup.manager.runtime_dir, environment, handle);
    let report = match listener {
        Ok(_open) => locked(setup, wire, revision, desired, work, &mut operator, watcher).await,
        Err(error) => Err(Error::user(format!("cannot listen: {error}"), "set `runtime_dir` in the configuration")),
    };
    unlock(wire, &lock, report).await
}

/// Lets the lock go, whatever came of the work.
pub(crate) async fn unlock<T>(wire: &Wire, lock: &Lock, done: Result<T, Error>) -> Result<T, Error> {
    let freed = wire.store.unlock(&lock.id).await.or_hint("");
    let done = done?;
    freed?;
    Ok(done)
}

/// Takes the environment for this process alone.
pub(crate) async fn lock(wire: &Wire, environment: &EnvironmentName) -> Result<Lock, Error> {
    let who = std::env::args().nth(1).unwrap_or_default();
    let who = format!("{who} by {}", person());
    let name = format!("environment/{environment}");
    let holder = Holder::this_process(&who);
    match wire.store.acquire_lock(&name, holder, wire.clock.now(), Holder::is_alive).await.or_hint("")? {
        LockOutcome::Acquired(lock, _) => Ok(lock),
        LockOutcome::Held(lock) => Err(Error::refused(
            format!(
                "{environment} is being changed by `{}` (process {}, lock {})",
                lock.holder.who, lock.holder.pid, lock.id
            ),
            format!(
                "wait until it is done, or look with `holdfast status {environment}`; the lock of a dead process is taken over by itself"
            ),
        )),
    }
}

/// Returns who is at the terminal.
pub(crate) fn person() -> String {
    // Who became root with sudo is known by the name before.
    let named = ["SUDO_USER", "USER"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "root".to_owned())
}

async fn locked(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    desired: DesiredState,
    work: Work,
    operator: &mut Operator,
    watcher: Arc<dyn EventSink>,
) -> Result<Report, Error> {
    let environment = desired.environment.clone();
    let store = &wire.store;
    let cause = match &work {
        Work::Sync { cause, .. } => cause.clone(),
        Work::Rollback { .. } => "rollback".to_owned(),
    };
    let begun = begun(store, &desired).await?;
    // The lock is ours: what has not ended was cut short with its process, and this sync finishes it.
    for cut in store.unfinished_syncs().await.or_hint("")?.into_iter().filter(|sync| sync.environment == environment) {
        let reason = "cut short; what it began is finished by the next sync";
        store.end_sync(cut.id, SyncResult::Failed, reason, wire.clock.now()).await.or_hint("")?;
    }
    let id = store.begin_sync(&environment, &desired.commit, &cause, wire.clock.now()).await.or_hint("")?;
    let by = own_account().await;
    let recorded = Arc::new(Recorded {
        store: store.clone(),
        id,
        plan: (environment.clone(), desired.commit.clone()),
        quarantined: Mutex::default(),
    });
    let ports = wire.ports(revision, Arc::new(Fan(vec![Arc::clone(&recorded) as Arc<dyn EventSink>, watcher])));
    let report = match work {
        Work::Sync { cause, expected, consent, windows, only } => {
            let quarantined = quarantined(store, &environment).await?;
            // Who names one app means it.
            let mut paused = paused(store, &environment).await?;
            paused.retain(|app, _| only.as_ref() != Some(app));
            let request = SyncRequest {
                checks: setup.manager.checks.get(&environment).cloned().unwrap_or_default(),
                desired,
                cause,
                by,
                approving: approving(setup, store, &environment, &revision.commit).await?,
                expected,
                quarantined,
                migrated: store.migrations().await.or_hint("")?,
                allow_prune: consent.allow_prune,
                adopt: consent.adopt,
                only,
                paused,
                windows,
                begun,
            };
            let report = sync(&ports, &request, operator).await;
            keep_request(wire, &environment, &revision.commit, &report).await?;
            report
        }
        Work::Rollback { app, to, downgrade } => {
            rollback(&ports, &RollbackRequest { desired, app, to, by, downgrade }, operator).await
        }
    };
    let (back, done): (Vec<_>, Vec<_>) = report
        .apps
        .values()
        .flat_map(|app| app.hosts.values())
        .flat_map(|host| &host.migrations)
        .partition(|migration| migration.back);
    let name = |migration: &Migrated| migration.id.clone();
    let done = report.migrated.iter().cloned().chain(done.into_iter().map(name)).collect();
    store.keep_migrations(done, back.into_iter().map(name).collect(), wire.clock.now()).await.or_hint("")?;
    for (app, release, reason, content) in recorded.take() {
        let Ok(digest) = content.parse() else { continue };
        let at = wire.clock.now();
        let entry = Quarantine { environment: environment.clone(), app, digest, release, reason, at };
        store.quarantine(entry).await.or_hint("")?;
    }
    let result = report.result.unwrap_or(SyncResult::Failed);
    let reason = reason(&report);
    store.end_sync(id, result, &reason, wire.clock.now()).await.or_hint("")?;
    store.count_deploys(&environment, &report).await.or_hint("")?;
    wire.herald.tell(of_sync(id.0, &report, &reason)).await;
    store.flush().await.or_hint("")?;
    Ok(report)
}

/// Keeps the plan that waits for approval, or forgets the one of this commit that waited.
async fn keep_request(
    wire: &Wire,
    environment: &EnvironmentName,
    commit: &CommitId,
    report: &Report,
) -> Result<(), Error> {
    let Some(awaits) = &report.awaits else {
        return wire.store.drop_approval_request(environment, commit).await.or_hint("");
    };
    let seal = report.seal.parse().or_hint("")?;
    let request = ApprovalRequest {
        proposal: Proposal { environment: environment.clone(), commit: commit.clone(), seal },
        changes: report.changes,
        required: awaits.required,
        given: awaits.given.iter().cloned().collect(),
        at: wire.clock.now(),
    };
    wire.store.request_approval(request).await.or_hint("")
}

/// Returns the apps whose rollout to this commit the last syncs began, when these were cut short.
async fn begun(store: &Store, desired: &DesiredState) -> Result<BTreeSet<AppName>, Error> {
    let mut begun = BTreeSet::new();
    for sync in store.syncs(Some(&desired.environment), 20).await.or_hint("")? {
        let events = store.events(sync.id, EventSeq::default(), u32::MAX).await.or_hint("")?;
        let ended = events.iter().any(|(_, event)| matches!(event.kind, SyncEventKind::Ended { .. }));
        if ended || sync.commit != desired.commit {
            break;
        }
        begun.extend(events.into_iter().filter_map(|(_, event)| match event.kind {
            SyncEventKind::AppStarted { app, .. } => Some(app),
            _ => None,
        }));
    }
    Ok(begun)
}

/// Returns what is in quarantine, as a plan wants it.
pub(crate) async fn quarantined(store: &Store, environment: &EnvironmentName) -> Result<BTreeSet<Quarantined>, Error> {
    let entries = store.quarantined(environment).await.or_hint("")?;
    let plain = |entry: Quarantine| Quarantined {
        app: entry.app,
        content: entry.digest,
        reason: format!("{}: {}", entry.release, entry.reason),
    };
    Ok(entries.into_iter().map(plain).collect())
}

/// Returns the apps of an environment that are paused, and what to say about each.
pub(crate) async fn paused(store: &Store, environment: &EnvironmentName) -> Result<BTreeMap<AppName, String>, Error> {
    let pauses = store.pauses().await.or_hint("")?;
    let own = pauses.into_iter().filter(|pause| pause.environment == *environment);
    let line = |pause: Pause| {
        let app = pause.app?;
        let why = if pause.reason.is_empty() { String::new() } else { format!(" ({})", pause.reason) };
        let text = format!("is paused by {}{why}; `holdfast resume {environment} {app}` lets it go on", pause.by);
        Some((app, text))
    };
    Ok(own.filter_map(line).collect())
}

/// Returns what to say about an environment that is paused as a whole.
pub(crate) async fn suspended(store: &Store, environment: &EnvironmentName) -> Result<Option<String>, Error> {
    let pauses = store.pauses().await.or_hint("")?;
    let whole = pauses.into_iter().find(|pause| pause.environment == *environment && pause.app.is_none());
    Ok(whole.map(|Pause { by, reason, at, .. }| {
        let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        let since = when(at);
        format!("is paused by {by} since {since}{why}: nothing begins by itself; `holdfast resume {environment}` lets it go on")
    }))
}

/// Returns the apps of an environment that windows close now.
pub(crate) fn closed_now(revision: &Revision, environment: &EnvironmentName, wire: &Wire) -> BTreeMap<AppName, Closed> {
    let known = revision.config.environments.get(environment);
    known.map(|known| closed_apps(&known.sync.windows, known.apps.keys(), wire.clock.now())).unwrap_or_default()
}

/// Returns a line for each window that closes apps, with their names.
pub(crate) fn closed_lines(closed: &BTreeMap<AppName, Closed>) -> Vec<String> {
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (app, closed) in closed {
        let hand = if closed.manual { "; `holdfast apply` goes through" } else { "" };
        by.entry(format!("{closed}{hand}")).or_default().push(app.as_str());
    }
    let line = |(text, apps): (String, Vec<&str>)| {
        format!("{} {} {}", apps.join(", "), if apps.len() == 1 { "is" } else { "are" }, harmless(&text))
    };
    by.into_iter().map(line).collect()
}

/// Returns one line for the history.
pub(crate) fn reason(report: &Report) -> String {
    let apps = report.apps.iter().map(|(app, said)| {
        let why = said.hosts.values().find(|host| !host.failed.is_empty()).map(|host| host.failed.as_str());
        match why {
            Some(why) => format!("{app} {}: {why}", said.release),
            None => format!("{app} {}", said.release),
        }
    });
    let passed = report.window_override.iter().map(|one| format!("window overridden by {}: {}", one.by, one.reason));
    let waits = report.awaits.as_ref().map(|_| format!("plan {} waits for approval", short_seal(&report.seal)));
    let approved = Some(&report.approved_by).filter(|by| !by.is_empty());
    let approved = approved.map(|by| format!("approved by {}", by.join(", ")));
    passed
        .chain(apps)
        .chain(report.blockers.iter().cloned())
        .chain(waits)
        .chain(approved)
        .collect::<Vec<_>>()
        .join("; ")
        .chars()
        .take(400)
        .collect()
}

type Failed = (AppName, String, String, String);

/// Writes events into the history, and keeps what is to be quarantined.
struct Recorded {
    store: Store,
    id: SyncId,
    plan: (EnvironmentName, CommitId),
    quarantined: Mutex<Vec<Failed>>,
}

impl Recorded {
    fn take(&self) -> Vec<Failed> {
        std::mem::take(&mut self.quarantined.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EventSink for Recorded {
    fn emit(&self, event: &SyncEvent) {
        self.store.record_event(self.id, event);
        if let SyncEventKind::Approved { seal, .. } = &event.kind
            && let Ok(seal) = seal.parse()
        {
            let (environment, commit) = self.plan.clone();
            self.store.release(&Proposal { environment, commit, seal }, event.at);
        }
        if let SyncEventKind::Quarantined { app, release, reason, content } = &event.kind {
            let failed = (app.clone(), release.clone(), reason.clone(), content.clone());
            self.quarantined.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
        }
    }
}
