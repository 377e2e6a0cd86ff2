//! How many environments begin something at the same time.
//!
//! Images are fetched, containers start and schemas move between the beginning of a rollout and its switch: that is what costs hosts that
//! several environments share. A watch window, a pause and draining cost nothing, and may take a day: nobody waits for those.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns that one manager has to give. Cheap to clone; who asked first gets the next one.
#[derive(Debug, Clone)]
pub struct Turns {
    free: Arc<Semaphore>,
    most: u32,
}

impl Turns {
    /// Returns as many turns as environments may begin something at the same time: at least one.
    pub fn new(most: u32) -> Self {
        let most = most.max(1);
        Self { free: Arc::new(Semaphore::new(most as usize)), most }
    }
}

/// Whether an environment has a turn, and where it gets one.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    permit: Option<OwnedSemaphorePermit>,
    began: bool,
}

impl Turn {
    /// Returns none yet.
    pub(super) fn of(turns: Turns) -> Self {
        Self { turns, permit: None, began: false }
    }

    /// Begins if that needs no waiting. What has begun goes on: it never waits for others half way.
    pub(super) fn begin(&mut self) -> bool {
        if self.permit.is_none() {
            self.permit = Arc::clone(&self.turns.free).try_acquire_owned().ok();
        }
        self.began |= self.permit.is_some();
        self.began
    }

    /// Waits for a turn, behind everybody who waits already. Safe to cancel: then there is none.
    pub(super) async fn wait(&mut self) {
        // It is never closed.
        self.permit = Arc::clone(&self.turns.free).acquire_owned().await.ok();
    }

    /// Gives the turn back while nothing starts, and takes one again, where there is one, when something does.
    pub(super) fn costs(&mut self, something_starts: bool) {
        if something_starts {
            self.begin();
        } else {
            self.permit = None;
        }
    }

    /// Returns how many may begin something at the same time.
    pub(super) fn most(&self) -> u32 {
        self.turns.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waited_first_begins_first_and_nobody_waits_for_what_only_watches() {
        let turns = Turns::new(1);
        let [mut first, mut second, mut third] = [(); 3].map(|()| Turn::of(turns.clone()));
        assert!(first.begin() && !second.begin());
        let waiting = tokio::spawn(async move {
            second.wait().await;
            second
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        // Its hosts are in their watch window: the next one's turn, and not somebody's who just comes.
        first.costs(false);
        assert!(!third.begin());
        let mut second = waiting.await.unwrap();
        assert!(second.begin());
        // What has begun does not wait for the others at its next wave.
        first.costs(true);
        assert!(first.begin() && !third.begin());
        drop(second);
        assert!(third.begin());
    }
}
