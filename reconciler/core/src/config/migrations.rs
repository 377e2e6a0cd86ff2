//! Migrations as written to migrations of the model: what they name exists, and what they say agrees.

use std::collections::BTreeMap;

use holdfast_protocol::sql_order;

use super::findings::Findings;
use super::limits::MAX_SQL_BYTES;
use super::model::{Environment, Located, MigrateSpec, SqlSpec};
use super::place::At;
use super::raw;
use super::sql;
use super::suggest;
use crate::id::{ComponentName, EnvironmentName};
use crate::time::Millis;

/// What stands for the recorded revision in `downgrade`.
pub(crate) const PLACE: &str = "{revision}";

/// How long one may take when it does not say.
const TIMEOUT: Millis = Millis(600_000);

/// What a migration may name.
pub(super) struct Around<'a> {
    /// The classes of its app's backups.
    pub(super) classes: &'a [&'a str],
    /// The components of its app.
    pub(super) components: Vec<&'a ComponentName>,
    /// All templates, and SQL files, by path from the root.
    pub(super) templates: &'a BTreeMap<String, String>,
}

/// Returns the migration of a component.
pub(super) fn migrate(
    raw: &At<raw::Migrate>,
    component: &At<ComponentName>,
    around: &Around<'_>,
    findings: &mut Findings<'_>,
) -> MigrateSpec {
    let wanted = &raw.value;
    let classes = around.classes;
    let sql = wanted.sql.as_ref().map(|at| sql_files(at, component, around, findings));
    if wanted.command.is_some() == wanted.sql.is_some() {
        let message = "a migration is one of `command` and `sql`";
        let hint = "write `command: [alembic, upgrade, head]`, or name a folder of SQL files";
        findings.error_at("bad-migration", raw, message, hint);
    }
    let has_words = wanted.revision.is_some() || wanted.downgrade.is_some() || wanted.service.is_some();
    if let Some(sql) = wanted.sql.as_ref().filter(|_| has_words) {
        let message = "SQL files keep a list of their own in the database: `service`, `revision` and `downgrade` are for a `command`";
        findings.error_at("bad-migration", sql, message, "take them out");
    }
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
        command: wanted.command.as_ref().map(|at| at.value.0.clone()).unwrap_or_default(),
        sql,
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

/// Returns the SQL files of a migration, each checked to be one piece of plain SQL.
fn sql_files(
    at: &At<raw::Sql>,
    component: &At<ComponentName>,
    around: &Around<'_>,
    findings: &mut Findings<'_>,
) -> SqlSpec {
    let templates = around.templates;
    let wanted = &at.value;
    let folder = &wanted.folder.value.0;
    let files = sql::files(folder, templates);
    if files.is_empty() {
        let hint = "SQL files lie below `templates/`, such as `templates/sql/shop/001_users.sql`";
        let message = format!("`templates/{folder}` has no SQL file");
        findings.error_at("bad-migration", &wanted.folder, message, hint);
    }
    for file in &files {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if file.name.len() > 120 || !file.name.chars().all(plain) || sql_order(&file.name).is_none() {
            let message = format!("`templates/{folder}/{}`: the name of an SQL file begins with its number", file.name);
            let hint =
                "such as `010_users.sql`: then letters, digits, `.`, `_` and `-`; 120 at the most, of which 18 digits";
            findings.error_at("bad-migration", &wanted.folder, message, hint);
        }
        if let Err(wrong) = sql::check(&file.text) {
            let message = format!("`templates/{folder}/{}`, line {}: {}", file.name, wrong.line, wrong.message);
            let hint = "it runs by `psql`, in one transaction with the row that says it was applied";
            findings.error_at("bad-sql", &wanted.folder, message, hint);
        }
    }
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    if bytes > MAX_SQL_BYTES {
        let message =
            format!("the SQL files of `templates/{folder}` have {bytes} bytes, and {MAX_SQL_BYTES} is the most");
        let hint = "they are for the schema: what is applied everywhere may be deleted, and data is loaded by the app";
        findings.error_at("bad-sql", &wanted.folder, message, hint);
    }
    let keeper = &wanted.component;
    if keeper.value == component.value {
        let message = "SQL files are applied by a component beside the one with the database, which has to run before";
        findings.error_at("bad-migration", keeper, message, "move `migrate` to the component that needs the schema");
    } else if !around.components.contains(&&keeper.value) {
        let names = around.components.iter().map(|name| name.as_str());
        let hint = suggest::hint(keeper.value.as_str(), "components", names);
        findings.error_at("bad-migration", keeper, format!("this app has no component `{}`", keeper.value), hint);
    }
    SqlSpec {
        component: keeper.value.clone(),
        service: wanted.service.0.clone(),
        database: wanted.database.0.clone(),
        user: wanted.user.as_ref().map_or_else(|| "postgres".to_owned(), |user| user.0.clone()),
        one_way: files
            .iter()
            .filter(|file| !sql::has_way_back(folder, &file.name, templates))
            .map(|file| file.name.clone())
            .collect(),
        files,
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
