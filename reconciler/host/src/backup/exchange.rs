//! The moment of a restore in which what was restored takes the place of what is live: writers stand still, and whatever is killed in
//! between, nothing is left stopped or half moved.
//!
//! # Format
//! `restore.json` in the folder of a class, while an exchange is under way: what was stopped for it, what is being moved, and whether
//! it is decided. It is on the disk before anything it says is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::{BackupError, at, containers, fail};
use crate::exec::Call;
use crate::paths::sync_folder;

/// What the journal of an exchange is called.
pub(super) const JOURNAL: &str = "restore.json";

/// How long a unit may take to stop or to start.
const DEADLINE: Duration = Duration::from_secs(300);

/// From where to where.
pub(super) type Move = (PathBuf, PathBuf);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Journal {
    /// Containers that hold what is exchanged and ran, by their id: stopped last, started first.
    stores: Vec<String>,
    /// Containers of writers that ran.
    containers: Vec<String>,
    /// Units that were active.
    units: Vec<String>,
    /// What was live, and where it is put aside.
    aside: Vec<Move>,
    /// What was restored, and where it becomes live.
    placed: Vec<Move>,
    /// Whether the moves stay.
    decided: bool,
}

/// An exchange that is under way. Dropped without [`Exchange::end`] or [`Exchange::failed`] it is what a kill leaves: [`resume`] ends it.
pub(super) struct Exchange<'a> {
    class: &'a Class,
    journal: Journal,
}

impl<'a> Exchange<'a> {
    /// Stops the writers of a class, and then the containers that hold what is exchanged.
    ///
    /// # Errors
    /// When one cannot be stopped; then all run again.
    pub(super) fn begin(class: &'a Class, stores: &[String]) -> Result<Self, BackupError> {
        // One that was cut down before comes to its end first.
        resume(class)?;
        let mut journal = Journal { stores: stores.to_vec(), ..Journal::default() };
        for project in &class.spec.writers.projects {
            let label = format!("label=com.docker.compose.project={project}");
            for id in containers::listed(class, &[&label, "status=running"])? {
                if !journal.stores.contains(&id) {
                    journal.containers.push(id);
                }
            }
        }
        for unit in &class.spec.writers.units {
            let state = Call::new("systemctl", ["is-active", "--quiet", unit.as_str()]).output()?;
            if state.code == 0 {
                journal.units.push(unit.clone());
            }
        }
        // After a power loss only what lies here says whose exchange it was.
        let declaration = class.declaration.display().to_string();
        class.replace(&class.folder.join("declaration"), declaration.as_bytes())?;
        let this = Self { class, journal };
        this.write()?;
        match this.stop() {
            Ok(()) => Ok(this),
            Err(error) => this.failed(error),
        }
    }

    /// Puts aside what is live, then puts what was restored in its place.
    ///
    /// # Errors
    /// When one cannot be moved; [`Exchange::failed`] undoes what was.
    pub(super) fn moves(&mut self, aside: Vec<Move>, placed: Vec<Move>) -> Result<(), BackupError> {
        (self.journal.aside, self.journal.placed) = (aside, placed);
        self.write()?;
        for (from, to) in self.journal.aside.iter().chain(&self.journal.placed) {
            fs::rename(from, to).map_err(at(to))?;
            synced(from)?;
            synced(to)?;
        }
        Ok(())
    }

    /// Starts containers that were stopped, before it is decided: what was exchanged has to prove itself.
    pub(super) fn start_container(&self, id: &str) -> Result<(), BackupError> {
        containers::docker(self.class, &["start", id]).map(drop)
    }

    /// Decides: what was moved stays. Everything runs again.
    ///
    /// # Errors
    /// When something cannot be started; what was restored is live all the same.
    pub(super) fn end(mut self) -> Result<(), BackupError> {
        self.journal.decided = true;
        self.write()?;
        finish(self.class, &self.journal)
    }

    /// Undoes what was moved; everything runs again as before. Returns the error it was given, and what went wrong on the way back.
    pub(super) fn failed<T>(self, error: BackupError) -> Result<T, BackupError> {
        match finish(self.class, &self.journal) {
            Ok(()) => Err(error),
            Err(back) => fail(format!("{error}; and on the way back: {back}")),
        }
    }

    fn stop(&self) -> Result<(), BackupError> {
        for unit in &self.journal.units {
            Call::new("systemctl", ["stop", unit.as_str()]).deadline(DEADLINE).run()?;
        }
        // The writers before what they write to.
        containers::stop(self.class, &self.journal.containers)?;
        containers::stop(self.class, &self.journal.stores)
    }

    fn write(&self) -> Result<(), BackupError> {
        let bytes = serde_json::to_vec(&self.journal).expect("BUG: plain data always encodes");
        self.class.replace(&journal(self.class), &bytes)
    }
}

fn journal(class: &Class) -> PathBuf {
    class.folder.join(JOURNAL)
}

/// Returns whether an exchange of a class has not come to its end.
pub(super) fn is_open(class: &Class) -> bool {
    journal(class).exists()
}

/// Ends an exchange that was cut down: back, unless it was decided, and everything runs again. Returns whether there was one.
///
/// # Errors
/// When something cannot be moved back or started; the next call tries again.
pub(super) fn resume(class: &Class) -> Result<bool, BackupError> {
    let path = journal(class);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at(&path)(error)),
    };
    let journal =
        serde_json::from_slice(&bytes).map_err(|error| BackupError(format!("{}: {error}", path.display())))?;
    finish(class, &journal)?;
    Ok(true)
}

fn finish(class: &Class, ended: &Journal) -> Result<(), BackupError> {
    if !ended.decided {
        // Docker goes on with a stop whose caller was killed: one that is started before that is over would be stopped after it. Best
        // effort, for one that cannot be stopped runs, which is what is wanted.
        let _ = containers::stop(class, &ended.containers);
        let stopped = containers::stop(class, &ended.stores);
        // What was started to prove itself, or by a boot, has the files open.
        if !ended.aside.is_empty() || !ended.placed.is_empty() {
            stopped?;
        }
        let back = |(from, to): &Move| {
            fs::rename(to, from).map_err(at(from))?;
            synced(from)?;
            synced(to)
        };
        // What was not moved yet, or is back already, stays.
        for step in ended.placed.iter().rev().filter(|(from, to)| exists(to) && !exists(from)) {
            back(step)?;
        }
        for step in ended.aside.iter().rev().filter(|(_, to)| exists(to)) {
            let (from, to) = step;
            if exists(from) {
                // Something that a boot started has begun anew where there was nothing.
                let anew = PathBuf::from(format!("{}.begun", to.display()));
                fs::rename(from, &anew).map_err(at(&anew))?;
            }
            back(step)?;
        }
    }
    let mut failed = Vec::new();
    for id in ended.stores.iter().chain(&ended.containers) {
        let Err(error) = containers::docker(class, &["start", id]) else { continue };
        // One that was made anew meanwhile needs no start.
        if !containers::listed(class, &[&format!("id={id}")])?.is_empty() {
            failed.push(error.to_string());
        }
    }
    for unit in &ended.units {
        let started = Call::new("systemctl", ["start", unit.as_str()]).deadline(DEADLINE).run();
        failed.extend(started.err().map(|error| error.to_string()));
    }
    if !failed.is_empty() {
        return fail(format!("not everything that was stopped runs again: {}", failed.join("; ")));
    }
    class.remove_file(&journal(class))
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn synced(path: &Path) -> Result<(), BackupError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    if exists(parent) { sync_folder(parent).map_err(at(parent)) } else { Ok(()) }
}
