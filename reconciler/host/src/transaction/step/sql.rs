//! Numbered SQL files: each at most once, in a transaction of its own, whoever else tries too.
//!
//! The database itself knows which were applied: a file's row is written in the file's own transaction. Whatever dies in between, a file
//! is applied with its row, or neither is there; so doing the step again does what is left. They are said to the database inside its own
//! container: no pooler, whose connections change hands between transactions, is in between.
//!
//! # Format
//! Table `public.holdfast_migrations`: whose file, its whole name, the SHA-256 of its text, the release and the time. It is named with
//! its schema, for a file may make one that comes first on the path, where another table of this name would begin empty.

use std::collections::BTreeMap;

use holdfast_protocol::{MigrationRecord, MigrationRunner, SqlFile, SqlRun, SqlTarget, sql_order};

use super::super::run::now_ms;
use super::{Act, Probed, StepError, Work, fail};
use crate::exec::{Call, shown};
use crate::ledger;

/// The key of the advisory lock: `HFSM`.
const LOCK: u32 = 0x4846_534d;

/// The table of what was applied.
const TABLE: &str = "public.holdfast_migrations";

/// Applies SQL files.
pub(super) struct Sql<'a>(pub(super) &'a SqlRun);

impl Act for Sql<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        // What runs is waited for: its end counts.
        let work = &Work { stop: &|| false, ..*work };
        let container = self.container(work)?;
        self.say(
            work,
            &container,
            &format!(
                "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); SET LOCAL client_min_messages = warning; \
                 CREATE TABLE IF NOT EXISTS {TABLE} (owner text NOT NULL, name text NOT NULL, checksum text NOT NULL, \
                 release text NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (owner, name)); COMMIT;"
            ),
        )?;
        let before = self.known(work, &container)?;
        check_edited(&self.0.files, &before)?;
        let mut broke = None;
        for file in self.0.files.iter().filter(|file| !before.contains_key(&file.name)) {
            (work.tell)(&format!("applying {}", file.name));
            let script = script(&self.0.owner, file, &work.spec.release, work.left().as_millis());
            if let Err(error) = self.say(work, &container, &script) {
                // Another run may have been faster.
                if !self.known(work, &container)?.contains_key(&file.name) {
                    broke = Some((file, error));
                    break;
                }
            }
        }
        let known = self.known(work, &container)?;
        let (from, to) = (revision(&before), revision(&known));
        if known != before || broke.is_none() {
            self.record(work, (from.clone(), to.clone()), known.clone(), broke.is_none())?;
        }
        let word = |revision: &str| if revision.is_empty() { "empty".to_owned() } else { revision.to_owned() };
        if let Some((file, error)) = broke {
            return fail(format!(
                "{} was not applied, nor was any after it; the schema is at {}: {error}",
                file.name,
                word(&to)
            ));
        }
        check_edited(&self.0.files, &known)?;
        if let Some(lost) = self.0.files.iter().find(|file| !known.contains_key(&file.name)) {
            return fail(format!("{TABLE} has no row of {}, which was applied: look into the database", lost.name));
        }
        Ok(format!("{}: {} to {}", self.0.id, word(&from), word(&to)))
    }

    fn probe(&self, work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        let ledger = ledger::load(&work.host.root).map_err(|error| StepError::Failed(error.to_string()))?;
        let ran = ledger.is_some_and(|ledger| ledger.migrations.contains(&self.0.id));
        Ok(if ran { Probed::Happened(self.0.id.clone()) } else { Probed::DoIt })
    }
}

impl Sql<'_> {
    fn container(&self, work: &Work<'_>) -> Result<String, StepError> {
        let SqlTarget { project, service, .. } = &self.0.target;
        let mut args = vec!["ps".to_owned(), "--quiet".to_owned(), "--no-trunc".to_owned()];
        for filter in [
            format!("label=com.docker.compose.project={project}"),
            format!("label=com.docker.compose.service={service}"),
            "label=com.docker.compose.oneoff=False".to_owned(),
            "status=running".to_owned(),
        ] {
            args.extend(["--filter".to_owned(), filter]);
        }
        let found = work.call(&Call::new("docker", args))?;
        match found.split_whitespace().collect::<Vec<_>>().as_slice() {
            [one] => Ok((*one).to_owned()),
            several => {
                fail(format!("{} containers of `{service}` in `{project}` run, and one is wanted", several.len()))
            }
        }
    }

    /// Says statements to the database, stopping at the first error.
    fn say(&self, work: &Work<'_>, container: &str, sql: &str) -> Result<String, StepError> {
        let SqlTarget { database, user, .. } = &self.0.target;
        let (user, database) = (format!("--username={user}"), format!("--dbname={database}"));
        let mut args = vec!["exec", "--interactive", container, "psql", "--no-psqlrc", "--no-password", "--quiet"];
        args.extend([
            "--no-align",
            "--tuples-only",
            "--field-separator= ",
            "--set=ON_ERROR_STOP=1",
            &user,
            &database,
            "--file=-",
        ]);
        work.call(&Call::new("docker", args).stdin(sql).keep_tail())
    }

    /// Returns what the database says was applied.
    fn known(&self, work: &Work<'_>, container: &str) -> Result<BTreeMap<String, String>, StepError> {
        let owner = text(&self.0.owner);
        applied(&self.say(work, container, &format!("SELECT name, checksum FROM {TABLE} WHERE owner = {owner};"))?)
    }

    /// Keeps what came of it. Of what stopped half way only that: it is to run again.
    fn record(
        &self,
        work: &Work<'_>,
        (before, after): (String, String),
        files: BTreeMap<String, String>,
        is_whole: bool,
    ) -> Result<(), StepError> {
        let id = &self.0.id;
        ledger::update(&work.host.root, &work.host.disk, |ledger| {
            // Where an earlier run stopped half way, it is its beginning that counts.
            let half = ledger.migrated.remove(id).and_then(|record| record.before);
            // The newest record has all files: the ones before need not have them too.
            let own = id.rsplit_once('/').map_or(id.as_str(), |(own, _)| own);
            let is_own = |other: &str| other.rsplit_once('/').is_some_and(|(other, _)| other == own);
            for (_, record) in ledger.migrated.iter_mut().filter(|(other, _)| is_own(other)) {
                record.files.clear();
            }
            let record = MigrationRecord {
                release: work.spec.release.clone(),
                before: Some(half.unwrap_or(before)),
                after: Some(after),
                at_ms: now_ms(),
                reversible: self.0.reversible,
                runner: MigrationRunner::Host { directory: String::new(), user: String::new() },
                argv: Vec::new(),
                revision: Vec::new(),
                downgrade: Vec::new(),
                files,
            };
            ledger.migrated.insert(id.clone(), record);
            if is_whole {
                ledger.migrations.insert(id.clone());
            }
        })
        .map_err(|error| StepError::Failed(error.to_string()))
    }
}

/// Returns what is called the schema's revision: the last file by number and how many there are, for one of a lower number may come
/// later. Empty for none.
fn revision(known: &BTreeMap<String, String>) -> String {
    let last = known.keys().max_by_key(|name| sql_order(name));
    last.map_or_else(String::new, |name| format!("{name}#{}", known.len()))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns one file as a transaction, none of whose statements takes longer than there is time. The row comes first: whoever is second
/// stops there. All before the file is on its first line, so that what `psql` says of a line is true of the file.
fn script(owner: &str, file: &SqlFile, release: &str, left_ms: u128) -> String {
    // An end of input before COMMIT, such as when the one who writes this is killed, leaves nothing.
    format!(
        "BEGIN; SET LOCAL statement_timeout = {}; SELECT pg_advisory_xact_lock({LOCK}); \
         INSERT INTO {TABLE} (owner, name, checksum, release) VALUES ({}, {}, {}, {}); {}\n;\nCOMMIT;\n",
        left_ms.clamp(1, i32::MAX as u128),
        text(owner),
        text(&file.name),
        text(&file.checksum.to_string()),
        text(release),
        file.text
    )
}

/// Returns what the table says was applied.
fn applied(said: &str) -> Result<BTreeMap<String, String>, StepError> {
    let lines = said.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| match line.rsplit_once(' ') {
            Some((name, checksum)) => Ok((name.to_owned(), checksum.to_owned())),
            None => fail(format!("{TABLE} has a row that cannot be read: {}", shown(line.as_bytes(), 80))),
        })
        .collect()
}

/// A file that was applied must stay as it is: its new text would never run.
fn check_edited(files: &[SqlFile], known: &BTreeMap<String, String>) -> Result<(), StepError> {
    let edited: Vec<&str> = files
        .iter()
        .filter(|file| known.get(&file.name).is_some_and(|checksum| *checksum != file.checksum.to_string()))
        .map(|file| file.name.as_str())
        .collect();
    if edited.is_empty() {
        return Ok(());
    }
    fail(format!(
        "applied with other content before: {}; put the old text back, and write what is to change into a new file",
        edited.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::Digest;

    use super::*;

    fn file(name: &str, content: u8) -> SqlFile {
        SqlFile { name: name.to_owned(), text: "SELECT 1".to_owned(), checksum: Digest([content; 32]) }
    }

    #[test]
    fn cap_54_a_file_is_one_transaction_that_begins_with_its_row() {
        let script = script("shop/web", &file("013_o'hara.sql", 1), "v4", 1500);
        assert!(
            script.starts_with("BEGIN; SET LOCAL statement_timeout = 1500; SELECT pg_advisory_xact_lock("),
            "{script}"
        );
        assert!(script.contains("VALUES ('shop/web', '013_o''hara.sql', '"), "{script}");
        assert!(script.ends_with(", 'v4'); SELECT 1\n;\nCOMMIT;\n") && script.lines().count() == 3, "{script}");
    }

    #[test]
    fn cap_54_a_file_that_was_applied_and_edited_is_refused() {
        let known = applied(&format!("9_a.sql {}\n013_b.sql {}\n", Digest([1; 32]), Digest([1; 32]))).unwrap();
        assert_eq!((revision(&known).as_str(), revision(&BTreeMap::new()).as_str()), ("013_b.sql#2", ""));
        let (a, b) = (file("9_a.sql", 1), file("013_b.sql", 1));
        check_edited(&[a.clone(), b], &known).unwrap();
        check_edited(&[a.clone(), file("014_c.sql", 9)], &known).unwrap();
        let refused = check_edited(&[a, file("013_b.sql", 2)], &known).unwrap_err().to_string();
        assert!(refused.contains("with other content before: 013_b.sql;"), "{refused}");
    }
}
