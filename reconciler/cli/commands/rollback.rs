//! `holdfast rollback`: the release before the present one.

use std::sync::Arc;

use crate::args::RollbackArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report;
use crate::runner::{self, Work};
use crate::setup::{Setup, environment};
use crate::wire::Wire;

/// Goes back on all hosts of the app.
pub(crate) async fn run(setup: &Setup, arguments: &RollbackArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let environment = environment(&arguments.environment)?;
    let revision = setup.revision(setup.commit(Some(&environment), None).await?).await?;
    crate::setup::known(&revision.config, &environment)?;
    let apps: Vec<_> =
        revision.config.environments.get(&environment).into_iter().flat_map(|env| env.apps.keys()).collect();
    let app = match (&arguments.app, apps.as_slice()) {
        (Some(name), _) => name.parse().or_hint("apps are named in their files")?,
        (None, [only]) => (*only).clone(),
        (None, _) => {
            let names: Vec<_> = apps.iter().map(ToString::to_string).collect();
            return Err(Error::user(
                format!("{environment} has several apps"),
                format!("name one: {}", names.join(", ")),
            ));
        }
    };
    if !arguments.yes
        && !output
            .confirm(&format!("Go back to the release of {app} before the present one on all hosts of {environment}?"))
    {
        return Err(Error::refused("nothing was changed: it was not confirmed", "--yes goes back without asking"));
    }
    let wire = Wire::open(&setup.manager).await?;
    let watcher = Arc::new(Progress::new(output, arguments.json));
    let report = runner::run(setup, &wire, &revision, &environment, Work::Rollback(app), watcher).await?;
    report::print(output, &report, arguments.json)?;
    Ok(report::exit(&report))
}
