//! Reads everything a step wants to know of one unit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bus::{Bus, BusError, Question};
use super::units::{NO_FILE, SERVICE, UNIT, next, parse_list};
use super::wire::{Body, Message, Reader, Value, WireError};
use crate::paths::System;

/// A unit as systemd describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitDetail {
    /// Such as `loaded` or `not-found`.
    pub load: String,
    /// Such as `active`.
    pub active: String,
    /// Such as `running`.
    pub sub: String,
    /// Such as `enabled`; empty for a unit without a file.
    pub file_state: String,
    /// `Type=` of a service; empty for other units.
    pub kind: String,
    /// Result of the last run of a service, such as `success`.
    pub result: String,
    /// How often systemd restarted a service by itself.
    pub restarts: u32,
    /// Main process of a service; 0 for none.
    pub main_pid: u32,
    /// Changes with every start; in hexadecimal, empty when it never ran.
    pub invocation: String,
    /// Exit code of a service's main process.
    pub exit_code: i32,
}

impl UnitDetail {
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    pub(crate) fn is_enabled(&self) -> bool {
        matches!(self.file_state.as_str(), "enabled" | "enabled-runtime" | "linked" | "linked-runtime")
    }

    /// A oneshot service that did its work and ended is as good as running.
    pub(crate) fn is_finished_oneshot(&self) -> bool {
        self.kind == "oneshot" && self.active == "inactive" && self.result == "success"
    }
}

/// Returns what systemd knows of a unit, in two round trips. One that systemd does not know has `load` `not-found`.
///
/// # Errors
/// When no bus answers, or systemd refuses: `systemctl show` tells the same.
///
/// # Source
/// org.freedesktop.systemd1(5), "Manager Object", "Unit Objects" and "Service Unit Objects".
pub fn detail(system: &System, unit: &str, timeout: Duration) -> Result<UnitDetail, BusError> {
    let mut bus = Bus::connect(system, timeout)?;
    let questions = [
        Question::manager("ListUnitsByNames", Body::list(&[unit])),
        Question::manager("GetUnitFileState", Body::texts(&[unit])),
    ];
    let mut answers = bus.ask(&questions, timeout)?.into_iter();
    let listed = parse_list(&next(&mut answers)?.body)?.pop().ok_or(WireError("no answer for the unit"))?;
    let file_state = match next(&mut answers) {
        Ok(answer) => Reader::new(&answer.body).text()?.to_owned(),
        Err(BusError::Refused { name, .. }) if NO_FILE.contains(&name.as_str()) => String::new(),
        Err(error) => return Err(error),
    };
    let mut found =
        UnitDetail { load: listed.load, active: listed.active, sub: listed.sub, file_state, ..UnitDetail::default() };
    let mut questions = vec![Question::property(&listed.path, UNIT, "InvocationID")];
    if unit.ends_with(".service") {
        let properties = ["Type", "Result", "NRestarts", "MainPID", "ExecMainStatus"];
        questions.extend(properties.map(|name| Question::property(&listed.path, SERVICE, name)));
    }
    let mut answers = bus.ask(&questions, timeout)?.into_iter();
    if let Value::Bytes(id) = value(next(&mut answers))? {
        found.invocation = id.iter().map(|byte| format!("{byte:02x}")).collect();
    }
    if questions.len() > 1 {
        found.kind = text(next(&mut answers))?;
        found.result = text(next(&mut answers))?;
        found.restarts = number(next(&mut answers))?;
        found.main_pid = number(next(&mut answers))?;
        if let Value::Signed(code) = value(next(&mut answers))? {
            found.exit_code = code;
        }
    }
    Ok(found)
}

/// Returns how long a service may take to stop once its stop began: `ExecStop=` and SIGTERM have this time each. `None` is for ever,
/// and other units take no time worth the name.
///
/// # Errors
/// When no bus answers, or systemd refuses.
///
/// # Source
/// systemd.service(5), `TimeoutStopSec=`; org.freedesktop.systemd1(5), `TimeoutStopUSec`, where all bits set is `infinity`.
pub fn stop_timeout(system: &System, unit: &str, timeout: Duration) -> Result<Option<Duration>, BusError> {
    if !unit.ends_with(".service") {
        return Ok(Some(Duration::ZERO));
    }
    let mut bus = Bus::connect(system, timeout)?;
    let question = [Question::manager("ListUnitsByNames", Body::list(&[unit]))];
    let mut answers = bus.ask(&question, timeout)?.into_iter();
    let listed = parse_list(&next(&mut answers)?.body)?.pop().ok_or(WireError("no answer for the unit"))?;
    let question = [Question::property(&listed.path, SERVICE, "TimeoutStopUSec")];
    let mut answers = bus.ask(&question, timeout)?.into_iter();
    match value(next(&mut answers))? {
        Value::Large(u64::MAX) => Ok(None),
        Value::Large(micros) => Ok(Some(Duration::from_micros(micros))),
        _ => Err(WireError("a large number was asked for").into()),
    }
}

/// Makes systemd forget that a unit failed and how often it was started, so that it may start again. A unit that is not loaded has
/// nothing to forget.
///
/// # Errors
/// When no bus answers.
pub fn forget_failure(system: &System, unit: &str, timeout: Duration) -> Result<(), BusError> {
    let question = Question::manager("ResetFailedUnit", Body::texts(&[unit]));
    // What systemd refuses here is a unit it has not loaded.
    let _ = Bus::connect(system, timeout)?.ask(&[question], timeout)?;
    Ok(())
}

fn value(answer: Result<Message, BusError>) -> Result<Value, BusError> {
    Ok(Reader::new(&answer?.body).variant()?)
}

fn text(answer: Result<Message, BusError>) -> Result<String, BusError> {
    match value(answer)? {
        Value::Text(text) => Ok(text),
        _ => Err(WireError("a text was asked for").into()),
    }
}

fn number(answer: Result<Message, BusError>) -> Result<u32, BusError> {
    match value(answer)? {
        Value::Number(number) => Ok(number),
        _ => Err(WireError("a number was asked for").into()),
    }
}
