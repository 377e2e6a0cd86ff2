use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Digest, HealthCheck, MigrationRunner, Prerequisites, Prove, Slot, StaticRecord};

/// `<environment>/<app>`.
pub type AppKey = String;

/// What Holdfast has put on a host: the *last applied* of the three-way rule, and the only thing prune may act on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The format's version; a higher one than this program knows is refused.
    pub version: u32,
    /// By app.
    pub apps: BTreeMap<AppKey, AppRecord>,
    /// Ids of migrations that ran to success on this host.
    pub migrations: BTreeSet<String>,
    /// What is known of those that ran, by id: for people, and for a way back.
    #[serde(default)]
    pub migrated: BTreeMap<String, MigrationRecord>,
}

impl Ledger {
    /// Returns whether going back past one of these migrations, none of which the release before works with, is closed. One that
    /// is known to have changed nothing closes nothing.
    pub fn is_one_way(&self, migrations: &[String]) -> bool {
        migrations.iter().any(|id| self.migrated.get(id).is_none_or(MigrationRecord::changed))
    }
}

/// A migration that ran to success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationRecord {
    /// The release that brought it, for people.
    pub release: String,
    /// The revision before; `None` where it is not known.
    pub before: Option<String>,
    /// The revision after; `None` where it is not known.
    pub after: Option<String>,
    /// When it was over, in milliseconds since the Unix epoch by the host's clock; for display.
    pub at_ms: u64,
    /// Whether the release before works with the new schema.
    pub reversible: bool,
    /// Where it ran.
    pub runner: MigrationRunner,
    /// What ran: program and arguments.
    pub argv: Vec<String>,
    /// What prints the revision; empty when nothing does.
    pub revision: Vec<String>,
    /// What goes back, with `{revision}` in it; empty when nothing does.
    pub downgrade: Vec<String>,
    /// The SQL files that the database had after it, and the SHA-256 of each.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

impl MigrationRecord {
    /// Returns whether the schema may be another one since.
    pub fn changed(&self) -> bool {
        self.before.is_none() || self.before != self.after
    }
}

/// One app as it was applied last, with all that a rollback needs: it is made from this alone, also when git cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// The release, for people.
    pub release: String,
    /// The commit.
    pub commit: String,
    /// The transaction that wrote this.
    pub transaction: String,
    /// By component.
    pub components: BTreeMap<String, ComponentRecord>,
    /// What a rollback goes back to; its own `previous` is the release before that, as many as the app keeps.
    pub previous: Option<Box<AppRecord>>,
}

impl AppRecord {
    /// Returns this release and all that are kept from before it, the newest first.
    pub fn releases(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |record| record.previous.as_deref())
    }

    /// Returns the images of this release and of all that are kept.
    pub fn images(&self) -> impl Iterator<Item = &String> {
        let components = self.releases().flat_map(|record| record.components.values());
        components
            .flat_map(|component| component.images.iter().chain(component.slots.values().flat_map(|slot| &slot.images)))
    }
}

/// One component as it was applied last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRecord {
    /// The strategy's word in the configuration (`blue_green`, …).
    pub strategy: String,
    /// Files outside slots, by path.
    pub files: BTreeMap<String, FileRecord>,
    /// Units outside slots, with the enabled state they were given.
    pub units: BTreeMap<String, bool>,
    /// Compose project outside slots.
    pub project: Option<String>,
    /// Its compose file; empty without a project.
    pub compose_file: String,
    /// Compose services outside slots, with their digests.
    pub services: BTreeMap<String, String>,
    /// The images of those services.
    #[serde(default)]
    pub images: BTreeSet<String>,
    /// How what is outside slots proves to be healthy.
    pub health: Option<HealthCheck>,
    /// Milliseconds open connections are waited for before a slot is stopped.
    pub drain_ms: u64,
    /// Milliseconds between SIGTERM and SIGKILL of its containers; `None` leaves each its own.
    #[serde(default)]
    pub stop_grace_ms: Option<u64>,
    /// The slot that serves; `None` for components without slots.
    pub active: Option<Slot>,
    /// What each slot holds.
    pub slots: BTreeMap<Slot, SlotRecord>,
    /// Switches by listen address, and the port each goes to.
    pub switches: BTreeMap<String, u16>,
    /// Bytes of memory that its containers and units may take together, in all its slots.
    #[serde(default)]
    pub memory: u64,
    /// What was there, or was made, before it.
    #[serde(default)]
    pub prerequisites: Prerequisites,
    /// The id of the migration its release brings; `None` without one.
    #[serde(default)]
    pub migration: Option<String>,
    /// The static files it serves.
    #[serde(default)]
    pub statics: Option<StaticRecord>,
}

/// What one slot holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The release, for people.
    pub release: String,
    /// Files by path.
    pub files: BTreeMap<String, FileRecord>,
    /// Units of this slot (`nps-api@blue.service`).
    pub units: BTreeMap<String, bool>,
    /// Compose project of this slot.
    pub project: Option<String>,
    /// Its compose file; empty without a project.
    pub compose_file: String,
    /// Compose services with their digests.
    pub services: BTreeMap<String, String>,
    /// The images of those services.
    #[serde(default)]
    pub images: BTreeSet<String>,
    /// Ports by name.
    pub ports: BTreeMap<String, u16>,
    /// How it proves to be healthy.
    pub health: Option<HealthCheck>,
    /// How nginx is asked whether it answers.
    pub prove: Option<Prove>,
    /// When it served last, in milliseconds since the Unix epoch by the manager's clock; `None` while it serves. From then on it is
    /// kept for the component's `keep_previous`.
    #[serde(default)]
    pub idle_since_ms: Option<u64>,
}

/// A file as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Of the bytes on the host. The host keeps them under this name for a rollback (in a 0600 file).
    pub digest: Digest,
    /// Of the rendered parts with each secret replaced by its ciphertext's digest: tells *changed* without a key.
    pub sealed: Digest,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
}
