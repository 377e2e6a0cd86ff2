//! What a server holds, by its catalog.

use std::collections::BTreeMap;

use holdfast_protocol::DatabaseSpec;
use serde::Deserialize;

use super::server::{MAINTENANCE, Server};
use super::{DatabasesError, fail, text};

/// What the whole server has.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Cluster {
    /// Roles, without the server's own.
    pub(super) roles: Vec<Role>,
    /// Databases and their owners.
    pub(super) databases: BTreeMap<String, String>,
    /// The time by its clock, in milliseconds since the Unix epoch.
    pub(super) now_ms: u64,
    /// What `ALTER SYSTEM` set.
    pub(super) settings: Vec<Setting>,
    /// That was changed since the server read it.
    pub(super) unread: bool,
    /// When the server read its files, in microseconds since the Unix epoch.
    pub(super) loaded_us: u64,
    /// The settings that were asked about, as far as there are such.
    pub(super) known: BTreeMap<String, Known>,
}

/// What the server says of a setting it has.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Known {
    /// When it can be changed: `postmaster` is at a start, `internal` never.
    pub(super) context: String,
    /// The server was started with it.
    pub(super) command: bool,
}

/// A setting in `postgresql.auto.conf`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Setting {
    /// In lower case.
    pub(super) name: String,
    /// As it was written.
    pub(super) value: String,
    /// It is a number, a word or a truth value. A text may have a secret in it.
    pub(super) plain: bool,
    /// It counts from the next start on.
    pub(super) pending: bool,
}

impl Cluster {
    /// Returns a role.
    pub(super) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }
}

/// One role.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) login: bool,
    /// The verifier of its password; empty when it has none.
    pub(super) verifier: String,
    /// SCRAM's salt in hexadecimal and its rounds; empty and 0 for another kind.
    pub(super) salt: String,
    pub(super) rounds: u32,
    /// Its settings, as `name=value`.
    pub(super) settings: Vec<String>,
    pub(super) comment: String,
    pub(super) member_of: Vec<String>,
    /// Sessions that are open as it.
    pub(super) sessions: u32,
}

/// # Source
/// PostgreSQL 13 to 17: `pg_authid`, `pg_auth_members`, `pg_db_role_setting`; a verifier is
/// `SCRAM-SHA-256$<rounds>:<salt>$<stored key>:<server key>` (`src/common/scram-common.c`); of a name's lines in `pg_file_settings` the
/// last counts; `pg_basebackup` and `pg_rewind` write where a replica's primary is.
const CLUSTER: &str = r"SELECT json_build_object(
'roles', (SELECT coalesce(json_agg(json_build_object(
  'name', a.rolname, 'login', a.rolcanlogin, 'verifier', coalesce(a.rolpassword, ''),
  'salt', CASE WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%' THEN
     encode(decode(split_part(split_part(a.rolpassword, '$', 2), ':', 2), 'base64'), 'hex') ELSE '' END,
  'rounds', CASE WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%' THEN
     split_part(split_part(a.rolpassword, '$', 2), ':', 1)::int ELSE 0 END,
  'settings', coalesce((SELECT to_json(s.setconfig) FROM pg_db_role_setting s
     WHERE s.setrole = a.oid AND s.setdatabase = 0), '[]'),
  'comment', coalesce(shobj_description(a.oid, 'pg_authid'), ''),
  'member_of', (SELECT coalesce(json_agg(g.rolname), '[]') FROM pg_auth_members m
     JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = a.oid),
  'sessions', (SELECT count(*) FROM pg_stat_activity p WHERE p.usesysid = a.oid))), '[]')
  FROM pg_authid a WHERE a.rolname !~ '^pg_'),
'databases', (SELECT coalesce(json_object_agg(d.datname, pg_get_userbyid(d.datdba)), '{}') FROM pg_database d),
'settings', (SELECT coalesce(json_agg(json_build_object(
  'name', f.name, 'value', f.setting, 'plain', coalesce(s.vartype <> 'string', false),
  'pending', coalesce(s.pending_restart, false))), '[]')
  FROM (SELECT DISTINCT ON (lower(name)) lower(name) AS name, setting FROM pg_file_settings
     WHERE sourcefile ~ '/postgresql[.]auto[.]conf$' AND lower(name) NOT IN ('primary_conninfo', 'primary_slot_name')
     ORDER BY lower(name), seqno DESC) f
  LEFT JOIN pg_settings s ON lower(s.name) = f.name),
'unread', (SELECT coalesce((pg_stat_file('postgresql.auto.conf', true)).modification > pg_conf_load_time(), false)),
'loaded_us', (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint,
'known', (SELECT coalesce(json_object_agg(lower(name), json_build_object(
  'context', context, 'command', source = 'command line')), '{}')
  FROM pg_settings WHERE lower(name) = ANY (ASKED)),
'now_ms', (extract(epoch FROM clock_timestamp()) * 1000)::bigint);
";

/// What one database has.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Contents {
    /// Its extensions.
    pub(super) extensions: Vec<String>,
    /// Whether its owner may make tables in `public`.
    pub(super) owner_creates: bool,
    /// What roles may do, by name.
    pub(super) grants: BTreeMap<String, Granted>,
    /// Initial data that ran.
    pub(super) seeds: Vec<String>,
}

/// What a role may do with the schema `public`: for each word, whether nothing is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Granted {
    /// Connect to the database.
    pub(super) connect: bool,
    /// Use the schema.
    pub(super) usage: bool,
    /// Read all tables and sequences.
    pub(super) read: bool,
    /// Change the rows of all tables, and use all sequences.
    pub(super) write: bool,
    /// Read what the owner makes later.
    pub(super) later_read: bool,
    /// Change what the owner makes later.
    pub(super) later_write: bool,
}

/// Reads what the whole server has, and what it knows of these settings.
pub(super) fn cluster(server: &Server<'_>, settings: &[&str]) -> Result<Cluster, DatabasesError> {
    parse(&server.say(MAINTENANCE, &CLUSTER.replace("ASKED", &array(settings)))?)
}

/// Returns texts as SQL takes them.
fn array(texts: &[&str]) -> String {
    format!("ARRAY[{}]::text[]", texts.iter().map(|one| text(one)).collect::<Vec<_>>().join(", "))
}

/// Reads what a database has, as far as its declaration is about it. The roles must be there.
pub(super) fn contents(server: &Server<'_>, database: &str, spec: &DatabaseSpec) -> Result<Contents, DatabasesError> {
    parse(&server.say(database, &question(spec))?)
}

fn parse<T: for<'de> Deserialize<'de>>(answer: &str) -> Result<T, DatabasesError> {
    // The answer has verifiers in it, so that nothing of it is shown.
    match serde_json::from_str(answer.trim()) {
        Ok(value) => Ok(value),
        Err(error) => fail(format!("the catalog's answer cannot be read (column {})", error.column())),
    }
}

/// # Source
/// PostgreSQL: `aclexplode`, `has_*_privilege`; `pg_default_acl.defaclobjtype` is `r` for tables, `S` for sequences; what belongs to an
/// extension has a dependency of type `e`.
fn question(spec: &DatabaseSpec) -> String {
    let owner = text(&spec.owner);
    let roles = array(&spec.grants.keys().map(String::as_str).collect::<Vec<_>>());
    let missing = |kinds: &str, function: &str, words: &[&str]| {
        let tests: Vec<String> = words.iter().map(|word| format!("NOT {function}(r.oid, c.oid, '{word}')")).collect();
        // A function may be asked of another kind of relation before the kind is looked at: CASE keeps the order.
        format!(
            "NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND CASE WHEN c.relkind IN ({kinds}) \
             THEN ({}) ELSE false END AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = \
             c.oid AND d.deptype = 'e'))",
            tests.join(" OR ")
        )
    };
    let later = |kind: &str, words: &[&str]| {
        let tests: Vec<String> = words
            .iter()
            .map(|word| {
                format!(
                    "EXISTS (SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) x WHERE d.defaclrole = (SELECT oid FROM pg_roles \
                     WHERE rolname = {owner}) AND d.defaclnamespace = 'public'::regnamespace AND d.defaclobjtype = '{kind}' AND \
                     x.grantee = r.oid AND x.privilege_type = '{word}')"
                )
            })
            .collect();
        tests.join(" AND ")
    };
    let tables = "'r', 'p', 'v', 'm', 'f'";
    let read =
        [missing(tables, "has_table_privilege", &["SELECT"]), missing("'S'", "has_sequence_privilege", &["SELECT"])];
    let write = [
        missing(tables, "has_table_privilege", &["INSERT", "UPDATE", "DELETE"]),
        missing("'S'", "has_sequence_privilege", &["USAGE"]),
    ];
    format!(
        "SELECT to_regclass('holdfast.seeds') IS NOT NULL AS kept \\gset
\\if :kept
SELECT coalesce(json_agg(name), '[]') AS seeds FROM holdfast.seeds \\gset
\\else
\\set seeds '[]'
\\endif
SELECT json_build_object(
'extensions', (SELECT coalesce(json_agg(extname), '[]') FROM pg_extension),
'owner_creates', has_schema_privilege({owner}, 'public', 'CREATE'),
'seeds', :'seeds'::json,
'grants', (SELECT coalesce(json_object_agg(r.rolname, json_build_object(
  'connect', has_database_privilege(r.oid, current_database(), 'CONNECT'),
  'usage', has_schema_privilege(r.oid, 'public', 'USAGE'),
  'read', {} AND {},
  'write', {} AND {},
  'later_read', {} AND {},
  'later_write', {} AND {})), '{{}}')
  FROM pg_roles r WHERE r.rolname = ANY({roles})));
",
        read[0],
        read[1],
        write[0],
        write[1],
        later("r", &["SELECT"]),
        later("S", &["SELECT"]),
        later("r", &["INSERT", "UPDATE", "DELETE"]),
        later("S", &["USAGE"]),
    )
}
