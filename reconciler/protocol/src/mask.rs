use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that must never be shown: the value of a secret, or a secret as it is written in a file. `Debug` does not show it either.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hidden(pub Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("‹secret›")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_printed_for_debugging_shows_nothing() {
        let blob = crate::Digest([1; 32]);
        let request = crate::Request::Mask { blob, values: vec![Hidden(b"hunter2".to_vec())] };
        let shown = format!("{request:?}");
        assert!(shown.contains("‹secret›") && !shown.contains("hunter2") && !shown.contains("104"), "{shown}");
    }
}
