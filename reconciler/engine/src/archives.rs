//! Archives of images and of static files on the management box: whether each is the one git names, and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::desired::{ArchiveContent, DesiredArchive, DesiredState, DesiredStatic, StaticFound};
use holdfast_protocol::{Digest, StaticContent, read_static_archive};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Most bytes of an archive's lists of images.
const MOST_LIST: u64 = 4 * 1024 * 1024;
/// Bytes of a header, and what contents are filled up to.
const BLOCK: u64 = 512;

/// The folder with archives, and what is known of those that were read.
#[derive(Debug, Clone)]
pub struct Archives {
    folder: Arc<Path>,
    /// A file that has not changed is not read again: a daemon asks at every pass.
    known: Arc<Mutex<Memory>>,
}

/// What was read, by file and by what it was read for, with what the file was then.
type Memory = BTreeMap<(PathBuf, Kind), (Stamp, Known)>;

/// What changes with a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// What was read of a file.
#[derive(Debug, Clone)]
struct Known {
    sha256: Digest,
    held: Result<Held, String>,
}

/// What an archive is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Images,
    Static,
}

/// What an archive holds.
#[derive(Debug, Clone)]
enum Held {
    Images(Images),
    Static(StaticContent),
}

/// By reference the ids of which an engine gives the image one.
type Images = BTreeMap<String, BTreeSet<String>>;

impl Archives {
    /// Returns the archives of a folder; nothing is read yet, and it need not be there.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), known: Arc::default() }
    }

    /// Returns the folder.
    pub fn folder(&self) -> Arc<Path> {
        Arc::clone(&self.folder)
    }

    /// Says of each archive that a desired state names what it holds.
    pub async fn look_into(&self, desired: DesiredState) -> DesiredState {
        let desired = self.look_for_images(desired).await;
        self.look_for_files(desired).await
    }

    async fn look_for_files(&self, mut desired: DesiredState) -> DesiredState {
        let components = desired.hosts.values().flat_map(|host| host.apps.values()).flat_map(|app| &app.components);
        let wanted: BTreeMap<(String, Digest), DesiredStatic> = components
            .filter_map(|component| component.statics.clone())
            .map(|wanted| ((wanted.archive.clone(), wanted.sha256), wanted))
            .collect();
        if wanted.is_empty() {
            return desired;
        }
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || -> BTreeMap<(String, Digest), StaticFound> {
            let found = |wanted: DesiredStatic| this.files(&wanted.archive, wanted.sha256);
            wanted.into_iter().map(|(key, wanted)| (key, found(wanted))).collect()
        });
        let read = read.await.unwrap_or_default();
        let components = desired.hosts.values_mut().flat_map(|host| host.apps.values_mut());
        for wanted in components.flat_map(|app| &mut app.components).filter_map(|component| component.statics.as_mut())
        {
            if let Some(found) = read.get(&(wanted.archive.clone(), wanted.sha256)) {
                wanted.found = found.clone();
            }
        }
        desired
    }

    fn files(&self, file: &str, sha256: Digest) -> StaticFound {
        let made = format!("tar -C dist -cf {file} .");
        match self.hold(file, sha256, Kind::Static, &made) {
            Ok((size, Held::Static(content))) => StaticFound::Read { size, content },
            Ok((_, Held::Images(_))) => StaticFound::Unread,
            Err(why) => StaticFound::Wrong(why),
        }
    }

    async fn look_for_images(&self, mut desired: DesiredState) -> DesiredState {
        let archives = |desired: &DesiredState| -> Vec<DesiredArchive> {
            let apps = desired.hosts.values().flat_map(|host| host.apps.values());
            apps.flat_map(|app| app.archives.iter().cloned()).collect()
        };
        let wanted: BTreeMap<(String, Digest), DesiredArchive> =
            archives(&desired).into_iter().map(|archive| ((archive.file.clone(), archive.sha256), archive)).collect();
        if wanted.is_empty() {
            return desired;
        }
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || -> BTreeMap<(String, Digest), ArchiveContent> {
            wanted.into_iter().map(|(key, archive)| (key, this.content(&archive))).collect()
        });
        let read = read.await.unwrap_or_default();
        for archive in desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()).flat_map(|a| &mut a.archives)
        {
            if let Some(content) = read.get(&(archive.file.clone(), archive.sha256)) {
                archive.content = content.clone();
            }
        }
        desired
    }

    fn content(&self, archive: &DesiredArchive) -> ArchiveContent {
        let made = format!("docker save -o {} IMAGE…", archive.file);
        match self.hold(&archive.file, archive.sha256, Kind::Images, &made) {
            Ok((size, Held::Images(images))) => ArchiveContent::Read { size, images },
            Ok((_, Held::Static(_))) => ArchiveContent::Unread,
            Err(why) => ArchiveContent::Wrong(why),
        }
    }

    /// Returns the size of the archive that git names, and what it holds; `made` is the command that makes one.
    fn hold(&self, file: &str, sha256: Digest, kind: Kind, made: &str) -> Result<(u64, Held), String> {
        let path = self.folder.join(file);
        let shown = path.display();
        let (size, read) = self.read(&path, kind).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                format!("the archive {shown} is not there: put it there, made with `{made}`")
            }
            _ => format!("the archive {shown} cannot be read: {error}"),
        })?;
        if read.sha256 != sha256 {
            return Err(format!(
                "the archive {shown} is another one than git names: its SHA-256 is {}, expected {sha256}",
                read.sha256
            ));
        }
        let held = read.held.map_err(|why| format!("the archive {shown} cannot be used: {why}"))?;
        Ok((size, held))
    }

    /// Returns the size of a file, and what is in it.
    fn read(&self, path: &Path, kind: Kind) -> io::Result<(u64, Known)> {
        let mut file = File::open(path)?;
        let stamp = Stamp::of(&file)?;
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, read)) = known().get(&(path.to_owned(), kind)).filter(|(then, _)| *then == stamp) {
            return Ok((stamp.size, read.clone()));
        }
        let mut hasher = Sha256::new();
        io::copy(&mut file, &mut hasher)?;
        let sha256 = Digest(hasher.finalize().into());
        file.rewind()?;
        let held = match kind {
            Kind::Images => images(&mut file).map(Held::Images),
            Kind::Static => read_static_archive(BufReader::new(&mut file), &mut |_, _| Ok(())).map(Held::Static),
        };
        let read = Known { sha256, held };
        // One that is being written is told as it is now, and read again.
        if Stamp::of(&file)? == stamp {
            known().insert((path.to_owned(), kind), (stamp.clone(), read.clone()));
        }
        Ok((stamp.size, read))
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// One image of `manifest.json`.
///
/// # Source
/// Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
#[derive(Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
}

/// `index.json`.
///
/// # Source
/// OCI Image Layout Specification 1.0, "index.json file"; the name of an image is in the annotation that containerd writes.
#[derive(Default, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The annotation of a descriptor with the whole name of its image.
const NAME: &str = "io.containerd.image.name";

/// Returns the images of an archive, each with its ids: that of its configuration, which the engine's own image store gives it, and
/// that of its manifest, which containerd's does.
fn images(file: &mut (impl Read + Seek)) -> Result<Images, String> {
    let lists = lists(file).map_err(|error| error.to_string())?;
    let Some(manifest) = lists.manifest else {
        return Err("it has no `manifest.json`; make it with `docker save`".to_owned());
    };
    let saved: Vec<Saved> =
        serde_json::from_slice(&manifest).map_err(|error| format!("its `manifest.json` cannot be read: {error}"))?;
    let index: Index = match lists.index {
        Some(text) => {
            serde_json::from_slice(&text).map_err(|error| format!("its `index.json` cannot be read: {error}"))?
        }
        None => Index::default(),
    };
    let mut images = Images::new();
    for image in saved {
        // `blobs/sha256/<id>` since Docker 25, `<id>.json` before.
        let name = image.config.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".json").unwrap_or(name);
        let id: Digest = name.parse().map_err(|_| "its `manifest.json` does not say which images it has".to_owned())?;
        for tag in image.tags.into_iter().flatten() {
            images.entry(tag).or_default().insert(format!("sha256:{id}"));
        }
    }
    for descriptor in index.manifests {
        let Some(name) = descriptor.annotations.get(NAME) else { continue };
        let short = name.strip_prefix("docker.io/").unwrap_or(name);
        let short = short.strip_prefix("library/").unwrap_or(short);
        if let Some(ids) = images.get_mut(short) {
            ids.insert(descriptor.digest);
        }
    }
    if images.is_empty() {
        return Err("its images have no names; save them by name, not by id".to_owned());
    }
    Ok(images)
}

/// The lists of an archive's images.
#[derive(Default)]
struct Lists {
    manifest: Option<Vec<u8>>,
    index: Option<Vec<u8>>,
}

/// Returns the lists in a tar archive.
///
/// # Source
/// POSIX.1-2017 pax, "ustar Interchange Format": name at 0, 100 bytes; size at 124, 12 bytes, octal, or as GNU tar writes it from
/// 8 GiB on, with the highest bit set and big-endian; an empty block ends it.
fn lists(file: &mut (impl Read + Seek)) -> io::Result<Lists> {
    let mut found = Lists::default();
    let mut header = [0; BLOCK as usize];
    loop {
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(found),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(found);
        }
        if header.starts_with(&[0x1f, 0x8b]) || header.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(io::Error::other(
                "it is compressed; unpack it with `gunzip` or `unzstd`, and take its new SHA-256",
            ));
        }
        if &header[257..262] != b"ustar" {
            return Err(io::Error::other("it is no tar archive; make it with `docker save`"));
        }
        let name = header[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        let size = size(&header[124..136]).ok_or_else(|| io::Error::other("an entry of it has no size"))?;
        let list = match name.strip_prefix(b"./").unwrap_or(name) {
            b"manifest.json" => Some(&mut found.manifest),
            b"index.json" => Some(&mut found.index),
            _ => None,
        };
        let mut skip = size.div_ceil(BLOCK).saturating_mul(BLOCK);
        if let Some(list) = list {
            if size > MOST_LIST {
                return Err(io::Error::other("its list of images is too large"));
            }
            let mut content = Vec::new();
            file.by_ref().take(size).read_to_end(&mut content)?;
            skip -= size;
            *list = Some(content);
        }
        let skip = i64::try_from(skip).map_err(|_| io::Error::other("an entry of it has no size"))?;
        file.seek(SeekFrom::Current(skip))?;
    }
}

fn size(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let bytes: [u8; 8] = field.get(4..12)?.try_into().ok()?;
        return Some(u64::from_be_bytes(bytes));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

#[cfg(test)]
mod tests {
    use holdfast_core::id::digest_of;

    use super::*;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut header = vec![0; BLOCK as usize];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[257..262].copy_from_slice(b"ustar");
        header.extend(content);
        header.resize(header.len().div_ceil(BLOCK as usize) * BLOCK as usize, 0);
        header
    }

    fn archive(manifest: &str, index: Option<&str>) -> Vec<u8> {
        let index = index.map_or_else(Vec::new, |index| entry("index.json", index.as_bytes()));
        [entry("blobs/sha256/x", &[7; 1000]), index, entry("manifest.json", manifest.as_bytes()), vec![0; 1024]]
            .concat()
    }

    fn held(bytes: &[u8]) -> ArchiveContent {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api.tar"), bytes).unwrap();
        let wanted =
            DesiredArchive { file: "api.tar".to_owned(), sha256: digest_of(bytes), content: ArchiveContent::Unread };
        Archives::new(folder.path()).content(&wanted)
    }

    fn wrong(bytes: &[u8]) -> String {
        match held(bytes) {
            ArchiveContent::Wrong(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn cap_09_an_archive_says_which_images_it_holds_as_either_image_store_names_them() {
        let (id, other) = ("ab".repeat(32), "cd".repeat(32));
        for config in [format!("blobs/sha256/{id}"), format!("{id}.json")] {
            let manifest = format!(r#"[{{"Config":"{config}","RepoTags":["shop/api:v5.1"],"Layers":[]}}]"#);
            let bytes = archive(&manifest, None);
            let ids = BTreeSet::from([format!("sha256:{id}")]);
            let images = BTreeMap::from([("shop/api:v5.1".to_owned(), ids)]);
            assert_eq!(held(&bytes), ArchiveContent::Read { size: bytes.len() as u64, images });
            let index = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha256:{other}","annotations":{{"{NAME}":"docker.io/shop/api:v5.1"}}}}]}}"#
            );
            let ArchiveContent::Read { images, .. } = held(&archive(&manifest, Some(&index))) else { panic!() };
            assert_eq!(images["shop/api:v5.1"], BTreeSet::from([format!("sha256:{id}"), format!("sha256:{other}")]));
        }
    }

    #[test]
    fn cap_09_what_is_missing_another_compressed_or_no_archive_is_told_with_what_to_do() {
        let id = "ab".repeat(32);
        let unnamed = archive(&format!(r#"[{{"Config":"{id}.json","RepoTags":null}}]"#), None);
        assert!(wrong(&unnamed).contains("save them by name"));
        assert!(wrong(&[entry("x", b"y"), vec![0; 1024]].concat()).contains("make it with `docker save`"));
        assert!(wrong(&[b"\x1f\x8b".as_slice(), &[0; 2048]].concat()).contains("it is compressed"));
        assert!(wrong(&[9; 2048]).contains("no tar archive"));
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::new(folder.path());
        let wanted =
            DesiredArchive { file: "a.tar".to_owned(), sha256: Digest([0; 32]), content: ArchiveContent::Unread };
        let ArchiveContent::Wrong(why) = archives.content(&wanted) else { panic!() };
        assert!(why.contains("a.tar is not there: put it there, made with `docker save -o a.tar IMAGE…`"), "{why}");
        std::fs::write(folder.path().join("a.tar"), "x").unwrap();
        let ArchiveContent::Wrong(why) = archives.content(&wanted) else { panic!() };
        assert!(why.contains("another one than git names"), "{why}");
        std::fs::remove_file(folder.path().join("a.tar")).unwrap();
        std::fs::create_dir(folder.path().join("a.tar")).unwrap();
        let ArchiveContent::Wrong(why) = archives.content(&wanted) else { panic!() };
        assert!(why.contains("cannot be read"), "{why}");
    }

    #[test]
    fn cap_33_an_archive_of_files_is_told_by_how_much_is_in_it_or_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::new(folder.path());
        let found = |bytes: &[u8]| {
            std::fs::write(folder.path().join("dist.tar"), bytes).unwrap();
            archives.files("dist.tar", digest_of(bytes))
        };
        let mut page = entry("index.html", b"<p>hi</p>");
        page[148..156].fill(b' ');
        let sum: u32 = page[..BLOCK as usize].iter().map(|byte| u32::from(*byte)).sum();
        page[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let bytes = [page, vec![0; 1024]].concat();
        let content = StaticContent { files: 1, bytes: 9 };
        assert_eq!(found(&bytes), StaticFound::Read { size: 2048, content });
        let StaticFound::Wrong(why) = found(&[0; 2048]) else { panic!() };
        assert!(why.contains("it holds no file"), "{why}");
        let StaticFound::Wrong(why) = archives.files("dist.tar", digest_of(b"x")) else { panic!() };
        assert!(why.contains("another one than git names"), "{why}");
        let StaticFound::Wrong(why) = archives.files("gone.tar", digest_of(b"x")) else { panic!() };
        assert!(why.contains("put it there, made with `tar -C dist -cf gone.tar .`"), "{why}");
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::new(folder.path());
        let path = folder.path().join("a.tar");
        for text in ["first", "other"] {
            std::fs::write(&path, text).unwrap();
            // A file system may not see two writes within its clock's tick; another file is another one.
            std::fs::rename(&path, folder.path().join("b.tar")).unwrap();
            std::fs::copy(folder.path().join("b.tar"), &path).unwrap();
            assert_eq!(archives.read(&path, Kind::Images).unwrap().1.sha256, digest_of(text.as_bytes()));
            assert_eq!(archives.read(&path, Kind::Images).unwrap().1.sha256, digest_of(text.as_bytes()));
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn sizes_of_both_kinds_are_read() {
        assert_eq!(size(b"00000001750\0"), Some(1000));
        assert_eq!(size(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]), Some(8 << 30));
        assert_eq!(size(b"nonsense0000"), None);
    }
}
