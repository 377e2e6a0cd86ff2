//! The manager's own configuration, `/etc/holdfast/manager.yaml`: what the management box trusts. It lies outside the repository, so
//! that no commit can change it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_core::approval::ApprovalRule;
use holdfast_core::config::limits::MAX_FILE_BYTES;
use holdfast_core::config::{Followed, GateCheck, ManagerFile, NoticeSink, load_manager};
use holdfast_core::diag::{Diagnostic, Diagnostics, Origin, Severity};
use holdfast_core::id::EnvironmentName;

use crate::git::{FetchOptions, GitRepository, Location, Signers, Token, Track};
use crate::store::RetentionPolicy;

/// Where the file is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/holdfast/manager.yaml";

/// What the management box trusts and uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerConfig {
    /// The repository.
    pub repository: Location,
    /// Where the mirror, the store and the journals live.
    pub state_dir: PathBuf,
    /// Where sockets live while the daemon runs.
    pub runtime_dir: PathBuf,
    /// Between two looks at the repository.
    pub poll_interval: Duration,
    /// For one fetch.
    pub fetch_timeout: Duration,
    /// What each environment follows.
    pub environments: BTreeMap<EnvironmentName, Track>,
    /// Where plans must be approved, and by whom.
    pub approvals: BTreeMap<EnvironmentName, ApprovalRule>,
    /// What has to be green for a commit before it is applied.
    pub checks: BTreeMap<EnvironmentName, Vec<GateCheck>>,
    /// Where people are told what happens.
    pub notices: Vec<NoticeSink>,
    /// Where the daemon answers Prometheus; `None` when nowhere.
    pub metrics: Option<SocketAddr>,
    /// How many environments the daemon changes at the same time.
    pub rollouts: u32,
    /// What of the history is kept.
    pub retention: RetentionPolicy,
    /// Who may sign commits; `None` when signatures are not looked at.
    pub signers: Option<Signers>,
    /// Files with age identities, in the order they are tried.
    pub age_key_files: Vec<PathBuf>,
    /// How hosts and the repository are reached.
    pub ssh: SshOptions,
    /// How a repository at `https://` is reached.
    pub https: HttpsOptions,
    /// The folder with archives of images.
    pub archives: PathBuf,
    /// The host program to deliver instead of the one that came with this release.
    pub host_program: Option<PathBuf>,
    /// Whether a branch may move to a commit that does not follow the last one.
    pub allow_non_fast_forward: bool,
}

/// How hosts and the repository are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// An `ssh_config` instead of the user's own.
    pub config_file: Option<PathBuf>,
    /// For a connection to come up.
    pub connect_timeout: Duration,
    /// A private key to offer first.
    pub identity: Option<PathBuf>,
    /// The pinned host key of the machine that the repository is on, as in `known_hosts` without the host.
    pub repository_host_key: Option<String>,
}

/// How a repository at `https://` is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpsOptions {
    /// Certificates of trusted authorities, instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// A file with the token.
    pub token_file: Option<PathBuf>,
}

impl ManagerConfig {
    /// Reads the file. The configuration is there exactly when no finding is an error.
    ///
    /// A file that others may write is refused: it decides what runs as root on every host.
    pub fn read(path: &Path) -> (Option<Self>, Diagnostics) {
        let shown = path.display().to_string();
        match bytes_of(path) {
            Ok(bytes) => Self::parse(&shown, &bytes),
            Err((code, message, hint)) => {
                let mut diagnostics = Diagnostics::default();
                let origin = Origin { file: shown, line: 0, column: 0 };
                diagnostics.error(code, origin, "", message, hint);
                (None, diagnostics)
            }
        }
    }

    /// Returns the configuration that a file's bytes say.
    pub fn parse(file: &str, bytes: &[u8]) -> (Option<Self>, Diagnostics) {
        let (parsed, mut diagnostics) = load_manager(file, bytes);
        let Some(parsed) = parsed else { return (None, diagnostics) };
        match parsed.repository.value.parse::<Location>() {
            Ok(location) => (Some(Self::of(parsed, location)), diagnostics),
            Err(error) => {
                let line_text = String::new();
                let length = 1;
                let origin = parsed.repository.origin;
                let hint = "the location never has a password: the line is not shown for that reason".to_owned();
                let (code, message) = ("bad-repository".to_owned(), error.to_string());
                diagnostics.push(Diagnostic {
                    severity: Severity::Error,
                    code,
                    origin,
                    line_text,
                    length,
                    message,
                    hint,
                });
                diagnostics.sort();
                (None, diagnostics)
            }
        }
    }

    fn of(file: ManagerFile, repository: Location) -> Self {
        let path = |text: Option<String>| text.map(PathBuf::from);
        let track = |followed| match followed {
            Followed::Branch(name) => Track::Branch(name),
            Followed::Tag(name) => Track::Tag(name),
        };
        let state_dir = PathBuf::from(file.state_dir);
        let signers = path(file.allowed_signers).map(|file| Signers {
            file,
            scratch: state_dir.join("signatures"),
            program: PathBuf::from("ssh-keygen"),
        });
        let archives = path(file.archives).unwrap_or_else(|| state_dir.join("archives"));
        Self {
            repository,
            signers,
            state_dir,
            runtime_dir: file.runtime_dir.into(),
            poll_interval: Duration::from_millis(file.poll_interval.0),
            fetch_timeout: Duration::from_millis(file.fetch_timeout.0),
            environments: file.environments.into_iter().map(|(name, followed)| (name, track(followed))).collect(),
            approvals: file.approvals,
            checks: file.checks,
            notices: file.notices,
            metrics: file.metrics,
            rollouts: file.rollouts,
            retention: RetentionPolicy { keep: file.history.at_least, keep_ms: file.history.age.0 },
            age_key_files: file.age_key_files.into_iter().map(PathBuf::from).collect(),
            ssh: SshOptions {
                config_file: path(file.ssh_config),
                connect_timeout: Duration::from_millis(file.ssh_connect_timeout.0),
                identity: path(file.ssh_identity),
                repository_host_key: file.repository_host_key,
            },
            https: HttpsOptions { ca_file: path(file.https_ca_file), token_file: path(file.https_token_file) },
            archives,
            host_program: path(file.host_program),
            allow_non_fast_forward: file.allow_non_fast_forward,
        }
    }

    /// Returns the repository, to be fetched and read. `program` is what answers git's question for the token; it calls
    /// [`answer`](crate::git::answer).
    pub fn git(&self, program: &Path) -> GitRepository {
        let options = FetchOptions {
            timeout: self.fetch_timeout,
            connect_timeout: self.ssh.connect_timeout,
            ssh_config: self.ssh.config_file.clone(),
            ssh_identity: self.ssh.identity.clone(),
            ssh_host_key: self.ssh.repository_host_key.clone(),
            https_ca_file: self.https.ca_file.clone(),
            https_token: self.https.token_file.clone().map(|file| Token { file, program: program.to_owned() }),
            ..FetchOptions::default()
        };
        GitRepository::new(self.repository.clone(), &self.state_dir, options)
    }
}

/// Code, message and hint of a finding.
type Refusal = (&'static str, String, String);

fn bytes_of(path: &Path) -> Result<Vec<u8>, Refusal> {
    use std::io::Read;
    let cannot = |error: std::io::Error| {
        let hint =
            "`packaging/manager.yaml` of the project is one to begin with; `--config` names another place".to_owned();
        ("missing-file", format!("the manager's configuration cannot be read: {error}"), hint)
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(("missing-file", "this is no file".to_owned(), String::new()));
    }
    if metadata.mode() & 0o022 != 0 {
        let message = format!(
            "others may write this file (mode {:04o}), which decides what runs on every host",
            metadata.mode() & 0o7777
        );
        return Err(("unsafe-file", message, "run `chmod go-w` on it".to_owned()));
    }
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != ours {
        let message = format!("this file belongs to user {}, not to root or to user {ours}", metadata.uid());
        return Err(("unsafe-file", message, "run `chown root` on it".to_owned()));
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the reader sees that it is too large.
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
