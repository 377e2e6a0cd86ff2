use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of the file that declares what a PostgreSQL server is to hold. Whoever has such a file is a component of databases.
pub const DATABASES_FILE: &str = "holdfast-databases.json";

/// What a PostgreSQL server in a compose service is to hold: roles, databases, extensions, grants and initial data.
///
/// # Format
/// As JSON it is the file that the manager puts on the host, 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabasesSpec {
    /// The compose project.
    pub project: String,
    /// The service in it.
    pub service: String,
    /// The role that may do everything, reached over the container's own socket.
    pub superuser: String,
    /// How long a login that was followed by another one still works, in milliseconds.
    pub retire_after_ms: u64,
    /// Roles by name.
    pub roles: BTreeMap<String, RoleSpec>,
    /// Databases by name.
    pub databases: BTreeMap<String, DatabaseSpec>,
    /// Settings of the server that a reload does for: all that `ALTER SYSTEM` is to have set. Left out where there is none, so that a
    /// declaration without them is the file it was before there were any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// A role. It does not log in itself: what logs in is a role of its own for each password, which becomes this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// What logs in as it now.
    pub login: Option<LoginSpec>,
    /// The roles it is a member of, sorted.
    pub member_of: Vec<String>,
}

/// What logs in as a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginSpec {
    /// Its name, another one for each password.
    pub name: String,
    /// Its password.
    pub password: Password,
}

/// A password, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// A database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSpec {
    /// The role that owns it, and may make tables in its schema `public`.
    pub owner: String,
    /// Its extensions, sorted.
    pub extensions: Vec<String>,
    /// What other roles may do in its schema `public`.
    pub grants: BTreeMap<String, Access>,
    /// Initial data by name: the path of its SQL on the host. A name runs once in the life of a database.
    pub seeds: BTreeMap<String, String>,
}

/// What a role may do with the tables of a schema, also with those that the owner makes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read them.
    Read,
    /// Read and change their rows.
    Write,
}

/// A declaration of databases to look at, with what git says now of the server's settings: what is on the host may say something else yet,
/// or nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabasesQuery {
    /// The path of the declaration.
    pub path: String,
    /// The compose project.
    pub project: String,
    /// The service in it.
    pub service: String,
    /// What runs in it, and how it is reached.
    pub server: ServerQuery,
    /// Its settings: of PostgreSQL all that `ALTER SYSTEM` is to have set.
    pub settings: BTreeMap<String, String>,
}

/// What a declaration is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerQuery {
    /// A PostgreSQL server.
    Postgres {
        /// The role that may do everything, reached over the container's own socket.
        superuser: String,
    },
    /// A Redis.
    Redis {
        /// The file on the host with its password alone.
        password_file: Option<String>,
    },
}

/// The name of the file that declares the settings of a Redis. Whoever has such a file is a component of databases too.
pub const REDIS_FILE: &str = "holdfast-redis.json";

/// What a Redis in a compose service is to have set while it runs.
///
/// # Format
/// As JSON it is the file that the manager puts on the host, 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSpec {
    /// The compose project.
    pub project: String,
    /// The service in it.
    pub service: String,
    /// The file on the host with its password alone.
    pub password_file: Option<String>,
    /// Settings by name.
    pub settings: BTreeMap<String, String>,
}

/// How far a PostgreSQL server or a Redis is from its declaration on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasesLive {
    /// What is not as declared, a line each; never a password.
    pub differences: Vec<String>,
    /// Initial data that did not run, as `database/name`.
    pub seeds: Vec<String>,
    /// Logins whose time is over.
    pub over: Vec<String>,
    /// When the next login's time is over, in milliseconds since the Unix epoch by the host's clock.
    pub next_over_ms: Option<u64>,
    /// What a reload will change for the settings to be those that were asked about, a line each.
    pub reloads: Vec<String>,
    /// Those of the settings that were asked about that this server does not take from a reload, each with the reason.
    pub refused: Vec<String>,
}
