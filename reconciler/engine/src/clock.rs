//! The system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_core::time::Timestamp;

use crate::ports::{BoxFuture, Clock};

/// The clock of the machine. The one place of the manager that asks for the time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
