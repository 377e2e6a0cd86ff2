//! Hears of changes of containers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde::Deserialize;

use super::connection::{Connection, DockerError};
use super::engine::escape;

/// The largest line of an event, in bytes.
const MAX_LINE: usize = 1024 * 1024;

/// A connection on which the engine tells of changes.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
    line: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
}

#[derive(Debug, Default, Deserialize)]
struct Actor {
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

impl Events {
    pub(super) fn open(connection: Connection, prefix: &str, timeout: Duration) -> Result<Self, DockerError> {
        let filters = "{\"type\":[\"container\"],\"label\":[\"com.docker.compose.project\"]}";
        let connection = connection.stream(&format!("{prefix}/events?filters={}", escape(filters)), timeout)?;
        Ok(Self { connection, line: Vec::new() })
    }

    /// Reads what has arrived and returns the projects of which a container changed; to be called when the descriptor is readable.
    ///
    /// # Errors
    /// When the connection ended or broke, or the engine speaks something else.
    pub fn read(&mut self) -> Result<BTreeSet<String>, DockerError> {
        let data = self.connection.read_chunks()?;
        self.take(&data)
    }

    /// Returns what came in together with the engine's first answer.
    ///
    /// # Errors
    /// As [`Events::read`].
    pub fn buffered(&mut self) -> Result<BTreeSet<String>, DockerError> {
        let data = self.connection.buffered_chunks()?;
        self.take(&data)
    }

    fn take(&mut self, data: &[u8]) -> Result<BTreeSet<String>, DockerError> {
        self.line.extend_from_slice(data);
        let mut projects = BTreeSet::new();
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let event: Event =
                serde_json::from_slice(&line).map_err(|error| DockerError::Malformed(format!("an event: {error}")))?;
            if changes_state(&event.action) {
                projects.extend(event.actor.attributes.get("com.docker.compose.project").cloned());
            }
        }
        if self.line.len() > MAX_LINE {
            return Err(DockerError::Malformed("an event is too large".to_owned()));
        }
        Ok(projects)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// Every run of a healthcheck is three `exec_*` events, which change nothing; `attach`, `top` and the like are questions.
fn changes_state(action: &str) -> bool {
    let word = action.split(':').next().unwrap_or("");
    matches!(
        word,
        "create"
            | "start"
            | "die"
            | "stop"
            | "kill"
            | "oom"
            | "destroy"
            | "health_status"
            | "pause"
            | "unpause"
            | "rename"
            | "restart"
            | "update"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthcheck_that_runs_is_no_change_but_its_verdict_is() {
        assert!(!changes_state("exec_create: curl -f http://localhost"));
        assert!(!changes_state("exec_die"));
        assert!(changes_state("health_status: unhealthy"));
        assert!(changes_state("die"));
    }
}
