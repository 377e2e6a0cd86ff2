//! Migrations: once per release, over all hosts.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{MigrationRecord, Slot, SqlFile};

use super::component::Subject;
use super::rule::{Finding, Weight};
use super::{Blocker, Change, HostPlan, PlanAction, Reason, ResourceKey};
use crate::config::SqlSpec;
use crate::desired::{DesiredHost, DesiredMigration, DesiredState};
use crate::id::{AppName, HostName};

/// What the ledgers of all hosts say about migrations.
#[derive(Default)]
pub(super) struct KnownMigrations {
    /// Ids that ran on any host.
    ran: BTreeSet<String>,
    /// Ids that did not run on any host that could be asked, with a host that could not be and why.
    unsure: BTreeMap<String, (HostName, String)>,
}

impl KnownMigrations {
    /// Returns what is known, from the ledgers that could be read and the hosts that could not be asked.
    pub(super) fn new(
        desired: &DesiredState,
        ran: BTreeSet<String>,
        blind: impl IntoIterator<Item = (HostName, String)>,
    ) -> Self {
        let mut unsure = BTreeMap::new();
        for (host, why) in blind {
            for (_, _, id) in desired.hosts.get(&host).into_iter().flat_map(due).filter(|(_, _, id)| !ran.contains(*id))
            {
                unsure.entry(id.to_owned()).or_insert_with(|| (host.clone(), why.clone()));
            }
        }
        Self { ran, unsure }
    }
}

/// Returns the run of a component's migration, when this is the host for it and surely no host has run it.
pub(super) fn migration(subject: Subject<'_>, slot: Option<Slot>) -> Option<Change> {
    let migrate = subject.component.migrate.as_ref()?;
    let known = subject.context.migrations;
    if !migrate.here || known.ran.contains(&migrate.id) || known.unsure.contains_key(&migrate.id) {
        return None;
    }
    let note = words(subject, migrate);
    let finding = Finding { action: PlanAction::Run, reason: Reason::DependencyChanged, weight: Weight::InPlace, note };
    let rule = match (subject.record.is_some(), migrate.spec.breaking, migrate.spec.reversible) {
        (true, true, _) => "migration-breaking",
        (true, false, false) => "migration-one-way",
        _ => "migration-not-run",
    };
    let found = subject.found(ResourceKey::Migration(migrate.id.clone()), rule, finding);
    Some(subject.change(slot, found))
}

/// Returns what a reviewer has to know about a migration: what runs, what is taken before, and that there may be no way back.
fn words(subject: Subject<'_>, migrate: &DesiredMigration) -> String {
    let spec = &migrate.spec;
    let mut words = vec![match &spec.sql {
        Some(sql) => files(subject, sql),
        None => spec.command.join(" "),
    }];
    if !spec.backup.is_empty() {
        words.push(format!("after the backup `{}`", spec.backup));
    }
    if subject.record.is_none() {
        return words.join("; ");
    }
    if spec.breaking {
        let most = crate::time::Millis(downtime(subject, migrate));
        words.push(format!(
            "the old release is stopped first: nobody is served until the new one is healthy, at most {most}"
        ));
        if spec.downgrade.is_empty() {
            words.push(
                "no `downgrade` is declared: if it does not get healthy, nobody is served until a commit mends it"
                    .to_owned(),
            );
        }
    }
    if !spec.reversible {
        words.push(
            "cannot be gone back from: what fails after the switch leaves the new release serving and calls an operator".to_owned(),
        );
    }
    words.join("; ")
}

/// Returns which SQL files are new, as far as the host's ledger knows, and which of them nothing undoes.
fn files(subject: Subject<'_>, sql: &SqlSpec) -> String {
    let known = applied(&subject.context.ledger.migrated, subject);
    let new: Vec<&str> =
        sql.files.iter().map(|file| file.name.as_str()).filter(|name| !known.contains_key(*name)).collect();
    let shown = match new.as_slice() {
        [] => "no new SQL file".to_owned(),
        [first, .., last] if new.len() > 5 => format!("{} SQL files, {first} to {last}", new.len()),
        names => names.join(", "),
    };
    let one_way: Vec<&str> = sql.one_way.iter().map(String::as_str).filter(|name| new.contains(name)).collect();
    if one_way.is_empty() { shown } else { format!("{shown}; no file undoes {}", one_way.join(", ")) }
}

/// Returns the SQL files of a component that were applied, by name, with the digest of what they said.
fn applied<'a>(migrated: &'a BTreeMap<String, MigrationRecord>, subject: Subject<'_>) -> BTreeMap<&'a str, &'a str> {
    let own = format!("{}/{}/{}/", subject.context.environment, subject.app.name, subject.component.name);
    let records = migrated.iter().filter(|(id, _)| id.starts_with(&own));
    records.flat_map(|(_, record)| &record.files).map(|(name, checksum)| (name.as_str(), checksum.as_str())).collect()
}

/// Returns a blocker for each app of which an SQL file that was applied says something else now: its new text would never run.
pub(super) fn edited_migrations(
    desired: &DesiredState,
    migrated: &[&BTreeMap<String, MigrationRecord>],
) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    let apps = desired.hosts.values().flat_map(|host| host.apps.values());
    for (app, component) in apps.flat_map(|app| app.components.iter().map(move |component| (app, component))) {
        let here = component.migrate.as_ref().filter(|migrate| migrate.here);
        let Some(sql) = here.and_then(|migrate| migrate.spec.sql.as_ref()) else { continue };
        let own = format!("{}/{}/{}/", desired.environment, app.name, component.name);
        let records = migrated.iter().flat_map(|host| host.iter()).filter(|(id, _)| id.starts_with(&own));
        let known: BTreeMap<&String, &String> = records.flat_map(|(_, record)| &record.files).collect();
        let differs = |file: &&SqlFile| known.get(&file.name).is_some_and(|text| **text != file.checksum.to_string());
        let names: Vec<&str> = sql.files.iter().filter(differs).map(|file| file.name.as_str()).collect();
        if !names.is_empty() {
            let message = format!(
                "SQL files of {} that were applied say something else now: {}. Put the old text back, and write what is to change \
                 into a new file",
                component.name,
                names.join(", ")
            );
            let code = "migration-edited".to_owned();
            blockers.push(Blocker { code, host: None, app: Some(app.name.clone()), message });
        }
    }
    blockers
}

/// Returns how long nobody is served at the most, in milliseconds: stop, backup, migration, start until healthy, each with all the
/// time it may take.
fn downtime(subject: Subject<'_>, migrate: &DesiredMigration) -> u64 {
    /// What Docker gives a container that says nothing.
    const GRACE_MS: u64 = 10_000;
    let component = subject.component;
    let stop = component.drain.stop_grace.map_or(GRACE_MS, |grace| grace.0);
    let backups = subject.app.components.iter().flat_map(|component| component.backups.values());
    let backup = backups
        .filter(|backup| backup.spec.class == migrate.spec.backup)
        .map(|backup| backup.spec.timeout_ms.saturating_mul(2))
        .max()
        .unwrap_or_default();
    let healthy = component.healthcheck.as_ref().map_or(GRACE_MS, |check| {
        let rounds = u64::from(check.retries) + u64::from(check.passes);
        let round = check.interval.0.saturating_add(check.timeout.0);
        check.start_period.0.saturating_add(rounds.saturating_mul(round)).saturating_add(check.min_healthy_time.0)
    });
    [stop, backup, migrate.spec.timeout.0, healthy].into_iter().fold(0, u64::saturating_add)
}

/// Returns a blocker for each migration that is to run before another environment has done it.
pub(super) fn early_migrations(
    desired: &DesiredState,
    hosts: &BTreeMap<HostName, HostPlan>,
    migrated: &BTreeSet<String>,
) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for (name, host) in &desired.hosts {
        for (app, component) in host.apps.values().flat_map(|app| app.components.iter().map(move |one| (app, one))) {
            let Some(migrate) = &component.migrate else { continue };
            let Some(after) = migrate.after.as_ref().filter(|after| !migrated.contains(*after)) else { continue };
            let key = ResourceKey::Migration(migrate.id.clone());
            if !hosts.get(name).is_some_and(|host| host.changes.iter().any(|change| change.key == key)) {
                continue;
            }
            let first = after.split('/').next().unwrap_or_default();
            let message = format!(
                "{} migrates here only after {first} has, and the migration of {} ({after}) has not succeeded there as far as this \
                 manager knows: bring the same release, command and image to {first} first",
                component.name, app.release
            );
            let code = "migration-not-staged".to_owned();
            blockers.push(Blocker { code, host: None, app: Some(app.name.clone()), message });
        }
    }
    blockers
}

/// Returns a blocker for each app that brings a release whose migration may or may not have run: on a host that could not be
/// asked. To run it again, or to bring the release up without it, would both be guesses.
pub(super) fn unsure_migrations(
    desired: &DesiredState,
    hosts: &BTreeMap<HostName, HostPlan>,
    known: &KnownMigrations,
) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    for (app, component, id) in desired.hosts.values().flat_map(due) {
        let Some((host, why)) = known.unsure.get(id) else { continue };
        let brings_release = hosts.values().flat_map(|host| &host.changes).any(|change| {
            let wanted = matches!(change.reason, Reason::DesiredChanged | Reason::Missing);
            wanted && &change.app == app && change.component == component
        });
        if brings_release {
            let message = format!(
                "whether migration {id} has run may be known to {host} only, which could not be asked ({why}): bring the host \
                 back, or take it out of the inventory"
            );
            let code = "migration-unknown".to_owned();
            blockers.push(Blocker { code, host: None, app: Some(app.clone()), message });
        }
    }
    blockers
}

fn due(host: &DesiredHost) -> impl Iterator<Item = (&AppName, &str, &str)> {
    host.apps.iter().flat_map(|(name, app)| {
        app.components.iter().filter_map(move |component| {
            component.migrate.as_ref().map(|migrate| (name, component.name.as_str(), migrate.id.as_str()))
        })
    })
}
