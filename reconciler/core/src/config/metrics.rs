//! What a component tells Prometheus, and what looks at its files.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::model::{CheckSpec, MetricsSpec, Strategy};
use super::raw;
use super::suggest;
use crate::time::Millis;

/// Returns the jobs whose port the component has; the others are found.
pub(super) fn metrics(raw: &raw::Component, findings: &mut Findings<'_>) -> BTreeMap<String, MetricsSpec> {
    let mut jobs = BTreeMap::new();
    if raw.wrong.any(&["ports"]) {
        return jobs;
    }
    let ports = raw.ports.iter().flat_map(|ports| &ports.entries);
    let known: Vec<&str> = ports.map(|port| port.name.value.0.as_str()).collect();
    for entry in raw.metrics.iter().flat_map(|metrics| &metrics.entries) {
        let Some(job) = &entry.value else { continue };
        let port = &job.port.value.0;
        if !known.contains(&port.as_str()) {
            let hint = match known.as_slice() {
                [] => "give it one in `ports`, which its metrics are asked at".to_owned(),
                known => suggest::hint(port, "ports", known.iter().copied()),
            };
            findings.error_at("unknown-port", &job.port, format!("the component has no port `{port}`"), hint);
            continue;
        }
        let path = job.path.as_ref().map_or("/metrics", |path| path.0.as_str()).to_owned();
        let spec = MetricsSpec { port: port.clone(), path, origin: entry.name.origin() };
        jobs.insert(entry.name.value.0.clone(), spec);
    }
    jobs
}

/// Returns the check of its files. One with slots proves itself beside what serves.
pub(super) fn check(
    raw: &raw::Component,
    strategy: Option<Strategy>,
    findings: &mut Findings<'_>,
) -> Option<CheckSpec> {
    let at = raw.check.as_ref()?;
    let refuse = |findings: &mut Findings<'_>, message: &str, hint: &str| {
        findings.error_at("bad-component", at, message, hint);
    };
    if strategy.is_some_and(Strategy::has_slots) {
        let hint = "its new slot comes up beside what serves, and has to prove itself by its `healthcheck`";
        refuse(findings, "`check` has no effect with slots", hint);
    }
    if at.value.service.is_some() && raw.compose.is_none() {
        let hint = "leave `service` out: the program runs on the host";
        refuse(findings, "`check` names a service, and the component has no `compose`", hint);
    }
    Some(CheckSpec {
        command: at.value.command.0.clone(),
        service: at.value.service.as_ref().map(|name| name.0.clone()).unwrap_or_default(),
        timeout: at.value.timeout.unwrap_or(Millis(60_000)),
        origin: at.origin(),
    })
}
