//! Starts the runner of a transaction in a systemd unit of its own, so that it survives the connection and the manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::{Fault, TransactionId};

use super::folder::{Folder, failed, refused};
use super::host::Host;
use super::{stage, status};
use crate::disk::Access;
use crate::exec::{Call, ExecError};
use crate::fence;

/// Exit status of a runner for which starting again does not help.
pub const UNUSABLE: u8 = 78;

/// The unit that puts a host in order after a boot.
const RESUME_UNIT: &str = "holdfast-resume.service";

/// Begins a staged transaction, or resumes a begun one that is not over. Doing it again changes nothing.
///
/// # Errors
/// `Fenced` when the fence has risen above the transaction's meanwhile; `Busy` when another of the app was begun meanwhile;
/// `Refused` when it is not staged; `Failed` when systemd does not start the runner.
pub fn begin(host: &Host, id: &TransactionId) -> Result<(), Fault> {
    let program = own_program()?;
    let folder = Folder::of(&host.root, id);
    {
        let _lock = stage::lock(host)?;
        let spec = folder.load()?;
        if folder.begun().is_none() {
            for other in Folder::all(&host.root).map_err(|error| failed(format!("list the transactions: {error}")))? {
                let same_app = other.id() != id && other.load().is_ok_and(|other| other.app == spec.app);
                if same_app && other.begun().is_some() && status::outcome(&other).is_none() {
                    return Err(stage::busy(&other, &spec.app));
                }
            }
            fence::claim(&host.root, &host.disk, &spec.app, spec.fence, &spec.id)?;
            install_resume_unit(host, &program)?;
            folder.mark_begun(&host.disk, &program).map_err(|error| failed(format!("begin {id}: {error}")))?;
        }
    }
    if status::outcome(&folder).is_some() {
        return Ok(());
    }
    start(&folder, false)
}

/// Starts the runner of a begun transaction where none is alive. `at_boot` does not wait for it, and lets it come after Docker.
pub(super) fn start(folder: &Folder, at_boot: bool) -> Result<(), Fault> {
    let id = folder.id();
    if status::is_running(folder) {
        return Ok(());
    }
    let begun = folder.begun().ok_or_else(|| refused(format!("transaction {id} was not begun")))?;
    // The program that began it, for it wrote the journal; ours where that one is gone.
    let program = if begun.is_file() { begun } else { own_program()? };
    let unit = format!("holdfast-tx-{id}");
    // One that failed before, such as on a full disk, would keep its name.
    let _ = Call::new("systemctl", ["reset-failed", &format!("{unit}.service")]).output();
    let mut args: Vec<String> = vec![
        format!("--unit={unit}"),
        format!("--description=Holdfast transaction {id}"),
        "--collect".to_owned(),
        "--quiet".to_owned(),
    ];
    if at_boot {
        args.extend(["--no-block", "--property=After=docker.service nginx.service network.target"].map(str::to_owned));
    }
    // Started again at once after a kill, for ever: a journalled transaction must come to its end.
    let restart_prevent = format!("RestartPreventExitStatus={UNUSABLE}");
    for property in [
        "Restart=on-failure",
        "RestartSec=200ms",
        "StartLimitIntervalSec=0",
        restart_prevent.as_str(),
        "TimeoutStopSec=2s",
        "OOMPolicy=continue",
        "OOMScoreAdjust=-900",
        "UMask=0022",
    ] {
        args.push(format!("--property={property}"));
    }
    args.extend(["--".to_owned(), program.display().to_string(), "run".to_owned(), id.to_string()]);
    match Call::new("systemd-run", args).deadline(Duration::from_secs(30)).run() {
        Ok(_) => Ok(()),
        // Another channel was faster.
        Err(ExecError::Failed { output, .. })
            if output.contains("already loaded") || output.contains("already exists") =>
        {
            Ok(())
        }
        Err(error) => Err(failed(format!("start the runner of {id}: {error}"))),
    }
}

/// Lets the name that units of backups have lead to this program.
pub(super) fn install_current(host: &Host) -> Result<(), Fault> {
    let program = own_program()?;
    let link = host.root.current_program();
    if fs::read_link(&link).is_ok_and(|target| target == program) {
        return Ok(());
    }
    let put = || {
        let folder = link.parent().unwrap_or(host.root.path());
        host.disk.create_folder(folder, 0o755)?;
        let temporary = link.with_extension("new");
        host.disk.remove(&temporary)?;
        std::os::unix::fs::symlink(&program, &temporary)?;
        fs::rename(&temporary, &link)?;
        crate::paths::sync_folder(folder)
    };
    put().map_err(|error| failed(format!("{}: {error}", link.display())))
}

/// Returns the path of the running program.
///
/// # Errors
/// `Failed` when it was replaced or removed meanwhile: connect again.
pub(crate) fn own_program() -> Result<PathBuf, Fault> {
    // `/proc/self/exe` of a replaced file ends in ` (deleted)`; such a path is refused rather than written into a unit.
    let path = fs::read_link("/proc/self/exe").map_err(|error| failed(format!("find the own program: {error}")))?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(failed(format!("the own program {} was removed: connect again", path.display())))
    }
}

/// The boot unit.
///
/// It comes before nginx, so that no request meets a switch that is not there, and with the firewall: a restart or reload of
/// `nftables.service` empties every table, ours too, so this unit follows it.
fn resume_unit(program: &Path) -> String {
    format!(
        "# Written by Holdfast. It puts the switches back after a boot or a firewall restart, and finishes what was begun.\n\
         [Unit]\n\
         Description=Holdfast: put switches back and finish what was begun\n\
         Documentation=man:systemd.unit(5)\n\
         ConditionPathExists={program}\n\
         RequiresMountsFor=/var/lib/holdfast\n\
         After=nftables.service firewalld.service\n\
         Before=nginx.service\n\
         PartOf=nftables.service\n\
         ReloadPropagatedFrom=nftables.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart={program} resume\n\
         ExecReload={program} resume\n\
         TimeoutStartSec=120\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target nftables.service\n",
        program = program.display()
    )
}

fn install_resume_unit(host: &Host, program: &Path) -> Result<(), Fault> {
    let path = host.system.etc.join("systemd/system").join(RESUME_UNIT);
    let text = resume_unit(program);
    if fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    host.disk
        .replace(&path, text.as_bytes(), Access { mode: 0o644, owner: None })
        .map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let enable = |args: &[&str]| {
        Call::new("systemctl", args.iter().copied())
            .run()
            .map_err(|error| failed(format!("enable {RESUME_UNIT}: {error}")))
    };
    enable(&["daemon-reload"])?;
    enable(&["enable", RESUME_UNIT])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_unit_names_the_program_and_the_firewall() {
        let text = resume_unit(Path::new("/var/lib/holdfast/bin/holdfast-host"));
        assert!(text.contains("\nExecStart=/var/lib/holdfast/bin/holdfast-host resume\n"), "{text}");
        assert!(text.contains("\nPartOf=nftables.service\n"));
        assert!(text.lines().all(|line| !line.starts_with(' ')));
    }
}
