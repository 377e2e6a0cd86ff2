//! Asks all hosts at once what is there: one round trip each, bounded in number and time. What fails becomes a fact of its own.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::plan::{LiveHost, LiveState};
use holdfast_protocol::{ObserveRequest, Reply, Request};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::ports::{Connector, LinkError, Ports};

/// Hosts asked at one time: enough to hide the latency of many, few enough for the memory of one manager.
const AT_ONCE: usize = 64;

/// Connecting can include the delivery of the host program over a slow line.
const CONNECT: Duration = Duration::from_secs(60);

/// A host that is so busy that it cannot answer in this time is not one to change now.
const ANSWER: Duration = Duration::from_secs(30);

/// Returns what the hosts said. A host that did not answer is [`LiveHost::Unreachable`], never left out.
pub async fn observe(ports: &Ports, questions: Vec<(HostSpec, ObserveRequest)>) -> LiveState {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut asking = JoinSet::new();
    for (host, request) in questions {
        let (connector, slots) = (Arc::clone(&ports.connector), Arc::clone(&slots));
        asking.spawn(async move {
            let _slot = slots.acquire().await;
            let live = match ask(connector.as_ref(), &host, request).await {
                Ok(live) => live,
                Err(error) => LiveHost::Unreachable { reason: error.to_string() },
            };
            (host.name, live)
        });
    }
    let mut state = LiveState::default();
    while let Some(answer) = asking.join_next().await {
        match answer {
            Ok((host, live)) => {
                state.hosts.insert(host, live);
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    state
}

async fn ask(connector: &dyn Connector, host: &HostSpec, request: ObserveRequest) -> Result<LiveHost, LinkError> {
    let late = |what: &str, limit: Duration| LinkError::Unreachable {
        host: host.name.to_string(),
        reason: format!("{what} took longer than {} s", limit.as_secs()),
    };
    let link =
        tokio::time::timeout(CONNECT, connector.connect(host)).await.map_err(|_| late("connecting", CONNECT))??;
    match link.call(Request::Observe(request), ANSWER).await? {
        Reply::Observed(report) => Ok(LiveHost::Reached { hello: Box::new(link.hello().clone()), report }),
        other => Err(unexpected(host, &other)),
    }
}

/// Returns the error for an answer that does not belong to the question.
pub(crate) fn unexpected(host: &HostSpec, reply: &Reply) -> LinkError {
    let word = match reply {
        Reply::Hello(_) => "hello",
        Reply::Observed(_) => "observed",
        Reply::Missing(_) => "missing",
        Reply::Stored => "stored",
        Reply::Staged(_) => "staged",
        Reply::Begun => "begun",
        Reply::Entry(_) => "entry",
        Reply::Followed => "followed",
        Reply::Decided => "decided",
        Reply::Event(_) => "event",
        Reply::Restored(_) => "restored",
        Reply::Backup(_) => "backup",
        Reply::Fault(_) => "fault",
    };
    LinkError::Lost { host: host.name.to_string(), reason: format!("it answered `{word}`, which was not asked") }
}
