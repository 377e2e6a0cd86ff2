//! The state of a manager as metrics.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::{FollowedDocument, HistorySync, NoticesDocument};
use super::exposition::Exposition;
use crate::event::SyncResult;
use crate::id::{AppName, CommitId, EnvironmentName};
use crate::plan::{AppStatus, BackupStatus, CertificateStatus};
use crate::time::Timestamp;

/// What a manager's metrics are made of.
#[derive(Debug, Default)]
pub struct MetricsSource {
    /// The version of the program.
    pub version: String,
    /// Whether the daemon answers.
    pub daemon: bool,
    /// Whether the repository can be fetched; `None` when nobody says.
    pub repository: Option<bool>,
    /// How far notices came.
    pub notices: Vec<NoticesDocument>,
    /// Entries of the history's chain, and its last hash; `None` when it has none.
    pub history: Option<(u64, String)>,
    /// By environment.
    pub environments: BTreeMap<EnvironmentName, EnvironmentMetrics>,
}

/// What is known of one environment.
#[derive(Debug, Default)]
pub struct EnvironmentMetrics {
    /// What its hosts said; `None` when nobody could ask them yet.
    pub observed: Option<ObservedMetrics>,
    /// The last sync that ended.
    pub last: Option<HistorySync>,
    /// The last sync that left everything as git says.
    pub succeeded: Option<HistorySync>,
    /// Syncs and deploys ever, by how they ended.
    pub totals: Vec<Total>,
    /// What the daemon does; `None` when none answers.
    pub followed: Option<FollowedDocument>,
    /// Since when a plan waits for approval.
    pub awaits: Option<Timestamp>,
    /// Whether somebody paused it as a whole.
    pub suspended: bool,
    /// Apps that somebody paused.
    pub paused: BTreeSet<AppName>,
    /// Apps that windows close now.
    pub closed: BTreeSet<AppName>,
    /// How many releases of each app are quarantined.
    pub quarantined: BTreeMap<AppName, u32>,
}

/// What the hosts of an environment said.
#[derive(Debug, Clone)]
pub struct ObservedMetrics {
    /// When.
    pub at: Timestamp,
    /// The commit they were compared with.
    pub commit: CommitId,
    /// How many changes a sync would make.
    pub changes: u32,
    /// How many things stand in its way.
    pub blockers: u32,
    /// Every app on every host.
    pub apps: Vec<AppStatus>,
}

/// How often something ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// App and host of a deploy; `None` for syncs.
    pub deploy: Option<(String, String)>,
    /// How.
    pub result: String,
    /// How often.
    pub count: u64,
    /// Milliseconds, together.
    pub took_ms: u64,
    /// When the last one ended.
    pub last_at: Timestamp,
    /// Milliseconds that one took.
    pub last_took_ms: u64,
}

const RESULTS: [&str; 6] = ["synced", "no_change", "rolled_back", "blocked", "failed", "awaits_approval"];
const SYNC: [&str; 3] = ["Synced", "OutOfSync", "Unknown"];
const HEALTH: [&str; 6] = ["Healthy", "Suspended", "Progressing", "Degraded", "Missing", "Unknown"];

/// Returns the metrics in Prometheus' text format. What is not known is left out.
pub fn metrics_text(source: &MetricsSource) -> String {
    let mut out = Exposition::default();
    out.gauge("holdfast_build_info", "The program.", &[("version", &source.version)], 1.0);
    out.flag("holdfast_daemon_up", "Whether the daemon of this manager answers.", &[], source.daemon);
    if let Some(reachable) = source.repository {
        out.flag("holdfast_repository_reachable", "Whether the last fetch worked.", &[], reachable);
    }
    for sink in &source.notices {
        let states = [("waiting", sink.waiting), ("delivered", sink.delivered), ("given_up", sink.given_up)];
        for (state, count) in states {
            let labels = [("sink", sink.sink.as_str()), ("state", state)];
            out.gauge("holdfast_notices", "Notices by place and state.", &labels, f64::from(count));
        }
    }
    if let Some((entries, head)) = &source.history {
        let (name, help) = ("holdfast_history_entries_total", "Entries of the history's chain ever.");
        out.counter(name, help, &[], *entries as f64);
        let labels = [("head", head.as_str())];
        out.gauge("holdfast_history_head_info", "The last hash of the history's chain.", &labels, 1.0);
    }
    for (name, environment) in &source.environments {
        let own = ("environment", name.as_str());
        of_history(&mut out, own, environment);
        of_totals(&mut out, own, &environment.totals);
        if let Some(observed) = &environment.observed {
            of_hosts(&mut out, own, observed);
        }
        of_control(&mut out, own, environment);
    }
    out.text()
}

fn seconds(at: Timestamp) -> f64 {
    of_ms(at.0)
}

fn of_ms(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn word(result: SyncResult) -> &'static str {
    match result {
        SyncResult::Synced => "synced",
        SyncResult::NoChange => "no_change",
        SyncResult::RolledBack => "rolled_back",
        SyncResult::Blocked => "blocked",
        SyncResult::Failed => "failed",
        SyncResult::AwaitsApproval => "awaits_approval",
    }
}

fn of_history(out: &mut Exposition, own: (&str, &str), environment: &EnvironmentMetrics) {
    if let Some(sync) = &environment.succeeded {
        let labels = [own, ("commit", sync.commit.as_str())];
        out.gauge("holdfast_last_success_info", "The commit of the last sync that left all as git says.", &labels, 1.0);
        if let Some(ended) = sync.ended {
            let (name, help) = ("holdfast_last_success_timestamp_seconds", "When that sync ended.");
            out.gauge(name, help, &[own], seconds(ended));
        }
    }
    let Some(sync) = &environment.last else { return };
    let (Some(ended), Some(result)) = (sync.ended, sync.result) else { return };
    out.gauge("holdfast_last_sync_timestamp_seconds", "When the last sync ended.", &[own], seconds(ended));
    let took = of_ms(ended.since_ms(sync.started));
    out.gauge("holdfast_last_sync_duration_seconds", "How long the last sync took.", &[own], took);
    let family = ("holdfast_last_sync_result", "1 for how the last sync ended.");
    out.state(family, &[own], "result", (word(result), &RESULTS));
}

fn of_totals(out: &mut Exposition, own: (&str, &str), totals: &[Total]) {
    for total in totals {
        let (count, took) = (total.count as f64, of_ms(total.took_ms));
        let result = ("result", total.result.as_str());
        match &total.deploy {
            None => {
                let labels = [own, result];
                out.counter("holdfast_syncs_total", "Syncs by how they ended.", &labels, count);
                out.counter("holdfast_sync_duration_seconds_total", "Time these took.", &labels, took);
            }
            Some((app, host)) => {
                let labels = [own, ("app", app), ("host", host), result];
                out.counter(
                    "holdfast_deploys_total",
                    "Rollouts of an app on a host by how they ended.",
                    &labels,
                    count,
                );
                out.counter("holdfast_deploy_duration_seconds_total", "Time these took.", &labels, took);
                let (name, help) = ("holdfast_last_deploy_timestamp_seconds", "When the last of these ended.");
                out.gauge(name, help, &labels, seconds(total.last_at));
                let (name, help) = ("holdfast_last_deploy_duration_seconds", "How long the last of these took.");
                out.gauge(name, help, &labels, of_ms(total.last_took_ms));
            }
        }
    }
}

fn of_hosts(out: &mut Exposition, own: (&str, &str), observed: &ObservedMetrics) {
    let commit = [own, ("commit", observed.commit.as_str())];
    out.gauge("holdfast_commit_info", "The commit that the environment follows.", &commit, 1.0);
    let (name, help) = ("holdfast_observed_timestamp_seconds", "When the hosts were asked.");
    out.gauge(name, help, &[own], seconds(observed.at));
    let changes = f64::from(observed.changes);
    out.gauge("holdfast_drift_changes", "Changes that a sync would make.", &[own], changes);
    out.gauge("holdfast_blockers", "What stands in a sync's way.", &[own], f64::from(observed.blockers));
    for row in &observed.apps {
        let place = [own, ("app", row.app.as_str()), ("host", row.host.as_str())];
        let slot = row.slot.map_or("", |slot| slot.as_str());
        let mut info = place.to_vec();
        info.extend([("desired", row.desired.as_str()), ("live", row.live.as_str()), ("slot", slot)]);
        out.gauge("holdfast_app_info", "Releases of an app on a host, and the slot that serves.", &info, 1.0);
        let family = ("holdfast_app_sync_status", "1 for whether it is as git says.");
        out.state(family, &place, "status", (&format!("{:?}", row.sync), &SYNC));
        let family = ("holdfast_app_health", "1 for how well it is.");
        out.state(family, &place, "status", (&format!("{:?}", row.health), &HEALTH));
        for backup in &row.backups {
            let mut labels = place.to_vec();
            labels.push(("class", &backup.class));
            of_backup(out, &labels, backup);
        }
        for certificate in &row.certificates {
            let mut labels = place.to_vec();
            labels.push(("certificate", &certificate.name));
            of_certificate(out, &labels, certificate);
        }
    }
}

fn of_backup(out: &mut Exposition, labels: &[(&str, &str)], backup: &BackupStatus) {
    if let Some(age) = backup.age_ms {
        out.gauge("holdfast_backup_age_seconds", "Age of the newest good backup.", labels, of_ms(age));
        out.gauge("holdfast_backup_size_bytes", "Size of the newest good backup.", labels, backup.size as f64);
    }
    let limit = of_ms(backup.limit_ms);
    out.gauge("holdfast_backup_age_limit_seconds", "How old the newest good backup may get.", labels, limit);
    out.gauge("holdfast_backups", "Good backups that are kept.", labels, f64::from(backup.count));
    if let Some(age) = backup.drilled_ms {
        let (name, help) = ("holdfast_backup_drill_age_seconds", "How long ago a restore was tried and worked.");
        out.gauge(name, help, labels, of_ms(age));
    }
    out.flag("holdfast_backup_problem", "Whether something is wrong with it.", labels, !backup.problem.is_empty());
}

fn of_certificate(out: &mut Exposition, labels: &[(&str, &str)], certificate: &CertificateStatus) {
    if certificate.not_after_ms > 0 {
        let (name, help) = ("holdfast_certificate_days_left", "Days until it ends; under 0 when it is over.");
        out.gauge(name, help, labels, certificate.left_ms as f64 / 86_400_000.0);
    }
    let (name, help) = ("holdfast_certificate_problem", "Whether something is wrong with it.");
    out.flag(name, help, labels, !certificate.problem.is_empty());
}

fn of_control(out: &mut Exposition, own: (&str, &str), environment: &EnvironmentMetrics) {
    if let Some(followed) = &environment.followed {
        out.flag("holdfast_sync_running", "Whether a sync runs.", &[own], followed.running.is_some());
        out.flag("holdfast_sync_waiting", "Whether another sync waits.", &[own], followed.waiting);
        let held = followed.running.as_ref().is_some_and(|running| running.held.is_some());
        out.flag("holdfast_rollout_held", "Whether the running rollout waits for a person.", &[own], held);
        let problem = followed.problem.is_some();
        out.flag("holdfast_commit_problem", "Whether the newest commit cannot be used.", &[own], problem);
    }
    let suspended = environment.suspended;
    out.flag("holdfast_environment_paused", "Whether somebody paused it as a whole.", &[own], suspended);
    let observed = environment.observed.iter().flat_map(|observed| &observed.apps).map(|row| &row.app);
    let known = [&environment.paused, &environment.closed].into_iter().flatten().chain(environment.quarantined.keys());
    let apps: BTreeSet<&AppName> = observed.chain(known).collect();
    for app in apps {
        let labels = [own, ("app", app.as_str())];
        out.flag("holdfast_app_paused", "Whether somebody paused it.", &labels, environment.paused.contains(app));
        out.flag("holdfast_app_closed", "Whether a window closes it.", &labels, environment.closed.contains(app));
        let held = f64::from(environment.quarantined.get(app).copied().unwrap_or_default());
        out.gauge("holdfast_app_quarantined", "Releases of it that are not tried again.", &labels, held);
    }
    let (name, help) = ("holdfast_approval_waiting", "Whether a plan waits for approval.");
    out.flag(name, help, &[own], environment.awaits.is_some());
    if let Some(since) = environment.awaits {
        let name = "holdfast_approval_waiting_since_timestamp_seconds";
        out.gauge(name, "Since when it waits.", &[own], seconds(since));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use holdfast_protocol::Slot;

    use super::super::documents::RunningDocument;
    use super::*;
    use crate::plan::{Health, SyncStatus};

    fn whole() -> MetricsSource {
        let commit = |digit: &str| -> CommitId { digit.repeat(40).parse().unwrap() };
        let app: AppName = "shop".parse().unwrap();
        let sync = |commit: CommitId, result| HistorySync {
            id: 7,
            environment: "prod".parse().unwrap(),
            commit,
            cause: "commit".to_owned(),
            started: Timestamp(1_700_000_000_000),
            ended: Some(Timestamp(1_700_000_012_500)),
            result: Some(result),
            reason: String::new(),
        };
        let total = |deploy: Option<(&str, &str)>, result: &str| Total {
            deploy: deploy.map(|(app, host)| (app.to_owned(), host.to_owned())),
            result: result.to_owned(),
            count: 3,
            took_ms: 4_500,
            last_at: Timestamp(1_700_000_012_500),
            last_took_ms: 1_500,
        };
        let backup = BackupStatus {
            class: "database".to_owned(),
            newest: "database-1.dump".to_owned(),
            age_ms: Some(720_000),
            size: 1_500_000,
            count: 61,
            limit_ms: 3_600_000,
            drilled_ms: Some(200_000_000),
            offsite: None,
            late: false,
            problem: String::new(),
        };
        let none = BackupStatus {
            class: "papers".to_owned(),
            age_ms: None,
            drilled_ms: None,
            problem: "none is there".to_owned(),
            ..backup.clone()
        };
        let certificate = CertificateStatus {
            name: "shop".to_owned(),
            issuer: "CN=R10".to_owned(),
            domains: vec!["example.com".to_owned()],
            not_after_ms: 1_702_000_000_000,
            left_ms: 14 * 86_400_000,
            hsts: true,
            pending: false,
            problem: String::new(),
        };
        let row = AppStatus {
            host: "web1".parse().unwrap(),
            app: app.clone(),
            desired: "v2".to_owned(),
            live: "v1".to_owned(),
            slot: Some(Slot::Green),
            previous: String::new(),
            sync: SyncStatus::OutOfSync,
            health: Health::Degraded,
            note: "said \"no\"".to_owned(),
            backups: vec![backup, none],
            certificates: vec![certificate],
            migrations: Vec::new(),
        };
        let environment = EnvironmentMetrics {
            observed: Some(ObservedMetrics {
                at: Timestamp(1_700_000_020_000),
                commit: commit("b"),
                changes: 4,
                blockers: 1,
                apps: vec![row],
            }),
            last: Some(sync(commit("b"), SyncResult::RolledBack)),
            succeeded: Some(sync(commit("a"), SyncResult::Synced)),
            totals: vec![total(None, "synced"), total(Some(("shop", "web1")), "rolled_back")],
            followed: Some(FollowedDocument {
                running: Some(RunningDocument {
                    commit: commit("b"),
                    cause: "commit".to_owned(),
                    since: Timestamp(1),
                    held: Some("promote".to_owned()),
                }),
                waiting: true,
                problem: None,
            }),
            awaits: Some(Timestamp(1_700_000_000_000)),
            suspended: false,
            paused: [app.clone()].into(),
            closed: BTreeSet::new(),
            quarantined: [(app, 1)].into(),
        };
        let sink =
            NoticesDocument { sink: "team".to_owned(), waiting: 1, delivered: 2, given_up: 0, error: String::new() };
        MetricsSource {
            version: "0.1.0".to_owned(),
            daemon: true,
            repository: Some(false),
            notices: vec![sink],
            history: Some((8, "c".repeat(64))),
            environments: [("prod".parse().unwrap(), environment)].into(),
        }
    }

    #[test]
    fn cap_78_a_managers_state_is_text_that_prometheus_reads() {
        insta::assert_snapshot!(metrics_text(&whole()));
    }

    #[test]
    fn what_nobody_knows_is_left_out() {
        let text = metrics_text(&MetricsSource {
            version: "1".to_owned(),
            environments: [("prod".parse().unwrap(), EnvironmentMetrics::default())].into(),
            ..MetricsSource::default()
        });
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "holdfast_build_info{version=\"1\"} 1",
            "holdfast_daemon_up 0",
            "holdfast_environment_paused{environment=\"prod\"} 0",
            "holdfast_approval_waiting{environment=\"prod\"} 0",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn cap_78_the_page_names_every_metric_and_no_other() {
        let text = metrics_text(&whole());
        let told: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter(|line| line.starts_with("| `holdfast_"));
        let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
        assert_eq!(names.collect::<BTreeSet<_>>(), told);
    }
}
