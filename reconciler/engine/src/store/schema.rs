use rusqlite::Connection;

use super::worker::StoreError;

/// The version of the file's layout. It rises with every entry of the list of migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaVersion(pub u32);

/// `HLDF`: tells our file from another SQLite file that was named by mistake.
const APPLICATION: i32 = 0x484c_4446;

/// How each version is made of the one before. Never changed once released, only added to.
const MIGRATIONS: [&str; 6] = [
    "
    CREATE TABLE syncs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        environment TEXT NOT NULL, commit_id TEXT NOT NULL, cause TEXT NOT NULL,
        started INTEGER NOT NULL, ended INTEGER, result TEXT, reason TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX syncs_by_environment ON syncs (environment, id);
    CREATE INDEX syncs_unfinished ON syncs (id) WHERE ended IS NULL;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        sync_id INTEGER NOT NULL REFERENCES syncs (id) ON DELETE CASCADE,
        format INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_by_sync ON events (sync_id, seq);
    CREATE TABLE quarantine (
        environment TEXT NOT NULL, app TEXT NOT NULL, digest TEXT NOT NULL,
        release TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (environment, app, digest)
    ) STRICT;
    CREATE TABLE pauses (
        environment TEXT NOT NULL, app TEXT NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (environment, app)
    ) STRICT;
    CREATE TABLE approvals (
        environment TEXT NOT NULL, seal TEXT NOT NULL, by TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (environment, seal)
    ) STRICT;
    CREATE TABLE commits (
        environment TEXT PRIMARY KEY, seen TEXT NOT NULL, at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE locks (
        name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, who TEXT NOT NULL,
        pid INTEGER NOT NULL, started INTEGER NOT NULL, boot TEXT NOT NULL, since INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE fence (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER NOT NULL) STRICT;
    INSERT INTO fence VALUES (1, 0);
",
    "
    DROP TABLE approvals;
    CREATE TABLE approvals (
        environment TEXT NOT NULL, commit_id TEXT NOT NULL, seal TEXT NOT NULL, by TEXT NOT NULL,
        told_by TEXT NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (environment, commit_id, seal, by)
    ) STRICT;
    CREATE TABLE approval_requests (
        environment TEXT PRIMARY KEY, commit_id TEXT NOT NULL, seal TEXT NOT NULL, changes INTEGER NOT NULL,
        required INTEGER NOT NULL, given TEXT NOT NULL, at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE released (
        environment TEXT PRIMARY KEY, commit_id TEXT NOT NULL, seal TEXT NOT NULL, at INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE notices (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL, sink TEXT NOT NULL, body TEXT NOT NULL, due INTEGER NOT NULL, state TEXT NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', at INTEGER NOT NULL,
        UNIQUE (id, sink)
    ) STRICT;
    CREATE INDEX notices_due ON notices (sink, due) WHERE state = 'waiting';
    CREATE TABLE conditions (key TEXT PRIMARY KEY, subject TEXT NOT NULL, since INTEGER NOT NULL) STRICT;
",
    "
    CREATE TABLE totals (
        environment TEXT NOT NULL, app TEXT NOT NULL, host TEXT NOT NULL, result TEXT NOT NULL,
        count INTEGER NOT NULL, took_ms INTEGER NOT NULL, last_at INTEGER NOT NULL, last_took_ms INTEGER NOT NULL,
        PRIMARY KEY (environment, app, host, result)
    ) STRICT;
",
    "
    CREATE TABLE chain (
        number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body TEXT NOT NULL, hash TEXT NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE migrated (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
",
];

impl SchemaVersion {
    /// The version this program writes.
    pub const CURRENT: Self = Self(MIGRATIONS.len() as u32);
}

/// Brings a file to the current version, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let application: i32 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version = SchemaVersion(transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?);
    let tables: u32 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(StoreError::Foreign);
    }
    if version > SchemaVersion::CURRENT {
        return Err(StoreError::Newer { found: version, known: SchemaVersion::CURRENT });
    }
    for migration in &MIGRATIONS[version.0 as usize..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", SchemaVersion::CURRENT.0)?;
    transaction.commit()?;
    Ok(())
}
