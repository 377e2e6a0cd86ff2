//! `holdfast pause`, `resume`, `promote`, `abort`: words to a running rollout, whichever process runs it; and pauses that stay.

use std::time::Duration;

use holdfast_core::id::{AppName, EnvironmentName};
use holdfast_engine::apply::nothing_held;
use holdfast_engine::daemon::{ControlClient, ControlError, ControlReply, ControlRequest};
use holdfast_engine::store::{Pause, Store};

use crate::args::{ControlArgs, PauseArgs};
use crate::control::{Answer, Verb, say};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::{Setup, environment};
use crate::wire::Wire;

/// What a word is about.
struct About {
    environment: EnvironmentName,
    app: Option<AppName>,
}

impl About {
    fn of(arguments: &ControlArgs) -> Result<Self, Error> {
        let environment = environment(&arguments.environment)?;
        let app = arguments.app.as_deref().map(str::parse).transpose().or_hint("apps are named in their files")?;
        Ok(Self { environment, app })
    }

    fn name(&self) -> String {
        match &self.app {
            Some(app) => format!("{app} in {}", self.environment),
            None => self.environment.to_string(),
        }
    }
}

/// Says one word to a running rollout.
pub(crate) async fn run(setup: &Setup, arguments: &ControlArgs, verb: Verb) -> Result<Exit, Error> {
    let about = About::of(arguments)?;
    match speak(setup, &about, verb).await? {
        Answer::Heard => {
            setup.output.say(&format!("told the rollout of {}", about.name()));
            Ok(Exit::Ok)
        }
        Answer::NothingHeld => Err(Error::refused(
            nothing_held(&about.environment),
            format!("`holdfast status {}` says what it does", about.environment),
        )),
        _ => Err(Error::refused(
            format!("no rollout of {} runs", about.name()),
            format!("`holdfast history {}` shows the last ones", about.environment),
        )),
    }
}

/// Holds a running rollout; where none runs, remembers that none is to begin by itself.
pub(crate) async fn pause(setup: &Setup, arguments: &PauseArgs) -> Result<Exit, Error> {
    let about = About::of(&arguments.what)?;
    let (environment, app) = (about.environment.clone(), about.app.clone());
    let back = match &app {
        Some(app) => format!("`holdfast resume {environment} {app}`"),
        None => format!("`holdfast resume {environment}`"),
    };
    if speak(setup, &about, Verb::Pause).await? == Answer::Heard {
        let name = about.name();
        let text = format!(
            "the rollout of {name} is held; {back} lets it go on. Later ones begin as ever: say it again once none runs"
        );
        setup.output.say(&text);
        return Ok(Exit::Ok);
    }
    let by = crate::runner::person();
    let reason = arguments.reason.clone();
    let request = ControlRequest::Suspend { environment, app, by, reason };
    if !tell_daemon(setup, &request).await? {
        let ControlRequest::Suspend { environment, app, by, reason } = request else { return Ok(Exit::Ok) };
        open(setup)?.pause(Pause { environment, app, by, reason, at: Wire::now() }).await.or_hint("")?;
    }
    setup.output.say(&format!("no rollout of {} runs, and none begins by itself until {back}", about.name()));
    Ok(Exit::Ok)
}

/// Lets a held rollout go on, and lifts a remembered pause.
pub(crate) async fn resume(setup: &Setup, arguments: &ControlArgs) -> Result<Exit, Error> {
    let about = About::of(arguments)?;
    let heard = speak(setup, &about, Verb::Resume).await? == Answer::Heard;
    let pauses = open(setup).ok();
    let remembered = match &pauses {
        Some(store) => store
            .pauses()
            .await
            .or_hint("")?
            .into_iter()
            .any(|pause| pause.environment == about.environment && pause.app == about.app),
        // Not ours to read: the daemon knows.
        None => true,
    };
    if remembered {
        let request = ControlRequest::Resume { environment: about.environment.clone(), app: about.app.clone() };
        if !tell_daemon(setup, &request).await? {
            open(setup)?.resume(&about.environment, about.app.as_ref()).await.or_hint("")?;
        }
    } else if !heard {
        return Err(Error::refused(format!("{} is not paused", about.name()), ""));
    }
    setup.output.say(&format!("{} goes on", about.name()));
    Ok(Exit::Ok)
}

async fn speak(setup: &Setup, about: &About, verb: Verb) -> Result<Answer, Error> {
    let (environment, app) = (about.environment.clone(), about.app.clone());
    let runtime = &setup.manager.runtime_dir;
    let answer = say(runtime, &environment, app.clone(), verb).await.or_hint("may you use the runtime folder?")?;
    if answer == Answer::NotUnderstood {
        return Err(Error::user("the running sync is of another version of holdfast", "use that version"));
    }
    if answer != Answer::Forbidden {
        return Ok(answer);
    }
    // The daemon's own: its control socket is for whoever may deploy.
    let request = match verb {
        Verb::Pause => ControlRequest::Pause { environment, app },
        Verb::Resume => ControlRequest::Resume { environment, app },
        Verb::Promote => ControlRequest::Promote { environment, app },
        Verb::Abort => ControlRequest::Abort { environment, app },
    };
    Ok(if tell_daemon(setup, &request).await? { Answer::Heard } else { Answer::None })
}

/// Asks the daemon of this manager; returns whether there is one.
async fn tell_daemon(setup: &Setup, request: &ControlRequest) -> Result<bool, Error> {
    let socket = setup.manager.runtime_dir.join("control");
    let mut client = match ControlClient::ask(&socket, request, Duration::ZERO).await {
        Ok(client) => client,
        Err(ControlError::Absent { source, .. }) if source.kind() != std::io::ErrorKind::PermissionDenied => {
            return Ok(false);
        }
        Err(error) => return Err(error).or_hint(""),
    };
    while let Some(reply) = client.next().await.or_hint("")? {
        match reply {
            ControlReply::Refused { reason } => return Err(Error::refused(reason, "")),
            reply if reply.is_last() => return Ok(true),
            _ => {}
        }
    }
    Err(Error::user("the daemon ended before it answered", "try again"))
}

fn open(setup: &Setup) -> Result<Store, Error> {
    Store::open(&setup.manager.state_dir.join("holdfast.sqlite")).or_hint("set `state_dir` in the configuration")
}
