//! Frames over asynchronous streams. The format is [`holdfast_protocol::write_frame`]'s.

use holdfast_protocol::{FrameError, MAX_FRAME};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Returns a message as a frame.
///
/// # Errors
/// [`FrameError::TooLarge`]: nothing was sent, the channel stays usable.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::new();
    holdfast_protocol::write_frame(&mut frame, message)?;
    Ok(frame)
}

/// Reads one message. Memory grows only as bytes arrive, not by what the length announces.
///
/// # Errors
/// [`FrameError::Closed`] at a clean end; every other variant means the peer cannot be trusted further.
pub(crate) async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let mut frame = Vec::with_capacity(1024);
    if stream.take(4).read_to_end(&mut frame).await? < 4 {
        return Err(if frame.is_empty() { FrameError::Closed } else { cut() });
    }
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    if stream.take(length as u64).read_to_end(&mut frame).await? < length {
        return Err(cut());
    }
    holdfast_protocol::read_frame(&mut frame.as_slice())
}

fn cut() -> FrameError {
    std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{Envelope, Reply};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back_what_was_encoded_in_pieces_of_any_size(id: u64, piece in 1..40_usize, count in 0..200_usize) {
            let digest = holdfast_core::id::digest_of(&id.to_le_bytes());
            let message = Envelope { id, body: Reply::Missing(vec![digest; count]) };
            let bytes = encode(&message).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let (mut write, mut read) = tokio::io::duplex(piece);
                let writer = async {
                    use tokio::io::AsyncWriteExt;
                    write.write_all(&bytes).await.unwrap();
                    drop(write);
                };
                tokio::join!(writer, super::read::<Envelope<Reply>>(&mut read)).1.unwrap()
            });
            prop_assert_eq!(read, message);
        }

        #[test]
        fn any_bytes_end_in_an_error_or_a_message(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(super::read::<Envelope<Reply>>(&mut bytes.as_slice()));
        }
    }

    #[tokio::test]
    async fn tells_a_clean_end_from_a_cut() {
        assert!(matches!(read::<u8>(&mut &b""[..]).await, Err(FrameError::Closed)));
        assert!(matches!(read::<u8>(&mut &b"\x01\0"[..]).await, Err(FrameError::Io(_))));
        assert!(matches!(read::<u8>(&mut &b"\x05\0\0\0ab"[..]).await, Err(FrameError::Io(_))));
        assert!(matches!(read::<u8>(&mut &b"Welcome!"[..]).await, Err(FrameError::TooLarge(_))));
    }
}
