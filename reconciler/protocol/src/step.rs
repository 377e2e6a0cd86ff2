use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    AccountSpec, AppRecord, BackupSpec, CertificateSpec, Digest, FolderSpec, HealthCheck, Prove, Smoke, SqlRun,
    StaticRecord, Watch,
};

/// One step of a transaction. What makes it idempotent, how it is probed and how it is undone follows from its [`Action`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// A name unique in the transaction, for people: `web: start green`.
    pub title: String,
    /// The component it belongs to; empty for steps of the whole app.
    pub component: String,
    /// Milliseconds after which it has failed.
    pub deadline_ms: u64,
    /// What is done.
    pub action: Action,
}

/// A file to put in place from a stored blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePut {
    /// Absolute path.
    pub path: String,
    /// The content, stored before with `PutBlob`.
    pub blob: Digest,
    /// Permission bits.
    pub mode: u32,
    /// Owner's name.
    pub owner: String,
    /// Group's name.
    pub group: String,
}

/// Where a unit should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActiveGoal {
    /// Running; a running unit is left alone.
    Started,
    /// Running, from a start after this step began.
    Restarted,
    /// Running with its configuration read again (`reload-or-restart`).
    Reloaded,
    /// Not running.
    Stopped,
}

/// How new connections are moved between slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchMethod {
    /// One element of a NAT map is replaced atomically; nginx is not touched.
    Redirect,
    /// An upstream file is replaced and nginx reloaded, with proof by worker generation. Can reset idle keep-alive connections.
    Reload,
}

/// An archive of `docker save` that images come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageArchive {
    /// Its name on the management box, for people.
    pub file: String,
    /// The archive, stored before with `PutBlob` where an image is missing. It is removed once its images are here.
    pub blob: Digest,
    /// Its bytes.
    pub size: u64,
    /// The images that are wanted of it: by reference the ids (`sha256:…`) of which the engine gives it one.
    pub images: BTreeMap<String, BTreeSet<String>>,
}

/// Where a migration runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MigrationRunner {
    /// In a one-off container of a compose service, which outlives the runner, so its outcome can be asked for.
    Service {
        /// Compose project.
        project: String,
        /// Compose file, absolute.
        file: String,
        /// Compose service whose image and configuration are used.
        service: String,
    },
    /// In a transient systemd unit, which outlives the runner.
    Host {
        /// Working directory; empty for `/`.
        directory: String,
        /// User to run as; empty for root.
        user: String,
    },
}

/// What a step does. Going back, the steps that were begun are undone in reverse order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Checks that the way is clear. Changes nothing.
    Preflight {
        /// Ports that must be free, or held by this component's own idle slot.
        ports_free: Vec<u16>,
        /// Free bytes that must be there.
        disk_free: u64,
        /// nginx's live tree must be valid before we add to it.
        nginx: bool,
        /// The Docker engine must answer.
        docker: bool,
    },
    /// Makes a system group. Undo: none: files may have its number by then.
    Group {
        /// Its name.
        name: String,
    },
    /// Makes an account, or brings one to what it should be. Undo: what it was; one that was made stays, for the same reason.
    Account {
        /// Its name.
        name: String,
        /// What it should be.
        spec: AccountSpec,
    },
    /// Makes a folder with those above it, or gives it its owner and mode. Undo: what it was; one that was made goes when it is empty.
    Folder {
        /// Absolute path.
        path: String,
        /// What it should be.
        spec: FolderSpec,
    },
    /// Makes images available: each is here, comes in an archive, or is pulled. Undo: none (images are kept for the way forward).
    Images {
        /// References.
        images: Vec<String>,
        /// The archives that some of them come in.
        archives: Vec<ImageArchive>,
    },
    /// Puts a file in place: temporary name, fsync, rename, fsync of the folder. Undo: what was there before, or nothing.
    PutFile(FilePut),
    /// Removes a file. Undo: puts it back.
    RemoveFile {
        /// Absolute path.
        path: String,
    },
    /// `systemctl daemon-reload`. Undo: the same.
    DaemonReload,
    /// Links units as enabled (`true`) or removes those links, for a [`Action::DaemonReload`] after it to read. Undo: as they were.
    EnableUnits {
        /// Units with their suffix.
        units: BTreeMap<String, bool>,
    },
    /// Brings a unit to a state. Undo: the enabled and active state it had.
    Unit {
        /// Name with suffix.
        unit: String,
        /// Whether it is to be enabled; `None` leaves that alone.
        enabled: Option<bool>,
        /// Whether it is to run; `None` leaves that alone.
        active: Option<ActiveGoal>,
    },
    /// `docker compose up`. Undo: when the project had no container before, `down` without volumes; else nothing here (an
    /// [`Action::OnUndo`] before the file steps brings the old content up again).
    ComposeUp {
        /// Project.
        project: String,
        /// Compose file, absolute; its folder is the project's.
        file: String,
        /// Services with the digest label each of their containers must carry at the end (`dev.holdfast.digest`).
        services: BTreeMap<String, String>,
    },
    /// Starts a stopped project's containers again as they are. Undo: stops them when they were stopped.
    ComposeStart {
        /// Project.
        project: String,
    },
    /// Stops a project's containers, which stay startable. Undo: starts those that ran.
    ComposeStop {
        /// Project.
        project: String,
        /// Milliseconds between SIGTERM and SIGKILL; `None` leaves each container its own (`stop_grace_period`), and the step's
        /// deadline follows that.
        grace_ms: Option<u64>,
    },
    /// Removes a project's containers and networks, never its volumes. No undo: settle only.
    ComposeDown {
        /// Project.
        project: String,
        /// As in [`Action::ComposeStop`].
        grace_ms: Option<u64>,
    },
    /// Waits until the check passes. Changes nothing.
    Health(HealthCheck),
    /// Runs a migration, at most once for its id on this host: the outcome is kept in the ledger. Undo: none.
    Migrate {
        /// `<environment>/<app>/<component>/<release digest>`; the name of the container or unit is made of it.
        id: String,
        /// Where it runs.
        runner: MigrationRunner,
        /// Program and arguments; no shell.
        argv: Vec<String>,
        /// Whether running it again after an unknown outcome is safe.
        idempotent: bool,
        /// Prints the revision of the schema: asked before and after, and kept. Empty: nobody asks.
        revision: Vec<String>,
        /// Goes back, with `{revision}` for the revision that was before; kept for a later way back. Empty: there is none.
        downgrade: Vec<String>,
        /// Whether the release before works with the new schema.
        reversible: bool,
    },
    /// Tests nginx files on a staged copy of `/etc/nginx`, so that the live tree is not touched before the test passes.
    NginxTest {
        /// Files to add or replace.
        put: Vec<FilePut>,
        /// Files to leave out.
        remove: Vec<String>,
    },
    /// Reloads nginx (or starts it) and waits until a new worker generation serves. Undo: none, for the files are not back yet
    /// then; put an [`Action::OnUndo`] of it before the file steps.
    NginxReload,
    /// Moves new connections to a slot. The commit point. Undo: back to `from`.
    Switch {
        /// Listen address nginx's upstream names, such as `127.0.83.1:8101`.
        listen: String,
        /// The loopback port it goes to now; `None` when the switch is new (undo then removes it).
        from: Option<u16>,
        /// The loopback port it is to go to.
        to: u16,
        /// How.
        method: SwitchMethod,
    },
    /// Removes images that no kept release needs. One that a container still uses stays, and that is no failure. There is no undo: the
    /// transaction has settled.
    RemoveImages {
        /// Image references.
        images: Vec<String>,
    },
    /// Removes a switch. Undo: puts it back.
    RemoveSwitch {
        /// Listen address.
        listen: String,
    },
    /// Asks through nginx which release answers, until the expected one does. Changes nothing.
    Prove(Prove),
    /// Watches for a time. Unhealthy means failure.
    Watch(Watch),
    /// Waits until no connection to these loopback ports is established, or the time is over. Never fails.
    Drain {
        /// The leaving slot's ports.
        ports: Vec<u16>,
        /// Milliseconds at the most.
        timeout_ms: u64,
    },
    /// Going forward: nothing. Undo: does the inner action. Put before file steps to act after they were undone.
    OnUndo(Box<Action>),
    /// Writes the app's record into the ledger; `None` takes the app out. Undo: the record it had.
    Record(Option<Box<AppRecord>>),
    /// Makes the files that nginx names for a certificate exist: where there is none yet, a temporary one of the host's own making.
    /// Changes nothing that is there. Undo: none, for nobody but nginx's own files names them.
    Certificate(CertificateSpec),
    /// Sends each of these requests through nginx and looks at the answers. Changes nothing.
    Smoke(Vec<Smoke>),
    /// Makes roles, databases, extensions and grants as a declaration on the host says. Undo: none; put an [`Action::OnUndo`] of it
    /// before the declaration's own step, so that the old one is in force again.
    Databases {
        /// Path of the declaration.
        declaration: String,
    },
    /// Brings the initial data that a declaration names and that its database does not know yet. Undo: none.
    Seed {
        /// Path of the declaration.
        declaration: String,
    },
    /// Takes a backup that counts: dumped, read to its end, on the disk. Undo: none (it is kept like any other).
    Backup(Box<BackupSpec>),
    /// Takes a migration back, to the revision that the ledger recorded before it, and out of the ledger. One that did not run, or
    /// changed nothing, needs nothing. Undo: none.
    Downgrade {
        /// The migration's id.
        of: String,
        /// Where it runs: the release that brought the migration.
        runner: MigrationRunner,
        /// Program and arguments, with `{revision}` in one of them. Empty: there is no way back, and an operator is called.
        argv: Vec<String>,
        /// Prints the revision of the schema, which must be the recorded one afterwards.
        revision: Vec<String>,
    },
    /// Applies the SQL files that the database does not know yet, each at most once, in a transaction of its own and under a lock;
    /// stops at the first that fails. Undo: none.
    Sql(Box<SqlRun>),
    /// Unpacks a release of static files beside the one that serves, and puts what only the one that serves has beside it: pages that
    /// are open still ask for it. One that is whole is not unpacked again. Undo: away with it when it was not there.
    StaticUnpack(StaticRecord),
    /// Lets the link of static files lead to a release, by one rename. Undo: what stood there before.
    StaticSwitch {
        /// The link.
        path: String,
        /// The release.
        release: Digest,
        /// What stands there and is not ours is put aside, as `<path>.adopted`; else it is refused.
        adopt: bool,
    },
    /// Removes the releases of static files that none of these is. There is no undo: the transaction has settled.
    StaticPrune {
        /// The link.
        path: String,
        /// Releases that are needed for a way back; without any, their folder goes too.
        keep: Vec<Digest>,
        /// Whether the link stays.
        link: bool,
    },
}
