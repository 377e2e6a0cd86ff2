use holdfast_core::config::HostSpec;
use holdfast_core::id::HostName;
use holdfast_protocol::{JournalEntry, JournalEvent, TransactionId};
use tokio::sync::mpsc;

use crate::ports::{LinkError, Ports};

use super::tell::{Patience, Told, begin};

/// What comes from a host's transaction.
#[derive(Debug)]
pub(super) enum Message {
    /// The next entry of its journal; none is left out and none comes twice.
    Entry(HostName, JournalEntry),
    /// It could not be asked for a while, or refused something; the work goes on.
    Trouble(HostName, String),
    /// It refused to begin, for another manager was there first: nothing happened there.
    NotBegun(HostName, String),
    /// Nobody waits for it any more.
    Lost(HostName, String),
    /// The dead man's switch is confirmed, or asks for nothing.
    Confirmed(HostName),
}

/// Begins a transaction and sends its journal on until it ends, through lost channels.
pub(super) async fn begin_and_follow(ports: Ports, host: HostSpec, id: TransactionId, to: mpsc::Sender<Message>) {
    let name = host.name.clone();
    let last = match begin(&ports, &host, &id).await {
        Told::Done => match follow(&ports, &host, &id, &to).await {
            Ok(()) => return,
            Err(error) => Message::Lost(name, error.to_string()),
        },
        // It was staged: what is not there any more, another manager has put its own in the place of.
        Told::Refused(fault) => Message::NotBegun(name, format!("another manager was faster: {}", fault.message)),
        Told::Lost(error) => Message::Lost(name, error.to_string()),
    };
    // Nobody listens any more when the rollout is over.
    let _ = to.send(last).await;
}

async fn follow(
    ports: &Ports,
    host: &HostSpec,
    id: &TransactionId,
    to: &mpsc::Sender<Message>,
) -> Result<(), LinkError> {
    let mut next = 0;
    let mut patience = Patience::new();
    loop {
        let error = match read(ports, host, id, to, &mut next, &mut patience).await {
            Ok(true) => return Ok(()),
            Ok(false) => LinkError::Lost {
                host: host.name.to_string(),
                reason: "the journal broke off before its end".to_owned(),
            },
            Err(error) => error,
        };
        // Once for each time it goes away: what it does meanwhile is unknown, not failed.
        if patience.is_fresh() {
            let _ =
                to.send(Message::Trouble(host.name.clone(), format!("{error}; following on when it is back"))).await;
        }
        if !patience.wait(ports).await {
            return Err(error);
        }
    }
}

/// Reads on from `next`; returns whether the transaction has ended.
async fn read(
    ports: &Ports,
    host: &HostSpec,
    id: &TransactionId,
    to: &mpsc::Sender<Message>,
    next: &mut u64,
    patience: &mut Patience,
) -> Result<bool, LinkError> {
    let link = ports.connector.connect(host).await?;
    let mut entries = link.follow(id.clone(), *next).await?;
    while let Some(entry) = entries.recv().await {
        patience.renew();
        if entry.seq < *next {
            continue;
        }
        *next = entry.seq + 1;
        let ended = matches!(entry.event, JournalEvent::Ended { .. });
        if to.send(Message::Entry(host.name.clone(), entry)).await.is_err() || ended {
            return Ok(true);
        }
    }
    Ok(false)
}
