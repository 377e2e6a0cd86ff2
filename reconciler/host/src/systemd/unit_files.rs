//! Notices when what systemd says about the files of units may have changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer is believed though no file seems to have changed: a floor under what we may have overlooked.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// A file changed more recently than this may change again without its time moving (the clock of file times is coarse).
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// The first of the folders, which administrators and `systemctl edit`, `edit --runtime` and `set-property` write to.
const OF_ADMINISTRATORS: usize = 4;

/// What systemd finds out anew, from many folders, each time it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileAnswer {
    /// `GetUnitFileState`. systemd's property `UnitFileState` is no substitute: it is computed once and stays wrong until the next
    /// reload when a link is made or removed by hand.
    pub(super) enabled: String,
    /// `NeedDaemonReload`.
    pub(super) needs_reload: bool,
}

/// Remembers answers about unit files as long as no folder, link, drop-in or file that they depend on changed, and systemd did not
/// load its units again.
///
/// # Source
/// systemd.unit(5), "Unit File Load Path": a unit is enabled by links in these folders and in their `.wants`, `.requires` and
/// `.upholds` folders, and changed by files in `.d` folders.
#[derive(Debug)]
pub(super) struct UnitFiles {
    folders: Vec<PathBuf>,
    listings: BTreeMap<PathBuf, Listing>,
    stamps: Vec<Stamp>,
    loaded_at: u64,
    since: Option<Instant>,
    answers: BTreeMap<String, FileAnswer>,
}

/// The names in a folder, as long as its stamp is this one.
#[derive(Debug, Default)]
struct Listing {
    stamp: Stamp,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    /// Moves also where somebody sets the other back, as `rsync -a` and `cp -a` do.
    changed: (i64, i64),
}

impl UnitFiles {
    /// Returns an empty one for the folders below `etc` and the system's own.
    pub(super) fn new(etc: &Path) -> Self {
        Self {
            folders: folders(etc),
            listings: BTreeMap::new(),
            stamps: Vec::new(),
            loaded_at: 0,
            since: None,
            answers: BTreeMap::new(),
        }
    }

    /// Forgets everything when something may have changed since it was remembered. Call before [`UnitFiles::get`].
    ///
    /// `loaded_at` is when systemd loaded its units last, by its own clock.
    pub(super) fn refresh(&mut self, units: &[&str], loaded_at: u64, now: Instant) {
        let stamps = self.look(units);
        let fresh = self.since.is_some_and(|since| now.duration_since(since) < BELIEVED_FOR);
        if stamps != self.stamps || loaded_at != self.loaded_at || !fresh || changed_just_now(&stamps) {
            self.answers.clear();
            self.since = Some(now);
            self.stamps = stamps;
            self.loaded_at = loaded_at;
        }
    }

    /// Returns what is remembered.
    pub(super) fn get(&self, unit: &str) -> Option<&FileAnswer> {
        self.answers.get(unit)
    }

    /// Returns the drop-ins of a unit and of its template that were not brought by a package or a generator, sorted. As of the last
    /// [`UnitFiles::refresh`].
    pub(super) fn drop_ins(&self, unit: &str) -> Vec<String> {
        let template = template(unit);
        let mut found = Vec::new();
        for folder in self.folders.iter().take(OF_ADMINISTRATORS) {
            for name in [Some(unit), template.as_deref()].into_iter().flatten() {
                let folder = folder.join(format!("{name}.d"));
                let names = self.listings.get(&folder).into_iter().flat_map(|listing| &listing.names);
                let read = names.filter(|name| Path::new(name).extension().is_some_and(|suffix| suffix == "conf"));
                found.extend(read.map(|name| folder.join(name).to_string_lossy().into_owned()));
            }
        }
        found.sort();
        found
    }

    /// Remembers an answer.
    pub(super) fn put(&mut self, unit: &str, answer: FileAnswer) {
        self.answers.insert(unit.to_owned(), answer);
    }

    fn look(&mut self, units: &[&str]) -> Vec<Stamp> {
        let mut stamps = Vec::new();
        let mut old = std::mem::take(&mut self.listings);
        for folder in self.folders.clone() {
            let names = self.list(&mut old, &folder, &mut stamps);
            for name in &names {
                let path = folder.join(name);
                match name.rsplit('.').next() {
                    Some("wants" | "requires" | "upholds") => stamps.push(Stamp::of(&path)),
                    Some("d") => {
                        for drop_in in self.list(&mut old, &path, &mut stamps) {
                            stamps.push(Stamp::of(&path.join(drop_in)));
                        }
                    }
                    _ => {}
                }
            }
            for unit in units {
                let template = template(unit);
                for name in [Some(*unit), template.as_deref()].into_iter().flatten() {
                    if names.binary_search_by(|found| found.as_str().cmp(name)).is_ok() {
                        stamps.push(Stamp::of(&folder.join(name)));
                    }
                }
            }
        }
        stamps
    }

    /// Returns the sorted names in a folder, read only when its stamp moved.
    fn list(&mut self, old: &mut BTreeMap<PathBuf, Listing>, folder: &Path, stamps: &mut Vec<Stamp>) -> Vec<String> {
        let stamp = Stamp::of(folder);
        stamps.push(stamp);
        let listing = old.remove(folder).filter(|listing| listing.stamp == stamp && !changed_just_now(&[stamp]));
        let listing = listing.unwrap_or_else(|| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            Listing { stamp, names }
        });
        let names = listing.names.clone();
        self.listings.insert(folder.to_owned(), listing);
        names
    }
}

impl Stamp {
    /// Follows links: an enabled or linked unit's content is that of its target.
    fn of(path: &Path) -> Self {
        fs::metadata(path).map_or_else(
            |_| Self::default(),
            |meta| Self {
                dev: meta.dev(),
                ino: meta.ino(),
                size: meta.size(),
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
            },
        )
    }
}

/// Returns the folders of the drop-ins of a unit and of its template that administrators write to, whether they exist or not.
pub(crate) fn drop_in_folders(etc: &Path, unit: &str) -> Vec<PathBuf> {
    let template = template(unit);
    let names: Vec<&str> = [Some(unit), template.as_deref()].into_iter().flatten().collect();
    let folders = folders(etc).into_iter().take(OF_ADMINISTRATORS);
    folders.flat_map(|folder| names.iter().map(move |name| folder.join(format!("{name}.d")))).collect()
}

/// The unit load path, in the order of what wins.
fn folders(etc: &Path) -> Vec<PathBuf> {
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
    folders
}

/// Returns the name of the template that an instance comes from.
fn template(unit: &str) -> Option<String> {
    let (stem, suffix) = unit.rsplit_once('.')?;
    let (prefix, _) = stem.split_once('@')?;
    Some(format!("{prefix}@.{suffix}"))
}

fn changed_just_now(stamps: &[Stamp]) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let newest = stamps.iter().map(|stamp| stamp.modified).max().unwrap_or_default();
    let age = (i128::from(now.tv_sec) - i128::from(newest.0)) * 1_000_000_000 + i128::from(now.tv_nsec)
        - i128::from(newest.1);
    age < SETTLED_AFTER.as_nanos().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Host {
        folder: tempfile::TempDir,
        files: UnitFiles,
        now: Instant,
    }

    impl Host {
        /// A host with an enabled instance of a template with a drop-in, all settled and remembered.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = UnitFiles { folders: vec![folder.path().to_owned()], ..UnitFiles::new(folder.path()) };
            let mut host = Self { folder, files, now: Instant::now() };
            for name in ["multi-user.target.wants", "app@.service.d"] {
                fs::create_dir(host.path(name)).unwrap();
            }
            fs::write(host.path("app@.service"), "a").unwrap();
            fs::write(host.path("app@.service.d/limits.conf"), "b").unwrap();
            host.settle();
            host.refresh(7);
            host.files.put("app@blue.service", FileAnswer { enabled: "enabled".to_owned(), needs_reload: false });
            host.refresh(7);
            assert!(host.remembers());
            host
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Makes everything look old.
        fn settle(&self) {
            let old = std::time::SystemTime::now() - Duration::from_secs(60);
            for name in ["app@.service", "app@.service.d/limits.conf", "multi-user.target.wants", "app@.service.d", ""]
            {
                fs::File::open(self.path(name)).unwrap().set_modified(old).unwrap();
            }
        }

        fn refresh(&mut self, loaded_at: u64) {
            self.files.refresh(&["app@blue.service"], loaded_at, self.now);
        }

        fn remembers(&self) -> bool {
            self.files.get("app@blue.service").is_some()
        }
    }

    #[test]
    fn a_link_made_by_hand_is_noticed() {
        let mut host = Host::new();
        std::os::unix::fs::symlink("/app@.service", host.path("multi-user.target.wants/app@blue.service")).unwrap();
        host.refresh(7);
        assert!(!host.remembers());
    }

    #[test]
    fn a_unit_or_a_drop_in_edited_in_place_is_noticed() {
        for name in ["app@.service", "app@.service.d/limits.conf"] {
            let mut host = Host::new();
            fs::write(host.path(name), "changed").unwrap();
            host.refresh(7);
            assert!(!host.remembers(), "{name}");
        }
    }

    #[test]
    fn a_new_drop_in_is_noticed() {
        let mut host = Host::new();
        fs::write(host.path("app@.service.d/more.conf"), "c").unwrap();
        host.refresh(7);
        assert!(!host.remembers());
    }

    #[test]
    fn a_drop_in_is_noticed_also_where_the_times_were_set_back() {
        let mut host = Host::new();
        let folder = host.path("app@.service.d");
        let before = fs::metadata(&folder).unwrap();
        // The clock of file times is coarse: until it has moved on.
        while fs::metadata(&folder).unwrap().ctime_nsec() == before.ctime_nsec() {
            fs::write(folder.join("more.conf"), "c").unwrap();
            fs::File::open(&folder).unwrap().set_modified(before.modified().unwrap()).unwrap();
        }
        host.refresh(7);
        assert!(!host.remembers());
        assert_eq!(host.files.drop_ins("app@blue.service").len(), 2);
    }

    #[test]
    fn a_reload_of_systemd_and_time_make_it_ask_again() {
        let mut host = Host::new();
        host.refresh(8);
        assert!(!host.remembers());
        let mut host = Host::new();
        host.now += BELIEVED_FOR;
        host.refresh(7);
        assert!(!host.remembers());
    }

    #[test]
    fn drop_ins_are_of_the_unit_or_of_its_template() {
        let mut host = Host::new();
        for name in ["app@blue.service.d", "other.service.d"] {
            fs::create_dir(host.path(name)).unwrap();
            fs::write(host.path(name).join("by-hand.conf"), "c").unwrap();
        }
        fs::write(host.path("app@.service.d/README"), "systemd does not read it").unwrap();
        host.refresh(7);
        let found = host.files.drop_ins("app@blue.service");
        let expected = ["app@.service.d/limits.conf", "app@blue.service.d/by-hand.conf"];
        assert_eq!(found, expected.map(|name| host.path(name).to_string_lossy().into_owned()));
        assert_eq!(host.files.drop_ins("app@green.service").len(), 1);
    }

    #[test]
    fn templates() {
        assert_eq!(template("app@blue.service").as_deref(), Some("app@.service"));
        assert_eq!(template("app.service"), None);
    }
}
