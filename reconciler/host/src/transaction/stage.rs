//! Checks a transaction beside the live state and stores it. Nothing live changes.

use std::collections::BTreeSet;

use holdfast_protocol::{Action, Fault, FaultKind, StageProblem, Step, TransactionSpec};

use super::folder::{Folder, failed, refused};
use super::host::Host;
use super::status;
use crate::lock::Lock;
use crate::{blob, fence};

/// Validates and stores a transaction; an empty answer means it can begin.
///
/// Staging the same transaction again is fine. One of the same app that was staged before and never begun is dropped.
///
/// # Errors
/// `Fenced` when the app's fence has moved since the manager looked; `Busy` while another transaction of the app has not ended; `Refused` when it makes no sense
/// (blobs that are not here, the name of another transaction); `Failed` on an I/O error.
pub fn stage(host: &Host, spec: &TransactionSpec) -> Result<Vec<StageProblem>, Fault> {
    host.root.prepare().map_err(|error| failed(format!("{}: {error}", host.root.path().display())))?;
    check_shape(spec)?;
    let missing = blob::missing(&host.root, &blobs(spec));
    if let Some(first) = missing.first() {
        return Err(refused(format!(
            "{} blobs are not stored here, such as {}: send them first",
            missing.len(),
            first.short()
        )));
    }
    {
        let _lock = lock(host)?;
        fence::may_claim(&host.root, &spec.app, spec.fence, &spec.id)?;
        make_room(host, spec)?;
    }
    // Units of backups name it, and are verified with the rest.
    super::begin::install_current(host)?;
    let problems = super::validate::validate(host, spec);
    if !problems.is_empty() {
        return Ok(problems);
    }
    let _lock = lock(host)?;
    fence::may_claim(&host.root, &spec.app, spec.fence, &spec.id)?;
    make_room(host, spec)?;
    let folder = Folder::of(&host.root, &spec.id);
    // From here on another manager that looked before cannot come between the staging of the hosts and their beginning.
    if folder.begun().is_none() {
        fence::claim(&host.root, &host.disk, &spec.app, spec.fence, &spec.id)?;
    }
    folder.store(&host.disk, spec).map_err(|error| failed(format!("store transaction {}: {error}", spec.id)))?;
    Ok(problems)
}

/// Takes the lock under which transactions come and go on this host.
pub(super) fn lock(host: &Host) -> Result<Lock, Fault> {
    let path = host.root.path().join("transactions.lock");
    Lock::take(&path).map_err(|error| failed(format!("{}: {error}", path.display())))
}

/// Refuses while another of the same app is under way, and drops what was staged before and never begun.
fn make_room(host: &Host, spec: &TransactionSpec) -> Result<(), Fault> {
    let own = Folder::of(&host.root, &spec.id);
    if let Ok(stored) = own.load() {
        let begun = own.begun().is_some();
        if begun && stored != *spec {
            return Err(refused(format!(
                "transaction {} has begun with another content: choose another name",
                spec.id
            )));
        }
    }
    for folder in Folder::all(&host.root).map_err(|error| failed(format!("list the transactions: {error}")))? {
        if folder.id() == &spec.id {
            continue;
        }
        let Ok(other) = folder.load() else { continue };
        if other.app != spec.app {
            continue;
        }
        if folder.begun().is_none() {
            folder.remove().map_err(|error| failed(format!("drop transaction {}: {error}", folder.id())))?;
        } else if status::outcome(&folder).is_none() {
            return Err(busy(&folder, &spec.app));
        }
    }
    Ok(())
}

pub(super) fn busy(folder: &Folder, app: &str) -> Fault {
    Fault {
        kind: FaultKind::Busy,
        message: format!("transaction {} of {app} has not ended on this host: follow it or send it back", folder.id()),
    }
}

/// What a transaction may not say, whoever made it.
fn check_shape(spec: &TransactionSpec) -> Result<(), Fault> {
    let forward_only = |step: &&Step| matches!(step.action, Action::ComposeDown { .. } | Action::StaticPrune { .. });
    if let Some(step) = spec.prepare.iter().chain(&spec.promote).chain(&spec.watch).find(forward_only) {
        return Err(refused(format!("`{}` has no way back and belongs into settle", step.title)));
    }
    let moves = |step: &Step| matches!(step.action, Action::Switch { .. } | Action::StaticSwitch { .. });
    let switches = |steps: &[Step]| steps.iter().any(moves);
    if switches(&spec.prepare) {
        return Err(refused("a switch belongs into promote, behind the ready gate".to_owned()));
    }
    Ok(())
}

/// Returns every step of a transaction.
pub(super) fn all_steps(spec: &TransactionSpec) -> impl Iterator<Item = &Step> {
    spec.prepare.iter().chain(&spec.promote).chain(&spec.watch).chain(&spec.settle)
}

/// Returns every file a transaction puts or tests.
pub(super) fn all_puts(action: &Action) -> Vec<&holdfast_protocol::FilePut> {
    match action {
        Action::PutFile(put) => vec![put],
        Action::NginxTest { put, .. } => put.iter().collect(),
        Action::OnUndo(inner) => all_puts(inner),
        _ => Vec::new(),
    }
}

/// Returns the archives that a transaction takes images and static files from where they are missing.
pub(super) fn archives(spec: &TransactionSpec) -> Vec<holdfast_protocol::Digest> {
    let archives = all_steps(spec).flat_map(|step| match &step.action {
        Action::Images { archives, .. } => archives.iter().map(|archive| archive.blob).collect(),
        Action::StaticUnpack(record) => vec![record.release],
        _ => Vec::new(),
    });
    archives.collect()
}

/// Returns every blob a transaction needs.
pub(super) fn blobs(spec: &TransactionSpec) -> Vec<holdfast_protocol::Digest> {
    let wanted: BTreeSet<_> = all_steps(spec).flat_map(|step| all_puts(&step.action)).map(|put| put.blob).collect();
    wanted.into_iter().collect()
}
