//! One request to one host, repeated until it is known what became of it.

use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_protocol::{Fault, FaultKind, Reply, Request, TransactionId};

use crate::observe::unexpected;
use crate::ports::{LinkError, Ports};

/// For one request.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a host may be out of reach before nobody waits for it any more: longer than a reboot.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(15 * 60);

/// Waits between tries double from the first to the last.
const WAITS_MS: (u64, u64) = (200, 5_000);

/// Waits, each longer, until the host counts as lost.
#[derive(Debug)]
pub(super) struct Patience {
    wait_ms: u64,
    since: Option<holdfast_core::time::Timestamp>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { wait_ms: WAITS_MS.0, since: None }
    }

    /// The host answered.
    pub(super) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Returns whether this is the first failure in a row.
    pub(super) fn is_fresh(&self) -> bool {
        self.since.is_none()
    }

    /// Waits; returns whether to try again.
    pub(super) async fn wait(&mut self, ports: &Ports) -> bool {
        let now = ports.clock.now();
        let since = *self.since.get_or_insert(now);
        if u128::from(now.since_ms(since)) >= LOST_AFTER.as_millis() {
            return false;
        }
        ports.clock.sleep(Duration::from_millis(self.wait_ms)).await;
        self.wait_ms = (self.wait_ms * 2).min(WAITS_MS.1);
        true
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Told {
    /// The host did it.
    Done,
    /// It will not.
    Refused(Fault),
    /// It could not be reached for too long.
    Lost(LinkError),
}

/// Starts a transaction, or its runner again.
pub(super) async fn begin(ports: &Ports, host: &HostSpec, id: &TransactionId) -> Told {
    repeat(ports, host, false, &|| Request::Begin(id.clone())).await
}

/// Tells a decision.
pub(super) async fn decide(ports: &Ports, host: &HostSpec, request: Request) -> Told {
    repeat(ports, host, false, &|| request.clone()).await
}

/// Confirms over a new connection.
pub(super) async fn confirm(ports: &Ports, host: &HostSpec, id: &TransactionId) -> Told {
    repeat(ports, host, true, &|| Request::Confirm(id.clone())).await
}

async fn repeat(ports: &Ports, host: &HostSpec, fresh: bool, request: &(dyn Fn() -> Request + Send + Sync)) -> Told {
    let mut patience = Patience::new();
    loop {
        let error = match once(ports, host, fresh, request()).await {
            Ok(()) => return Told::Done,
            // A host that tried and failed may do better; one that says no means it.
            Err(LinkError::Fault { fault, .. }) if fault.kind != FaultKind::Failed => return Told::Refused(fault),
            Err(error) => error,
        };
        if !patience.wait(ports).await {
            return Told::Lost(error);
        }
    }
}

async fn once(ports: &Ports, host: &HostSpec, fresh: bool, request: Request) -> Result<(), LinkError> {
    let link = if fresh { ports.connector.reconnect(host).await? } else { ports.connector.connect(host).await? };
    match link.call(request, ANSWER).await? {
        Reply::Begun | Reply::Decided => Ok(()),
        other => Err(unexpected(host, &other)),
    }
}
