//! A component: one thing of an app that runs on its hosts, or is put there.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Prerequisites, Smoke};
use serde::{Deserialize, Serialize};

use super::{
    BackupPlan, DrainSpec, FileSpec, FirewallSpec, HealthSpec, Located, MigrateSpec, ProveSpec, Strategy, Variables,
    WatchSpec,
};
use crate::config::{PostgresSpec, RedisPlan, StaticSource};
use crate::diag::Origin;
use crate::id::{ComponentName, HostName};
use crate::time::Millis;

/// One component of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// What it is made of.
    pub kind: ComponentKind,
    /// How it is changed.
    pub strategy: Strategy,
    /// The hosts it is on: a part of the app's hosts.
    pub hosts: Vec<HostName>,
    /// Loopback ports by name. With slots both are given; without, `blue` is the one port and `green` equals it. Of a range the first
    /// has the name, and the others [`replica_port`]'s.
    pub ports: BTreeMap<String, SlotPorts>,
    /// How many of it run side by side in a slot.
    pub replicas: u16,
    /// How it proves to be healthy. `None`: by the state of its units and containers.
    pub healthcheck: Option<HealthSpec>,
    /// Its migration.
    pub migrate: Option<MigrateSpec>,
    /// Its watch window after the switch.
    pub watch: Option<WatchSpec>,
    /// How its old slot drains.
    pub drain: DrainSpec,
    /// How nginx is asked which release answers.
    pub prove: Option<ProveSpec>,
    /// Requests that decide whether the release stays.
    pub smoke: Vec<Smoke>,
    /// How long the old slot stays startable.
    pub keep_previous: Millis,
    /// Other files it needs, by absolute destination path.
    pub files: Vec<FileSpec>,
    /// A program that looks at its new files before anything starts with them.
    pub check: Option<CheckSpec>,
    /// What it tells Prometheus, by the name of the job.
    pub metrics: BTreeMap<String, MetricsSpec>,
    /// What has to be on its hosts before it.
    pub prerequisites: Prerequisites,
    /// Packages of the distribution that have to be on its hosts.
    pub packages: BTreeSet<String>,
    /// Its backups.
    pub backups: Vec<BackupPlan>,
    /// What its PostgreSQL server is to hold.
    pub postgres: Option<PostgresSpec>,
    /// What its Redis is to have set.
    pub redis: Option<RedisPlan>,
    /// Connections that its database takes.
    pub max_connections: Option<u32>,
    /// Connections that each of its replicas may open.
    pub connections: Option<ConnectionSpec>,
    /// The certificate of its site: a name in the environment's `certificates`.
    pub certificate: Option<String>,
    /// nginx upstream names and what they go to.
    pub upstreams: BTreeMap<String, UpstreamSpec>,
    /// The site that leads to the slot that does not serve.
    pub preview: Option<PreviewSpec>,
    /// Its variables, stronger than the app's; only the host's are stronger.
    pub variables: Variables,
    /// Where it is declared.
    pub origin: Origin,
}

/// A program that looks at new files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Compose service whose image and volumes it has; empty: the host.
    pub service: String,
    /// How long it may take.
    pub timeout: Millis,
    /// Where it is declared.
    pub origin: Origin,
}

/// Where a component answers Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsSpec {
    /// Its port, by name.
    pub port: String,
    /// The path.
    pub path: String,
    /// Where it is declared.
    pub origin: Origin,
}

/// What a component is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    /// A compose project from one template.
    Compose {
        /// Template path below `templates/`.
        template: Located<String>,
    },
    /// systemd units, each from one template. With slots the unit is a template unit: `nps-api@.service`.
    Systemd {
        /// Template paths below `templates/`; the file name without `.j2` is the unit's name.
        templates: Vec<Located<String>>,
        /// Whether the units are enabled at boot.
        enabled: bool,
    },
    /// An nginx site from one template, with generated upstreams above it.
    Nginx {
        /// Template path below `templates/`.
        template: Located<String>,
    },
    /// The firewall of its hosts.
    Firewall(FirewallSpec),
    /// A built frontend.
    Static(StaticSource),
    /// Plain files, or what has to be on a host, only.
    Files,
}

/// The port of each slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPorts {
    /// Blue's.
    pub blue: u16,
    /// Green's.
    pub green: u16,
}

/// Returns the name of a replica's port, counted from 1: `api`, `api[2]`, `api[3]`. No port can be declared with such a name.
pub fn replica_port(name: &str, number: u16) -> String {
    if number < 2 { name.to_owned() } else { format!("{name}[{number}]") }
}

/// A site that leads to the slot that does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewSpec {
    /// The site's name.
    pub host: String,
    /// nginx's port.
    pub port: u16,
    /// Addresses and networks that may see it.
    pub allow: Vec<String>,
    /// The upstream whose other slot it shows.
    pub upstream: String,
}

/// The connections to a database that one replica may open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSpec {
    /// The component with the database.
    pub to: ComponentName,
    /// Processes that have a pool each.
    pub workers: u32,
    /// The most that one pool opens.
    pub pool: u32,
    /// Where it is written.
    pub origin: Origin,
}

/// Where an nginx upstream goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamSpec {
    /// The component.
    pub component: ComponentName,
    /// The name of its port.
    pub port: String,
    /// Where it is written.
    pub origin: Origin,
}
