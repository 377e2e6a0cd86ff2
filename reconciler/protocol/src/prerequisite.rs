use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Observed;

/// What must be on a host before a component can be: made where it is missing, never removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prerequisites {
    /// System groups by name.
    pub groups: BTreeSet<String>,
    /// Accounts by name.
    pub accounts: BTreeMap<String, AccountSpec>,
    /// Folders by absolute path.
    pub folders: BTreeMap<String, FolderSpec>,
}

impl Prerequisites {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.accounts.is_empty() && self.folders.is_empty()
    }
}

/// A local account as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSpec {
    /// Its primary group; one of the account's own name is made with it where it is missing.
    pub group: String,
    /// Further groups it must be in. Others that it is in are left alone.
    pub groups: BTreeSet<String>,
    /// Its home; not made.
    pub home: String,
    /// Its shell.
    pub shell: String,
    /// Whether its number is from the range of the system's own accounts. Counts only when it is made.
    pub system: bool,
}

/// A folder as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSpec {
    /// Owner: a name or a number.
    pub owner: String,
    /// Group: a name or a number.
    pub group: String,
    /// Permission bits.
    pub mode: u32,
}

/// The names of prerequisites to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrerequisiteQuery {
    /// Groups.
    pub groups: BTreeSet<String>,
    /// Accounts.
    pub accounts: BTreeSet<String>,
    /// Folders, by absolute path.
    pub folders: BTreeSet<String>,
    /// Packages of the distribution.
    pub packages: BTreeSet<String>,
}

/// Prerequisites as they are: all that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrerequisitesLive {
    /// Numbers of groups by name.
    pub groups: BTreeMap<String, Observed<u32>>,
    /// Accounts by name.
    pub accounts: BTreeMap<String, Observed<AccountLive>>,
    /// Folders by path.
    pub folders: BTreeMap<String, Observed<FolderLive>>,
    /// Versions of packages by name. `Absent`: not installed, or only its configuration is left.
    pub packages: BTreeMap<String, Observed<String>>,
}

/// An account on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLive {
    /// Its primary group.
    pub group: String,
    /// The groups that list it.
    pub groups: BTreeSet<String>,
    /// Its home.
    pub home: String,
    /// Its shell.
    pub shell: String,
}

/// What stands where a folder should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderLive {
    /// Whether it is a folder itself, and not a link to one or something else.
    pub folder: bool,
    /// Permission bits.
    pub mode: u32,
    /// Owner's name, or number where it has none.
    pub owner: String,
    /// Group's name, or number where it has none.
    pub group: String,
    /// Owner's and group's numbers.
    pub numbers: (u32, u32),
}
