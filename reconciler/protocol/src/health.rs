use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a component proves that it is healthy.
///
/// # Guarantees
/// Passing means `passes` successes in a row, and no container or unit of the component restarting for `min_healthy_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Milliseconds between two probes.
    pub interval_ms: u64,
    /// Milliseconds one probe may take.
    pub timeout_ms: u64,
    /// Failures in a row, after the start period, that mean unhealthy.
    pub retries: u32,
    /// Milliseconds from the start in which failures do not count.
    pub start_period_ms: u64,
    /// Successes in a row that are needed.
    pub passes: u32,
    /// Milliseconds the component must stay healthy and unrestarted.
    pub min_healthy_ms: u64,
    /// Units whose restart count must not rise and that must be active.
    pub units: Vec<String>,
    /// Compose projects whose containers must run and whose restart counts must not rise.
    pub projects: Vec<String>,
}

/// One question to a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// Only the state of the units and containers counts; a container's own healthcheck too, where it has one.
    State,
    /// A TCP connection is accepted.
    Tcp {
        /// Loopback port.
        port: u16,
    },
    /// An HTTP/1.1 request to `127.0.0.1`.
    Http {
        /// Loopback port.
        port: u16,
        /// Path with query.
        path: String,
        /// `Host` header; empty for `127.0.0.1`.
        host: String,
        /// Accepted status codes; empty for any 2xx.
        status: Vec<u16>,
        /// Fields of a JSON answer, by dotted path, and the value each must have (compared as text).
        json: BTreeMap<String, String>,
        /// Headers of the answer by name, and the value each must have.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// A gRPC server on `127.0.0.1` says through `grpc.health.v1.Health/Check` that a service serves.
    Grpc {
        /// Loopback port, without TLS.
        port: u16,
        /// The service; empty for the server as a whole.
        service: String,
    },
    /// A command exits 0.
    Command {
        /// Where it runs.
        target: CommandTarget,
        /// Program and arguments; no shell.
        argv: Vec<String>,
    },
    /// Each of these passes, such as one for each replica.
    All(Vec<Self>),
    /// The Celery worker in every container of a service answers a ping that is meant for it alone: on one broker the old release's
    /// workers answer too.
    Celery {
        /// Compose project.
        project: String,
        /// Compose service.
        service: String,
        /// What `celery --app` is told.
        app: String,
        /// The worker's name before the `@`, without which it is `celery`.
        name: String,
    },
}

/// Where a probe or migration command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandTarget {
    /// On the host itself.
    Host,
    /// In a running container of a compose service.
    Service {
        /// Compose project.
        project: String,
        /// Compose service.
        service: String,
    },
}

/// A request through nginx that says which release answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// Loopback port nginx listens on.
    pub port: u16,
    /// Path.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// Response header that names the release or slot; empty when `json` is used.
    pub header: String,
    /// Dotted path of the JSON field that names it; empty when `header` is used.
    pub json: String,
    /// What it must say.
    pub expect: String,
    /// Answers in a row that must say so.
    pub passes: u32,
}

/// A request through nginx, and what its answer must be, which decides whether a release stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smoke {
    /// Loopback port nginx listens on.
    pub port: u16,
    /// Path with query.
    pub path: String,
    /// `Host` header; empty for `127.0.0.1`.
    pub host: String,
    /// Accepted status codes; empty for any 2xx.
    pub status: Vec<u16>,
    /// Fields of a JSON answer, by dotted path, and the value each must have (compared as text).
    pub json: BTreeMap<String, String>,
    /// Text the answer's body must hold; empty for any.
    pub contains: String,
}

/// The watch window after a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Milliseconds it lasts.
    pub window_ms: u64,
    /// Checks that run throughout; one that turns unhealthy sends the host back.
    pub checks: Vec<HealthCheck>,
    /// Share of failed probes over the window, in thousandths, above which the host goes back.
    pub max_error_permille: u32,
    /// For each check, in their order: milliseconds within which 95 of 100 good answers must come. What is not there has no limit.
    #[serde(default)]
    pub max_p95_ms: Vec<Option<u64>>,
    /// What releases count themselves, and what of it sends the host back.
    #[serde(default)]
    pub metrics: Vec<MetricRules>,
}

/// What a release counts itself, in the text that Prometheus reads, and what of it sends the host back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRules {
    /// Loopback ports that are asked: one for each replica, counted together.
    pub ports: Vec<u16>,
    /// Path with query.
    pub path: String,
    /// Requests in the window under which nothing is judged.
    pub at_least: u32,
    /// Series with one of these labels do not count. A value may end with `*`.
    pub ignore: BTreeMap<String, String>,
    /// How many requests may fail.
    pub errors: Option<ErrorRule>,
    /// How long they may take.
    pub latency: Option<LatencyRule>,
}

/// How many of the requests that a release counts may have failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRule {
    /// The counter's name.
    pub counter: String,
    /// The labels of those that failed, all of them. A value may end with `*`.
    pub failed: BTreeMap<String, String>,
    /// The share of them, in thousandths, above which the host goes back.
    pub max_permille: u32,
}

/// How long the requests that a release times may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyRule {
    /// The histogram's name, in seconds.
    pub histogram: String,
    /// Milliseconds within which 95 of 100 must be done.
    pub max_p95_ms: u64,
}
