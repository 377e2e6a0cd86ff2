//! Backups of this host: taken, proven, kept, restored and tried.
//!
//! # Flow
//! A timer calls [`command`] with the path of a declaration. A run dumps into a `.part`, proves it, and only then gives it its name
//! and, last of all, its sidecar; then it prunes. A restore goes into a new place, is counted, and takes the old one's place at the
//! end. A drill does the same up to there and throws it away.
//!
//! # Format
//! `backups/<environment>/<app>/<class>/`: `<class>-<time>.dump` or `.tar.gz`, each with `<name>.meta.json`; `failed.json`,
//! `drilled.json` and `drill-failed.json` say how the last run and drills went, `offsite.json` how the copies stood. Copies of other
//! hosts' backups lie in `vault/`.

mod class;
mod containers;
mod copies;
mod copy;
mod crc64;
mod exchange;
mod files;
mod live;
mod piece;
mod postgres;
mod redis;
mod restore;
#[cfg(test)]
mod restore_tests;
mod retention;
mod run;
mod stamp;
#[cfg(test)]
mod tests;
mod vault;
#[cfg(test)]
mod vault_tests;

use std::path::Path;
use std::process::ExitCode;

use holdfast_protocol::{BackupRecord, BackupSpec, Fault, FaultKind, RestoreRequest, Restored};

pub(crate) use containers::standing_still;
pub use copies::answer;
pub use live::look;

use crate::exec::{Call, shown};
use crate::transaction::Host;
use crate::transaction::begin::own_program;
use class::Class;

/// Why a backup, a drill or a restore came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackupError(String);

/// Returns an error with this text.
fn fail<T>(text: impl Into<String>) -> Result<T, BackupError> {
    Err(BackupError(text.into()))
}

impl From<crate::exec::ExecError> for BackupError {
    fn from(error: crate::exec::ExecError) -> Self {
        Self(error.to_string())
    }
}

/// Returns an error about a path.
fn at(path: &Path) -> impl Fn(std::io::Error) -> BackupError + '_ {
    move |error| BackupError(format!("{}: {error}", path.display()))
}

/// How long a restore may take: as long as a night, for the connection does not end it.
const RESTORE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(12 * 3600);

/// Does what the words of the command line after `backup` say.
pub fn command(host: &Host, words: &[&str]) -> ExitCode {
    let done = match words {
        ["run", declaration] => Class::load(host, Path::new(declaration)).and_then(|class| {
            let record = run::run(&class)?;
            println!("{}: {} bytes, SHA-256 {}", record.file, record.size, record.sha256);
            Ok(())
        }),
        ["drill", declaration] => Class::load(host, Path::new(declaration)).and_then(|class| {
            println!("{}", restore::drill(&class)?);
            Ok(())
        }),
        ["restore", declaration, rest @ ..] => Class::load(host, Path::new(declaration)).and_then(|class| {
            let file = rest.iter().find(|word| !word.starts_with("--")).copied();
            let restored = restore::restore(&class, file, rest.contains(&UNSAFE))?;
            println!("{}", serde_json::to_string(&restored).expect("BUG: plain data always encodes"));
            Ok(())
        }),
        ["resume", declaration] => Class::load(host, Path::new(declaration)).and_then(|class| {
            {
                let _lock = class.lock()?;
                containers::go_on(&class)?;
            }
            // A restore that is alive holds this lock, and has none to be ended by somebody else.
            if exchange::is_open(&class) && {
                let _lock = class.lock_restores()?;
                exchange::resume(&class)?
            } {
                eprintln!("holdfast-host: a restore of {} was cut down: what it had stopped runs again", class.about());
            }
            Ok(())
        }),
        _ => fail("usage: holdfast-host backup run|drill|restore|resume DECLARATION"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast-host: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes a backup now, proves it, and prunes.
///
/// # Errors
/// Why there is none; then nothing counts that did not count before.
pub fn take(host: &Host, spec: &BackupSpec) -> Result<BackupRecord, BackupError> {
    run::run(&Class::new(&host.root, &host.system, &host.disk, spec.clone())?)
}

/// Ends, in units of their own, exchanges that a power loss cut down: they need the Docker that starts after this.
pub fn resume_all(host: &Host) {
    let mut open = vec![(host.root.backups(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if depth < 3 && path.is_dir() {
                open.push((path, depth + 1));
            } else if depth == 3 && entry.file_name() == exchange::JOURNAL {
                resume_later(host, &folder);
            }
        }
    }
}

fn resume_later(host: &Host, folder: &Path) {
    let Some(declaration) = std::fs::read_to_string(folder.join("declaration")).ok() else { return };
    let Ok(class) = Class::load(host, Path::new(declaration.trim())) else { return };
    let Ok(program) = own_program() else { return };
    let unit = format!("--unit=holdfast-restore-resume-{}", class.name());
    let program = program.display().to_string();
    let args = [&unit, "--collect", "--quiet", "--no-block", "--property=After=docker.service", "--", &program];
    let words = args.into_iter().chain(["backup", "resume", declaration.trim()]);
    if let Err(error) = Call::new("systemd-run", words).run() {
        eprintln!("holdfast-host: end the restore of {}: {error}", class.about());
    }
}

/// The word of the command line that leaves the safety backup out.
const UNSAFE: &str = "--without-safety-backup";

/// Restores a backup in a unit of its own, which goes on when the connection ends, and waits for it.
///
/// # Errors
/// `Refused` for a declaration that is none of ours; `Failed` with what the restore said.
pub fn restore_in_unit(host: &Host, request: &RestoreRequest) -> Result<Restored, Fault> {
    let refuse = |error: BackupError| Fault { kind: FaultKind::Refused, message: error.to_string() };
    let failed = |message: String| Fault { kind: FaultKind::Failed, message };
    let class = Class::load(host, Path::new(&request.declaration)).map_err(refuse)?;
    if let Some(file) = &request.file {
        class.check_name(file).map_err(refuse)?;
    }
    let program = own_program()?;
    let unit = format!("holdfast-restore-{}", class.name());
    // A failed one of before would keep its name.
    let _ = Call::new("systemctl", ["reset-failed", &format!("{unit}.service")]).output();
    let mut args = vec![format!("--unit={unit}"), format!("--description=Holdfast: restore {}", class.about())];
    // However the restore ends, also by a kill, nothing is left stopped.
    args.push(format!("--property=ExecStopPost={} backup resume {}", program.display(), request.declaration));
    args.push("--property=TimeoutStopSec=15min".to_owned());
    args.extend(["--collect", "--quiet", "--wait", "--pipe", "--property=UMask=0077", "--"].map(str::to_owned));
    args.extend([
        program.display().to_string(),
        "backup".to_owned(),
        "restore".to_owned(),
        request.declaration.clone(),
    ]);
    args.extend(request.file.clone());
    if request.without_safety_backup {
        args.push(UNSAFE.to_owned());
    }
    let call = Call::new("systemd-run", args).deadline(RESTORE_DEADLINE);
    let output = call.output().map_err(|error| failed(error.to_string()))?;
    if output.code != 0 {
        let told = output.told();
        return Err(failed(told.strip_prefix("holdfast-host: ").unwrap_or(&told).to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| {
        failed(format!("the restore said something that cannot be read: {error}: {}", shown(&output.stdout, 200)))
    })
}
