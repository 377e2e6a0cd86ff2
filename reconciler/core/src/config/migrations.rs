//! Migrations as written to migrations of the model: what they name exists, and what they say agrees.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::model::{Environment, Located, MigrateSpec};
use super::place::At;
use super::raw;
use super::suggest;
use crate::id::EnvironmentName;
use crate::time::Millis;

/// What stands for the recorded revision in `downgrade`.
pub(crate) const PLACE: &str = "{revision}";

/// How long one may take when it does not say.
const TIMEOUT: Millis = Millis(600_000);

/// Returns the migration. `classes` are the backups of its app.
pub(super) fn migrate(raw: &At<raw::Migrate>, classes: &[&str], findings: &mut Findings<'_>) -> MigrateSpec {
    let wanted = &raw.value;
    if let Some(downgrade) = &wanted.downgrade {
        check_downgrade(downgrade, wanted.revision.is_some(), findings);
    }
    if let (Some(breaking), Some(true)) = (&wanted.breaking, wanted.reversible.as_ref().map(|at| at.value))
        && breaking.value
    {
        findings.error_at(
            "bad-migration",
            breaking,
            "`breaking` says that the old release cannot run beside the new schema, and `reversible` that it works with it",
            "leave one of them out",
        );
    }
    let unknown = wanted.backup.as_ref().filter(|class| !classes.contains(&class.value.0.as_str()));
    if let Some(class) = unknown {
        let hint = if classes.is_empty() {
            "declare it under `backups` of the component that has the data".to_owned()
        } else {
            suggest::hint(&class.value.0, "its backups", classes.iter().copied())
        };
        findings.error_at("bad-migration", class, format!("this app has no backup `{}`", class.value.0), hint);
    }
    let words = |argv: &Option<raw::Argv>| argv.as_ref().map(|argv| argv.0.clone()).unwrap_or_default();
    MigrateSpec {
        command: wanted.command.0.clone(),
        service: wanted.service.as_ref().map(|name| name.0.clone()).unwrap_or_default(),
        revision: words(&wanted.revision),
        downgrade: wanted.downgrade.as_ref().map(|at| at.value.0.clone()).unwrap_or_default(),
        reversible: wanted.reversible.as_ref().is_some_and(|at| at.value),
        breaking: wanted.breaking.as_ref().is_some_and(|at| at.value),
        backup: wanted.backup.as_ref().map(|class| class.value.0.clone()).unwrap_or_default(),
        after: wanted.after.as_ref().map(|at| Located { value: at.value.to_string(), origin: at.origin() }),
        idempotent: wanted.idempotent.unwrap_or(false),
        timeout: wanted.timeout.unwrap_or(TIMEOUT),
    }
}

fn check_downgrade(downgrade: &At<raw::Argv>, has_revision: bool, findings: &mut Findings<'_>) {
    let places = downgrade.value.0.iter().filter(|word| word.contains(PLACE)).count();
    if places != 1 {
        findings.error_at(
            "bad-migration",
            downgrade,
            format!("`downgrade` has to name `{PLACE}` once: where the schema was before this release"),
            format!("a number of steps such as `-1` leaves the others of a release in place; write `{PLACE}` instead"),
        );
    }
    if !has_revision {
        findings.error_at(
            "bad-migration",
            downgrade,
            "`downgrade` goes to the recorded revision, and nothing says what that is",
            "add `revision`, such as `revision: [alembic, current]`",
        );
    }
}

/// Checks that the environments that are to migrate first exist and have the same migration, and that nobody waits for himself.
/// Of one that is not there since something else in it is wrong, nothing is said.
pub(super) fn check_after(environments: &BTreeMap<EnvironmentName, Environment>, findings: &mut Findings<'_>) {
    let is_whole = !findings.has_errors();
    for environment in environments.values() {
        for (app, component) in environment.apps.values().flat_map(|app| app.components.iter().map(move |c| (app, c))) {
            let Some(after) = component.migrate.as_ref().and_then(|migrate| migrate.after.as_ref()) else { continue };
            let wanted = after.value.as_str();
            if wanted == environment.name.as_str() {
                let message = format!("`after` names `{wanted}`, which is this environment");
                findings.error_located("bad-migration", after, message, "name the one that is to migrate before it");
                continue;
            }
            let Some(other) = environments.values().find(|other| other.name.as_str() == wanted) else {
                if is_whole {
                    let names = environments.keys().map(EnvironmentName::as_str);
                    let hint = suggest::hint(wanted, "environments", names);
                    findings.error_located("bad-migration", after, format!("there is no environment `{wanted}`"), hint);
                }
                continue;
            };
            let found =
                other.apps.get(&app.name).and_then(|app| app.components.iter().find(|one| one.name == component.name));
            if found.is_none_or(|found| found.migrate.is_none()) {
                let message =
                    format!("`{wanted}` has no component `{}` of `{}` that migrates", component.name, app.name);
                findings.error_located("bad-migration", after, message, "declare the same migration there");
            }
        }
    }
}
