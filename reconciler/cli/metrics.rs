//! What a manager's metrics are made of, gathered: from the hosts, the store and the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::event::SyncResult;
use holdfast_core::id::{AppName, EnvironmentName};
use holdfast_core::plan::{LiveState, status};
use holdfast_core::view::{EnvironmentMetrics, MetricsSource, NoticesDocument, ObservedMetrics, metrics_text};
use holdfast_engine::ports::BoxFuture;
use holdfast_engine::scrape::Exposed;
use holdfast_engine::store::SyncRecord;
use tokio::time::Instant;

use crate::commands::history::entry;
use crate::commands::plan::{Consent, Seen, look};
use crate::commits::ReadCommit;
use crate::error::{Error, OrHint};
use crate::follower::{Follower, followed};
use crate::runner::closed_now;
use crate::setup::{Revision, Setup};
use crate::wire::Wire;

/// For how long what the hosts said is as good as new.
const FRESH: Duration = Duration::from_secs(10);

/// How long somebody who asks waits for the hosts.
const PATIENCE: Duration = Duration::from_secs(8);

/// How far back the last success is looked for.
const LOOK_BACK: u32 = 200;

/// What the hosts of one environment said.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    metrics: ObservedMetrics,
    closed: BTreeSet<AppName>,
}

/// Asks the hosts of an environment. Changes nothing.
pub(crate) async fn observe(setup: &Setup, wire: &Wire, name: &EnvironmentName) -> Result<Observation, Error> {
    let commit = setup.known_commit(Some(name)).await?;
    // Findings are for whoever validates or applies.
    let ReadCommit { tree, config, .. } = setup.read(&commit).await?;
    let config = config.ok_or_else(|| Error::user(format!("commit {} is not valid", commit.short()), ""))?;
    let revision = Revision { commit: commit.clone(), tree, config };
    let at = Wire::now();
    let consent = Consent { allow_prune: true, adopt: false };
    let Seen { desired, live, plan } = look(setup, wire, &revision, name, consent).await?;
    let changes = plan.hosts.values().flat_map(|host| &host.changes).filter(|change| !change.is_housekeeping());
    let metrics = ObservedMetrics {
        at,
        commit,
        changes: changes.count() as u32,
        blockers: plan.blockers.len() as u32,
        apps: status(&desired, &live, &plan),
    };
    drop::<LiveState>(live);
    let closed = closed_now(&revision, name, wire).into_keys().collect();
    Ok(Observation { metrics, closed })
}

/// Returns the environments that a manager has something to say of.
pub(crate) async fn environments(setup: &Setup) -> Result<Vec<EnvironmentName>, Error> {
    if !setup.manager.environments.is_empty() {
        return Ok(setup.manager.environments.keys().cloned().collect());
    }
    let commit = setup.known_commit(None).await?;
    Ok(setup.revision(commit).await?.config.environments.keys().cloned().collect())
}

/// Returns the metrics: what the hosts said, with what the store and the daemon know now.
pub(crate) async fn text(
    setup: &Setup,
    wire: &Wire,
    observed: BTreeMap<EnvironmentName, Option<Observation>>,
) -> Result<String, Error> {
    let daemon = Follower::ask(setup).await;
    let mut source = MetricsSource {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        daemon: daemon.is_ok(),
        repository: daemon.as_ref().ok().map(|daemon| daemon.unfetched().is_none()),
        ..MetricsSource::default()
    };
    for state in wire.store.notice_states().await.or_hint("")? {
        source.notices.push(NoticesDocument {
            sink: state.sink,
            waiting: state.waiting,
            delivered: state.delivered,
            given_up: state.given_up,
            error: String::new(),
        });
    }
    source.history = wire.store.chain_head().await.or_hint("")?;
    let pauses = wire.store.pauses().await.or_hint("")?;
    for (name, observation) in observed {
        let syncs = wire.store.syncs(Some(&name), LOOK_BACK).await.or_hint("")?;
        let clean = |sync: &&SyncRecord| matches!(sync.result, Some(SyncResult::Synced | SyncResult::NoChange));
        let mut quarantined = BTreeMap::new();
        for held in wire.store.quarantined(&name).await.or_hint("")? {
            *quarantined.entry(held.app).or_insert(0) += 1;
        }
        let own = || pauses.iter().filter(|pause| pause.environment == name);
        let (observed, closed) = match observation {
            Some(Observation { metrics, closed }) => (Some(metrics), closed),
            None => (None, BTreeSet::new()),
        };
        let environment = EnvironmentMetrics {
            observed,
            last: syncs.iter().find(|sync| sync.ended.is_some()).map(entry),
            succeeded: syncs.iter().find(clean).map(entry),
            totals: wire.store.totals(&name).await.or_hint("")?,
            followed: daemon.as_ref().ok().and_then(|daemon| daemon.environment(&name)).map(followed),
            awaits: wire.store.approval_request(&name).await.or_hint("")?.map(|request| request.at),
            suspended: own().any(|pause| pause.app.is_none()),
            paused: own().filter_map(|pause| pause.app.clone()).collect(),
            closed,
            quarantined,
        };
        source.environments.insert(name, environment);
    }
    Ok(metrics_text(&source))
}

/// What the daemon shows whoever scrapes it.
pub(crate) struct Exposure<B> {
    parts: Arc<B>,
    environments: BTreeMap<EnvironmentName, Arc<Sight>>,
}

/// What the daemon has at hand.
pub(crate) trait ManagementParts: Send + Sync + 'static {
    /// The manager's configuration and repository.
    fn setup(&self) -> &Setup;
    /// Hosts and store.
    fn wire(&self) -> &Wire;
}

/// The last look at one environment.
#[derive(Default)]
struct Sight {
    /// When it was taken; held while one is: many who ask cause one look.
    taken: tokio::sync::Mutex<Option<Instant>>,
    seen: Mutex<Option<Observation>>,
}

impl<B: ManagementParts> Exposure<B> {
    /// Returns one that has seen nothing yet.
    pub(crate) fn new(parts: Arc<B>) -> Self {
        let environments = parts.setup().manager.environments.keys();
        let environments = environments.map(|name| (name.clone(), Arc::default())).collect();
        Self { parts, environments }
    }

    /// Looks at all environments whose last look is old. What takes longer than anyone waits goes on and is there for the next one.
    async fn refresh(&self) {
        let mut looks = Vec::new();
        for (name, sight) in &self.environments {
            let (parts, name, sight) = (Arc::clone(&self.parts), name.clone(), Arc::clone(sight));
            looks.push(tokio::spawn(async move {
                let mut taken = sight.taken.lock().await;
                if taken.is_some_and(|at| at.elapsed() < FRESH) {
                    return;
                }
                // Otherwise the time of the last look grows old, which is what is watched; the daemon's own looks say why.
                if let Ok(observation) = observe(parts.setup(), parts.wire(), &name).await {
                    *sight.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(observation);
                }
                *taken = Some(Instant::now());
            }));
        }
        let all = async {
            for look in looks {
                // A look that panicked leaves what was seen before.
                let _ = look.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

impl<B: ManagementParts> Exposed for Exposure<B> {
    fn text(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            self.refresh().await;
            let seen = |sight: &Sight| sight.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let observed = self.environments.iter().map(|(name, sight)| (name.clone(), seen(sight))).collect();
            text(self.parts.setup(), self.parts.wire(), observed).await.map_err(|error| error.message)
        })
    }
}
