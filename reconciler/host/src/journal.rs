//! The journal of one transaction: what was about to be done, and what was done, durable before anything goes on.
//!
//! # Format
//! `HFJ` and a version byte, then records: little-endian `u32` length, the first 8 bytes of the SHA-256 of length and body, the
//! body (a [`JournalEntry`] in postcard's format). A record that ends beyond the file, or whose checksum differs, was being written
//! when the machine went down: it and what follows is cut off when the journal is opened again, since nothing was done on the
//! strength of it. A good record *after* a bad one means the disk lost something: such a journal is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use holdfast_protocol::{JournalEntry, JournalEvent};
use rustix::fs::FallocateFlags;
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 4] = b"HFJ\x01";

/// Length and checksum.
const HEAD: usize = 12;

/// The largest record: the before-state of a step is small, for contents are kept as blobs.
const MAX_RECORD: usize = 1024 * 1024;

/// Space taken when a journal is created, so that a full disk can still be written down and gone back from.
const RESERVED: u64 = 128 * 1024;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Any I/O error, such as a full disk.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// Its file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// It was written by a newer program, or is no journal.
    #[error("journal {} is not of a version this program knows: run the program that wrote it", .0.display())]
    Version(PathBuf),
    /// It lost records in its middle: nobody can tell what was done. An operator must look.
    #[error("journal {} is damaged at byte {at}, before its end: compare the host with the last good entries by hand", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// Where.
        at: u64,
    },
}

/// The writer of a journal; there is one at a time, which the caller's lock ensures.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    entries: Vec<JournalEntry>,
    end: u64,
}

impl Journal {
    /// Opens a journal, creating it where it is missing, and cuts off a torn end.
    ///
    /// # Errors
    /// Any [`JournalError`]; nothing may be done for the transaction then.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let bytes = read_all(&mut file).map_err(io)?;
        let scan = scan(&bytes, path)?;
        if scan.end < bytes.len() as u64 || bytes.len() < MAGIC.len() {
            file.set_len(scan.end).map_err(io)?;
        }
        if scan.end == 0 {
            // Not every file system can; then there is no reserve, and that is all.
            let _ = rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, RESERVED);
            file.write_all_at(MAGIC, 0).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        crate::paths::sync_folder(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        Ok(Self { file, path: path.to_owned(), entries: scan.entries, end: scan.end.max(MAGIC.len() as u64) })
    }

    /// Returns all entries.
    pub fn entries(&self) -> &[JournalEntry] {
        &self.entries
    }

    /// Appends an entry; when this returns it is durable (a progress entry only visible).
    ///
    /// # Errors
    /// [`JournalError::Io`]; the caller must stop, for what it would do next would not be known after a crash.
    pub fn append(&mut self, at_ms: u64, event: JournalEvent) -> Result<(), JournalError> {
        let durable = !matches!(event, JournalEvent::Progress { .. });
        let entry = JournalEntry { seq: self.entries.last().map_or(0, |last| last.seq + 1), at_ms, event };
        let record = encode(&entry);
        let written = self
            .file
            .write_all_at(&record, self.end)
            .and_then(|()| if durable { self.file.sync_data() } else { Ok(()) });
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })?;
        self.end += record.len() as u64;
        self.entries.push(entry);
        Ok(())
    }
}

/// Reads a journal that may be growing.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    offset: u64,
}

impl Reader {
    /// Returns a reader at the beginning. The file may not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0 }
    }

    /// Returns the entries that were completed since the last call.
    ///
    /// # Errors
    /// [`JournalError::Io`] and [`JournalError::Version`].
    pub fn poll(&mut self) -> Result<Vec<JournalEntry>, JournalError> {
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        if file.metadata().map_err(io)?.len() <= self.offset {
            return Ok(Vec::new());
        }
        if self.offset == 0 {
            let mut magic = [0; 4];
            match file.read_exact_at(&mut magic, 0) {
                Ok(()) if magic == *MAGIC => self.offset = MAGIC.len() as u64,
                Ok(()) => return Err(JournalError::Version(self.path.clone())),
                Err(_) => return Ok(Vec::new()),
            }
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(io)?;
        let mut entries = Vec::new();
        let mut at = 0;
        while let Some((entry, length)) = decode(&bytes[at..]) {
            entries.push(entry);
            at += length;
        }
        self.offset += at as u64;
        Ok(entries)
    }
}

/// Returns all good entries of a journal without changing it; none where there is no file.
///
/// # Errors
/// As [`Journal::open`].
pub fn read(path: &Path) -> Result<Vec<JournalEntry>, JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let bytes = read_all(&mut file).map_err(io)?;
    Ok(scan(&bytes, path)?.entries)
}

fn read_all(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(file, &mut bytes)?;
    Ok(bytes)
}

fn encode(entry: &JournalEntry) -> Vec<u8> {
    let body = postcard::to_stdvec(entry).expect("BUG: plain data always encodes");
    let length = (body.len() as u32).to_le_bytes();
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend_from_slice(&length);
    record.extend_from_slice(&checksum(&length, &body));
    record.extend_from_slice(&body);
    record
}

fn checksum(length: &[u8], body: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::new().chain_update(length).chain_update(body).finalize().into();
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

/// Decodes the record at the beginning; `None` when it is not whole and good.
fn decode(bytes: &[u8]) -> Option<(JournalEntry, usize)> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let end = HEAD + u32::from_le_bytes(length) as usize;
    if end > HEAD + MAX_RECORD {
        return None;
    }
    let body = bytes.get(HEAD..end)?;
    if bytes[4..HEAD] != checksum(&length, body) {
        return None;
    }
    Some((postcard::from_bytes(body).ok()?, end))
}

struct Scan {
    entries: Vec<JournalEntry>,
    /// Where the good part ends; 0 when not even the head is whole.
    end: u64,
}

fn scan(bytes: &[u8], path: &Path) -> Result<Scan, JournalError> {
    if bytes.len() < MAGIC.len() || bytes.iter().all(|byte| *byte == 0) {
        return Ok(Scan { entries: Vec::new(), end: 0 });
    }
    if bytes[..MAGIC.len()] != *MAGIC {
        return Err(JournalError::Version(path.to_owned()));
    }
    let mut entries = Vec::new();
    let mut at = MAGIC.len();
    while let Some((entry, length)) = decode(&bytes[at..]) {
        entries.push(entry);
        at += length;
    }
    if good_after(&bytes[at..]) {
        return Err(JournalError::Damaged { path: path.to_owned(), at: at as u64 });
    }
    Ok(Scan { entries, end: at as u64 })
}

/// Returns whether a durable record follows the bad one at the beginning. Progress entries do not count: several may be on their way
/// to the disk at once, in any order.
fn good_after(bytes: &[u8]) -> bool {
    let Some(length) = bytes.get(..4).and_then(|length| <[u8; 4]>::try_from(length).ok()) else { return false };
    let mut at = HEAD + u32::from_le_bytes(length) as usize;
    while let Some((entry, length)) = bytes.get(at..).and_then(decode) {
        if !matches!(entry.event, JournalEvent::Progress { .. }) {
            return true;
        }
        at += length;
    }
    false
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::Phase;

    use super::*;

    fn event(step: u32) -> JournalEvent {
        JournalEvent::Intent {
            phase: Phase::Prepare,
            step,
            title: format!("step {step}"),
            before: vec![step as u8; 40],
        }
    }

    fn written(count: u32) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        for step in 0..count {
            journal.append(7, event(step)).unwrap();
        }
        drop(journal);
        let bytes = std::fs::read(&path).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn cut_at_every_byte_it_keeps_the_whole_records_and_goes_on() {
        let (_folder, path, bytes) = written(3);
        for length in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            let kept = journal.entries().len();
            assert_eq!(kept, (0..3).filter(|count| length >= record_end(&bytes, *count)).count(), "at {length}");
            journal.append(8, event(99)).unwrap();
            let again = read(&path).unwrap();
            assert_eq!(again.len(), kept + 1);
            assert!(again.iter().enumerate().all(|(index, entry)| entry.seq == index as u64));
            assert_eq!(again[kept].event, event(99));
        }
    }

    fn record_end(bytes: &[u8], count: usize) -> usize {
        let mut at = MAGIC.len();
        for _ in 0..=count {
            at += decode(&bytes[at..]).unwrap().1;
        }
        at
    }

    #[test]
    fn a_tail_of_zeros_or_rubbish_is_cut() {
        let (_folder, path, bytes) = written(2);
        let last = record_end(&bytes, 0);
        for at in last..bytes.len() {
            let mut torn = bytes.clone();
            torn[at..].fill(0);
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(Journal::open(&path).unwrap().entries().len(), 1, "zeros from {at}");
            let mut torn = bytes.clone();
            torn[at] ^= 0x40;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(Journal::open(&path).unwrap().entries().len(), 1, "flipped at {at}");
        }
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let (_folder, path, bytes) = written(3);
        let mut damaged = bytes.clone();
        damaged[record_end(&bytes, 0) + HEAD + 5] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Damaged { .. })));
        damaged = bytes;
        damaged[3] = 9;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Version(_))));
    }

    #[test]
    fn a_reader_follows_a_growing_file_record_by_record() {
        let (folder, _path, bytes) = written(3);
        let growing = folder.path().join("growing");
        let mut reader = Reader::new(&growing);
        assert_eq!(reader.poll().unwrap(), []);
        let mut seen = Vec::new();
        for length in 0..=bytes.len() {
            std::fs::write(&growing, &bytes[..length]).unwrap();
            seen.extend(reader.poll().unwrap());
        }
        assert_eq!(seen.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
