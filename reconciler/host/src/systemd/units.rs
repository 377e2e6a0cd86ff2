//! Reads the state of many units.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use holdfast_protocol::{Observed, UnitLive};

use super::bus::{Bus, BusError, Question};
use super::show;
use super::unit_files::{FileAnswer, UnitFiles};
use super::wire::{Body, Message, Reader, Value, WireError};
use crate::paths::System;

pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(super) const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// How long one look at all units may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Asks systemd about units, over a connection that is kept.
#[derive(Debug)]
pub struct Units {
    system: System,
    bus: Option<Bus>,
    files: UnitFiles,
}

/// What `GetUnitFileState` fails with for a unit without a file of its own.
pub(super) const NO_FILE: [&str; 2] =
    ["org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.FileNotFound"];

/// One line of the answer to `ListUnitsByNames`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) load: String,
    pub(super) active: String,
    pub(super) sub: String,
    pub(super) path: String,
}

impl Units {
    /// Returns one that is not connected yet.
    pub fn new(system: System) -> Self {
        let files = UnitFiles::new(&system.etc);
        Self { system, bus: None, files }
    }

    /// Returns the state of each unit. A unit that systemd knows no file of and that does not run is absent.
    pub fn states(&mut self, names: &[&str]) -> BTreeMap<String, Observed<UnitLive>> {
        let mut states = BTreeMap::new();
        let mut asked = Vec::new();
        for name in names {
            if !valid_unit_name(name) {
                states.insert((*name).to_owned(), Observed::Unknown("this is no name of a unit".to_owned()));
            } else if name.contains("@.") {
                states.insert(
                    (*name).to_owned(),
                    Observed::Unknown("a template without an instance has no state".to_owned()),
                );
            } else if !asked.contains(name) {
                asked.push(*name);
            }
        }
        if asked.is_empty() {
            return states;
        }
        self.look_at(&asked, &mut states);
        for (name, state) in &mut states {
            if let Observed::Seen(unit) = state {
                unit.drop_ins = self.files.drop_ins(name);
            }
        }
        states
    }

    fn look_at(&mut self, asked: &[&str], states: &mut BTreeMap<String, Observed<UnitLive>>) {
        match self.on_bus(|bus, files| look(bus, files, asked)) {
            Ok(found) => states.extend(found),
            Err(BusError::Refused { .. }) if asked.len() > 1 => {
                // One unit that systemd cannot load fails the whole list: ask for each alone.
                for &name in asked {
                    let found = self.on_bus(|bus, files| look(bus, files, &[name]));
                    states.extend(found.unwrap_or_else(|error| unknown(&[name], &error.to_string())));
                }
            }
            Err(error @ BusError::Refused { .. }) => states.extend(unknown(asked, &error.to_string())),
            Err(on_bus) => {
                self.files.refresh(asked, u64::MAX, Instant::now());
                match show::states(&self.system, asked, DEADLINE) {
                    Ok(found) => states.extend(found),
                    Err(error) => states.extend(unknown(asked, &format!("{on_bus}; {error}"))),
                }
            }
        }
    }

    /// Returns systemd's version as it reports it, such as `257.9-1~deb13u1`.
    ///
    /// # Errors
    /// When systemd cannot be asked.
    pub fn version(&mut self) -> Result<String, BusError> {
        self.on_bus(|bus, _| {
            let answer = bus.ask(&[Question::manager_property("Version")], DEADLINE)?.remove(0)?;
            match Reader::new(&answer.body).variant()? {
                Value::Text(version) => Ok(version),
                _ => Err(WireError("the version is no text").into()),
            }
        })
    }

    /// Runs a question on the kept connection; one that broke since (systemd executed itself anew) is opened once more.
    fn on_bus<T>(
        &mut self,
        mut ask: impl FnMut(&mut Bus, &mut UnitFiles) -> Result<T, BusError>,
    ) -> Result<T, BusError> {
        if let Some(bus) = &mut self.bus {
            match ask(bus, &mut self.files) {
                Err(BusError::Io(error)) if error.kind() != std::io::ErrorKind::TimedOut => self.bus = None,
                Err(error @ (BusError::Io(_) | BusError::Wire(_))) => {
                    self.bus = None;
                    return Err(error);
                }
                answered => return answered,
            }
        }
        let mut bus = Bus::connect(&self.system, DEADLINE)?;
        let answered = ask(&mut bus, &mut self.files);
        if !matches!(answered, Err(BusError::Io(_) | BusError::Wire(_))) {
            self.bus = Some(bus);
        }
        answered
    }
}

fn look(
    bus: &mut Bus,
    files: &mut UnitFiles,
    names: &[&str],
) -> Result<BTreeMap<String, Observed<UnitLive>>, BusError> {
    let questions = [
        Question::manager("ListUnitsByNames", Body::list(names)),
        Question::manager_property("UnitsLoadTimestampMonotonic"),
    ];
    let mut answers = bus.ask(&questions, DEADLINE)?.into_iter();
    let listed = parse_list(&next(&mut answers)?.body)?;
    if listed.len() != names.len() {
        // Answers come in the order of the names; without one for each they cannot be told apart, for aliases change names.
        return Err(BusError::Refused {
            name: "ListUnitsByNames".to_owned(),
            message: format!("{} answers to {} names", listed.len(), names.len()),
        });
    }
    // A systemd too old to tell gives a time that never comes twice, so that nothing is remembered.
    let now = Instant::now();
    let loaded_at = match next(&mut answers).map(|answer| Reader::new(&answer.body).variant()) {
        Ok(Ok(Value::Large(time))) => time,
        _ => u64::try_from(crate::serve::since_boot().as_nanos()).unwrap_or(u64::MAX),
    };
    files.refresh(names, loaded_at, now);
    let mut questions = Vec::new();
    for (name, unit) in names.iter().zip(&listed).filter(|(_, unit)| !unit.is_absent()) {
        if name.ends_with(".service") {
            questions.push(Question::property(&unit.path, SERVICE, "NRestarts"));
            questions.push(Question::property(&unit.path, SERVICE, "MainPID"));
        }
        if files.get(name).is_none() {
            questions.push(Question::property(&unit.path, UNIT, "NeedDaemonReload"));
            questions.push(Question::manager("GetUnitFileState", Body::texts(&[name])));
        }
    }
    let mut answers = bus.ask(&questions, DEADLINE)?.into_iter();
    let mut states = BTreeMap::new();
    for (name, unit) in names.iter().zip(listed) {
        let state = if unit.is_absent() {
            Observed::Absent
        } else {
            // All answers of a unit are taken before one of them may fail it, so that the next unit gets its own.
            let (restarts, main_pid) = if name.ends_with(".service") {
                (number(next(&mut answers)), number(next(&mut answers)))
            } else {
                (Ok(0), Ok(0))
            };
            let file = if let Some(known) = files.get(name) {
                Ok(known.clone())
            } else {
                let found = file_answer(next(&mut answers), next(&mut answers));
                found.inspect(|found| files.put(name, found.clone()))
            };
            match unit_live(unit, restarts, main_pid, file) {
                Ok(live) => Observed::Seen(live),
                Err(error @ BusError::Refused { .. }) => Observed::Unknown(error.to_string()),
                Err(error) => return Err(error),
            }
        };
        states.insert((*name).to_owned(), state);
    }
    Ok(states)
}

impl Listed {
    /// A unit whose file is gone but that still runs is not absent.
    fn is_absent(&self) -> bool {
        self.load == "not-found" && self.active == "inactive"
    }
}

fn unit_live(
    unit: Listed,
    restarts: Result<u32, BusError>,
    main_pid: Result<u32, BusError>,
    file: Result<FileAnswer, BusError>,
) -> Result<UnitLive, BusError> {
    let file = file?;
    Ok(UnitLive {
        load: unit.load,
        active: unit.active,
        sub: unit.sub,
        enabled: file.enabled,
        restarts: restarts?,
        needs_reload: file.needs_reload,
        drop_ins: Vec::new(),
        main_pid: main_pid?,
    })
}

pub(super) fn next(answers: &mut impl Iterator<Item = Result<Message, BusError>>) -> Result<Message, BusError> {
    answers.next().unwrap_or_else(|| Err(WireError("an answer is missing").into()))
}

fn number(answer: Result<Message, BusError>) -> Result<u32, BusError> {
    match Reader::new(&answer?.body).variant()? {
        Value::Number(number) => Ok(number),
        _ => Err(WireError("a number was asked for").into()),
    }
}

/// A unit without a file of its own, such as a transient one, has no enabled state.
fn file_answer(reload: Result<Message, BusError>, state: Result<Message, BusError>) -> Result<FileAnswer, BusError> {
    let Value::Flag(needs_reload) = Reader::new(&reload?.body).variant()? else {
        return Err(WireError("NeedDaemonReload is no flag").into());
    };
    let enabled = match state {
        Ok(answer) => Reader::new(&answer.body).text()?.to_owned(),
        Err(BusError::Refused { name, .. }) if NO_FILE.contains(&name.as_str()) => String::new(),
        Err(error) => return Err(error),
    };
    Ok(FileAnswer { enabled, needs_reload })
}

/// # Source
/// org.freedesktop.systemd1(5), `ListUnitsByNames`: `a(ssssssouso)`: name, description, load, active, sub, followed unit, path,
/// job number, job kind, job path.
pub(super) fn parse_list(body: &[u8]) -> Result<Vec<Listed>, WireError> {
    let mut units = Vec::new();
    Reader::new(body).structs(|reader| {
        reader.text()?;
        reader.text()?;
        let (load, active, sub) = (reader.text()?.to_owned(), reader.text()?.to_owned(), reader.text()?.to_owned());
        reader.text()?;
        let path = reader.text()?.to_owned();
        reader.number()?;
        reader.text()?;
        reader.text()?;
        units.push(Listed { load, active, sub, path });
        Ok(())
    })?;
    Ok(units)
}

fn unknown(names: &[&str], reason: &str) -> BTreeMap<String, Observed<UnitLive>> {
    names.iter().map(|name| ((*name).to_owned(), Observed::Unknown(reason.to_owned()))).collect()
}

/// Returns whether a text can be the name of a unit, so that one odd name does not fail the question for all others.
///
/// # Source
/// systemd.unit(5): up to 255 characters of letters, digits and `:-_.\\@`, with one of the known suffixes.
pub fn valid_unit_name(name: &str) -> bool {
    const SUFFIXES: [&str; 11] =
        ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let Some((stem, suffix)) = name.rsplit_once('.') else { return false };
    name.len() <= 255
        && !stem.is_empty()
        && !stem.starts_with('@')
        && name.bytes().all(fits)
        && SUFFIXES.contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units() {
        for good in ["-.mount", "nginx.service", "app@blue.service", "dev-disk-by\\x2duuid.device", "a:b_c.timer"] {
            assert!(valid_unit_name(good), "{good}");
        }
        for bad in ["", "nginx", ".service", "a b.service", "a/b.service", "a.exe", "@x.service"] {
            assert!(!valid_unit_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_unit_without_file_that_runs_is_not_absent() {
        let unit = |load: &str, active: &str| Listed {
            load: load.to_owned(),
            active: active.to_owned(),
            sub: String::new(),
            path: String::new(),
        };
        assert!(unit("not-found", "inactive").is_absent());
        assert!(!unit("not-found", "active").is_absent());
        assert!(!unit("not-found", "failed").is_absent());
        assert!(!unit("masked", "inactive").is_absent());
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_unknown_and_need_no_bus() {
        let states = Units::new(System::real()).states(&["a b.service", "app@.service"]);
        assert!(states.values().all(|state| matches!(state, Observed::Unknown(_))), "{states:?}");
        assert_eq!(states.len(), 2);
    }
}
