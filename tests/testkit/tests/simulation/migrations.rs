//! Migrations: what is saved before, what is recorded, and where there is no way back.

use holdfast_core::config::{MigrateSpec, Recurrence, SqlSpec};
use holdfast_core::desired::DesiredBackup;
use holdfast_core::id::digest_of;
use holdfast_core::plan::Quarantined;
use holdfast_core::report::HostReport;
use holdfast_engine::rollback::{RollbackRequest, rollback};
use holdfast_protocol::{BackupSource, BackupSpec, MigrationRecord, Outcome, SqlFile};
use holdfast_testkit::fake_host::{Fault, FaultPoint};

use super::sample::policy;
use super::*;

/// Returns the shop with this migration, and a backup of its database.
fn migrating(release: &Release, change: impl Fn(&mut MigrateSpec)) -> DesiredState {
    let mut desired = shop(1, Some(release), &policy());
    let backup = BackupSpec {
        environment: "prod".to_owned(),
        app: "shop".to_owned(),
        class: "database".to_owned(),
        source: BackupSource::Postgres {
            project: "prod-shop-data".to_owned(),
            service: "db".to_owned(),
            database: "shop".to_owned(),
            user: "shop".to_owned(),
        },
        keep_ms: 1,
        at_least: 1,
        floor: 1,
        rpo_ms: None,
        timeout_ms: 60_000,
        drill_ms: None,
        before: None,
        writers: holdfast_protocol::BackupWriters::default(),
        offsite: None,
    };
    for component in
        desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()).flat_map(|app| &mut app.components)
    {
        if component.name.as_str() == "data" {
            let backup = DesiredBackup { spec: backup.clone(), when: Recurrence::Every(30), offsite: None };
            component.backups.insert("/declared.json".to_owned(), backup);
        }
        if let Some(migrate) = &mut component.migrate {
            migrate.spec.revision = vec!["current".to_owned()];
            change(&mut migrate.spec);
        }
    }
    desired
}

async fn applied(fleet: &FakeFleet, desired: DesiredState) -> Report {
    sync(&fleet.ports(), &request(desired), &mut silent()).await
}

fn world(fleet: &FakeFleet) -> World {
    fleet.host(&host_names(1)[0]).world()
}

fn ran(fleet: &FakeFleet, release: &str) -> Option<MigrationRecord> {
    world(fleet).ledger?.migrated.remove(&format!("prod/shop/web/{release}"))
}

fn host(report: &Report) -> &HostReport {
    report.apps.values().flat_map(|app| app.hosts.values()).next().expect("a host was changed")
}

fn downgrade() -> Vec<String> {
    ["downgrade", "{revision}"].map(str::to_owned).to_vec()
}

#[tokio::test(start_paused = true)]
async fn cap_69_a_backup_comes_first_and_its_failure_stops_the_release() {
    let fleet = fleet(1);
    let saved = |spec: &mut MigrateSpec| "database".clone_into(&mut spec.backup);
    applied(&fleet, migrating(&Release::good("v1"), saved)).await;
    assert_eq!(world(&fleet).backups.get("database"), None, "there was nothing to save");
    assert_result(&applied(&fleet, migrating(&Release::good("v2"), saved)).await, SyncResult::Synced);
    assert_eq!(world(&fleet).backups["database"], 1);

    let only = fleet.host(&host_names(1)[0]);
    only.break_step("backup database");
    let report = applied(&fleet, migrating(&Release::good("v3"), saved)).await;
    assert_result(&report, SyncResult::RolledBack);
    assert_serves(&fleet, "v2");
    assert_eq!(world(&fleet).revision, "v2", "nothing was migrated");
    let app = &report.apps[&"shop".parse().unwrap()];
    assert!(app.quarantined.is_empty(), "a backup that fails is not the release's fault: {}", app.quarantined);
    only.repair();
    assert_result(&applied(&fleet, migrating(&Release::good("v3"), saved)).await, SyncResult::Synced);
    assert_serves(&fleet, "v3");
}

#[tokio::test(start_paused = true)]
async fn cap_53_the_revision_before_and_after_is_recorded_and_told() {
    let fleet = fleet(1);
    applied(&fleet, migrating(&Release::good("v1"), |_| ())).await;
    let report = applied(&fleet, migrating(&Release::good("v2"), |_| ())).await;
    let record = ran(&fleet, "v2").unwrap();
    assert_eq!((record.before.as_deref(), record.after.as_deref()), (Some("v1"), Some("v2")));
    assert_eq!(ran(&fleet, "v1").unwrap().before.as_deref(), Some(""), "the database was empty");
    let said = &host(&report).migrations[0];
    assert_eq!((said.id.as_str(), said.from.as_str(), said.to.as_str()), ("prod/shop/web/v2", "v1", "v2"));
    let again = applied(&fleet, migrating(&Release::good("v2"), |_| ())).await;
    assert_eq!(again.migrated, ["prod/shop/web/v2"], "whoever waits for it is told, also later");
}

fn one_way(spec: &mut MigrateSpec) {
    spec.reversible = false;
}

/// Whatever is killed and whenever: the release that fails in its window stays, and the ledger says so.
#[tokio::test(start_paused = true)]
async fn cap_56_what_fails_after_the_switch_of_a_one_way_release_is_held_also_through_kills() {
    for entry in (0..90).step_by(3) {
        let fleet = fleet(1);
        applied(&fleet, migrating(&Release::good("v1"), one_way)).await;
        let only = fleet.host(&host_names(1)[0]);
        let at = FaultPoint::After(only.entries() + entry);
        only.plan_fault(Fault { at, crash: true, cut: None });
        let desired = migrating(&Release::bad("v2", "simulate: wrong release"), one_way);
        let report = applied(&fleet, desired.clone()).await;
        assert_result(&report, SyncResult::Failed);
        assert_serves(&fleet, "v2");
        let (said, app) = (host(&report), &report.apps[&"shop".parse().unwrap()]);
        assert_eq!((said.outcome, said.held), (Some(Outcome::Stuck), true), "{said:#?}");
        assert!(said.reason.contains("does not know its schema"), "{}", said.reason);
        assert_eq!(world(&fleet).ledger.unwrap().apps["prod/shop"].release, "v2", "it is recorded");
        // Nothing goes on by itself; a commit that mends it does.
        let mut next = request(desired);
        next.quarantined.insert(Quarantined {
            app: "shop".parse().unwrap(),
            content: app.quarantined_content.parse().unwrap(),
            reason: app.quarantined.clone(),
        });
        assert_result(&sync(&fleet.ports(), &next, &mut silent()).await, SyncResult::NoChange);
        assert_result(&applied(&fleet, migrating(&Release::good("v3"), one_way)).await, SyncResult::Synced);
        assert_serves(&fleet, "v3");
    }
}

#[tokio::test(start_paused = true)]
async fn cap_56_what_fails_before_the_switch_or_is_reversible_goes_back() {
    let fleet = fleet(1);
    applied(&fleet, migrating(&Release::good("v1"), one_way)).await;
    let bad = Release::bad("v2", "simulate: unhealthy");
    assert_result(&applied(&fleet, migrating(&bad, one_way)).await, SyncResult::RolledBack);
    assert_serves(&fleet, "v1");
    let bad = Release::bad("v3", "simulate: wrong release");
    assert_result(&applied(&fleet, migrating(&bad, |_| ())).await, SyncResult::RolledBack);
    assert_serves(&fleet, "v1");
}

fn breaking(spec: &mut MigrateSpec) {
    spec.reversible = false;
    spec.breaking = true;
}

/// During maintenance the switch leads nowhere, as said; nothing else may be wrong.
fn assert_only_maintenance(fleet: &FakeFleet) {
    for (name, host) in fleet.hosts() {
        let wrong: Vec<_> = host.violations().into_iter().filter(|text| text.starts_with("migration")).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn cap_56_a_breaking_release_gets_a_maintenance_window() {
    let fleet = fleet(1);
    let saved = |spec: &mut MigrateSpec| {
        breaking(spec);
        "database".clone_into(&mut spec.backup);
    };
    applied(&fleet, migrating(&Release::good("v1"), saved)).await;
    let report = applied(&fleet, migrating(&Release::good("v2"), saved)).await;
    assert_result(&report, SyncResult::Synced);
    assert_eq!(serving(&world(&fleet)).as_deref(), Some("v2"));
    let journal = fleet.host(&host_names(1)[0]).journals().into_values().last().unwrap();
    let titles: Vec<String> = journal
        .iter()
        .filter_map(|entry| match &entry.event {
            holdfast_protocol::JournalEvent::Intent { title, .. } => Some(title.clone()),
            _ => None,
        })
        .collect();
    let at = |text: &str| {
        titles.iter().position(|title| title.contains(text)).unwrap_or_else(|| panic!("{text}: {titles:#?}"))
    };
    let order = [
        "green/compose.yaml",
        "web: stop prod-shop-web-blue",
        "worker: stop shop-worker@blue",
        "backup database",
        "web: migrate",
        "web: bring up prod-shop-web-green",
        "green healthy",
        "web: switch",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{titles:#?}");
    assert_only_maintenance(&fleet);
}

#[tokio::test(start_paused = true)]
async fn cap_55_a_breaking_release_that_never_serves_gives_its_schema_back_where_it_can() {
    let bad = Release::bad("v2", "simulate: unhealthy");
    for entry in (0..110).step_by(3) {
        let fleet = fleet(1);
        let back = |spec: &mut MigrateSpec| {
            breaking(spec);
            spec.downgrade = downgrade();
        };
        applied(&fleet, migrating(&Release::good("v1"), back)).await;
        let only = fleet.host(&host_names(1)[0]);
        let at = FaultPoint::After(only.entries() + entry);
        only.plan_fault(Fault { at, crash: true, cut: None });
        assert_result(&applied(&fleet, migrating(&bad, back)).await, SyncResult::RolledBack);
        assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v1"), "v1"));
        assert_eq!(ran(&fleet, "v2"), None, "it may be migrated again");
        assert_only_maintenance(&fleet);
    }
}

/// The same desired state again, as the daemon tries it.
async fn again(fleet: &FakeFleet, desired: DesiredState, report: &Report) -> SyncResult {
    let app = &report.apps[&"shop".parse().unwrap()];
    let mut next = request(desired);
    next.quarantined.insert(Quarantined {
        app: "shop".parse().unwrap(),
        content: app.quarantined_content.parse().unwrap(),
        reason: app.quarantined.clone(),
    });
    sync(&fleet.ports(), &next, &mut silent()).await.result.unwrap()
}

/// Neither release can be started: nobody is served, the rest is as it was before, and a commit that mends it finds its way.
#[tokio::test(start_paused = true)]
async fn cap_56_a_breaking_release_without_a_way_back_that_never_serves_is_held_and_mended_by_a_commit() {
    for marker in ["simulate: unhealthy", "simulate: migration stops half way"] {
        let bad = Release::bad("v2", marker);
        for entry in (0..130).step_by(3) {
            let fleet = fleet(1);
            applied(&fleet, migrating(&Release::good("v1"), breaking)).await;
            let files = world(&fleet).files;
            let only = fleet.host(&host_names(1)[0]);
            let at = FaultPoint::After(only.entries() + entry);
            only.plan_fault(Fault { at, crash: true, cut: None });
            let desired = migrating(&bad, breaking);
            let report = applied(&fleet, desired.clone()).await;
            assert_result(&report, SyncResult::Failed);
            let said = host(&report);
            assert_eq!((said.outcome, said.unserved, said.held), (Some(Outcome::Stuck), true, false), "{said:#?}");
            assert!(said.reason.contains("no way back"), "{}", said.reason);
            let now = world(&fleet);
            assert_eq!(serving(&now), None);
            assert_eq!(
                now.files.keys().collect::<Vec<_>>(),
                files.keys().collect::<Vec<_>>(),
                "nothing is left behind"
            );
            assert_eq!(now.ledger.unwrap().apps["prod/shop"].release, "v1");
            assert_eq!(again(&fleet, desired, &report).await, SyncResult::Blocked, "nothing goes on by itself");
            assert_eq!(serving(&world(&fleet)), None);
            assert_result(&applied(&fleet, migrating(&Release::good("v3"), breaking)).await, SyncResult::Synced);
            assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v3"), "v3"));
            assert_only_maintenance(&fleet);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cap_56_a_breaking_migration_that_fails_before_it_changed_anything_is_gone_back_from() {
    for entry in (0..90).step_by(3) {
        let fleet = fleet(1);
        applied(&fleet, migrating(&Release::good("v1"), breaking)).await;
        let only = fleet.host(&host_names(1)[0]);
        let at = FaultPoint::After(only.entries() + entry);
        only.plan_fault(Fault { at, crash: true, cut: None });
        let bad = Release::bad("v2", "simulate: migration fails");
        assert_result(&applied(&fleet, migrating(&bad, breaking)).await, SyncResult::RolledBack);
        assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v1"), "v1"));
    }
}

/// It came half way: the schema goes back to what was recorded before it began.
#[tokio::test(start_paused = true)]
async fn cap_55_a_breaking_migration_that_stops_half_way_is_taken_back_to_where_it_began() {
    let fleet = fleet(1);
    let back = |spec: &mut MigrateSpec| {
        breaking(spec);
        spec.downgrade = downgrade();
    };
    applied(&fleet, migrating(&Release::good("v1"), back)).await;
    let bad = Release::bad("v2", "simulate: migration stops half way");
    assert_result(&applied(&fleet, migrating(&bad, back)).await, SyncResult::RolledBack);
    assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v1"), "v1"));
}

#[tokio::test(start_paused = true)]
async fn cap_55_a_rollback_takes_the_schema_back_to_the_recorded_revision_when_told() {
    let fleet = fleet(1);
    let back = |spec: &mut MigrateSpec| {
        one_way(spec);
        spec.downgrade = downgrade();
    };
    for release in ["v1", "v2"] {
        assert_result(&applied(&fleet, migrating(&Release::good(release), back)).await, SyncResult::Synced);
    }
    let desired = migrating(&Release::good("v2"), back);
    let asked = |downgrade| RollbackRequest {
        desired: desired.clone(),
        app: "shop".parse().unwrap(),
        to: None,
        by: String::new(),
        downgrade,
    };
    let report = rollback(&fleet.ports(), &asked(false), &mut silent()).await;
    assert_result(&report, SyncResult::Blocked);
    assert!(
        report.blockers[0].contains("v1 to v2") && report.blockers[0].contains("--downgrade"),
        "{:?}",
        report.blockers
    );
    assert_serves(&fleet, "v2");

    let report = rollback(&fleet.ports(), &asked(true), &mut silent()).await;
    assert_result(&report, SyncResult::Synced);
    assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v1"), "v1"));
    let said = &host(&report).migrations[0];
    assert_eq!((said.from.as_str(), said.to.as_str(), said.back), ("v2", "v1", true));
    // The same release may come again, and then migrates again.
    assert_result(&applied(&fleet, desired.clone()).await, SyncResult::Synced);
    assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v2"), "v2"));
    assert_only_maintenance(&fleet);
}

/// The old release does not get healthy any more: the one that was to be left gets its schema again.
#[tokio::test(start_paused = true)]
async fn cap_55_a_way_back_that_fails_ends_where_it_began() {
    let fleet = fleet(1);
    let back = |spec: &mut MigrateSpec| spec.downgrade = downgrade();
    for release in ["v1", "v2"] {
        applied(&fleet, migrating(&Release::good(release), back)).await;
    }
    fleet.host(&host_names(1)[0]).break_step("blue healthy");
    let desired = migrating(&Release::good("v2"), back);
    let asked = RollbackRequest { desired, app: "shop".parse().unwrap(), to: None, by: String::new(), downgrade: true };
    assert_result(&rollback(&fleet.ports(), &asked, &mut silent()).await, SyncResult::RolledBack);
    assert_eq!((serving(&world(&fleet)).as_deref(), world(&fleet).revision.as_str()), (Some("v2"), "v2"));
    assert!(ran(&fleet, "v2").is_some());
    assert_only_maintenance(&fleet);
}

/// A reversible release is gone back from without a word, and what it made stays: data is nobody's to restore by the way.
#[tokio::test(start_paused = true)]
async fn cap_73_a_rollback_leaves_the_data_alone() {
    let fleet = fleet(1);
    for release in ["v1", "v2"] {
        applied(&fleet, migrating(&Release::good(release), |spec| spec.downgrade = downgrade())).await;
    }
    let desired = migrating(&Release::good("v2"), |spec| spec.downgrade = downgrade());
    let asked =
        RollbackRequest { desired, app: "shop".parse().unwrap(), to: None, by: String::new(), downgrade: false };
    assert_result(&rollback(&fleet.ports(), &asked, &mut silent()).await, SyncResult::Synced);
    assert_serves(&fleet, "v1");
    assert_eq!(world(&fleet).revision, "v2");
}

/// Returns the shop with its schema in these SQL files.
fn by_files(release: &Release, files: &[(&str, &str)]) -> DesiredState {
    let files: Vec<SqlFile> = files
        .iter()
        .map(|(name, text)| SqlFile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
            checksum: digest_of(text.as_bytes()),
        })
        .collect();
    let id = digest_of(format!("{files:?}").as_bytes()).short();
    let mut desired = migrating(release, |spec| {
        spec.command.clear();
        spec.revision.clear();
        spec.sql = Some(SqlSpec {
            component: "data".parse().unwrap(),
            service: "db".to_owned(),
            database: "shop".to_owned(),
            user: "shop".to_owned(),
            files: files.clone(),
            one_way: Vec::new(),
        });
    });
    let apps = desired.hosts.values_mut().flat_map(|host| host.apps.values_mut());
    for migrate in apps.flat_map(|app| &mut app.components).filter_map(|component| component.migrate.as_mut()) {
        migrate.id = format!("prod/shop/web/{id}");
    }
    desired
}

const FIRST: (&str, &str) = ("9_users.sql", "CREATE TABLE users ();");
const SECOND: (&str, &str) = ("10_orders.sql", "CREATE TABLE orders ();");

#[tokio::test(start_paused = true)]
async fn cap_54_sql_files_are_applied_once_also_through_kills() {
    for entry in (0..80).step_by(3) {
        let fleet = fleet(1);
        assert_result(&applied(&fleet, by_files(&Release::good("v1"), &[FIRST])).await, SyncResult::Synced);
        let only = fleet.host(&host_names(1)[0]);
        let at = FaultPoint::After(only.entries() + entry);
        only.plan_fault(Fault { at, crash: true, cut: None });
        let desired = by_files(&Release::good("v2"), &[FIRST, SECOND]);
        let report = applied(&fleet, desired.clone()).await;
        assert_result(&report, SyncResult::Synced);
        assert_serves(&fleet, "v2");
        assert_eq!(world(&fleet).sql.len(), 2);
        assert_result(&applied(&fleet, desired).await, SyncResult::NoChange);
    }
    let fleet = fleet(1);
    applied(&fleet, by_files(&Release::good("v1"), &[FIRST])).await;
    let report = applied(&fleet, by_files(&Release::good("v2"), &[FIRST, SECOND])).await;
    let said = &host(&report).migrations[0];
    assert_eq!((said.from.as_str(), said.to.as_str()), ("9_users.sql#1", "10_orders.sql#2"), "by number");
}

#[tokio::test(start_paused = true)]
async fn cap_54_a_file_that_fails_stops_before_traffic_and_an_edited_one_is_refused() {
    let fleet = fleet(1);
    applied(&fleet, by_files(&Release::good("v1"), &[FIRST])).await;
    let bad = ("11_bad.sql", "simulate: sql fails");
    let desired = by_files(&Release::good("v2"), &[FIRST, SECOND, bad]);
    let report = applied(&fleet, desired.clone()).await;
    assert_result(&report, SyncResult::RolledBack);
    assert!(host(&report).reason.contains("11_bad.sql was not applied"), "{}", host(&report).reason);
    assert_serves(&fleet, "v1");
    assert_eq!(again(&fleet, desired, &report).await, SyncResult::Blocked, "no loop");
    let mended = by_files(&Release::good("v3"), &[FIRST, SECOND, ("11_bad.sql", "SELECT 1;")]);
    assert_result(&applied(&fleet, mended).await, SyncResult::Synced);
    assert_serves(&fleet, "v3");
    // What was applied by the run that stopped half way counts as well.
    let edited = ("10_orders.sql", "CREATE TABLE orders (id int);");
    let report = applied(&fleet, by_files(&Release::good("v4"), &[FIRST, edited])).await;
    assert_result(&report, SyncResult::Blocked);
    assert!(report.blockers.iter().any(|text| text.contains("10_orders.sql")), "{:?}", report.blockers);
    assert_serves(&fleet, "v3");
}
