//! Files.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holdfast_protocol::{Digest, FilePut};
use serde::{Deserialize, Serialize};

use super::{Act, Probed, StepError, Work, decode, encode, fail};
use crate::accounts::Accounts;
use crate::disk::{Access, temporary};
use crate::{blob, digest};

/// The largest file whose prior content is kept for the way back.
const MAX_PRIOR: u64 = 64 * 1024 * 1024;

/// Puts a file in place.
pub(super) struct Put<'a>(pub(super) &'a FilePut);

/// Removes a file.
pub(super) struct Remove<'a> {
    pub(super) path: &'a str,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    prior: Option<Prior>,
    /// Folders that were missing, the outermost first.
    missing: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Prior {
    blob: Digest,
    mode: u32,
    user: u32,
    group: u32,
}

fn io(path: &Path, error: &io::Error) -> StepError {
    StepError::Failed(format!("{}: {error}", path.display()))
}

fn look(work: &Work<'_>, path: &Path) -> Result<Before, StepError> {
    check_path(path)?;
    let prior = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io(path, &error)),
        Ok(meta) if !meta.is_file() => {
            return fail(format!("{} is no regular file: move it away, it is not ours", path.display()));
        }
        Ok(meta) if meta.len() > MAX_PRIOR => {
            return fail(format!("{} has {} bytes, too many to keep for the way back", path.display(), meta.len()));
        }
        Ok(meta) => {
            let content = fs::read(path).map_err(|error| io(path, &error))?;
            let blob = blob::store(&work.host.root, &content).map_err(|error| io(path, &error))?;
            Some(Prior { blob, mode: meta.mode() & 0o7777, user: meta.uid(), group: meta.gid() })
        }
    };
    Ok(Before { prior, missing: missing_folders(path)? })
}

/// Only plain absolute paths: the manager made them from typed names, but this side does not rely on it.
pub(super) fn check_path(path: &Path) -> Result<(), StepError> {
    use std::path::Component;
    let plain = path.is_absolute()
        && path.file_name().is_some()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0);
    if plain { Ok(()) } else { fail(format!("{} is no plain absolute path", path.display())) }
}

pub(super) fn missing_folders(path: &Path) -> Result<Vec<PathBuf>, StepError> {
    let mut missing = Vec::new();
    for folder in path.ancestors().skip(1) {
        match fs::metadata(folder) {
            Ok(meta) if meta.is_dir() => break,
            Ok(_) => return fail(format!("{} is no folder", folder.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.insert(0, folder.to_owned()),
            Err(error) => return Err(io(folder, &error)),
        }
    }
    Ok(missing)
}

fn put_back(work: &Work<'_>, path: &Path, before: &Before) -> Result<(), StepError> {
    let disk = &work.host.disk;
    if let Some(prior) = &before.prior {
        let content = blob::read(&work.host.root, &prior.blob).map_err(|error| io(path, &error))?;
        for folder in missing_folders(path)? {
            disk.create_folder(&folder, 0o755).map_err(|error| io(&folder, &error))?;
        }
        let access = Access { mode: prior.mode, owner: Some((prior.user, prior.group)) };
        return disk.replace(path, &content, access).map_err(|error| io(path, &error));
    }
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return fail(format!("{} is no regular file any more: look at it", path.display()));
    }
    if path.parent().is_some_and(Path::is_dir) {
        disk.remove(path).map_err(|error| io(path, &error))?;
        disk.remove(&temporary(path)).map_err(|error| io(path, &error))?;
    }
    for folder in before.missing.iter().rev() {
        disk.remove_empty_folder(folder).map_err(|error| io(folder, &error))?;
    }
    Ok(())
}

/// Returns the numbers of an owner given by name or number.
pub(super) fn owner(work: &Work<'_>, user: &str, group: &str) -> Result<(u32, u32), StepError> {
    let mut accounts = Accounts::new(&work.host.system.etc);
    accounts.refresh().map_err(|error| StepError::Failed(format!("read the accounts of this host: {error}")))?;
    let missing =
        |kind: &str, name: &str| StepError::Failed(format!("{kind} `{name}` does not exist: create it first"));
    Ok((
        accounts.user_id(user).ok_or_else(|| missing("user", user))?,
        accounts.group_id(group).ok_or_else(|| missing("group", group))?,
    ))
}

impl Act for Put<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        look(work, Path::new(&self.0.path)).map(|before| encode(&before))
    }

    fn apply(&self, work: &Work<'_>, before: &[u8]) -> Result<String, StepError> {
        let path = Path::new(&self.0.path);
        let before: Before = decode(before)?;
        let owner = owner(work, &self.0.owner, &self.0.group)?;
        let content = blob::read(&work.host.root, &self.0.blob).map_err(|error| io(path, &error))?;
        if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return fail(format!("{} is no regular file: move it away, it is not ours", path.display()));
        }
        for folder in &before.missing {
            work.host.disk.create_folder(folder, 0o755).map_err(|error| io(folder, &error))?;
        }
        let access = Access { mode: self.0.mode & 0o7777, owner: Some(owner) };
        work.host.disk.replace(path, &content, access).map_err(|error| io(path, &error))?;
        Ok(String::new())
    }

    fn probe(&self, work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        let path = Path::new(&self.0.path);
        let owner = owner(work, &self.0.owner, &self.0.group)?;
        let same = fs::symlink_metadata(path).is_ok_and(|meta| {
            meta.is_file() && meta.mode() & 0o7777 == self.0.mode & 0o7777 && (meta.uid(), meta.gid()) == owner
        }) && fs::read(path).is_ok_and(|content| digest::of(&content) == self.0.blob);
        if !same {
            return Ok(Probed::DoIt);
        }
        // The rename is visible, but the crash may have come before it was durable.
        crate::paths::sync_folder(path.parent().unwrap_or(Path::new("/"))).map_err(|error| io(path, &error))?;
        Ok(Probed::Happened(String::new()))
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        put_back(work, Path::new(&self.0.path), &decode(before)?)
    }
}

impl Act for Remove<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        look(work, Path::new(self.path)).map(|before| encode(&before))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let path = Path::new(self.path);
        work.host.disk.remove(path).map_err(|error| io(path, &error))?;
        Ok(String::new())
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let before: Before = decode(before)?;
        match before.prior {
            Some(_) => put_back(work, Path::new(self.path), &before),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::testing::Bench;
    use super::*;

    fn put(bench: &Bench, path: &Path, content: &[u8], mode: u32) -> FilePut {
        let blob = blob::store(&bench.host.root, content).unwrap();
        FilePut { path: path.display().to_string(), blob, mode, owner: Bench::user(), group: Bench::group() }
    }

    #[test]
    fn cap_14_a_new_file_with_its_folders_comes_and_goes() {
        let bench = Bench::new();
        let path = bench.path().join("etc/a/b/c.conf");
        let put = put(&bench, &path, b"content", 0o640);
        let before = Put(&put).capture(&bench.work()).unwrap();
        assert_eq!(Put(&put).probe(&bench.work(), &before).unwrap(), Probed::DoIt);
        Put(&put).apply(&bench.work(), &before).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o755);
        assert!(matches!(Put(&put).probe(&bench.work(), &before).unwrap(), Probed::Happened(_)));
        Put(&put).undo(&bench.work(), &before).unwrap();
        assert!(!bench.path().join("etc/a").exists());
        Put(&put).undo(&bench.work(), &before).unwrap();
    }

    #[test]
    fn a_file_that_was_there_comes_back_with_its_mode() {
        let bench = Bench::new();
        let path = bench.path().join("file");
        fs::write(&path, "prior").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4600)).unwrap();
        let put = put(&bench, &path, b"content", 0o644);
        let before = Put(&put).capture(&bench.work()).unwrap();
        Put(&put).apply(&bench.work(), &before).unwrap();
        Put(&put).undo(&bench.work(), &before).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"prior");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o4600);

        let remove = Remove { path: path.to_str().unwrap() };
        let before = remove.capture(&bench.work()).unwrap();
        remove.apply(&bench.work(), &before).unwrap();
        assert!(!path.exists());
        remove.apply(&bench.work(), &before).unwrap();
        remove.undo(&bench.work(), &before).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"prior");
    }

    #[test]
    fn what_is_no_regular_file_is_left_alone() {
        let bench = Bench::new();
        let target = bench.path().join("target");
        fs::write(&target, "theirs").unwrap();
        let path = bench.path().join("link");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let put = put(&bench, &path, b"ours", 0o644);
        assert!(Put(&put).capture(&bench.work()).unwrap_err().to_string().contains("no regular file"));
        assert!(Remove { path: path.to_str().unwrap() }.capture(&bench.work()).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
    }

    #[test]
    fn odd_paths_are_refused() {
        let bench = Bench::new();
        for path in ["relative", "/a/../b", "/", "/a\0b", ""] {
            assert!(Remove { path }.capture(&bench.work()).is_err(), "{path:?}");
        }
    }

    #[test]
    fn an_unknown_owner_fails_before_anything_changes() {
        let bench = Bench::new();
        let path = bench.path().join("file");
        let mut put = put(&bench, &path, b"content", 0o644);
        put.owner = "nobody-of-this-name".to_owned();
        let before = Put(&put).capture(&bench.work()).unwrap();
        assert!(Put(&put).apply(&bench.work(), &before).unwrap_err().to_string().contains("does not exist"));
        assert!(!path.exists());
    }
}
