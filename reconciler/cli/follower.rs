//! What the daemon of this manager says of itself, asked on its control socket.

use std::io;
use std::time::Duration;

use holdfast_core::id::EnvironmentName;
use holdfast_core::view::{DaemonDocument, FollowedDocument, RunningDocument, TroubleDocument, harmless};
use holdfast_engine::daemon::{
    ControlClient, ControlError, ControlReply, ControlRequest, EnvironmentStatus, RunningStatus, Trouble,
};

use crate::commands::history::when;
use crate::setup::Setup;

/// How long the daemon may think: it answers between two thoughts.
const ANSWER: Duration = Duration::from_secs(5);

/// What the daemon knows.
pub(crate) struct Follower {
    environments: Vec<EnvironmentStatus>,
    unfetched: Option<Trouble>,
}

impl Follower {
    /// Asks the daemon.
    ///
    /// # Errors
    /// Why it says nothing, for people: none runs, it is not ours to ask, or it hangs.
    pub(crate) async fn ask(setup: &Setup) -> Result<Self, String> {
        let socket = setup.manager.runtime_dir.join("control");
        let asked = async {
            let mut client = ControlClient::ask(&socket, &ControlRequest::Status, Duration::ZERO).await?;
            match client.next().await? {
                Some(ControlReply::Status { environments, unfetched }) => Ok(Self { environments, unfetched }),
                _ => Err(ControlError::Broken(io::Error::other("it gave no status"))),
            }
        };
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(follower)) => Ok(follower),
            Ok(Err(ControlError::Absent { source, .. })) if source.kind() != io::ErrorKind::PermissionDenied => {
                Err("no daemon runs here".to_owned())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the daemon did not answer within {} seconds", ANSWER.as_secs())),
        }
    }

    /// Returns why the daemon cannot fetch the repository.
    pub(crate) fn unfetched(&self) -> Option<&Trouble> {
        self.unfetched.as_ref()
    }

    /// Returns what concerns all environments, as JSON.
    pub(crate) fn document(&self) -> DaemonDocument {
        DaemonDocument { unfetched: self.unfetched.as_ref().map(trouble) }
    }

    /// Returns what it does in an environment; `None` when it does not follow it.
    pub(crate) fn environment(&self, name: &EnvironmentName) -> Option<&EnvironmentStatus> {
        self.environments.iter().find(|one| one.environment == *name)
    }
}

/// Returns what the daemon does in an environment, as JSON.
pub(crate) fn followed(status: &EnvironmentStatus) -> FollowedDocument {
    FollowedDocument {
        running: status.running.as_ref().map(|RunningStatus { commit, cause, since, held }| RunningDocument {
            commit: commit.clone(),
            cause: cause.clone(),
            since: *since,
            held: held.clone(),
        }),
        waiting: status.waiting,
        problem: status.problem.as_ref().map(trouble),
    }
}

fn trouble(trouble: &Trouble) -> TroubleDocument {
    TroubleDocument { reason: trouble.reason.clone(), since: trouble.since }
}

/// Returns a trouble with its beginning, for people.
pub(crate) fn said(trouble: &Trouble) -> String {
    format!("since {}: {}", when(trouble.since), harmless(&trouble.reason))
}

/// Returns what the daemon does in an environment and what keeps it from its work, for people.
pub(crate) fn lines(status: &EnvironmentStatus) -> Vec<String> {
    let name = &status.environment;
    let mut lines = Vec::new();
    if let Some(running) = &status.running {
        let (commit, cause) = (running.commit.short(), &running.cause);
        lines.push(format!("the daemon brings {name} to {commit} ({cause}) since {}", when(running.since)));
        lines.extend(running.held.as_ref().map(|hint| format!("it waits: {}", harmless(hint))));
    }
    if status.waiting {
        lines.push(format!("a sync of {name} waits for its turn"));
    }
    lines.extend(
        status.problem.as_ref().map(|trouble| format!("the daemon cannot use what {name} follows {}", said(trouble))),
    );
    lines
}
