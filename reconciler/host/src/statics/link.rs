use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use holdfast_protocol::{Digest, StaticAt};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::release::{clear, discard, exchange};
use super::said;
use crate::disk::Disk;
use crate::paths::sync_folder;

/// What stood at the link's place before a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stood {
    /// Nothing.
    Nothing,
    /// A link, and what it said.
    Link(PathBuf),
    /// Something that is not ours and goes aside.
    Foreign,
}

/// Returns what stands there, unless it may not be touched.
///
/// # Errors
/// That it is not ours, or cannot be looked at.
pub(crate) fn stands(layout: &Layout, adopt: bool) -> Result<Stood, String> {
    let link = layout.link();
    match layout.at().map_err(|error| said(link, &error))? {
        StaticAt::Nothing => Ok(Stood::Nothing),
        StaticAt::Release(_) | StaticAt::Elsewhere(_) => {
            fs::read_link(link).map(Stood::Link).map_err(|error| said(link, &error))
        }
        StaticAt::Foreign(_) if adopt => {
            let aside = layout.adopted();
            match fs::symlink_metadata(&aside) {
                Ok(_) => {
                    Err(format!("{} is to go aside, and {} is there: move that away", link.display(), aside.display()))
                }
                Err(_) => Ok(Stood::Foreign),
            }
        }
        StaticAt::Foreign(what) => {
            Err(format!("{} is {what}, and not Holdfast's: move it away, or take it over with --adopt", link.display()))
        }
    }
}

/// Lets the link lead to a release.
///
/// # Errors
/// That the release is not here, or an I/O error.
pub(crate) fn switch(layout: &Layout, release: &Digest, stood: &Stood) -> Result<(), String> {
    if !super::is_there(layout, release) {
        return Err(format!("{} is not there", layout.release(release).display()));
    }
    lead(layout, &layout.target(release), *stood == Stood::Foreign)
}

/// Returns whether the link leads to a release and nothing is left to be done.
///
/// # Errors
/// That it cannot be looked at.
pub(crate) fn switched(layout: &Layout, release: &Digest) -> Result<bool, String> {
    let at = layout.at().map_err(|error| said(layout.link(), &error))?;
    if at != StaticAt::Release(*release) || fs::symlink_metadata(layout.new_link()).is_ok() {
        return Ok(false);
    }
    sync_folder(layout.parent()).map_err(|error| said(layout.parent(), &error))?;
    Ok(true)
}

/// Puts back what stood there.
///
/// # Errors
/// That something stands there that is not ours, or an I/O error.
pub(crate) fn put_back(layout: &Layout, stood: &Stood) -> Result<(), String> {
    let (link, new) = (layout.link(), layout.new_link());
    let failed = |error: io::Error| said(link, &error);
    match stood {
        Stood::Nothing => remove_link(layout),
        Stood::Link(target) => lead(layout, target, false),
        Stood::Foreign => {
            let adopted = layout.adopted();
            if is_link(link) {
                // Between the two renames it has the new link's name.
                let aside = if fs::symlink_metadata(&adopted).is_ok() { &adopted } else { &new };
                exchange(aside, link).map_err(failed)?;
            }
            // What is aside now is our link.
            for ours in [adopted, new].iter().filter(|path| is_link(path)) {
                fs::remove_file(ours).map_err(failed)?;
            }
            sync_folder(layout.parent()).map_err(failed)
        }
    }
}

/// Removes releases that are not needed, and the link when it does not stay.
///
/// # Errors
/// Any I/O error; it may be done again.
pub(crate) fn prune(layout: &Layout, keep: &[Digest], link: bool, disk: &Disk) -> Result<String, String> {
    if !link {
        remove_link(layout)?;
    }
    let releases = layout.releases();
    let failed = |error: io::Error| said(&releases, &error);
    let entries = match fs::read_dir(&releases) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other.map_err(failed)?,
    };
    let at = layout.at().map_err(|error| said(layout.link(), &error))?;
    let mut gone = 0;
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        // What is only half unpacked has no name of its own.
        if name.starts_with(".new-") {
            clear(&releases.join(name)).map_err(failed)?;
        }
        let Ok(release) = name.parse::<Digest>() else { continue };
        if !keep.contains(&release) && at != StaticAt::Release(release) {
            discard(layout, &release, disk)?;
            gone += 1;
        }
    }
    if releases.is_dir() {
        disk.remove_empty_folder(&releases).map_err(failed)?;
    }
    Ok(if gone == 0 { String::new() } else { format!("{gone} cleared away") })
}

/// Lets the link say this, with one rename. `aside`: what stands there goes aside first, in the same moment.
fn lead(layout: &Layout, target: &Path, aside: bool) -> Result<(), String> {
    let (link, new) = (layout.link(), layout.new_link());
    let failed = |error: io::Error| said(link, &error);
    if is_link(&new) {
        fs::remove_file(&new).map_err(failed)?;
    }
    // It may have been exchanged already: then what went aside has the new link's name.
    let exchanged = aside && is_link(link);
    if !exchanged {
        std::os::unix::fs::symlink(target, &new).map_err(failed)?;
        if aside {
            exchange(&new, link).map_err(failed)?;
        } else {
            fs::rename(&new, link).map_err(failed)?;
        }
    }
    if aside && fs::symlink_metadata(&new).is_ok() {
        fs::rename(&new, layout.adopted()).map_err(failed)?;
    }
    sync_folder(layout.parent()).map_err(failed)
}

/// Removes the link when it is ours.
fn remove_link(layout: &Layout) -> Result<(), String> {
    let link = layout.link();
    let failed = |error: io::Error| said(link, &error);
    if matches!(layout.at().map_err(failed)?, StaticAt::Release(_)) {
        fs::remove_file(link).map_err(failed)?;
        sync_folder(layout.parent()).map_err(failed)?;
    }
    Ok(())
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}
