//! `holdfast explain`: commit → file:line → field → rule, for each action of a plan.

use holdfast_core::view::{Style, explain_json, explain_text};

use super::plan::{Consent, make};
use crate::args::ExplainArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::setup::{Setup, environment};
use crate::wire::Wire;

/// Plans and explains.
pub(crate) async fn run(setup: &Setup, arguments: &ExplainArgs) -> Result<Exit, Error> {
    let environment = environment(&arguments.environment)?;
    let commit = setup.commit(Some(&environment), arguments.revision.revision.as_deref()).await?;
    let revision = setup.revision(commit).await?;
    let wire = Wire::open(&setup.manager).await?;
    let plan = make(setup, &wire, &revision, &environment, Consent::default()).await?;
    if arguments.json {
        setup.output.json(&explain_json(&plan, arguments.what.as_deref().unwrap_or_default()))?;
    } else {
        let style = Style { colour: setup.output.color, width: setup.output.width };
        setup.output.data(&explain_text(&plan, arguments.what.as_deref().unwrap_or_default(), style));
    }
    Ok(Exit::Ok)
}
