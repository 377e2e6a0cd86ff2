//! Migrations: once per release, over all hosts.

use holdfast_protocol::Slot;

use super::component::Subject;
use super::rule::{Finding, Weight};
use super::{Change, PlanAction, Reason, ResourceKey};

/// Returns the run of a component's migration, when this is the host for it and no host has run it.
pub(super) fn migration(subject: Subject<'_>, slot: Option<Slot>) -> Option<Change> {
    let migrate = subject.component.migrate.as_ref()?;
    if !migrate.here || subject.context.migrations.contains(&migrate.id) {
        return None;
    }
    let note = migrate.spec.command.join(" ");
    let finding = Finding { action: PlanAction::Run, reason: Reason::DependencyChanged, weight: Weight::InPlace, note };
    let found = subject.found(ResourceKey::Migration(migrate.id.clone()), "migration-not-run", finding);
    Some(subject.change(slot, found))
}
