use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_protocol::{Envelope, Reply};
use tokio::sync::{mpsc, oneshot};

/// How many replies of one stream wait for their reader before the stream is given up or thinned.
const STREAM_DEPTH: usize = 1024;

/// The open requests of one channel, by number.
///
/// # Guarantees
/// [`Pending::deliver`] never waits: one slow reader cannot hold up the replies to all others. Once closed, it stays closed, and every
/// waiter has learnt it by its receiver's end.
#[derive(Clone, Default)]
pub(super) struct Pending(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ended: Option<String>,
    last: u64,
    waiters: BTreeMap<u64, Waiter>,
}

enum Waiter {
    Once(oneshot::Sender<Reply>),
    /// Every reply counts: a reader that does not keep up is cut off, and asks again from where it was.
    Stream(mpsc::Sender<Reply>),
    /// Hints: what a reader does not take in time is left out.
    Hints(mpsc::Sender<Reply>),
}

/// What came of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Somebody has it, or nobody asks for it any more.
    Done,
    /// It belongs to a stream that nobody reads any more: the host should be told.
    Deserted(u64),
}

/// An open request. Dropping it forgets the request; a late reply is then ignored.
pub(super) struct Ticket {
    pending: Pending,
    pub(super) id: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pending.state().waiters.remove(&self.id);
    }
}

impl Pending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, waiter: Waiter) -> Result<u64, String> {
        let mut state = self.state();
        if let Some(reason) = &state.ended {
            return Err(reason.clone());
        }
        state.last += 1;
        let id = state.last;
        state.waiters.insert(id, waiter);
        Ok(id)
    }

    /// Opens a request with one reply, or returns why the channel has ended.
    pub(super) fn once(&self) -> Result<(Ticket, oneshot::Receiver<Reply>), String> {
        let (sender, receiver) = oneshot::channel();
        let id = self.enter(Waiter::Once(sender))?;
        Ok((Ticket { pending: self.clone(), id }, receiver))
    }

    /// Opens a request with many replies, of which none may be lost.
    pub(super) fn stream(&self) -> Result<(u64, mpsc::Receiver<Reply>), String> {
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        Ok((self.enter(Waiter::Stream(sender))?, receiver))
    }

    /// Opens a request with many replies, of which some may be left out.
    pub(super) fn hints(&self) -> Result<(u64, mpsc::Receiver<Reply>), String> {
        let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
        Ok((self.enter(Waiter::Hints(sender))?, receiver))
    }

    /// Hands a reply to whoever waits for it.
    pub(super) fn deliver(&self, reply: Envelope<Reply>) -> Delivery {
        let mut state = self.state();
        let Envelope { id, body } = reply;
        let last = matches!(body, Reply::Followed | Reply::Fault(_));
        let deserted = match state.waiters.get(&id) {
            None => return Delivery::Done,
            Some(Waiter::Once(_)) => {
                if let Some(Waiter::Once(sender)) = state.waiters.remove(&id) {
                    drop(sender.send(body));
                }
                return Delivery::Done;
            }
            Some(Waiter::Stream(sender)) => sender.try_send(body).is_err(),
            Some(Waiter::Hints(sender)) => matches!(sender.try_send(body), Err(mpsc::error::TrySendError::Closed(_))),
        };
        if last || deserted {
            state.waiters.remove(&id);
        }
        if deserted && !last { Delivery::Deserted(id) } else { Delivery::Done }
    }

    /// Ends everything. The first reason stays.
    pub(super) fn close(&self, reason: String) {
        let mut state = self.state();
        state.ended.get_or_insert(reason);
        state.waiters.clear();
    }

    /// Returns why the channel ended; `None` while it lives.
    pub(super) fn ended(&self) -> Option<String> {
        self.state().ended.clone()
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::HostEvent;

    use super::*;

    fn reply(id: u64, body: Reply) -> Envelope<Reply> {
        Envelope { id, body }
    }

    fn alive() -> Reply {
        Reply::Event(HostEvent::Alive)
    }

    #[tokio::test]
    async fn a_forgotten_request_leaves_nothing_behind() {
        let pending = Pending::default();
        let (ticket, receiver) = pending.once().unwrap();
        let id = ticket.id;
        drop((ticket, receiver));
        assert!(pending.state().waiters.is_empty());
        assert_eq!(pending.deliver(reply(id, Reply::Stored)), Delivery::Done);
    }

    #[tokio::test]
    async fn a_reader_that_does_not_keep_up_loses_its_stream_but_not_its_hints() {
        let pending = Pending::default();
        let (stream, mut entries) = pending.stream().unwrap();
        let (watch, _hints) = pending.hints().unwrap();
        for _ in 0..STREAM_DEPTH {
            assert_eq!(pending.deliver(reply(stream, alive())), Delivery::Done);
            assert_eq!(pending.deliver(reply(watch, alive())), Delivery::Done);
        }
        assert_eq!(pending.deliver(reply(watch, alive())), Delivery::Done);
        assert_eq!(pending.deliver(reply(stream, alive())), Delivery::Deserted(stream));
        let mut seen = 0;
        while entries.recv().await.is_some() {
            seen += 1;
        }
        assert_eq!(seen, STREAM_DEPTH);
        assert!(pending.state().waiters.contains_key(&watch));
    }

    #[tokio::test]
    async fn closing_ends_every_receiver_and_refuses_new_requests() {
        let pending = Pending::default();
        let (_ticket, receiver) = pending.once().unwrap();
        let (_, mut stream) = pending.stream().unwrap();
        pending.close("first".to_owned());
        pending.close("second".to_owned());
        assert!(receiver.await.is_err());
        assert!(stream.recv().await.is_none());
        assert_eq!(pending.once().err().as_deref(), Some("first"));
    }
}
