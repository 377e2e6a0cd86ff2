//! Everything that leaves this program or is journalled goes through here.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use holdfast_protocol::{Digest, Fault, JournalEvent, Ledger, LiveReport, Observed, Reply};

use super::Masks;

impl Masks {
    /// Returns a reply as it may be sent. Journal entries were covered before they were written.
    pub fn reply(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Staged(mut problems) => {
                if !problems.is_empty() {
                    let mask = self.now();
                    for problem in &mut problems {
                        cover(&mask, &mut problem.message);
                    }
                }
                Reply::Staged(problems)
            }
            Reply::Fault(Fault { kind, message }) => Reply::Fault(Fault { kind, message: self.now().cover(message) }),
            Reply::Observed(mut report) => {
                self.report(&mut report);
                Reply::Observed(report)
            }
            Reply::Hello(_)
            | Reply::Missing(_)
            | Reply::Stored
            | Reply::Begun
            | Reply::Entry(_)
            | Reply::Followed
            | Reply::Decided
            | Reply::Restored(_)
            // The content of a backup is what was asked for; it is no text for people.
            | Reply::Backup(_)
            | Reply::Event(_) => reply,
        }
    }

    /// Returns an event as it may be journalled.
    pub fn event(&self, event: JournalEvent) -> JournalEvent {
        let text = |text: String| if text.is_empty() { text } else { self.now().cover(text) };
        match event {
            JournalEvent::Done { phase, step, took_ms, note } => {
                JournalEvent::Done { phase, step, took_ms, note: text(note) }
            }
            JournalEvent::Failed { phase, step, error, operator } => {
                JournalEvent::Failed { phase, step, error: text(error), operator }
            }
            JournalEvent::Progress { text: said } => JournalEvent::Progress { text: text(said) },
            JournalEvent::Ended { outcome, reason } => JournalEvent::Ended { outcome, reason: text(reason) },
            JournalEvent::Entered { .. }
            | JournalEvent::Intent { .. }
            | JournalEvent::UndoIntent { .. }
            | JournalEvent::Undone { .. }
            | JournalEvent::Decided { .. }
            | JournalEvent::Resumed => event,
        }
    }

    fn report(&self, report: &mut LiveReport) {
        // Nearly every report is without any text of a tool.
        let mask = LazyCell::new(|| self.now());
        let LiveReport { files, ledger, .. } = &mut *report;
        let told = LazyCell::new(|| told(ledger));
        for (path, file) in files {
            let Observed::Seen(file) = file else { continue };
            let Some(content) = file.content.take() else { continue };
            // A file that holds a secret, or was written with one by the ledger: what somebody made of it may hold it still.
            let written = told.get(path.as_str());
            if !mask.hides(&file.digest) && written.is_none_or(|written| written.iter().all(|one| !mask.hides(one))) {
                file.content = mask.cover_content(content);
            }
        }
        if let Observed::Seen(nginx) = &mut report.nginx
            && !nginx.error.is_empty()
        {
            cover(&mask, &mut nginx.error);
        }
        for backup in report.backups.values_mut() {
            match backup {
                Observed::Seen(live) => {
                    let said = [&mut live.failed, &mut live.drilled, &mut live.drill_failed];
                    said.into_iter().flatten().for_each(|said| cover(&mask, &mut said.text));
                }
                Observed::Unknown(why) => cover(&mask, why),
                Observed::Absent => {}
            }
        }
        let unknown = [
            report.files.values_mut().filter_map(why).collect::<Vec<_>>(),
            report.units.values_mut().filter_map(why).collect(),
            report.projects.values_mut().filter_map(why).collect(),
            report.images.values_mut().filter_map(why).collect(),
            report.databases.values_mut().filter_map(why).collect(),
            report.statics.values_mut().filter_map(why).collect(),
            [why(&mut report.nginx), why(&mut report.switches), why(&mut report.ledger)]
                .into_iter()
                .flatten()
                .collect(),
        ];
        for text in unknown.into_iter().flatten() {
            cover(&mask, text);
        }
    }
}

fn cover(mask: &super::Mask, text: &mut String) {
    *text = mask.cover(std::mem::take(text));
}

fn why<T>(observed: &mut Observed<T>) -> Option<&mut String> {
    match observed {
        Observed::Unknown(why) => Some(why),
        Observed::Seen(_) | Observed::Absent => None,
    }
}

/// Returns what the ledger says was written last, and before that, by path.
fn told(ledger: &Observed<Ledger>) -> BTreeMap<String, Vec<Digest>> {
    let mut told: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
    for app in ledger.seen().into_iter().flat_map(|ledger| ledger.apps.values()) {
        for component in app.releases().flat_map(|record| record.components.values()) {
            let slots = component.slots.values().flat_map(|slot| &slot.files);
            for (path, file) in component.files.iter().chain(slots) {
                told.entry(path.clone()).or_default().push(file.digest);
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::{
        AppRecord, ComponentRecord, FaultKind, FileLive, FileRecord, Hidden, NginxLive, Outcome, Phase,
        PrerequisitesLive, Resources, Slot, SlotRecord, StageProblem,
    };

    use super::*;
    use crate::paths::Root;

    const VALUE: &str = "Qw7LmZ2pXc4VbN8tRy";

    fn said() -> String {
        format!("invalid port \"{VALUE}\"")
    }

    fn masks(folder: &tempfile::TempDir, blob: u8) -> Masks {
        let masks = Masks::new(Root::new(folder.path()));
        masks.put(&Digest([blob; 32]), &[Hidden(VALUE.as_bytes().to_vec())]).unwrap();
        masks
    }

    fn file(digest: u8) -> Observed<FileLive> {
        Observed::Seen(FileLive {
            digest: Digest([digest; 32]),
            mode: 0o600,
            owner: "root".to_owned(),
            group: "root".to_owned(),
            numbers: (0, 0),
            size: 1,
            regular: true,
            content: Some(said().into_bytes()),
        })
    }

    fn report() -> LiveReport {
        let record = FileRecord {
            digest: Digest([7; 32]),
            sealed: Digest([0; 32]),
            mode: 0o600,
            owner: "root".to_owned(),
            group: "root".to_owned(),
        };
        let component =
            ComponentRecord { files: BTreeMap::from([("/edited".to_owned(), record)]), ..ComponentRecord::default() };
        let app = |component, previous| AppRecord {
            release: "v1".to_owned(),
            commit: "c".to_owned(),
            transaction: "t".to_owned(),
            components: BTreeMap::from([("web".to_owned(), component)]),
            previous,
        };
        let slot = SlotRecord {
            files: BTreeMap::from([("/before".to_owned(), component.files["/edited"].clone())]),
            ..SlotRecord::default()
        };
        let before = ComponentRecord { slots: BTreeMap::from([(Slot::Blue, slot)]), ..ComponentRecord::default() };
        let app = app(component, Some(Box::new(app(before, None))));
        let ledger = Ledger { apps: BTreeMap::from([("prod/a".to_owned(), app)]), ..Ledger::default() };
        LiveReport {
            files: BTreeMap::from([
                ("/as-written".to_owned(), file(7)),
                ("/edited".to_owned(), file(8)),
                ("/before".to_owned(), file(8)),
                ("/other".to_owned(), file(8)),
                ("/unknown".to_owned(), Observed::Unknown(said())),
            ]),
            units: BTreeMap::from([("a.service".to_owned(), Observed::Unknown(said()))]),
            projects: BTreeMap::from([("a".to_owned(), Observed::Unknown(said()))]),
            images: BTreeMap::from([("a".to_owned(), Observed::Unknown(said()))]),
            nginx: Observed::Seen(NginxLive { active: true, error: said() }),
            switches: Observed::Unknown(said()),
            backups: BTreeMap::new(),
            certificates: BTreeMap::new(),
            prerequisites: PrerequisitesLive::default(),
            databases: BTreeMap::new(),
            statics: BTreeMap::new(),
            listening: Vec::new(),
            resources: Resources::default(),
            ledger: Observed::Seen(ledger),
            transactions: Vec::new(),
            fence: 1,
        }
    }

    #[test]
    fn cap_49_no_reply_tells_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let masks = masks(&folder, 9);
        let problem = StageProblem { component: "web".to_owned(), message: said() };
        let mut report = report();
        report.files.remove("/other");
        report.files.values_mut().for_each(|file| {
            if let Observed::Seen(file) = file {
                file.content = None;
            }
        });
        for reply in [
            Reply::Staged(vec![problem]),
            Reply::Fault(Fault { kind: FaultKind::Failed, message: said() }),
            Reply::Observed(Box::new(report)),
        ] {
            let shown = format!("{:?}", masks.reply(reply));
            assert!(!shown.contains(VALUE) && shown.contains("invalid port \\\"‹secret›\\\""), "{shown}");
        }
    }

    #[test]
    fn a_file_that_holds_or_held_a_secret_gives_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let masks = masks(&folder, 7);
        let Reply::Observed(report) = masks.reply(Reply::Observed(Box::new(report()))) else { panic!() };
        let content = |path: &str| report.files[path].seen().unwrap().content.clone();
        assert_eq!([content("/as-written"), content("/edited"), content("/before")], [None, None, None]);
        assert_eq!(content("/other"), Some("invalid port \"‹secret›\"".into()), "pasted into another file");
    }

    #[test]
    fn cap_49_no_event_tells_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let masks = masks(&folder, 7);
        for event in [
            JournalEvent::Done { phase: Phase::Prepare, step: 0, took_ms: 0, note: said() },
            JournalEvent::Failed { phase: Phase::Prepare, step: 0, error: said(), operator: false },
            JournalEvent::Progress { text: said() },
            JournalEvent::Ended { outcome: Outcome::Abandoned, reason: said() },
        ] {
            let shown = format!("{:?}", masks.event(event));
            assert!(!shown.contains(VALUE) && shown.contains("‹secret›"), "{shown}");
        }
    }
}
