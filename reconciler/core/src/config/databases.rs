//! What a PostgreSQL server is to hold, as written to the model.

use std::collections::BTreeMap;

use holdfast_protocol::Access;
use serde::{Deserialize, Serialize};

use super::findings::Findings;
use super::model::{Located, SealedValue};
use super::place::At;
use super::raw;
use super::settings;
use super::suggest;
use crate::diag::Origin;
use crate::time::Millis;

/// How long the login with the old password still works.
const RETIRE_AFTER: Millis = Millis(24 * 3_600_000);

/// What a PostgreSQL server of a component is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresSpec {
    /// The compose service.
    pub service: String,
    /// The role that may do everything.
    pub superuser: String,
    /// How long a login that was followed by another one still works.
    pub retire_after: Millis,
    /// Roles by name.
    pub roles: BTreeMap<String, RolePlan>,
    /// Databases by name.
    pub databases: BTreeMap<String, DatabasePlan>,
    /// Settings of the server that a reload does for.
    pub settings: BTreeMap<String, String>,
    /// Where it is declared.
    pub origin: Origin,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolePlan {
    /// The dotted name of the secret that is its password.
    pub password: Option<Located<String>>,
    /// The roles it is a member of, sorted.
    pub member_of: Vec<String>,
    /// Where it is declared.
    pub origin: Origin,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasePlan {
    /// Its owner.
    pub owner: String,
    /// Its extensions, sorted.
    pub extensions: Vec<String>,
    /// What other roles may do.
    pub grants: BTreeMap<String, Access>,
    /// Initial data by name: its template.
    pub seeds: BTreeMap<String, Located<String>>,
}

/// Returns the name of what logs in as a role with the password of this fingerprint.
pub(crate) fn login_name(role: &str, fingerprint: &str) -> String {
    format!("{role}_{}", fingerprint.get(..8).unwrap_or(fingerprint))
}

/// Returns what the server is to hold, or nothing after a finding.
pub(super) fn postgres(
    at: &At<raw::PostgresServer>,
    component: &raw::Component,
    templates: &BTreeMap<String, String>,
    findings: &mut Findings<'_>,
) -> Option<PostgresSpec> {
    let before = findings.len();
    let written = &at.value;
    if component.compose.is_none() && !component.wrong.any(&["compose"]) {
        let message = "`postgres` names a compose service, and the component has no `compose`";
        findings.error_at("bad-postgres", at, message, "give it to the component with the database");
    }
    if component.strategy.as_ref().is_some_and(|strategy| strategy.value.has_slots()) {
        let message = "the databases of a component with slots would be two";
        findings.error_at("bad-postgres", at, message, "give the component with the database the strategy `stateful`");
    }
    let superuser = written.superuser.as_ref().map_or("postgres", |name| name.0.as_str());
    let roles = written.roles.iter().flat_map(|named| &named.entries);
    let known: Vec<&str> = roles.clone().map(|role| role.name.value.0.as_str()).collect();
    let check = |role: &At<raw::RoleName>, findings: &mut Findings<'_>| {
        if !known.contains(&role.value.0.as_str()) {
            let hint = suggest::hint(&role.value.0, "the roles", known.iter().copied());
            findings.error_at("unknown-role", role, format!("no role `{}` is declared here", role.value.0), hint);
        }
    };
    let mut made = BTreeMap::new();
    for entry in roles {
        if entry.name.value.0 == superuser {
            let message = format!("the role `{superuser}` is the server's own, and does what is declared");
            findings.error_at("bad-postgres", &entry.name, message, "declare another role for the app");
        }
        let Some(role) = &entry.value else { continue };
        let groups = role.member_of.as_deref().unwrap_or_default();
        for group in groups {
            check(group, findings);
        }
        let mut member_of: Vec<String> = groups.iter().map(|group| group.value.0.clone()).collect();
        member_of.sort();
        member_of.dedup();
        let password =
            role.password.as_ref().map(|name| Located { value: name.value.0.clone(), origin: name.origin() });
        made.insert(entry.name.value.0.clone(), RolePlan { password, member_of, origin: entry.name.origin() });
    }
    let mut databases = BTreeMap::new();
    for entry in written.databases.iter().flat_map(|named| &named.entries) {
        let Some(database) = &entry.value else { continue };
        let grants = database.grants.iter().flat_map(|named| &named.entries);
        grants.clone().for_each(|grant| check(&grant.name, findings));
        let mut extensions: Vec<String> =
            database.extensions.iter().flatten().map(|name| name.value.0.clone()).collect();
        extensions.sort();
        extensions.dedup();
        let mut seeds = BTreeMap::new();
        for seed in database.seeds.iter().flat_map(|named| &named.entries) {
            let Some(template) = &seed.value else { continue };
            if !templates.contains_key(&format!("templates/{}", template.value.0)) {
                let message = format!("there is no template `templates/{}`", template.value.0);
                let known = templates.keys().filter_map(|path| path.strip_prefix("templates/"));
                findings.error_at(
                    "unknown-template",
                    template,
                    message,
                    suggest::hint(&template.value.0, "templates", known),
                );
            }
            let located = Located { value: template.value.0.clone(), origin: template.origin() };
            seeds.insert(seed.name.value.0.clone(), located);
        }
        let Some(owner) = &database.owner.0 else { continue };
        check(owner, findings);
        let plan = DatabasePlan {
            owner: owner.value.0.clone(),
            extensions,
            grants: grants
                .filter_map(|grant| Some((grant.name.value.0.clone(), grant.value.as_ref()?.value.0)))
                .collect(),
            seeds,
        };
        databases.insert(entry.name.value.0.clone(), plan);
    }
    let set = written.settings.iter().flat_map(|named| &named.entries);
    let set = set.filter_map(|entry| Some((&entry.name, entry.value.as_ref()?)));
    let settings = settings::settings(set, |name| &name.0, ("bad-postgres", settings::refused), findings);
    (findings.len() == before).then(|| PostgresSpec {
        service: written.service.0.clone(),
        superuser: superuser.to_owned(),
        retire_after: written.retire_after.unwrap_or(RETIRE_AFTER),
        roles: made,
        settings,
        databases,
        origin: at.origin(),
    })
}

/// Finds roles whose password is no secret of the environment, and roles of one name in two components of an app. An environment without
/// any secret is not there yet: that is found when it is made, as for a template, and stops nobody else.
pub(super) fn check_passwords(
    app: &super::model::App,
    secrets: &BTreeMap<String, SealedValue>,
    findings: &mut Findings<'_>,
) {
    let mut seen: BTreeMap<&str, &Origin> = BTreeMap::new();
    let roles = app.components.iter().filter_map(|component| component.postgres.as_ref()).flat_map(|all| &all.roles);
    for (name, role) in roles {
        if let Some(first) = seen.insert(name, &role.origin) {
            let at = Located { value: name.clone(), origin: role.origin.clone() };
            let message =
                format!("the role `{name}` is declared at {first} too, and templates know it by its name alone");
            findings.error_located("bad-postgres", &at, message, "give one of them another name");
        }
        if let Some(password) = role.password.as_ref().filter(|password| !secrets.contains_key(&password.value))
            && !secrets.is_empty()
        {
            let message = format!("there is no secret `{}`", password.value);
            let hint = suggest::hint(&password.value, "the secrets", secrets.keys().map(String::as_str));
            findings.error_located("unknown-secret", password, message, hint);
        }
    }
}
