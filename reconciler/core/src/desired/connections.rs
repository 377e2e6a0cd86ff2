//! The connections that an app may open, held against what its database takes.

use std::collections::BTreeMap;

use super::resolve::finding;
use super::{DesiredComponent, DesiredHost};
use crate::config::{App, ConnectionSpec};
use crate::diag::Diagnostics;
use crate::id::HostName;

/// Returns a finding for each database of an app whose users may open more connections than it takes: all replicas on all hosts, both
/// slots while they switch.
pub(super) fn over_limit(app: &App, hosts: &BTreeMap<HostName, DesiredHost>) -> Diagnostics {
    let mut findings = Diagnostics::default();
    for database in &app.components {
        let Some(most) = database.max_connections else { continue };
        let mut sum: u64 = 0;
        let mut terms = Vec::new();
        for user in &app.components {
            let Some(spec) = user.connections.as_ref().filter(|spec| spec.to == database.name) else { continue };
            let apps = hosts.values().filter_map(|host| host.apps.get(&app.name));
            let placed = apps.flat_map(|app| &app.components).filter(|component| component.name == user.name);
            let replicas: u64 = placed.map(replicas).sum();
            let slots = if user.strategy.has_slots() { 2 } else { 1 };
            let ConnectionSpec { workers, pool, .. } = *spec;
            sum = sum.saturating_add(replicas * slots * u64::from(workers) * u64::from(pool));
            terms.push((format!("{}: {replicas} × {slots} × {workers} × {pool}", user.name), &spec.origin));
        }
        if sum <= u64::from(most) {
            continue;
        }
        let Some((_, at)) = terms.first() else { continue };
        let shown: Vec<&str> = terms.iter().map(|(term, _)| term.as_str()).collect();
        let message = format!(
            "up to {sum} connections to `{}`, which takes {most} (replicas × slots × workers × pool; {})",
            database.name,
            shown.join("; ")
        );
        let hint = "make the pools smaller, put a pooler such as PgBouncer between, or let the database take more";
        findings.extend(finding("too-many-connections", at, message, hint));
    }
    findings
}

/// Returns how often a component is there on one host, in one of its slots.
fn replicas(component: &DesiredComponent) -> u64 {
    let services = component.body.artifacts(None).project.iter().flat_map(|project| project.services.values());
    services.map(|service| u64::from(service.replicas)).max().unwrap_or(1)
}
