//! One commit's tree to the validated model.

use std::collections::BTreeMap;

use super::certificates;
use super::claims::Claims;
use super::databases;
use super::findings::Findings;
use super::hosts::{Hosts, Scope};
use super::migrations;
use super::model::{Config, DriftPolicy, Environment, Requirement, Requirements, RolloutPolicy, SyncMode, SyncPolicy};
use super::place::{At, Place};
use super::raw;
use super::read::{self, EnvironmentFiles};
use super::resolve::{self, Surroundings};
use super::secrets;
use super::tree::SourceTree;
use super::windows;
use crate::diag::{Diagnostics, Origin};
use crate::id::{AppName, EnvironmentName};
use crate::time::Millis;

/// The format of `holdfast.yaml` that is read.
pub const FORMAT: u32 = 1;

/// Returns the model of a commit, and everything that is to be said about its files.
///
/// # Guarantees
/// The model is there exactly when no finding is an error. Every name in it exists, every host has what is claimed on it only once,
/// and equal trees give equal results. No finding holds a line of a file of secrets.
pub fn load(tree: &SourceTree) -> (Option<Config>, Diagnostics) {
    let mut findings = Findings::default();
    let files = read::read(tree, &mut findings);
    let (mut defaults, mut variables) = (None, None);
    if let Some(holdfast) = files.holdfast {
        if let Some(format) = holdfast.format.0.as_ref().filter(|format| format.value.0 != FORMAT) {
            let message =
                format!("this repository has format {}, and this release reads format {FORMAT}", format.value.0);
            findings.error_at("unknown-format", format, message, "use the release of Holdfast that it was written for");
        }
        (defaults, variables) = (holdfast.defaults, holdfast.variables);
    }
    let hosts = Hosts::new(files.inventories, &mut findings);
    let mut claims = Claims::default();
    let mut environments = BTreeMap::new();
    for (name, content) in files.environments {
        let environment =
            environment(&name, content, defaults.as_ref(), &hosts, &files.templates, &mut claims, &mut findings);
        if let Some(environment) = environment {
            environments.insert(name, environment);
        }
    }
    migrations::check_after(&environments, &mut findings);
    claims.report(&mut findings);
    let variables = variables.unwrap_or_default().0;
    let config = Config { hosts: hosts.specs, environments, templates: files.templates, variables };
    (if findings.has_errors() { None } else { Some(config) }, findings.finish())
}

fn environment(
    name: &EnvironmentName,
    files: EnvironmentFiles<'_>,
    defaults: Option<&raw::Defaults>,
    hosts: &Hosts,
    templates: &BTreeMap<String, String>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<Environment> {
    let file = format!("environments/{name}/environment.yaml");
    if !files.declared {
        let hint = "write at least `hosts:` into it";
        findings.error(
            "missing-file",
            &file,
            Place::default(),
            format!("environment `{name}` has no `environment.yaml`"),
            hint,
        );
    }
    let mut selected = Vec::new();
    if let Some(wanted) = files.environment.as_ref().and_then(|content| content.hosts.0.as_ref()) {
        let scope = Scope { among: hosts.all(), of: "the inventory" };
        if hosts.all().is_empty() && hosts.is_complete() {
            let hint = "write `inventory/hosts.yaml` with `hosts:`";
            findings.error_at("no-host", wanted, "the inventory has no host", hint);
        }
        selected = hosts.select(wanted, &scope, findings);
    }
    let certificates = certificates::certificates(files.environment.as_ref(), findings);
    let names: Vec<AppName> = files.apps.keys().cloned().collect();
    let mut apps = BTreeMap::new();
    for (app, (file, content)) in files.apps {
        let Some(content) = content else { continue };
        let around = Surroundings {
            environment: name,
            hosts,
            environment_hosts: &selected,
            templates,
            certificates: &certificates,
        };
        if let Some(resolved) = resolve::app(app.clone(), file, &content, &around, claims, findings) {
            apps.insert(app, resolved);
        }
    }
    let content = files.environment?;
    let known = !files.secrets.broken;
    let secrets = secrets::secrets(name, content.secrets.as_ref(), files.secrets, findings);
    if known {
        for app in apps.values() {
            databases::check_passwords(app, &secrets, findings);
        }
    }
    let mut sync = sync(content.sync.as_ref(), defaults.and_then(|defaults| defaults.sync.as_ref()), findings);
    sync.windows = windows::windows(content.windows.as_deref().unwrap_or_default(), &names, findings);
    let defaults = defaults.and_then(|defaults| defaults.rollout.as_ref());
    let rollout = rollout(content.rollout.as_ref(), defaults, selected.len() as u32);
    Some(Environment {
        name: name.clone(),
        purpose: content.purpose.unwrap_or_default(),
        hosts: selected,
        sync,
        rollout,
        requires: requirements(content.requires.as_ref()),
        variables: content.variables.unwrap_or_default().0,
        apps,
        certificates: certificates.into_iter().filter_map(|(name, made)| Some((name, made?))).collect(),
        secrets,
        origin: Origin { file, line: 0, column: 0 },
    })
}

/// Returns the oldest versions that hosts may have.
fn requirements(raw: Option<&raw::Requires>) -> Requirements {
    let Some(raw) = raw else { return Requirements::new() };
    let all = [
        (Requirement::Docker, &raw.docker),
        (Requirement::Compose, &raw.compose),
        (Requirement::Nginx, &raw.nginx),
        (Requirement::Systemd, &raw.systemd),
        (Requirement::PostgresqlClient, &raw.postgresql_client),
        (Requirement::Kernel, &raw.kernel),
        (Requirement::Debian, &raw.debian),
    ];
    all.into_iter().filter_map(|(part, oldest)| Some((part, oldest.as_ref()?.0.clone()))).collect()
}

/// Returns the sync policy: the environment's word, else that of `holdfast.yaml`, else the built-in one.
fn sync(own: Option<&raw::Sync>, defaults: Option<&raw::Sync>, findings: &mut Findings<'_>) -> SyncPolicy {
    let ignore: Vec<At<_>> =
        [own, defaults].into_iter().flatten().find_map(|sync| sync.ignore.clone()).unwrap_or_default();
    for pattern in &ignore {
        if let Err(error) = globset::Glob::new(&pattern.value.0) {
            findings.error_at(
                "bad-value",
                pattern,
                format!("this is no pattern: {}", error.kind()),
                "use `*`, `**`, `?`, `[…]` and `{a,b}`",
            );
        }
    }
    SyncPolicy {
        mode: pick(own, defaults, |sync| sync.mode).unwrap_or(SyncMode::Automatic),
        drift: pick(own, defaults, |sync| sync.drift).unwrap_or(DriftPolicy::Report),
        ignore: ignore.into_iter().map(|pattern| pattern.value.0).collect(),
        // An honest removal of one app of a few stays below; a lost inventory label does not.
        prune_limit_percent: pick(own, defaults, |sync| sync.prune_limit_percent).map_or(30, |percent| percent.0 as u8),
        windows: Vec::new(),
    }
}

/// Returns the rollout policy, by the same rule.
fn rollout(own: Option<&raw::Rollout>, defaults: Option<&raw::Rollout>, hosts: u32) -> RolloutPolicy {
    let max_unavailable = match pick(own, defaults, |rollout| rollout.max_unavailable) {
        None => 1,
        Some(raw::MaxUnavailable::Count(count)) => count,
        Some(raw::MaxUnavailable::Percent(percent)) => (hosts * percent / 100).max(1),
    };
    RolloutPolicy {
        canary: pick(own, defaults, |rollout| rollout.canary).map_or(1, |canary| canary.0),
        max_unavailable,
        all_or_nothing: pick(own, defaults, |rollout| rollout.all_or_nothing).unwrap_or(false),
        pause_after_canary: pick(own, defaults, |rollout| rollout.pause_after_canary).unwrap_or(false),
        ready_deadline: pick(own, defaults, |rollout| rollout.ready_deadline).unwrap_or(Millis(15 * 60_000)),
        confirm_within: pick(own, defaults, |rollout| rollout.confirm_within).unwrap_or(Millis(2 * 60_000)),
    }
}

fn pick<R, T>(own: Option<&R>, defaults: Option<&R>, field: impl Fn(&R) -> Option<T>) -> Option<T> {
    own.and_then(&field).or_else(|| defaults.and_then(&field))
}
