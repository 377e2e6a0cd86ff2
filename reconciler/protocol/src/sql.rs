//! Numbered SQL files.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// A numbered SQL file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlFile {
    /// Its whole name: a number, then whatever says what it does.
    pub name: String,
    /// What it says.
    pub text: String,
    /// The SHA-256 of that.
    pub checksum: Digest,
}

/// Returns what SQL files are ordered by: the number that the name begins with, then the name. `None` where it begins with none, or
/// with one of more than 18 digits.
pub fn sql_order(name: &str) -> Option<(u64, &str)> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    (digits <= 18).then(|| name[..digits].parse().ok()).flatten().map(|number| (number, name))
}

/// The database that SQL files are for, in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlTarget {
    /// Compose project.
    pub project: String,
    /// Compose service.
    pub service: String,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
}

/// SQL files to be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlRun {
    /// `<environment>/<app>/<component>/<digest of the files>`.
    pub id: String,
    /// Whose files they are in the database's own list, `<app>/<component>`: without the environment, so that a copy of a database
    /// keeps it.
    pub owner: String,
    /// Which database.
    pub target: SqlTarget,
    /// All files, in their order.
    pub files: Vec<SqlFile>,
    /// Whether the release before works with what they make.
    pub reversible: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_54_files_are_ordered_by_their_number() {
        let mut names = ["013_b.sql", "9_z.sql", "013_a.sql", "0100_x.sql", "14.sql"];
        names.sort_by_key(|name| sql_order(name));
        assert_eq!(names, ["9_z.sql", "013_a.sql", "013_b.sql", "14.sql", "0100_x.sql"]);
        for bad in ["users.sql", "_1.sql", "1234567890123456789_x.sql", ""] {
            assert_eq!(sql_order(bad), None, "{bad}");
        }
    }
}
