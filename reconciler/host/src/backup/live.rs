//! Looks at how backups stand, for a report: a folder's names and one sidecar, never the backups.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use holdfast_protocol::{BackupLive, BackupSaid, BackupSeen, Observed};

use super::class::{Class, Note, Said};
use super::{BackupError, at, stamp};
use crate::transaction::Host;

/// Returns how the backups of these declarations stand.
pub fn look(host: &Host, declarations: &[String]) -> BTreeMap<String, Observed<BackupLive>> {
    let one = |path: &String| {
        let declared = Path::new(path);
        match fs::symlink_metadata(declared) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Observed::Absent,
            Err(error) => Observed::Unknown(at(declared)(error).to_string()),
            Ok(meta) => {
                let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let since_ms = since.map_or(0, |since| since.as_millis() as u64);
                stand(host, declared, since_ms)
                    .map_or_else(|error| Observed::Unknown(error.to_string()), Observed::Seen)
            }
        }
    };
    declarations.iter().map(|path| (path.clone(), one(path))).collect()
}

fn stand(host: &Host, declaration: &Path, declared_ms: u64) -> Result<BackupLive, BackupError> {
    let class = Class::load(host, declaration)?;
    let now = stamp::now_ms();
    let said = |said: Said| BackupSaid { age_ms: now.saturating_sub(said.at_ms), text: said.text };
    let newest = class.newest()?;
    Ok(BackupLive {
        declared_age_ms: now.saturating_sub(declared_ms),
        count: class.sidecars()?.len() as u32,
        newest: newest.map(|record| BackupSeen {
            age_ms: now.saturating_sub(record.taken_at_ms),
            file: record.file,
            size: record.size,
        }),
        failed: class.noted(Note::Failed).map(said),
        drilled: class.noted(Note::Drilled).map(said),
        drill_failed: class.noted(Note::DrillFailed).map(said),
        offsite: class.offsite(now),
    })
}
