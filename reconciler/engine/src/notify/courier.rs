use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::NoticeSink;
use holdfast_core::notice::try_again;
use holdfast_core::time::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Herald, curl};
use crate::ports::Clock;
use crate::store::{Delivery, QueuedNotice, Store, StoreError};

/// How often the queue is looked at for what other processes wrote into it.
const LOOK: Duration = Duration::from_secs(2);

/// What deliveries need.
#[derive(Clone)]
pub struct Courier {
    /// Whose queue it is.
    pub herald: Herald,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// A folder of ours.
    pub scratch: PathBuf,
    /// Writes a time as mails have it (RFC 5322 §3.3).
    pub date: fn(Timestamp) -> String,
    /// Ends it, after what is on its way has arrived.
    pub stop: CancellationToken,
}

/// Delivers until it is told to stop: to all places at once, to each one by one.
pub async fn deliver(courier: Courier) {
    let mut places = JoinSet::new();
    for sink in courier.herald.sinks.iter().cloned() {
        let courier = courier.clone();
        places.spawn(async move {
            while !courier.stop.is_cancelled() {
                if let Err(error) = one(&courier, &sink).await {
                    tracing::error!(%error, sink = sink.name, "notices wait");
                    courier.rest(LOOK).await;
                }
            }
        });
    }
    while places.join_next().await.is_some() {}
}

/// Delivers what is due, or waits for something.
async fn one(courier: &Courier, sink: &NoticeSink) -> Result<(), StoreError> {
    let store: &Store = &courier.herald.store;
    let now = courier.clock.now();
    let Some(queued) = store.next_notice(&sink.name).await? else {
        courier.rest(LOOK).await;
        return Ok(());
    };
    let QueuedNotice { number, notice, failures, due } = queued;
    if due > now {
        courier.rest(LOOK.min(Duration::from_millis(due.since_ms(now)))).await;
        return Ok(());
    }
    let sent = curl::send(sink, &notice, &courier.scratch, &(courier.date)(notice.at)).await;
    let delivery = match sent {
        Ok(()) => Delivery::Done,
        Err(error) => {
            if let Some(at) = try_again(&notice.id, &sink.name, failures + 1, courier.clock.now()) {
                Delivery::Again(at, error)
            } else {
                tracing::error!(sink = sink.name, id = notice.id, %error, "a notice is given up");
                Delivery::GivenUp(error)
            }
        }
    };
    store.noticed(number, delivery).await
}

impl Courier {
    async fn rest(&self, most: Duration) {
        tokio::select! {
            () = self.clock.sleep(most) => {}
            () = self.herald.wake.notified() => {}
            () = self.stop.cancelled() => {}
        }
    }
}
