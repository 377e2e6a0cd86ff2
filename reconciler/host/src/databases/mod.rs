//! Roles, databases, extensions, grants, settings and initial data of a PostgreSQL server in a container, as a declaration on this host
//! says; and the settings of a Redis.
//!
//! # Flow
//! The catalog is read (`catalog`), held against the declaration (`roles`, `contents`: pure, and the same for looking and for acting),
//! and what differs is said to the server as SQL on standard input, over the container's own socket. No password is ever in it: a
//! password is turned into SCRAM's verifier here (`scram`), which is what the server keeps.

mod catalog;
mod contents;
mod converge;
mod live;
mod redis;
mod roles;
mod scram;
mod server;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;

use holdfast_protocol::DatabasesSpec;

pub use converge::{converge, seed};
pub use live::look;

/// Why a server could not be looked at or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabasesError {
    /// Its container does not run.
    #[error("{0}")]
    Down(String),
    /// Anything else. What the server said is in it, and may be asked again when the server only starts.
    #[error("{0}")]
    Failed(String),
}

impl DatabasesError {
    /// Returns whether waiting may help: the server starts, or is in the middle of its first start.
    pub fn may_pass(&self) -> bool {
        const SIGNS: [&str; 9] = [
            "Could not connect to Redis",
            "Redis said nothing",
            "LOADING",
            "connection to server",
            "starting up",
            "shutting down",
            "terminating connection",
            "server closed the connection",
            "is not running",
        ];
        match self {
            Self::Down(_) => true,
            // Waiting brings no role and no password.
            Self::Failed(text) if text.contains("does not exist") || text.contains("authentication failed") => false,
            Self::Failed(text) => SIGNS.iter().any(|sign| text.contains(sign)),
        }
    }
}

/// Returns a failure with this text.
fn fail<T>(text: impl Into<String>) -> Result<T, DatabasesError> {
    Err(DatabasesError::Failed(text.into()))
}

/// Reads a declaration; `None` when there is none.
fn load(path: &Path) -> Result<Option<DatabasesSpec>, DatabasesError> {
    match std::fs::read(path) {
        // The error says a line and a kind, and nothing of the text, which has passwords in it.
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(spec) => Ok(Some(spec)),
            Err(error) => fail(format!("{}: not a declaration of databases (line {})", path.display(), error.line())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => fail(format!("{}: {error}", path.display())),
    }
}

/// Something that is not as declared, and what makes it so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    /// For people; never a password.
    what: String,
    /// Statements for the database at hand.
    sql: String,
    /// It is the taking away of a login whose time is over.
    over: bool,
}

impl Difference {
    fn new(what: String, sql: String) -> Self {
        Self { what, sql, over: false }
    }
}

/// Returns a name as SQL takes it.
fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns text as SQL takes it, whatever `standard_conforming_strings` says.
fn text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
