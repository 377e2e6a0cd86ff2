//! What can go wrong with a command, as the person at the terminal sees it.

use crate::exit::Exit;

/// A failed command: what failed, what to do, and how the program ends.
#[derive(Debug)]
pub(crate) struct Error {
    /// What failed, where, what was expected: a lower-case fragment.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
    /// How the program ends.
    pub(crate) exit: Exit,
}

impl Error {
    /// Something the user can mend.
    pub(crate) fn user(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), exit: Exit::Failed }
    }

    /// Something was refused before anything changed.
    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), exit: Exit::Refused }
    }

    /// Something that should not happen.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: String::new(), exit: Exit::Failed }
    }

    /// The findings were printed already.
    pub(crate) fn printed(exit: Exit) -> Self {
        Self { message: String::new(), hint: String::new(), exit }
    }
}

/// Gives any error a hint on its way up.
pub(crate) trait OrHint<T> {
    /// Returns the value, or the error's text with a hint.
    fn or_hint(self, hint: &str) -> Result<T, Error>;
}

impl<T, E: std::error::Error> OrHint<T> for Result<T, E> {
    fn or_hint(self, hint: &str) -> Result<T, Error> {
        self.map_err(|error| {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !message.contains(&inner_text) {
                    message = format!("{message}: {inner_text}");
                }
                source = inner.source();
            }
            Error::user(message, hint)
        })
    }
}
