//! `holdfast approve`: somebody's word on the plan that waits.

use std::time::Duration;

use holdfast_core::view::{ApproveDocument, DOCUMENT_VERSION, harmless};
use holdfast_engine::daemon::{Approved, ControlClient, ControlError, ControlReply, ControlRequest, Voice};
use holdfast_engine::store::Store;

use crate::approval::approve;
use crate::args::ApproveArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::{Setup, environment};

/// Tells the daemon, or where none runs writes it down itself.
pub(crate) async fn run(setup: &Setup, arguments: &ApproveArgs) -> Result<Exit, Error> {
    let environment = environment(&arguments.environment)?;
    let (seal, name) = (arguments.seal.clone(), arguments.name.clone());
    let request = ControlRequest::Approve { environment: environment.clone(), seal: seal.clone(), name: name.clone() };
    let approved = if let Some(approved) = tell_daemon(setup, &request).await? {
        approved
    } else {
        let store = Store::open(&setup.manager.state_dir.join("holdfast.sqlite"))
            .or_hint("is the daemon to be asked? It does not run: `holdfast doctor` looks")?;
        let voice = Voice { uid: rustix::process::getuid().as_raw(), name };
        approve(setup, &store, &environment, &seal, voice).await?
    };
    let enough = approved.is_enough();
    if arguments.json {
        setup.output.json(&ApproveDocument {
            format_version: DOCUMENT_VERSION,
            environment,
            commit: approved.proposal.commit,
            seal: approved.proposal.seal.to_string(),
            by: approved.by,
            given: approved.given.into_iter().collect(),
            required: approved.required,
            approved: enough,
            begins: approved.begins,
        })?;
        return Ok(Exit::Ok);
    }
    let Approved { proposal, by, given, required, begins } = approved;
    let said = format!(
        "{} approved plan {} of {environment} (commit {}), {} of {required}",
        harmless(&by),
        proposal.seal.short(),
        proposal.commit.short(),
        given.len()
    );
    let next = match (enough, begins) {
        (true, true) => format!("it begins now: `holdfast status {environment}`, `holdfast history {environment}`"),
        (true, false) => format!("`holdfast apply {environment}` applies it"),
        (false, _) => "others must approve it too".to_owned(),
    };
    setup.output.say(&format!("{said}; {next}"));
    Ok(Exit::Ok)
}

/// Asks the daemon; `None` where none runs.
async fn tell_daemon(setup: &Setup, request: &ControlRequest) -> Result<Option<Approved>, Error> {
    let socket = setup.manager.runtime_dir.join("control");
    let mut client = match ControlClient::ask(&socket, request, Duration::ZERO).await {
        Ok(client) => client,
        Err(ControlError::Absent { source, .. }) if source.kind() != std::io::ErrorKind::PermissionDenied => {
            return Ok(None);
        }
        Err(error) => return Err(error).or_hint(""),
    };
    while let Some(reply) = client.next().await.or_hint("")? {
        match reply {
            ControlReply::Approved { approved } => return Ok(Some(approved)),
            ControlReply::Refused { reason } => return Err(Error::refused(harmless(&reason), "")),
            _ => {}
        }
    }
    Err(Error::user("the daemon ended before it answered", "`holdfast approve` again: a word counts once"))
}
