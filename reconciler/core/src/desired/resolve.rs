use std::collections::{BTreeMap, BTreeSet};

use super::backups::backups;
use super::certificates::certificate;
use super::clash::clashes;
use super::component::{ComponentResolver, Memo};
use super::connections::over_limit;
use super::databases::databases;
use super::logrotate::doubled;
use super::path::Place;
use super::proof::unproven;
use super::redis::redis;
use super::unsealed::unsealed;
use super::values::Sources;
use super::{ArchiveContent, DesiredApp, DesiredArchive, DesiredComponent, DesiredHost, DesiredState};
use crate::config::{App, ArchiveSpec, Component, ComponentKind, Config, Environment, Strategy};
use crate::diag::{Diagnostics, Origin, Severity};
use crate::id::{CommitId, EnvironmentName, HostName};
use crate::render::Engine;

/// Returns what every host of an environment should be at a commit.
///
/// # Guarantees
/// No key is needed: secrets stay named. Equal input gives equal output. Every value in every file has its place.
///
/// # Errors
/// All that is wrong with the environment's templates and values at once, each with its place in the template or in the file that
/// has the value.
pub fn resolve(config: &Config, environment: &EnvironmentName, commit: &CommitId) -> Result<DesiredState, Diagnostics> {
    let mut findings = Diagnostics::default();
    let Some(environment) = config.environments.get(environment) else {
        let whole = Origin { file: "environments".to_owned(), line: 0, column: 0 };
        let known: Vec<&str> = config.environments.keys().map(EnvironmentName::as_str).collect();
        let hint = format!("there are: {}", known.join(", "));
        findings.error(
            "unknown-environment",
            whole,
            "",
            format!("no environment `{environment}` at this commit"),
            hint,
        );
        return Err(findings);
    };
    let mut engine = Engine::new(&config.templates);
    let mut hosts = BTreeMap::new();
    let mut memo = Memo::new();
    for name in &environment.hosts {
        let Some(host) = config.hosts.get(name) else {
            let message = format!("the host `{name}` is not in the inventory");
            findings.error("unknown-host", environment.origin.clone(), "", message, "");
            continue;
        };
        let mut apps = BTreeMap::new();
        for app in environment.apps.values().filter(|app| app.hosts.contains(name)) {
            let mut resolved = Vec::new();
            for component in in_order(app).into_iter().filter(|component| component.hosts.contains(name)) {
                let first = environment.hosts.iter().find(|host| component.hosts.contains(host)) == Some(name);
                let resolver = ComponentResolver { config, environment, host, app, component, first };
                match resolver.resolve(&mut engine, &mut memo) {
                    Ok(made) => {
                        let place = Place {
                            environment: &environment.name,
                            app: &app.name,
                            component: &component.name,
                            slot: None,
                        };
                        let sources = Sources { config, environment, host, app, component, place };
                        let roles = databases(sources, component, &made, &mut engine);
                        let set = redis(sources, component, &made);
                        resolved.push((component, made, [roles, set]));
                    }
                    Err(list) => findings.extend(list),
                }
            }
            // Backups know who else is on the host: writers stand still while one is restored.
            let all: Vec<&DesiredComponent> = resolved.iter().map(|(_, made, _)| made).collect();
            let saved: Vec<_> = resolved
                .iter()
                .map(|(component, made, _)| backups(config, environment, (app, component), (made, &all)))
                .collect();
            let mut components = Vec::new();
            for ((component, made, roles), saved) in resolved.into_iter().zip(saved) {
                components.extend(certificate(environment, app, component));
                components.push(made);
                for own in roles.into_iter().chain([saved]) {
                    match own {
                        Ok(own) => components.extend(own),
                        Err(list) => findings.extend(list),
                    }
                }
            }
            let desired = DesiredApp {
                name: app.name.clone(),
                release: app.release.value.clone(),
                release_origin: app.release.origin.clone(),
                keep_releases: app.keep_releases,
                archives: app.archives.iter().map(archive).collect(),
                components,
            };
            apps.insert(app.name.clone(), desired);
        }
        findings.extend(clashes(name, &apps));
        findings.extend(doubled(name, &apps));
        findings.extend(unproven(name, &apps));
        hosts.insert(name.clone(), DesiredHost { host: host.clone(), apps });
    }
    for app in environment.apps.values() {
        findings.extend(over_limit(app, &hosts));
    }
    if findings.has_errors() {
        let mut findings = unsealed(config, environment, findings);
        findings.sort();
        return Err(findings);
    }
    Ok(DesiredState {
        environment: environment.name.clone(),
        commit: commit.clone(),
        rollout: environment.rollout.clone(),
        sync: environment.sync.clone(),
        requires: environment.requires.clone(),
        order: order(environment),
        hosts,
    })
}

fn archive(spec: &ArchiveSpec) -> DesiredArchive {
    DesiredArchive { file: spec.file.clone(), sha256: spec.sha256, content: ArchiveContent::Unread }
}

fn order(environment: &Environment) -> Vec<HostName> {
    let mut seen = BTreeSet::new();
    environment.hosts.iter().filter(|host| seen.insert((*host).clone())).cloned().collect()
}

/// Stateful components first, nginx last, the rest as written.
fn in_order(app: &App) -> Vec<&Component> {
    let mut components: Vec<&Component> = app.components.iter().collect();
    components.sort_by_key(|component| match (component.strategy, &component.kind) {
        (_, ComponentKind::Nginx { .. }) => 2,
        (Strategy::Stateful, _) => 0,
        _ => 1,
    });
    components
}

/// One finding as a list.
pub(super) fn finding(code: &str, origin: &Origin, message: impl Into<String>, hint: impl Into<String>) -> Diagnostics {
    let mut list = Diagnostics::default();
    list.error(code, origin.clone(), "", message, hint);
    debug_assert!(list.0.iter().all(|finding| finding.severity == Severity::Error));
    list
}
