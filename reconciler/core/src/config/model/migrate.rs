//! What is run once for each release.

use holdfast_protocol::SqlFile;
use serde::{Deserialize, Serialize};

use super::Located;
use crate::id::ComponentName;
use crate::time::Millis;

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
