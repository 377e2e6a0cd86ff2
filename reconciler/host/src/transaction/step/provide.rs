//! What has to be on a host before a component: groups, accounts, folders.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holdfast_protocol::{AccountLive, AccountSpec, FolderSpec};
use serde::{Deserialize, Serialize};

use super::file::{check_path, missing_folders, owner};
use super::{Act, StepError, Work, decode, encode, fail};
use crate::accounts::Accounts;

/// Makes a system group.
pub(super) struct Group<'a>(pub(super) &'a str);

/// Makes an account, or brings one to what it should be.
pub(super) struct Account<'a> {
    pub(super) name: &'a str,
    pub(super) spec: &'a AccountSpec,
}

/// Makes a folder, or gives it its owner and mode.
pub(super) struct Folder<'a> {
    pub(super) path: &'a str,
    pub(super) spec: &'a FolderSpec,
}

fn accounts(work: &Work<'_>) -> Result<Accounts, StepError> {
    let mut accounts = Accounts::new(&work.host.system.etc);
    accounts.refresh().map_err(|error| StepError::Failed(format!("read the accounts of this host: {error}")))?;
    Ok(accounts)
}

/// Only names that no tool takes for an option: the manager checked them, but this side does not rely on it.
fn check_name(name: &str) -> Result<(), StepError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > 32 || name.starts_with(['-', '.']) || !name.chars().all(fits) {
        return fail(format!("`{}` is no name of an account or group", name.escape_debug()));
    }
    Ok(())
}

impl Act for Group<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        check_name(self.0)?;
        if accounts(work)?.named_group(self.0).is_none() {
            work.run("groupadd", &["--system", "--", self.0])?;
        }
        Ok(String::new())
    }
}

/// # Source
/// useradd(8), usermod(8) of shadow 4.13 (Debian 12) and 4.17 (Debian 13).
impl Act for Account<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        Ok(encode(&accounts(work)?.account(self.name)))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let Self { name, spec } = *self;
        for name in spec.groups.iter().chain([&spec.group]).map(String::as_str).chain([name]) {
            check_name(name)?;
        }
        let known = accounts(work)?;
        if let Some(group) = spec.groups.iter().find(|group| known.named_group(group).is_none()) {
            return fail(format!(
                "group `{group}` does not exist: declare it under `groups`, or install what brings it"
            ));
        }
        let groups = spec.groups.iter().cloned().collect::<Vec<_>>().join(",");
        let has_group = known.named_group(&spec.group).is_some();
        if !has_group && spec.group != name {
            return fail(format!("group `{}` does not exist: declare it under `groups`", spec.group));
        }
        let mut args = vec!["--home-dir", &spec.home, "--shell", &spec.shell];
        if known.account(name).is_some() {
            args[0] = "--home";
            if !has_group {
                work.run("groupadd", &["--system", "--", name])?;
            }
            args.extend(["--gid", &spec.group]);
            if !groups.is_empty() {
                args.extend(["--append", "--groups", &groups]);
            }
            args.extend(["--", name]);
            work.run("usermod", &args)?;
            return Ok("changed".to_owned());
        }
        args.push("--no-create-home");
        if spec.system {
            args.push("--system");
        }
        if has_group {
            args.extend(["--gid", &spec.group]);
        } else {
            args.push("--user-group");
        }
        if !groups.is_empty() {
            args.extend(["--groups", &groups]);
        }
        args.extend(["--", name]);
        work.run("useradd", &args)?;
        Ok("made".to_owned())
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        // One that was made stays: files may have its number, and the next account to get that would own them.
        let Some(before) = decode::<Option<AccountLive>>(before)? else { return Ok(()) };
        if accounts(work)?.account(self.name).as_ref() == Some(&before) {
            return Ok(());
        }
        let groups = before.groups.iter().cloned().collect::<Vec<_>>().join(",");
        let args = [
            "--home",
            &before.home,
            "--shell",
            &before.shell,
            "--gid",
            &before.group,
            "--groups",
            &groups,
            "--",
            self.name,
        ];
        work.run("usermod", &args).map(drop)
    }
}

/// What stood there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    /// Mode, owner and group.
    prior: Option<(u32, u32, u32)>,
    /// Folders that were missing, the outermost first, this one not among them.
    missing: Vec<PathBuf>,
}

fn io(path: &Path, error: &io::Error) -> StepError {
    StepError::Failed(format!("{}: {error}", path.display()))
}

/// Returns mode and owners of a folder; a link is none.
fn look(path: &Path) -> Result<Option<(u32, u32, u32)>, StepError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path, &error)),
        Ok(meta) if !meta.is_dir() => fail(format!("{} is no folder: move it away, it is not ours", path.display())),
        Ok(meta) => Ok(Some((meta.mode() & 0o7777, meta.uid(), meta.gid()))),
    }
}

/// Through an open folder, so that it is the one that was looked at.
fn set(path: &Path, (mode, user, group): (u32, u32, u32)) -> Result<(), StepError> {
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let folder =
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|error| io(path, &io::Error::from(error)))?;
    let folder = fs::File::from(folder);
    std::os::unix::fs::fchown(&folder, Some(user), Some(group)).map_err(|error| io(path, &error))?;
    // After the owner: a change of owner clears set-user-id bits.
    folder.set_permissions(fs::Permissions::from_mode(mode)).map_err(|error| io(path, &error))?;
    folder.sync_all().map_err(|error| io(path, &error))
}

impl Act for Folder<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let path = Path::new(self.path);
        check_path(path)?;
        let _ = work;
        Ok(encode(&Before { prior: look(path)?, missing: missing_folders(path)? }))
    }

    fn apply(&self, work: &Work<'_>, before: &[u8]) -> Result<String, StepError> {
        let path = Path::new(self.path);
        let before: Before = decode(before)?;
        let (user, group) = owner(work, &self.spec.owner, &self.spec.group)?;
        for folder in &before.missing {
            work.host.disk.create_folder(folder, 0o755).map_err(|error| io(folder, &error))?;
        }
        if look(path)?.is_none() {
            // Nobody else may look in before it has its owner.
            work.host.disk.create_folder(path, 0o700).map_err(|error| io(path, &error))?;
        }
        set(path, (self.spec.mode & 0o7777, user, group))?;
        Ok(String::new())
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let path = Path::new(self.path);
        let before: Before = decode(before)?;
        if let Some(prior) = before.prior {
            return if look(path)?.is_some() { set(path, prior) } else { Ok(()) };
        }
        for folder in std::iter::once(path).chain(before.missing.iter().rev().map(PathBuf::as_path)) {
            work.host.disk.remove_empty_folder(folder).map_err(|error| io(folder, &error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::Bench;
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn spec(mode: u32) -> FolderSpec {
        FolderSpec { owner: Bench::user(), group: Bench::group(), mode }
    }

    #[test]
    fn cap_14_a_folder_is_made_with_those_above_it_and_goes_again_while_it_is_empty() {
        let bench = Bench::new();
        let path = bench.path().join("srv/app/data");
        let spec = spec(0o2750);
        let folder = Folder { path: path.to_str().unwrap(), spec: &spec };
        let before = folder.capture(&bench.work()).unwrap();
        folder.apply(&bench.work(), &before).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o2750, 0o755));
        folder.apply(&bench.work(), &before).unwrap();
        folder.undo(&bench.work(), &before).unwrap();
        assert!(!bench.path().join("srv").exists());
        folder.undo(&bench.work(), &before).unwrap();

        folder.apply(&bench.work(), &before).unwrap();
        fs::write(path.join("kept"), "x").unwrap();
        folder.undo(&bench.work(), &before).unwrap();
        assert!(path.join("kept").exists(), "what somebody put in stays");
    }

    #[test]
    fn cap_14_a_folder_that_was_there_gets_its_mode_and_gets_it_back() {
        let bench = Bench::new();
        let path = bench.path().join("backups");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let spec = spec(0o750);
        let folder = Folder { path: path.to_str().unwrap(), spec: &spec };
        let before = folder.capture(&bench.work()).unwrap();
        folder.apply(&bench.work(), &before).unwrap();
        assert_eq!(mode(&path), 0o750);
        folder.undo(&bench.work(), &before).unwrap();
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_left_alone() {
        let bench = Bench::new();
        let target = bench.path().join("target");
        fs::create_dir(&target).unwrap();
        let before = mode(&target);
        let path = bench.path().join("link");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let spec = spec(0o700);
        let folder = Folder { path: path.to_str().unwrap(), spec: &spec };
        assert!(folder.capture(&bench.work()).unwrap_err().to_string().contains("no folder"));
        assert!(set(&path, (0o700, 0, 0)).is_err());
        assert_eq!(mode(&target), before);
    }

    #[test]
    fn odd_names_reach_no_tool() {
        let bench = Bench::new();
        for name in ["-x", "a b", "", "a:b", "a,b"] {
            let spec = AccountSpec {
                group: "root".to_owned(),
                groups: BTreeSet::new(),
                home: "/".to_owned(),
                shell: "/bin/sh".to_owned(),
                system: true,
            };
            assert!(Group(name).apply(&bench.work(), &[]).unwrap_err().to_string().contains("no name"), "{name:?}");
            let account = Account { name, spec: &spec };
            assert!(account.apply(&bench.work(), &[]).unwrap_err().to_string().contains("no name"), "{name:?}");
        }
    }
}
