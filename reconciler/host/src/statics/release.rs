use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use holdfast_protocol::{Digest, StaticAt, StaticRecord, read_static_archive};
use rustix::fs::{CWD, RenameFlags};

use super::layout::Layout;
use super::manifest::{FILE_MODE, FOLDER_MODE, Fact, Manifest, Seen, walk};
use super::said;
use crate::disk::{Access, Disk};
use crate::paths::sync_folder;

/// What unpacking needs beside the release.
pub(crate) struct Unpacking<'a> {
    /// The archive; it need not be there when the release is.
    pub(crate) archive: PathBuf,
    /// How small files are written.
    pub(crate) disk: &'a Disk,
    /// Says that it is no longer wanted.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

/// Returns whether a release has its folder.
pub(crate) fn is_there(layout: &Layout, release: &Digest) -> bool {
    layout.release(release).is_dir()
}

/// Has a release whole in its folder, with what only the one that serves has beside it.
///
/// It may be done again at any point. Where the release serves already and was damaged, a whole one takes its place at once.
///
/// # Errors
/// What is wrong with the archive, or an I/O error; what serves is as it was.
pub(crate) fn unpack(layout: &Layout, record: &StaticRecord, with: &Unpacking<'_>) -> Result<String, String> {
    let release = &record.release;
    let (folder, temporary) = (layout.release(release), layout.unpacking(release));
    make_folder(layout.parent()).map_err(|error| said(layout.parent(), &error))?;
    let releases = layout.releases();
    make_folder(&releases).map_err(|error| said(&releases, &error))?;
    clear(&temporary).map_err(|error| said(&temporary, &error))?;

    let manifest = Manifest::load(&layout.manifest(release)).map_err(|error| said(&folder, &error))?;
    let seen = if folder.is_dir() { walk(&folder).map_err(|error| said(&folder, &error))? } else { BTreeMap::new() };
    let known = manifest.filter(|manifest| folder.is_dir() && manifest.is_whole(&seen));
    let whole = known.is_some();
    let base = if whole { &folder } else { &temporary };
    let mut manifest = match known {
        Some(manifest) => manifest,
        None => Manifest { files: extract(record, &temporary, with)?, kept: BTreeMap::new() },
    };
    let (source, copies, wanted) = leaving(layout, release, &seen)?;
    tidy(base, &manifest, &wanted).map_err(|error| said(base, &error))?;
    manifest.kept = keep(base, &source, copies, &wanted, &manifest)?;
    let kept = manifest.kept.len();
    let text = serde_json::to_vec(&manifest).expect("BUG: plain data always encodes");
    let list = layout.manifest(release);
    // All at once: one flush of the file system costs less than one of each small file.
    let flush = File::open(base).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    flush.map_err(|error| said(base, &error))?;
    let access = Access { mode: 0o600, owner: None };
    with.disk.replace(&list, &text, access).map_err(|error| said(&list, &error))?;
    if !whole {
        take_place(&temporary, &folder).map_err(|error| said(&folder, &error))?;
    }
    sync_folder(&releases).map_err(|error| said(&releases, &error))?;
    // The folder is the copy that is needed; the archive would only fill the disk.
    with.disk.remove(&with.archive).map_err(|error| said(&with.archive, &error))?;
    let what = if whole { "already here".to_owned() } else { format!("{} files", manifest.files.len()) };
    Ok(if kept == 0 { what } else { format!("{what}, and {kept} of the release before") })
}

/// Throws a release away that nothing leads to.
///
/// # Errors
/// That the link leads to it, or an I/O error.
pub(crate) fn discard(layout: &Layout, release: &Digest, disk: &Disk) -> Result<(), String> {
    let releases = layout.releases();
    if !releases.is_dir() {
        return Ok(());
    }
    let at = layout.at().map_err(|error| said(layout.link(), &error))?;
    if at == StaticAt::Release(*release) {
        return Err(format!("{} still leads to release {}", layout.link().display(), release.short()));
    }
    for path in [layout.unpacking(release), layout.release(release)] {
        clear(&path).map_err(|error| said(&path, &error))?;
    }
    let list = layout.manifest(release);
    disk.remove(&list).map_err(|error| said(&list, &error))?;
    disk.remove_empty_folder(&releases).map_err(|error| said(&releases, &error))
}

/// Unpacks an archive into a new folder.
fn extract(record: &StaticRecord, into: &Path, with: &Unpacking<'_>) -> Result<BTreeMap<String, Fact>, String> {
    let StaticRecord { archive: name, release, .. } = record;
    let archive = match File::open(&with.archive) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!(
                "release {} of {} is not whole here, and {name} was not sent: put it into the manager's folder of archives, and try again",
                release.short(),
                record.path
            ));
        }
        Err(error) => return Err(said(&with.archive, &error)),
    };
    make_folder(into).map_err(|error| said(into, &error))?;
    let mut files = BTreeMap::new();
    read_static_archive(BufReader::with_capacity(1 << 18, archive), &mut |file, content| {
        if (with.stop)() {
            return Err(io::Error::other("stopped on the way back"));
        }
        let path = into.join(&file.path);
        make_folder(path.parent().unwrap_or(into))?;
        let out = create(&path, content)?;
        files.insert(file.path.clone(), (file.size, set_time(&out, file.modified)?));
        Ok(())
    })
    .map_err(|why| format!("unpack {name}: {why}"))?;
    Ok(files)
}

fn create(path: &Path, content: &mut (impl Read + ?Sized)) -> io::Result<File> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    io::copy(content, &mut out)?;
    out.flush()?;
    // The umask must not have its say.
    out.set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    Ok(out)
}

/// Returns where files come from that are kept beside a release, whether they are copied, and which they are.
fn leaving(
    layout: &Layout,
    release: &Digest,
    own: &BTreeMap<String, Seen>,
) -> Result<(PathBuf, bool, BTreeMap<String, Fact>), String> {
    let at = layout.at().map_err(|error| said(layout.link(), &error))?;
    let plain = |seen: &BTreeMap<String, Seen>, list: BTreeMap<String, Fact>| -> BTreeMap<String, Fact> {
        list.into_iter().filter(|(path, fact)| seen.get(path) == Some(&Seen::File(*fact))).collect()
    };
    let (source, from) = match at {
        StaticAt::Release(live) if live != *release => (layout.release(&live), Some(live)),
        StaticAt::Foreign(_) => (layout.link().to_owned(), None),
        // What it keeps already, it keeps until the next one.
        StaticAt::Release(_) | StaticAt::Nothing | StaticAt::Elsewhere(_) => {
            let list = Manifest::load(&layout.manifest(release)).map_err(|error| said(layout.link(), &error))?;
            let kept = list.map(|list| list.kept).unwrap_or_default();
            return Ok((layout.release(release), false, plain(own, kept)));
        }
    };
    if !source.is_dir() {
        return Ok((source, false, BTreeMap::new()));
    }
    let seen = walk(&source).map_err(|error| said(&source, &error))?;
    if let Some(live) = from {
        let list = Manifest::load(&layout.manifest(&live)).map_err(|error| said(&source, &error))?;
        let files = list.map(|list| list.files).unwrap_or_default();
        return Ok((source, false, plain(&seen, files)));
    }
    // Somebody else's folder: its files are copied, whoever owns them, for a link would follow what is done to them later.
    let facts = seen.keys().filter_map(|path| {
        let meta = fs::symlink_metadata(source.join(path)).ok().filter(fs::Metadata::is_file)?;
        let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some((path.clone(), (meta.len(), modified)))
    });
    let facts = facts.collect();
    Ok((source, true, facts))
}

/// Removes what is neither a release's own nor wanted beside it.
fn tidy(base: &Path, manifest: &Manifest, wanted: &BTreeMap<String, Fact>) -> io::Result<()> {
    for (path, seen) in walk(base)? {
        let right = manifest.files.get(&path).or_else(|| wanted.get(&path));
        let at = base.join(&path);
        match seen {
            Seen::File(fact) if right == Some(&fact) => {}
            Seen::Folder => fs::set_permissions(&at, fs::Permissions::from_mode(FOLDER_MODE))?,
            Seen::File(_) | Seen::Other => fs::remove_file(&at)?,
        }
    }
    Ok(())
}

/// Puts what a release lacks beside it; returns what that is.
fn keep(
    base: &Path,
    source: &Path,
    copies: bool,
    wanted: &BTreeMap<String, Fact>,
    manifest: &Manifest,
) -> Result<BTreeMap<String, Fact>, String> {
    let mut kept = BTreeMap::new();
    for (path, fact) in wanted.iter().filter(|(path, _)| !manifest.files.contains_key(*path)) {
        let to = base.join(path);
        // Where a file became a folder, or the other way round, the new one has its way.
        if path.match_indices('/').any(|(at, _)| manifest.files.contains_key(&path[..at])) || to.is_dir() {
            continue;
        }
        if fs::symlink_metadata(&to).is_err() {
            let parent = to.parent().unwrap_or(base);
            make_folder(parent).map_err(|error| said(parent, &error))?;
            let from = source.join(path);
            let done = if copies { copy(&from, &to, fact.1) } else { fs::hard_link(&from, &to) };
            done.map_err(|error| said(&to, &error))?;
        }
        kept.insert(path.clone(), *fact);
    }
    Ok(kept)
}

fn copy(from: &Path, to: &Path, modified: u64) -> io::Result<()> {
    let out = create(to, &mut File::open(from)?)?;
    set_time(&out, modified).map(drop)
}

/// Says when a file was changed last, in seconds since the Unix epoch; returns what the file system made of it.
fn set_time(file: &File, modified: u64) -> io::Result<u64> {
    if let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(modified)) {
        file.set_times(FileTimes::new().set_modified(time))?;
    }
    Ok(u64::try_from(file.metadata()?.mtime()).unwrap_or_default())
}

/// Puts a folder in the place of another one at once, and removes that one.
fn take_place(new: &Path, old: &Path) -> io::Result<()> {
    if !old.is_dir() {
        return fs::rename(new, old);
    }
    exchange(new, old)?;
    clear(new)
}

/// Exchanges two names at once.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Removes a folder with all in it; that it is not there is fine.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder that everybody may enter, with those above it.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    DirBuilder::new().mode(FOLDER_MODE).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
}
