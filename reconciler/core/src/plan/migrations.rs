//! Migrations: once per release, over all hosts.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::Slot;

use super::component::Subject;
use super::rule::{Finding, Weight};
use super::{Blocker, Change, HostPlan, PlanAction, Reason, ResourceKey};
use crate::desired::{DesiredHost, DesiredState};
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
    let note = migrate.spec.command.join(" ");
    let finding = Finding { action: PlanAction::Run, reason: Reason::DependencyChanged, weight: Weight::InPlace, note };
    let found = subject.found(ResourceKey::Migration(migrate.id.clone()), "migration-not-run", finding);
    Some(subject.change(slot, found))
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
