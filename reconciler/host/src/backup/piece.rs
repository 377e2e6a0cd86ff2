//! Files that come and go in pieces.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use holdfast_protocol::BACKUP_PIECE;

use super::{BackupError, at, fail};

/// Writes a piece behind those before it, or begins anew at 0; returns the file.
///
/// # Errors
/// When the piece is too large or does not follow the one before it, or on an I/O error.
pub(super) fn write_piece(part: &Path, offset: u64, bytes: &[u8]) -> Result<File, BackupError> {
    if bytes.len() > BACKUP_PIECE {
        return fail(format!("a piece of {} bytes is over the limit of {BACKUP_PIECE}", bytes.len()));
    }
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    // Never through a link, and never a file that somebody else holds open.
    let mut file = if offset == 0 {
        let _ = std::fs::remove_file(part);
        options.create_new(true).open(part).map_err(at(part))?
    } else {
        options.open(part).map_err(at(part))?
    };
    let there = file.seek(SeekFrom::End(0)).map_err(at(part))?;
    if there != offset {
        return fail(format!("{}: a piece begins at {offset}, expected {there}", part.display()));
    }
    file.write_all(bytes).map_err(at(part))?;
    Ok(file)
}

/// Returns the piece of a file that begins at `offset`, and whether it is the last.
///
/// # Errors
/// Any I/O error.
pub(super) fn read_piece(path: &Path, offset: u64) -> Result<(Vec<u8>, bool), BackupError> {
    let mut file = File::open(path).map_err(at(path))?;
    let size = file.metadata().map_err(at(path))?.len();
    file.seek(SeekFrom::Start(offset)).map_err(at(path))?;
    let mut bytes = Vec::new();
    file.take(BACKUP_PIECE as u64).read_to_end(&mut bytes).map_err(at(path))?;
    let last = offset + bytes.len() as u64 >= size;
    Ok((bytes, last))
}
