//! The content-addressed store of what the manager sent and what a way back needs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use holdfast_protocol::{Digest, Fault, FaultKind};
use sha2::{Digest as _, Sha256};

use crate::paths::{Root, create_private, sync_folder};

/// The largest piece of a blob that is taken, in bytes.
pub const MAX_PIECE: usize = 1024 * 1024;

/// The largest blob that is taken unasked, in bytes: configuration is small, and a host's disk is not ours to fill.
pub const MAX_BLOB: u64 = 64 * 1024 * 1024;

/// How many times its size a larger one needs: as it arrives, unpacked by the engine, and as images.
const TIMES: u64 = 3;

/// Bytes that are left free beside it.
const LEFT_FREE: u64 = 256 << 20;

/// The most larger blobs that one channel may ask room for.
const MAX_LARGE: usize = 64;

/// The most blobs one channel may have half sent.
const MAX_OPEN: usize = 64;

/// Takes the blobs that arrive on one channel, in pieces, into the content-addressed store.
///
/// # Guarantees
/// A name in the store holds exactly the content it is the digest of, readable by root only, and is durable before the last piece
/// is acknowledged. What was half sent when the channel closed is removed.
#[derive(Debug)]
pub struct Inbox {
    root: Root,
    open: BTreeMap<Digest, Open>,
    /// Bytes of those that there is room for.
    room: BTreeMap<Digest, u64>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        // After the rename it is no longer there, which is as good.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns those of the digests that are not stored.
pub fn missing(root: &Root, wanted: &[Digest]) -> Vec<Digest> {
    wanted.iter().filter(|digest| !root.blob(digest).is_file()).copied().collect()
}

/// Returns the content of a stored blob, checked against its name.
///
/// # Errors
/// When it is not stored, cannot be read, or the disk gives back something else: send it again.
pub fn read(root: &Root, digest: &Digest) -> io::Result<Vec<u8>> {
    let content = fs::read(root.blob(digest))?;
    if crate::digest::of(&content) != *digest {
        return Err(io::Error::other(format!(
            "the stored blob {} has another content than its name says",
            digest.short()
        )));
    }
    Ok(content)
}

/// Stores content that is already whole, such as the prior content of a file, and returns its digest.
///
/// # Errors
/// Any I/O error; nothing is stored then.
pub fn store(root: &Root, content: &[u8]) -> io::Result<Digest> {
    let digest = crate::digest::of(content);
    if !root.blob(&digest).is_file() {
        let mut open = Open::create(root, &digest)?;
        open.file.write_all(content)?;
        open.keep(root, &digest)?;
    }
    Ok(digest)
}

impl Inbox {
    /// Returns an inbox with nothing half sent.
    pub fn new(root: Root) -> Self {
        Self { root, open: BTreeMap::new(), room: BTreeMap::new() }
    }

    /// Takes a blob of this size from now on, also one that is larger than others.
    ///
    /// # Errors
    /// `Refused` when it does not fit; `Failed` when the free space cannot be read.
    pub fn make_room(&mut self, digest: Digest, size: u64) -> Result<(), Fault> {
        let folder = self.root.blobs();
        let failed = |error: String| Fault {
            kind: FaultKind::Failed,
            message: format!("the free space of {} cannot be read: {error}", folder.display()),
        };
        create_private(&folder).map_err(|error| failed(error.to_string()))?;
        let stat = rustix::fs::statvfs(&folder).map_err(|error| failed(error.to_string()))?;
        fits(size, stat.f_bavail.saturating_mul(stat.f_frsize))
            .map_err(|why| refused(format!("blob {} does not fit in {}: {why}", digest.short(), folder.display())))?;
        if self.room.len() >= MAX_LARGE && !self.room.contains_key(&digest) {
            return Err(refused(format!("room for more than {MAX_LARGE} blobs is asked for over one channel")));
        }
        self.room.insert(digest, size);
        Ok(())
    }

    /// Takes one piece; the last one is checked and moved into the store.
    ///
    /// # Errors
    /// `Refused` when the piece does not follow the one before, is too large, or the whole has another digest: the blob must then
    /// be sent from its beginning. `Failed` on an I/O error.
    pub fn put(&mut self, digest: Digest, offset: u64, bytes: &[u8], last: bool) -> Result<(), Fault> {
        let result = self.take(digest, offset, bytes, last);
        if result.is_err() || last {
            self.open.remove(&digest);
        }
        result
    }

    fn take(&mut self, digest: Digest, offset: u64, bytes: &[u8], last: bool) -> Result<(), Fault> {
        let failed = |error: io::Error| Fault {
            kind: FaultKind::Failed,
            message: format!("store blob {} in {}: {error}", digest.short(), self.root.blobs().display()),
        };
        if bytes.len() > MAX_PIECE {
            return Err(refused(format!("a piece of {} bytes is over the limit of {MAX_PIECE}", bytes.len())));
        }
        if offset == 0 {
            if self.open.len() >= MAX_OPEN && !self.open.contains_key(&digest) {
                return Err(refused(format!("more than {MAX_OPEN} blobs are half sent: finish one first")));
            }
            // The file of an earlier attempt goes first: both have the same name.
            self.open.remove(&digest);
            self.open.insert(digest, Open::create(&self.root, &digest).map_err(failed)?);
        }
        let Some(open) = self.open.get_mut(&digest) else {
            return Err(refused(format!("blob {}: the first piece must begin at 0, not at {offset}", digest.short())));
        };
        if open.size != offset {
            return Err(refused(format!(
                "blob {}: a piece begins at {offset}, expected {}",
                digest.short(),
                open.size
            )));
        }
        let most = self.room.get(&digest).copied().unwrap_or(MAX_BLOB);
        if open.size.saturating_add(bytes.len() as u64) > most {
            return Err(refused(format!("blob {} is over the limit of {most} bytes", digest.short())));
        }
        open.file.write_all(bytes).map_err(failed)?;
        open.hasher.update(bytes);
        open.size += bytes.len() as u64;
        if !last {
            return Ok(());
        }
        let found = Digest(open.hasher.clone().finalize().into());
        if found != digest {
            return Err(refused(format!("a blob said to be {} is {}: send it again", digest.short(), found.short())));
        }
        open.keep(&self.root, &digest).map_err(failed)
    }
}

impl Open {
    fn create(root: &Root, digest: &Digest) -> io::Result<Self> {
        create_private(&root.blobs())?;
        // The process id keeps two channels that send the same blob apart.
        let path = root.blobs().join(format!(".{digest}.{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, hasher: Sha256::new(), size: 0 })
    }

    fn keep(&mut self, root: &Root, digest: &Digest) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, root.blob(digest))?;
        sync_folder(&root.blobs())
    }
}

/// Says why a blob of an archive does not fit.
fn fits(size: u64, free: u64) -> Result<(), String> {
    let wanted = size.saturating_mul(TIMES).saturating_add(LEFT_FREE);
    if free >= wanted {
        return Ok(());
    }
    Err(format!(
        "{} MiB are free, and archives of {} MiB need {} MiB (as they arrive, unpacked, and loaded): make room",
        free >> 20,
        size.div_ceil(1 << 20),
        wanted >> 20
    ))
}

fn refused(message: String) -> Fault {
    Fault { kind: FaultKind::Refused, message }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn inbox() -> (tempfile::TempDir, Inbox, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().join("holdfast"));
        root.prepare().unwrap();
        (folder, Inbox::new(root.clone()), root)
    }

    fn names(root: &Root) -> Vec<String> {
        fs::read_dir(root.blobs()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_blob_in_pieces_is_stored_privately_and_read_back() {
        let (_folder, mut inbox, root) = inbox();
        let digest = crate::digest::of(b"hello world");
        assert_eq!(missing(&root, &[digest]), [digest]);
        inbox.put(digest, 0, b"hello ", false).unwrap();
        inbox.put(digest, 6, b"world", true).unwrap();
        assert_eq!(missing(&root, &[digest]), []);
        assert_eq!(read(&root, &digest).unwrap(), b"hello world");
        assert_eq!(fs::metadata(root.blob(&digest)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&root), [digest.to_string()]);
    }

    #[test]
    fn another_content_than_the_name_says_is_refused_and_leaves_nothing() {
        let (_folder, mut inbox, root) = inbox();
        let fault = inbox.put(crate::digest::of(b"this"), 0, b"that", true).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Refused);
        assert_eq!(names(&root), [""; 0]);
    }

    #[test]
    fn a_gap_is_refused_and_the_blob_starts_over() {
        let (_folder, mut inbox, root) = inbox();
        let digest = crate::digest::of(b"abcd");
        inbox.put(digest, 0, b"ab", false).unwrap();
        assert_eq!(inbox.put(digest, 3, b"d", true).unwrap_err().kind, FaultKind::Refused);
        assert_eq!(inbox.put(digest, 2, b"cd", true).unwrap_err().kind, FaultKind::Refused);
        inbox.put(digest, 0, b"abcd", true).unwrap();
        assert_eq!(read(&root, &digest).unwrap(), b"abcd");
    }

    #[test]
    fn cap_09_only_what_there_is_room_for_is_taken() {
        let why = fits(1 << 30, 2 << 30).unwrap_err();
        assert!(why.contains("2048 MiB are free") && why.contains("need 3328 MiB"), "{why}");
        assert_eq!(fits(1 << 30, (3 << 30) + (256 << 20)), Ok(()));
        let (_folder, mut inbox, root) = inbox();
        let digest = crate::digest::of(b"abcd");
        assert_eq!(inbox.make_room(digest, 1 << 60).unwrap_err().kind, FaultKind::Refused);
        // What was announced is the most that is taken.
        inbox.make_room(digest, 3).unwrap();
        inbox.put(digest, 0, b"ab", false).unwrap();
        assert_eq!(inbox.put(digest, 2, b"cd", true).unwrap_err().kind, FaultKind::Refused);
        assert_eq!(names(&root), [""; 0]);
        inbox.make_room(digest, 4).unwrap();
        inbox.put(digest, 0, b"abcd", true).unwrap();
        assert_eq!(read(&root, &digest).unwrap(), b"abcd");
    }

    #[test]
    fn a_closed_channel_leaves_no_half_blob() {
        let (_folder, mut inbox, root) = inbox();
        inbox.put(crate::digest::of(b"abcd"), 0, b"ab", false).unwrap();
        assert_eq!(names(&root).len(), 1);
        drop(inbox);
        assert_eq!(names(&root), [""; 0]);
    }

    #[test]
    fn a_rotten_blob_is_not_given_out() {
        let (_folder, _inbox, root) = inbox();
        let digest = store(&root, b"good").unwrap();
        fs::write(root.blob(&digest), b"evil").unwrap();
        assert!(read(&root, &digest).is_err());
    }
}
