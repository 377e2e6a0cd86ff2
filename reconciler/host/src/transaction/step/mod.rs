//! What each [`Action`] does, how it is asked whether it happened, and how it is undone.
//!
//! One file for one family. Every family is an [`Act`]; this file only says which.

use std::time::{Duration, Instant};

use holdfast_protocol::{Action, TransactionId, TransactionKind, TransactionSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::host::Host;
use crate::exec::{Call, ExecError};

mod backup;
mod certificate;
mod compose;
mod databases;
mod drain;
mod exposition;
mod file;
mod grpc;
mod health;
mod http;
mod images;
mod judge;
mod metrics;
mod migrate;
mod nginx;
mod preflight;
mod prove;
mod provide;
mod record;
mod smoke;
mod sockets;
mod sql;
mod statics;
mod switch;
mod unit;
mod watch;

/// Why a step did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It failed: go back.
    #[error("{0}")]
    Failed(String),
    /// No automatic way is safe: go back where that is harmless, and call an operator.
    #[error("{0}")]
    Operator(String),
    /// It was stopped because the transaction turns.
    #[error("stopped on the way back")]
    Stopped,
}

impl From<ExecError> for StepError {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Stopped(_) => Self::Stopped,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Returns a failure with this text.
pub(super) fn fail<T>(text: impl Into<String>) -> Result<T, StepError> {
    Err(StepError::Failed(text.into()))
}

/// The answer to whether a step happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It did; a note for people.
    Happened(String),
    /// It did not, or doing it again is harmless.
    DoIt,
}

/// What a step has at hand.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// The host.
    pub host: &'a Host,
    /// The transaction.
    pub spec: &'a TransactionSpec,
    /// The step's component.
    pub component: &'a str,
    /// When the step has failed.
    pub deadline: Instant,
    /// Says that the step is no longer wanted.
    pub stop: &'a dyn Fn() -> bool,
    /// Tells people how it goes.
    pub tell: &'a dyn Fn(&str),
}

/// The most that a container or unit gets to stop in, also one that asks to be waited for without end.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a waiting step looks again.
const LOOK: Duration = Duration::from_millis(20);

impl Work<'_> {
    /// Returns the time left; at least a moment, so that a call at the deadline fails by itself.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    /// Returns the same work with more time, for what takes as long as somebody else says.
    pub(super) fn with_more(&self, time: Duration) -> Self {
        Self { deadline: self.deadline + time.min(LONGEST), ..*self }
    }

    /// Runs a program within the time left and wants exit code 0.
    pub(super) fn run(&self, program: &str, args: &[&str]) -> Result<String, StepError> {
        self.call(&Call::new(program, args.iter().copied()))
    }

    /// Runs a prepared call within the time left and wants exit code 0.
    pub(super) fn call(&self, call: &Call) -> Result<String, StepError> {
        Ok(call.clone().deadline(self.left()).run_unless(self.stop)?.text())
    }

    /// Runs a program within the time left; any exit code is an answer.
    pub(super) fn ask(&self, program: &str, args: &[&str]) -> Result<crate::exec::Output, StepError> {
        Ok(Call::new(program, args.iter().copied()).deadline(self.left()).output_unless(self.stop)?)
    }

    /// Waits a while; fails when the step is stopped or its deadline passes, `what` saying what was waited for.
    pub(super) fn pause(&self, time: Duration, what: &str) -> Result<(), StepError> {
        let until = Instant::now() + time;
        loop {
            if (self.stop)() {
                return Err(StepError::Stopped);
            }
            let now = Instant::now();
            if now >= self.deadline {
                return fail(format!("not within its deadline: {what}"));
            }
            if now >= until {
                return Ok(());
            }
            std::thread::sleep(LOOK.min(until - now));
        }
    }
}

/// Reloads nginx, or starts it, outside of any transaction, and waits until a new worker generation serves alone.
///
/// # Errors
/// Why the old one serves on.
pub(crate) fn reload_nginx(host: &Host, within: Duration) -> Result<String, String> {
    let spec = TransactionSpec {
        id: TransactionId::try_from("reload".to_owned())?,
        fence: 0,
        app: String::new(),
        release: String::new(),
        commit: String::new(),
        kind: TransactionKind::Apply,
        prepare: Vec::new(),
        ready_deadline_ms: 0,
        promote: Vec::new(),
        watch: Vec::new(),
        settled_gate: false,
        settled_deadline_ms: 0,
        settle: Vec::new(),
        one_way: Vec::new(),
        confirm_within_ms: None,
    };
    let work =
        Work { host, spec: &spec, component: "", deadline: Instant::now() + within, stop: &|| false, tell: &|_| () };
    nginx::reload(&work).map_err(|error| error.to_string())
}

/// Asks nginx on loopback; returns the status and the body.
///
/// # Errors
/// Why there was no answer.
pub(crate) fn ask_nginx(port: u16, path: &str, host: &str, within: Duration) -> Result<(u16, Vec<u8>), String> {
    http::get(port, path, host, within).map(|answer| (answer.status, answer.body))
}

/// One kind of step.
trait Act {
    /// Returns what undo will need, before anything is done.
    fn capture(&self, _work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        Ok(Vec::new())
    }

    /// Does it. Doing it again after a crash in its middle must be harmless, unless [`Act::probe`] prevents it.
    fn apply(&self, work: &Work<'_>, before: &[u8]) -> Result<String, StepError>;

    /// Asks whether it happened.
    fn probe(&self, _work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        Ok(Probed::DoIt)
    }

    /// Undoes it, also when it happened only in part or not at all. Doing it again must be harmless.
    fn undo(&self, _work: &Work<'_>, _before: &[u8]) -> Result<(), StepError> {
        Ok(())
    }
}

fn act(action: &Action) -> Box<dyn Act + '_> {
    match action {
        Action::Preflight { ports_free, disk_free, nginx, docker } => {
            Box::new(preflight::Preflight { ports_free, disk_free: *disk_free, nginx: *nginx, docker: *docker })
        }
        Action::Group { name } => Box::new(provide::Group(name)),
        Action::Account { name, spec } => Box::new(provide::Account { name, spec }),
        Action::Folder { path, spec } => Box::new(provide::Folder { path, spec }),
        Action::Images { images, archives } => Box::new(images::Images { images, archives }),
        Action::ComposeUp { project, file, services } => Box::new(compose::Up { project, file, services }),
        Action::ComposeStart { project } => Box::new(compose::Start { project }),
        Action::ComposeStop { project, grace_ms } => Box::new(compose::Stop { project, grace_ms: *grace_ms }),
        Action::ComposeDown { project, grace_ms } => Box::new(compose::Down { project, grace_ms: *grace_ms }),
        Action::Health(check) => Box::new(health::Health(check)),
        Action::Migrate { id, runner, argv, idempotent, revision, downgrade, reversible } => {
            let way = migrate::Way::Up { downgrade, reversible: *reversible };
            Box::new(migrate::Migrate { id, runner, argv, idempotent: *idempotent, revision, way })
        }
        // To a revision by its name: doing it again changes nothing.
        Action::Downgrade { of, runner, argv, revision } => {
            let way = migrate::Way::Down;
            Box::new(migrate::Migrate { id: of, runner, argv, idempotent: true, revision, way })
        }
        Action::Sql(run) => Box::new(sql::Sql(run)),
        Action::Backup(spec) => Box::new(backup::Backup(spec)),
        Action::Prove(question) => Box::new(prove::Prove(question)),
        Action::Certificate(spec) => Box::new(certificate::Begin(spec)),
        Action::Smoke(requests) => Box::new(smoke::Smoke(requests)),
        Action::Watch(window) => Box::new(watch::Watch(window)),
        Action::NginxTest { put, remove } => Box::new(nginx::Test { put, remove }),
        Action::NginxReload => Box::new(nginx::Reload),
        Action::PutFile(put) => Box::new(file::Put(put)),
        Action::RemoveFile { path } => Box::new(file::Remove { path }),
        Action::DaemonReload => Box::new(unit::DaemonReload),
        Action::EnableUnits { units } => Box::new(unit::Enable { units }),
        Action::Unit { unit, enabled, active } => Box::new(unit::Bring { unit, enabled: *enabled, active: *active }),
        Action::Switch { listen, from, to, method } => {
            Box::new(switch::Switch { listen, from: *from, to: *to, method: *method })
        }
        Action::RemoveImages { images } => Box::new(images::Remove(images)),
        Action::RemoveSwitch { listen } => Box::new(switch::Remove { listen }),
        Action::Drain { ports, timeout_ms } => Box::new(drain::Drain { ports, timeout_ms: *timeout_ms }),
        Action::Databases { declaration } => Box::new(databases::Converge(declaration)),
        Action::Seed { declaration } => Box::new(databases::Seed(declaration)),
        Action::StaticUnpack(record) => Box::new(statics::Unpack(record)),
        Action::StaticSwitch { path, release, adopt } => Box::new(statics::Switch { path, release, adopt: *adopt }),
        Action::StaticPrune { path, keep, link } => Box::new(statics::Prune { path, keep, link: *link }),
        Action::OnUndo(inner) => Box::new(OnUndo(inner)),
        Action::Record(record) => Box::new(record::Record(record.as_deref())),
    }
}

/// Returns what undo will need, before the step is done.
///
/// # Errors
/// [`StepError`]; nothing was changed.
pub fn capture(work: &Work<'_>, action: &Action) -> Result<Vec<u8>, StepError> {
    act(action).capture(work)
}

/// Does a step; returns a note for people.
///
/// # Errors
/// [`StepError`]; it may have happened in part.
pub fn apply(work: &Work<'_>, action: &Action, before: &[u8]) -> Result<String, StepError> {
    act(action).apply(work, before)
}

/// Asks whether a step happened.
///
/// # Errors
/// [`StepError`] when that cannot be told.
pub fn probe(work: &Work<'_>, action: &Action, before: &[u8]) -> Result<Probed, StepError> {
    act(action).probe(work, before)
}

/// Undoes a step.
///
/// # Errors
/// [`StepError`]; it may be tried again.
pub fn undo(work: &Work<'_>, action: &Action, before: &[u8]) -> Result<(), StepError> {
    act(action).undo(work, before)
}

/// Does its inner action on the way back, and nothing forward.
struct OnUndo<'a>(&'a Action);

impl Act for OnUndo<'_> {
    fn apply(&self, _work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        Ok(String::new())
    }

    fn undo(&self, work: &Work<'_>, _before: &[u8]) -> Result<(), StepError> {
        let before = capture(work, self.0)?;
        apply(work, self.0, &before).map(drop)
    }
}

/// Encodes a before-state.
fn encode<T: Serialize>(before: &T) -> Vec<u8> {
    postcard::to_stdvec(before).expect("BUG: plain data always encodes")
}

/// Decodes a before-state.
fn decode<T: DeserializeOwned>(before: &[u8]) -> Result<T, StepError> {
    postcard::from_bytes(before).map_err(|error| {
        StepError::Operator(format!("the journal's record of the state before this step cannot be read: {error}"))
    })
}

#[cfg(test)]
pub(crate) mod testing;
