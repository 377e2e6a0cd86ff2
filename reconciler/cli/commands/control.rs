//! `holdfast pause`, `promote`, `abort`: words to a running rollout, whichever process runs it.

use crate::args::ControlArgs;
use crate::control::{Verb, say};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::{Setup, environment};

/// Says one word.
pub(crate) async fn run(setup: &Setup, arguments: &ControlArgs, verb: Verb) -> Result<Exit, Error> {
    let environment = environment(&arguments.environment)?;
    let app = arguments.app.as_deref().map(str::parse).transpose().or_hint("apps are named in their files")?;
    let answer =
        say(&setup.manager.runtime_dir, &environment, app, verb).await.or_hint("may you use the runtime folder?")?;
    match answer.as_deref() {
        Some("ok") => {
            setup.output.say(&format!("told the rollout of {environment}"));
            Ok(Exit::Ok)
        }
        Some(other) => Err(Error::refused(other.to_owned(), "")),
        None => Err(Error::refused(
            format!("no rollout of {environment} runs"),
            format!("`holdfast history {environment}` shows the last ones"),
        )),
    }
}
