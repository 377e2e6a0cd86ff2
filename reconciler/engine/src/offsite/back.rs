use std::io::{self, Read};
use std::sync::Arc;

use holdfast_core::config::HostSpec;
use holdfast_protocol::{BACKUP_PIECE, BackupReply, BackupRequest, VaultKey, VaultRecord};
use tokio::sync::mpsc;

use super::{OffsiteError, ask, odd};
use crate::ports::HostLink;
use crate::secrets::Identities;

/// Pieces that wait between two ends.
const WAITING: usize = 2;

/// Returns the copies of a class from all hosts, the newest first.
///
/// # Errors
/// See [`OffsiteError`].
pub async fn held(
    link: &dyn HostLink,
    offsite: &HostSpec,
    [environment, app, class]: [&str; 3],
) -> Result<Vec<VaultRecord>, OffsiteError> {
    let [environment, app, class] = [environment, app, class].map(str::to_owned);
    match ask(link, offsite, BackupRequest::Held { environment, app, class }).await? {
        BackupReply::Held(mut held) => {
            held.sort_by(|a, b| (b.backup.taken_at_ms, &b.stored).cmp(&(a.backup.taken_at_ms, &a.stored)));
            Ok(held)
        }
        _ => odd(offsite),
    }
}

/// Brings a copy back: afterwards it is a good backup of the host again, held against its own sidecar there.
///
/// # Errors
/// See [`OffsiteError`]; then there is no such backup.
pub async fn bring_back(
    record: &VaultRecord,
    (offsite, from): (&HostSpec, &dyn HostLink),
    (host, to, declaration): (&HostSpec, &dyn HostLink, &str),
    identities: Arc<Identities>,
) -> Result<(), OffsiteError> {
    let (cipher, incoming) = mpsc::channel::<Vec<u8>>(WAITING);
    let (plain, outgoing) = mpsc::channel::<io::Result<Vec<u8>>>(WAITING);
    let encrypted = !record.encrypted_to.is_empty();
    let opening = tokio::task::spawn_blocking(move || {
        let pieces = Pieces { incoming, piece: Vec::new(), at: 0 };
        let opened: io::Result<Box<dyn Read>> = if encrypted {
            identities.open(pieces).map(|reader| Box::new(reader) as Box<dyn Read>)
        } else {
            Ok(Box::new(pieces))
        };
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return drop(plain.blocking_send(Err(error))),
        };
        loop {
            let mut bytes = Vec::new();
            let read = (&mut reader).take(BACKUP_PIECE as u64).read_to_end(&mut bytes);
            let ends = read.as_ref().map_or(true, |count| *count < BACKUP_PIECE);
            if plain.blocking_send(read.map(|_| bytes)).is_err() || ends {
                return;
            }
        }
    });
    let feeding = async {
        let key = VaultKey {
            environment: record.backup.environment.clone(),
            app: record.backup.app.clone(),
            class: record.backup.class.clone(),
            host: record.host.clone(),
        };
        let mut offset = 0;
        loop {
            let request = BackupRequest::Fetch { key: key.clone(), stored: record.stored.clone(), offset };
            let BackupReply::Piece { bytes, last } = ask(from, offsite, request).await? else { return odd(offsite) };
            offset += bytes.len() as u64;
            if !last && bytes.is_empty() {
                return odd(offsite);
            }
            // Nobody takes it any more: the other end says why.
            if cipher.send(bytes).await.is_err() || last {
                drop(cipher);
                return Ok(());
            }
        }
    };
    let putting = put(record, outgoing, (host, to, declaration));
    let (fed, put) = tokio::join!(feeding, putting);
    // What went wrong at the source explains what went wrong behind it.
    fed?;
    put?;
    drop(opening.await);
    Ok(())
}

async fn put(
    record: &VaultRecord,
    mut outgoing: mpsc::Receiver<io::Result<Vec<u8>>>,
    (host, to, declaration): (&HostSpec, &dyn HostLink, &str),
) -> Result<(), OffsiteError> {
    let mut offset = 0;
    while let Some(piece) = outgoing.recv().await {
        let bytes =
            piece.map_err(|error| OffsiteError::Seal(format!("{} cannot be decrypted: {error}", record.stored)))?;
        let length = bytes.len() as u64;
        let last = offset + length >= record.backup.size;
        let request = BackupRequest::Put {
            declaration: declaration.to_owned(),
            record: Box::new(record.backup.clone()),
            offset,
            bytes,
            last,
        };
        match ask(to, host, request).await? {
            BackupReply::Taken if last => return Ok(()),
            BackupReply::Taken => offset += length,
            _ => return odd(host),
        }
    }
    Err(OffsiteError::Seal(format!("the copy {} ends before its time", record.stored)))
}

/// What comes through a channel, to be read.
struct Pieces {
    incoming: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.incoming.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len() - self.at);
        into[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
