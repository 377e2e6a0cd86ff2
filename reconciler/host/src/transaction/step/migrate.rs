//! Migrations: each at most once on this host, whatever dies in between.
//!
//! The work runs in a container or unit of its own, under a name made of its id, which outlives the runner: after a crash it is found
//! by that name and its exit status asked. The engine and systemd give a name only once, so a second start cannot slip in. A note
//! that it was started is durable before it is; when a reboot took both the runner and the thing itself, nobody can tell what was
//! done, and only a migration declared idempotent is run again.
//!
//! # Format
//! `migrations/<hash>`: JSON with the id, the transaction and boot it was started in.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_protocol::MigrationRunner;
use serde::{Deserialize, Serialize};

use super::{Act, Probed, StepError, Work, compose, fail, unit};
use crate::disk::Access;
use crate::exec::Call;
use crate::{digest, ledger, paths};

/// How often its state is asked.
const EVERY: Duration = Duration::from_millis(200);

/// How long a migration that is over its time gets to end by itself.
const GRACE_S: &str = "30";

/// Runs a migration, at most once for its id.
pub(super) struct Migrate<'a> {
    pub(super) id: &'a str,
    pub(super) runner: &'a MigrationRunner,
    pub(super) argv: &'a [String],
    pub(super) idempotent: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Started {
    id: String,
    transaction: String,
    boot: String,
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
}

impl Act for Migrate<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        // Going back in its middle would leave half a migration: it is waited for.
        let work = &Work { stop: &|| false, ..*work };
        if self.is_recorded(work)? {
            self.clean(work)?;
            return Ok("ran before".to_owned());
        }
        match self.look(work)? {
            Run::Missing => {
                self.check_unknown(work)?;
                self.note_start(work)?;
                if let Err(error) = self.start(work)
                    // One that was on its way when the last runner died may have taken the name just now.
                    && self.look(work)? == Run::Missing
                {
                    self.clean(work)?;
                    return Err(error);
                }
            }
            Run::Created => drop(work.run("docker", &["start", "--", &self.name()])?),
            Run::Running | Run::Ended(_) | Run::Cut(_) => {}
        }
        let mut again = self.idempotent;
        loop {
            match self.look(work) {
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
                    self.note_start(work)?;
                    self.start(work)?;
                }
                Ok(Run::Ended(0)) => {
                    ledger::update(&work.host.root, &work.host.disk, |ledger| {
                        ledger.migrations.insert(self.id.to_owned());
                    })
                    .map_err(|error| StepError::Failed(error.to_string()))?;
                    self.clean(work)?;
                    return Ok("ran".to_owned());
                }
                Ok(Run::Ended(code)) => {
                    // Its outcome is known: it failed, and another transaction may try again.
                    let log = self.log();
                    self.clean(work)?;
                    return fail(format!("migration exited with {code}; its log ends: {log}"));
                }
                Ok(Run::Missing) => {
                    return Err(StepError::Operator(format!(
                        "migration {} was removed by something else while it ran: {}",
                        self.name(),
                        self.what_to_do(work)
                    )));
                }
                Ok(Run::Created | Run::Running) => {}
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
            return Ok(Probed::Happened("ran".to_owned()));
        }
        // Doing it again only waits for what is there.
        Ok(Probed::DoIt)
    }
}

impl Migrate<'_> {
    fn name(&self) -> String {
        format!("holdfast-migrate-{}", digest::of(self.id.as_bytes()).short())
    }

    fn note_path(&self, work: &Work<'_>) -> PathBuf {
        work.host.root.path().join("migrations").join(digest::of(self.id.as_bytes()).short())
    }

    fn is_recorded(&self, work: &Work<'_>) -> Result<bool, StepError> {
        let ledger = ledger::load(&work.host.root).map_err(|error| StepError::Failed(error.to_string()))?;
        Ok(ledger.is_some_and(|ledger| ledger.migrations.contains(self.id)))
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

    fn note_start(&self, work: &Work<'_>) -> Result<(), StepError> {
        let path = self.note_path(work);
        let started = Started { id: self.id.to_owned(), transaction: work.spec.id.to_string(), boot: boot_id(work) };
        let text = serde_json::to_vec(&started).expect("BUG: plain data always encodes");
        paths::create_private(path.parent().unwrap_or(&path))
            .and_then(|()| paths::sync_folder(work.host.root.path()))
            .and_then(|()| work.host.disk.replace(&path, &text, Access { mode: 0o600, owner: None }))
            .map_err(|error| StepError::Failed(format!("{}: {error}", path.display())))
    }

    fn start(&self, work: &Work<'_>) -> Result<(), StepError> {
        let name = self.name();
        match self.runner {
            MigrationRunner::Service { project, file, service } => {
                // Its own restart policy would run it again when it ends: the second file says no. JSON is YAML, and quotes safely.
                let once = serde_json::json!({ "services": { service: { "restart": "no" } } }).to_string();
                let label = format!("dev.holdfast.migration={}", self.id);
                let mut args: Vec<&str> = vec!["compose", "--progress", "plain", "-p", project, "-f", file, "-f", "-"];
                args.extend(["run", "-d", "-T", "--no-deps", "--name", &name, "-l", &label, "--", service]);
                args.extend(self.argv.iter().map(String::as_str));
                let folder = std::path::Path::new(file).parent().unwrap_or(std::path::Path::new("/"));
                work.call(&Call::new("docker", args).stdin(once).directory(folder)).map(drop)
            }
            MigrationRunner::Host { directory, user } => {
                let mut args = vec![format!("--unit={name}"), "--remain-after-exit".to_owned(), "--quiet".to_owned()];
                args.push(format!("--description=Holdfast migration {}", self.id));
                args.push(format!("--working-directory={}", if directory.is_empty() { "/" } else { directory }));
                if !user.is_empty() {
                    args.push(format!("--uid={user}"));
                }
                args.push("--".to_owned());
                args.extend(self.argv.iter().cloned());
                work.call(&Call::new("systemd-run", args)).map(drop)
            }
        }
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

    fn log(&self) -> String {
        match self.runner {
            MigrationRunner::Service { .. } => compose::log_tail(&self.name()),
            MigrationRunner::Host { .. } => unit::log_tail(&format!("{}.service", self.name())),
        }
    }

    /// Removes what ran it. The note goes last: as long as it is there, a missing run is unknown.
    fn clean(&self, work: &Work<'_>) -> Result<(), StepError> {
        self.remove(work)?;
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

/// # Source
/// Docker says 255 of a container that it finds dead when it starts after a crash, and 128 plus the signal's number of one that was
/// killed: neither is the program's own word.
fn container_run(text: &str) -> Result<Run, StepError> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next().and_then(|code| code.parse().ok())) {
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
        Migrate { id: "prod/shop/web/abc", runner, argv, idempotent }
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
        careful.note_start(&bench.work()).unwrap();
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
        assert!(matches!(container_run("exited 255").unwrap(), Run::Cut(_)));
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
