//! Says what is to be looked at.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{AppRecord, Digest, Ledger, ObserveRequest};

/// All that is asked for or named by the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects<'a> {
    /// Files, with the digest the manager expects; what only the ledger names has none, for its content is never wanted.
    pub files: BTreeMap<&'a str, Option<Digest>>,
    /// Units.
    pub units: BTreeSet<&'a str>,
    /// Compose projects.
    pub projects: BTreeSet<String>,
}

impl<'a> Subjects<'a> {
    /// Returns what a request and the ledger name together.
    pub fn of(request: &'a ObserveRequest, ledger: Option<&'a Ledger>) -> Self {
        let mut subjects = Self::default();
        for app in ledger.into_iter().flat_map(|ledger| ledger.apps.values()) {
            subjects.add(app);
            // A rollback puts it back, and must know what is in its place now.
            if let Some(previous) = &app.previous {
                subjects.add(previous);
            }
        }
        for query in &request.files {
            subjects.files.insert(&query.path, query.expected);
        }
        subjects.units.extend(request.units.iter().map(String::as_str));
        subjects.projects.extend(request.projects.iter().cloned());
        subjects
    }

    fn add(&mut self, app: &'a AppRecord) {
        for component in app.components.values() {
            self.files.extend(component.files.keys().map(|path| (path.as_str(), None)));
            self.units.extend(component.units.keys().map(String::as_str));
            self.projects.extend(component.project.clone());
            for slot in component.slots.values() {
                self.files.extend(slot.files.keys().map(|path| (path.as_str(), None)));
                self.units.extend(slot.units.keys().map(String::as_str));
                self.projects.extend(slot.project.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{ComponentRecord, FileQuery, FileRecord, Slot, SlotRecord};

    use super::*;

    fn files(path: &str) -> BTreeMap<String, FileRecord> {
        let record = FileRecord {
            digest: Digest([1; 32]),
            sealed: Digest([2; 32]),
            mode: 0o644,
            owner: "root".to_owned(),
            group: "root".to_owned(),
        };
        BTreeMap::from([(path.to_owned(), record)])
    }

    fn record(mark: &str) -> AppRecord {
        let slot = SlotRecord {
            files: files(&format!("/slot/{mark}")),
            units: BTreeMap::from([(format!("{mark}@blue.service"), true)]),
            project: Some(format!("{mark}-blue")),
            ..SlotRecord::default()
        };
        let component = ComponentRecord {
            files: files(&format!("/{mark}")),
            units: BTreeMap::from([(format!("{mark}.service"), true)]),
            project: Some(mark.to_owned()),
            slots: BTreeMap::from([(Slot::Blue, slot)]),
            ..ComponentRecord::default()
        };
        AppRecord {
            release: String::new(),
            commit: String::new(),
            transaction: String::new(),
            components: BTreeMap::from([("web".to_owned(), component)]),
            previous: None,
        }
    }

    #[test]
    fn everything_the_ledger_names_is_looked_at_without_being_asked_for() {
        let mut app = record("new");
        app.previous = Some(Box::new(record("old")));
        let ledger = Ledger { apps: BTreeMap::from([("prod/nps".to_owned(), app)]), ..Ledger::default() };
        let expected = Some(Digest([3; 32]));
        let request = ObserveRequest {
            files: vec![
                FileQuery { path: "/new".to_owned(), expected },
                FileQuery { path: "/asked".to_owned(), expected },
            ],
            units: vec!["asked.timer".to_owned()],
            projects: vec!["asked".to_owned()],
            images: Vec::new(),
            backups: Vec::new(),
            certificates: BTreeMap::new(),
            ..ObserveRequest::default()
        };
        let subjects = Subjects::of(&request, Some(&ledger));
        let files =
            [("/asked", expected), ("/new", expected), ("/old", None), ("/slot/new", None), ("/slot/old", None)];
        assert_eq!(subjects.files, BTreeMap::from(files));
        let units = ["asked.timer", "new.service", "new@blue.service", "old.service", "old@blue.service"];
        assert_eq!(subjects.units, BTreeSet::from(units));
        assert_eq!(subjects.projects, ["asked", "new", "new-blue", "old", "old-blue"].map(str::to_owned).into());
    }
}
