//! Where adapters meet ports.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_core::config::Purpose;
use holdfast_core::event::SyncEvent;
use holdfast_core::time::Timestamp;
use holdfast_engine::archives::Archives;
use holdfast_engine::clock::SystemClock;
use holdfast_engine::links::{ByAddress, Links};
use holdfast_engine::local::LocalDialer;
use holdfast_engine::manager::ManagerConfig;
use holdfast_engine::notify::Herald;
use holdfast_engine::ports::{Clock, EventSink, Ports, SecretSource};
use holdfast_engine::secrets::{Identities, SopsSecrets};
use holdfast_engine::ssh::{ControlFolder, Greeting, HostPrograms, SshDialer, SshOptions};
use holdfast_engine::store::Store;

use crate::error::{Error, OrHint};
use crate::setup::Revision;

/// What outlives a single sync: channels to hosts, keys, the store.
pub(crate) struct Wire {
    /// Channels to hosts, kept warm.
    pub(crate) links: Arc<Links>,
    /// Keys.
    pub(crate) identities: Arc<Identities>,
    /// History, quarantine, locks.
    pub(crate) store: Store,
    /// Who tells people.
    pub(crate) herald: Herald,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Archives of images.
    pub(crate) archives: Archives,
}

impl Wire {
    /// Opens the store and gets ready to connect; nothing is connected yet.
    pub(crate) async fn open(manager: &ManagerConfig) -> Result<Self, Error> {
        let named: Vec<PathBuf> = manager.host_program.iter().cloned().collect();
        let own = std::env::current_exe().ok();
        let programs = HostPrograms::find(&named, own.as_deref().and_then(Path::parent)).or_hint("")?;
        let programs = Arc::new(programs);
        let name = manager_name();
        let mut options = SshOptions::new(&name);
        options.config.clone_from(&manager.ssh.config_file);
        options.identity.clone_from(&manager.ssh.identity);
        options.connect_timeout = manager.ssh.connect_timeout;
        let greeting = Greeting { manager: name, deadline: options.greeting.deadline };
        let control =
            ControlFolder::open(&manager.runtime_dir).await.or_hint("set `runtime_dir` in the configuration")?;
        let root = rustix::process::geteuid().is_root();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let dial = ByAddress {
            ssh: Some(SshDialer::new(options, control, Arc::clone(&programs))),
            local: LocalDialer::new(programs, greeting, root),
        };
        let keys = manager.age_key_files.iter().map(PathBuf::as_path);
        let identities = Identities::from_files(keys).or_hint("`holdfast secrets keygen FILE` makes a key")?;
        let store =
            Store::open(&manager.state_dir.join("holdfast.sqlite")).or_hint("set `state_dir` in the configuration")?;
        Ok(Self {
            links: Arc::new(Links::new(dial, Arc::clone(&clock))),
            identities: Arc::new(identities),
            herald: Herald::new(store.clone(), manager.notices.clone()),
            store,
            clock,
            archives: Archives::new(&manager.archives),
        })
    }

    /// Returns the time.
    pub(crate) fn now() -> Timestamp {
        SystemClock.now()
    }

    /// Returns the ports for one sync of one commit.
    pub(crate) fn ports(&self, revision: &Revision, events: Arc<dyn EventSink>) -> Ports {
        let all = revision.config.environments.values();
        let lenient = all
            .filter(|environment| environment.purpose == Purpose::Development)
            .map(|environment| format!("environments/{}/secrets.sops.yaml", environment.name));
        let secrets = SopsSecrets::new(&revision.tree, Arc::clone(&self.identities)).with_placeholders_in(lenient);
        let secrets: Arc<dyn SecretSource> = Arc::new(secrets);
        let connector: Arc<Links> = Arc::clone(&self.links);
        Ports { connector, secrets, clock: Arc::clone(&self.clock), events, archives: self.archives.folder() }
    }
}

/// Gives each event to several watchers.
pub(crate) struct Fan(pub(crate) Vec<Arc<dyn EventSink>>);

impl EventSink for Fan {
    fn emit(&self, event: &SyncEvent) {
        self.0.iter().for_each(|sink| sink.emit(event));
    }
}

/// Takes events and does nothing with them.
pub(crate) struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: &SyncEvent) {}
}

fn manager_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "manager".to_owned() } else { name.to_owned() }
}
