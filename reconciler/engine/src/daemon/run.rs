use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::SyncResult;
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::notice::Told;
use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::carry::Carrier;
use super::control::Approved;
use super::dispatch::{Dispatcher, Settings};
use super::event::{Checked, DaemonEvent, Job, Known, Looks, Ran, Response};
use super::socket::{self, ControlError, SocketEvent};
use super::sources;
use crate::apply::{Operator, OperatorHandle, Turns};
use crate::ports::{BoxFuture, Clock, Connector, EventSink};
use crate::store::{RetentionPolicy, Store, StoreError};

/// Between two times that old history is forgotten.
const DAY: Duration = Duration::from_secs(86_400);

/// What environments follow.
pub trait Repository: Send + Sync {
    /// Fetches, and returns what each environment follows now. A commit that cannot be used, or does not follow `last`, is an error
    /// of that environment alone. When the fetch fails, what was fetched before is in force.
    fn look(&self, last: BTreeMap<EnvironmentName, Option<CommitId>>) -> BoxFuture<'_, Looks>;
}

/// Does the work.
pub trait Syncer: Send + Sync {
    /// Does a job to its end, and writes it down in the history. `operator` hears what people say at the control socket; its handle
    /// is for other ways to speak. `events` sees what happens while it happens.
    ///
    /// Dropped half way it leaves transactions on hosts that finish or undo themselves; the next run finds them.
    fn run<'a>(
        &'a self,
        job: &'a Job,
        operator: (OperatorHandle, Operator),
        events: Arc<dyn EventSink>,
    ) -> BoxFuture<'a, Ran>;

    /// Returns what a sync would change now. Changes nothing.
    ///
    /// # Errors
    /// Why that is unknown.
    fn check<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        commit: &'a CommitId,
    ) -> BoxFuture<'a, Result<Checked, String>>;

    /// Looks after the backups that a commit declares: copies what is to be copied to other hosts, and returns what people are to be
    /// told of their age. It runs beside jobs and changes nothing that git declares.
    ///
    /// # Errors
    /// Why nothing could be found out.
    fn backups<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        commit: &'a CommitId,
    ) -> BoxFuture<'a, Result<Told, String>> {
        let _ = (environment, commit);
        Box::pin(std::future::ready(Ok(Told::default())))
    }

    /// Takes in what people are to be told. Nothing waits for it.
    fn tell(&self, told: Told) -> BoxFuture<'_, ()> {
        drop(told);
        Box::pin(std::future::ready(()))
    }

    /// Judges somebody's word on the plan that waits in an environment, and writes it down when it counts.
    ///
    /// # Errors
    /// Why it does not count.
    fn approve<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        seal: &'a str,
        voice: Voice,
    ) -> BoxFuture<'a, Result<Approved, String>>;
}

/// Who speaks on the control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// The account at the other end, as the kernel says (`SO_PEERCRED`, unix(7)).
    pub uid: u32,
    /// In whose name it speaks, where not in its own.
    pub name: Option<String>,
}

/// What the daemon works with.
#[derive(Clone)]
pub struct Parts {
    /// What is remembered.
    pub store: Store,
    /// Where desired state comes from.
    pub repository: Arc<dyn Repository>,
    /// Who does the work.
    pub syncer: Arc<dyn Syncer>,
    /// Channels to hosts, for watching them.
    pub connector: Arc<dyn Connector>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// How the daemon is set up.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The environments it follows.
    pub environments: Vec<EnvironmentName>,
    /// Its intervals.
    pub settings: Settings,
    /// The control socket.
    pub socket: PathBuf,
    /// The git directory to watch, when the repository is on this machine.
    pub watched_repository: Option<PathBuf>,
    /// How long running jobs may go on after SIGTERM. Transactions on hosts live on in any case.
    pub grace: Duration,
    /// What of the history is kept.
    pub retention: RetentionPolicy,
    /// How many environments are changed at the same time.
    pub rollouts: u32,
}

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Only what keeps it from starting; afterwards it goes on whatever fails.
pub async fn run(parts: Parts, config: DaemonConfig) -> Result<(), DaemonError> {
    let listener = socket::listen(&config.socket).await?;
    let known = known(&parts, &config.environments).await?;
    let (events, mut inbox) = mpsc::unbounded_channel();
    let (socket_events, mut socket_inbox) = mpsc::unbounded_channel();
    let accepting = tokio::spawn(socket::accept(listener, socket_events));
    let signals = tokio::spawn(sources::signals(events.clone()));
    let _watcher = config.watched_repository.as_deref().and_then(|path| sources::repository(path, events.clone()));
    let store = parts.store.clone();
    let clock = Arc::clone(&parts.clock);
    let mut carrier = Carrier::new(parts, Turns::new(config.rollouts), events);
    let mut dispatcher = Dispatcher::new(config.settings, config.environments.iter().cloned());
    let mut pet = watchdog();
    let mut tidy = tokio::time::interval(DAY);
    tell(&[NotifyState::Ready]);

    let mut next = Some(DaemonEvent::Started(known));
    let mut end: Option<JoinHandle<()>> = None;
    'run: loop {
        if let Some(event) = next.take() {
            if matches!(event, DaemonEvent::Stop) && end.is_none() {
                tracing::info!("stopping; transactions on hosts go on by themselves");
                tell(&[NotifyState::Stopping]);
                end = Some(tokio::spawn(tokio::time::sleep(config.grace)));
            }
            for response in dispatcher.handle_event(event, clock.now()) {
                match response {
                    Response::Exit => break 'run,
                    Response::Status(status) => tell(&[NotifyState::Status(&status)]),
                    response => carrier.carry(response),
                }
            }
        }
        let timer = async {
            match dispatcher.deadline() {
                Some(at) => clock.sleep(Duration::from_millis(at.since_ms(clock.now()))).await,
                None => std::future::pending().await,
            }
        };
        next = tokio::select! {
            event = inbox.recv() => event,
            event = socket_inbox.recv() => match event {
                Some(SocketEvent::Asked(token, request, uid, replies)) => {
                    carrier.connections.insert(token, (replies, uid));
                    Some(DaemonEvent::Control(token, request))
                }
                Some(SocketEvent::Gone(token)) => {
                    carrier.connections.remove(&token);
                    Some(DaemonEvent::Gone(token))
                }
                None => None,
            },
            () = timer => Some(DaemonEvent::Tick),
            _ = tidy.tick() => { forget(&store, config.retention, &clock); None }
            // The watchdog is fed by this loop, so that a daemon that decides nothing any more is restarted.
            _ = pet.tick() => { tell(&[NotifyState::Watchdog]); None }
            () = over(&mut end) => break 'run,
        };
    }
    signals.abort();
    accepting.abort();
    carrier.end().await;
    store.flush().await?;
    // Another daemon clears it away when this fails.
    let _ = std::fs::remove_file(&config.socket);
    Ok(())
}

/// Forgets old history, in a task of its own.
fn forget(store: &Store, policy: RetentionPolicy, clock: &Arc<dyn Clock>) {
    let (store, now) = (store.clone(), clock.now());
    tokio::spawn(async move {
        match store.prune(policy, now).await {
            Ok(pruned) if pruned.syncs > 0 => tracing::info!(syncs = pruned.syncs, "old history was forgotten"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "old history could not be forgotten"),
        }
    });
}

async fn over(end: &mut Option<JoinHandle<()>>) {
    match end {
        Some(end) => drop(end.await),
        None => std::future::pending().await,
    }
}

/// Returns a timer at half the watchdog's interval; without a watchdog, a slow one that does no harm.
fn watchdog() -> tokio::time::Interval {
    let limit = sd_notify::watchdog_enabled().unwrap_or(Duration::from_secs(3600));
    let mut interval = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Reads what a former run left. A sync that it did not end, and that no living process runs, is closed: a new one resumes it.
async fn known(
    parts: &Parts,
    environments: &[EnvironmentName],
) -> Result<BTreeMap<EnvironmentName, Known>, StoreError> {
    let store = &parts.store;
    let (unfinished, pauses, locks) = (store.unfinished_syncs().await?, store.pauses().await?, store.locks().await?);
    let mut all = BTreeMap::new();
    for name in environments {
        let mut known = Known {
            seen: store.seen_commit(name).await?.map(|(commit, _)| commit),
            released: store.released(name).await?,
            suspended: pauses.iter().find(|pause| pause.environment == *name && pause.app.is_none()).cloned(),
            ..Known::default()
        };
        known.synced = store.syncs(Some(name), 100).await?.into_iter().find_map(|sync| {
            let clean = matches!(sync.result, Some(SyncResult::Synced | SyncResult::NoChange));
            (clean && sync.cause != "rollback").then_some(sync.commit)
        });
        let lock = format!("environment/{name}");
        let lives = locks.iter().any(|held| held.name == lock && held.holder.is_alive());
        for sync in unfinished.iter().filter(|sync| sync.environment == *name && !lives) {
            let reason = "cut short; what it began is finished by the next sync";
            store.end_sync(sync.id, SyncResult::Failed, reason, parts.clock.now()).await?;
            known.unfinished = Some(sync.commit.clone());
        }
        all.insert(name.clone(), known);
    }
    Ok(all)
}
