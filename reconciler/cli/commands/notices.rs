//! `holdfast notices`: how notices stand, and a trial.

use std::fmt::Write;

use holdfast_core::config::NoticeSink;
use holdfast_core::notice::trial;
use holdfast_core::time::Timestamp;
use holdfast_core::view::harmless;
use holdfast_engine::notify::send;
use holdfast_engine::store::{SinkState, Store};

use crate::args::{NoticesArgs, NoticesVerb};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::Setup;
use crate::wire::Wire;

/// Lists the places, or tries one.
pub(crate) async fn run(setup: &Setup, arguments: &NoticesArgs) -> Result<Exit, Error> {
    match &arguments.verb {
        NoticesVerb::List { json } => list(setup, *json).await,
        NoticesVerb::Test { name } => test(setup, name).await,
    }
}

async fn list(setup: &Setup, json: bool) -> Result<Exit, Error> {
    let store = Store::open(&setup.manager.state_dir.join("holdfast.sqlite"))
        .or_hint("set `state_dir` in the configuration")?;
    let states = store.notice_states().await.or_hint("")?;
    if json {
        setup.output.json(&serde_json::json!({ "format_version": 1, "notices": states }))?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for NoticeSink { name, severity, .. } in &setup.manager.notices {
        let state = states.iter().find(|state| state.sink == *name);
        let counts = state.map_or_else(|| "nothing yet".to_owned(), counts);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<20} from {severity:?}: {counts}");
    }
    setup.output.data(if text.is_empty() { "no place for notices is configured\n" } else { &text });
    Ok(Exit::Ok)
}

/// Returns how notices to one place stand, in words.
pub(crate) fn counts(state: &SinkState) -> String {
    let SinkState { waiting, delivered, given_up, error, .. } = state;
    let why = if error.is_empty() { String::new() } else { format!("; last error: {}", harmless(error)) };
    format!("{delivered} delivered, {waiting} waiting, {given_up} given up{why}")
}

async fn test(setup: &Setup, name: &str) -> Result<Exit, Error> {
    let Some(sink) = setup.manager.notices.iter().find(|sink| sink.name == name) else {
        let known: Vec<_> = setup.manager.notices.iter().map(|sink| sink.name.as_str()).collect();
        return Err(Error::user(
            format!("no place for notices is named `{name}`"),
            format!("there is: {}", known.join(", ")),
        ));
    };
    let now = Wire::now();
    let scratch = setup.manager.state_dir.join("notices");
    match send(sink, &trial(name, now), &scratch, &mail_date(now)).await {
        Ok(()) => {
            setup.output.say(&format!("a trial notice went to {name}"));
            Ok(Exit::Ok)
        }
        Err(reason) => Err(Error::user(
            format!("the notice to {name} did not arrive: {}", harmless(&reason)),
            "docs/reference/notices.md says what each place needs",
        )),
    }
}

/// Returns a time as mails have it.
///
/// # Source
/// RFC 5322 §3.3: `Thu, 01 Jan 1970 00:00:00 +0000`.
pub(crate) fn mail_date(at: Timestamp) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    stamp.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
