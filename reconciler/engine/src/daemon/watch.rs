use std::sync::Arc;
use std::time::Duration;

use holdfast_core::id::EnvironmentName;
use holdfast_core::protocol::HostEvent;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::event::{DaemonEvent, Watched};
use crate::ports::{Clock, Connector};

/// Between two attempts to watch a host: the first, doubled each time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const MOST: Duration = Duration::from_secs(60);

/// Watches hosts, each in a task of its own, and says when something changed. Dropping the set ends it.
///
/// A host that could not be watched is hinted at when it can be again: what happened meanwhile is unknown.
pub(super) fn hosts(
    environment: &EnvironmentName,
    watched: Vec<Watched>,
    connector: &Arc<dyn Connector>,
    clock: &Arc<dyn Clock>,
    events: &mpsc::UnboundedSender<DaemonEvent>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for watched in watched {
        let (environment, events) = (environment.clone(), events.clone());
        let (connector, clock) = (Arc::clone(connector), Arc::clone(clock));
        tasks.spawn(async move {
            let hint = || events.send(DaemonEvent::HostChanged(environment.clone())).is_ok();
            let (mut pause, mut blind) = (FIRST, false);
            loop {
                if let Ok(link) = connector.connect(&watched.host).await
                    && let Ok(mut hints) = link.watch(watched.request.clone()).await
                {
                    // Not held: a channel that another replaces shall end, and the watch goes on over the new one.
                    drop(link);
                    if std::mem::take(&mut blind) && !hint() {
                        return;
                    }
                    while let Some(event) = hints.recv().await {
                        pause = FIRST;
                        if event != HostEvent::Alive && !hint() {
                            return;
                        }
                    }
                }
                blind = true;
                clock.sleep(pause).await;
                pause = (pause * 2).min(MOST);
            }
        });
    }
    tasks
}
