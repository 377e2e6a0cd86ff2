//! Health checks, proofs, smoke tests, drains and watch windows with their defaults.

use std::collections::BTreeMap;

use holdfast_protocol::{ErrorRule, LatencyRule, Smoke};

use super::decode::Named;
use super::findings::Findings;
use super::model::{
    DrainSpec, HealthSpec, MetricsSpec, ProbeSpec, ProveExpect, ProveSpec, WatchMetricsSpec, WatchSpec,
};
use super::place::At;
use super::raw::{self, Identifier, Scalar, WebsocketDrain};
use super::suggest;
use crate::time::Millis;

/// The longest name of a gRPC service that is asked for: its length is one byte of each of two lengths.
const MAX_GRPC_SERVICE: usize = 120;

/// The names of a component's ports.
pub(super) struct PortNames<'a> {
    names: Vec<&'a str>,
    /// Whether the map of ports is wrong, so that nothing can be said of names.
    wrong: bool,
}

impl<'a> PortNames<'a> {
    /// Returns them, also those whose numbers are wrong.
    pub(super) fn of(component: &'a raw::Component) -> Self {
        let names = component.ports.iter().flat_map(|ports| &ports.entries).map(|port| port.name.value.0.as_str());
        Self { names: names.collect(), wrong: component.wrong.any(&["ports"]) }
    }

    /// Returns the port that is meant: the named one, or the only one.
    fn pick<T>(&self, named: Option<&At<Identifier>>, check: &At<T>, findings: &mut Findings<'_>) -> Option<String> {
        if self.wrong {
            return None;
        }
        match (named, self.names.as_slice()) {
            (Some(name), known) if !known.contains(&name.value.0.as_str()) => {
                let hint = suggest::hint(&name.value.0, "ports", known.iter().copied());
                findings.error_at("unknown-port", name, format!("the component has no port `{}`", name.value.0), hint);
                None
            }
            (Some(name), _) => Some(name.value.0.clone()),
            (None, [only]) => Some((*only).to_owned()),
            (None, []) => {
                let hint = "give it one in `ports`, or check by `command` or `state`";
                findings.error_at("unknown-port", check, "this check asks a port, and the component has none", hint);
                None
            }
            (None, many) => {
                let hint = format!("name it with `port`: {}", many.join(", "));
                findings.error_at("unknown-port", check, "the component has more than one port: which is asked?", hint);
                None
            }
        }
    }
}

/// Returns the health check. Its defaults find a dead component in seconds and forgive a slow start.
pub(super) fn health(
    check: &At<raw::Healthcheck>,
    ports: &PortNames<'_>,
    findings: &mut Findings<'_>,
) -> Option<HealthSpec> {
    let raw = &check.value;
    if raw.wrong.any(&["http", "tcp", "grpc", "command", "celery", "state"]) {
        return None;
    }
    let given = [
        ("http", raw.http.is_some()),
        ("tcp", raw.tcp.is_some()),
        ("grpc", raw.grpc.is_some()),
        ("command", raw.command.is_some()),
        ("celery", raw.celery.is_some()),
        ("state", raw.state.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
    if given.len() != 1 {
        let found = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
        let message = format!(
            "a healthcheck has one of `http`, `tcp`, `grpc`, `command`, `celery` and `state`, and this one has {found}"
        );
        let hint =
            "have one of them, such as `http: { path: /health }`, `tcp: { port: api }` or `command: [pg_isready]`";
        findings.error_at("bad-healthcheck", check, message, hint);
        return None;
    }
    let probe = if let Some(http) = &raw.http {
        if http.wrong.any(&["port"]) {
            return None;
        }
        ProbeSpec::Http {
            port: ports.pick(http.port.as_ref(), check, findings)?,
            path: http.path.0.clone(),
            host: http.host.as_ref().map(|host| host.0.clone()).unwrap_or_default(),
            status: http.status.as_ref().map(|status| status.0.clone()).unwrap_or_default(),
            json: fields(http.json.as_ref(), |field| field.0.clone())?,
            headers: fields(http.headers.as_ref(), |name| name.0.clone())?,
        }
    } else if let Some(tcp) = &raw.tcp {
        ProbeSpec::Tcp { port: ports.pick(tcp.port.as_ref(), check, findings)? }
    } else if let Some(grpc) = &raw.grpc {
        if grpc.wrong.any(&["port", "service"]) {
            return None;
        }
        let service = grpc.service.as_ref().map(|service| service.value.0.clone()).unwrap_or_default();
        if let Some(at) = grpc.service.as_ref().filter(|_| service.len() > MAX_GRPC_SERVICE) {
            let message = format!("the name of the service has {} characters", service.len());
            findings.error_at("bad-healthcheck", at, message, "it is `package.Service`, as in the .proto file");
            return None;
        }
        ProbeSpec::Grpc { port: ports.pick(grpc.port.as_ref(), check, findings)?, service }
    } else if let Some(command) = &raw.command {
        ProbeSpec::Command { service: command.service.clone(), argv: command.argv.clone() }
    } else if let Some(celery) = &raw.celery {
        ProbeSpec::Celery {
            service: celery.service.0.clone(),
            app: celery.app.0.clone(),
            name: celery.name.as_ref().map_or_else(|| "celery".to_owned(), |name| name.0.clone()),
        }
    } else {
        if let Some(state) = raw.state.as_ref().filter(|state| !state.value) {
            findings.error_at(
                "bad-healthcheck",
                state,
                "`state: false` checks nothing",
                "take it away, or write `true`",
            );
        }
        ProbeSpec::State
    };
    let interval = raw.interval.unwrap_or(Millis(2_000));
    if interval.0 < 100 {
        findings.error_at("bad-healthcheck", check, "the interval is under 100ms", "a check every 500ms is quick");
    }
    let timeout = raw.timeout.unwrap_or(Millis(5_000));
    if timeout.0 == 0 {
        findings.error_at("bad-healthcheck", check, "the timeout is nothing: no check can pass", "5s is usual");
    }
    Some(HealthSpec {
        probe,
        interval,
        timeout,
        retries: raw.retries.map_or(3, |retries| retries.0),
        start_period: raw.start_period.unwrap_or(Millis(30_000)),
        passes: raw.passes.map_or(2, |passes| passes.0),
        min_healthy_time: raw.min_healthy_time.unwrap_or(Millis(5_000)),
    })
}

/// Returns the proof.
pub(super) fn prove(prove: &At<raw::Prove>, findings: &mut Findings<'_>) -> Option<ProveSpec> {
    let raw = &prove.value;
    if raw.wrong.any(&["header", "json"]) {
        return None;
    }
    if raw.header.is_some() == raw.json.is_some() {
        let hint = "name the header or the JSON field in which the app says its release";
        findings.error_at("bad-prove", prove, "`prove` has either `header` or `json`", hint);
        return None;
    }
    Some(ProveSpec {
        port: raw.port.map_or(80, super::decode::Port::number),
        path: raw.path.as_ref().map_or_else(|| "/".to_owned(), |path| path.0.clone()),
        host: raw.host.as_ref().map(|host| host.0.clone()).unwrap_or_default(),
        header: raw.header.as_ref().map(|header| header.0.clone()).unwrap_or_default(),
        json: raw.json.as_ref().map(|json| json.0.clone()).unwrap_or_default(),
        expect: raw.expect.unwrap_or(ProveExpect::Release),
    })
}

/// Returns the smoke tests. What they do not say of nginx is that of the proof.
pub(super) fn smoke(raw: &[raw::Smoke], prove: Option<&ProveSpec>) -> Vec<Smoke> {
    let spec = |raw: &raw::Smoke| Smoke {
        port: raw.port.map_or_else(|| prove.map_or(80, |prove| prove.port), super::decode::Port::number),
        path: raw.path.0.clone(),
        host: raw
            .host
            .as_ref()
            .map_or_else(|| prove.map(|prove| prove.host.clone()).unwrap_or_default(), |host| host.0.clone()),
        status: raw.status.as_ref().map(|status| status.0.clone()).unwrap_or_default(),
        json: fields(raw.json.as_ref(), |field| field.0.clone()).unwrap_or_default(),
        contains: raw.contains.as_ref().map(|text| text.0.clone()).unwrap_or_default(),
    };
    raw.iter().map(spec).collect()
}

/// Returns the fields of an answer and what each must be; `None` when one of them is wrong.
fn fields<K>(named: Option<&Named<K, Scalar>>, name: fn(&K) -> String) -> Option<BTreeMap<String, String>> {
    let entries = named.iter().flat_map(|named| &named.entries);
    entries.map(|entry| Some((name(&entry.name.value), entry.value.as_ref()?.0.clone()))).collect()
}

/// Returns the drain. A host sees connections, not what runs over them: websockets that are waited for until they close make it
/// wait for all connections, `max` at the most. Requests that end sooner are not held up by that.
pub(super) fn drain(drain: Option<&At<raw::Drain>>, findings: &mut Findings<'_>) -> DrainSpec {
    let defaults = DrainSpec { timeout: Millis(30_000), stop_grace: None };
    let Some(at) = drain else { return defaults };
    let raw = &at.value;
    let timeout = raw.timeout.unwrap_or(defaults.timeout);
    let until_closed = raw.websockets.as_ref().is_some_and(|way| way.value == WebsocketDrain::UntilClosed);
    let max = raw.max.as_ref().map_or(Millis(3_600_000), |max| max.value);
    if let Some(max_at) = &raw.max {
        if raw.wrong.any(&["timeout", "websockets"]) {
            // Already reported; the two belong together.
        } else if !until_closed {
            findings.warning(
                "no-effect",
                &max_at.file,
                max_at.place,
                "`max` has no effect without `websockets: until_closed`",
                "take it away",
            );
        } else if max < timeout {
            findings.error_at(
                "bad-drain",
                max_at,
                format!("`max` is shorter than the timeout of {timeout}"),
                "make it longer",
            );
        }
    }
    DrainSpec { timeout: if until_closed { max } else { timeout }, stop_grace: raw.stop_grace }
}

/// Returns the watch window. Of a check that is wrong, and so unknown, nothing is said.
pub(super) fn watch(
    raw: &raw::Watch,
    check: Option<&HealthSpec>,
    unknown: bool,
    jobs: &Jobs<'_>,
    findings: &mut Findings<'_>,
) -> WatchSpec {
    if let Some(at) = &raw.max_p95
        && !unknown
        && check.is_none_or(|check| check.probe == ProbeSpec::State)
    {
        let message = "`max_p95` has no effect without a `healthcheck` that asks something";
        findings.warning("no-effect", &at.file, at.place, message, "give the component one, such as `http`");
    }
    WatchSpec {
        window: raw.window,
        max_error_permille: raw.max_error_ratio.map_or(10, |ratio| ratio.permille),
        max_p95: raw.max_p95.as_ref().map(|at| at.value),
        metrics: raw.metrics.as_ref().and_then(|at| rules(at, jobs, findings)),
    }
}

/// The jobs of a component's `metrics`.
pub(super) struct Jobs<'a> {
    pub(super) known: &'a BTreeMap<String, MetricsSpec>,
    /// Whether something of them, or of the ports, is wrong, so that nothing can be said of names.
    pub(super) wrong: bool,
}

impl Jobs<'_> {
    /// Returns the job that is meant: the named one, or the only one.
    fn pick(&self, at: &At<raw::WatchMetrics>, findings: &mut Findings<'_>) -> Option<&MetricsSpec> {
        if self.wrong || at.value.wrong.any(&["job"]) {
            return None;
        }
        let names = self.known.keys().map(String::as_str);
        if let Some(job) = &at.value.job {
            let found = self.known.get(&job.value.0);
            if found.is_none() {
                let hint = suggest::hint(&job.value.0, "jobs", names);
                let message = format!("the component's `metrics` have no job `{}`", job.value.0);
                findings.error_at("unknown-job", job, message, hint);
            }
            return found;
        }
        if let (Some(only), 1) = (self.known.values().next(), self.known.len()) {
            return Some(only);
        }
        let (message, hint) = if self.known.is_empty() {
            let hint = "say where it tells them, such as `metrics: { web: { port: http } }` of the component";
            ("the component has no `metrics` that could be watched", hint.to_owned())
        } else {
            let names: Vec<&str> = names.collect();
            (
                "the component's `metrics` have more than one job: which is watched?",
                format!("name it with `job`: {}", names.join(", ")),
            )
        };
        findings.error_at("unknown-job", at, message, hint);
        None
    }
}

/// Returns the rules about what a release counts itself.
fn rules(at: &At<raw::WatchMetrics>, jobs: &Jobs<'_>, findings: &mut Findings<'_>) -> Option<WatchMetricsSpec> {
    let raw = &at.value;
    let job = jobs.pick(at, findings);
    if raw.errors.is_none() && raw.latency.is_none() && !raw.wrong.any(&["errors", "latency"]) {
        let hint = "say what sends the release back, such as \
                    `errors: { counter: http_requests_total, failed: { status: \"5*\" }, max_ratio: 5% }`";
        findings.error_at("bad-watch", at, "`metrics` of a watch window have `errors`, `latency` or both", hint);
        return None;
    }
    let failed = raw.errors.as_ref().map(|errors| fields(Some(&errors.failed), |label| label.0.clone()));
    if failed.as_ref().is_some_and(|failed| failed.as_ref().is_some_and(BTreeMap::is_empty)) {
        let hint = "name the labels of requests that failed, such as `failed: { status: \"5*\" }`";
        findings.error_at("bad-watch", at, "`failed` names no label: every request would have failed", hint);
        return None;
    }
    let errors = match (&raw.errors, failed) {
        (Some(errors), Some(failed)) => Some(ErrorRule {
            counter: errors.counter.0.clone(),
            failed: failed?,
            max_permille: errors.max_ratio.permille,
        }),
        _ => None,
    };
    let latency = raw
        .latency
        .as_ref()
        .map(|latency| LatencyRule { histogram: latency.histogram.0.clone(), max_p95_ms: latency.max_p95.0 });
    let job = job?;
    Some(WatchMetricsSpec {
        port: job.port.clone(),
        path: job.path.clone(),
        at_least: raw.at_least.map_or(20, |count| count.0),
        ignore: fields(raw.ignore.as_ref(), |label| label.0.clone())?,
        errors,
        latency,
    })
}
