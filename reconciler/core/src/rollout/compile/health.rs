use std::collections::BTreeMap;

use holdfast_protocol::{CommandTarget, HealthCheck, MetricRules, Probe, Prove, Slot};

use crate::config::{HealthSpec, ProbeSpec, ProveExpect, ProveSpec, WatchSpec, replica_port};

use super::place::{Project, is_triggered};

/// Where a component says nothing, the state of its units and containers counts, and none may restart for this long.
const DEFAULT_MIN_HEALTHY_MS: u64 = 1_000;

/// Answers in a row that must name the new release: more than the workers of a small nginx.
const PROVE_PASSES: u32 = 3;

/// Returns the check of a component at one place; `None` when nothing is there that could be healthy.
pub(super) fn check(
    spec: Option<&HealthSpec>,
    units: &BTreeMap<String, bool>,
    project: Option<&Project>,
    ports: &BTreeMap<String, u16>,
) -> Option<HealthCheck> {
    let units: Vec<String> = units.keys().filter(|unit| !is_triggered(unit, units)).cloned().collect();
    let projects: Vec<String> = project.iter().map(|project| project.name.clone()).collect();
    let Some(spec) = spec else {
        return (!units.is_empty() || !projects.is_empty()).then_some(HealthCheck {
            probe: Probe::State,
            interval_ms: 250,
            timeout_ms: 5_000,
            retries: 3,
            start_period_ms: 60_000,
            passes: 1,
            min_healthy_ms: DEFAULT_MIN_HEALTHY_MS,
            units,
            projects,
        });
    };
    // A port that the configuration does not have was refused when it was read; 0 never answers.
    let each = |name: &str, probe: &dyn Fn(u16) -> Probe| {
        let row: Vec<Probe> = replicas(name, ports).map(probe).collect();
        match row.as_slice() {
            [] => probe(0),
            [only] => only.clone(),
            _ => Probe::All(row),
        }
    };
    let probe = match &spec.probe {
        ProbeSpec::State => Probe::State,
        ProbeSpec::Tcp { port: name } => each(name, &|port| Probe::Tcp { port }),
        ProbeSpec::Http { port: name, path, host, status, json, headers } => each(name, &|port| Probe::Http {
            port,
            path: path.clone(),
            host: host.clone(),
            status: status.clone(),
            json: json.clone(),
            headers: headers.clone(),
        }),
        ProbeSpec::Grpc { port: name, service } => each(name, &|port| Probe::Grpc { port, service: service.clone() }),
        ProbeSpec::Celery { service, app, name } => Probe::Celery {
            project: project.map(|project| project.name.clone()).unwrap_or_default(),
            service: service.clone(),
            app: app.clone(),
            name: name.clone(),
        },
        ProbeSpec::Command { service, argv } => Probe::Command {
            target: match project {
                Some(project) if !service.is_empty() => {
                    CommandTarget::Service { project: project.name.clone(), service: service.clone() }
                }
                _ => CommandTarget::Host,
            },
            argv: argv.clone(),
        },
    };
    Some(HealthCheck {
        probe,
        interval_ms: spec.interval.0,
        timeout_ms: spec.timeout.0,
        retries: spec.retries,
        start_period_ms: spec.start_period.0,
        passes: spec.passes,
        min_healthy_ms: spec.min_healthy_time.0,
        units,
        projects,
    })
}

/// Returns the rules about what a component counts itself at this place.
pub(super) fn metrics(watch: &WatchSpec, ports: &BTreeMap<String, u16>) -> Option<MetricRules> {
    let spec = watch.metrics.as_ref().filter(|_| watch.window.0 > 0)?;
    Some(MetricRules {
        ports: replicas(&spec.port, ports).collect(),
        path: spec.path.clone(),
        at_least: spec.at_least,
        ignore: spec.ignore.clone(),
        errors: spec.errors.clone(),
        latency: spec.latency.clone(),
    })
}

/// Returns the port of each replica.
fn replicas<'a>(name: &'a str, ports: &'a BTreeMap<String, u16>) -> impl Iterator<Item = u16> + 'a {
    (1..).map_while(move |number| ports.get(&replica_port(name, number)).copied())
}

/// Returns the question through nginx that this release in this slot answers.
pub(super) fn prove(spec: &ProveSpec, release: &str, slot: Option<Slot>) -> Prove {
    let expect = match (spec.expect, slot) {
        (ProveExpect::Slot, Some(slot)) => slot.as_str().to_owned(),
        (ProveExpect::Release, _) | (ProveExpect::Slot, None) => release.to_owned(),
    };
    Prove {
        port: spec.port,
        path: spec.path.clone(),
        host: spec.host.clone(),
        header: spec.header.clone(),
        json: spec.json.clone(),
        expect,
        passes: PROVE_PASSES,
    }
}
