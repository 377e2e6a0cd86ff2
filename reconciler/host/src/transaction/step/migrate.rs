//! Migrations: each at most once on this host, whatever dies in between.
//!
//! The work runs in a container or unit of its own, under a name made of its id, which outlives the runner: after a crash it is found
//! by that name and its exit status asked. The engine and systemd give a name only once, so a second start cannot slip in. A note
//! that it was started is durable before it is; when a reboot took both the runner and the thing itself, nobody can tell what was
//! done, and only a migration declared idempotent is run again.
//!
//! What says the schema's revision is asked before (which is in that note) and after; both go into the ledger. A way back is the same
//! kind of run, to the revision that the ledger has from before.
//!
//! # Format
//! `migrations/<hash>`: JSON with the id, the transaction and boot it was started in, and the revision before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::{Ledger, MigrationRecord, MigrationRunner};
use serde::{Deserialize, Serialize};

use super::super::run::now_ms;
use super::{Act, Probed, StepError, Work, compose, fail, unit};
use crate::disk::Access;
use crate::exec::Call;
use crate::{digest, ledger, paths};

/// How often its state is asked.
const EVERY: Duration = Duration::from_millis(200);

/// How long a migration that is over its time gets to end by itself.
const GRACE_S: &str = "30";

/// Characters of a revision that are kept.
const REVISION: usize = 128;

/// What stands for the recorded revision in a way back.
const PLACE: &str = "{revision}";

/// Runs a migration, at most once for its id.
pub(super) struct Migrate<'a> {
    pub(super) id: &'a str,
    pub(super) runner: &'a MigrationRunner,
    pub(super) argv: &'a [String],
    pub(super) idempotent: bool,
    pub(super) revision: &'a [String],
    pub(super) way: Way<'a>,
}

/// Where a migration goes.
pub(super) enum Way<'a> {
    /// Forward, with what is kept for a way back.
    Up { downgrade: &'a [String], reversible: bool },
    /// Back to the revision before.
    Down,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Started {
    id: String,
    transaction: String,
    boot: String,
    #[serde(default)]
    before: Option<String>,
}

/// The thing that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    Missing,
    /// Created and never started: whoever created it was cut down in between.
    Created,
    Running,
    Ended(i32),
    /// It did not end by itself, so nobody can tell how far it came.
    Cut(String),
    /// One of both: Docker has the same word for it.
    Unclear,
}

impl Act for Migrate<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        // Going back in its middle would leave half a migration: it is waited for.
        let work = &Work { stop: &|| false, ..*work };
        if matches!(self.way, Way::Down) {
            self.check_forward(work)?;
        }
        if self.is_recorded(work)? {
            self.clean(work)?;
            return Ok("ran before".to_owned());
        }
        let Some(argv) = self.words(work)? else {
            self.record(work, None)?;
            return Ok("there was nothing to take back".to_owned());
        };
        match self.look(work)? {
            Run::Missing => {
                self.check_unknown(work)?;
                let before = self.ask_revision(work)?;
                self.note_start(work, before)?;
                if let Err(error) = self.start(work, &argv)
                    // One that was on its way when the last runner died may have taken the name just now.
                    && self.look(work)? == Run::Missing
                {
                    self.clean(work)?;
                    return Err(error);
                }
            }
            Run::Created => drop(work.run("docker", &["start", "--", &self.name()])?),
            Run::Running | Run::Ended(_) | Run::Cut(_) | Run::Unclear => {}
        }
        let mut again = self.idempotent;
        loop {
            match self.seen(work) {
                Ok(Run::Cut(how)) => {
                    let text = format!("migration {} {how}; its log ends: {}", self.id, self.log());
                    self.remove(work)?;
                    if !self.idempotent {
                        // The note stays: nobody runs it again before an operator looked.
                        return Err(StepError::Operator(format!("{text}; {}", self.what_to_do(work))));
                    }
                    if !again {
                        self.clean(work)?;
                        return fail(text);
                    }
                    again = false;
                    let before = self.started(work)?.and_then(|started| started.before);
                    self.note_start(work, before)?;
                    self.start(work, &argv)?;
                }
                Ok(Run::Ended(0)) => return self.ended(work),
                Ok(Run::Ended(code)) => {
                    // Its outcome is known: it failed, and another transaction may try again.
                    let log = self.log();
                    let left = self.stopped_half_way(work)?;
                    self.clean(work)?;
                    return fail(format!("migration exited with {code}{left}; its log ends: {log}"));
                }
                Ok(Run::Missing) => {
                    return Err(StepError::Operator(format!(
                        "migration {} was removed by something else while it ran: {}",
                        self.name(),
                        self.what_to_do(work)
                    )));
                }
                Ok(Run::Created | Run::Running | Run::Unclear) => {}
                // The engine may be restarting; the migration's own end counts.
                Err(error) => (work.tell)(&format!("migration cannot be looked at: {error}")),
            }
            (work.tell)("migrating");
            if work.pause(EVERY, "the migration").is_err() {
                return self.overdue(work);
            }
        }
    }

    fn probe(&self, work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        if self.is_recorded(work)? && self.look(work)? == Run::Missing {
            let record = Self::ledger(work)?.migrated.remove(self.id);
            return Ok(Probed::Happened(record.map_or_else(|| self.id.to_owned(), |record| self.note(&record))));
        }
        // Doing it again only waits for what is there.
        Ok(Probed::DoIt)
    }
}

impl Migrate<'_> {
    fn short(&self) -> String {
        let short = digest::of(self.id.as_bytes()).short();
        match self.way {
            Way::Up { .. } => short,
            Way::Down => format!("{short}-back"),
        }
    }

    fn name(&self) -> String {
        format!("holdfast-migrate-{}", self.short())
    }

    fn note_path(&self, work: &Work<'_>) -> PathBuf {
        work.host.root.path().join("migrations").join(self.short())
    }

    fn ledger(work: &Work<'_>) -> Result<Ledger, StepError> {
        let ledger = ledger::load(&work.host.root).map_err(|error| StepError::Failed(error.to_string()))?;
        Ok(ledger.unwrap_or_default())
    }

    /// Returns whether the ledger says already what it will say.
    fn is_recorded(&self, work: &Work<'_>) -> Result<bool, StepError> {
        let ledger = Self::ledger(work)?;
        let ran = ledger.migrations.contains(self.id);
        Ok(match self.way {
            Way::Up { .. } => ran,
            Way::Down => !ran && !ledger.migrated.contains_key(self.id),
        })
    }

    /// Checks that it is known how the migration ended that is to be taken back.
    fn check_forward(&self, work: &Work<'_>) -> Result<(), StepError> {
        let up = Self { way: Way::Up { downgrade: &[], reversible: false }, ..*self };
        if Self::ledger(work)?.migrations.contains(self.id) || up.started(work)?.is_none() {
            return Ok(());
        }
        Err(StepError::Operator(format!("how far migration {} came is unknown: {}", self.id, up.what_to_do(work))))
    }

    /// It failed: where the schema is another one all the same, that is kept for a way back. Returns what to say of it.
    fn stopped_half_way(&self, work: &Work<'_>) -> Result<String, StepError> {
        let Way::Up { .. } = self.way else { return Ok(String::new()) };
        let before = self.first_revision(work)?;
        // Whoever cannot be asked now may not know it later either.
        let Ok(after) = self.ask_revision(work) else { return Ok(String::new()) };
        if before.is_none() || after.is_none() || before == after {
            return Ok(String::new());
        }
        let said = format!(", and left the schema at {}, {} before", shown(after.as_deref()), shown(before.as_deref()));
        let record = self.made(work, before, after);
        Self::update(work, |ledger| drop(ledger.migrated.insert(self.id.to_owned(), record)))?;
        Ok(said)
    }

    /// Returns the revision before it: before its first run where an earlier one stopped half way.
    fn first_revision(&self, work: &Work<'_>) -> Result<Option<String>, StepError> {
        let half = Self::ledger(work)?.migrated.remove(self.id).and_then(|record| record.before);
        Ok(half.or(self.started(work)?.and_then(|started| started.before)))
    }

    /// Returns what is kept of it.
    fn made(&self, work: &Work<'_>, before: Option<String>, after: Option<String>) -> MigrationRecord {
        let (downgrade, reversible) = match self.way {
            Way::Up { downgrade, reversible } => (downgrade, reversible),
            Way::Down => (&[][..], false),
        };
        MigrationRecord {
            release: work.spec.release.clone(),
            before,
            after,
            at_ms: now_ms(),
            reversible,
            runner: self.runner.clone(),
            argv: self.argv.to_vec(),
            revision: self.revision.to_vec(),
            downgrade: downgrade.to_vec(),
            files: BTreeMap::new(),
        }
    }

    /// Returns what is run; `None` where a way back has nothing to do.
    fn words(&self, work: &Work<'_>) -> Result<Option<Vec<String>>, StepError> {
        if let Way::Up { .. } = self.way {
            return Ok(Some(self.argv.to_vec()));
        }
        let ledger = Self::ledger(work)?;
        let record = ledger.migrated.get(self.id);
        if record.is_some_and(|record| !record.changed()) {
            return Ok(None);
        }
        let operator = |why: &str| {
            Err(StepError::Operator(format!(
                "migration {} was begun, and {why}: the release before does not know the schema and is not started. Bring a commit \
                 that mends the new one, or restore the backup from before it and apply the old one",
                self.id
            )))
        };
        if self.argv.is_empty() {
            return operator("no `downgrade` is declared");
        }
        match record.and_then(|record| record.before.as_deref()) {
            None => operator("the revision before it is not known"),
            Some("") => operator("there was no revision before it"),
            Some(before) => Ok(Some(self.argv.iter().map(|word| word.replace(PLACE, before)).collect())),
        }
    }

    /// Returns the revision that the schema has now; `None` where nothing says so.
    ///
    /// The first word of what is printed counts: `0002 (head)` is `0002`. Nothing printed is the revision of an empty database.
    fn ask_revision(&self, work: &Work<'_>) -> Result<Option<String>, StepError> {
        if self.revision.is_empty() {
            return Ok(None);
        }
        let call = match self.runner {
            MigrationRunner::Service { project, file, service } => {
                let mut args: Vec<&str> = vec!["compose", "--progress", "quiet", "-p", project, "-f", file];
                args.extend(["run", "--rm", "-T", "--no-deps", "--", service]);
                args.extend(self.revision.iter().map(String::as_str));
                Call::new("docker", args).directory(folder(file))
            }
            MigrationRunner::Host { .. } => {
                let mut args = vec!["--wait".to_owned(), "--pipe".to_owned(), "--collect".to_owned()];
                args.extend(self.place());
                args.push("--".to_owned());
                args.extend(self.revision.iter().cloned());
                Call::new("systemd-run", args)
            }
        };
        let output = call.deadline(work.left()).output_unless(work.stop)?;
        if output.code != 0 {
            return fail(format!("asking for the revision with `{}`: {}", self.revision.join(" "), output.told()));
        }
        revision(&output.text()).map(Some).map_err(|found| {
            StepError::Failed(format!("`{}` should print one revision: {found}", self.revision.join(" ")))
        })
    }

    /// It succeeded: asks what came of it, and writes that down.
    fn ended(&self, work: &Work<'_>) -> Result<String, StepError> {
        let after = self.ask_revision(work);
        let note = match self.way {
            Way::Up { .. } => {
                let (after, unknown) = match after {
                    Ok(after) => (after, String::new()),
                    // It ran all the same, and must never run twice.
                    Err(error) => (None, format!(" ({error})")),
                };
                let record = self.made(work, self.first_revision(work)?, after);
                let note = format!("{}{unknown}", self.note(&record));
                self.record(work, Some(record))?;
                note
            }
            Way::Down => {
                let before = self.started(work)?.and_then(|started| started.before);
                let wanted = Self::ledger(work)?.migrated.remove(self.id).and_then(|record| record.before);
                let after = after?;
                if after.is_some() && after != wanted {
                    return Err(StepError::Operator(format!(
                        "the way back from migration {} ended at revision {}, not at {}: look into the database",
                        self.id,
                        shown(after.as_deref()),
                        shown(wanted.as_deref())
                    )));
                }
                self.record(work, None)?;
                format!("{}: {} to {}", self.id, shown(before.as_deref()), shown(wanted.as_deref()))
            }
        };
        self.clean(work)?;
        Ok(note)
    }

    /// Returns what the report reads: the id and both revisions.
    fn note(&self, record: &MigrationRecord) -> String {
        format!("{}: {} to {}", self.id, shown(record.before.as_deref()), shown(record.after.as_deref()))
    }

    /// Writes it into the ledger, or takes it out.
    fn record(&self, work: &Work<'_>, record: Option<MigrationRecord>) -> Result<(), StepError> {
        Self::update(work, |ledger| {
            if let Some(record) = record {
                ledger.migrations.insert(self.id.to_owned());
                ledger.migrated.insert(self.id.to_owned(), record);
            } else {
                ledger.migrations.remove(self.id);
                ledger.migrated.remove(self.id);
            }
        })
    }

    fn update(work: &Work<'_>, change: impl FnOnce(&mut Ledger)) -> Result<(), StepError> {
        ledger::update(&work.host.root, &work.host.disk, change).map_err(|error| StepError::Failed(error.to_string()))
    }

    fn started(&self, work: &Work<'_>) -> Result<Option<Started>, StepError> {
        let path = self.note_path(work);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                StepError::Operator(format!("{}: {error}; {}", path.display(), self.what_to_do(work)))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => fail(format!("{}: {error}", path.display())),
        }
    }

    /// It is not there. Was it ever?
    fn check_unknown(&self, work: &Work<'_>) -> Result<(), StepError> {
        let Some(started) = self.started(work)? else { return Ok(()) };
        // In the same boot and transaction nothing of ours removed it, so it was never created: the crash came before.
        let same = started.transaction == work.spec.id.as_str() && started.boot == boot_id(work);
        if same || self.idempotent {
            return Ok(());
        }
        Err(StepError::Operator(format!(
            "migration {} was started by transaction {} and its outcome is unknown: {}",
            self.id,
            started.transaction,
            self.what_to_do(work)
        )))
    }

    fn what_to_do(&self, work: &Work<'_>) -> String {
        format!(
            "look into the database. If it is complete, add \"{}\" to `migrations` in {}; if nothing of it was done, remove {}; then apply again",
            self.id,
            work.host.root.ledger().display(),
            self.note_path(work).display()
        )
    }

    fn note_start(&self, work: &Work<'_>, before: Option<String>) -> Result<(), StepError> {
        let path = self.note_path(work);
        let (id, transaction) = (self.id.to_owned(), work.spec.id.to_string());
        let started = Started { id, transaction, boot: boot_id(work), before };
        let text = serde_json::to_vec(&started).expect("BUG: plain data always encodes");
        paths::create_private(path.parent().unwrap_or(&path))
            .and_then(|()| paths::sync_folder(work.host.root.path()))
            .and_then(|()| work.host.disk.replace(&path, &text, Access { mode: 0o600, owner: None }))
            .map_err(|error| StepError::Failed(format!("{}: {error}", path.display())))
    }

    fn start(&self, work: &Work<'_>, argv: &[String]) -> Result<(), StepError> {
        let name = self.name();
        match self.runner {
            MigrationRunner::Service { project, file, service } => {
                // Its own restart policy would run it again when it ends: the second file says no. JSON is YAML, and quotes safely.
                let once = serde_json::json!({ "services": { service: { "restart": "no" } } }).to_string();
                let label = format!("dev.holdfast.migration={}", self.id);
                let mut args: Vec<&str> = vec!["compose", "--progress", "plain", "-p", project, "-f", file, "-f", "-"];
                args.extend(["run", "-d", "-T", "--no-deps", "--name", &name, "-l", &label, "--", service]);
                args.extend(argv.iter().map(String::as_str));
                work.call(&Call::new("docker", args).stdin(once).directory(folder(file))).map(drop)
            }
            MigrationRunner::Host { .. } => {
                let mut args = vec![format!("--unit={name}"), "--remain-after-exit".to_owned()];
                args.push(format!("--description=Holdfast migration {}", self.id));
                args.extend(self.place());
                args.push("--".to_owned());
                args.extend(argv.iter().cloned());
                work.call(&Call::new("systemd-run", args)).map(drop)
            }
        }
    }

    /// Returns how `systemd-run` is told where, and as whom, something runs.
    fn place(&self) -> Vec<String> {
        let MigrationRunner::Host { directory, user } = self.runner else { return Vec::new() };
        let mut args = vec!["--quiet".to_owned()];
        args.push(format!("--working-directory={}", if directory.is_empty() { "/" } else { directory }));
        if !user.is_empty() {
            args.push(format!("--uid={user}"));
        }
        args
    }

    fn look(&self, work: &Work<'_>) -> Result<Run, StepError> {
        let name = self.name();
        match self.runner {
            MigrationRunner::Service { .. } => {
                let format = "{{.State.Status}} {{.State.ExitCode}}";
                let output =
                    work.ask("docker", &["inspect", "--type", "container", "--format", format, "--", &name])?;
                if output.code != 0 {
                    let told = output.told();
                    let missing = told.to_lowercase().contains("no such container");
                    return if missing { Ok(Run::Missing) } else { fail(told) };
                }
                container_run(&output.text())
            }
            MigrationRunner::Host { .. } => {
                let state = unit::state(work, &format!("{name}.service"))?;
                Ok(unit_run(&state))
            }
        }
    }

    /// Looks, and judges what Docker leaves open: a program that ended with 255 by itself, as alembic does when it refuses, has left the
    /// schema where it was; else it counts as cut down. After a boot nothing but the latter is believed.
    fn seen(&self, work: &Work<'_>) -> Result<Run, StepError> {
        let run = self.look(work)?;
        if run != Run::Unclear {
            return Ok(run);
        }
        let started = self.started(work)?.filter(|started| started.boot == boot_id(work));
        let before = started.and_then(|started| started.before);
        let stands = before.is_some() && self.ask_revision(work).is_ok_and(|after| after == before);
        Ok(if stands { Run::Ended(255) } else { Run::Cut("was cut down (exit status 255)".to_owned()) })
    }

    fn log(&self) -> String {
        match self.runner {
            MigrationRunner::Service { .. } => compose::log_tail(&self.name()),
            MigrationRunner::Host { .. } => unit::log_tail(&format!("{}.service", self.name())),
        }
    }

    /// Removes what ran it. The note goes last: as long as it is there, a missing run is unknown.
    fn clean(&self, work: &Work<'_>) -> Result<(), StepError> {
        self.remove(work)?;
        self.clean_note(work)
    }

    fn clean_note(&self, work: &Work<'_>) -> Result<(), StepError> {
        let path = self.note_path(work);
        work.host.disk.remove(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => fail(format!("{}: {error}", path.display())),
        })
    }

    fn remove(&self, work: &Work<'_>) -> Result<(), StepError> {
        let name = self.name();
        if self.look(work)? != Run::Missing {
            match self.runner {
                MigrationRunner::Service { .. } => drop(work.run("docker", &["rm", "--force", "--", &name])?),
                MigrationRunner::Host { .. } => {
                    let unit = format!("{name}.service");
                    work.ask("systemctl", &["stop", "--", &unit])?;
                    work.ask("systemctl", &["reset-failed", "--", &unit])?;
                }
            }
        }
        Ok(())
    }

    fn overdue(&self, work: &Work<'_>) -> Result<String, StepError> {
        let name = self.name();
        let work = &Work { deadline: std::time::Instant::now() + Duration::from_secs(60), ..*work };
        let stopped = match self.runner {
            MigrationRunner::Service { .. } => work.ask("docker", &["stop", "--time", GRACE_S, "--", &name]),
            MigrationRunner::Host { .. } => work.ask("systemctl", &["stop", "--", &format!("{name}.service")]),
        };
        let text = format!(
            "migration {} was not over within its deadline and was stopped; its log ends: {}",
            self.id,
            self.log()
        );
        if self.idempotent && stopped.is_ok() {
            self.clean(work)?;
            return fail(text);
        }
        // The note stays: nobody runs it again before an operator looked.
        self.remove(work)?;
        Err(StepError::Operator(format!("{text}; {}", self.what_to_do(work))))
    }
}

fn folder(file: &str) -> &Path {
    Path::new(file).parent().unwrap_or(Path::new("/"))
}

/// Returns the revision in what a program printed; else what is wrong with it.
fn revision(text: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let word = match lines.as_slice() {
        [] => "",
        [one] => one.split_whitespace().next().unwrap_or_default(),
        several => return Err(format!("it printed {} lines", several.len())),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-+@/:".contains(c);
    if word.len() > REVISION || word.starts_with('-') || !word.chars().all(fits) {
        return Err(format!("it printed `{}`", crate::exec::shown(word.as_bytes(), 80)));
    }
    Ok(word.to_owned())
}

/// Returns a revision for people; one word, since the report reads it.
fn shown(revision: Option<&str>) -> &str {
    match revision {
        None => "unknown",
        Some("") => "empty",
        Some(revision) => revision,
    }
}

/// # Source
/// Docker says 255 of a container that it finds dead when it starts after a crash, and 128 plus the signal's number of one that was
/// killed: neither need be the program's own word.
fn container_run(text: &str) -> Result<Run, StepError> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next().and_then(|code| code.parse().ok())) {
        (Some("exited" | "dead"), Some(255)) => Ok(Run::Unclear),
        (Some("exited" | "dead"), Some(code)) if code > 128 => {
            Ok(Run::Cut(format!("was cut down (exit status {code})")))
        }
        (Some("exited" | "dead"), Some(code)) => Ok(Run::Ended(code)),
        (Some("created"), _) => Ok(Run::Created),
        (Some("running" | "restarting" | "paused" | "removing"), _) => Ok(Run::Running),
        _ => fail(format!("docker says about the migration: {}", crate::exec::shown(text.as_bytes(), 80))),
    }
}

/// With `RemainAfterExit` a unit that succeeded stays `active (exited)`; one that failed stays `failed`.
fn unit_run(state: &crate::systemd::UnitDetail) -> Run {
    match (state.load.as_str(), state.active.as_str(), state.sub.as_str()) {
        ("not-found", _, _) | (_, "inactive", _) => Run::Missing,
        (_, "failed", _) if state.result != "exit-code" => Run::Cut(format!("was cut down ({})", state.result)),
        (_, "failed", _) => Run::Ended(if state.exit_code == 0 { 1 } else { state.exit_code }),
        (_, "active", "exited") => Run::Ended(state.exit_code),
        _ => Run::Running,
    }
}

fn boot_id(work: &Work<'_>) -> String {
    let path = work.host.system.proc.join("sys/kernel/random/boot_id");
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn migrate<'a>(runner: &'a MigrationRunner, argv: &'a [String], idempotent: bool) -> Migrate<'a> {
        let way = Way::Up { downgrade: &[], reversible: true };
        Migrate { id: "prod/shop/web/abc", runner, argv, idempotent, revision: &[], way }
    }

    fn host() -> MigrationRunner {
        MigrationRunner::Host { directory: String::new(), user: String::new() }
    }

    #[test]
    fn an_unknown_outcome_is_for_an_operator_unless_it_may_run_again() {
        let bench = Bench::new();
        let (runner, argv) = (host(), vec!["true".to_owned()]);
        let careful = migrate(&runner, &argv, false);
        careful.check_unknown(&bench.work()).unwrap();
        // Started in this boot by this transaction: the crash came before it was created.
        careful.note_start(&bench.work(), None).unwrap();
        careful.check_unknown(&bench.work()).unwrap();
        let path = careful.note_path(&bench.work());
        let note = fs::read_to_string(&path).unwrap();
        for (from, to) in
            [(boot_id(&bench.work()), "another-boot".to_owned()), ("\"t1\"".to_owned(), "\"t0\"".to_owned())]
        {
            fs::write(&path, note.replace(&from, &to)).unwrap();
            let error = careful.check_unknown(&bench.work()).unwrap_err();
            assert!(matches!(&error, StepError::Operator(text) if text.contains("outcome is unknown")), "{error}");
            migrate(&runner, &argv, true).check_unknown(&bench.work()).unwrap();
        }
        fs::write(&path, "rubbish").unwrap();
        assert!(matches!(careful.check_unknown(&bench.work()), Err(StepError::Operator(_))));
    }

    #[test]
    fn states() {
        assert_eq!(container_run("exited 0\n").unwrap(), Run::Ended(0));
        assert_eq!(container_run("exited 3").unwrap(), Run::Ended(3));
        assert!(matches!(container_run("exited 137").unwrap(), Run::Cut(_)));
        assert_eq!(container_run("exited 255").unwrap(), Run::Unclear);
        assert_eq!(container_run("created 0").unwrap(), Run::Created);
        assert_eq!(container_run("running 0").unwrap(), Run::Running);
        assert!(container_run("").is_err());
        let state = |load: &str, active: &str, sub: &str, exit_code| crate::systemd::UnitDetail {
            load: load.to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            exit_code,
            ..crate::systemd::UnitDetail::default()
        };
        assert_eq!(unit_run(&state("not-found", "inactive", "dead", 0)), Run::Missing);
        assert_eq!(unit_run(&state("loaded", "active", "exited", 0)), Run::Ended(0));
        assert_eq!(unit_run(&state("loaded", "active", "running", 0)), Run::Running);
        let failed = |result: &str, exit_code| crate::systemd::UnitDetail {
            result: result.to_owned(),
            ..state("loaded", "failed", "failed", exit_code)
        };
        assert_eq!(unit_run(&failed("exit-code", 3)), Run::Ended(3));
        assert!(matches!(unit_run(&failed("oom-kill", 9)), Run::Cut(_)));
    }

    #[test]
    fn cap_53_a_revision_is_one_word() {
        assert_eq!(revision("0002 (head)\n").unwrap(), "0002");
        assert_eq!(revision("\n").unwrap(), "", "an empty database has none");
        assert!(revision("0002\n0003\n").unwrap_err().contains("2 lines"));
        assert!(revision("-1").is_err(), "it would become an option");
        assert!(revision("\u{1b}[31m").is_err());
    }

    #[test]
    fn cap_55_a_way_back_goes_to_the_recorded_revision() {
        let bench = Bench::new();
        let (runner, argv) = (host(), ["downgrade".to_owned(), "{revision}".to_owned()]);
        let back = |argv| Migrate {
            id: "prod/shop/web/abc",
            runner: &runner,
            argv,
            idempotent: true,
            revision: &[],
            way: Way::Down,
        };
        let keep = |before: Option<&str>| {
            let record = MigrationRecord {
                release: "v2".to_owned(),
                before: before.map(str::to_owned),
                after: Some("0002".to_owned()),
                at_ms: 0,
                reversible: false,
                runner: runner.clone(),
                argv: Vec::new(),
                revision: Vec::new(),
                downgrade: argv.to_vec(),
                files: BTreeMap::new(),
            };
            back(&[]).record(&bench.work(), Some(record)).unwrap();
        };
        assert!(back(&argv).is_recorded(&bench.work()).unwrap(), "what never ran is not taken back");
        keep(Some("0001"));
        assert_eq!(back(&argv).words(&bench.work()).unwrap().unwrap(), ["downgrade", "0001"]);
        let refused = |argv| match back(argv).words(&bench.work()) {
            Err(StepError::Operator(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(refused(&[]).contains("no `downgrade`"));
        keep(None);
        assert!(refused(&argv).contains("is not known"));
        keep(Some(""));
        assert!(refused(&argv).contains("no revision before"));
        keep(Some("0002"));
        assert_eq!(back(&[]).words(&bench.work()).unwrap(), None, "it changed nothing");
    }

    #[test]
    fn cap_55_of_one_that_stopped_half_way_the_first_revision_is_kept() {
        let bench = Bench::new();
        let (runner, argv) = (host(), vec!["true".to_owned()]);
        let one = migrate(&runner, &argv, false);
        let half = one.made(&bench.work(), Some("0001".to_owned()), Some("0002".to_owned()));
        Migrate::update(&bench.work(), |ledger| drop(ledger.migrated.insert(one.id.to_owned(), half))).unwrap();
        assert!(!one.is_recorded(&bench.work()).unwrap(), "it is to run again");
        one.note_start(&bench.work(), Some("0002".to_owned())).unwrap();
        assert_eq!(one.first_revision(&bench.work()).unwrap().as_deref(), Some("0001"));
        // While nobody knows how it ended, the release before is not started.
        let back = Migrate { way: Way::Down, ..migrate(&runner, &argv, true) };
        assert!(!back.is_recorded(&bench.work()).unwrap());
        assert!(
            matches!(back.check_forward(&bench.work()), Err(StepError::Operator(text)) if text.contains("unknown"))
        );
        one.clean_note(&bench.work()).unwrap();
        back.check_forward(&bench.work()).unwrap();
    }

    #[test]
    fn cap_53_one_that_ran_is_not_run_again() {
        let bench = Bench::new();
        let (runner, argv) = (host(), vec!["false".to_owned()]);
        ledger::update(&bench.host.root, &bench.host.disk, |ledger| {
            ledger.migrations.insert("prod/shop/web/abc".to_owned());
        })
        .unwrap();
        assert!(migrate(&runner, &argv, false).is_recorded(&bench.work()).unwrap());
    }
}
