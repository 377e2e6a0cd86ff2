use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// One class of backups of one component: what is saved, when it counts and how long it is kept.
///
/// # Format
/// As JSON it is the file that the manager puts on the host and the backup's units name. In a step it goes over the wire, whose format
/// knows fields by their place alone: none may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSpec {
    /// The environment.
    pub environment: String,
    /// The app.
    pub app: String,
    /// The class: the user's name for it, unique in the app.
    pub class: String,
    /// What is saved.
    pub source: BackupSource,
    /// How long a backup is kept, in milliseconds.
    pub keep_ms: u64,
    /// How many are kept whatever their age; at least 1.
    pub at_least: u32,
    /// A smaller file is no backup, in bytes.
    pub floor: u64,
    /// How old the newest may get, in milliseconds.
    pub rpo_ms: Option<u64>,
    /// How long one may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long may lie between two drills, in milliseconds; `None` without drills.
    pub drill_ms: Option<u64>,
    /// Where copies go; the manager carries them.
    #[serde(default)]
    pub offsite: Option<OffsiteSpec>,
    /// What runs before each: it makes what is saved fit to be saved.
    #[serde(default)]
    pub before: Option<BackupBefore>,
    /// Who is stopped while a restored backup takes its place.
    #[serde(default)]
    pub writers: BackupWriters,
}

/// Where copies of the backups of one class go, and how long they are kept there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsiteSpec {
    /// The off-site host's name in the inventory.
    pub host: String,
    /// How long a copy is kept, in milliseconds.
    pub keep_ms: u64,
    /// How many are kept whatever their age; at least 1.
    pub at_least: u32,
    /// How old the backup in the newest copy may get, in milliseconds.
    pub rpo_ms: u64,
    /// The age recipients that copies are encrypted to; empty when they are not encrypted.
    #[serde(default)]
    pub encrypt_to: Vec<String>,
}

/// What a backup saves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackupSource {
    /// A database, by the tools in its own container, or by those of the host.
    Postgres {
        /// The compose project; empty for the host's own server.
        project: String,
        /// The service in it; empty for the host's own server.
        service: String,
        /// The database.
        database: String,
        /// The role; for the host's own server also the account that asks it over its socket.
        user: String,
    },
    /// A Redis, by the tools in its own container.
    Redis {
        /// The compose project.
        project: String,
        /// The service in it.
        service: String,
        /// The file on the host with the password; `None` where none is asked for.
        password_file: Option<String>,
    },
    /// Folders of the host, by absolute path.
    Files {
        /// The folders.
        paths: Vec<String>,
    },
    /// Volumes of a compose project.
    Volumes {
        /// The compose project.
        project: String,
        /// The volumes, as the compose file names them.
        volumes: Vec<String>,
        /// Whether containers that use them stand still while they are packed.
        pause: bool,
    },
}

/// A command that runs before a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupBefore {
    /// The compose project; empty for a command of the host.
    pub project: String,
    /// The service in it; empty for a command of the host.
    pub service: String,
    /// Program and arguments.
    pub argv: Vec<String>,
}

/// Who writes to what is saved, on the same host: stopped while a restored backup takes its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupWriters {
    /// Compose projects.
    #[serde(default)]
    pub projects: Vec<String>,
    /// Units.
    #[serde(default)]
    pub units: Vec<String>,
}

impl BackupSource {
    /// Returns what the name of a backup of this kind ends in.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "dump",
            Self::Redis { .. } => "rdb",
            Self::Files { .. } | Self::Volumes { .. } => "tar.gz",
        }
    }
}

/// The sidecar of a backup: without it, a file is no backup.
///
/// # Format
/// JSON in `<file>.meta.json` beside the file, written after everything it says was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// Of this format: 1.
    pub version: u32,
    /// The backup's file name, without a folder.
    pub file: String,
    /// The environment.
    pub environment: String,
    /// The app.
    pub app: String,
    /// The class.
    pub class: String,
    /// `postgres`, `redis`, `files` or `volumes`.
    pub kind: String,
    /// When it was begun, in milliseconds since the Unix epoch by the host's clock: what is in it is at least as new.
    pub taken_at_ms: u64,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// The app's release on the host at that time; empty when none was applied.
    pub release: String,
    /// Rows by table as the dump quotes it (`public.users`), `keys` of a Redis, or entries by folder.
    pub rows: BTreeMap<String, u64>,
}

/// How the backups of one class stand on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupLive {
    /// How long ago the class was declared on this host, in milliseconds.
    pub declared_age_ms: u64,
    /// The newest good one.
    pub newest: Option<BackupSeen>,
    /// How many good ones are there.
    pub count: u32,
    /// The last run, when it failed.
    pub failed: Option<BackupSaid>,
    /// The last drill that passed.
    pub drilled: Option<BackupSaid>,
    /// The last drill, when it failed.
    pub drill_failed: Option<BackupSaid>,
    /// How the copies stood when the manager last looked.
    pub offsite: Option<OffsiteLive>,
}

/// How the copies of one class stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsiteLive {
    /// The off-site host.
    pub host: String,
    /// How long ago what is there was last found out, in milliseconds; `None` when never.
    pub looked_ms: Option<u64>,
    /// The newest backup of which there is a copy, with the size of the copy.
    pub newest: Option<BackupSeen>,
    /// How many copies there were.
    pub count: u32,
    /// How many of them were not encrypted although they should be.
    pub plain: u32,
    /// The last round, when it failed.
    pub failed: Option<BackupSaid>,
}

/// One good backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSeen {
    /// Its file name.
    pub file: String,
    /// How long ago it was begun, in milliseconds by the host's clock.
    pub age_ms: u64,
    /// Size in bytes.
    pub size: u64,
}

/// What a run or a drill said, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSaid {
    /// How long ago, in milliseconds by the host's clock.
    pub age_ms: u64,
    /// What it said; escaped and capped.
    pub text: String,
}

/// A restore that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The path of the class's declaration on the host.
    pub declaration: String,
    /// Name of the backup's file; `None` for the newest.
    pub file: Option<String>,
    /// Whether it goes on without a backup of what is there now.
    pub without_safety_backup: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The file that was restored.
    pub file: String,
    /// The backup that was taken before; empty when none was.
    pub safety: String,
    /// Where what was live before is now: a database or folders.
    pub before: Vec<String>,
    /// Tables, or folders, that were counted.
    pub counted: u64,
    /// Rows, or entries, in them.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Step, read_frame, write_frame};

    #[test]
    fn a_backup_before_a_migration_arrives_with_and_without_copies() {
        let plain = OffsiteSpec { host: "safe".to_owned(), keep_ms: 1, at_least: 1, rpo_ms: 1, encrypt_to: Vec::new() };
        for offsite in [None, Some(plain)] {
            let spec = BackupSpec {
                environment: "prod".to_owned(),
                app: "shop".to_owned(),
                class: "database".to_owned(),
                source: BackupSource::Files { paths: vec!["/srv".to_owned()] },
                keep_ms: 1,
                at_least: 1,
                floor: 1,
                rpo_ms: None,
                timeout_ms: 1,
                drill_ms: None,
                offsite,
                before: Some(BackupBefore {
                    project: "prod-shop-web".to_owned(),
                    service: "web".to_owned(),
                    argv: vec!["snapshot".to_owned()],
                }),
                writers: BackupWriters::default(),
            };
            let step = |title: &str| Step {
                title: title.to_owned(),
                component: "web".to_owned(),
                deadline_ms: 1,
                action: Action::Backup(Box::new(spec.clone())),
            };
            let steps = vec![step("first"), step("second")];
            let mut wire = Vec::new();
            write_frame(&mut wire, &steps).unwrap();
            assert_eq!(read_frame::<Vec<Step>>(&mut wire.as_slice()).unwrap(), steps);
        }
    }
}
