//! `holdfast status`: what serves on each host, and whether it is what git says.

use std::sync::Arc;

use holdfast_core::plan::{PlanOptions, plan, status};
use holdfast_core::view::{harmless, status_text};
use holdfast_engine::store::ApprovalRequest;
use holdfast_engine::sync::observe_desired;

use super::notices::counts;
use crate::args::StatusArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::runner::{paused, quarantined};
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
        if arguments.json {
            let paused = paused(&wire.store, &name).await?;
            let line = serde_json::json!({ "environment": name, "commit": revision.commit, "apps": rows, "paused": paused, "awaits": waiting });
            all.push(line);
        } else {
            output.data(&format!("{name} at {}\n{}", revision.commit.short(), status_text(&rows, output.color)));
            if let Some(waiting) = &waiting {
                output.data(&waits(waiting));
            }
            for (app, why) in paused(&wire.store, &name).await? {
                output.data(&format!("{app} {}", harmless(&why)));
            }
        }
    }
    let notices = wire.store.notice_states().await.or_hint("")?;
    for state in notices.iter().filter(|state| !arguments.json && state.waiting + state.given_up > 0) {
        output.data(&format!("notices to {}: {}", state.sink, counts(state)));
    }
    if arguments.json {
        output.json(&serde_json::json!({ "format_version": 1, "environments": all, "notices": notices }))?;
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
