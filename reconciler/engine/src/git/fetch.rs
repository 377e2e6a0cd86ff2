//! The `git` program for the network: it honours the user's ssh configuration, keys and credential helpers, and can be killed.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::location::Location;
use super::token::{self, LOGIN, TOKEN_FILE, TOKEN_QUESTION, Token, TokenError};
use super::words::last_words;

/// Largest file that git may write: bounds what a server can make the mirror take.
const MAX_PACK_BYTES: u64 = 2 << 30;

/// Bytes of git's words that are kept for an error.
const MAX_STDERR: usize = 16 << 10;

/// Between two looks whether another process has ended its fetch.
const LOOK: Duration = Duration::from_millis(50);

/// How a repository is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// For the whole fetch; then git and all it started are killed.
    pub timeout: Duration,
    /// For one connection to come up.
    pub connect_timeout: Duration,
    /// An `ssh_config` instead of the user's own.
    pub ssh_config: Option<PathBuf>,
    /// A private key to offer first.
    pub ssh_identity: Option<PathBuf>,
    /// The only host key that the repository's machine may show, as in `known_hosts` without the host; `None` leaves that to
    /// `known_hosts`.
    pub ssh_host_key: Option<String>,
    /// Certificates of trusted authorities, instead of the machine's own.
    pub https_ca_file: Option<PathBuf>,
    /// What a server that asks for a password gets; `None` leaves that to git's credential helpers.
    pub https_token: Option<Token>,
    /// The ssh program.
    pub ssh_program: PathBuf,
    /// The git program.
    pub git_program: PathBuf,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            ssh_config: None,
            ssh_identity: None,
            ssh_host_key: None,
            https_ca_file: None,
            https_token: None,
            ssh_program: PathBuf::from("ssh"),
            git_program: PathBuf::from("git"),
        }
    }
}

/// Why a fetch failed. The mirror is as it was, or newer: a fetch can always be tried again.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// git could not be started. Install it.
    #[error("`{program}` cannot be started: {reason}; install git, or check its path")]
    Start {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
    /// It did not end in time and was killed. The server is slow, or silent.
    #[error(
        "fetching {location} did not end in {seconds} s and was stopped; check the network, or raise `fetch_timeout`"
    )]
    Timeout {
        /// The repository.
        location: String,
        /// The limit.
        seconds: u64,
    },
    /// git refused or failed.
    #[error("fetching {location} failed: {reason}")]
    Git {
        /// The repository.
        location: String,
        /// git's last words, escaped and shortened.
        reason: String,
    },
    /// The mirror on this machine cannot be used.
    #[error("the mirror at {path} cannot be used: {reason}")]
    Mirror {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A path of the options cannot be handed to ssh.
    #[error("`{path}` cannot be handed to ssh: use a path of letters, digits and `/._-+@`")]
    SshPath {
        /// The path.
        path: String,
    },
}

/// Fetches all branches and tags into a bare mirror.
///
/// # Errors
/// See [`FetchError`].
pub(super) async fn fetch(git_dir: &Path, location: &Location, options: &FetchOptions) -> Result<(), FetchError> {
    prepare(git_dir)?;
    let late = || FetchError::Timeout { location: location.to_string(), seconds: options.timeout.as_secs() };
    let _turn = tokio::time::timeout(options.timeout, turn(git_dir)).await.map_err(|_| late())??;
    let known_hosts = known_hosts(git_dir, options)?;
    let mut command = Command::new(&options.git_program);
    command.args(arguments(git_dir, location, options));
    command.env_clear().envs(environment(location, options, known_hosts.as_deref())?);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let start = |error: std::io::Error| FetchError::Start {
        program: options.git_program.display().to_string(),
        reason: error.to_string(),
    };
    let mut child = command.spawn().map_err(start)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    group.limit_files();
    let stderr = child.stderr.take();
    let ended = tokio::time::timeout(options.timeout, async {
        let words = read_capped(stderr).await;
        (child.wait().await, words)
    });
    let Ok((status, words)) = ended.await else {
        return Err(late());
    };
    group.0 = None;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(FetchError::Git { location: location.to_string(), reason: last_words(&words) }),
        Err(error) => Err(FetchError::Git { location: location.to_string(), reason: error.to_string() }),
    }
}

/// Waits until no other process of this machine fetches into the mirror: git refuses to move a reference that another moves.
async fn turn(git_dir: &Path) -> Result<File, FetchError> {
    let open = || File::options().create(true).append(true).open(git_dir.join("holdfast.lock"));
    let file = open().map_err(|error| unusable(git_dir, error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
            Err(TryLockError::Error(error)) => return Err(unusable(git_dir, error)),
        }
    }
}

fn unusable(git_dir: &Path, reason: impl std::fmt::Display) -> FetchError {
    FetchError::Mirror { path: git_dir.display().to_string(), reason: reason.to_string() }
}

/// The name that the pinned host key stands for.
const PIN: &str = "holdfast-repository";

/// Writes the pinned host key beside the mirror, where there is one, and returns the file.
fn known_hosts(git_dir: &Path, options: &FetchOptions) -> Result<Option<PathBuf>, FetchError> {
    let Some(key) = &options.ssh_host_key else { return Ok(None) };
    let path = git_dir.join("holdfast.known_hosts");
    std::fs::write(&path, format!("{PIN} {key}\n")).map_err(|error| unusable(&path, error))?;
    Ok(Some(path))
}

/// Makes the mirror where there is none. Nobody else may read or write it: what is in it is trusted later.
fn prepare(git_dir: &Path) -> Result<(), FetchError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let fail = |reason: String| unusable(git_dir, reason);
    if !git_dir.join("HEAD").is_file() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(git_dir);
        made.map_err(|error| fail(error.to_string()))?;
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).external_template(false).initial_head("main");
        git2::Repository::init_opts(git_dir, &options).map_err(|error| fail(error.message().to_owned()))?;
    }
    let metadata = std::fs::symlink_metadata(git_dir).map_err(|error| fail(error.to_string()))?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(fail("it belongs to another user; take it away, and it is fetched anew".to_owned()));
    }
    Ok(())
}

/// Returns the arguments of git. The location stands after `--`, and was parsed before.
pub(super) fn arguments(git_dir: &Path, location: &Location, options: &FetchOptions) -> Vec<OsString> {
    let fixed = [
        // No protocol but the two that are encrypted; helpers such as `ext::` run programs.
        "protocol.allow=never",
        "protocol.ssh.allow=always",
        "protocol.https.allow=always",
        "core.hooksPath=/dev/null",
        // Objects that no honest git writes are refused before they are stored.
        "transfer.fsckObjects=true",
        "fetch.fsckObjects=true",
        "http.followRedirects=false",
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=30",
        "core.askPass=",
        // Packing up happens within the deadline, never behind our back.
        "gc.autoDetach=false",
        "maintenance.autoDetach=false",
    ];
    let mut arguments: Vec<OsString> = vec!["--git-dir".into(), git_dir.into()];
    let mut settings: Vec<OsString> = fixed.map(OsString::from).into();
    if let Some(file) = &options.https_ca_file {
        let mut setting = OsString::from("http.sslCAInfo=");
        setting.push(file);
        settings.push(setting);
    }
    if options.https_token.is_some() {
        // No other way to a password than the token, and nobody is to remember it.
        settings.extend(["credential.helper=".into(), format!("credential.username={LOGIN}").into()]);
    } else {
        // Newer versions of git would not ask even for the token then.
        settings.push("credential.interactive=false".into());
    }
    for setting in settings {
        arguments.extend(["-c".into(), setting]);
    }
    arguments.extend(
        [
            "fetch",
            "--prune",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-progress",
            "--quiet",
            "--",
        ]
        .map(OsString::from),
    );
    arguments.push(location.to_string().into());
    // A forced update of the mirror: whether history was rewritten is decided later, against the commit that was used last.
    arguments.extend(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(OsString::from));
    arguments
}

/// Returns the environment of git: nothing of ours but what finds programs, keys and configuration.
pub(super) fn environment(
    location: &Location,
    options: &FetchOptions,
    known_hosts: Option<&Path>,
) -> Result<Vec<(OsString, OsString)>, FetchError> {
    let kept = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SSH_AUTH_SOCK",
        "XDG_CONFIG_HOME",
        "TMPDIR",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
    ];
    let mut environment: Vec<(OsString, OsString)> =
        kept.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))).collect();
    let fixed = [
        ("LC_ALL", "C"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_PROTOCOL_FROM_USER", "0"),
        ("SSH_ASKPASS_REQUIRE", "never"),
        ("GIT_SSH_VARIANT", "ssh"),
    ];
    environment.extend(fixed.map(|(name, value)| (name.into(), value.into())));
    environment.push(("GIT_SSH_COMMAND".into(), ssh_command(options, known_hosts)?.into()));
    if let (Some(Token { file, program }), Some(question)) = (&options.https_token, token::question(location)) {
        token::check(file)?;
        environment.push(("GIT_ASKPASS".into(), program.into()));
        environment.push((TOKEN_FILE.into(), file.into()));
        environment.push((TOKEN_QUESTION.into(), question.into()));
    }
    Ok(environment)
}

/// Returns the ssh command for git, which splits it as a shell would: every word of it is ours, and paths are checked to have no
/// character that means something there. Host and path of the repository are handed over apart from it.
fn ssh_command(options: &FetchOptions, known_hosts: Option<&Path>) -> Result<String, FetchError> {
    let path = |path: &Path| {
        let text = path.to_str().filter(|text| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b))
        });
        text.map(str::to_owned).ok_or_else(|| FetchError::SshPath { path: path.display().to_string() })
    };
    let seconds = options.connect_timeout.as_secs().max(1);
    let mut command = format!(
        "{} -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout={seconds} -o ServerAliveInterval=10 -o ServerAliveCountMax=3",
        path(&options.ssh_program)?
    );
    if let Some(config) = &options.ssh_config {
        command.extend([" -F ", &path(config)?]);
    }
    if let Some(identity) = &options.ssh_identity {
        command.extend([" -i ", &path(identity)?]);
    }
    if let Some(file) = known_hosts {
        let file = path(file)?;
        let pinned =
            " -o GlobalKnownHostsFile=/dev/null -o KnownHostsCommand=none -o CheckHostIP=no -o UpdateHostKeys=no";
        command.extend([pinned, " -o VerifyHostKeyDNS=no -o HostKeyAlias=", PIN, " -o UserKnownHostsFile=", &file]);
    }
    Ok(command)
}

/// The process group of git: killed as a whole when dropped before it has ended.
struct Group(Option<Pid>);

impl Group {
    /// Bounds the size of files that git and what it starts may write. Too late for a file it opens at once; packs come later.
    fn limit_files(&self) {
        let limit = Rlimit { current: Some(MAX_PACK_BYTES), maximum: Some(MAX_PACK_BYTES) };
        if let Some(pid) = self.0 {
            // It may have ended already, which is no harm.
            let _ = prlimit(Some(pid), Resource::Fsize, limit);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the last part.
async fn read_capped(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * MAX_STDERR {
            kept.drain(..kept.len() - MAX_STDERR);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_stands_after_the_options() {
        let location: Location = "git@git.example.net:team/infra.git".parse().unwrap();
        let arguments = arguments(Path::new("/state/mirror"), &location, &FetchOptions::default());
        let text: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
        let dashes = text.iter().position(|word| *word == "--").unwrap();
        assert_eq!(
            text[dashes + 1..],
            ["git@git.example.net:team/infra.git", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        );
        assert!(text.contains(&"protocol.allow=never"));
    }

    #[test]
    fn a_path_with_a_meaning_for_a_shell_is_refused() {
        for path in ["/etc/ssh $(id)", "/a;b", "/a'b", "/a\nb", "-F", ""] {
            let options = FetchOptions { ssh_config: Some(PathBuf::from(path)), ..FetchOptions::default() };
            assert!(matches!(ssh_command(&options, None), Err(FetchError::SshPath { .. })), "{path}");
        }
    }
}
