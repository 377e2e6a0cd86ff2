//! `holdfast validate`: every file of a commit, all errors at once.

use holdfast_core::desired::resolve;
use holdfast_core::diag::Diagnostics;
use holdfast_core::view::ValidateDocument;

use crate::args::ValidateArgs;
use crate::commits::ReadCommit;
use crate::error::Error;
use crate::exit::Exit;
use crate::setup::{Setup, show};

/// Loads a commit and renders every environment of it; nothing is decrypted and no host is asked.
pub(crate) async fn run(setup: &Setup, arguments: &ValidateArgs) -> Result<Exit, Error> {
    let commit = setup.commit(None, arguments.revision.revision.as_deref()).await?;
    let ReadCommit { tree, config, findings } = setup.read(&commit).await?;
    let mut findings = Diagnostics::clone(&findings);
    let mut rendered = 0;
    if let Some(config) = &config {
        for environment in config.environments.keys() {
            match resolve(config, environment, &commit) {
                Ok(desired) => rendered += desired.hosts.len(),
                Err(more) => findings.extend(more),
            }
        }
    }
    findings.sort();
    let failed = config.is_none() || findings.has_errors();
    if arguments.json {
        setup.output.json(&ValidateDocument::new(&findings))?;
    } else {
        show(setup.output, &findings);
        setup.output.say(&summary(commit.short(), tree.files.len(), rendered, failed));
    }
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn summary(commit: &str, files: usize, rendered: usize, failed: bool) -> String {
    if failed {
        return format!("commit {commit} is not valid; nothing of it would be applied");
    }
    format!(
        "commit {commit} is valid: {files} files, rendered for {rendered} {}",
        if rendered == 1 { "host" } else { "hosts" }
    )
}
