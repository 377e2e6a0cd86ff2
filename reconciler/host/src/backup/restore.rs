//! Restores a backup beside what is live, proves it, and puts it in its place; a drill stops before that.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_protocol::{BackupRecord, BackupSource, Restored};

use super::class::{Class, Note};
use super::exchange::{self, Exchange};
use super::postgres::{Server, name, text};
use super::{BackupError, at, fail, files, redis, run, stamp};
use crate::paths::create_private;

/// Restores a file, or the newest, after a backup of what is there.
///
/// # Errors
/// Why nothing was restored. What is live is as it was, unless the text says otherwise.
pub(super) fn restore(class: &Class, file: Option<&str>, unsafe_too: bool) -> Result<Restored, BackupError> {
    let _lock = class.lock_restores()?;
    // One that was cut down before is ended first.
    exchange::resume(class)?;
    // Chosen before the safety backup, which would be the newest.
    let record = chosen(class, file)?;
    let safety = match safety(class) {
        Ok(safety) => safety,
        Err(_) if unsafe_too => String::new(),
        Err(error) => {
            return fail(format!(
                "nothing was restored, for a backup of what is there now failed: {error}; --without-safety-backup goes on without one"
            ));
        }
    };
    let (before, counted) = match &class.spec.source {
        BackupSource::Postgres { .. } => database(class, &record)?,
        BackupSource::Redis { .. } => redis::restore(class, &record)?,
        BackupSource::Files { .. } | BackupSource::Volumes { .. } => folders(class, &files::folders(class)?, &record)?,
    };
    Ok(Restored { file: record.file, safety, before, counted: record.rows.len() as u64, rows: counted })
}

/// Tries a restore of the newest backup and throws the result away.
///
/// # Errors
/// Why it would not have worked.
pub(super) fn drill(class: &Class) -> Result<String, BackupError> {
    let _lock = class.lock_restores()?;
    exchange::resume(class)?;
    match tried(class) {
        Ok(text) => {
            class.note(Note::Drilled, &text)?;
            class.forget(Note::DrillFailed)?;
            Ok(text)
        }
        Err(error) => {
            class.note(Note::DrillFailed, &error.to_string())?;
            Err(error)
        }
    }
}

fn tried(class: &Class) -> Result<String, BackupError> {
    let record = chosen(class, None)?;
    let counted = match &class.spec.source {
        BackupSource::Postgres { .. } => {
            let server = Server::find(class)?;
            let scratch = scratch(class);
            let counted = into_scratch(class, &server, &scratch, &record);
            drop_scratch(&server, &scratch)?;
            counted?
        }
        BackupSource::Redis { .. } => {
            // Nothing of it can be looked into without a server: the whole of it is read, and its keys are counted.
            let found = redis::count(class, class.open_proven(&record)?)?;
            if found != record.rows {
                return fail(format!("{} has {found:?}, its sidecar says {:?}", record.file, record.rows));
            }
            found.get(redis::KEYS).copied().unwrap_or(0)
        }
        BackupSource::Files { .. } | BackupSource::Volumes { .. } => {
            let paths = &files::folders(class)?;
            let folder = class.folder.join("drill");
            let counted = clear(&folder).and_then(|()| {
                create_private(&folder).map_err(at(&folder))?;
                unpack_all(class, paths, &record, |_| folder.clone())
            });
            clear(&folder)?;
            counted?
        }
    };
    Ok(format!("{}: {} restored, {counted} rows counted", record.file, record.rows.len()))
}

fn chosen(class: &Class, file: Option<&str>) -> Result<BackupRecord, BackupError> {
    match file {
        Some(file) => class.record(file),
        None => class.newest()?.ok_or_else(|| BackupError("there is no good backup".to_owned())),
    }
}

/// Saves what is there; there may be nothing.
fn safety(class: &Class) -> Result<String, BackupError> {
    let nothing = match &class.spec.source {
        BackupSource::Postgres { .. } => {
            let server = Server::find(class)?;
            reopen(&server)?;
            !server.has(server.database)?
        }
        BackupSource::Files { paths } => paths.iter().all(|path| !Path::new(path).exists()),
        BackupSource::Redis { .. } | BackupSource::Volumes { .. } => false,
    };
    if nothing { Ok(String::new()) } else { Ok(run::safety(class)?.file) }
}

/// Lets clients in again, where a restore was cut down after it had closed the database.
fn reopen(server: &Server<'_>) -> Result<(), BackupError> {
    let closed = format!("SELECT 1 FROM pg_database WHERE NOT datallowconn AND datname = {};", text(server.database));
    if !server.manage(&closed)?.trim().is_empty() {
        server.manage(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS true;", name(server.database)))?;
    }
    Ok(())
}

/// The name is ours alone: what is left of it by a restore that was cut down is thrown away.
fn scratch(class: &Class) -> String {
    format!("holdfast_scratch_{}", class.short())
}

fn drop_scratch(server: &Server<'_>, scratch: &str) -> Result<(), BackupError> {
    server.manage(&format!("DROP DATABASE IF EXISTS {};", name(scratch))).map(drop)
}

/// Restores into a new database and counts it.
fn into_scratch(class: &Class, server: &Server<'_>, scratch: &str, record: &BackupRecord) -> Result<u64, BackupError> {
    let dump = class.open_proven(record)?;
    drop_scratch(server, scratch)?;
    // As the live one is, where there is one. `template0` is free of what somebody may have added to `template1`.
    let like = server.manage(&format!(
        "SELECT format('CREATE DATABASE {0} TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L OWNER %I;', \
         pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba)) \
         FROM pg_database WHERE datname = {1};",
        name(scratch),
        text(server.database)
    ))?;
    let create = match like.trim() {
        "" => format!("CREATE DATABASE {} TEMPLATE template0;", name(scratch)),
        like => like.to_owned(),
    };
    server.manage(&create)?;
    server.restore(dump, scratch)?;
    server.check(scratch, &record.rows)
}

fn database(class: &Class, record: &BackupRecord) -> Result<(Vec<String>, u64), BackupError> {
    let server = Server::find(class)?;
    let scratch = scratch(class);
    let made = into_scratch(class, &server, &scratch, record).and_then(|counted| {
        // Without statistics the first queries would be planned as for empty tables.
        server.say(&scratch, "ANALYZE;")?;
        Ok(counted)
    });
    let counted = match made {
        Ok(counted) => counted,
        Err(error) => {
            drop_scratch(&server, &scratch)?;
            return Err(error);
        }
    };
    let exchange = match Exchange::begin(class, &[]) {
        Ok(exchange) => exchange,
        Err(error) => {
            drop_scratch(&server, &scratch)?;
            return Err(error);
        }
    };
    match exchanged(&server, &scratch) {
        Ok(before) => exchange.end().map(|()| (before, counted)),
        Err(error) => exchange.failed(error),
    }
}

/// The scratch database becomes the live one, in one transaction of the server.
fn exchanged(server: &Server<'_>, scratch: &str) -> Result<Vec<String>, BackupError> {
    let live = server.database;
    if !server.has(live)? {
        server.manage(&format!("ALTER DATABASE {} RENAME TO {};", name(scratch), name(live)))?;
        return Ok(Vec::new());
    }
    let before = format!("{live}_before_{}", stamp::stamp(stamp::now_ms()).trim_end_matches('Z').to_lowercase());
    // Whoever connects between the two statements would keep the database from being renamed.
    let close = format!(
        "ALTER DATABASE {0} ALLOW_CONNECTIONS false;\n\
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {1} AND pid <> pg_backend_pid();\n\
         BEGIN;\n\
         ALTER DATABASE {0} RENAME TO {2};\n\
         ALTER DATABASE {3} RENAME TO {0};\n\
         COMMIT;\n",
        name(live),
        text(live),
        name(&before),
        name(scratch)
    );
    if let Err(error) = server.manage(&close) {
        reopen(server)?;
        drop_scratch(server, scratch)?;
        return Err(error);
    }
    Ok(vec![before])
}

/// Each folder is unpacked on its own file system, beside itself.
fn folders(class: &Class, paths: &[String], record: &BackupRecord) -> Result<(Vec<String>, u64), BackupError> {
    let beside = |path: &str| {
        let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
        parent.join(format!(".holdfast-restore-{}", class.short()))
    };
    let clear_all = || paths.iter().try_for_each(|path| clear(&beside(path)));
    clear_all()?;
    for path in paths {
        let folder = beside(path);
        create_parents(&folder)?;
        create_private(&folder).map_err(at(&folder))?;
    }
    let moved = unpack_all(class, paths, record, beside).and_then(|counted| {
        let stamp = stamp::stamp(stamp::now_ms());
        let (mut aside, mut placed) = (Vec::new(), Vec::new());
        for path in paths {
            let live = PathBuf::from(path);
            let old = PathBuf::from(format!("{path}.before-{stamp}"));
            let new = beside(path).join(path.trim_start_matches('/'));
            if live.exists() {
                aside.push((live.clone(), old));
            }
            placed.push((new, live));
        }
        let mut exchange = Exchange::begin(class, &files::holders(class)?)?;
        let before = aside.iter().map(|(_, old)| old.display().to_string()).collect();
        match exchange.moves(aside, placed) {
            Ok(()) => exchange.end()?,
            Err(error) => return exchange.failed(error),
        }
        Ok((before, counted))
    });
    clear_all()?;
    moved
}

fn create_parents(folder: &Path) -> Result<(), BackupError> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(at(parent))
}

fn unpack_all(
    class: &Class,
    paths: &[String],
    record: &BackupRecord,
    into: impl Fn(&str) -> PathBuf,
) -> Result<u64, BackupError> {
    let mut counted = 0;
    for path in paths {
        let Some(wanted) = record.rows.get(path) else {
            return fail(format!("{path} is not in {}", record.file));
        };
        counted += files::unpack(class, class.open_proven(record)?, path, &into(path), *wanted)?;
    }
    Ok(counted)
}

fn clear(folder: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}
