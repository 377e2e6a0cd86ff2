//! `holdfast apply`: the hosts to what git says.

use std::fs;
use std::sync::Arc;

use holdfast_core::id::{AppName, EnvironmentName};
use holdfast_core::plan::Plan;
use holdfast_core::time::Timestamp;
use holdfast_core::window::{Closed, closed_apps};
use holdfast_engine::sync::{Expected, WindowConsent};

use super::plan::{Consent, make, print};
use crate::args::{ApplyArgs, PlanFormat};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report;
use crate::runner::{self, Work, person};
use crate::setup::{Revision, Setup, environment};
use crate::wire::Wire;

/// Applies a saved plan, or plans, asks and applies.
pub(crate) async fn run(setup: &Setup, arguments: &ApplyArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let environment = environment(&arguments.environment)?;
    let saved = arguments.plan.as_deref().map(read).transpose()?;
    if let Some(saved) = &saved
        && saved.environment != environment
    {
        return Err(Error::user(format!("the saved plan is for {}, not for {environment}", saved.environment), ""));
    }
    let commit = setup.commit(Some(&environment), arguments.revision.revision.as_deref()).await?;
    if let Some(saved) = &saved
        && saved.commit != commit
    {
        return Err(Error::refused(
            format!(
                "the saved plan is stale: it is for commit {}, and {environment} is to be at commit {} by now",
                saved.commit.short(),
                commit.short()
            ),
            "make and review a new one; --revision names the commit of a plan that was made for it",
        ));
    }
    let revision = setup.revision(commit).await?;
    let wire = Wire::open(&setup.manager).await?;
    let consent = Consent { allow_prune: arguments.allow_prune, adopt: arguments.adopt };
    let only: Option<AppName> =
        arguments.app.as_deref().map(str::parse).transpose().or_hint("apps are named in their files")?;
    let windows = match &arguments.reason {
        Some(reason) if arguments.override_window => WindowConsent::Override { by: person(), reason: reason.clone() },
        _ => {
            refuse_closed(&revision, &environment, only.as_ref(), wire.clock.now())?;
            WindowConsent::Manual
        }
    };
    let mut expected = saved.map(|plan| Expected::Plan(Box::new(plan)));
    if expected.is_none() && !arguments.yes {
        let plan = make(setup, &wire, &revision, &environment, consent).await?;
        print(setup, &plan, PlanFormat::Text)?;
        if plan.is_empty() {
            return Ok(Exit::Ok);
        }
        if !output.confirm("\nApply this?") {
            return Err(Error::refused("nothing was applied: it was not confirmed", "--yes applies without asking"));
        }
        expected = Some(Expected::Plan(Box::new(plan)));
    }
    let work = Work::Sync { cause: "apply".to_owned(), expected, consent, windows, only };
    let watcher = Arc::new(Progress::new(output, arguments.json));
    let report = runner::run(setup, &wire, &revision, &environment, work, watcher).await?;
    report::print(output, &report, arguments.json)?;
    Ok(report::exit(&report))
}

/// Refuses where windows close every app that is meant to a person too.
fn refuse_closed(
    revision: &Revision,
    environment: &EnvironmentName,
    only: Option<&AppName>,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(known) = revision.config.environments.get(environment) else { return Ok(()) };
    let meant: Vec<&AppName> = known.apps.keys().filter(|app| only.is_none_or(|only| only == *app)).collect();
    let shut = closed_apps(&known.sync.windows, meant.iter().copied(), now);
    let shut: Vec<(AppName, Closed)> = shut.into_iter().filter(|(_, closed)| !closed.manual).collect();
    let Some((_, first)) = shut.iter().min_by_key(|(_, closed)| closed.until).filter(|_| shut.len() == meant.len())
    else {
        return Ok(());
    };
    let whom = only.map_or_else(|| environment.to_string(), |app| format!("{app} of {environment}"));
    Err(Error {
        message: format!("nothing was applied: {whom} is {first}"),
        hint: "--override-window --reason TEXT goes through, and is written into the history; `holdfast rollback` is always open"
            .to_owned(),
        exit: Exit::Closed,
    })
}

fn read(path: &std::path::Path) -> Result<Plan, Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::user(format!("{} cannot be read: {error}", path.display()), "`holdfast plan ENV --out FILE` saves one")
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Error::user(format!("{} is no saved plan: {error}", path.display()), "save it anew with `holdfast plan --out`")
    })
}
