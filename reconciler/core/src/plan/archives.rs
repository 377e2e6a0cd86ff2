//! What is sent to a host for images that come in archives, and what stands in the way of that.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{LiveReport, Observed};

use super::host::HostContext;
use super::observe::places;
use super::place::Problem;
use super::{Blocker, Change, HostPlan, PlanAction, ResourceKey};
use crate::desired::{ArchiveContent, DesiredApp, DesiredArchive, DesiredState, Held};
use crate::id::AppName;

/// How many times the size of an archive a host needs: as it arrives, unpacked by the engine, and as an image.
const TIMES: u64 = 3;

/// Bytes that are left free beside that.
const LEFT_FREE: u64 = 256 << 20;

/// Returns whether a host has an image of an archive, under its name or another.
///
/// One that could not be looked at counts as missing: the host looks again before anything is sent.
pub(super) fn is_here(report: &LiveReport, reference: &str, held: &Held<'_>) -> bool {
    let seen = |name: &str| report.images.get(name).and_then(Observed::seen);
    seen(reference).is_some_and(|id| held.ids.contains(id)) || held.ids.iter().any(|id| seen(id).is_some())
}

/// Says with the changes of a host which archives are sent for them, and returns what stands in the way.
pub(super) fn archives(context: &HostContext<'_>, plan: &mut HostPlan) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    let mut sent = BTreeMap::new();
    for (name, app) in context.desired.apps.iter().filter(|(_, app)| !app.archives.is_empty()) {
        let mut missing = BTreeSet::new();
        for change in plan.changes.iter_mut().filter(|change| change.app == *name) {
            let Some(image) = image_of(app, change) else { continue };
            match app.held(image) {
                Some(held) if is_here(context.report, image, &held) => {}
                // One archive is sent once, whatever comes out of it.
                Some(held) if sent.insert(held.archive.sha256, held.size).is_some() => {}
                Some(held) => {
                    let note = format!("{image} ({}) is sent from {}", human(held.size), held.archive.file);
                    change.note = if change.note.is_empty() { note } else { format!("{}; {note}", change.note) };
                }
                None if context.report.images.get(image).is_some_and(|live| *live == Observed::Absent) => {
                    missing.insert(image);
                }
                None => {}
            }
        }
        // An archive is needed only where an image is missing: what runs goes on without it.
        if !missing.is_empty() {
            let wrong = app.archives.iter().filter_map(wrong).map(|message| ("bad-archive", message));
            blockers.extend(wrong.map(|problem| context.blocker(Some(name), problem)));
        }
    }
    let size = sent.into_values().fold(0, u64::saturating_add);
    blockers.extend(room(context, size).map(|problem| context.blocker(None, problem)));
    blockers
}

fn wrong(archive: &DesiredArchive) -> Option<String> {
    match &archive.content {
        ArchiveContent::Wrong(why) => Some(why.clone()),
        ArchiveContent::Unread | ArchiveContent::Read { .. } => None,
    }
}

/// Returns the image that a change brings up.
fn image_of<'a>(app: &'a DesiredApp, change: &Change) -> Option<&'a str> {
    let ResourceKey::Service { project, service } = &change.key else { return None };
    if change.action == PlanAction::Prune {
        return None;
    }
    let component = app.components.iter().find(|component| component.name.as_str() == change.component)?;
    let mut projects = places(&component.body).into_iter().filter_map(|artifacts| artifacts.project.as_ref());
    let project = projects.find(|known| known.name == *project)?;
    project.services.get(service).map(|service| service.image.as_str())
}

/// Says that an archive does not fit on a host.
pub(super) fn room(context: &HostContext<'_>, size: u64) -> Option<Problem> {
    let free = context.report.resources.disk_free;
    let wanted = size.saturating_mul(TIMES).saturating_add(LEFT_FREE);
    (size > 0 && free < wanted).then(|| {
        let message = format!(
            "{} has {} free, and {} of archives need {}: as they arrive, unpacked, and as images; make room on it",
            context.name,
            human(free),
            human(size),
            human(wanted)
        );
        ("no-headroom", message)
    })
}

/// Returns the archives that hold none of the images of their app, of the apps that change.
pub(super) fn unused(desired: &DesiredState, changing: &BTreeSet<&AppName>) -> Vec<Blocker> {
    let mut wanted: BTreeMap<&AppName, (&DesiredApp, BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (name, app) in desired.hosts.values().flat_map(|host| &host.apps).filter(|(name, _)| changing.contains(name)) {
        let entry = wanted.entry(name).or_insert_with(|| (app, BTreeSet::new(), BTreeSet::new()));
        for image in app.images() {
            entry.1.insert(image);
            entry.2.extend(app.held(image).map(|held| held.archive.file.as_str()));
        }
    }
    let mut blockers = Vec::new();
    for (name, (app, images, used)) in wanted {
        for archive in app.archives.iter().filter(|archive| !used.contains(archive.file.as_str())) {
            let ArchiveContent::Read { images: held, .. } = &archive.content else { continue };
            let held: Vec<&str> = held.keys().map(String::as_str).collect();
            let images: Vec<&str> = images.iter().copied().collect();
            let message = format!(
                "the archive {} holds no image of {name}: it has {}, and the app's images are {}; save it with their names",
                archive.file,
                list(&held),
                list(&images)
            );
            blockers.push(Blocker { code: "bad-archive".to_owned(), host: None, app: Some(name.clone()), message });
        }
    }
    blockers
}

/// The most names that one message lists.
const MOST_LISTED: usize = 6;

fn list(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() > MOST_LISTED => {
            format!("{} and {} more", names[..MOST_LISTED].join(", "), names.len() - MOST_LISTED)
        }
        names => names.join(", "),
    }
}

/// Returns a number of bytes as people say it: in MB, as `docker images` does.
pub(super) fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..10_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{} GB", bytes.div_ceil(1_000_000_000)),
    }
}
