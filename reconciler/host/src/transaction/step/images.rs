//! Container images.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use holdfast_protocol::{ImageArchive, Observed};

use super::{Act, StepError, Work, fail};
use crate::docker::Engine;

/// Makes images available: each is here, comes in an archive that was sent, or is pulled.
pub(super) struct Images<'a> {
    pub(super) images: &'a [String],
    pub(super) archives: &'a [ImageArchive],
}

impl Act for Images<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let mut engine = Engine::new(work.host.system.clone());
        let (mut loaded, mut pulled) = (0, 0);
        for archive in self.archives {
            loaded += u32::from(from_archive(work, &mut engine, archive)?);
        }
        let archived = |image: &&String| self.archives.iter().any(|archive| archive.images.contains_key(*image));
        for image in self.images.iter().filter(|image| !archived(image)) {
            if find(&mut engine, image)?.is_some() {
                continue;
            }
            (work.tell)(&format!("pulling {image}"));
            work.run("docker", &["pull", "--quiet", "--", image])?;
            // A pull that says it worked and left nothing is a failure.
            if find(&mut engine, image)?.is_none() {
                return fail(format!("image {image} is not here after it was pulled"));
            }
            pulled += 1;
        }
        let mut said = Vec::new();
        if loaded > 0 {
            said.push(format!("{loaded} of {} archives loaded", self.archives.len()));
        }
        if pulled > 0 {
            said.push(format!("{pulled} of {} pulled", self.images.len()));
        }
        Ok(said.join(", "))
    }
}

/// Returns the id of an image; `None` when it is not here.
fn find(engine: &mut Engine, image: &str) -> Result<Option<String>, StepError> {
    match engine.image(image) {
        Observed::Seen(id) => Ok(Some(id)),
        Observed::Absent => Ok(None),
        Observed::Unknown(why) => fail(format!("look for image {image}: {why}")),
    }
}

/// Has the images of an archive here under their names; returns whether it had to be loaded for that.
///
/// It may be done again at any point: what is here is not loaded, and the archive goes only when all of it is here.
fn from_archive(work: &Work<'_>, engine: &mut Engine, archive: &ImageArchive) -> Result<bool, StepError> {
    let path = work.host.root.blob(&archive.blob);
    let mut missing = false;
    for (image, ids) in &archive.images {
        missing |= !named(work, engine, image, ids)?;
    }
    if missing {
        if !path.is_file() {
            return fail(format!(
                "an image of the archive {} has gone since it was looked for: try again",
                archive.file
            ));
        }
        (work.tell)(&format!("loading {}", archive.file));
        work.run("docker", &["load", "--quiet", "--input", &path.display().to_string()])?;
        for (image, ids) in &archive.images {
            let found = find(engine, image)?;
            if !found.as_ref().is_some_and(|id| ids.contains(id)) {
                let found = found.unwrap_or_else(|| "not here".to_owned());
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                return fail(format!(
                    "image {image} is {found} after {} was loaded, expected {}",
                    archive.file,
                    ids.join(" or ")
                ));
            }
        }
    }
    // The engine has its own copy; this one would only fill the disk.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => fail(format!("remove {}: {error}", path.display())),
        _ => Ok(missing),
    }
}

/// Returns whether an image is here under its name; one that is here under another one gets it.
fn named(work: &Work<'_>, engine: &mut Engine, image: &str, ids: &BTreeSet<String>) -> Result<bool, StepError> {
    if find(engine, image)?.is_some_and(|id| ids.contains(&id)) {
        return Ok(true);
    }
    for id in ids {
        if find(engine, id)?.is_some() {
            work.run("docker", &["image", "tag", "--", id, image])?;
            return Ok(find(engine, image)?.is_some_and(|found| ids.contains(&found)));
        }
    }
    Ok(false)
}

/// Removes images that no kept release needs.
pub(super) struct Remove<'a>(pub(super) &'a [String]);

impl Act for Remove<'_> {
    /// What cannot be removed, such as one that somebody's container uses, stays: the release serves all the same.
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let (mut gone, mut kept) = (0, Vec::new());
        for image in self.0 {
            match work.ask("docker", &["image", "rm", "--", image]) {
                Ok(output) if output.code == 0 => gone += 1,
                Ok(output) if output.told().contains("No such image") => {}
                Ok(output) => kept.push(output.told()),
                Err(StepError::Stopped) => return Err(StepError::Stopped),
                Err(error) => kept.push(error.to_string()),
            }
        }
        Ok(match kept.first() {
            None => format!("{gone} of {} cleared away", self.0.len()),
            Some(why) => format!("{gone} of {} cleared away; {} stay: {why}", self.0.len(), kept.len()),
        })
    }
}
