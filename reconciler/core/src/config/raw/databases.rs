//! What a PostgreSQL server is to hold.

use holdfast_protocol::Access;

use super::backup::DatabaseName;
use super::leaf::{Destination, Scalar, ServiceName, TemplatePath};
use super::secrets::SecretName;
use crate::config::decode::{Must, Named, parsed, record, words};
use crate::config::place::At;
use crate::time::Millis;

record!(
    /// What a PostgreSQL server in a compose service is to hold.
    PostgresServer, "`postgres`", {
    /// The compose service it runs in.
    service: ServiceName,
    /// The role that may do everything. Default: `postgres`.
    superuser: Option<DatabaseName>,
    /// How long the login with the old password still works after a password changed. Default: `24h`.
    retire_after: Option<Millis>,
    /// Roles by name.
    roles: Option<Named<RoleName, Role>>,
    /// Databases by name.
    databases: Option<Named<DatabaseName, Database>>,
    /// The server's settings that a reload does for, by name. What else `ALTER SYSTEM` set is drift.
    settings: Option<Named<SettingName, At<Scalar>>>,
});

record!(
    /// A role.
    Role, "a role", {
    /// The secret that is its password. What logs in has another name for each password, `{{ logins.ROLE }}` in templates. Default:
    /// nobody logs in as it.
    password: Option<At<SecretName>>,
    /// Roles that it is a member of.
    member_of: Option<Vec<At<RoleName>>>,
});

record!(
    /// A database.
    Database, "a database", {
    /// The role that owns it and may make tables in it.
    owner: Must<At<RoleName>>,
    /// Its extensions.
    extensions: Option<Vec<At<ExtensionName>>>,
    /// What other roles may do with its tables, also with those that are made later.
    grants: Option<Named<RoleName, At<Grant>>>,
    /// Initial data by name: SQL, a template below `templates/`. A name runs once in the life of the database, after the migrations.
    seeds: Option<Named<SeedName, At<TemplatePath>>>,
});

record!(
    /// A Redis in a compose service and what it is to have set while it runs.
    RedisServer, "`redis`", {
    /// The compose service it runs in.
    service: ServiceName,
    /// The file on the host with its password alone, such as `"{{ dir }}/redis_password"`: one of the component's `files`.
    password_file: Option<At<Destination>>,
    /// Its settings by name, as `CONFIG SET` takes them. They are also in a file that its own `redis.conf` can include.
    settings: Option<Named<RedisSetting, At<Scalar>>>,
});

/// What a role may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant(pub(crate) Access);

words!(Grant, "access to a database", { "read" => Grant(Access::Read), "write" => Grant(Access::Write), });

/// The name of a role; it is also a name for templates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RoleName(pub(crate) String);

// A login has nine characters more, and PostgreSQL cuts names at 63 bytes. Its own roles begin with `pg_`.
parsed!(RoleName, "a role", "^[a-z_][a-z0-9_]{0,39}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && text.strip_prefix("pg_").is_none();
    if text.len() <= 40 && begins && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        let shown: String = text.chars().take(60).collect();
        let shown = shown.escape_debug();
        Err(format!(
            "`{shown}` is no role: lower-case letters, digits and `_`, 40 at the most, not beginning with `pg_`"
        ))
    }
});

/// The name of an extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExtensionName(pub(crate) String);

parsed!(ExtensionName, "an extension", "^[a-z][a-z0-9_-]{0,62}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        let shown: String = text.chars().take(60).collect();
        Err(format!("`{}` is no extension: write such as `vector` or `uuid-ossp`", shown.escape_debug()))
    }
});

/// The name of a setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SettingName(pub(crate) String);

parsed!(SettingName, "a setting", "^[a-z_][a-z0-9_]*(\\.[a-z_][a-z0-9_]*)?$", |text| {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if text.len() <= 63 && text.split('.').count() <= 2 && text.split('.').all(is_word) {
        Ok(Self(text.to_owned()))
    } else {
        let shown: String = text.chars().take(60).collect();
        Err(format!(
            "`{}` is no setting: write such as `work_mem` or `auto_explain.log_min_duration`",
            shown.escape_debug()
        ))
    }
});

/// The name of a setting of Redis.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RedisSetting(pub(crate) String);

parsed!(RedisSetting, "a setting of Redis", "^[a-z][a-z0-9_-]{0,62}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        let shown: String = text.chars().take(60).collect();
        Err(format!("`{}` is no setting: write such as `maxmemory-policy`", shown.escape_debug()))
    }
});

/// The name of initial data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeedName(pub(crate) String);

parsed!(SeedName, "a name of initial data", "^[a-z][a-z0-9_-]{0,39}$", |text| {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if text.len() <= 40 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        Ok(Self(text.to_owned()))
    } else {
        let shown: String = text.chars().take(60).collect();
        let shown = shown.escape_debug();
        Err(format!("`{shown}` is no name of initial data: lower-case letters, digits, `_` and `-`, 40 at the most"))
    }
});
