use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use holdfast_protocol::{Digest, Observed, StaticAt, StaticContent, StaticQuery, StaticRecord};

use super::*;
use crate::disk::Disk;

/// A host's folder with archives.
struct Place {
    folder: tempfile::TempDir,
    layout: Layout,
}

type Files<'a> = &'a [(&'a str, &'a str)];

const V1: Files<'_> = &[("index.html", "one"), ("assets/app-1.js", "js one"), ("assets/logo.svg", "logo")];
const V2: Files<'_> = &[("index.html", "two"), ("assets/app-2.js", "js two"), ("assets/logo.svg", "logo")];
const V3: Files<'_> = &[("index.html", "three"), ("assets/app-3.js", "js three")];

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::of(folder.path().join("www/nps").to_str().unwrap()).unwrap();
        Self { folder, layout }
    }

    fn link(&self) -> PathBuf {
        self.layout.link().to_owned()
    }

    /// Puts an archive where a sent one lies.
    fn send(&self, files: Files<'_>) -> StaticRecord {
        let mut builder = Vec::new();
        for (path, text) in files {
            let mut header = [0; 512];
            header[..path.len()].copy_from_slice(path.as_bytes());
            header[100..107].copy_from_slice(b"0004777");
            header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
            header[136..147].copy_from_slice(format!("{:011o}", 1_700_000_000).as_bytes());
            header[156] = b'0';
            header[257..263].copy_from_slice(b"ustar\0");
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            builder.extend_from_slice(&header);
            builder.extend_from_slice(text.as_bytes());
            builder.resize(builder.len().div_ceil(512) * 512, 0);
        }
        builder.resize(builder.len() + 1024, 0);
        let release = crate::digest::of(&builder);
        fs::write(self.folder.path().join(release.to_string()), &builder).unwrap();
        StaticRecord {
            path: self.link().display().to_string(),
            archive: "nps.tar".to_owned(),
            release,
            size: builder.len() as u64,
            content: StaticContent { files: files.len() as u64, bytes: 0 },
        }
    }

    fn unpack(&self, record: &StaticRecord) -> Result<String, String> {
        self.unpack_until(record, &|| false)
    }

    fn unpack_until(&self, record: &StaticRecord, stop: &dyn Fn() -> bool) -> Result<String, String> {
        let archive = self.folder.path().join(record.release.to_string());
        unpack(&self.layout, record, &Unpacking { archive, disk: &Disk::new(), stop })
    }

    /// Brings a release as a transaction does; returns what undo needs.
    fn bring(&self, record: &StaticRecord, adopt: bool) -> Stood {
        self.unpack(record).unwrap();
        let stood = stands(&self.layout, adopt).unwrap();
        assert!(!switched(&self.layout, &record.release).unwrap());
        switch(&self.layout, &record.release, &stood).unwrap();
        assert!(switched(&self.layout, &record.release).unwrap());
        stood
    }

    /// What nginx would serve.
    fn served(&self) -> BTreeMap<String, String> {
        let files = crate::transaction::step::testing::tree(&self.link());
        let files = files.into_iter().filter(|(path, _)| path.strip_suffix('/').is_none());
        files.map(|(path, bytes)| (path, String::from_utf8(bytes).unwrap())).collect()
    }

    fn live(&self, release: Digest) -> holdfast_protocol::StaticLive {
        let path = self.link().display().to_string();
        match look(&[StaticQuery { path: path.clone(), release }]).remove(&path) {
            Some(Observed::Seen(live)) => live,
            other => panic!("{other:?}"),
        }
    }

    fn releases(&self) -> usize {
        fs::read_dir(self.layout.releases())
            .map_or(0, |entries| entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count())
    }
}

fn map(files: Files<'_>) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn cap_33_a_release_is_switched_at_once_and_what_only_the_old_one_has_stays_until_the_next() {
    let place = Place::new();
    let (v1, v2, v3) = (place.send(V1), place.send(V2), place.send(V3));
    assert_eq!(place.live(v1.release).at, StaticAt::Nothing);
    assert_eq!(place.bring(&v1, false), Stood::Nothing);
    assert_eq!(place.served(), map(V1));
    assert!(!place.folder.path().join(v1.release.to_string()).exists(), "the archive has done its work");
    let meta = fs::metadata(place.link().join("assets/app-1.js")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o644, "an archive gives no rights");
    assert_eq!(meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_700_000_000);

    let said = place.unpack(&v2).unwrap();
    assert_eq!(said, "3 files, and 1 of the release before");
    assert_eq!(place.served(), map(V1), "nothing is seen before the switch");
    let stood = place.bring(&v2, false);
    let both = map(&[V2, &[("assets/app-1.js", "js one")]].concat());
    assert_eq!(place.served(), both);
    let live = place.live(v2.release);
    assert_eq!((live.at, live.unpacked, live.changed), (StaticAt::Release(v2.release), true, Vec::new()));

    // Back, as when a later step failed; what the release that is left brought was seen by somebody.
    put_back(&place.layout, &stood).unwrap();
    put_back(&place.layout, &stood).unwrap();
    assert_eq!(place.served(), map(V1));
    place.bring(&v2, false);
    assert_eq!(place.unpack(&v1).unwrap(), "already here, and 1 of the release before");
    place.bring(&v1, false);
    assert_eq!(place.served(), map(&[V1, &[("assets/app-2.js", "js two")]].concat()));

    place.bring(&v2, false);
    place.bring(&v3, false);
    assert_eq!(place.served(), map(&[V3, &[("assets/app-2.js", "js two"), ("assets/logo.svg", "logo")]].concat()));
    assert_eq!(prune(&place.layout, &[v2.release, v3.release], true, &Disk::new()).unwrap(), "1 cleared away");
    assert_eq!(place.releases(), 2);
    assert_eq!(place.live(v3.release).changed, [""; 0], "a hard link needs no other");
}

#[test]
fn cap_33_what_a_hand_changed_is_seen_and_put_right_in_one_moment() {
    let place = Place::new();
    let (v1, v2) = (place.send(V1), place.send(V2));
    place.bring(&v1, false);
    place.bring(&v2, false);
    let folder = place.layout.release(&v2.release);
    fs::write(folder.join("index.html"), "hacked").unwrap();
    fs::write(folder.join("more.html"), "more").unwrap();
    fs::remove_file(folder.join("assets/logo.svg")).unwrap();
    fs::set_permissions(folder.join("assets"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(
        place.live(v2.release).changed,
        [
            "assets/logo.svg is gone",
            "the folder assets has another owner or mode",
            "index.html was changed",
            "more.html was added"
        ]
    );
    let error = place.unpack(&v2).unwrap_err();
    assert!(error.contains("not whole here, and nps.tar was not sent"), "{error}");
    assert_eq!(place.served()["index.html"], "hacked", "what serves is as it was");
    assert_eq!(place.send(V2).release, v2.release);
    place.unpack(&v2).unwrap();
    assert_eq!(place.served(), map(&[V2, &[("assets/app-1.js", "js one")]].concat()));
    assert_eq!(place.live(v2.release).changed, [""; 0]);
    // What was kept beside it and is gone now cannot come back, and is not missed for ever.
    fs::remove_file(folder.join("assets/app-1.js")).unwrap();
    assert_eq!(place.live(v2.release).changed, ["assets/app-1.js is gone"]);
    place.unpack(&v2).unwrap();
    assert_eq!(place.live(v2.release).changed, [""; 0]);
    // A link somewhere else is drift.
    fs::remove_file(place.link()).unwrap();
    symlink("/srv/elsewhere", place.link()).unwrap();
    assert_eq!(place.live(v2.release).at, StaticAt::Elsewhere("/srv/elsewhere".to_owned()));
    place.bring(&v2, false);
    assert_eq!(place.served(), map(V2));
}

#[test]
fn cap_33_a_folder_of_somebody_else_is_refused_or_goes_aside_whole() {
    let place = Place::new();
    fs::create_dir_all(place.link().join("old")).unwrap();
    fs::write(place.link().join("old/app-0.js"), "js zero").unwrap();
    fs::write(place.link().join("index.html"), "by hand").unwrap();
    let v1 = place.send(V1);
    place.unpack(&v1).unwrap();
    let error = stands(&place.layout, false).unwrap_err();
    assert!(error.contains("is a folder, and not Holdfast's") && error.contains("--adopt"), "{error}");
    let stood = stands(&place.layout, true).unwrap();
    assert_eq!(stood, Stood::Foreign);
    switch(&place.layout, &v1.release, &stood).unwrap();
    let aside = place.layout.adopted();
    assert_eq!(fs::read_to_string(aside.join("index.html")).unwrap(), "by hand");
    assert_eq!(place.served(), map(&[V1, &[("old/app-0.js", "js zero")]].concat()));
    // The next one of these would have nowhere to go.
    let other = Place::new();
    fs::create_dir_all(other.link()).unwrap();
    fs::create_dir_all(other.layout.adopted()).unwrap();
    assert!(stands(&other.layout, true).unwrap_err().contains("is to go aside"));
    for _ in 0..2 {
        put_back(&place.layout, &stood).unwrap();
        assert_eq!(place.served(), map(&[("index.html", "by hand"), ("old/app-0.js", "js zero")]));
        assert!(!aside.exists() && !place.layout.new_link().exists());
    }
    // Cut off between its two renames, it is brought to its end, or back.
    symlink(place.layout.target(&v1.release), place.layout.new_link()).unwrap();
    release::exchange(&place.layout.new_link(), &place.link()).unwrap();
    assert!(!switched(&place.layout, &v1.release).unwrap());
    switch(&place.layout, &v1.release, &stood).unwrap();
    assert!(switched(&place.layout, &v1.release).unwrap() && aside.is_dir());
    fs::rename(&aside, place.layout.new_link()).unwrap();
    put_back(&place.layout, &stood).unwrap();
    assert_eq!(place.served()["index.html"], "by hand");
}

#[test]
fn cap_33_stopped_at_any_file_it_leaves_what_serves_and_can_begin_anew() {
    let place = Place::new();
    let (v1, v2) = (place.send(V1), place.send(V2));
    place.bring(&v1, false);
    for at in 0..V2.len() {
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) >= at;
        assert!(place.unpack_until(&v2, &stop).is_err());
        assert_eq!(place.served(), map(V1));
        assert!(!place.live(v2.release).unpacked);
    }
    discard(&place.layout, &v2.release, &Disk::new()).unwrap();
    assert_eq!(place.releases(), 1, "nothing of it is left");
    place.bring(&v2, false);
    // What the link leads to is never thrown away.
    assert!(discard(&place.layout, &v2.release, &Disk::new()).is_err());
    prune(&place.layout, &[], true, &Disk::new()).unwrap();
    assert_eq!(place.served()["index.html"], "two");
    prune(&place.layout, &[], false, &Disk::new()).unwrap();
    assert!(fs::symlink_metadata(place.link()).is_err() && !place.layout.releases().exists());
    prune(&place.layout, &[], false, &Disk::new()).unwrap();
}

#[test]
fn cap_33_where_a_file_became_a_folder_the_new_release_has_its_way() {
    let place = Place::new();
    let v1 = place.send(&[("docs", "a file"), ("help/a.html", "a")]);
    let v2 = place.send(&[("docs/index.html", "a folder"), ("help", "a file")]);
    place.bring(&v1, false);
    place.bring(&v2, false);
    assert_eq!(place.served(), map(&[("docs/index.html", "a folder"), ("help", "a file")]));
}

#[test]
fn cap_33_odd_paths_are_no_place_for_static_files() {
    for path in ["relative/x", "/", "/www", "/a/../b", "/a/b\0"] {
        assert!(Layout::of(path).is_err(), "{path:?}");
    }
}
