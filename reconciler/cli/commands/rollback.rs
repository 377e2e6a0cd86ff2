//! `holdfast rollback`: the release before the present one.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::SyncResult;
use holdfast_core::id::{AppName, EnvironmentName};

use crate::args::RollbackArgs;
use crate::control::{Answer, Verb, say};
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
    let to = arguments.to.as_ref().map_or_else(
        || format!("the release of {app} before the present one"),
        |to| format!("{to} of {app}, one release after another,"),
    );
    if !arguments.yes && !output.confirm(&format!("Go back to {to} on all hosts of {environment}?")) {
        return Err(Error::refused("nothing was changed: it was not confirmed", "--yes goes back without asking"));
    }
    let wire = Wire::open(&setup.manager).await?;
    match turn_round(setup, &wire, &environment, &app).await? {
        // What it turned round to need not be the one that is wanted.
        Some(Exit::Ok) if arguments.to.is_some() => {}
        Some(exit) => return Ok(exit),
        None => {}
    }
    let watcher = Arc::new(Progress::new(output, arguments.json));
    let report = runner::run(
        setup,
        &wire,
        &revision,
        &environment,
        Work::Rollback { app, to: arguments.to.clone(), downgrade: arguments.downgrade },
        watcher,
    )
    .await?;
    report::print(output, &report, arguments.json)?;
    Ok(report::exit(&report))
}

/// While its rollout still runs, the release before is one word away: the running one is sent back, and its end awaited.
///
/// Returns how that ended; `None` when nothing rolls out, or what did had settled: then the way back is a rollout of its own.
async fn turn_round(
    setup: &Setup,
    wire: &Wire,
    environment: &EnvironmentName,
    app: &AppName,
) -> Result<Option<Exit>, Error> {
    let runtime = &setup.manager.runtime_dir;
    let answer =
        say(runtime, environment, Some(app.clone()), Verb::Abort).await.or_hint("may you use the runtime folder?")?;
    if answer != Answer::Heard {
        return Ok(None);
    }
    setup.output.say(&format!("{app} is rolling out: told it to go back"));
    let lock = format!("environment/{environment}");
    while wire.store.locks().await.or_hint("")?.iter().any(|held| held.name == lock && held.holder.is_alive()) {
        wire.clock.sleep(LOOK).await;
    }
    let ended = wire.store.syncs(Some(environment), 1).await.or_hint("")?.pop().and_then(|sync| sync.result);
    match ended {
        Some(SyncResult::RolledBack) => {
            setup.output.say(&format!("{app} serves the release before on all hosts"));
            Ok(Some(Exit::Ok))
        }
        Some(SyncResult::Failed) | None => Err(Error {
            message: format!("the rollout of {app} did not go back everywhere"),
            hint: format!("`holdfast status {environment}` shows what serves"),
            exit: Exit::Partial,
        }),
        Some(_) => Ok(None),
    }
}

/// Between two looks at whether the other sync has ended.
const LOOK: Duration = Duration::from_millis(100);
