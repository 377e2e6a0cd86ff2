//! Remembers what our containers were made from, so that one made anew by hand is seen.
//!
//! Our label on a container says what it was rendered from, but a copy of our compose file has that label too, whatever else was
//! changed in it. Compose's own digest of a service is on the container as well, and follows every change.
//!
//! # Format
//! JSON in `containers.json`: project → service → compose's digest. What is not in it is not judged.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use holdfast_protocol::{ContainerLive, Observed, ProjectLive};

use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::Root;

/// Compose's digest of each service, by project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made(BTreeMap<String, BTreeMap<String, String>>);

impl Made {
    /// Returns what is remembered; nothing where that cannot be read, for then nothing is judged.
    pub fn read(root: &Root) -> Self {
        let bytes = fs::read(root.containers()).unwrap_or_default();
        Self(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Takes our label from containers that somebody else made.
    pub fn judge(&self, projects: &mut BTreeMap<String, Observed<ProjectLive>>) {
        for (name, project) in projects {
            let (Some(services), Observed::Seen(project)) = (self.0.get(name), project) else { continue };
            for container in &mut project.containers {
                if services.get(&container.service).is_some_and(|made| *made != container.config_hash) {
                    container.digest.clear();
                }
            }
        }
    }
}

/// Remembers the containers of a project as ours; an empty list forgets the project. Durable when this returns.
///
/// # Errors
/// Any I/O error.
pub(crate) fn remember(root: &Root, disk: &Disk, project: &str, containers: &[ContainerLive]) -> io::Result<()> {
    let _lock = Lock::take(&root.containers_lock())?;
    let before = Made::read(root);
    let mut after = before.clone();
    let ours = containers.iter().filter(|container| !container.digest.is_empty() && !container.config_hash.is_empty());
    let services: BTreeMap<String, String> =
        ours.map(|container| (container.service.clone(), container.config_hash.clone())).collect();
    if services.is_empty() {
        after.0.remove(project);
    } else {
        after.0.insert(project.to_owned(), services);
    }
    if after == before {
        return Ok(());
    }
    let text = serde_json::to_vec(&after.0).expect("BUG: plain data always encodes");
    disk.replace(&root.containers(), &text, Access { mode: 0o600, owner: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(service: &str, config_hash: &str) -> ContainerLive {
        ContainerLive {
            service: service.to_owned(),
            name: format!("shop-{service}-1"),
            id: format!("id-{service}"),
            image: String::new(),
            digest: "ours".to_owned(),
            config_hash: config_hash.to_owned(),
            state: "running".to_owned(),
            health: String::new(),
            restarts: 0,
            started_at: String::new(),
        }
    }

    fn digests(made: &Made, containers: &[ContainerLive]) -> Vec<String> {
        let live = ProjectLive { containers: containers.to_vec() };
        let mut projects = BTreeMap::from([("shop".to_owned(), Observed::Seen(live))]);
        made.judge(&mut projects);
        let live = projects["shop"].seen().expect("a project");
        live.containers.iter().map(|container| container.digest.clone()).collect()
    }

    #[test]
    fn a_container_that_somebody_else_made_is_not_ours_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        let made = [container("api", "1"), container("db", "2")];
        assert_eq!(digests(&Made::read(&root), &made), ["ours", "ours"], "nothing is known yet");
        remember(&root, &Disk::new(), "shop", &made).unwrap();
        assert_eq!(digests(&Made::read(&root), &made), ["ours", "ours"]);
        let by_hand = [container("api", "1"), container("db", "3"), container("new", "4")];
        assert_eq!(digests(&Made::read(&root), &by_hand), ["ours", "", "ours"]);
        remember(&root, &Disk::new(), "shop", &[]).unwrap();
        assert_eq!(Made::read(&root), Made::default());
        fs::write(root.containers(), "{").unwrap();
        assert_eq!(digests(&Made::read(&root), &by_hand), ["ours", "ours", "ours"], "damage judges nobody");
    }
}
