//! Notices when the enabled state of units may have changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an enabled state is believed without asking again, though no folder changed: an `[Install]` section edited in place
/// shows in no folder.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// A folder changed more recently than this may change again without its time moving (the clock of file times is coarse).
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Remembers `GetUnitFileState`, which searches all unit folders, as long as none of them changed.
///
/// systemd's own `UnitFileState` property is no substitute: it is computed once and stays wrong until the next reload when a link
/// is made or removed by hand.
///
/// # Source
/// systemd.unit(5), "Unit File Load Path": a unit is enabled by links in these folders and in their `.wants`, `.requires` and
/// `.upholds` folders.
#[derive(Debug)]
pub(super) struct EnabledCache {
    folders: Vec<PathBuf>,
    stamp: Vec<Stamp>,
    since: Option<Instant>,
    states: BTreeMap<String, String>,
}

type Stamp = (u64, u64, i64, i64);

impl EnabledCache {
    /// Returns an empty one for the folders below `etc` and the system's own.
    pub(super) fn new(etc: &Path) -> Self {
        let mut folders = vec![etc.join("systemd/system")];
        folders.extend(
            [
                "/etc/systemd/system.control",
                "/run/systemd/system",
                "/run/systemd/system.control",
                "/run/systemd/transient",
                "/run/systemd/generator",
                "/usr/local/lib/systemd/system",
                "/usr/lib/systemd/system",
            ]
            .map(PathBuf::from),
        );
        Self { folders, stamp: Vec::new(), since: None, states: BTreeMap::new() }
    }

    /// Forgets everything when something may have changed since it was remembered. Call before [`EnabledCache::get`].
    pub(super) fn refresh(&mut self, now: Instant) {
        let stamp = self.look();
        let fresh = self.since.is_some_and(|since| now.duration_since(since) < BELIEVED_FOR);
        if stamp != self.stamp || !fresh || changed_just_now(&stamp) {
            self.states.clear();
            self.since = Some(now);
            self.stamp = stamp;
        }
    }

    /// Returns what is remembered.
    pub(super) fn get(&self, unit: &str) -> Option<&String> {
        self.states.get(unit)
    }

    /// Remembers a state.
    pub(super) fn put(&mut self, unit: &str, state: String) {
        self.states.insert(unit.to_owned(), state);
    }

    fn look(&self) -> Vec<Stamp> {
        let mut stamps = Vec::new();
        for (index, folder) in self.folders.iter().enumerate() {
            stamps.push(stamp(folder));
            // Links are made by administrators below /etc and /run only; what packages bring changes with the folder itself.
            if index < 5 {
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    let name = entry.file_name();
                    let links = [".wants", ".requires", ".upholds"];
                    if links.iter().any(|end| name.as_encoded_bytes().ends_with(end.as_bytes())) {
                        stamps.push(stamp(&entry.path()));
                    }
                }
            }
        }
        stamps
    }
}

fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).map_or((0, 0, 0, 0), |meta| (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

fn changed_just_now(stamps: &[Stamp]) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let newest = stamps.iter().map(|stamp| (stamp.2, stamp.3)).max().unwrap_or_default();
    let age = (i128::from(now.tv_sec) - i128::from(newest.0)) * 1_000_000_000 + i128::from(now.tv_nsec)
        - i128::from(newest.1);
    age < SETTLED_AFTER.as_nanos().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_made_by_hand_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let wants = folder.path().join("systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(60);
        let age = |path: &Path| fs::File::open(path).unwrap().set_modified(old).unwrap();
        age(&wants);
        age(&folder.path().join("systemd/system"));
        let mut cache = EnabledCache::new(folder.path());
        cache.folders.truncate(1);
        let now = Instant::now();
        cache.refresh(now);
        cache.put("a.service", "disabled".to_owned());
        cache.refresh(now);
        assert_eq!(cache.get("a.service").map(String::as_str), Some("disabled"));

        std::os::unix::fs::symlink("/lib/systemd/system/a.service", wants.join("a.service")).unwrap();
        cache.refresh(now);
        assert_eq!(cache.get("a.service"), None);
    }

    #[test]
    fn nothing_is_believed_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = EnabledCache::new(folder.path());
        cache.folders.truncate(1);
        let now = Instant::now();
        cache.refresh(now);
        cache.put("a.service", "static".to_owned());
        cache.refresh(now + BELIEVED_FOR);
        assert_eq!(cache.get("a.service"), None);
    }
}
