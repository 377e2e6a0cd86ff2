//! The verbs, one file each.

mod apply;
mod approve;
mod completions;
mod control;
mod daemon;
mod demo;
mod diff;
mod doctor;
mod explain;
pub(crate) mod history;
mod hook;
mod init;
mod metrics;
mod notices;
mod offsite;
pub(crate) mod plan;
mod render;
mod restore;
mod rollback;
mod schema;
mod secret_files;
mod secrets;
mod status;
mod unlock;
mod validate;

use crate::args::{Cli, Verb};
use crate::control::Verb as Word;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::setup::Setup;

/// Runs the verb of the command line.
pub(crate) async fn run(output: Output, cli: &Cli) -> Result<Exit, Error> {
    let setup = || Setup::load(output, &cli.common);
    match &cli.verb {
        Verb::Init(arguments) => init::run(output, arguments),
        Verb::Validate(arguments) => validate::run(&setup()?, arguments).await,
        Verb::Render(arguments) => render::run(&setup()?, arguments).await,
        Verb::Plan(arguments) => plan::run(&setup()?, arguments).await,
        Verb::Diff(arguments) => diff::run(&setup()?, arguments).await,
        Verb::Explain(arguments) => explain::run(&setup()?, arguments).await,
        Verb::Apply(arguments) => apply::run(&setup()?, arguments).await,
        Verb::Approve(arguments) => approve::run(&setup()?, arguments).await,
        Verb::Metrics(_) => metrics::run(&setup()?).await,
        Verb::Notices(arguments) => notices::run(&setup()?, arguments).await,
        Verb::Status(arguments) => status::run(&setup()?, arguments).await,
        Verb::History(arguments) => history::run(&setup()?, arguments).await,
        Verb::Rollback(arguments) => rollback::run(&setup()?, arguments).await,
        Verb::Restore(arguments) => restore::run(&setup()?, arguments).await,
        Verb::Offsite(arguments) => offsite::run(&setup()?, arguments).await,
        Verb::Pause(arguments) => control::pause(&setup()?, arguments).await,
        Verb::Resume(arguments) => control::resume(&setup()?, arguments).await,
        Verb::Promote(arguments) => control::run(&setup()?, arguments, Word::Promote).await,
        Verb::Abort(arguments) => control::run(&setup()?, arguments, Word::Abort).await,
        Verb::Unlock(arguments) => unlock::run(&setup()?, arguments).await,
        Verb::Daemon(_) => daemon::run(setup()?).await,
        Verb::Hook(arguments) => hook::run(output, &cli.common, arguments).await,
        Verb::Doctor(arguments) => doctor::run(&setup()?, arguments).await,
        Verb::Secrets(arguments) => secrets::run(output, &cli.common, arguments).await,
        Verb::Schema(arguments) => schema::run(output, arguments),
        Verb::Completions(arguments) => Ok(completions::run(output, arguments)),
        Verb::Demo(_) => demo::run(output).await,
    }
}
