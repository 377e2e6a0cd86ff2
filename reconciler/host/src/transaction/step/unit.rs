//! systemd units.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_protocol::ActiveGoal;

use super::{Act, LONGEST, Probed, StepError, Work, decode, encode, fail};
use crate::exec::{Call, shown_tail};
use crate::systemd::{self, UnitDetail};

/// `systemctl daemon-reload`.
pub(super) struct DaemonReload;

/// Brings a unit to a state.
pub(super) struct Bring<'a> {
    pub(super) unit: &'a str,
    pub(super) enabled: Option<bool>,
    pub(super) active: Option<ActiveGoal>,
}

/// Links units as enabled or removes those links; the reload after it is what systemd reads them with.
pub(super) struct Enable<'a> {
    pub(super) units: &'a BTreeMap<String, bool>,
}

/// Returns a unit's state. A unit systemd does not know has `load` `not-found`.
pub(super) fn state(work: &Work<'_>, unit: &str) -> Result<UnitDetail, StepError> {
    match systemd::detail(&work.host.system, unit, work.left()) {
        Ok(detail) => Ok(detail),
        // Another bus, another version: the program that came with systemd knows how to ask.
        Err(_) => show(work, unit),
    }
}

/// # Source
/// systemctl(1), `show`: one `Name=value` line for each property, in no promised order.
fn show(work: &Work<'_>, unit: &str) -> Result<UnitDetail, StepError> {
    let properties =
        "LoadState,ActiveState,SubState,UnitFileState,Type,Result,NRestarts,MainPID,InvocationID,ExecMainStatus";
    let text = work.run("systemctl", &["show", "-p", properties, "--", unit])?;
    Ok(parse(&text))
}

fn parse(text: &str) -> UnitDetail {
    let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let word = |name: &str| fields.get(name).map(|value| value.trim().to_owned()).unwrap_or_default();
    UnitDetail {
        load: word("LoadState"),
        active: word("ActiveState"),
        sub: word("SubState"),
        file_state: word("UnitFileState"),
        kind: word("Type"),
        result: word("Result"),
        restarts: word("NRestarts").parse().unwrap_or(0),
        main_pid: word("MainPID").parse().unwrap_or(0),
        invocation: word("InvocationID"),
        exit_code: word("ExecMainStatus").parse().unwrap_or(0),
    }
}

/// Returns the end of a unit's log, escaped and capped, for an error.
pub(super) fn log_tail(unit: &str) -> String {
    let call = Call::new("journalctl", ["-u", unit, "-n", "15", "--no-pager", "-o", "cat"])
        .deadline(Duration::from_secs(5))
        .keep_tail();
    match call.output() {
        Ok(output) => shown_tail(&output.stdout, 1200),
        Err(error) => error.to_string(),
    }
}

/// A unit that hit its start limit refuses to start until this is forgotten.
fn forget_failure(work: &Work<'_>, unit: &str) -> Result<(), StepError> {
    if systemd::forget_failure(&work.host.system, unit, work.left()).is_err() {
        // Fails for units that are not loaded, which is fine.
        work.ask("systemctl", &["reset-failed", "--", unit])?;
    }
    Ok(())
}

/// Starts a unit with the given verb of systemctl and looks whether it stayed up.
pub(super) fn start(work: &Work<'_>, unit: &str, verb: &str) -> Result<(), StepError> {
    forget_failure(work, unit)?;
    // What does not run has nothing to stop: only the start's own time counts, whatever the unit wants for its end.
    let work = if has_to_stop(&state(work, unit)?) { &patient(work, unit) } else { work };
    match work.run("systemctl", &[verb, "--", unit]) {
        Ok(_) => {}
        Err(StepError::Failed(error)) => return fail(format!("{error}; its log ends: {}", log_tail(unit))),
        Err(other) => return Err(other),
    }
    let now = state(work, unit)?;
    if now.is_active() || now.is_finished_oneshot() || (now.active == "activating" && now.sub != "auto-restart") {
        return Ok(());
    }
    fail(format!(
        "`{unit}` is {} ({}, {}) right after its {verb}; its log ends: {}",
        now.active,
        now.sub,
        now.result,
        log_tail(unit)
    ))
}

/// Returns whether a start or restart has to wait until something of the unit has stopped.
fn has_to_stop(unit: &UnitDetail) -> bool {
    !matches!(unit.active.as_str(), "inactive" | "failed") && !unit.sub.starts_with("auto-restart")
}

/// Returns the work with the time that a unit has to stop in: a restart is a stop first. Where systemd cannot be asked, the step has
/// the time it was given.
fn patient<'a>(work: &Work<'a>, unit: &str) -> Work<'a> {
    let timeout = systemd::stop_timeout(&work.host.system, unit, work.left()).unwrap_or(Some(Duration::ZERO));
    // Once for `ExecStop=`, once for SIGTERM.
    work.with_more(timeout.map_or(LONGEST, |timeout| timeout.saturating_mul(2)))
}

fn stop(work: &Work<'_>, unit: &str) -> Result<(), StepError> {
    let now = state(work, unit)?;
    if now.load == "not-found" && now.active == "inactive" {
        return Ok(());
    }
    let work = &patient(work, unit);
    work.run("systemctl", &["stop", "--", unit])?;
    let now = state(work, unit)?;
    if matches!(now.active.as_str(), "inactive" | "failed") {
        return Ok(());
    }
    fail(format!("`{unit}` is {} ({}) after its stop", now.active, now.sub))
}

fn enable(work: &Work<'_>, unit: &str, wanted: bool) -> Result<(), StepError> {
    enable_all(work, &[unit], wanted, &[])
}

/// Enables or disables what is not yet so, in one go.
fn enable_all(work: &Work<'_>, units: &[&str], wanted: bool, options: &[&str]) -> Result<(), StepError> {
    let mut todo = Vec::new();
    for unit in units {
        let now = state(work, unit)?;
        let nothing_to_disable =
            matches!(now.file_state.as_str(), "static" | "indirect" | "generated" | "alias" | "" | "masked");
        if now.is_enabled() != wanted && (wanted || !nothing_to_disable) {
            todo.push(*unit);
        }
    }
    if todo.is_empty() {
        return Ok(());
    }
    let verb = if wanted { "enable" } else { "disable" };
    work.run("systemctl", &[options, &[verb, "--"], &todo].concat())?;
    todo.into_iter().try_for_each(|unit| is_as_wanted(work, unit, wanted))
}

fn is_as_wanted(work: &Work<'_>, unit: &str, wanted: bool) -> Result<(), StepError> {
    let now = state(work, unit)?;
    if now.is_enabled() == wanted {
        return Ok(());
    }
    fail(format!(
        "`{unit}` is `{}` after systemctl {}: does it have an [Install] section?",
        now.file_state,
        if wanted { "enable" } else { "disable" }
    ))
}

impl Act for DaemonReload {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        work.run("systemctl", &["daemon-reload"]).map(|_| String::new())
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        self.apply(work, before).map(drop)
    }
}

impl Act for Enable<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let mut before = BTreeMap::new();
        for unit in self.units.keys() {
            valid(unit)?;
            before.insert(unit, state(work, unit)?.is_enabled());
        }
        Ok(encode(&before))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        link(work, self.units)?;
        Ok(String::new())
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let before: BTreeMap<String, bool> = decode(before)?;
        link(work, &before)
    }
}

/// # Source
/// systemctl(1), `--no-reload`: the links are made, and systemd is left to read them later.
fn link(work: &Work<'_>, units: &BTreeMap<String, bool>) -> Result<(), StepError> {
    for wanted in [true, false] {
        let names: Vec<&str> =
            units.iter().filter(|(_, enabled)| **enabled == wanted).map(|(unit, _)| unit.as_str()).collect();
        enable_all(work, &names, wanted, &["--no-reload"])?;
    }
    Ok(())
}

fn valid(unit: &str) -> Result<(), StepError> {
    if systemd::valid_unit_name(unit) {
        return Ok(());
    }
    fail(format!("`{}` is no unit name", crate::exec::shown(unit.as_bytes(), 80)))
}

impl Act for Bring<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        valid(self.unit)?;
        state(work, self.unit).map(|state| encode(&state))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        if let Some(wanted) = self.enabled {
            enable(work, self.unit, wanted)?;
        }
        match self.active {
            None => {}
            Some(ActiveGoal::Started) if state(work, self.unit)?.is_active() => {}
            Some(ActiveGoal::Started) => start(work, self.unit, "start")?,
            Some(ActiveGoal::Restarted) => start(work, self.unit, "restart")?,
            Some(ActiveGoal::Reloaded) => start(work, self.unit, "reload-or-restart")?,
            Some(ActiveGoal::Stopped) => stop(work, self.unit)?,
        }
        Ok(String::new())
    }

    fn probe(&self, work: &Work<'_>, before: &[u8]) -> Result<Probed, StepError> {
        let before: UnitDetail = decode(before)?;
        let now = state(work, self.unit)?;
        let enabled = self.enabled.is_none_or(|wanted| now.is_enabled() == wanted);
        let active = match self.active {
            None => true,
            Some(ActiveGoal::Started) => now.is_active(),
            // Another start than the one before this step began.
            Some(ActiveGoal::Restarted) => now.is_active() && now.invocation != before.invocation,
            // Whether it read its configuration cannot be asked; once more is harmless.
            Some(ActiveGoal::Reloaded) => false,
            Some(ActiveGoal::Stopped) => matches!(now.active.as_str(), "inactive" | "failed"),
        };
        Ok(if enabled && active { Probed::Happened(String::new()) } else { Probed::DoIt })
    }

    /// Only what this step changed goes back. A unit that was running and was restarted or reloaded keeps running: its files are
    /// not back yet, and an `OnUndo` before the file steps restarts it once they are.
    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let before: UnitDetail = decode(before)?;
        let now = state(work, self.unit)?;
        if self.active.is_some() {
            if before.is_active() && !now.is_active() {
                start(work, self.unit, "start")?;
            } else if !before.is_active() && !matches!(now.active.as_str(), "inactive") {
                stop(work, self.unit)?;
                forget_failure(work, self.unit)?;
            }
        }
        if self.enabled.is_some() && now.load != "not-found" {
            enable(work, self.unit, before.is_enabled())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_has_to_stop_before_it_starts() {
        let unit = |active: &str, sub: &str| UnitDetail {
            active: active.to_owned(),
            sub: sub.to_owned(),
            ..UnitDetail::default()
        };
        for (active, sub) in [("inactive", "dead"), ("failed", "failed"), ("activating", "auto-restart")] {
            assert!(!has_to_stop(&unit(active, sub)), "{active} ({sub})");
        }
        for (active, sub) in [("active", "running"), ("activating", "start"), ("deactivating", "stop-sigterm")] {
            assert!(has_to_stop(&unit(active, sub)), "{active} ({sub})");
        }
    }

    #[test]
    fn what_systemctl_says() {
        let state = parse(
            "Type=simple\nResult=success\nNRestarts=3\nMainPID=812\nExecMainStatus=0\nInvocationID=aa\nLoadState=loaded\n\
             ActiveState=activating\nSubState=auto-restart\nUnitFileState=enabled\n",
        );
        assert!(!state.is_active());
        assert!(state.is_enabled());
        assert_eq!((state.restarts, state.main_pid), (3, 812));
        assert!(parse("Type=oneshot\nActiveState=inactive\nResult=success\n").is_finished_oneshot());
        assert!(!parse("Type=oneshot\nActiveState=failed\nResult=exit-code\n").is_finished_oneshot());
    }
}
