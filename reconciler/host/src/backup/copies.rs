//! What the manager asks while it carries copies of backups between hosts.

use std::fs::{self, File};

use holdfast_protocol::{
    BackupRecord, BackupReply, BackupRequest, BackupSaid, BackupSeen, Fault, FaultKind, OffsiteHeld, OffsiteLive,
    OffsiteNote,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

use super::class::{Class, Said};
use super::piece::{read_piece, write_piece};
use super::vault::Vault;
use super::{BackupError, at, fail, stamp};
use crate::digest;
use crate::transaction::Host;

/// Where the note of how copies stand is, in the folder of a class.
const NOTE: &str = "offsite.json";

/// How the copies of a class stood.
///
/// # Format
/// JSON in `offsite.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stood {
    host: String,
    looked_at_ms: Option<u64>,
    held: Option<OffsiteHeld>,
    failed: Option<Said>,
}

/// Answers a request about backups and their copies.
///
/// # Errors
/// `Failed` with what went wrong; then nothing counts that did not count before.
pub fn answer(host: &Host, request: BackupRequest) -> Result<BackupReply, Fault> {
    reply(host, request).map_err(|error| Fault { kind: FaultKind::Failed, message: error.to_string() })
}

fn reply(host: &Host, request: BackupRequest) -> Result<BackupReply, BackupError> {
    let class = |declaration: &str| Class::load(host, Path::new(declaration));
    let vault = |key| Vault::new(&host.root, &host.disk, key);
    let piece = |(bytes, last)| BackupReply::Piece { bytes, last };
    Ok(match request {
        BackupRequest::Good { declaration } => BackupReply::Good(class(&declaration)?.records()?),
        BackupRequest::Read { declaration, file, offset } => {
            let class = class(&declaration)?;
            let record = class.record(&file)?;
            piece(read_piece(&class.folder.join(record.file), offset)?)
        }
        BackupRequest::Put { declaration, record, offset, bytes, last } => {
            put_back(&class(&declaration)?, &record, offset, &bytes, last)?;
            BackupReply::Taken
        }
        BackupRequest::Note { declaration, note } => {
            class(&declaration)?.note_copies(note)?;
            BackupReply::Taken
        }
        BackupRequest::Offer { key, good, keep } => {
            let vault = vault(key)?;
            let held = vault.held()?;
            BackupReply::Offered { wanted: vault.wanted(&good, &held, keep)?, held }
        }
        BackupRequest::Store { key, record, offset, bytes, last } => {
            vault(key)?.take(&record, offset, &bytes, last)?;
            BackupReply::Taken
        }
        BackupRequest::Prune { key, new, keep } => BackupReply::Held(vault(key)?.prune(&new, keep)?),
        BackupRequest::Held { environment, app, class } => {
            let mut held = Vec::new();
            for vault in Vault::all(&host.root, &host.disk, [&environment, &app, &class])? {
                held.extend(vault.held()?);
            }
            BackupReply::Held(held)
        }
        BackupRequest::Fetch { key, stored, offset } => piece(vault(key)?.piece(&stored, offset)?),
    })
}

/// Takes a backup back from its copy. It counts once the whole of it is as its record says.
fn put_back(class: &Class, record: &BackupRecord, offset: u64, bytes: &[u8], last: bool) -> Result<(), BackupError> {
    class.check_own(record)?;
    // One at a time, and none while a backup is taken.
    let _lock = class.lock()?;
    if class.record(&record.file).is_ok_and(|there| there == *record) {
        return Ok(());
    }
    // Not the name of a run's: that one is swept when a backup begins.
    let part = class.folder.join(format!("{}.back", record.file));
    let written = write_piece(&part, offset, bytes)?;
    if !last {
        return Ok(());
    }
    let proven = written.sync_all().and_then(|()| File::open(&part).and_then(digest::of_reader)).map_err(at(&part));
    let kept = proven.and_then(|(sha256, size)| {
        if (size, sha256) != (record.size, record.sha256) {
            return fail(format!(
                "what came back of {} has {size} bytes and the SHA-256 {sha256}, expected {} and {}",
                record.file, record.size, record.sha256
            ));
        }
        class.keep(&part, record)
    });
    if kept.is_err() {
        let _ = fs::remove_file(&part);
    }
    kept
}

impl Class {
    /// Notes how the copies stand; what could not be found out stays as it was.
    fn note_copies(&self, note: OffsiteNote) -> Result<(), BackupError> {
        let _lock = self.lock()?;
        let now = stamp::now_ms();
        let before = self.copies().filter(|before| before.host == note.host);
        let (looked_at_ms, held) = match note.held {
            Some(held) => (Some(now), Some(held)),
            None => before.map_or((None, None), |before| (before.looked_at_ms, before.held)),
        };
        let text = crate::exec::shown_tail(note.failed.as_bytes(), 1000);
        let failed = (!text.is_empty()).then_some(Said { at_ms: now, text });
        let stood = Stood { host: note.host, looked_at_ms, held, failed };
        let bytes = serde_json::to_vec(&stood).expect("BUG: plain data always encodes");
        let path = self.folder.join(NOTE);
        self.replace(&path, &bytes)
    }

    fn copies(&self) -> Option<Stood> {
        serde_json::from_slice(&fs::read(self.folder.join(NOTE)).ok()?).ok()
    }

    /// Returns how the copies stood.
    pub(super) fn offsite(&self, now_ms: u64) -> Option<OffsiteLive> {
        let age = |at_ms: u64| now_ms.saturating_sub(at_ms);
        let Stood { host, looked_at_ms, held, failed } = self.copies()?;
        let newest = held.as_ref().filter(|held| !held.newest.is_empty());
        Some(OffsiteLive {
            host,
            looked_ms: looked_at_ms.map(age),
            newest: newest.map(|held| BackupSeen {
                file: held.newest.clone(),
                age_ms: age(held.taken_at_ms),
                size: held.size,
            }),
            count: held.as_ref().map_or(0, |held| held.count),
            plain: held.as_ref().map_or(0, |held| held.plain),
            failed: failed.map(|said| BackupSaid { age_ms: age(said.at_ms), text: said.text }),
        })
    }
}
