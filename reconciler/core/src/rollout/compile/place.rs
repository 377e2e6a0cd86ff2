use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{
    CertificateSpec, ComponentRecord, Digest, FileRecord, HealthCheck, MetricRules, Prove, Slot, SlotRecord, Smoke,
    StaticRecord,
};

use crate::desired::{DesiredApp, DesiredComponent, StaticFound};
use crate::render::Content;

use super::draft::FileKey;
use super::health;

/// A component at one place of one host: in a slot, or in its one place. Made from git or from the ledger, so that going forward
/// and going back are the same work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The release it holds.
    pub(super) release: String,
    /// Files. In a draft, a digest can be a stand-in.
    pub(super) files: BTreeMap<String, FileRecord>,
    /// Those of them that units read again in place of starting anew. Not in the ledger: going back starts units anew.
    pub(super) reloads: BTreeSet<String>,
    /// Units, and whether they start at boot.
    pub(super) units: BTreeMap<String, bool>,
    /// Its compose project.
    pub(super) project: Option<Project>,
    /// Ports by name.
    pub(super) ports: BTreeMap<String, u16>,
    /// How it proves to be healthy.
    pub(super) health: Option<HealthCheck>,
    /// How nginx is asked for it.
    pub(super) prove: Option<Prove>,
    /// What is asked of it after the switch. Not in the ledger: going back must not fail by it.
    pub(super) smoke: Vec<Smoke>,
    /// What it counts itself, and what of that sends it back. Not in the ledger: going back must not fail by it.
    pub(super) metrics: Option<MetricRules>,
    /// Its certificate. Not in the ledger: going back finds it where it is.
    pub(super) certificate: Option<CertificateSpec>,
    /// The static files it serves.
    pub(super) statics: Option<StaticRecord>,
}

/// A compose project at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) services: BTreeMap<String, String>,
    /// Images to be had before.
    pub(super) images: BTreeSet<String>,
}

/// What makes two places the same for whoever uses them; stand-ins do not count.
type Likeness<'a> = (
    BTreeMap<&'a str, (Digest, u32, &'a str, &'a str)>,
    &'a BTreeMap<String, bool>,
    Option<(&'a str, &'a str, &'a BTreeMap<String, String>)>,
    Option<(&'a str, Digest)>,
);

impl Place {
    /// Returns what git wants at a place. Where the ledger has a file with the same sealed content its digest is known; for the
    /// others a stand-in is used and the content is added to `contents`.
    pub(super) fn from_desired(
        app: &DesiredApp,
        component: &DesiredComponent,
        slot: Option<Slot>,
        known: Option<&Self>,
        stale: &BTreeSet<&str>,
        contents: &mut BTreeMap<FileKey, Content>,
    ) -> Self {
        let artifacts = component.body.artifacts(slot);
        let mut files = BTreeMap::new();
        for (path, file) in &artifacts.files {
            let sealed = file.content.sealed();
            let recorded = known.and_then(|place| place.files.get(path)).filter(|record| record.sealed == sealed);
            let digest = match recorded {
                Some(record) if !stale.contains(path.as_str()) => record.digest,
                _ => {
                    let key = FileKey { component: component.name.to_string(), slot, path: path.clone() };
                    let digest = key.stand_in();
                    contents.insert(key, file.content.clone());
                    digest
                }
            };
            let record =
                FileRecord { digest, sealed, mode: file.mode, owner: file.owner.clone(), group: file.group.clone() };
            files.insert(path.clone(), record);
        }
        let units: BTreeMap<_, _> = artifacts.units.iter().map(|(name, unit)| (name.clone(), unit.enabled)).collect();
        let project = artifacts.project.as_ref().map(|project| Project {
            name: project.name.clone(),
            file: project.file.clone(),
            services: project.services.iter().map(|(name, service)| (name.clone(), service.digest.clone())).collect(),
            images: project.services.values().map(|service| service.image.clone()).collect(),
        });
        let ports: BTreeMap<_, _> = component
            .ports
            .iter()
            .map(|(name, ports)| (name.clone(), if slot == Some(Slot::Green) { ports.green } else { ports.blue }))
            .collect();
        Self {
            release: app.release.clone(),
            health: health::check(component.healthcheck.as_ref(), &units, project.as_ref(), &ports),
            prove: component.prove.as_ref().map(|spec| health::prove(spec, &app.release, slot)),
            smoke: component.smoke.clone(),
            metrics: component.watch.as_ref().and_then(|watch| health::metrics(watch, &ports)),
            certificate: component.certificates.values().next().cloned(),
            statics: statics(component, known),
            reloads: artifacts.files.iter().filter(|(_, file)| file.reload).map(|(path, _)| path.clone()).collect(),
            files,
            units,
            project,
            ports,
        }
    }

    /// Returns what the ledger says is in a slot, or in the one place.
    pub(super) fn from_record(record: &ComponentRecord, release: &str, slot: Option<Slot>) -> Option<Self> {
        if let Some(slot) = slot {
            return record.slots.get(&slot).map(Self::from_slot);
        }
        Some(Self {
            release: release.to_owned(),
            files: record.files.clone(),
            reloads: BTreeSet::new(),
            units: record.units.clone(),
            project: project(record.project.as_ref(), &record.compose_file, &record.services, &record.images),
            ports: BTreeMap::new(),
            health: record.health.clone(),
            prove: None,
            smoke: Vec::new(),
            metrics: None,
            certificate: None,
            statics: record.statics.clone(),
        })
    }

    fn from_slot(record: &SlotRecord) -> Self {
        Self {
            release: record.release.clone(),
            files: record.files.clone(),
            reloads: BTreeSet::new(),
            units: record.units.clone(),
            project: project(record.project.as_ref(), &record.compose_file, &record.services, &record.images),
            ports: record.ports.clone(),
            health: record.health.clone(),
            prove: record.prove.clone(),
            smoke: Vec::new(),
            metrics: None,
            certificate: None,
            statics: None,
        }
    }

    /// Returns whether a timer, socket or path unit beside it starts this unit.
    pub(super) fn is_triggered(&self, unit: &str) -> bool {
        is_triggered(unit, &self.units)
    }

    /// Returns it as a slot's record.
    pub(super) fn to_slot(&self) -> SlotRecord {
        SlotRecord {
            release: self.release.clone(),
            files: self.files.clone(),
            units: self.units.clone(),
            project: self.project.as_ref().map(|project| project.name.clone()),
            compose_file: self.project.as_ref().map_or_else(String::new, |project| project.file.clone()),
            services: self.project.as_ref().map_or_else(BTreeMap::new, |project| project.services.clone()),
            images: self.project.as_ref().map_or_else(BTreeSet::new, |project| project.images.clone()),
            ports: self.ports.clone(),
            health: self.health.clone(),
            prove: self.prove.clone(),
            idle_since_ms: None,
        }
    }

    /// Returns whether both hold the same, as far as a user could tell.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.likeness() == other.likeness()
    }

    fn likeness(&self) -> Likeness<'_> {
        let files = self
            .files
            .iter()
            .map(|(path, file)| (path.as_str(), (file.sealed, file.mode, file.owner.as_str(), file.group.as_str())));
        let project =
            self.project.as_ref().map(|project| (project.name.as_str(), project.file.as_str(), &project.services));
        (files.collect(), &self.units, project, self.statics.as_ref().map(release_of))
    }
}

/// Returns whether a timer, socket or path unit among these starts a unit, so that nobody else should.
///
/// # Source
/// systemd.timer(5), systemd.socket(5), systemd.path(5): without `Unit=`, the service of the same name is activated.
pub(super) fn is_triggered(unit: &str, units: &BTreeMap<String, bool>) -> bool {
    unit.strip_suffix(".service").is_some_and(|stem| {
        ["timer", "socket", "path"].iter().any(|kind| units.contains_key(&format!("{stem}.{kind}")))
    })
}

/// Returns what makes two static files the same.
pub(super) fn release_of(held: &StaticRecord) -> (&str, Digest) {
    (&held.path, held.release)
}

/// Returns the static files that git wants. What is known of the release already stays known, also when its archive is gone.
fn statics(component: &DesiredComponent, known: Option<&Place>) -> Option<StaticRecord> {
    let wanted = component.statics.as_ref()?;
    let (size, content) = match &wanted.found {
        StaticFound::Read { size, content } => (*size, *content),
        StaticFound::Unread | StaticFound::Wrong(_) => known
            .and_then(|place| place.statics.as_ref())
            .filter(|held| held.release == wanted.sha256)
            .map(|held| (held.size, held.content))
            .unwrap_or_default(),
    };
    let (path, archive) = (wanted.path.clone(), wanted.archive.clone());
    Some(StaticRecord { path, archive, release: wanted.sha256, size, content })
}

fn project(
    name: Option<&String>,
    file: &str,
    services: &BTreeMap<String, String>,
    images: &BTreeSet<String>,
) -> Option<Project> {
    name.map(|name| Project {
        name: name.clone(),
        file: file.to_owned(),
        services: services.clone(),
        images: images.clone(),
    })
}
