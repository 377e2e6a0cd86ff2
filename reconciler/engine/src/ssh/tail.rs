use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How many bytes of a stream of complaints are kept: enough for what `ssh` and `sudo` say, too little to hurt.
const KEPT: usize = 4096;

/// The last words of a process, for error messages.
///
/// # Guarantees
/// Holds at most 4 KiB, whatever the other side sends. What [`Tail::text`] returns has no control character, so it can neither move
/// a terminal's cursor nor begin a line of its own.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    /// Returns an empty tail.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a stream to its end in a task of its own and keeps what it said last. The handle ends with the stream.
    pub fn collect(&self, mut stream: impl AsyncRead + Send + Unpin + 'static) -> tokio::task::JoinHandle<()> {
        let tail = self.clone();
        tokio::spawn(async move {
            let mut piece = [0; 1024];
            while let Ok(count) = stream.read(&mut piece).await {
                if count == 0 {
                    break;
                }
                tail.push(&piece[..count]);
            }
        })
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    /// Returns the bytes as they came, for recognising what they mean. Not for people.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Returns what was said, escaped, on one line.
    pub fn text(&self) -> String {
        escaped(&self.raw())
    }
}

/// Returns text of another machine so that it can be shown: lines joined with `; `, every control or direction character escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push_str("; ");
        }
        for character in part.chars() {
            let turns =
                matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if character.is_control() || turns {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end_and_escapes_it() {
        let tail = Tail::new();
        tail.push(&vec![b'x'; 10_000]);
        tail.push(b"\nsecond \x1b[31mline\r\n\n\xff");
        let text = tail.text();
        assert!(tail.raw().len() <= KEPT + 2, "{}", tail.raw().len());
        assert!(text.ends_with("x; second \\u{1b}[31mline; \u{fffd}"), "{text}");
    }

    #[tokio::test]
    async fn reads_a_stream_to_its_end() {
        let tail = Tail::new();
        tail.collect(&b"Permission denied\n"[..]).await.unwrap();
        assert_eq!(tail.text(), "Permission denied");
    }
}
