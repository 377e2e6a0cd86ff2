//! Takes one backup.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holdfast_protocol::{BackupBefore, BackupRecord, BackupSource};

use super::class::{Class, Note};
use super::{BackupError, at, containers, fail, files, postgres, redis, retention, stamp};
use crate::digest;
use crate::exec::Call;

/// Takes a backup, proves it, and prunes.
///
/// # Errors
/// Why there is none; then nothing counts that did not count before, and nothing was pruned.
pub(super) fn run(class: &Class) -> Result<BackupRecord, BackupError> {
    let _lock = class.lock()?;
    let record = take(class)?;
    let spec = &class.spec;
    for over in retention::expired(&class.good()?, &record.file, stamp::now_ms(), spec.keep_ms, spec.at_least) {
        class.remove(&over)?;
    }
    Ok(record)
}

/// Takes one before a restore, and prunes nothing: what is to be restored may be over by now.
///
/// # Errors
/// Why there is none.
pub(super) fn safety(class: &Class) -> Result<BackupRecord, BackupError> {
    let _lock = class.lock()?;
    take(class)
}

fn take(class: &Class) -> Result<BackupRecord, BackupError> {
    class.sweep()?;
    containers::go_on(class)?;
    let (file, taken_at_ms) = class.new_name();
    let part = class.folder.join(format!("{file}.part"));
    let record = proven(class, &part, class.blank(&file, taken_at_ms)).and_then(|record| {
        class.keep(&part, &record)?;
        Ok(record)
    });
    let record = match record {
        Ok(record) => record,
        Err(error) => {
            // Best effort: the next run removes it, and a full disk should not stay full because of us.
            let _ = fs::remove_file(&part);
            class.note(Note::Failed, &error.to_string())?;
            return Err(error);
        }
    };
    class.forget(Note::Failed)?;
    Ok(record)
}

/// Runs the command that comes before.
fn prepare(class: &Class, before: &BackupBefore) -> Result<(), BackupError> {
    let container = match before.service.as_str() {
        "" => None,
        service => Some(containers::one(class, &before.project, service)?),
    };
    let call = match (&container, before.argv.as_slice()) {
        (Some(container), argv) => {
            let words = ["exec", container].into_iter().chain(argv.iter().map(String::as_str));
            Call::new(class.program("docker")?, words)
        }
        (None, [program, arguments @ ..]) => Call::new(class.program(program)?, arguments.iter().cloned()),
        (None, []) => return fail("`before` names no program"),
    };
    match call.deadline(class.timeout()).keep_tail().run() {
        Ok(_) => Ok(()),
        Err(error) => fail(format!("the command before it failed: {error}")),
    }
}

/// Dumps into a file, and returns its sidecar after all that makes it a backup held.
fn proven(class: &Class, part: &Path, blank: BackupRecord) -> Result<BackupRecord, BackupError> {
    let mut options = OpenOptions::new();
    let into = options.write(true).create_new(true).mode(0o600).open(part).map_err(at(part))?;
    let sync = into.try_clone().map_err(at(part))?;
    if let Some(before) = &class.spec.before {
        prepare(class, before)?;
    }
    match &class.spec.source {
        BackupSource::Postgres { .. } => postgres::dump(class, into)?,
        BackupSource::Redis { .. } => redis::dump(class, into)?,
        BackupSource::Files { paths } => files::pack(class, paths, into)?,
        BackupSource::Volumes { pause, .. } => files::pack_volumes(class, *pause, into)?,
    }
    sync.sync_all().map_err(at(part))?;
    let size = sync.metadata().map_err(at(part))?.len();
    if size < class.spec.floor {
        return fail(format!("it has {size} bytes, and less than {} are no backup", class.spec.floor));
    }
    let open = || File::open(part).map_err(at(part));
    let rows = match &class.spec.source {
        BackupSource::Postgres { .. } => postgres::count(class, open()?)?,
        BackupSource::Redis { .. } => redis::count(class, open()?)?,
        BackupSource::Files { .. } | BackupSource::Volumes { .. } => {
            files::count(class, &files::folders(class)?, open()?)?
        }
    };
    let (sha256, _) = digest::of_reader(open()?).map_err(at(part))?;
    Ok(BackupRecord { size, sha256, rows, ..blank })
}
