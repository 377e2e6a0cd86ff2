//! One place of a component (its only one, or one slot) compared with what is live.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{ComponentRecord, ContainerLive, FileRecord, LiveReport, Observed, SlotRecord, UnitLive};

use super::because::{explain_file, provenance, showable};
use super::component::Subject;
use super::files::{self, FileFacts};
use super::host::HostContext;
use super::observe::{file_digest, places};
use super::prune::recorded;
use super::rule::{Finding, Verdict, Weight};
use super::services::{self, ServiceFacts};
use super::units::{self, UnitFacts};
use super::{PlanAction, Reason, ResourceKey};
use crate::desired::{Artifacts, DesiredFile, DesiredProject};
use crate::diag::Origin;
use crate::render::Provenance;

/// What the ledger has about one place. Empty when it has nothing.
#[derive(Default, Clone, Copy)]
pub(super) struct PlaceRecord<'a> {
    pub(super) files: Option<&'a BTreeMap<String, FileRecord>>,
    pub(super) units: Option<&'a BTreeMap<String, bool>>,
    pub(super) project: Option<&'a str>,
}

impl<'a> PlaceRecord<'a> {
    pub(super) fn of_component(record: Option<&'a ComponentRecord>) -> Self {
        record.map_or_else(Self::default, |record| Self {
            files: Some(&record.files),
            units: Some(&record.units),
            project: record.project.as_deref(),
        })
    }

    pub(super) fn of_slot(record: Option<&'a SlotRecord>) -> Self {
        record.map_or_else(Self::default, |slot| Self {
            files: Some(&slot.files),
            units: Some(&slot.units),
            project: slot.project.as_deref(),
        })
    }

    fn file(&self, path: &str) -> Option<&'a FileRecord> {
        self.files?.get(path)
    }
}

/// A thing that is not as it should be.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) key: ResourceKey,
    pub(super) finding: Finding,
    pub(super) rule: &'static str,
    pub(super) diff: String,
    pub(super) because: Vec<Provenance>,
    pub(super) origin: Origin,
}

/// Something that stands in the way: a blocker's word and its message.
pub(super) type Problem = (&'static str, String);

/// One place as it is, held against what it should be.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// In the order of work: files, units, services, orphans.
    pub(super) found: Vec<Found>,
    pub(super) unchanged: u32,
    pub(super) problems: Vec<Problem>,
    /// What the problems are about: nothing may happen to these things.
    pub(super) blocked: BTreeSet<ResourceKey>,
}

impl Comparison {
    /// Returns what was found about a thing.
    pub(super) fn of(&self, key: &ResourceKey) -> Option<&Found> {
        self.found.iter().find(|found| found.key == *key)
    }

    /// Returns whether anything could not be looked at. Then nothing is said about the component: what one thing needs can
    /// depend on what another one is.
    pub(super) fn is_unsure(&self) -> bool {
        self.problems.iter().any(|(code, _)| *code == "unknown")
    }

    /// Returns whether what runs is not what should run.
    pub(super) fn changes_content(&self) -> bool {
        self.found.iter().any(|found| found.finding.weight == Weight::Content)
    }

    /// Notes what the rules say about a thing; `shown` gives its diff and values, and is asked only when it changes.
    fn add(
        &mut self,
        context: &HostContext<'_>,
        key: ResourceKey,
        (rule, verdict): (&'static str, Verdict),
        origin: &Origin,
        shown: impl FnOnce() -> (String, Vec<Provenance>),
    ) {
        let ignored = || context.ignore.matches(&key);
        match verdict {
            Verdict::InSync => self.unchanged += 1,
            Verdict::Change(ref finding) if finding.action != PlanAction::Create && ignored() => self.unchanged += 1,
            Verdict::Blocked { .. } if ignored() => self.unchanged += 1,
            Verdict::Change(finding) => {
                let (diff, because) = shown();
                self.found.push(Found { key, finding, rule, diff, because, origin: origin.clone() });
            }
            Verdict::Blocked { code, message } => {
                self.blocked.insert(key);
                self.problems.push((code, message));
            }
        }
    }
}

/// Returns how a place differs from what it should be.
pub(super) fn compare(subject: Subject<'_>, artifacts: &Artifacts, record: PlaceRecord<'_>) -> Comparison {
    let Subject { context, component, .. } = subject;
    let mut result = Comparison::default();
    for (path, file) in &artifacts.files {
        let live = see(&context.report.files, path);
        let written = record.file(path);
        let facts = FileFacts {
            path,
            desired: file,
            digest: file_digest(file),
            live: live.clone(),
            record: written,
            adopt: context.options.adopt,
        };
        result.add(context, ResourceKey::File(path.clone()), files::judge(&facts), &file.origin, || {
            let old = if live == Observed::Absent { Some("") } else { showable(&live, written) };
            explain_file(old, file)
        });
    }
    for (name, unit) in &artifacts.units {
        let own = own_file(artifacts, name);
        let facts = UnitFacts {
            name,
            desired: unit,
            live: see(&context.report.units, name),
            record: record.units.and_then(|units| units.get(name)).copied(),
            own_file_absent: own.is_some_and(|(path, _)| see(&context.report.files, path) == Observed::Absent),
            drop_ins: foreign_drop_ins(context, name),
        };
        result.add(context, ResourceKey::Unit(name.clone()), units::judge(&facts), &component.origin, || {
            (String::new(), own.map_or_else(Vec::new, |(_, file)| provenance(&file.content, None)))
        });
    }
    if let Some(project) = &artifacts.project {
        compare_project(subject, artifacts, project, record, &mut result);
    }
    result
}

fn compare_project(
    subject: Subject<'_>,
    artifacts: &Artifacts,
    project: &DesiredProject,
    record: PlaceRecord<'_>,
    result: &mut Comparison,
) {
    let Subject { context, component, app, .. } = subject;
    let recorded = record.project == Some(project.name.as_str());
    let desired_changed = files_changed(artifacts, record);
    let file: Option<&DesiredFile> = artifacts.files.get(&project.file);
    for (name, service) in &project.services {
        let facts = ServiceFacts {
            project: &project.name,
            desired: service,
            live: containers(context.report, &project.name, name),
            image: see(&context.report.images, &service.image).map_str(),
            archived: app.held(&service.image).map(|held| held.ids),
            recorded,
            desired_changed,
        };
        let key = ResourceKey::Service { project: project.name.clone(), service: name.clone() };
        result.add(context, key, services::judge(&facts), &component.origin, || {
            (String::new(), file.map_or_else(Vec::new, |file| provenance(&file.content, None)))
        });
    }
    // Containers of a service the compose file no longer has. Only those that carry our label are ours.
    if let (true, Some(Ok(live))) = (recorded, context.report.projects.get(&project.name).map(observed)) {
        let mut orphans: Vec<&str> = live
            .containers
            .iter()
            .filter(|container| !container.digest.is_empty() && !project.services.contains_key(&container.service))
            .map(|container| container.service.as_str())
            .collect();
        orphans.sort_unstable();
        orphans.dedup();
        for service in orphans {
            let key = ResourceKey::Service { project: project.name.clone(), service: service.to_owned() };
            let finding = Finding {
                action: PlanAction::Prune,
                reason: Reason::NotInDesired,
                weight: Weight::InPlace,
                note: String::new(),
            };
            let verdict = ("service-not-in-git", Verdict::Change(finding));
            result.add(context, key, verdict, &Origin::default(), Default::default);
        }
    }
}

fn observed<T>(value: &Observed<T>) -> Result<&T, ()> {
    value.seen().ok_or(())
}

/// Returns whether git says something else about any file than what we applied last.
pub(super) fn files_changed(artifacts: &Artifacts, record: PlaceRecord<'_>) -> bool {
    let removed = record.files.is_some_and(|files| files.keys().any(|path| !artifacts.files.contains_key(path)));
    let changed = |(path, file): (&String, &DesiredFile)| {
        record.file(path).is_none_or(|record| record.sealed != file.content.sealed())
    };
    removed || artifacts.files.iter().any(changed)
}

/// Returns the drop-ins of a unit that neither git nor a ledger has, and that are not to be left alone.
fn foreign_drop_ins<'a>(context: &HostContext<'a>, unit: &str) -> Vec<&'a str> {
    let live = context.report.units.get(unit).and_then(Observed::seen);
    let foreign = |path: &&'a str| {
        let key = ResourceKey::File((*path).to_owned());
        let wanted = context.desired.apps.values().flat_map(|app| &app.components).flat_map(|c| places(&c.body));
        let mut wanted = wanted.map(|artifacts| &artifacts.files);
        let components = context.ledger.apps.values().flat_map(|app| app.components.values());
        let mut records = components.flat_map(|component| recorded(component, None));
        !context.ignore.matches(&key)
            && !wanted.any(|files| files.contains_key(*path))
            && !records.any(|(_, known)| known == key)
    };
    live.into_iter().flat_map(|live| live.drop_ins.iter().map(String::as_str)).filter(foreign).collect()
}

/// Returns the file of these artifacts that holds a unit.
fn own_file<'a>(artifacts: &'a Artifacts, unit: &str) -> Option<(&'a String, &'a DesiredFile)> {
    artifacts.files.iter().find(|(path, _)| path.rsplit('/').next() == Some(unit))
}

/// Returns a thing from a report. One the host did not mention is unknown.
pub(super) fn see<'a, T>(map: &'a BTreeMap<String, Observed<T>>, key: &str) -> Observed<&'a T> {
    match map.get(key) {
        Some(Observed::Seen(value)) => Observed::Seen(value),
        Some(Observed::Absent) => Observed::Absent,
        Some(Observed::Unknown(why)) => Observed::Unknown(why.clone()),
        None => Observed::Unknown("the host's answer does not mention it".to_owned()),
    }
}

/// Returns the containers of a service, sorted by name and id.
pub(super) fn containers<'a>(report: &'a LiveReport, project: &str, service: &str) -> Observed<Vec<&'a ContainerLive>> {
    match see(&report.projects, project) {
        Observed::Seen(live) => {
            let mut found: Vec<_> = live.containers.iter().filter(|container| container.service == service).collect();
            found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
            Observed::Seen(found)
        }
        Observed::Absent => Observed::Absent,
        Observed::Unknown(why) => Observed::Unknown(why),
    }
}

/// Returns whether anything of a place runs.
pub(super) fn runs(report: &LiveReport, artifacts: &Artifacts) -> bool {
    let unit_runs = |unit: &UnitLive| !matches!(unit.active.as_str(), "inactive" | "failed");
    let project = artifacts.project.as_ref().and_then(|project| report.projects.get(&project.name));
    artifacts.units.keys().filter_map(|name| report.units.get(name)?.seen()).any(unit_runs)
        || project
            .and_then(Observed::seen)
            .is_some_and(|live| live.containers.iter().any(|container| container.state == "running"))
}

trait MapStr<'a> {
    fn map_str(self) -> Observed<&'a str>;
}

impl<'a> MapStr<'a> for Observed<&'a String> {
    fn map_str(self) -> Observed<&'a str> {
        match self {
            Observed::Seen(text) => Observed::Seen(text),
            Observed::Absent => Observed::Absent,
            Observed::Unknown(why) => Observed::Unknown(why),
        }
    }
}
