//! `holdfast status`: what serves on each host, and whether it is what git says.

use std::sync::Arc;

use holdfast_core::plan::{PlanOptions, plan, status};
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
use crate::runner::{closed_lines, closed_now, paused, quarantined};
use crate::setup::{Setup, environment};
use crate::wire::{Silent, Wire};

/// Asks the hosts of one or all environments.
pub(crate) async fn run(setup: &Setup, arguments: &StatusArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let wanted = arguments.environment.as_deref().map(environment).transpose()?;
    let wire = Wire::open(&setup.manager).await?;
    let names = match wanted {
        Some(name) => vec![name],
        None if !setup.manager.environments.is_empty() => setup.manager.environments.keys().cloned().collect(),
        None => setup.revision(setup.commit(None, None).await?).await?.config.environments.keys().cloned().collect(),
    };
    let mut all = Vec::new();
    for name in names {
        let revision = setup.revision(setup.commit(Some(&name), None).await?).await?;
        let desired = setup.desired(&revision, &name)?;
        let live = observe_desired(&wire.ports(&revision, Arc::new(Silent)), &desired).await;
        let held = quarantined(&wire.store, &name).await?;
        let options =
            PlanOptions { observed_at: wire.clock.now(), quarantined: &held, allow_prune: true, adopt: false };
        let waiting = wire.store.approval_request(&name).await.or_hint("")?;
        let rows = status(&desired, &live, &plan(&desired, &live, &options));
        let closed = closed_now(&revision, &name, &wire);
        if arguments.json {
            let paused = paused(&wire.store, &name).await?;
            let closed = closed.iter().map(|(app, closed)| (app.clone(), closed.into())).collect();
            let awaits = waiting.as_ref().map(awaited);
            all.push(EnvironmentDocument {
                environment: name,
                commit: revision.commit,
                apps: rows,
                paused,
                closed,
                awaits,
            });
        } else {
            output.data(&format!("{name} at {}\n{}", revision.commit.short(), status_text(&rows, output.color)));
            if let Some(waiting) = &waiting {
                output.data(&waits(waiting));
            }
            for (app, why) in paused(&wire.store, &name).await? {
                output.data(&format!("{app} {}", harmless(&why)));
            }
            for line in closed_lines(&closed) {
                output.data(&line);
            }
        }
    }
    let notices = wire.store.notice_states().await.or_hint("")?;
    for state in notices.iter().filter(|state| !arguments.json && state.waiting + state.given_up > 0) {
        output.data(&format!("notices to {}: {}", state.sink, counts(state)));
    }
    if arguments.json {
        let notices = notices.into_iter().map(|state| NoticesDocument {
            sink: state.sink,
            waiting: state.waiting,
            delivered: state.delivered,
            given_up: state.given_up,
            error: state.error,
        });
        let notices = notices.collect();
        output.json(&StatusDocument { format_version: DOCUMENT_VERSION, environments: all, notices })?;
    }
    Ok(Exit::Ok)
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
