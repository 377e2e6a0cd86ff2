//! The engine as a library, wired as the product wires it: channels that stay open between passes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_core::config::{Config, load};
use holdfast_core::desired::{DesiredState, resolve};
use holdfast_core::event::SyncEvent;
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::plan::{LiveState, Plan, PlanOptions, plan};
use holdfast_engine::clock::SystemClock;
use holdfast_engine::links::{ByAddress, Links};
use holdfast_engine::local::LocalDialer;
use holdfast_engine::manager::ManagerConfig;
use holdfast_engine::ports::{Clock, EventSink, Ports};
use holdfast_engine::secrets::{Identities, SopsSecrets};
use holdfast_engine::ssh::{ControlFolder, Greeting, HostPrograms, SshDialer, SshOptions};

/// Whatever stops a measurement.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One environment at one commit, and its hosts.
pub(crate) struct Fleet {
    config: Config,
    environment: EnvironmentName,
    commit: CommitId,
    ports: Ports,
}

struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: &SyncEvent) {}
}

impl Fleet {
    /// Reads a manager's configuration and what the environment follows; connects to nothing.
    pub(crate) async fn open(manager: &Path, environment: &str, programs: &Path) -> Result<Self> {
        let manager = ManagerConfig::read(manager).0.ok_or("the manager's configuration has errors")?;
        let environment: EnvironmentName = environment.parse()?;
        let repository = manager.git(&programs.join("holdfast"));
        let track = manager.environments.get(&environment).ok_or("the environment follows nothing")?;
        let commit = repository.resolve(track).await?;
        let tree = repository.read(&commit).await?;
        let (config, findings) = load(&tree);
        let config = config.ok_or_else(|| format!("the repository has errors: {findings:?}"))?;

        let programs = Arc::new(HostPrograms::find(&Vec::<PathBuf>::new(), Some(programs))?);
        let mut options = SshOptions::new("bench");
        options.identity.clone_from(&manager.ssh.identity);
        let greeting = Greeting { manager: "bench".to_owned(), deadline: options.greeting.deadline };
        let control = ControlFolder::open(&manager.runtime_dir).await?;
        let dial = ByAddress {
            ssh: Some(SshDialer::new(options, control, Arc::clone(&programs))),
            local: LocalDialer::new(programs, greeting, true),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let identities = Arc::new(Identities::from_files(std::iter::empty())?);
        let ports = Ports {
            connector: Arc::new(Links::new(dial, Arc::clone(&clock))),
            secrets: Arc::new(SopsSecrets::new(&tree, identities)),
            clock,
            events: Arc::new(Silent),
            archives: manager.archives.as_path().into(),
        };
        Ok(Self { config, environment, commit, ports })
    }

    /// Renders what every host should be.
    pub(crate) fn desired(&self) -> Result<DesiredState> {
        resolve(&self.config, &self.environment, &self.commit)
            .map_err(|findings| format!("it cannot be rendered: {findings:?}").into())
    }

    /// Asks every host, in one round trip each.
    pub(crate) async fn observe(&self, desired: &DesiredState) -> LiveState {
        holdfast_engine::sync::observe_desired(&self.ports, desired).await
    }

    /// Compares.
    pub(crate) fn plan(&self, desired: &DesiredState, live: &LiveState) -> Plan {
        let quarantined = std::collections::BTreeSet::new();
        let options = PlanOptions {
            observed_at: self.ports.clock.now(),
            quarantined: &quarantined,
            migrated: &std::collections::BTreeSet::new(),
            allow_prune: false,
            adopt: false,
        };
        plan(desired, live, &options)
    }
}
