//! Names of users and groups, and their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holdfast_protocol::AccountLive;

/// The users and groups of a host's own files.
///
/// # Assumptions
/// Only `/etc/passwd` and `/etc/group` count: a static program cannot load the modules of a directory service. An account that
/// only such a service knows shows up as its number, and a number is accepted wherever a name is.
///
/// # Source
/// passwd(5) and group(5): fields apart by `:`, the name first, the number third.
#[derive(Debug, Default)]
pub struct Accounts {
    users: Names,
    groups: Names,
}

#[derive(Debug, Default)]
struct Names {
    path: PathBuf,
    stamp: Option<(u64, u64, u64, i64, i64)>,
    by_id: BTreeMap<u32, String>,
    by_name: BTreeMap<String, u32>,
    /// Whole entries, field by field.
    entries: BTreeMap<String, Vec<String>>,
}

impl Accounts {
    /// Returns the accounts below `etc`; nothing is read yet.
    pub fn new(etc: &Path) -> Self {
        Self {
            users: Names { path: etc.join("passwd"), ..Names::default() },
            groups: Names { path: etc.join("group"), ..Names::default() },
        }
    }

    /// Reads the files again where they changed.
    ///
    /// # Errors
    /// When one cannot be read; what was known before stays.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.users.refresh()?;
        self.groups.refresh()
    }

    /// Returns a user's name, or the number as text.
    pub fn user(&self, id: u32) -> String {
        self.users.name(id)
    }

    /// Returns a group's name, or the number as text.
    pub fn group(&self, id: u32) -> String {
        self.groups.name(id)
    }

    /// Returns an account by its name, with all it is in; `None` when there is no such one here.
    pub fn account(&self, name: &str) -> Option<AccountLive> {
        let entry = self.users.entries.get(name)?;
        let field = |index: usize| entry.get(index).cloned().unwrap_or_default();
        let lists = |group: &Vec<String>| group.get(3).is_some_and(|members| members.split(',').any(|one| one == name));
        let groups = self.groups.entries.iter().filter(|(_, group)| lists(group));
        Some(AccountLive {
            group: field(3).parse().map_or_else(|_| field(3), |id| self.group(id)),
            groups: groups.map(|(group, _)| group.clone()).collect::<BTreeSet<_>>(),
            home: field(5),
            shell: field(6),
        })
    }

    /// Returns the number of a group by its name alone.
    pub fn named_group(&self, name: &str) -> Option<u32> {
        self.groups.by_name.get(name).copied()
    }

    /// Returns the number of a user given by name or number.
    pub fn user_id(&self, name: &str) -> Option<u32> {
        self.users.id(name)
    }

    /// Returns the number of a group given by name or number.
    pub fn group_id(&self, name: &str) -> Option<u32> {
        self.groups.id(name)
    }
}

impl Names {
    fn refresh(&mut self) -> io::Result<()> {
        let meta = fs::metadata(&self.path)?;
        let stamp = Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        if self.stamp != stamp {
            let text = String::from_utf8_lossy(&fs::read(&self.path)?).into_owned();
            (self.by_id, self.by_name, self.entries) = parse(&text);
            self.stamp = stamp;
        }
        Ok(())
    }

    fn name(&self, id: u32) -> String {
        self.by_id.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied().or_else(|| name.parse().ok())
    }
}

/// The first line of a name or number counts, as for the C library.
type Parsed = (BTreeMap<u32, String>, BTreeMap<String, u32>, BTreeMap<String, Vec<String>>);

fn parse(text: &str) -> Parsed {
    let mut by_id = BTreeMap::new();
    let mut by_name = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
        let Ok(id) = id.parse::<u32>() else { continue };
        if name.is_empty() || name.starts_with(['#', '+', '-']) {
            continue;
        }
        by_id.entry(id).or_insert_with(|| name.to_owned());
        by_name.entry(name.to_owned()).or_insert(id);
        entries.entry(name.to_owned()).or_insert_with(|| line.split(':').map(str::to_owned).collect());
    }
    (by_id, by_name, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("passwd"),
            "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n+nis:x:5:5:::\nbroken\n",
        )
        .unwrap();
        fs::write(folder.path().join("group"), "www-data:x:33:\n").unwrap();
        let mut accounts = Accounts::new(folder.path());
        accounts.refresh().unwrap();
        assert_eq!(accounts.user(0), "root");
        assert_eq!(accounts.user(7), "7");
        assert_eq!(accounts.user(5), "5");
        assert_eq!(accounts.user_id("toor"), Some(0));
        assert_eq!(accounts.user_id("1000"), Some(1000));
        assert_eq!(accounts.group_id("www-data"), Some(33));
        assert_eq!(accounts.group_id("nobody"), None);

        fs::write(folder.path().join("group"), "www-data:x:34:\nnew:x:35:\n").unwrap();
        accounts.refresh().unwrap();
        assert_eq!(accounts.group(35), "new");
    }

    #[test]
    fn cap_14_an_account_is_all_its_lines_say() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("passwd"), "nps:x:990:991::/opt/nps:/bin/false\n").unwrap();
        fs::write(folder.path().join("group"), "nps:x:991:\nadm:x:4:syslog,nps\ndocker:x:5:npsx\n").unwrap();
        let mut accounts = Accounts::new(folder.path());
        accounts.refresh().unwrap();
        let expected = AccountLive {
            group: "nps".to_owned(),
            groups: ["adm".to_owned()].into(),
            home: "/opt/nps".to_owned(),
            shell: "/bin/false".to_owned(),
        };
        assert_eq!(accounts.account("nps"), Some(expected));
        assert_eq!(accounts.account("adm"), None);
        assert_eq!((accounts.named_group("adm"), accounts.named_group("4")), (Some(4), None));
    }
}
