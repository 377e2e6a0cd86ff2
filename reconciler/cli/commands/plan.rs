//! `holdfast plan`: what would change on the hosts.

use std::fs;
use std::sync::Arc;

use holdfast_core::desired::DesiredState;
use holdfast_core::id::EnvironmentName;
use holdfast_core::plan::{LiveState, Plan, PlanOptions, plan};
use holdfast_core::view::{Style, harmless, plan_html, plan_json, plan_markdown, plan_text};
use holdfast_engine::gate::not_green;
use holdfast_engine::sync::observe_desired;

use crate::args::{PlanArgs, PlanFormat};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::runner::{closed_lines, closed_now, paused, quarantined};
use crate::setup::{Revision, Setup, environment};
use crate::wire::{Silent, Wire};

/// Plans and prints.
pub(crate) async fn run(setup: &Setup, arguments: &PlanArgs) -> Result<Exit, Error> {
    let environment = environment(&arguments.environment)?;
    let commit = setup.commit(Some(&environment), arguments.revision.revision.as_deref()).await?;
    let revision = setup.revision(commit).await?;
    let wire = Wire::open(&setup.manager).await?;
    let plan = make(
        setup,
        &wire,
        &revision,
        &environment,
        Consent { allow_prune: arguments.allow_prune, adopt: arguments.adopt },
    )
    .await?;
    print(setup, &plan, if arguments.json { PlanFormat::Json } else { arguments.format })?;
    for (app, why) in paused(&wire.store, &environment).await? {
        setup.output.say(&format!("{app} {}", harmless(&why)));
    }
    for line in closed_lines(&closed_now(&revision, &environment, &wire)) {
        setup.output.say(&line);
    }
    if plan.hosts.values().any(|host| !host.changes.is_empty()) {
        let checks = setup.manager.checks.get(&environment).map_or(&[][..], Vec::as_slice);
        for red in not_green(checks, &environment, &revision.commit).await {
            setup.output.say(&harmless(&red));
        }
    }
    if let Some(path) = &arguments.out {
        let text = serde_json::to_string_pretty(&plan).or_hint("")?;
        fs::write(path, text + "\n").or_hint("choose a file that can be written to")?;
        setup
            .output
            .say(&format!("saved to {0}; `holdfast apply {environment} --plan {0}` does exactly this", path.display()));
    }
    Ok(if arguments.detailed_exitcode && !plan.is_empty() { Exit::Changes } else { Exit::Ok })
}

/// What a person agrees to beforehand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Consent {
    /// A prune over the environment's limit.
    pub(crate) allow_prune: bool,
    /// Taking over files that stand in our place.
    pub(crate) adopt: bool,
}

/// What hosts were to be, were, and what is to be done about it.
pub(crate) struct Seen {
    /// As git says.
    pub(crate) desired: DesiredState,
    /// As the hosts say.
    pub(crate) live: LiveState,
    /// What would be done.
    pub(crate) plan: Plan,
}

/// Asks all hosts and plans. No key is used.
pub(crate) async fn make(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    environment: &EnvironmentName,
    consent: Consent,
) -> Result<Plan, Error> {
    Ok(look(setup, wire, revision, environment, consent).await?.plan)
}

/// Does the same, and returns what it looked at too.
pub(crate) async fn look(
    setup: &Setup,
    wire: &Wire,
    revision: &Revision,
    environment: &EnvironmentName,
    consent: Consent,
) -> Result<Seen, Error> {
    let desired = wire.archives.look_into(setup.desired(revision, environment)?).await;
    let ports = wire.ports(revision, Arc::new(Silent));
    let live = observe_desired(&ports, &desired).await;
    let quarantined = quarantined(&wire.store, environment).await?;
    let options = PlanOptions {
        observed_at: wire.clock.now(),
        quarantined: &quarantined,
        migrated: &wire.store.migrations().await.or_hint("")?,
        allow_prune: consent.allow_prune,
        adopt: consent.adopt,
    };
    let plan = plan(&desired, &live, &options);
    Ok(Seen { desired, live, plan })
}

/// Prints a plan on standard output.
pub(crate) fn print(setup: &Setup, plan: &Plan, format: PlanFormat) -> Result<(), Error> {
    let output = setup.output;
    match format {
        PlanFormat::Text => output.data(&plan_text(plan, Style { colour: output.color, width: output.width })),
        PlanFormat::Json => output.json(&plan_json(plan))?,
        PlanFormat::Markdown => output.data(&plan_markdown(plan)),
        PlanFormat::Html => output.data(&plan_html(plan)),
    }
    Ok(())
}
