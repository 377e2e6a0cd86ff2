//! Remembers what our containers were made from, so that one made anew by hand is seen.
//!
//! Our label on a container says what it was rendered from, but a copy of our compose file has that label too, whatever else was
//! changed in it. Compose's own digest of a service is on the container as well, and follows every change of the file. What
//! `docker update` changes is in neither; so the limits that the container had when we made it are remembered too.
//!
//! # Format
//! JSON in `containers.json`: project → service → compose's digest (`config_hash`) and `limits`. What is not in it is not judged.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use holdfast_protocol::{Observed, ProjectLive};
use serde::{Deserialize, Serialize};

use crate::disk::{Access, Disk};
use crate::lock::Lock;
use crate::paths::Root;

use super::{ContainerDetail, Limits};

/// What each service's containers were made from, by project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made(BTreeMap<String, BTreeMap<String, Service>>);

/// What the containers of one service were made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Service {
    config_hash: String,
    limits: Limits,
}

impl Made {
    /// Returns what is remembered; nothing where that cannot be read, for then nothing is judged.
    pub fn read(root: &Root) -> Self {
        let bytes = fs::read(root.containers()).unwrap_or_default();
        Self(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Returns what the manager is told: our label is taken from containers that somebody else made, and what was changed of ours
    /// is said.
    pub fn judge(
        &self,
        projects: BTreeMap<String, Observed<Vec<ContainerDetail>>>,
    ) -> BTreeMap<String, Observed<ProjectLive>> {
        let judged = projects.into_iter().map(|(name, project)| {
            let judged = match project {
                Observed::Seen(containers) => {
                    let containers = containers.into_iter().map(|mut container| {
                        let made = self.0.get(&name).and_then(|services| services.get(&container.live.service));
                        if made.is_some_and(|made| made.config_hash != container.live.config_hash) {
                            container.live.digest.clear();
                        }
                        container.live.updated = self.updated(&name, &container);
                        container.live
                    });
                    Observed::Seen(ProjectLive { containers: containers.collect() })
                }
                Observed::Absent => Observed::Absent,
                Observed::Unknown(why) => Observed::Unknown(why),
            };
            (name, judged)
        });
        judged.collect()
    }

    /// Returns what `docker update` changed of a container since we made it; empty when nothing, or when it was made from something
    /// else, of which nothing is known.
    pub(crate) fn updated(&self, project: &str, container: &ContainerDetail) -> String {
        let made = self.0.get(project).and_then(|services| services.get(&container.live.service));
        let made = made.filter(|made| made.config_hash == container.live.config_hash);
        made.map_or_else(String::new, |made| container.limits.difference(&made.limits))
    }
}

/// Remembers the containers of a project as ours; an empty list forgets the project. Durable when this returns.
///
/// # Errors
/// Any I/O error.
pub(crate) fn remember(root: &Root, disk: &Disk, project: &str, containers: &[ContainerDetail]) -> io::Result<()> {
    let _lock = Lock::take(&root.containers_lock())?;
    let before = Made::read(root);
    let mut after = before.clone();
    let ours = containers.iter().filter(|ours| !ours.live.digest.is_empty() && !ours.live.config_hash.is_empty());
    let made =
        |ours: &ContainerDetail| Service { config_hash: ours.live.config_hash.clone(), limits: ours.limits.clone() };
    let services: BTreeMap<String, Service> = ours.map(|ours| (ours.live.service.clone(), made(ours))).collect();
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
    use holdfast_protocol::ContainerLive;

    use super::*;

    fn container(service: &str, config_hash: &str) -> ContainerDetail {
        let live = ContainerLive {
            service: service.to_owned(),
            name: format!("shop-{service}-1"),
            id: format!("id-{service}"),
            image: String::new(),
            digest: "ours".to_owned(),
            config_hash: config_hash.to_owned(),
            updated: String::new(),
            state: "running".to_owned(),
            health: String::new(),
            restarts: 0,
            started_at: String::new(),
        };
        ContainerDetail { live, exit_code: 0, stop_grace: None, limits: Limits::default() }
    }

    fn judged(made: &Made, containers: &[ContainerDetail]) -> Vec<ContainerLive> {
        let projects = BTreeMap::from([("shop".to_owned(), Observed::Seen(containers.to_vec()))]);
        made.judge(projects)["shop"].seen().expect("a project").containers.clone()
    }

    fn digests(made: &Made, containers: &[ContainerDetail]) -> Vec<String> {
        judged(made, containers).into_iter().map(|container| container.digest).collect()
    }

    #[test]
    fn what_docker_update_changed_is_said_of_ours_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        root.prepare().unwrap();
        remember(&root, &Disk::new(), "shop", &[container("api", "1"), container("db", "2")]).unwrap();
        let limits: Limits = serde_json::from_str(r#"{"memory":"67108864"}"#).unwrap();
        let updated = ContainerDetail { limits: limits.clone(), ..container("api", "1") };
        // Made from another file, it has other limits for that reason.
        let other = ContainerDetail { limits, ..container("db", "3") };
        let said = judged(&Made::read(&root), &[updated, other, container("api", "1")]);
        let said: Vec<(&str, &str)> = said.iter().map(|one| (one.digest.as_str(), one.updated.as_str())).collect();
        assert_eq!(said, [("ours", "memory: none → 67108864"), ("", ""), ("ours", "")]);
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
