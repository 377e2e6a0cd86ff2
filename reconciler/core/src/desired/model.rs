use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{BackupSpec, CertificateSpec, DatabasesQuery, Digest, Prerequisites, Slot, Smoke};
use serde::{Deserialize, Serialize};

use crate::config::{
    CheckSpec, DrainSpec, HealthSpec, HostSpec, MigrateSpec, ProveSpec, Recurrence, Requirements, RolloutPolicy,
    SlotPorts, Strategy, SyncPolicy, WatchSpec,
};
use crate::diag::Origin;
use crate::id::{AppName, CommitId, ComponentName, EnvironmentName, HostName};
use crate::render::Content;
use crate::time::Millis;

use super::archive::DesiredArchive;
use super::statics::DesiredStatic;

/// The loopback address every switch listens on. Any address of `127.0.0.0/8` is local without being configured; this one is
/// used by nothing else, so that `127.0.0.1` keeps showing each slot under its own port.
pub const SWITCH_ADDRESS: &str = "127.0.83.1";

/// What every host of one environment should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredState {
    /// The environment.
    pub environment: EnvironmentName,
    /// The commit it is read from.
    pub commit: CommitId,
    /// How a change rolls over hosts.
    pub rollout: RolloutPolicy,
    /// When it is synced, and what is ignored.
    pub sync: SyncPolicy,
    /// The oldest versions its hosts may have.
    #[serde(default)]
    pub requires: Requirements,
    /// The order in which hosts are taken.
    pub order: Vec<HostName>,
    /// By host: also hosts without any app, since something may have to be pruned there.
    pub hosts: BTreeMap<HostName, DesiredHost>,
}

impl DesiredState {
    /// Returns the environments that must have done this one's migrations before.
    pub fn migrates_after(&self) -> BTreeSet<EnvironmentName> {
        let components = self.hosts.values().flat_map(|host| host.apps.values()).flat_map(|app| &app.components);
        let after = components.filter_map(|component| component.migrate.as_ref()?.spec.after.as_ref());
        after.filter_map(|after| after.value.parse().ok()).collect()
    }
}

/// What one host should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredHost {
    /// How it is reached.
    pub host: HostSpec,
    /// Its apps.
    pub apps: BTreeMap<AppName, DesiredApp>,
}

/// What one app should be on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredApp {
    /// Its name.
    pub name: AppName,
    /// Its release, for people and proofs.
    pub release: String,
    /// Where the release is written.
    pub release_origin: Origin,
    /// How many former releases stay on the host for a rollback.
    pub keep_releases: u32,
    /// Archives that hold images of it, as the management box has them.
    #[serde(default)]
    pub archives: Vec<DesiredArchive>,
    /// Its components in the order they are brought up: stateful first, nginx last, else as written.
    pub components: Vec<DesiredComponent>,
}

/// What one component should be on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredComponent {
    /// Its name.
    pub name: ComponentName,
    /// How it is changed.
    pub strategy: Strategy,
    /// What it is made of.
    pub body: Body,
    /// Ports by name, those that are listened on: of a range as many as there are replicas.
    pub ports: BTreeMap<String, SlotPorts>,
    /// Switches to its ports, by listen address. Only for blue-green components that an nginx upstream names.
    pub switches: BTreeMap<String, DesiredSwitch>,
    /// How it proves to be healthy.
    pub healthcheck: Option<HealthSpec>,
    /// Its migration.
    pub migrate: Option<DesiredMigration>,
    /// What looks at its new files before anything starts with them.
    #[serde(default)]
    pub check: Option<DesiredCheck>,
    /// Its watch window.
    pub watch: Option<WatchSpec>,
    /// How its old slot drains.
    pub drain: DrainSpec,
    /// How nginx is asked which release answers.
    pub prove: Option<ProveSpec>,
    /// Requests that decide whether the release stays.
    #[serde(default)]
    pub smoke: Vec<Smoke>,
    /// How long the old slot stays startable.
    pub keep_previous: Millis,
    /// Backups by the path of their declaration on the host. Only of the component that another one's backups become.
    pub backups: BTreeMap<String, DesiredBackup>,
    /// The certificate by the path of its declaration on the host. Only of the component that another one's certificate becomes.
    #[serde(default)]
    pub certificates: BTreeMap<String, CertificateSpec>,
    /// The built frontend it serves.
    #[serde(default)]
    pub statics: Option<DesiredStatic>,
    /// What its declaration of databases is about.
    #[serde(default)]
    pub databases: Option<DatabasesQuery>,
    /// What has to be on the host before it.
    #[serde(default)]
    pub prerequisites: Prerequisites,
    /// Packages of the distribution that have to be there.
    #[serde(default)]
    pub packages: BTreeSet<String>,
    /// Where it is declared.
    pub origin: Origin,
}

/// One class of backups on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredBackup {
    /// What the host program is told.
    pub spec: BackupSpec,
    /// When it is due.
    pub when: Recurrence,
    /// How the host that gets copies is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsite: Option<HostSpec>,
}

/// A look at a component's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredCheck {
    /// `<environment>/<app>/<component>/check-<first 16 digits of the digest of command, images and content>`. Same id: same verdict.
    pub id: String,
    /// The command and its limits.
    pub spec: CheckSpec,
}

/// A migration and the one host that runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredMigration {
    /// `<environment>/<app>/<component>/<first 16 digits of the digest of release, command and image>`. Same id: same migration.
    pub id: String,
    /// The command and its limits.
    pub spec: MigrateSpec,
    /// The project of the database that SQL files are for; empty without them.
    #[serde(default)]
    pub project: String,
    /// The same migration in the environment that must have done it before; `None` where nobody must.
    #[serde(default)]
    pub after: Option<String>,
    /// Whether this is the host that runs it: the first of the order that has the component.
    pub here: bool,
}

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredSwitch {
    /// Name in `ports`; with ` preview` behind it, it goes to the slot that does not serve.
    pub port: String,
    /// Where it goes while blue serves, and while green does.
    pub ports: SlotPorts,
}

/// What a component is made of on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// One place.
    Single(Artifacts),
    /// Two places, of which one serves.
    Slots {
        /// The component as it is when it lives in blue.
        blue: Artifacts,
        /// The component as it is when it lives in green.
        green: Artifacts,
    },
}

impl DesiredComponent {
    /// Returns what stands beside a component, such as the timers of its backups and the declaration of its databases: files and units
    /// in place, that nothing asks for health, that take no traffic, and that are never kept.
    pub(super) fn of_files(name: ComponentName, artifacts: Artifacts, origin: Origin) -> Self {
        Self {
            name,
            strategy: Strategy::InPlace,
            body: Body::Single(artifacts),
            ports: BTreeMap::new(),
            switches: BTreeMap::new(),
            healthcheck: None,
            migrate: None,
            check: None,
            watch: None,
            drain: DrainSpec { timeout: Millis(0), stop_grace: None },
            prove: None,
            smoke: Vec::new(),
            keep_previous: Millis(0),
            backups: BTreeMap::new(),
            certificates: BTreeMap::new(),
            statics: None,
            databases: None,
            prerequisites: Prerequisites::default(),
            packages: BTreeSet::new(),
            origin,
        }
    }

    /// Returns the secrets that its files print, in any place, each as often as they do.
    pub fn secrets(&self) -> impl Iterator<Item = &crate::secret::SecretRef> {
        let places = [Slot::Blue, Slot::Green].map(|slot| self.body.artifacts(Some(slot)));
        places.into_iter().flat_map(|artifacts| artifacts.files.values()).flat_map(|file| file.content.secrets())
    }
}

impl Body {
    /// Returns the artifacts of a slot, or of the one place.
    pub fn artifacts(&self, slot: Option<Slot>) -> &Artifacts {
        match (self, slot) {
            (Self::Single(artifacts), _) => artifacts,
            (Self::Slots { green, .. }, Some(Slot::Green)) => green,
            (Self::Slots { blue, .. }, _) => blue,
        }
    }
}

/// Things on a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Artifacts {
    /// Files by absolute path.
    pub files: BTreeMap<String, DesiredFile>,
    /// Units by name, and whether they are enabled. All of them run.
    pub units: BTreeMap<String, DesiredUnit>,
    /// The compose project.
    pub project: Option<DesiredProject>,
}

impl Artifacts {
    /// Returns the digest of everything that makes the component what it is. Two slots of one release differ in it.
    pub fn digest(&self) -> Digest {
        let mut writer = crate::id::DigestWriter::new();
        for (path, file) in &self.files {
            writer = writer
                .field(path)
                .field(file.content.sealed().0)
                .field(format!("{:o} {} {}", file.mode, file.owner, file.group));
        }
        for (name, unit) in &self.units {
            writer = writer.field(name).field([u8::from(unit.enabled)]);
        }
        if let Some(project) = &self.project {
            writer = writer.field(&project.name);
        }
        writer.finish()
    }
}

/// A file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredFile {
    /// Its text, secrets still only named.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
    /// Whether it is an nginx file: staged and tested before it is put in place, then nginx is reloaded.
    pub nginx: bool,
    /// Whether units read it again in place of starting anew.
    #[serde(default)]
    pub reload: bool,
    /// Where the template is named.
    pub origin: Origin,
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredUnit {
    /// Whether it starts at boot.
    pub enabled: bool,
}

/// A compose project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredProject {
    /// `<environment>-<app>-<component>[-<slot>]`.
    pub name: String,
    /// The compose file among the component's files.
    pub file: String,
    /// By service name.
    pub services: BTreeMap<String, DesiredService>,
    /// The volumes of its own, by the names in the file.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
}

/// A service of a compose project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredService {
    /// The text of its label `dev.holdfast.digest`.
    pub digest: String,
    /// Its image reference.
    pub image: String,
    /// How many containers it has.
    pub replicas: u32,
    /// TCP ports of the host that its containers share out among themselves: the first and the last of each row.
    pub published: Vec<(u16, u16)>,
    /// Bytes of memory that each of them may take; `None` without a limit.
    pub memory: Option<u64>,
    /// Thousandths of a processor that each of them may take; `None` without a limit.
    #[serde(default)]
    pub processors: Option<u32>,
}
