//! What a PostgreSQL server of a component is to hold, on one host: a declaration for the host program, and its initial data.
//!
//! They are a component of their own, as backups are: a file that changes beside a compose project makes its containers start anew, and a
//! new role must never do that to the database it is for.

use std::collections::BTreeMap;

use holdfast_protocol::{
    DATABASES_FILE, DatabaseSpec, DatabasesQuery, DatabasesSpec, LoginSpec, Password, RoleSpec, ServerQuery,
};

use super::component::own_file;
use super::path::Place;
use super::resolve::finding;
use super::values::Sources;
use super::{Artifacts, DesiredComponent, DesiredFile};
use crate::config::{Component, FileFormat, PostgresSpec, login_name};
use crate::diag::Diagnostics;
use crate::render::{Content, Encoding, Engine, Part};
use crate::secret::SecretRef;

/// Permission bits of initial data: it may be personal, also without a secret in it.
const SEED_MODE: u32 = 0o600;

/// Stands for a password until the text is taken apart. No name has such characters.
const MARK: &str = "‹password›";

/// Returns the component that the databases of a component become; `None` when it declares none.
pub(super) fn databases(
    sources: Sources<'_>,
    component: &Component,
    made: &DesiredComponent,
    engine: &mut Engine<'_>,
) -> Result<Option<DesiredComponent>, Diagnostics> {
    let Some(declared) = &component.postgres else { return Ok(None) };
    let name = crate::config::databases_component(&component.name);
    let name = match name.parse() {
        Ok(name) => name,
        Err(error) => return Err(finding("bad-postgres", &component.origin, format!("{error}"), "")),
    };
    let place = Place { component: &name, slot: None, ..sources.place };
    let project = made.body.artifacts(None).project.as_ref();
    let Some(project) = project.filter(|project| project.services.contains_key(&declared.service)) else {
        let message =
            format!("`postgres` is about the service `{}`, which the compose file does not have", declared.service);
        return Err(finding("unknown-service", &declared.origin, message, ""));
    };
    let mut artifacts = Artifacts::default();
    let mut findings = Diagnostics::default();
    for password in declared.roles.values().filter_map(|role| role.password.as_ref()) {
        if !sources.environment.secrets.contains_key(&password.value) {
            let file = format!("environments/{}/secrets.sops.yaml", sources.environment.name);
            let hint = format!("{file} does not have it: add it there with `sops edit {file}`");
            let message = format!("there is no secret `{}`", password.value);
            findings.extend(finding("unknown-secret", &password.origin, message, hint));
        }
    }
    let scope = Sources { place, ..sources }.scope();
    let mut seeds: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for (database, plan) in &declared.databases {
        for (seed, template) in &plan.seeds {
            let path = format!("{}/seeds/{database}/{seed}.sql", place.directory());
            let named = format!("templates/{}", template.value);
            match engine.file(&named, &template.origin, &scope, FileFormat::Plain) {
                Ok(content) => {
                    let file = DesiredFile { mode: SEED_MODE, ..own_file(content, &template.origin, false) };
                    artifacts.files.insert(path.clone(), file);
                    seeds.entry(database).or_default().insert(seed.clone(), path);
                }
                Err(list) => findings.extend(list),
            }
        }
    }
    if findings.has_errors() {
        return Err(findings);
    }
    let content = declaration(declared, &project.name, sources, &seeds);
    let declaration_path = format!("{}/{DATABASES_FILE}", place.directory());
    artifacts.files.insert(
        declaration_path.clone(),
        DesiredFile { mode: SEED_MODE, ..own_file(content, &declared.origin, false) },
    );
    let query = DatabasesQuery {
        path: declaration_path,
        project: project.name.clone(),
        service: declared.service.clone(),
        server: ServerQuery::Postgres { superuser: declared.superuser.clone() },
        settings: declared.settings.clone(),
    };
    let component = DesiredComponent::of_files(name, artifacts, declared.origin.clone());
    Ok(Some(DesiredComponent { databases: Some(query), ..component }))
}

fn declaration(
    declared: &PostgresSpec,
    project: &str,
    sources: Sources<'_>,
    seeds: &BTreeMap<&str, BTreeMap<String, String>>,
) -> Content {
    // In the order of the text, which is that of the names.
    let mut passwords: Vec<SecretRef> = Vec::new();
    let mut roles = BTreeMap::new();
    for (name, role) in &declared.roles {
        let secret = role.password.as_ref().and_then(|name| sources.environment.secrets.get(&name.value));
        let login = secret.map(|sealed| {
            passwords.push(sealed.secret.clone());
            LoginSpec { name: login_name(name, &sealed.secret.fingerprint), password: Password(MARK.to_owned()) }
        });
        roles.insert(name.clone(), RoleSpec { login, member_of: role.member_of.clone() });
    }
    let database = |(name, plan): (&String, &crate::config::DatabasePlan)| {
        let spec = DatabaseSpec {
            owner: plan.owner.clone(),
            extensions: plan.extensions.clone(),
            grants: plan.grants.clone(),
            seeds: seeds.get(name.as_str()).cloned().unwrap_or_default(),
        };
        (name.clone(), spec)
    };
    let spec = DatabasesSpec {
        project: project.to_owned(),
        service: declared.service.clone(),
        superuser: declared.superuser.clone(),
        retire_after_ms: declared.retire_after.0,
        roles,
        databases: declared.databases.iter().map(database).collect(),
        settings: declared.settings.clone(),
    };
    let mut text = serde_json::to_string_pretty(&spec).expect("BUG: plain data always encodes");
    text.push('\n');
    let mut parts = Vec::new();
    let mut secrets = passwords.into_iter();
    for (index, piece) in text.split(MARK).enumerate() {
        if index > 0
            && let Some(secret) = secrets.next()
        {
            parts.push(Part::Secret { secret, encodings: vec![Encoding::Json] });
        }
        parts.push(Part::Plain(piece.to_owned()));
    }
    Content { parts, provenance: Vec::new() }
}
