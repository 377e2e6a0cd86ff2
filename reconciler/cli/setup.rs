//! What a verb works on: the manager's configuration, the repository, one commit of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::{Config, ROLLOUTS, SourceTree, load};
use holdfast_core::desired::{DesiredState, resolve};
use holdfast_core::diag::Diagnostics;
use holdfast_core::id::{CommitId, EnvironmentName};
use holdfast_core::view::{DiagnosticStyle, diagnostics_text};
use holdfast_engine::git::{GitRepository, Location};
use holdfast_engine::manager::{DEFAULT_PATH, HttpsOptions, ManagerConfig, SshOptions};
use holdfast_engine::store::RetentionPolicy;

use crate::args::Common;
use crate::commits::{Commits, ReadCommit};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;

/// The management box as this run sees it.
pub(crate) struct Setup {
    /// How this run prints.
    pub(crate) output: Output,
    /// The manager's configuration; without a file, one for the repository at hand.
    pub(crate) manager: ManagerConfig,
    /// The repository.
    pub(crate) repository: GitRepository,
    commits: Commits,
}

/// One commit, validated.
pub(crate) struct Revision {
    /// The commit.
    pub(crate) commit: CommitId,
    /// Its files.
    pub(crate) tree: Arc<SourceTree>,
    /// Its model.
    pub(crate) config: Arc<Config>,
}

impl Setup {
    /// Reads the configuration: the named one, else the machine's, else one made up for the repository at hand.
    pub(crate) fn load(output: Output, common: &Common) -> Result<Self, Error> {
        let file = common.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists()));
        let mut manager = match &file {
            Some(path) => {
                let (manager, findings) = ManagerConfig::read(path);
                show(output, &findings);
                manager.ok_or_else(|| Error::printed(Exit::Failed))?
            }
            None => Self::without_file(common)?,
        };
        if let Some(repository) = &common.repository {
            manager.repository = location(repository)?;
        }
        let program = std::env::current_exe().or_hint("is /proc mounted?")?;
        let repository = manager.git(&program);
        Ok(Self { output, manager, repository, commits: Commits::default() })
    }

    fn without_file(common: &Common) -> Result<ManagerConfig, Error> {
        let repository = common.repository.as_deref().unwrap_or(".");
        let repository = location(repository)?;
        if !matches!(repository, Location::Local(_)) {
            return Err(Error::user(
                "a remote repository needs the manager's configuration",
                format!("write {DEFAULT_PATH}, or name a file with --config"),
            ));
        }
        let state = state_folder();
        let seconds = Duration::from_secs;
        Ok(ManagerConfig {
            repository,
            archives: state.join("state/archives"),
            state_dir: state.join("state"),
            runtime_dir: state.join("run"),
            poll_interval: seconds(60),
            fetch_timeout: seconds(60),
            // Nothing is followed: only a person applies, from whatever commit he names.
            environments: BTreeMap::new(),
            approvals: BTreeMap::new(),
            checks: BTreeMap::new(),
            notices: Vec::new(),
            metrics: None,
            rollouts: ROLLOUTS,
            retention: RetentionPolicy::default(),
            signers: None,
            age_key_files: std::env::var_os("SOPS_AGE_KEY_FILE").map(PathBuf::from).into_iter().collect(),
            ssh: SshOptions {
                config_file: None,
                connect_timeout: seconds(10),
                identity: None,
                repository_host_key: None,
            },
            https: HttpsOptions::default(),
            host_program: None,
            allow_non_fast_forward: false,
        })
    }

    /// Returns the commit a word means; without a word what the environment follows, else `HEAD`.
    pub(crate) async fn commit(
        &self,
        environment: Option<&EnvironmentName>,
        word: Option<&str>,
    ) -> Result<CommitId, Error> {
        self.repository.fetch().await.or_hint("is the repository reachable from here? `holdfast doctor` looks")?;
        let track = environment.and_then(|name| self.manager.environments.get(name));
        match (word, track) {
            (Some(word), _) => self.repository.resolve_word(word).await,
            (None, Some(track)) => self.repository.resolve(track).await,
            (None, None) => self.repository.resolve_word("HEAD").await,
        }
        .or_hint("commit first, or name a commit, branch or tag with --revision")
    }

    /// Returns the commit that an environment follows, else `HEAD`, as far as the repository was fetched.
    pub(crate) async fn known_commit(&self, environment: Option<&EnvironmentName>) -> Result<CommitId, Error> {
        match environment.and_then(|name| self.manager.environments.get(name)) {
            Some(track) => self.repository.resolve(track).await,
            None => self.repository.resolve_word("HEAD").await,
        }
        .or_hint("is the repository reachable from here? `holdfast doctor` looks")
    }

    /// Refuses a commit unless allowed signers signed all that it brings over `last`, where the configuration asks for it.
    pub(crate) async fn verify(&self, last: Option<&CommitId>, commit: &CommitId) -> Result<(), Error> {
        let Some(signers) = &self.manager.signers else { return Ok(()) };
        let checked = self.repository.verify(signers, last, commit).await;
        checked.map_err(|error| Error::refused(error.to_string(), "`allowed_signers` in the configuration asks for it"))
    }

    /// Reads and validates a commit; findings are printed.
    pub(crate) async fn revision(&self, commit: CommitId) -> Result<Revision, Error> {
        let ReadCommit { tree, config, findings } = self.read(&commit).await?;
        show(self.output, &findings);
        let config = config.ok_or_else(|| Error::printed(Exit::Failed))?;
        Ok(Revision { commit, tree, config })
    }

    /// Reads a commit and returns what was found, unprinted.
    pub(crate) async fn read(&self, commit: &CommitId) -> Result<ReadCommit, Error> {
        if let Some(read) = self.commits.get(commit) {
            return Ok(read);
        }
        let tree = self.repository.read(commit).await.or_hint("")?;
        let (config, findings) = load(&tree);
        let read = ReadCommit { tree: Arc::new(tree), config: config.map(Arc::new), findings: Arc::new(findings) };
        self.commits.keep(commit.clone(), read.clone());
        Ok(read)
    }

    /// Returns what an environment should be at a commit; findings are printed.
    pub(crate) fn desired(&self, revision: &Revision, environment: &EnvironmentName) -> Result<DesiredState, Error> {
        known(&revision.config, environment)?;
        resolve(&revision.config, environment, &revision.commit).map_err(|findings| {
            show(self.output, &findings);
            Error::printed(Exit::Failed)
        })
    }
}

/// Parses the name of an environment.
pub(crate) fn environment(text: &str) -> Result<EnvironmentName, Error> {
    text.parse().or_hint("environments are the folders below environments/")
}

/// Checks that a commit has an environment.
pub(crate) fn known(config: &Config, environment: &EnvironmentName) -> Result<(), Error> {
    if config.environments.contains_key(environment) {
        return Ok(());
    }
    let names: Vec<_> = config.environments.keys().map(ToString::to_string).collect();
    Err(Error::user(format!("there is no environment `{environment}`"), format!("there is: {}", names.join(", "))))
}

/// Prints findings on standard error.
pub(crate) fn show(output: Output, findings: &Diagnostics) {
    if !findings.is_empty() {
        output.say(&diagnostics_text(findings, DiagnosticStyle { color: output.color_err, width: output.width }));
    }
}

/// Returns what a path or URL means.
pub(crate) fn location(text: &str) -> Result<Location, Error> {
    // A folder inside a work tree stands for the repository around it, as git itself takes it.
    let path = Path::new(text);
    if path.is_dir() {
        let full = path.canonicalize().or_hint("")?;
        let found = full.ancestors().find(|folder| folder.join(".git").exists() || is_bare(folder));
        return found
            .map(|folder| Location::Local(folder.to_owned()))
            .ok_or_else(|| Error::user(format!("{} is not in a git repository", full.display()), "name one with -C"));
    }
    text.parse().or_hint("a path, file://, ssh:// or https://")
}

fn is_bare(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir()
}

/// Returns where state lives without a configuration (XDG Base Directory Specification 0.8: `$XDG_STATE_HOME`).
fn state_folder() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    state.unwrap_or_else(|| PathBuf::from("/var/lib")).join("holdfast-manager")
}
