//! `holdfast apply`: the hosts to what git says.

use std::fs;
use std::sync::Arc;

use holdfast_core::plan::Plan;
use holdfast_engine::sync::Expected;

use super::plan::{Consent, make, print};
use crate::args::{ApplyArgs, PlanFormat};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report;
use crate::runner::{self, Work};
use crate::setup::{Setup, environment};
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
    let only = arguments.app.as_deref().map(str::parse).transpose().or_hint("apps are named in their files")?;
    let work = Work::Sync { cause: "apply".to_owned(), expected, consent, only };
    let watcher = Arc::new(Progress::new(output, arguments.json));
    let report = runner::run(setup, &wire, &revision, &environment, work, watcher).await?;
    report::print(output, &report, arguments.json)?;
    Ok(report::exit(&report))
}

fn read(path: &std::path::Path) -> Result<Plan, Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::user(format!("{} cannot be read: {error}", path.display()), "`holdfast plan ENV --out FILE` saves one")
    })?;
    serde_json::from_str(&text).map_err(|error| {
        Error::user(format!("{} is no saved plan: {error}", path.display()), "save it anew with `holdfast plan --out`")
    })
}
