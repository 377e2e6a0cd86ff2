//! What is saved of a component, and when.

use serde::{Deserialize, Serialize};

use crate::config::Recurrence;
use crate::diag::Origin;
use crate::id::{ComponentName, HostName};
use crate::time::Millis;

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
