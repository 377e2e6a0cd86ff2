//! `holdfast status`: what serves on each host, whether it is what git says, and what the daemon of this manager makes of it.

use std::sync::Arc;

use holdfast_core::plan::{AppStatus, PlanOptions, plan, status};
use holdfast_core::view::{
    ApprovalDocument, DOCUMENT_VERSION, EnvironmentDocument, NoticesDocument, ProposalDocument, StatusDocument,
    harmless, status_text,
};
use holdfast_engine::store::ApprovalRequest;
use holdfast_engine::sync::observe_desired;

use super::notices::counts;
use crate::args::StatusArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::follower::{Follower, followed, lines, said};
use crate::runner::{closed_lines, closed_now, paused, quarantined, suspended};
use crate::setup::{Setup, environment};
use crate::wire::{Silent, Wire};

/// Asks the hosts of one or all environments, and the daemon.
pub(crate) async fn run(setup: &Setup, arguments: &StatusArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let wanted = arguments.environment.as_deref().map(environment).transpose()?;
    let wire = Wire::open(&setup.manager).await?;
    let daemon = Follower::ask(setup).await;
    // What stands on the hosts is worth knowing also while the repository is out of reach; nobody waits for what the daemon knows.
    let out_of_reach = daemon.as_ref().ok().and_then(Follower::unfetched);
    let unfetched = match out_of_reach {
        Some(_) => None,
        None => setup.repository.fetch().await.err().map(|error| error.to_string()),
    };
    let why = out_of_reach.map(|trouble| trouble.reason.clone()).or_else(|| unfetched.clone());
    let reason = |error: Error| match &why {
        Some(why) => Error { message: why.clone(), ..error },
        None => error,
    };
    let names = match wanted {
        Some(name) => vec![name],
        None if !setup.manager.environments.is_empty() => setup.manager.environments.keys().cloned().collect(),
        None => {
            let commit = setup.known_commit(None).await.map_err(reason)?;
            setup.revision(commit).await?.config.environments.keys().cloned().collect()
        }
    };
    let (mut all, mut well) = (Vec::new(), true);
    for name in names {
        let revision = setup.revision(setup.known_commit(Some(&name)).await.map_err(reason)?).await?;
        let desired = wire.archives.look_into(setup.desired(&revision, &name)?).await;
        let live = observe_desired(&wire.ports(&revision, Arc::new(Silent)), &desired).await;
        let held = quarantined(&wire.store, &name).await?;
        let options = PlanOptions {
            observed_at: wire.clock.now(),
            quarantined: &held,
            migrated: &wire.store.migrations().await.or_hint("")?,
            allow_prune: true,
            adopt: false,
        };
        let waiting = wire.store.approval_request(&name).await.or_hint("")?;
        let rows = status(&desired, &live, &plan(&desired, &live, &options));
        well &= rows.iter().all(AppStatus::is_well);
        let closed = closed_now(&revision, &name, &wire);
        let suspended = suspended(&wire.store, &name).await?;
        let follows = daemon.as_ref().ok().and_then(|daemon| daemon.environment(&name));
        if arguments.json {
            let paused = paused(&wire.store, &name).await?;
            let closed = closed.iter().map(|(app, closed)| (app.clone(), closed.into())).collect();
            let awaits = waiting.as_ref().map(awaited);
            all.push(EnvironmentDocument {
                environment: name,
                commit: revision.commit,
                apps: rows,
                paused,
                suspended,
                closed,
                awaits,
                daemon: follows.map(followed),
            });
        } else {
            output.data(&format!("{name} at {}\n{}", revision.commit.short(), status_text(&rows, output.color)));
            // What was agreed to and is being brought waits no more.
            let begun = follows.and_then(|follows| follows.running.as_ref()).map(|running| &running.commit);
            if let Some(waiting) = waiting.as_ref().filter(|waiting| begun != Some(&waiting.proposal.commit)) {
                output.data(&waits(waiting));
            }
            if let Some(why) = suspended {
                output.data(&format!("{name} {}", harmless(&why)));
            }
            for (app, why) in paused(&wire.store, &name).await? {
                output.data(&format!("{app} {}", harmless(&why)));
            }
            for line in closed_lines(&closed).into_iter().chain(follows.into_iter().flat_map(lines)) {
                output.data(&line);
            }
        }
    }
    let notices = wire.store.notice_states().await.or_hint("")?;
    for state in notices.iter().filter(|state| !arguments.json && state.waiting + state.given_up > 0) {
        output.data(&format!("notices to {}: {}", state.sink, counts(state)));
    }
    let exit = if well || !arguments.detailed_exitcode { Exit::Ok } else { Exit::Changes };
    if arguments.json {
        let notices = notices.into_iter().map(|state| NoticesDocument {
            sink: state.sink,
            waiting: state.waiting,
            delivered: state.delivered,
            given_up: state.given_up,
            error: state.error,
        });
        let notices = notices.collect();
        let daemon = daemon.ok().map(|daemon| daemon.document());
        let format_version = DOCUMENT_VERSION;
        output.json(&StatusDocument { format_version, environments: all, notices, daemon, unfetched })?;
        return Ok(exit);
    }
    match &daemon {
        Ok(daemon) => {
            if let Some(trouble) = daemon.unfetched() {
                output.data(&format!("the daemon cannot fetch the repository {}", said(trouble)));
            }
        }
        // Where none has anything to follow, none is missed.
        Err(_) if setup.manager.environments.is_empty() => {}
        Err(why) => output.data(&format!("{}: pushes are not followed", harmless(why))),
    }
    if let Some(reason) = &unfetched {
        output.say(&format!("warning: {}; shown is what was fetched before", harmless(reason)));
    }
    Ok(exit)
}

/// Returns the line about a plan that waits for approval.
fn waits(request: &ApprovalRequest) -> String {
    let ApprovalRequest { proposal, changes, required, given, .. } = request;
    let (environment, seal) = (&proposal.environment, proposal.seal.short());
    format!(
        "waiting for approval of plan {seal} (commit {}, changes: {changes}, approved: {} of {required}): `holdfast plan {environment}`, \
         then `holdfast approve {environment} {seal}`",
        proposal.commit.short(),
        given.len(),
    )
}

fn awaited(request: &ApprovalRequest) -> ApprovalDocument {
    ApprovalDocument {
        proposal: ProposalDocument {
            environment: request.proposal.environment.clone(),
            commit: request.proposal.commit.clone(),
            seal: request.proposal.seal.to_string(),
        },
        changes: request.changes,
        required: request.required,
        given: request.given.iter().cloned().collect(),
        at: request.at,
    }
}
