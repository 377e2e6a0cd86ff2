//! The verbs, one file each.

mod completions;
mod init;
mod render;
mod schema;
mod validate;

use crate::args::{Cli, Verb};
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
        Verb::Schema(arguments) => schema::run(output, arguments),
        Verb::Completions(arguments) => Ok(completions::run(output, arguments)),
        _ => Err(Error::user("not yet", "")),
    }
}
