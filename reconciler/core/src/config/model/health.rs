//! How it is found out whether a component is well, before, while and after it takes traffic.

use std::collections::BTreeMap;

use holdfast_protocol::{ErrorRule, LatencyRule};
use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// How a component proves to be healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// What is asked.
    pub probe: ProbeSpec,
    /// Between two probes.
    pub interval: Millis,
    /// For one probe.
    pub timeout: Millis,
    /// Failures in a row that mean unhealthy.
    pub retries: u32,
    /// From the start, failures do not count.
    pub start_period: Millis,
    /// Successes in a row that are needed.
    pub passes: u32,
    /// It must stay healthy this long.
    pub min_healthy_time: Millis,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeSpec {
    /// HTTP to a loopback port.
    Http {
        /// Name in `ports`.
        port: String,
        /// Path.
        path: String,
        /// `Host` header; empty for the default.
        host: String,
        /// Accepted codes; empty for 2xx.
        status: Vec<u16>,
        /// Dotted field to text it must have.
        json: BTreeMap<String, String>,
        /// Header of the answer to text it must have.
        headers: BTreeMap<String, String>,
    },
    /// A TCP connection to a loopback port.
    Tcp {
        /// Name in `ports`.
        port: String,
    },
    /// gRPC's own health service on a loopback port.
    Grpc {
        /// Name in `ports`.
        port: String,
        /// The service; empty for the server as a whole.
        service: String,
    },
    /// A command in a compose service, or on the host when `service` is empty.
    Command {
        /// Compose service.
        service: String,
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// A ping that the Celery worker in each container of a service answers.
    Celery {
        /// Compose service.
        service: String,
        /// What `celery --app` is told.
        app: String,
        /// The worker's name before the `@`.
        name: String,
    },
    /// The state of containers and units only.
    State,
}

/// A watch window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchSpec {
    /// How long.
    pub window: Millis,
    /// Share of failed probes, in thousandths, above which the release goes back.
    pub max_error_permille: u32,
    /// The time within which 95 of 100 good answers must come.
    pub max_p95: Option<Millis>,
    /// What the release counts itself, and what of it sends it back.
    #[serde(default)]
    pub metrics: Option<WatchMetricsSpec>,
}

/// What a release counts itself while it is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchMetricsSpec {
    /// Its port, by name.
    pub port: String,
    /// The path.
    pub path: String,
    /// Requests under which nothing is judged.
    pub at_least: u32,
    /// Labels whose series do not count.
    pub ignore: BTreeMap<String, String>,
    /// How many may fail.
    pub errors: Option<ErrorRule>,
    /// How long they may take.
    pub latency: Option<LatencyRule>,
}

/// How an old slot drains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainSpec {
    /// How long open connections are waited for.
    pub timeout: Millis,
    /// Between SIGTERM and SIGKILL of containers; `None` leaves each its own.
    pub stop_grace: Option<Millis>,
}

/// How nginx is asked which release answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveSpec {
    /// nginx's port on loopback.
    pub port: u16,
    /// Path.
    pub path: String,
    /// `Host` header.
    pub host: String,
    /// Header that names the release, or empty.
    pub header: String,
    /// Dotted JSON field that names the release, or empty.
    pub json: String,
    /// What it must equal.
    pub expect: ProveExpect,
}

/// What a proof must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProveExpect {
    /// The app's release.
    Release,
    /// The slot's word.
    Slot,
}
