use holdfast_protocol::{BACKUP_PIECE, BackupRecord, BackupReply, BackupRequest, Digest, OffsiteHeld, VaultRecord};
use sha2::{Digest as _, Sha256};

use super::{Class, OffsiteError, Sealer, ask, odd, recipients};
use crate::ports::HostLink;

/// The version of a copy's sidecar that is written.
const VERSION: u32 = 1;

/// Copies what an off-site host wants of a class, one after the other, the newest first, each followed by a pruning. Returns what
/// was copied, and what is there then.
///
/// # Errors
/// See [`OffsiteError`]. What was copied before stays.
pub async fn copy(
    class: &Class,
    from: &dyn HostLink,
    to: &dyn HostLink,
) -> Result<(Vec<String>, OffsiteHeld), OffsiteError> {
    let recipients = recipients(class.encrypt_to())?;
    let declaration = class.declaration.clone();
    let BackupReply::Good(good) = ask(from, &class.host, BackupRequest::Good { declaration }).await? else {
        return odd(&class.host);
    };
    let offer = BackupRequest::Offer { key: class.key(), good: good.clone(), keep: class.keep() };
    let BackupReply::Offered { wanted, mut held } = ask(to, &class.offsite, offer).await? else {
        return odd(&class.offsite);
    };
    let mut copied = Vec::new();
    for file in wanted {
        let Some(backup) = good.iter().find(|record| record.file == file) else { return odd(&class.offsite) };
        one(class, backup, Sealer::new(&recipients)?, from, to).await?;
        let prune = BackupRequest::Prune { key: class.key(), new: file.clone(), keep: class.keep() };
        match ask(to, &class.offsite, prune).await? {
            BackupReply::Held(stays) => held = stays,
            _ => return odd(&class.offsite),
        }
        copied.push(file);
    }
    Ok((copied, stand(class, &held)))
}

fn stand(class: &Class, held: &[VaultRecord]) -> OffsiteHeld {
    let newest = held.iter().max_by_key(|record| record.backup.taken_at_ms);
    let plain = held.iter().filter(|record| record.encrypted_to.is_empty()).count() as u32;
    OffsiteHeld {
        newest: newest.map(|record| record.backup.file.clone()).unwrap_or_default(),
        taken_at_ms: newest.map_or(0, |record| record.backup.taken_at_ms),
        size: newest.map_or(0, |record| record.size),
        count: held.len() as u32,
        plain: if class.keep().encrypted { plain } else { 0 },
    }
}

/// Copies one backup. Its last piece goes out only after the whole of it was what its sidecar says.
async fn one(
    class: &Class,
    backup: &BackupRecord,
    mut sealer: Sealer,
    from: &dyn HostLink,
    to: &dyn HostLink,
) -> Result<(), OffsiteError> {
    let suffix = if class.keep().encrypted { ".age" } else { "" };
    let record = VaultRecord {
        version: VERSION,
        host: class.host.name.to_string(),
        backup: backup.clone(),
        stored: format!("{}{suffix}", backup.file),
        size: 0,
        sha256: Digest([0; 32]),
        encrypted_to: class.encrypt_to().to_vec(),
    };
    let mut outgoing = Outgoing { class, record, to, waiting: Vec::new(), sent: 0, hasher: Sha256::new() };
    let mut plain = Sha256::new();
    let mut offset = 0;
    loop {
        let request = BackupRequest::Read { declaration: class.declaration.clone(), file: backup.file.clone(), offset };
        let BackupReply::Piece { bytes, last } = ask(from, &class.host, request).await? else {
            return odd(&class.host);
        };
        plain.update(&bytes);
        offset += bytes.len() as u64;
        outgoing.push(sealer.push(&bytes)?).await?;
        if last {
            break;
        }
        if bytes.is_empty() || offset > backup.size {
            return odd(&class.host);
        }
    }
    if (offset, Digest(plain.finalize().into())) != (backup.size, backup.sha256) {
        return Err(OffsiteError::Spoilt { file: backup.file.clone(), host: class.host.name.to_string() });
    }
    let rest = sealer.finish()?;
    outgoing.finish(rest).await
}

/// A copy on its way to its host.
struct Outgoing<'a> {
    class: &'a Class,
    record: VaultRecord,
    to: &'a dyn HostLink,
    waiting: Vec<u8>,
    sent: u64,
    hasher: Sha256,
}

impl Outgoing<'_> {
    async fn push(&mut self, bytes: Vec<u8>) -> Result<(), OffsiteError> {
        self.hasher.update(&bytes);
        self.waiting.extend(bytes);
        // One piece is always held back: the last one is sent as the last.
        while self.waiting.len() > BACKUP_PIECE {
            let rest = self.waiting.split_off(BACKUP_PIECE);
            let piece = std::mem::replace(&mut self.waiting, rest);
            self.send(piece, false).await?;
        }
        Ok(())
    }

    async fn finish(mut self, rest: Vec<u8>) -> Result<(), OffsiteError> {
        self.push(rest).await?;
        self.record.size = self.sent + self.waiting.len() as u64;
        self.record.sha256 = Digest(self.hasher.clone().finalize().into());
        let piece = std::mem::take(&mut self.waiting);
        self.send(piece, true).await
    }

    async fn send(&mut self, bytes: Vec<u8>, last: bool) -> Result<(), OffsiteError> {
        let (offset, length) = (self.sent, bytes.len() as u64);
        let record = Box::new(self.record.clone());
        let request = BackupRequest::Store { key: self.class.key(), record, offset, bytes, last };
        match ask(self.to, &self.class.offsite, request).await? {
            BackupReply::Taken => self.sent += length,
            _ => return odd(&self.class.offsite),
        }
        Ok(())
    }
}
