use std::time::Duration;

use holdfast_protocol::{
    Envelope, Fault, FaultKind, FrameError, Hello, HelloRequest, HostEvent, JournalEntry, ObserveRequest,
    PROTOCOL_VERSION, Reply, Request, TransactionId,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::frame;
use super::pending::{Delivery, Pending};
use super::tail::escaped;
use crate::ports::{BoxFuture, HostLink, LinkError};

/// How long [`HostLink::follow`] waits for a first word, so that an unknown transaction is an error of the call itself.
const FIRST_WORD: Duration = Duration::from_millis(200);
/// Frames that wait to be written; more make callers wait.
const OUTGOING: usize = 16;

/// The two directions of a channel, and what is known when it ends.
pub struct Streams {
    /// To the host program.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// From the host program.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Awaited when the channel has ended, to say why for people; empty when nothing is known. It owns the processes behind the
    /// channel: dropping it ends them.
    pub farewell: BoxFuture<'static, String>,
}

/// What the manager says first.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// The name of the manager in the host's records.
    pub manager: String,
    /// How long the host may take to answer.
    pub deadline: Duration,
}

/// Why a host program did not greet back.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// The channel ended. The streams' farewell says why.
    #[error("the channel ended before the greeting")]
    Ended,
    /// No answer in time.
    #[error("no greeting within {0:?}")]
    Late(Duration),
    /// Something else than the host program spoke.
    #[error(
        "something else than holdfast-host answered ({0}); a login shell's start-up file that prints text does this: \
         let it print only when it is interactive"
    )]
    Noise(String),
    /// The two speak different versions.
    #[error("the host program speaks protocol {found}, this manager speaks {PROTOCOL_VERSION}")]
    Version {
        /// The host's.
        found: u16,
    },
}

/// An open channel to a greeted host program.
///
/// # Guarantees
/// Requests run side by side. When the channel breaks, every open call returns [`LinkError::Lost`] and every stream ends. Dropping
/// the link closes the channel.
pub struct ChannelLink {
    host: String,
    hello: Hello,
    pending: Pending,
    outgoing: mpsc::Sender<Vec<u8>>,
    tasks: [AbortHandle; 2],
}

impl Drop for ChannelLink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl ChannelLink {
    /// Returns the link over the streams of a host program that has greeted back.
    pub fn open(host: &str, hello: Hello, streams: Streams) -> Self {
        let pending = Pending::default();
        let (outgoing, frames) = mpsc::channel(OUTGOING);
        let writer = tokio::spawn(write(streams.stdin, frames));
        let reader = tokio::spawn(read(streams.stdout, streams.farewell, pending.clone(), outgoing.clone()));
        let tasks = [writer.abort_handle(), reader.abort_handle()];
        Self { host: host.to_owned(), hello, pending, outgoing, tasks }
    }

    /// Returns whether the channel still works as far as is known.
    pub fn is_open(&self) -> bool {
        self.pending.ended().is_none()
    }

    fn lost(&self, reason: impl Into<String>) -> LinkError {
        LinkError::Lost { host: self.host.clone(), reason: reason.into() }
    }

    fn ended(&self) -> LinkError {
        self.lost(self.pending.ended().unwrap_or_else(|| "the channel was closed".to_owned()))
    }

    async fn send(&self, id: u64, body: Request) -> Result<(), LinkError> {
        let frame = frame::encode(&Envelope { id, body }).map_err(|error| {
            // Nothing was sent, so the outcome is known: it is the request that is wrong.
            let fault = Fault { kind: FaultKind::Refused, message: error.to_string() };
            LinkError::Fault { host: self.host.clone(), fault }
        })?;
        self.outgoing.send(frame).await.map_err(|_| self.ended())
    }

    fn forward<T: Send + 'static>(
        &self,
        id: u64,
        mut replies: mpsc::Receiver<Reply>,
        first: Option<T>,
        pick: fn(Reply) -> Option<T>,
    ) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::channel(64);
        let outgoing = self.outgoing.clone();
        tokio::spawn(async move {
            let mut next = first;
            loop {
                if let Some(item) = next.take()
                    && sender.send(item).await.is_err()
                {
                    break;
                }
                tokio::select! {
                    reply = replies.recv() => match reply.and_then(pick) {
                        Some(item) => next = Some(item),
                        None => return,
                    },
                    () = sender.closed() => break,
                }
            }
            // Nobody reads any more: the host need not send.
            if let Ok(frame) = frame::encode(&Envelope { id, body: Request::Cancel(id) }) {
                let _ = outgoing.send(frame).await;
            }
        });
        receiver
    }
}

/// Greets the host program: the first thing said on every channel.
///
/// # Errors
/// See [`GreetError`].
pub async fn greet(
    stdin: &mut (impl AsyncWrite + Unpin),
    stdout: &mut (impl AsyncRead + Unpin),
    greeting: &Greeting,
) -> Result<Hello, GreetError> {
    let request = HelloRequest { protocol: PROTOCOL_VERSION, manager: greeting.manager.clone() };
    let frame = frame::encode(&Envelope { id: 0, body: Request::Hello(request) })
        .map_err(|error| GreetError::Noise(error.to_string()))?;
    let talk = async {
        // A host program that is not there takes nothing; what the channel's end says then is better than this error.
        let _ = stdin.write_all(&frame).await;
        let _ = stdin.flush().await;
        frame::read::<Envelope<Reply>>(stdout).await
    };
    match tokio::time::timeout(greeting.deadline, talk).await {
        Ok(Ok(Envelope { id: 0, body: Reply::Hello(hello) })) if hello.protocol == PROTOCOL_VERSION => Ok(*hello),
        Ok(Ok(Envelope { body: Reply::Hello(hello), .. })) => Err(GreetError::Version { found: hello.protocol }),
        Ok(Ok(Envelope { body: Reply::Fault(fault), .. })) => Err(GreetError::Noise(escaped(&fault.message))),
        Ok(Ok(_)) => Err(GreetError::Noise("a reply that nobody asked for".to_owned())),
        Ok(Err(FrameError::Closed | FrameError::Io(_))) => Err(GreetError::Ended),
        Ok(Err(error)) => Err(GreetError::Noise(error.to_string())),
        Err(_) => Err(GreetError::Late(greeting.deadline)),
    }
}

async fn write(mut stdin: Box<dyn AsyncWrite + Send + Unpin>, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        // The reader learns of a broken channel too, and knows more of why.
        if stdin.write_all(&frame).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn read(
    mut stdout: Box<dyn AsyncRead + Send + Unpin>,
    farewell: BoxFuture<'static, String>,
    pending: Pending,
    outgoing: mpsc::Sender<Vec<u8>>,
) {
    let error = loop {
        match frame::read::<Envelope<Reply>>(&mut stdout).await {
            Ok(reply) => {
                if let Delivery::Deserted(id) = pending.deliver(reply)
                    && let Ok(frame) = frame::encode(&Envelope { id, body: Request::Cancel(id) })
                {
                    let _ = outgoing.try_send(frame);
                }
            }
            Err(error) => break error,
        }
    };
    // A farewell takes a moment at most, and makes the difference between a riddle and an error message.
    let broken = error.to_string();
    let said = farewell.await;
    pending.close(if said.is_empty() { broken } else { format!("{broken}; {said}") });
}

fn word(request: &Request) -> &'static str {
    match request {
        Request::Hello(_) => "hello",
        Request::Observe(_) => "observe",
        Request::Missing(_) => "missing",
        Request::PutBlob { .. } => "put blob",
        Request::Room { .. } => "room",
        Request::Stage(_) => "stage",
        Request::Begin(_) => "begin",
        Request::Follow { .. } => "follow",
        Request::Decide { .. } => "decide",
        Request::Confirm(_) => "confirm",
        Request::Watch(_) => "watch",
        Request::Cancel(_) => "cancel",
        Request::Mask { .. } => "mask",
        Request::Restore(_) => "restore",
        Request::Backup(_) => "backup",
    }
}

impl HostLink for ChannelLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    fn call(&self, request: Request, deadline: Duration) -> BoxFuture<'_, Result<Reply, LinkError>> {
        Box::pin(async move {
            let word = word(&request);
            let (ticket, receiver) = self.pending.once().map_err(|reason| self.lost(reason))?;
            let exchange = async {
                self.send(ticket.id, request).await?;
                receiver.await.map_err(|_| self.ended())
            };
            match tokio::time::timeout(deadline, exchange).await {
                Ok(Ok(Reply::Fault(fault))) => Err(LinkError::Fault { host: self.host.clone(), fault }),
                Ok(result) => result,
                Err(_) => Err(self.lost(format!("no answer to `{word}` within {deadline:?}"))),
            }
        })
    }

    fn follow(&self, id: TransactionId, from: u64) -> BoxFuture<'_, Result<mpsc::Receiver<JournalEntry>, LinkError>> {
        Box::pin(async move {
            let (number, mut replies) = self.pending.stream().map_err(|reason| self.lost(reason))?;
            self.send(number, Request::Follow { id, from }).await?;
            let first = match tokio::time::timeout(FIRST_WORD, replies.recv()).await {
                Ok(Some(Reply::Fault(fault))) => return Err(LinkError::Fault { host: self.host.clone(), fault }),
                Ok(Some(Reply::Entry(entry))) => Some(entry),
                Ok(None) => return Err(self.ended()),
                Ok(Some(_)) => {
                    replies.close();
                    None
                }
                Err(_) => None,
            };
            Ok(self.forward(number, replies, first, |reply| match reply {
                Reply::Entry(entry) => Some(entry),
                _ => None,
            }))
        })
    }

    fn watch(&self, request: ObserveRequest) -> BoxFuture<'_, Result<mpsc::Receiver<HostEvent>, LinkError>> {
        Box::pin(async move {
            let (number, replies) = self.pending.hints().map_err(|reason| self.lost(reason))?;
            self.send(number, Request::Watch(request)).await?;
            Ok(self.forward(number, replies, None, |reply| match reply {
                Reply::Event(event) => Some(event),
                _ => None,
            }))
        })
    }
}
