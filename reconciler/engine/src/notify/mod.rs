//! Notices: a durable queue in the store, and one task for each place that they go to.
//!
//! # Flow
//! Whoever learns something gives it to a [`Herald`], which writes it down and returns. [`deliver`] takes what is due and hands it to
//! [`send`]; what fails is due again later, and is given up in the end. No sync ever waits for a place.
//!
//! # Guarantees
//! What was written down outlives the process. A notice goes to each place once; only when the process is killed between the place's
//! answer and the note of it does it go again, with the same id.

mod courier;
mod curl;
mod letter;

use std::sync::Arc;

use holdfast_core::config::NoticeSink;
use holdfast_core::notice::{Told, wants};
use tokio::sync::Notify;

pub use courier::{Courier, deliver};
pub use curl::send;

use crate::store::Store;

/// Takes in what people are to be told.
#[derive(Debug, Clone)]
pub struct Herald {
    store: Store,
    sinks: Arc<Vec<NoticeSink>>,
    wake: Arc<Notify>,
}

impl Herald {
    /// Returns a herald for these places.
    pub fn new(store: Store, sinks: Vec<NoticeSink>) -> Self {
        Self { store, sinks: Arc::new(sinks), wake: Arc::default() }
    }

    /// Writes down what is to be told. Where that fails, the log says so, and the work goes on.
    pub async fn tell(&self, told: Told) {
        if self.sinks.is_empty() || told == Told::default() {
            return;
        }
        let sinks = Arc::clone(&self.sinks);
        let to =
            move |notice: &_| sinks.iter().filter(|sink| wants(sink, notice)).map(|sink| sink.name.clone()).collect();
        if let Err(error) = self.store.tell_notices(told, to).await {
            tracing::error!(%error, "nobody is told of this");
        }
        self.wake.notify_waiters();
    }
}
