//! `holdfast diff BASE..HEAD`: two commits compared, offline, without keys and hosts: safe for a pull request from a fork.

use std::collections::BTreeSet;

use holdfast_core::desired::DesiredState;
use holdfast_core::id::EnvironmentName;
use holdfast_core::view::{
    DOCUMENT_VERSION, DiffDocument, Style, config_diff_markdown, config_diff_text, desired_diff,
};

use crate::args::{DiffArgs, Format};
use crate::error::Error;
use crate::exit::Exit;
use crate::setup::{Revision, Setup, environment};

/// Renders both commits and prints what differs on each host.
pub(crate) async fn run(setup: &Setup, arguments: &DiffArgs) -> Result<Exit, Error> {
    let (base, head) =
        arguments.range.split_once("..").filter(|(base, head)| !base.is_empty() && !head.is_empty()).ok_or_else(
            || Error::user(format!("`{}` is no range", arguments.range), "write BASE..HEAD, such as main..feature"),
        )?;
    let base = setup.revision(setup.commit(None, Some(base)).await?).await?;
    let head = setup.revision(setup.commit(None, Some(head)).await?).await?;
    let only = arguments.environment.as_deref().map(environment).transpose()?;
    let names: BTreeSet<_> = base.config.environments.keys().chain(head.config.environments.keys()).cloned().collect();
    if let Some(only) = &only
        && !names.contains(only)
    {
        return Err(Error::user(format!("neither commit has an environment `{only}`"), ""));
    }
    let format = if arguments.json { Format::Json } else { arguments.format };
    let (mut differs, mut environments) = (false, Vec::new());
    for name in names.into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)) {
        let diff = desired_diff(&side(setup, &base, &head, &name)?, &side(setup, &head, &base, &name)?);
        if diff.is_empty() {
            continue;
        }
        differs = true;
        let style = Style { colour: setup.output.color, width: setup.output.width };
        match format {
            Format::Text => setup.output.data(&config_diff_text(&diff, style)),
            Format::Markdown => setup.output.data(&config_diff_markdown(&diff)),
            Format::Json => environments.push(diff),
        }
    }
    if format == Format::Json {
        setup.output.json(&DiffDocument { format_version: DOCUMENT_VERSION, environments })?;
    } else if !differs {
        setup.output.say("nothing differs on any host");
    }
    Ok(if differs && arguments.detailed_exitcode { Exit::Changes } else { Exit::Ok })
}

/// Returns one side; an environment that this commit lacks counts as the other one's without hosts.
fn side(setup: &Setup, this: &Revision, other: &Revision, name: &EnvironmentName) -> Result<DesiredState, Error> {
    if this.config.environments.contains_key(name) {
        return setup.desired(this, name);
    }
    let mut empty = setup.desired(other, name)?;
    empty.commit.clone_from(&this.commit);
    empty.hosts.clear();
    empty.order.clear();
    Ok(empty)
}
