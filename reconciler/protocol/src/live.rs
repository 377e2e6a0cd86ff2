use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BackupLive, CertificateLive, DatabasesLive, Digest, Ledger, Outcome, Phase, PrerequisitesLive, StaticLive,
    TransactionId,
};

/// The result of looking at one thing. Unknown is not absent: a failed look never becomes a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed<T> {
    /// It is there.
    Seen(T),
    /// It is certainly not there.
    Absent,
    /// It could not be looked at; the text says why.
    Unknown(String),
}

impl<T> Observed<T> {
    /// Returns the value when it was seen.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// Everything a host said in one observation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveReport {
    /// By absolute path: every file asked for or in the ledger.
    pub files: BTreeMap<String, Observed<FileLive>>,
    /// By unit name: every unit asked for or in the ledger.
    pub units: BTreeMap<String, Observed<UnitLive>>,
    /// By project name: every project asked for or in the ledger. `Absent`: the engine answered and has no container of it.
    pub projects: BTreeMap<String, Observed<ProjectLive>>,
    /// By image reference as asked: the local image id (`sha256:…`).
    pub images: BTreeMap<String, Observed<String>>,
    /// nginx as it is now.
    pub nginx: Observed<NginxLive>,
    /// The live switches by listen address (`127.0.83.1:8101`).
    pub switches: Observed<BTreeMap<String, SwitchLive>>,
    /// By the path of the declaration, as asked: how backups stand. `Absent`: there is no such declaration.
    pub backups: BTreeMap<String, Observed<BackupLive>>,
    /// By the path of the declaration, as asked: how certificates stand.
    pub certificates: BTreeMap<String, Observed<CertificateLive>>,
    /// Groups, accounts, folders and packages, as asked.
    pub prerequisites: PrerequisitesLive,
    /// By the path of the declaration, as asked: how databases stand. `Absent`: there is no such declaration, or its server does not
    /// run.
    pub databases: BTreeMap<String, Observed<DatabasesLive>>,
    /// By the path of the link, as asked: how static files stand.
    pub statics: BTreeMap<String, Observed<StaticLive>>,
    /// TCP ports that are listened on.
    pub listening: Vec<ListeningPort>,
    /// Head-room.
    pub resources: Resources,
    /// What Holdfast wrote last; `Unknown` when the ledger cannot be read, and then nothing may be planned.
    pub ledger: Observed<Ledger>,
    /// Transactions that are not finished, and the last few that are.
    pub transactions: Vec<TransactionStatus>,
    /// The fence.
    pub fence: u64,
}

/// A file on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLive {
    /// Of the content. All zero for a thing that is no regular file.
    pub digest: Digest,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
    /// Owner's name, or number where it has none.
    pub owner: String,
    /// Group's name, or number where it has none.
    pub group: String,
    /// Owner's and group's numbers: an owner may be asked for by number, for the accounts of a container are not the host's.
    pub numbers: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// Whether it is a regular file. Anything else in our place (symlink, directory, device) is a blocker.
    pub regular: bool,
    /// The content, when it was asked for, differs from what was expected, and is not over the limit.
    pub content: Option<Vec<u8>>,
}

/// A systemd unit on a host, in systemd's own words (`org.freedesktop.systemd1.Unit`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLive {
    /// `LoadState`, such as `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `ActiveState`, such as `active`, `failed`.
    pub active: String,
    /// `SubState`, such as `running`, `auto-restart`.
    pub sub: String,
    /// `UnitFileState`, such as `enabled`, `disabled`, `static`; empty where systemd knows none.
    pub enabled: String,
    /// `NRestarts` of a service; 0 for other kinds.
    pub restarts: u32,
    /// Whether systemd's loaded copy is older than the file (`NeedDaemonReload`).
    pub needs_reload: bool,
    /// Drop-ins of this unit, or of its template, in the folders that administrators and `systemctl edit` write to; sorted. Those
    /// that packages bring are not among them.
    pub drop_ins: Vec<String>,
    /// The main process, 0 when there is none.
    pub main_pid: u32,
}

/// A compose project on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectLive {
    /// All its containers, one-off ones (`compose run`) left out.
    pub containers: Vec<ContainerLive>,
}

/// A container of a compose project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLive {
    /// `com.docker.compose.service`.
    pub service: String,
    /// Container name without the leading slash.
    pub name: String,
    /// Container id.
    pub id: String,
    /// The id of the image it runs.
    pub image: String,
    /// Our label `dev.holdfast.digest`: the digest of the service as rendered when it was created; empty when it is not ours, or
    /// when somebody else made it since: a copy of our file keeps our labels.
    pub digest: String,
    /// `com.docker.compose.config-hash`: compose's own digest of what it made the container from; empty without compose.
    pub config_hash: String,
    /// What `docker update` changed of it since we made it, for people, such as `memory: none → 67108864`; empty when nothing.
    pub updated: String,
    /// Docker's state word: `running`, `exited`, `restarting`, …
    pub state: String,
    /// Docker's health word: `healthy`, `unhealthy`, `starting`; empty without a healthcheck.
    pub health: String,
    /// Times Docker restarted it.
    pub restarts: u32,
    /// When it was started, as Docker writes it.
    pub started_at: String,
}

/// nginx on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NginxLive {
    /// Whether the service is active.
    pub active: bool,
    /// The error of `nginx -t` on the live tree, when it has one. Empty means the tree is valid.
    pub error: String,
}

/// A live switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchLive {
    /// The loopback port that receives new connections.
    pub to: u16,
}

/// A TCP port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListeningPort {
    /// Local address, such as `0.0.0.0`, `127.0.0.1`, `::`.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Name and id of the owning process where they can be told, such as `nginx (812)`.
    pub owner: String,
}

/// Head-room on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Free bytes for root on the file system of `/var/lib/holdfast`.
    pub disk_free: u64,
    /// Free inodes there; `u64::MAX` where the file system counts none.
    pub inodes_free: u64,
    /// `MemAvailable` in bytes.
    pub memory_available: u64,
    /// `MemTotal` in bytes.
    pub memory_total: u64,
    /// Processors; 0 where they cannot be counted.
    pub processors: u32,
}

/// A transaction that a host knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionStatus {
    /// Its name.
    pub id: TransactionId,
    /// The app it is for, `<environment>/<app>`.
    pub app: String,
    /// The release it brings.
    pub release: String,
    /// The fence it carries.
    pub fence: u64,
    /// Where it stands.
    pub phase: Phase,
    /// How it ended; `None` while it has not.
    pub outcome: Option<Outcome>,
    /// Whether its runner is alive. `false` without an outcome means it was cut down and can be resumed.
    pub running: bool,
    /// Whether a manager follows it now: it is not abandoned, and nobody else's to finish.
    pub followed: bool,
    /// Whether it is still to be confirmed over a new connection once it has promoted.
    pub confirms: bool,
    /// The name of the manager that follows it, or followed it last; empty when none did.
    pub manager: String,
    /// When its first step began, in milliseconds since the Unix epoch by the host's clock; 0 before.
    pub since_ms: u64,
    /// The commit it comes from.
    pub commit: String,
}
