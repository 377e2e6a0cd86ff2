//! Takes one backup.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holdfast_protocol::{BackupRecord, BackupSource};

use super::class::{Class, Note};
use super::{BackupError, at, fail, files, postgres, retention, stamp};
use crate::digest;

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

/// Dumps into a file, and returns its sidecar after all that makes it a backup held.
fn proven(class: &Class, part: &Path, blank: BackupRecord) -> Result<BackupRecord, BackupError> {
    let mut options = OpenOptions::new();
    let into = options.write(true).create_new(true).mode(0o600).open(part).map_err(at(part))?;
    let sync = into.try_clone().map_err(at(part))?;
    match &class.spec.source {
        BackupSource::Postgres { .. } => postgres::dump(class, into)?,
        BackupSource::Files { paths } => files::pack(class, paths, into)?,
    }
    sync.sync_all().map_err(at(part))?;
    let size = sync.metadata().map_err(at(part))?.len();
    if size < class.spec.floor {
        return fail(format!("it has {size} bytes, and less than {} are no backup", class.spec.floor));
    }
    let open = || File::open(part).map_err(at(part));
    let rows = match &class.spec.source {
        BackupSource::Postgres { .. } => postgres::count(class, open()?)?,
        BackupSource::Files { paths } => files::count(class, paths, open()?)?,
    };
    let (sha256, _) = digest::of_reader(open()?).map_err(at(part))?;
    Ok(BackupRecord { size, sha256, rows, ..blank })
}
