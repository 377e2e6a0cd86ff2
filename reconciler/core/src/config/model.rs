//! The validated model: what the user wrote, with defaults filled in and every name resolved.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Digest, ErrorRule, LatencyRule, Prerequisites, Smoke, SqlFile};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backups::Recurrence;
use super::certificates::Certificate;
use crate::diag::Origin;
use crate::id::{AppName, ComponentName, EnvironmentName, HostName};
use crate::time::Millis;
use crate::window::Window;

/// A value with the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub origin: Origin,
}

/// Variables by name, each with its place. A nested map counts as one variable whose inner places are in [`Variable::inner`].
pub type Variables = BTreeMap<String, Variable>;

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its value.
    pub value: Value,
    /// Its place.
    pub origin: Origin,
    /// Places of values inside a map or list, by dotted path below this variable (`a.b`, `list.0`).
    pub inner: BTreeMap<String, Origin>,
}

/// One commit, validated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// All hosts of the inventory.
    pub hosts: BTreeMap<HostName, HostSpec>,
    /// All environments.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Template text by path from the root (`templates/compose/web.yaml.j2`).
    pub templates: BTreeMap<String, String>,
    /// `variables` of `holdfast.yaml`, the weakest.
    pub variables: Variables,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// The management box itself: the host program runs as a child process.
    Local,
    /// A name or IP address for `ssh`.
    Remote(String),
}

/// One host of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Its name.
    pub name: HostName,
    /// How it is reached.
    pub address: Address,
    /// Login; `root`, or a user with `sudo -n` for one exact path.
    pub user: String,
    /// SSH port.
    pub port: u16,
    /// Pinned host key as in `known_hosts`: `ssh-ed25519 AAAA…`. Required for a remote address.
    pub host_key: Option<String>,
    /// Labels for host selection.
    pub labels: BTreeMap<String, String>,
    /// Variables of this host.
    pub variables: Variables,
    /// Where it is declared.
    pub origin: Origin,
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Its name: its folder's.
    pub name: EnvironmentName,
    /// What it is for.
    pub purpose: Purpose,
    /// Its hosts, in inventory order.
    pub hosts: Vec<HostName>,
    /// When and how it is synced.
    pub sync: SyncPolicy,
    /// How a change rolls over its hosts.
    pub rollout: RolloutPolicy,
    /// The oldest versions its hosts may have.
    pub requires: Requirements,
    /// Its variables.
    pub variables: Variables,
    /// Its apps.
    pub apps: BTreeMap<AppName, App>,
    /// Certificates of its sites, by name.
    pub certificates: BTreeMap<String, Certificate>,
    /// Its secrets: leaf values of `secrets.sops.yaml` and of `generated/` by dotted name, still encrypted.
    pub secrets: BTreeMap<String, SealedValue>,
    /// Where it is declared.
    pub origin: Origin,
}

/// The oldest versions that hosts may have, number by number.
pub type Requirements = BTreeMap<Requirement, Vec<u64>>;

/// A part of a host that an environment can want of an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// The Docker engine.
    Docker,
    /// The compose plugin.
    Compose,
    /// nginx.
    Nginx,
    /// systemd.
    Systemd,
    /// PostgreSQL's client programs.
    PostgresqlClient,
    /// The kernel.
    Kernel,
    /// Debian itself.
    Debian,
}

/// A check that has to be green for a commit before it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateCheck {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub source: GateSource,
}

/// What says whether a commit is good. `{commit}` and `{environment}` may stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateSource {
    /// A file that CI writes.
    File {
        /// Its absolute path.
        path: String,
    },
    /// A command on the management box.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// For one run.
        timeout: Millis,
    },
}

/// What an environment is for. What is fit for development alone is refused elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// People use it: what nobody said anything about is that.
    #[default]
    Production,
    /// It is as production, for those who look before.
    Staging,
    /// Whoever works on it may break it.
    Development,
}

impl Purpose {
    /// Returns the word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
        }
    }
}

/// One encrypted value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedValue {
    /// What may be shown of it.
    pub secret: crate::secret::SecretRef,
    /// How it was made; `None` for what somebody supplied.
    pub generator: Option<crate::secret::Generator>,
    /// Whether another value needs a consent of its own.
    pub protected: bool,
    /// Where it is.
    pub origin: Origin,
}

/// When an environment is synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPolicy {
    /// Who starts a sync.
    pub mode: SyncMode,
    /// What is done about drift.
    pub drift: DriftPolicy,
    /// Paths and keys that drift and diff leave alone, as glob patterns on resource keys.
    pub ignore: Vec<String>,
    /// Share of an environment's managed resources, in percent, that one sync may prune without `--allow-prune`.
    pub prune_limit_percent: u8,
    /// When its apps may change; at any time when there is none.
    pub windows: Vec<Window>,
}

/// Who starts a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// A person, with `holdfast apply`.
    Manual,
    /// The daemon, on every new commit.
    Automatic,
}

/// What is done about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// It is not looked for.
    Off,
    /// It is reported.
    Report,
    /// It is put right.
    Heal,
}

/// How a change rolls over hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// Hosts that go first, alone. Zero for none.
    pub canary: u32,
    /// Hosts of each later wave; at least 1.
    pub max_unavailable: u32,
    /// Any failure puts every host back.
    pub all_or_nothing: bool,
    /// After the canary wave, wait for `holdfast promote`.
    pub pause_after_canary: bool,
    /// Milliseconds a host waits at *ready* before it abandons.
    pub ready_deadline: Millis,
    /// How long a host waits to be reached anew after a change that can cut the manager off, before it undoes it.
    pub confirm_within: Millis,
}

/// One app in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Its release.
    pub release: Located<String>,
    /// The hosts it is on, resolved from labels or names, in inventory order.
    pub hosts: Vec<HostName>,
    /// How many former releases stay on the hosts.
    pub keep_releases: u32,
    /// Archives that hold images of it.
    pub archives: Vec<ArchiveSpec>,
    /// Its components in file order, which is the order they are brought up in.
    pub components: Vec<Component>,
    /// Its variables.
    pub variables: Variables,
    /// Where it is declared.
    pub origin: Origin,
}

/// An archive of images on the management box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveSpec {
    /// Path below the manager's folder of archives.
    pub file: String,
    /// Of the whole file.
    pub sha256: Digest,
    /// Where it is declared.
    pub origin: Origin,
}

/// How a component is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Idle slot up, healthy, switch, drain.
    BlueGreen,
    /// In place, host after host.
    Rolling,
    /// Start the new slot, then stop the old one warm. No traffic is switched.
    Workers,
    /// Stop the old one, then start the new one: never two at once.
    Singleton,
    /// In place; volumes are never touched; brought up before the other components.
    Stateful,
    /// In place.
    InPlace,
}

impl Strategy {
    /// Returns whether the component has a blue and a green slot.
    pub fn has_slots(self) -> bool {
        matches!(self, Self::BlueGreen | Self::Workers)
    }

    /// Returns the word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue_green",
            Self::Rolling => "rolling",
            Self::Workers => "workers",
            Self::Singleton => "singleton",
            Self::Stateful => "stateful",
            Self::InPlace => "in_place",
        }
    }
}

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
    pub postgres: Option<super::databases::PostgresSpec>,
    /// What its Redis is to have set.
    pub redis: Option<super::redis::RedisPlan>,
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
    Static(super::statics::StaticSource),
    /// Plain files, or what has to be on a host, only.
    Files,
}

/// What other machines may reach on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallSpec {
    /// What is allowed; all else is closed.
    pub allow: Vec<FirewallRule>,
    /// Interfaces of the host's own containers; `*` at the end stands for anything.
    pub inside: Vec<String>,
}

/// Ports that are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallRule {
    /// The ports.
    pub ports: Vec<FirewallPorts>,
    /// Networks as `address/bits`; `None` for everybody.
    pub from: Option<BTreeSet<String>>,
}

/// Ports of one protocol, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FirewallPorts {
    /// UDP in place of TCP.
    pub udp: bool,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
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

/// A migration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrateSpec {
    /// Program and arguments; empty where SQL files are applied.
    pub command: Vec<String>,
    /// SQL files in place of a program.
    #[serde(default)]
    pub sql: Option<SqlSpec>,
    /// Compose service whose image runs it; empty: the first service of the project.
    pub service: String,
    /// Prints the schema's revision; empty: nothing does.
    pub revision: Vec<String>,
    /// Goes back to `{revision}`; empty: nothing does.
    pub downgrade: Vec<String>,
    /// Whether the old release works with the new schema.
    pub reversible: bool,
    /// Whether the old release is stopped before.
    pub breaking: bool,
    /// The class of backups that must succeed before; empty: none.
    pub backup: String,
    /// The environment that must have migrated before.
    pub after: Option<Located<String>>,
    /// Whether it may run again after an unknown outcome.
    pub idempotent: bool,
    /// How long it may take.
    pub timeout: Millis,
}

/// SQL files and the database they are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlSpec {
    /// The component with the database.
    pub component: ComponentName,
    /// Its compose service.
    pub service: String,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// All files, in their order.
    pub files: Vec<SqlFile>,
    /// Of these, the ones that nothing in the folder undoes.
    pub one_way: Vec<String>,
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

/// One more file of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// Absolute destination; `{{ slot }}` may stand in it for components with slots.
    pub path: Located<String>,
    /// Template path below `templates/`.
    pub template: Located<String>,
    /// How values are quoted.
    pub format: FileFormat,
    /// Permission bits. A file with a secret is 0600 unless this is stricter.
    pub mode: u32,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
    /// What the component's units do when it changes.
    pub on_change: OnChange,
}

/// What units do when a file changes that they read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// They start anew.
    #[default]
    Restart,
    /// They read it again.
    Reload,
}

/// A destination's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Bytes as they are.
    Plain,
    /// A compose `env_file`.
    ComposeEnv,
    /// A systemd `EnvironmentFile`.
    SystemdEnv,
    /// An nginx configuration.
    Nginx,
    /// A systemd unit.
    Systemd,
    /// A compose file.
    Compose,
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

/// One class of backups of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPlan {
    /// The user's name for it, unique in the app.
    pub class: String,
    /// What is saved.
    pub from: BackupFrom,
    /// When.
    pub when: Recurrence,
    /// How long one is kept.
    pub keep: Millis,
    /// How many are kept whatever their age.
    pub at_least: u32,
    /// A smaller file is no backup, in bytes.
    pub floor: u64,
    /// How old the newest may get.
    pub rpo: Option<Millis>,
    /// How long one may take.
    pub timeout: Millis,
    /// When a restore is tried.
    pub drill: Option<Recurrence>,
    /// A command that runs first: its compose service, empty for the host, and its words.
    pub before: Option<(String, Vec<String>)>,
    /// Components that are stopped while a restored one takes its place; `None` for those that are connected to it.
    pub writers: Option<Vec<ComponentName>>,
    /// Where copies go.
    pub offsite: Option<OffsitePlan>,
    /// Where it is declared.
    pub origin: Origin,
}

/// Where copies of a class of backups go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsitePlan {
    /// The host that keeps them.
    pub host: HostName,
    /// How long one is kept there.
    pub keep: Millis,
    /// How many are kept there whatever their age.
    pub at_least: u32,
    /// How old the backup in the newest copy may get.
    pub rpo: Millis,
    /// The age recipients that can read them; sorted, empty when they are not encrypted.
    pub encrypt_to: Vec<String>,
}

/// What a backup saves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupFrom {
    /// A database in a compose service.
    Postgres {
        /// The service; empty for the host's own server.
        service: String,
        /// The database.
        database: String,
        /// The role.
        user: String,
    },
    /// A Redis in a compose service.
    Redis {
        /// The service.
        service: String,
        /// The file with its password, as written.
        password_file: Option<String>,
    },
    /// Volumes of the compose project, sorted.
    Volumes {
        /// Their names in the compose file.
        volumes: Vec<String>,
        /// Whether containers that use them stand still meanwhile.
        pause: bool,
    },
    /// Folders of the host, sorted.
    Files {
        /// Their absolute paths.
        paths: Vec<String>,
    },
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Weekday {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];

    /// Returns the word used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monday => "monday",
            Self::Tuesday => "tuesday",
            Self::Wednesday => "wednesday",
            Self::Thursday => "thursday",
            Self::Friday => "friday",
            Self::Saturday => "saturday",
            Self::Sunday => "sunday",
        }
    }
}
