//! `holdfast history`: past syncs.

use std::fmt::Write;

use holdfast_core::time::Timestamp;
use holdfast_core::view::{DOCUMENT_VERSION, HistoryDocument, HistorySync, harmless, in_short, progress_line, took};
use holdfast_engine::store::{EventSeq, Store, SyncId, SyncRecord};

use crate::args::HistoryArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::progress::paint;
use crate::setup::{Setup, environment};

/// Prints the last syncs, or all events of one.
pub(crate) async fn run(setup: &Setup, arguments: &HistoryArgs) -> Result<Exit, Error> {
    let store = Store::open(&setup.manager.state_dir.join("holdfast.sqlite"))
        .or_hint("set `state_dir` in the configuration")?;
    if arguments.verify {
        return verify(setup, &store, arguments.head.as_deref()).await;
    }
    if let Some(id) = arguments.sync {
        return one(setup, &store, SyncId(id), arguments.json).await;
    }
    let wanted = arguments.environment.as_deref().map(environment).transpose()?;
    let syncs = store.syncs(wanted.as_ref(), arguments.limit).await.or_hint("")?;
    if arguments.json {
        let syncs = Some(syncs.iter().map(entry).collect());
        setup.output.json(&HistoryDocument { format_version: DOCUMENT_VERSION, syncs, sync: None, events: None })?;
    } else {
        setup.output.data(&table(&syncs));
    }
    Ok(Exit::Ok)
}

/// Says whether the history is as it was written.
async fn verify(setup: &Setup, store: &Store, known: Option<&str>) -> Result<Exit, Error> {
    let verified = store.verify(known).await.or_hint("")?;
    for finding in &verified.findings {
        setup.output.data(finding);
    }
    if verified.before > 0 {
        setup
            .output
            .data(&format!("{} syncs ended before there was a chain: nothing is known of them", verified.before));
    }
    let head = if verified.head.is_empty() { "none yet" } else { verified.head.as_str() };
    setup.output.data(&format!("{} entries, head {head}", verified.entries));
    if verified.findings.is_empty() {
        return Ok(Exit::Ok);
    }
    let message = format!("the history was altered: findings: {}", verified.findings.len());
    Err(Error::user(message, "compare it with a backup of `state_dir`; who may write there is who may have done it"))
}

async fn one(setup: &Setup, store: &Store, id: SyncId, json: bool) -> Result<Exit, Error> {
    let record = store.sync(id).await.or_hint("")?;
    let Some(record) = record else {
        return Err(Error::user(format!("there is no sync {id}"), "`holdfast history` lists them"));
    };
    let events = store.events(id, EventSeq::default(), u32::MAX).await.or_hint("")?;
    let events: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
    if json {
        let (sync, events) = (Some(entry(&record)), Some(events));
        setup.output.json(&HistoryDocument { format_version: DOCUMENT_VERSION, syncs: None, sync, events })?;
        return Ok(Exit::Ok);
    }
    let mut plain = setup.output;
    plain.color_err = plain.color;
    let mut text = table(std::slice::from_ref(&record));
    for line in events.iter().filter_map(|event| progress_line(record.started, event)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", paint(plain, &line));
    }
    setup.output.data(&text);
    Ok(Exit::Ok)
}

/// Returns a sync as documents have it.
pub(crate) fn entry(sync: &SyncRecord) -> HistorySync {
    HistorySync {
        id: sync.id.0,
        environment: sync.environment.clone(),
        commit: sync.commit.clone(),
        cause: sync.cause.clone(),
        started: sync.started,
        ended: sync.ended,
        result: sync.result,
        reason: sync.reason.clone(),
    }
}

fn table(syncs: &[SyncRecord]) -> String {
    if syncs.is_empty() {
        return "no sync yet\n".to_owned();
    }
    let mut text = format!(
        "{:>5}  {:<20} {:<12} {:<10} {:<9} {:<11} {:>9}  {}\n",
        "SYNC", "STARTED", "ENVIRONMENT", "COMMIT", "CAUSE", "RESULT", "TOOK", "WHAT"
    );
    for sync in syncs {
        let result = sync.result.map_or_else(|| "unfinished".to_owned(), |result| format!("{result:?}"));
        let length = sync.ended.map_or_else(String::new, |ended| took(ended.since_ms(sync.started)));
        let _ = writeln!(
            text,
            "{:>5}  {:<20} {:<12} {:<10} {:<9} {:<11} {:>9}  {}",
            sync.id.to_string(),
            when(sync.started),
            sync.environment,
            sync.commit.short(),
            sync.cause,
            result,
            length,
            in_short(&harmless(&sync.reason))
        );
    }
    text
}

/// Returns a time as people read it.
pub(crate) fn when(at: Timestamp) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "?".to_owned(), |stamp| stamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
