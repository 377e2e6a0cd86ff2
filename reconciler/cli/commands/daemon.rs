//! `holdfast daemon`: watches the repository and keeps the hosts as it says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::desired::resolve;
use holdfast_core::event::{AppResult, SyncResult};
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::notice::Told;
use holdfast_core::plan::{keeps_previous, kept_until, observe_request};
use holdfast_core::report::{AppReport, Report};
use holdfast_core::schedule::{SyncCause, SyncVerdict};
use holdfast_core::view::{DiagnosticStyle, diagnostics_text};
use holdfast_engine::apply::{Operator, OperatorHandle};
use holdfast_engine::daemon::{
    Approved, Checked, DaemonConfig, Job, JobKind, Look, LookError, Looks, Parts, Ran, Repository, Settings, Syncer,
    Voice, Watched, run as run_daemon,
};
use holdfast_engine::git::Location;
use holdfast_engine::notify::{Courier, deliver};
use holdfast_engine::ports::{BoxFuture, EventSink};
use holdfast_engine::scrape::{Exposed, serve};
use holdfast_engine::sync::WindowConsent;
use tokio_util::sync::CancellationToken;

use super::notices::mail_date;
use super::offsite::look_after;
use super::plan::{Consent, look};
use crate::approval::approve;
use crate::commits::ReadCommit;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::metrics::{Exposure, ManagementParts};
use crate::runner::{self, Work, reason};
use crate::setup::Setup;
use crate::wire::Wire;

/// Between two looks at hosts that say nothing by themselves.
const CHECK_MS: u64 = 5 * 60 * 1000;

/// How long jobs may go on after SIGTERM; transactions on hosts live on in any case.
const GRACE: Duration = Duration::from_secs(20);

/// How long notices that are on their way may take at the end.
const LAST_NOTICE: Duration = Duration::from_secs(10);

/// Runs until it is told to stop.
pub(crate) async fn run(setup: Setup) -> Result<Exit, Error> {
    if setup.manager.environments.is_empty() {
        return Err(Error::user(
            "the daemon follows no environment",
            "name them in the manager's configuration: `environments: { prod: { branch: main } }`",
        ));
    }
    let wire = Wire::open(&setup.manager).await?;
    let manager = &setup.manager;
    let config = DaemonConfig {
        environments: manager.environments.keys().cloned().collect(),
        settings: Settings {
            poll_ms: manager.poll_interval.as_millis() as u64,
            check_ms: CHECK_MS,
            seed: u64::from(std::process::id()),
        },
        socket: manager.runtime_dir.join("control"),
        watched_repository: match setup.repository.location() {
            Location::Local(_) => Some(setup.repository.git_dir().to_owned()),
            _ => None,
        },
        grace: GRACE,
        retention: manager.retention,
        rollouts: manager.rollouts,
    };
    let scraped = match manager.metrics {
        Some(address) => {
            let listener = tokio::net::TcpListener::bind(address).await;
            let hint = "set `metrics.listen` in the configuration to a free port";
            let taken = |error| Error::user(format!("metrics cannot be served at {address}: {error}"), hint);
            Some(listener.map_err(taken)?)
        }
        None => None,
    };
    let (store, links, clock) = (wire.store.clone(), Arc::clone(&wire.links), Arc::clone(&wire.clock));
    let (herald, courier_clock) = (wire.herald.clone(), Arc::clone(&wire.clock));
    let scratch = setup.manager.state_dir.join("notices");
    let box_ = Arc::new(ManagementBox { setup, wire, looks: Mutex::default() });
    let shown = Arc::clone(&box_);
    let parts =
        Parts { store, repository: Arc::clone(&box_) as Arc<dyn Repository>, syncer: box_, connector: links, clock };
    let stop = CancellationToken::new();
    let scraping = scraped.map(|listener| {
        let exposure: Arc<dyn Exposed> = Arc::new(Exposure::new(Arc::clone(&shown)));
        tokio::spawn(serve(listener, exposure, stop.clone()))
    });
    let couriers =
        tokio::spawn(deliver(Courier { herald, clock: courier_clock, scratch, date: mail_date, stop: stop.clone() }));
    let ran = run_daemon(parts, config).await;
    stop.cancel();
    // What is on its way arrives; what waits is in the store.
    let _ = tokio::time::timeout(LAST_NOTICE, couriers).await;
    if let Some(scraping) = scraping {
        // It ends at once; one that panicked has nothing left to say.
        let _ = scraping.await;
    }
    ran.or_hint("")?;
    Ok(Exit::Ok)
}

/// The repository and the hosts as the daemon uses them.
struct ManagementBox {
    setup: Setup,
    wire: Wire,
    /// What was found last of each environment: a commit is resolved when it is new, not at each poll.
    looks: Mutex<BTreeMap<EnvironmentName, Look>>,
}

impl ManagementParts for ManagementBox {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }
}

impl ManagementBox {
    async fn look_at(&self, environment: &EnvironmentName, last: Option<&CommitId>) -> Result<Look, LookError> {
        let manager = &self.setup.manager;
        let nothing = |reason: String| LookError { commit: None, reason };
        let track = manager
            .environments
            .get(environment)
            .ok_or_else(|| nothing(format!("{environment} is not in the manager's configuration")))?;
        let advanced = self.setup.repository.advance(track, last, manager.allow_non_fast_forward).await;
        let commit = advanced.map_err(|error| nothing(error.to_string()))?;
        let bad = |reason: String| LookError { commit: Some(commit.clone()), reason };
        self.setup.verify(last, &commit).await.map_err(|error| bad(error.message))?;
        let known = self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(environment).cloned();
        if let Some(look) = known.filter(|look| look.commit == commit) {
            return Ok(look);
        }
        let ReadCommit { config, findings, .. } = self.setup.read(&commit).await.map_err(|error| bad(error.message))?;
        let plain = DiagnosticStyle { color: false, width: 120 };
        let config = config.ok_or_else(|| bad(diagnostics_text(&findings, plain)))?;
        if !config.environments.contains_key(environment) {
            return Err(bad(format!("commit {} has no environment `{environment}`", commit.short())));
        }
        let desired =
            resolve(&config, environment, &commit).map_err(|findings| bad(diagnostics_text(&findings, plain)))?;
        let watched: Vec<Watched> = desired
            .hosts
            .values()
            .map(|host| Watched { host: host.host.clone(), request: observe_request(host) })
            .collect();
        let approval = manager.approvals.contains_key(environment);
        let apps = config.environments.get(environment).into_iter().flat_map(|env| env.apps.keys().cloned()).collect();
        // Certificates are looked at in the same round.
        let backups = watched
            .iter()
            .any(|watched| !(watched.request.backups.is_empty() && watched.request.certificates.is_empty()));
        let (keeps, after) = (keeps_previous(&desired), desired.migrates_after());
        let look = Look { commit, keeps, policy: desired.sync, approval, apps, watched, backups, after };
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(environment.clone(), look.clone());
        Ok(look)
    }

    async fn work(
        &self,
        job: &Job,
        operator: (OperatorHandle, Operator),
        events: Arc<dyn EventSink>,
    ) -> Result<Report, Error> {
        let revision = self.setup.revision(job.kind.commit().clone()).await?;
        let work = match &job.kind {
            JobKind::Sync { app, cause, .. } => Work::Sync {
                windows: match cause {
                    SyncCause::Operator => WindowConsent::Manual,
                    _ => WindowConsent::None,
                },
                cause: job.kind.cause().to_owned(),
                expected: None,
                consent: Consent::default(),
                only: app.clone(),
            },
            // A person at a terminal alone takes a schema back.
            JobKind::Rollback { app, .. } => Work::Rollback { app: app.clone(), to: None, downgrade: false },
        };
        runner::run_with(&self.setup, &self.wire, &revision, &job.environment, work, operator, events).await
    }
}

impl Repository for ManagementBox {
    fn look(&self, last: BTreeMap<EnvironmentName, Option<CommitId>>) -> BoxFuture<'_, Looks> {
        Box::pin(async move {
            let fetched = self.setup.repository.fetch().await.map_err(|error| error.to_string());
            let mut environments = BTreeMap::new();
            for (environment, last) in last {
                let look = match (self.look_at(&environment, last.as_ref()).await, &fetched) {
                    // What was never fetched is not there for a reason that is known.
                    (Err(LookError { commit: None, .. }), Err(reason)) => {
                        Err(LookError { commit: None, reason: reason.clone() })
                    }
                    (look, _) => look,
                };
                environments.insert(environment, look);
            }
            Looks { fetched, environments }
        })
    }
}

impl Syncer for ManagementBox {
    fn run<'a>(
        &'a self,
        job: &'a Job,
        operator: (OperatorHandle, Operator),
        events: Arc<dyn EventSink>,
    ) -> BoxFuture<'a, Ran> {
        Box::pin(async move {
            let worked = self.work(job, operator, events).await;
            let store = &self.wire.store;
            // What cannot be read now is read at the next end.
            let awaits = store.approval_request(&job.environment).await.unwrap_or_default();
            let released = store.released(&job.environment).await.unwrap_or_default();
            match worked {
                Ok(report) => {
                    let result = report.result.unwrap_or(SyncResult::Failed);
                    Ran { result, reason: reason(&report), verdict: verdict(&report), awaits, released }
                }
                Err(error) => {
                    let reason =
                        if error.message.is_empty() { "the commit is not valid".to_owned() } else { error.message };
                    let verdict =
                        if error.exit == Exit::Refused { SyncVerdict::TryAgain } else { SyncVerdict::Settled };
                    Ran { result: SyncResult::Failed, reason, verdict, awaits, released }
                }
            }
        })
    }

    fn check<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        commit: &'a CommitId,
    ) -> BoxFuture<'a, Result<Checked, String>> {
        Box::pin(async move {
            let revision = self.setup.revision(commit.clone()).await.map_err(|error| error.message)?;
            let consent = Consent { allow_prune: true, adopt: false };
            let seen =
                look(&self.setup, &self.wire, &revision, environment, consent).await.map_err(|error| error.message)?;
            let (kept_until, plan) = (kept_until(&seen.desired, &seen.live), seen.plan);
            let all = || plan.hosts.values().flat_map(|host| &host.changes);
            let kept_long_enough = all().filter(|change| change.is_housekeeping()).count() as u32;
            let changes = all().count() as u32 - kept_long_enough;
            let blockers =
                plan.blockers.iter().map(|blocker| format!("{}: {}", blocker.code, blocker.message)).collect();
            Ok(Checked { changes, kept_long_enough, kept_until, blockers })
        })
    }

    fn backups<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        commit: &'a CommitId,
    ) -> BoxFuture<'a, Result<Told, String>> {
        Box::pin(async move {
            let revision = self.setup.revision(commit.clone()).await.map_err(|error| error.message)?;
            let looked = look_after(&self.setup, &self.wire, &revision, environment).await;
            looked.map(|looked| looked.told(environment, self.wire.clock.now())).map_err(|error| error.message)
        })
    }

    fn tell(&self, told: Told) -> BoxFuture<'_, ()> {
        Box::pin(self.wire.herald.tell(told))
    }

    fn approve<'a>(
        &'a self,
        environment: &'a EnvironmentName,
        seal: &'a str,
        voice: Voice,
    ) -> BoxFuture<'a, Result<Approved, String>> {
        Box::pin(async move {
            let judged = approve(&self.setup, &self.wire.store, environment, seal, voice).await;
            judged.map_err(|error| match error.hint.as_str() {
                "" => error.message,
                hint => format!("{}; {hint}", error.message),
            })
        })
    }
}

/// Returns whether trying again may help.
///
/// What went back without a quarantine did so because of a machine: a full disk, an image that could not be had, a host that was
/// lost. The release is as good as before.
fn verdict(report: &Report) -> SyncVerdict {
    let may_pass = || {
        !report.troubles.is_empty()
            || report.blockers.iter().any(|blocker| RETRIED.iter().any(|code| blocker.starts_with(code)))
    };
    let spared = || {
        let back = |app: &&AppReport| app.result == Some(AppResult::RolledBack);
        report.apps.values().filter(back).any(|app| app.quarantined.is_empty())
    };
    let again = match report.result {
        None | Some(SyncResult::Failed) => true,
        Some(SyncResult::Blocked) => may_pass(),
        Some(SyncResult::RolledBack) => spared(),
        Some(SyncResult::Synced | SyncResult::NoChange | SyncResult::AwaitsApproval) => false,
    };
    if again { SyncVerdict::TryAgain } else { SyncVerdict::Settled }
}

/// Blockers that may go away by themselves.
const RETRIED: [&str; 8] = [
    "unreachable",
    "unknown",
    "unfinished-transaction",
    "no-headroom",
    "port-taken",
    "check-not-green",
    // Others may go away, or become smaller.
    "over-capacity",
    // One push is for both: staging may be doing it just now.
    "migration-not-staged",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_back_because_of_a_machine_is_tried_again_and_what_was_quarantined_is_not() {
        let report = |quarantined: &str| {
            let mut report = Report::new();
            report.result = Some(SyncResult::RolledBack);
            let app = report.apps.entry("shop".parse().unwrap()).or_default();
            app.result = Some(AppResult::RolledBack);
            quarantined.clone_into(&mut app.quarantined);
            report
        };
        assert_eq!(verdict(&report("")), SyncVerdict::TryAgain);
        assert_eq!(verdict(&report("it never got healthy")), SyncVerdict::Settled);
    }

    #[test]
    fn what_waits_for_staging_is_tried_again_and_what_needs_a_person_is_not() {
        let report = |blocker: &str| {
            let mut report = Report::new();
            report.result = Some(SyncResult::Blocked);
            report.blockers = vec![blocker.to_owned()];
            report
        };
        assert_eq!(verdict(&report("migration-not-staged: web migrates here only after stage")), SyncVerdict::TryAgain);
        assert_eq!(verdict(&report("over-capacity: web may take 4 GiB of memory here")), SyncVerdict::TryAgain);
        assert_eq!(verdict(&report("foreign-file: /etc/nginx/conf.d/shop.conf")), SyncVerdict::Settled);
    }
}
