//! Places inside one file, and values that remember theirs.

use crate::diag::Origin;

/// A place in a file that the context names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Line, from 1; 0 for the whole file.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
    /// Characters that are marked.
    pub(crate) length: u32,
}

impl Place {
    /// Returns the place with its file.
    pub(crate) fn origin(self, file: &str) -> Origin {
        Origin { file: file.to_owned(), line: self.line, column: self.column }
    }
}

/// A decoded value with its file and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Path of its file.
    pub(crate) file: String,
    /// Its place there.
    pub(crate) place: Place,
}

impl<T> At<T> {
    /// Returns its place for the model.
    pub(crate) fn origin(&self) -> Origin {
        self.place.origin(&self.file)
    }
}
