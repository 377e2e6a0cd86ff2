//! Computes the digests of the wire.

use std::io::{self, Read};

use holdfast_protocol::Digest;
use sha2::{Digest as _, Sha256};

/// The digest that stands for "this is no regular file".
pub const NO_CONTENT: Digest = Digest([0; 32]);

/// Returns the SHA-256 digest of bytes.
pub fn of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// Returns the SHA-256 digest of all that a reader gives, and how many bytes that was.
///
/// # Errors
/// Any error of the reader.
pub fn of_reader(mut reader: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((Digest(hasher.finalize().into()), total)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree_with_the_standard() {
        // FIPS 180-4, example "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(b"abc").to_string(), abc);
        let (digest, size) = of_reader(&b"abc"[..]).unwrap();
        assert_eq!((digest.to_string().as_str(), size), (abc, 3));
    }
}
