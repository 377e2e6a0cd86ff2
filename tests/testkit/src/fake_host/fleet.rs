use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::event::SyncEvent;
use holdfast_core::id::HostName;
use holdfast_core::secret::{Secret, SecretRef};
use holdfast_core::time::Timestamp;
use holdfast_engine::ports::{
    BoxFuture, Clock, Connector, EventSink, HostLink, LinkError, Ports, SecretError, SecretSource,
};
use tokio::time::Instant;

use super::host::FakeHost;
use super::link::open;

/// Hosts by name, and everything else a sync asks of the world.
#[derive(Clone)]
pub struct FakeFleet {
    hosts: BTreeMap<HostName, FakeHost>,
    sink: Arc<MemorySink>,
    clock: Arc<FakeClock>,
}

impl FakeFleet {
    /// Returns empty hosts of these names. Must be called within a tokio runtime, whose clock it takes.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a HostName>) -> Self {
        let hosts = names.into_iter().map(|name| (name.clone(), FakeHost::new(name.as_str()))).collect();
        Self { hosts, sink: Arc::default(), clock: Arc::new(FakeClock::new()) }
    }

    /// Returns a host.
    pub fn host(&self, name: &HostName) -> &FakeHost {
        &self.hosts[name]
    }

    /// Returns all hosts.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostName, &FakeHost)> {
        self.hosts.iter()
    }

    /// Returns the ports of a sync on this fleet. Events are kept in memory.
    pub fn ports(&self) -> Ports {
        Ports {
            connector: Arc::new(self.clone()),
            secrets: Arc::new(FakeSecrets),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            events: Arc::clone(&self.sink) as Arc<dyn EventSink>,
            archives: std::path::Path::new("/var/lib/holdfast-manager/archives").into(),
        }
    }

    /// Returns all events so far.
    pub fn events(&self) -> Vec<SyncEvent> {
        self.sink.events()
    }

    fn find(&self, host: &HostSpec) -> Result<&FakeHost, LinkError> {
        self.hosts.get(&host.name).ok_or_else(|| LinkError::Unreachable {
            host: host.name.to_string(),
            reason: "it is not in the simulated fleet".to_owned(),
        })
    }
}

impl Connector for FakeFleet {
    fn connect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>> {
        Box::pin(async move { open(self.find(host)?).await })
    }

    fn reconnect<'a>(&'a self, host: &'a HostSpec) -> BoxFuture<'a, Result<Arc<dyn HostLink>, LinkError>> {
        self.connect(host)
    }
}

/// Reveals every secret as `value of NAME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct FakeSecrets;

impl SecretSource for FakeSecrets {
    fn reveal(&self, secret: &SecretRef) -> Result<Secret<String>, SecretError> {
        Ok(Secret::new(format!("value of {}", secret.name())))
    }
}

/// tokio's clock as the time of day, from a fixed beginning.
#[derive(Debug, Clone, Copy)]
pub struct FakeClock {
    began: Instant,
}

/// Some morning.
const BEGINNING: u64 = 1_800_000_000_000;

impl FakeClock {
    /// Returns a clock that begins now.
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp(BEGINNING + self.began.elapsed().as_millis() as u64)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Keeps events.
#[derive(Debug, Default)]
pub struct MemorySink(Mutex<Vec<SyncEvent>>);

impl MemorySink {
    /// Returns all events so far.
    pub fn events(&self) -> Vec<SyncEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSink for MemorySink {
    fn emit(&self, event: &SyncEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}
