//! Built frontends as written to the model.

use std::collections::BTreeMap;

use holdfast_protocol::Digest;
use serde::{Deserialize, Serialize};

use super::claims::{Claims, Resource};
use super::decode::NamedEntry;
use super::findings::Findings;
use super::model::ArchiveSpec;
use super::place::At;
use super::prerequisites::is_the_systems;
use super::raw;
use crate::diag::Origin;
use crate::id::{ComponentName, HostName};

/// A built frontend in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticSource {
    /// The archive's path below the manager's folder of archives.
    pub archive: String,
    /// Of the archive.
    pub sha256: Digest,
    /// Where the link is that leads to it.
    pub path: String,
    /// Where the archive is named.
    pub origin: Origin,
}

/// Returns the frontend of a component.
pub(super) fn source(
    at: &At<raw::Static>,
    component: &raw::Component,
    (who, hosts): (&str, &[HostName]),
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<StaticSource> {
    let raw::Static { archive, sha256, path, .. } = &at.value;
    let place = &path.value.0;
    if is_the_systems(place) {
        let message = format!("`{place}` is a folder of the system's or Holdfast's own");
        findings.error_at("bad-static", path, message, "name one such as `/var/www/shop` or `/srv/shop/public`");
        return None;
    }
    let inside = |other: &str| other.strip_prefix(place.as_str()).is_some_and(|rest| rest.starts_with('/'));
    for file in component.files.iter().flatten().filter(|file| inside(&file.path.value.0)) {
        let message = format!("`{}` is inside the release that `{place}` leads to", file.path.value.0);
        findings.error_at("bad-static", &file.path, message, "put it into the archive, or beside that path");
    }
    // Nothing else may be made there.
    claims.claim(Resource::Folder, place.clone(), who, path, hosts);
    Some(StaticSource {
        archive: archive.value.0.clone(),
        sha256: sha256.0.parse().ok()?,
        path: place.clone(),
        origin: archive.origin(),
    })
}

/// Finds archives that an app names twice: a host has one copy of each, and removes it when it has done its work.
pub(super) fn once(
    components: &[NamedEntry<ComponentName, raw::Component>],
    archives: &[ArchiveSpec],
    findings: &mut Findings<'_>,
) {
    let mut seen: BTreeMap<String, String> =
        archives.iter().map(|archive| (archive.sha256.to_string(), "`archives`".to_owned())).collect();
    for entry in components {
        let Some(at) = entry.value.as_ref().and_then(|component| component.r#static.as_ref()) else { continue };
        let raw::Static { archive, sha256, .. } = &at.value;
        let here = format!("`{}`", entry.name.value);
        if let Some(other) = seen.insert(sha256.0.clone(), here) {
            let message = format!("the archive `{}` is the same as that of {other}", archive.value.0);
            findings.error_at(
                "bad-static",
                archive,
                message,
                "serve one archive from one path: nginx can have several sites on it",
            );
        }
    }
}
