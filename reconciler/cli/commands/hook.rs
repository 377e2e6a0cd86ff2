//! `holdfast hook`: the rollout that a push leads to, in the pusher's terminal.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use holdfast_core::event::SyncResult;
use holdfast_core::id::EnvironmentName;
use holdfast_core::view::{harmless, progress_line};
use holdfast_engine::daemon::{ControlClient, ControlReply, ControlRequest, RefUpdate, install_hook};

use crate::args::{Common, HookArgs, HookVerb};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::paint;
use crate::setup::Setup;

/// How long a daemon that is just starting is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that git gives a hook.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// Installs the hook, or is it.
pub(crate) async fn run(output: Output, common: &Common, arguments: &HookArgs) -> Result<Exit, Error> {
    match &arguments.verb {
        HookVerb::Install { repository } => install(output, common, repository),
        HookVerb::Receive => receive(&Setup::load(output, common)?).await,
    }
}

fn install(output: Output, common: &Common, repository: &Path) -> Result<Exit, Error> {
    let full = |path: &Path| path.canonicalize().or_hint("does it exist?");
    let program = full(&std::env::current_exe().or_hint("")?)?;
    let config = common.config.as_deref().map(full).transpose()?;
    let hook = install_hook(&full(repository)?, &program, config.as_deref()).or_hint("")?;
    output.say(&format!("wrote {}: a push now shows its rollout", hook.display()));
    Ok(Exit::Ok)
}

async fn receive(setup: &Setup) -> Result<Exit, Error> {
    let mut text = String::new();
    std::io::stdin().take(MAX_INPUT).read_to_string(&mut text).or_hint("")?;
    let updates = text.lines().map(str::parse::<RefUpdate>).collect::<Result<Vec<_>, _>>().or_hint("")?;
    let socket = setup.manager.runtime_dir.join("control");
    follow(setup.output, &socket, &ControlRequest::Received { updates }, PATIENCE).await
}

/// Asks the daemon and shows what follows until it has ended. Detail is left out: git puts `remote:` before each line.
pub(crate) async fn follow(
    output: Output,
    socket: &Path,
    request: &ControlRequest,
    patience: Duration,
) -> Result<Exit, Error> {
    let mut client = ControlClient::ask(socket, request, patience)
        .await
        .or_hint("the push itself is in; `holdfast doctor` looks at the rest")?;
    let mut began = BTreeMap::<EnvironmentName, _>::new();
    while let Some(reply) = client.next().await.or_hint("")? {
        match reply {
            ControlReply::Message { text } => output.say(&harmless(&text)),
            ControlReply::Event { environment, event } => {
                let began = *began.entry(environment).or_insert(event.at);
                let line = progress_line(began, &event);
                if let Some(line) = line.filter(|line| line.tone != holdfast_core::view::Tone::Faint) {
                    output.say(&paint(output, &line));
                }
            }
            ControlReply::Ended { ends } => {
                let mut exit = Exit::Ok;
                for end in ends {
                    let word = format!("{:?}", end.result);
                    let why =
                        if end.reason.is_empty() { String::new() } else { format!(": {}", harmless(&end.reason)) };
                    output.say(&format!("{} {word}{why}", end.environment));
                    exit = match end.result {
                        // What waits for approval was pushed as it should be.
                        SyncResult::Synced | SyncResult::NoChange | SyncResult::AwaitsApproval => exit,
                        SyncResult::RolledBack => Exit::RolledBack,
                        SyncResult::Blocked => Exit::Refused,
                        SyncResult::Failed => Exit::Failed,
                    };
                }
                return Ok(exit);
            }
            ControlReply::Refused { reason } => return Err(Error::refused(harmless(&reason), "")),
            ControlReply::Status { .. } | ControlReply::Approved { .. } | ControlReply::Done => {
                return Ok(Exit::Ok);
            }
        }
    }
    Err(Error::user(
        "the daemon ended before the rollout did",
        "hosts finish by themselves; `holdfast status` shows it",
    ))
}
