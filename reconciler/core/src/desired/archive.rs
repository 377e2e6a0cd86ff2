//! Images that come in an archive in place of a registry.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Digest, Slot};
use serde::{Deserialize, Serialize};

use super::DesiredApp;

/// An archive of `docker save` that git names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredArchive {
    /// Path below the manager's folder of archives.
    pub file: String,
    /// Of the whole file: its identity.
    pub sha256: Digest,
    /// What the management box found in it. No part of what git says, and not stored.
    #[serde(skip)]
    pub content: ArchiveContent,
}

/// What an archive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ArchiveContent {
    /// Nobody looked.
    #[default]
    Unread,
    /// It is the one that git names.
    Read {
        /// Its bytes.
        size: u64,
        /// By reference the ids (`sha256:…`) of which an engine gives the image one: which, depends on the engine's image store.
        images: BTreeMap<String, BTreeSet<String>>,
    },
    /// It cannot be used: why, and what to do.
    Wrong(String),
}

/// An image that an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// The archive.
    pub archive: &'a DesiredArchive,
    /// Its bytes.
    pub size: u64,
    /// The image's ids.
    pub ids: &'a BTreeSet<String>,
}

impl DesiredApp {
    /// Returns the archive that holds an image; `None` when it comes from a registry.
    pub fn held(&self, reference: &str) -> Option<Held<'_>> {
        self.archives.iter().find_map(|archive| {
            let ArchiveContent::Read { size, images } = &archive.content else { return None };
            let ids = images.iter().find(|(tag, _)| plain(tag) == plain(reference))?.1;
            Some(Held { archive, size: *size, ids })
        })
    }

    /// Returns the references of all images of its components.
    pub fn images(&self) -> BTreeSet<&str> {
        let bodies = self.components.iter().map(|component| &component.body);
        let places = bodies.flat_map(|body| [Slot::Blue, Slot::Green].map(|slot| body.artifacts(Some(slot))));
        let projects = places.filter_map(|artifacts| artifacts.project.as_ref());
        projects.flat_map(|project| project.services.values()).map(|service| service.image.as_str()).collect()
    }
}

/// Returns a reference without what Docker leaves out when it writes one.
///
/// # Source
/// Docker's `reference` package, "familiar" names: without `docker.io/` and `library/`; without a tag it is `latest`.
fn plain(reference: &str) -> String {
    let name = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_compared_as_docker_writes_it() {
        for (long, short) in [
            ("docker.io/shop/api:v1", "shop/api:v1"),
            ("docker.io/library/redis:7", "redis:7"),
            ("redis", "redis:latest"),
            ("registry:5000/api", "registry:5000/api:latest"),
        ] {
            assert_eq!(plain(long), plain(short));
        }
        assert_ne!(plain("registry.example/api:v1"), plain("api:v1"));
        assert_ne!(plain("api:v1"), plain("api:v2"));
    }
}
