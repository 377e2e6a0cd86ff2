use std::collections::BTreeSet;
use std::str::FromStr;

use holdfast_core::approval::Proposal;
use holdfast_core::event::{SyncEvent, SyncResult};
use holdfast_core::id::{AppName, CommitId, EnvironmentName};
use holdfast_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::ApprovalRequest;

/// One request on the control socket: a line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// How does it stand? → [`ControlReply::Status`].
    Status,
    /// Look at the repository now. → [`ControlReply::Done`].
    Look,
    /// Sync now what the environment follows, or only one app of it, also when it is in manual mode or suspended. Followed to its end.
    /// Refused where windows close it to a person too.
    Sync {
        /// Environment.
        environment: EnvironmentName,
        /// Only this app.
        #[serde(default)]
        app: Option<AppName>,
    },
    /// Bring the previous release of an app back. Followed to its end.
    Rollback {
        /// Environment.
        environment: EnvironmentName,
        /// App.
        app: AppName,
    },
    /// Hold the running rollout. → [`ControlReply::Done`].
    Pause {
        /// Environment.
        environment: EnvironmentName,
        /// Only this app.
        #[serde(default)]
        app: Option<AppName>,
    },
    /// End the running rollout's pause or watch window. → [`ControlReply::Done`], or refused where there is neither.
    Promote {
        /// Environment.
        environment: EnvironmentName,
        /// Only this app.
        #[serde(default)]
        app: Option<AppName>,
    },
    /// Send the running rollout back. → [`ControlReply::Done`].
    Abort {
        /// Environment.
        environment: EnvironmentName,
        /// Only this app.
        #[serde(default)]
        app: Option<AppName>,
    },
    /// Start no sync of this environment, or leave this app out of every one, until it is resumed. → [`ControlReply::Done`].
    Suspend {
        /// Environment.
        environment: EnvironmentName,
        /// Only this app.
        #[serde(default)]
        app: Option<AppName>,
        /// Who asks.
        by: String,
        /// Why.
        reason: String,
    },
    /// Let a held rollout go on, and sync by itself again. → [`ControlReply::Done`].
    Resume {
        /// Environment.
        environment: EnvironmentName,
        /// Only this app.
        #[serde(default)]
        app: Option<AppName>,
    },
    /// Somebody agrees to the plan that waits. Who, is who holds the other end of the socket. → [`ControlReply::Approved`].
    Approve {
        /// Environment.
        environment: EnvironmentName,
        /// The plan's seal, or its first twelve digits or more.
        seal: String,
        /// In whose name, where root or the manager's own account speaks for somebody else.
        #[serde(default)]
        name: Option<String>,
    },
    /// References were pushed into the repository. What it leads to is followed to its end.
    Received {
        /// As git gave them to the hook.
        updates: Vec<RefUpdate>,
    },
    /// Stream the events of an environment until the connection is closed.
    Follow {
        /// Environment.
        environment: EnvironmentName,
    },
}

/// One answer on the control socket: a line of JSON. An answer that is followed to its end is many lines, the last one of which is
/// [`ControlReply::Ended`], [`ControlReply::Done`] or [`ControlReply::Refused`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ControlReply {
    /// To [`ControlRequest::Status`]. The last line.
    Status {
        /// In order of names.
        environments: Vec<EnvironmentStatus>,
        /// Why the repository cannot be fetched; what was fetched before is in force.
        #[serde(default)]
        unfetched: Option<Trouble>,
    },
    /// A line for the person at the other end.
    Message {
        /// Text without control characters.
        text: String,
    },
    /// Something happened in a sync.
    Event {
        /// Environment.
        environment: EnvironmentName,
        /// What.
        event: SyncEvent,
    },
    /// To [`ControlRequest::Approve`]. The last line.
    Approved {
        /// What was agreed to, and what follows.
        approved: Approved,
    },
    /// It is done. The last line.
    Done,
    /// It was not done. The last line.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// Everything that was followed has ended. The last line.
    Ended {
        /// By environment.
        ends: Vec<SyncEnd>,
    },
}

impl ControlReply {
    /// Returns whether nothing follows this line.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Message { .. } | Self::Event { .. })
    }

    /// Returns a message.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message { text: text.into() }
    }
}

/// Somebody's word was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// The plan.
    pub proposal: Proposal,
    /// Whose word it was.
    pub by: String,
    /// Who agreed to this plan so far.
    pub given: BTreeSet<String>,
    /// How many must.
    pub required: u32,
    /// Whether the daemon applies it now.
    pub begins: bool,
}

impl Approved {
    /// Returns whether enough people agreed.
    pub fn is_enough(&self) -> bool {
        self.given.len() as u64 >= u64::from(self.required)
    }
}

/// How the sync of one environment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncEnd {
    /// Environment.
    pub environment: EnvironmentName,
    /// How.
    pub result: SyncResult,
    /// Why, for people; may be empty.
    pub reason: String,
}

/// How an environment stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentStatus {
    /// Its name.
    pub environment: EnvironmentName,
    /// The newest commit seen; `None` before the first look succeeded.
    pub seen: Option<CommitId>,
    /// The commit last synced without anything left to do.
    pub synced: Option<CommitId>,
    /// What runs.
    pub running: Option<RunningStatus>,
    /// Whether another sync waits.
    pub waiting: bool,
    /// Whether the daemon starts syncs by itself.
    pub automatic: bool,
    /// Its apps that windows close, until when, and by which line of git.
    #[serde(default)]
    pub closed: Vec<String>,
    /// Who suspended it, and why.
    pub suspended: Option<String>,
    /// How the last sync ended, and when.
    pub last: Option<(SyncEnd, Timestamp)>,
    /// Whether hosts are as they should be.
    pub drift: DriftWord,
    /// The plan that waits for approval.
    #[serde(default)]
    pub awaits: Option<ApprovalRequest>,
    /// Why the newest commit, or the repository, cannot be used.
    pub problem: Option<Trouble>,
}

/// Something that keeps the daemon from its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What, and what to do; may be many lines.
    pub reason: String,
    /// Since when this daemon sees it.
    pub since: Timestamp,
}

/// Whether hosts are as git says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftWord {
    /// Not looked at since the daemon started, or not at all.
    Unknown,
    /// Nothing is to be done.
    InSync,
    /// This many changes would be made, and these lines say what stands in the way.
    OutOfSync {
        /// Changes.
        changes: u32,
        /// Blockers.
        blockers: Vec<String>,
    },
}

/// A sync that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningStatus {
    /// Its commit.
    pub commit: CommitId,
    /// Why it runs.
    pub cause: String,
    /// Since when.
    pub since: Timestamp,
    /// What it waits for a person with, and what to type.
    #[serde(default)]
    pub held: Option<String>,
}

/// One line that git gives a post-receive hook: old and new object, and the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefUpdate {
    /// Before; zeros when it is new.
    pub old: CommitId,
    /// After; zeros when it was removed.
    pub new: CommitId,
    /// Full name of the reference.
    pub name: String,
}

/// The line is none of a post-receive hook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("git gave the hook a line that is not `<old> <new> <reference>`")]
pub struct InvalidRefUpdate;

impl FromStr for RefUpdate {
    type Err = InvalidRefUpdate;

    /// # Source
    /// `githooks(5)`, post-receive: `<old-oid> SP <new-oid> SP <ref-name> LF`.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut words = line.trim_end_matches('\n').splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(InvalidRefUpdate);
        };
        let (old, new) = (old.parse().map_err(|_| InvalidRefUpdate)?, new.parse().map_err(|_| InvalidRefUpdate)?);
        if name.is_empty() || name.len() > 4096 || name.chars().any(char::is_control) {
            return Err(InvalidRefUpdate);
        }
        Ok(Self { old, new, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_git_gives_a_hook() {
        let (old, new) = ("0".repeat(40), "a".repeat(40));
        let update: RefUpdate = format!("{old} {new} refs/heads/with space\n").parse().unwrap();
        assert_eq!((update.new.as_str(), update.name.as_str()), (new.as_str(), "refs/heads/with space"));
        for line in ["", "a b c", &format!("{old} {new}"), &format!("{old} {new} "), &format!("{old} {new} a\x1bb")] {
            assert!(line.parse::<RefUpdate>().is_err(), "{line:?}");
        }
    }

    #[test]
    fn requests_are_lines_that_a_person_could_write() {
        let request: ControlRequest = serde_json::from_str(r#"{"verb":"sync","environment":"prod"}"#).unwrap();
        assert_eq!(request, ControlRequest::Sync { environment: "prod".parse().unwrap(), app: None });
        assert!(serde_json::from_str::<ControlRequest>(r#"{"verb":"sync","environment":"../x"}"#).is_err());
        assert!(serde_json::from_str::<ControlRequest>(r#"{"verb":"run","command":"x"}"#).is_err());
        let reply = serde_json::to_string(&ControlReply::message("hello")).unwrap();
        assert_eq!(reply, r#"{"type":"message","text":"hello"}"#);
        assert!(!reply.contains('\n'));
    }
}
