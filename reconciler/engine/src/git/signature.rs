//! Signatures of commits: each commit of a range is signed by somebody whom the management box allows.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use git2::{Oid, Repository};
use holdfast_core::id::CommitId;

use super::objects;

/// Commits of one range that are looked at: more at once is not how a team deploys, and each costs two processes.
const MAX_COMMITS: usize = 1_000;

/// Bytes of a program's words that are kept for an error.
const MAX_WORDS: usize = 500;

/// Who may sign commits, and how it is checked.
///
/// # Source
/// `ssh-keygen(1)`, ALLOWED SIGNERS, and `git-config(1)`, `gpg.ssh.allowedSignersFile`: the same file, namespace `git`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    /// The allowed signers file.
    pub file: PathBuf,
    /// A folder of ours for signatures while they are checked.
    pub scratch: PathBuf,
    /// The `ssh-keygen` program.
    pub program: PathBuf,
}

/// Why a commit is not taken for what an allowed signer wrote. Nothing of it should be applied.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It has no signature.
    #[error("commit {commit} is not signed; sign it (`git commit -S` with `gpg.format` `ssh`) and push again")]
    Unsigned {
        /// The commit.
        commit: CommitId,
    },
    /// Its signature is not that of an allowed signer, or not of this content.
    #[error("the signature of commit {commit} is not taken: {reason}; its signer must be in {file}")]
    Refused {
        /// The commit.
        commit: CommitId,
        /// What the check says, escaped and shortened.
        reason: String,
        /// The allowed signers file.
        file: String,
    },
    /// Too many commits at once.
    #[error("from {last} to {new} there are over {MAX_COMMITS} commits, too many to check; push them in several steps")]
    TooMany {
        /// The last commit that was taken.
        last: String,
        /// The new one.
        new: CommitId,
    },
    /// The allowed signers file decides nothing.
    #[error("the allowed signers file {file} cannot be used: {reason}")]
    File {
        /// Its path.
        file: String,
        /// Why.
        reason: String,
    },
    /// The check itself did not work. Install OpenSSH's `ssh-keygen`.
    #[error("signatures cannot be checked: {reason}")]
    Check {
        /// Why.
        reason: String,
    },
}

fn cannot(reason: impl std::fmt::Display) -> SignatureError {
    SignatureError::Check { reason: reason.to_string() }
}

fn of_git(error: &git2::Error) -> SignatureError {
    cannot(error.message())
}

/// Checks every commit that `new` brings and `last` had not; without a `last`, `new` alone, on which all before it rests.
pub(super) fn verify(
    git_dir: &Path,
    signers: &Signers,
    last: Option<&CommitId>,
    new: &CommitId,
) -> Result<(), SignatureError> {
    let repository = objects::open(git_dir).map_err(|error| of_git(&error))?;
    for oid in brought(&repository, last, new)? {
        let commit = objects::commit_id(oid);
        let (signature, signed) = match repository.extract_signature(&oid, None) {
            Ok(parts) => parts,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Err(SignatureError::Unsigned { commit }),
            Err(error) => return Err(of_git(&error)),
        };
        trusted(&signers.file)?;
        signed_by_anyone(signers, &signature, &signed, &commit)?;
    }
    Ok(())
}

fn brought(repository: &Repository, last: Option<&CommitId>, new: &CommitId) -> Result<Vec<Oid>, SignatureError> {
    let tip = objects::oid_of(new).map_err(|error| of_git(&error))?;
    let last_oid = last.map(objects::oid_of).transpose().map_err(|error| of_git(&error))?;
    // A last commit that is gone with rewritten history says nothing about what is there now.
    let Some(last_oid) = last_oid.filter(|oid| repository.find_commit(*oid).is_ok()) else { return Ok(vec![tip]) };
    let mut walk = repository.revwalk().map_err(|error| of_git(&error))?;
    walk.push(tip).and_then(|()| walk.hide(last_oid)).map_err(|error| of_git(&error))?;
    let found: Result<Vec<_>, _> = walk.take(MAX_COMMITS + 1).collect();
    let found = found.map_err(|error| of_git(&error))?;
    if found.len() > MAX_COMMITS {
        let last = last.map(ToString::to_string).unwrap_or_default();
        return Err(SignatureError::TooMany { last, new: new.clone() });
    }
    Ok(found)
}

/// Refuses a file that others may write: whoever can write it decides what runs as root on every host.
fn trusted(file: &Path) -> Result<(), SignatureError> {
    let fail = |reason: String| SignatureError::File { file: file.display().to_string(), reason };
    let metadata = fs::metadata(file).map_err(|error| fail(error.to_string()))?;
    if metadata.mode() & 0o022 != 0 {
        return Err(fail(format!(
            "others may write it (mode {:04o}); run `chmod go-w` on it",
            metadata.mode() & 0o7777
        )));
    }
    Ok(())
}

fn signed_by_anyone(
    signers: &Signers,
    signature: &[u8],
    signed: &[u8],
    commit: &CommitId,
) -> Result<(), SignatureError> {
    let refused = |reason: &str| SignatureError::Refused {
        commit: commit.clone(),
        reason: reason.to_owned(),
        file: signers.file.display().to_string(),
    };
    if !signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
        return Err(refused("it is no SSH signature"));
    }
    let held = Held::new(&signers.scratch, signature).map_err(cannot)?;
    let found = keygen(signers, &held, &["-Y", "find-principals"], b"")?;
    let principals = String::from_utf8_lossy(&found.stdout).into_owned();
    let mut said = words(&found);
    for principal in principals.lines().filter(|_| found.status.success()) {
        let checked = keygen(signers, &held, &["-Y", "verify", "-n", "git", "-I", principal], signed)?;
        if checked.status.success() {
            return Ok(());
        }
        said = words(&checked);
    }
    Err(refused(&said))
}

fn keygen(signers: &Signers, held: &Held, arguments: &[&str], input: &[u8]) -> Result<Output, SignatureError> {
    let mut command = Command::new(&signers.program);
    command.args(arguments).arg("-f").arg(&signers.file).arg("-s").arg(&held.0);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot(format!("{}: {error}", signers.program.display())))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that refuses early reads nothing more; its exit code says the rest.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().map_err(cannot)
}

/// Returns the first words of a program that failed, fit to be shown.
fn words(output: &Output) -> String {
    let both = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let text = String::from_utf8_lossy(&both);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no allowed signer has this key");
    line.chars().take(MAX_WORDS).flat_map(char::escape_debug).collect()
}

/// A signature in a file of our own: `ssh-keygen` reads it from one, and its standard input is for what was signed.
struct Held(PathBuf);

impl Held {
    fn new(folder: &Path, signature: &[u8]) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let held = Self(folder.join(format!("signature.{}.{number}", std::process::id())));
        // What a process of this number left when it was killed.
        let _ = fs::remove_file(&held.0);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&held.0)?.write_all(signature)?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It is public, and its name is used again.
        let _ = fs::remove_file(&self.0);
    }
}
