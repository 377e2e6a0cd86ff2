//! Looks at groups, accounts, folders and packages.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holdfast_protocol::{FolderLive, Observed, PrerequisiteQuery, PrerequisitesLive};

use crate::accounts::Accounts;

/// The packages that are installed, as Debian's package manager keeps them.
///
/// # Source
/// Debian policy §5.1 (paragraphs of `Field: value`); dpkg(1), "Package states": the third word of `Status` is `installed`.
#[derive(Debug)]
pub(super) struct Packages {
    path: PathBuf,
    stamp: Option<(u64, u64, i64, i64)>,
    versions: BTreeMap<String, String>,
}

impl Packages {
    /// Returns those of a file; nothing is read yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, versions: BTreeMap::new() }
    }

    fn refresh(&mut self) -> io::Result<()> {
        let meta = fs::metadata(&self.path)?;
        let stamp = Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if self.stamp != stamp {
            self.versions = parse(&String::from_utf8_lossy(&fs::read(&self.path)?));
            self.stamp = stamp;
        }
        Ok(())
    }
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let paragraph = |paragraph: &str| {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let installed = field("Status")?.split_ascii_whitespace().nth(2) == Some("installed");
        installed.then_some(())?;
        Some((field("Package")?, field("Version")?))
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

/// Returns how all that was asked for stands.
pub(super) fn look(
    query: &PrerequisiteQuery,
    accounts: &Accounts,
    known: &Result<(), String>,
    packages: &mut Packages,
) -> PrerequisitesLive {
    let by_account = |found: Option<_>| found.map_or(Observed::Absent, Observed::Seen);
    let groups = query.groups.iter().map(|name| {
        let live = match known {
            Ok(()) => accounts.named_group(name).map_or(Observed::Absent, Observed::Seen),
            Err(why) => Observed::Unknown(why.clone()),
        };
        (name.clone(), live)
    });
    let people = query.accounts.iter().map(|name| {
        let live = match known {
            Ok(()) => by_account(accounts.account(name)),
            Err(why) => Observed::Unknown(why.clone()),
        };
        (name.clone(), live)
    });
    let folders = query.folders.iter().map(|path| (path.clone(), folder(Path::new(path), accounts)));
    // The file is large: it is read when somebody asks.
    let read = if query.packages.is_empty() { Ok(()) } else { packages.refresh() };
    let installed = query.packages.iter().map(|name| {
        let live = match &read {
            Ok(()) => packages.versions.get(name).map_or(Observed::Absent, |version| Observed::Seen(version.clone())),
            Err(error) => Observed::Unknown(format!("{}: {error}", packages.path.display())),
        };
        (name.clone(), live)
    });
    PrerequisitesLive {
        groups: groups.collect(),
        accounts: people.collect(),
        folders: folders.collect(),
        packages: installed.collect(),
    }
}

fn folder(path: &Path, accounts: &Accounts) -> Observed<FolderLive> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Observed::Seen(FolderLive {
            folder: meta.is_dir(),
            mode: meta.mode() & 0o7777,
            owner: accounts.user(meta.uid()),
            group: accounts.group(meta.gid()),
            numbers: (meta.uid(), meta.gid()),
        }),
        // A file in the place of a folder above it: the way there is looked at when it is made.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Observed::Absent
        }
        Err(error) => Observed::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_14_only_what_is_installed_counts() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("status");
        let text = "Package: jq\nStatus: install ok installed\nVersion: 1.7\nDescription: x\n Package: no\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        fs::write(&status, text).unwrap();
        fs::write(folder.path().join("passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(folder.path().join("group"), "root:x:0:\n").unwrap();
        let mut accounts = Accounts::new(folder.path());
        let known = accounts.refresh().map_err(|error| error.to_string());
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let there = folder.path().display().to_string();
        let query = PrerequisiteQuery {
            groups: names(&["root", "nobody-here"]),
            accounts: names(&["nobody-here"]),
            folders: names(&[&there, "/no/such/folder"]),
            packages: names(&["jq", "gone", "never"]),
        };
        let mut packages = Packages::new(status);
        let live = look(&query, &accounts, &known, &mut packages);
        assert_eq!(live.packages["jq"], Observed::Seen("1.7".to_owned()));
        assert_eq!((&live.packages["gone"], &live.packages["never"]), (&Observed::Absent, &Observed::Absent));
        assert_eq!((&live.groups["root"], &live.groups["nobody-here"]), (&Observed::Seen(0), &Observed::Absent));
        assert_eq!(live.accounts["nobody-here"], Observed::Absent);
        assert!(live.folders[&there].seen().unwrap().folder);
        assert_eq!(live.folders["/no/such/folder"], Observed::Absent);
        let live = look(&query, &accounts, &Err("why".to_owned()), &mut Packages::new("/no/such".into()));
        assert!(matches!(&live.accounts["nobody-here"], Observed::Unknown(why) if why == "why"));
        assert!(matches!(&live.packages["jq"], Observed::Unknown(_)));
    }
}
