use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest frame in bytes that either side sends or takes: a peer that announces more is cut off before any allocation.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// Why a frame could not be read or written. The channel is unusable afterwards: close it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed the channel between two frames.
    #[error("the channel was closed")]
    Closed,
    /// The channel broke, also in the middle of a frame.
    #[error("the channel broke: {0}")]
    Io(#[from] io::Error),
    /// A frame is larger than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The bytes are no message of this version.
    #[error("a frame does not hold a message of this version: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Writes one message as a frame and flushes it.
///
/// # Source
/// Little-endian `u32` length, then the message in postcard's format (postcard 1.x wire specification).
///
/// # Errors
/// [`FrameError::TooLarge`] before anything is written; [`FrameError::Io`] when the channel is gone.
pub fn write_frame<T: Serialize>(writer: &mut impl Write, message: &T) -> Result<(), FrameError> {
    let body = postcard::to_stdvec(message)?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLarge(body.len()));
    }
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    writer.write_all(&frame)?;
    writer.flush()?;
    Ok(())
}

/// Reads one message.
///
/// # Errors
/// [`FrameError::Closed`] at a clean end; every other variant means the peer cannot be trusted further.
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match reader.read(&mut length[filled..]) {
            Ok(0) if filled == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(postcard::from_bytes(&body)?)
}
