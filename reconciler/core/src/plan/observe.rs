use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Digest, FileQuery, ObserveRequest, PrerequisiteQuery, Slot};

use crate::desired::{Artifacts, Body, DesiredFile, DesiredHost, DesiredStatic};
use crate::id::digest_of;
use crate::render::Part;

/// Returns everything to look at on a host: both slots of every component, and the images of all services.
///
/// The content of a file with a secret is never asked for.
///
/// # Guarantees
/// Sorted and without repetitions, so that equal desired states ask equal questions.
pub fn observe_request(host: &DesiredHost) -> ObserveRequest {
    let mut files: BTreeMap<&str, Option<Digest>> = BTreeMap::new();
    let mut units = BTreeSet::new();
    let mut projects = BTreeSet::new();
    let mut images = BTreeSet::new();
    let mut backups = BTreeSet::new();
    let mut certificates = BTreeMap::new();
    let mut prerequisites = PrerequisiteQuery::default();
    let mut databases = BTreeSet::new();
    let mut statics = BTreeSet::new();
    for app in host.apps.values() {
        // One that is here under another name need not be sent.
        images.extend(app.images().into_iter().filter_map(|image| app.held(image)).flat_map(|held| held.ids.clone()));
    }
    for component in host.apps.values().flat_map(|app| &app.components) {
        backups.extend(component.backups.keys().cloned());
        certificates.extend(component.certificates.iter().map(|(path, spec)| (path.clone(), spec.clone())));
        statics.extend(component.statics.iter().map(DesiredStatic::query));
        databases.extend(component.databases.iter().cloned());
        let wanted = &component.prerequisites;
        prerequisites.groups.extend(wanted.groups.iter().cloned());
        prerequisites.accounts.extend(wanted.accounts.keys().cloned());
        prerequisites.folders.extend(wanted.folders.keys().cloned());
        prerequisites.packages.extend(component.packages.iter().cloned());
        for artifacts in places(&component.body) {
            for (path, file) in &artifacts.files {
                // A path that any place holds with a secret is asked for without its content.
                let expected = file_digest(file);
                files.entry(path).and_modify(|known| *known = known.and(expected)).or_insert(expected);
            }
            units.extend(artifacts.units.keys().cloned());
            if let Some(project) = &artifacts.project {
                projects.insert(project.name.clone());
                images.extend(project.services.values().map(|service| service.image.clone()));
            }
        }
    }
    ObserveRequest {
        files: files.into_iter().map(|(path, expected)| FileQuery { path: path.to_owned(), expected }).collect(),
        units: units.into_iter().collect(),
        projects: projects.into_iter().collect(),
        images: images.into_iter().collect(),
        backups: backups.into_iter().collect(),
        certificates,
        prerequisites,
        databases: databases.into_iter().collect(),
        statics: statics.into_iter().collect(),
    }
}

/// Returns the digest of a file's bytes on the host, when no secret is in it.
pub fn file_digest(file: &DesiredFile) -> Option<Digest> {
    match file.content.parts.as_slice() {
        // Nearly every file: no copy of the text is needed.
        [Part::Plain(text)] => Some(digest_of(text.as_bytes())),
        _ => file.content.as_text().map(|text| digest_of(text.as_bytes())),
    }
}

/// Returns the artifacts of every place a component can be in.
pub(super) fn places(body: &Body) -> Vec<&Artifacts> {
    match body {
        Body::Single(artifacts) => vec![artifacts],
        Body::Slots { .. } => [Slot::Blue, Slot::Green].map(|slot| body.artifacts(Some(slot))).to_vec(),
    }
}
