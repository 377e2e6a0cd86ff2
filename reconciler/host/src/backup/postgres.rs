//! A PostgreSQL database in a container, by the tools in that container, or one of the host's own server, by those of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use holdfast_protocol::BackupSource;

use super::class::Class;
use super::copy::{RowCounter, is_table};
use super::{BackupError, containers, fail};
use crate::exec::{Call, ExecError};

/// The database that statements about databases are said to.
const MAINTENANCE: &str = "postgres";

/// How many times as long as a dump a restore may take: indexes are built.
const RESTORE_TIMES: u32 = 4;

/// A database and how to get at it.
pub(super) struct Server<'a> {
    class: &'a Class,
    /// `None` for the host's own.
    container: Option<String>,
    pub(super) database: &'a str,
    user: &'a str,
}

impl<'a> Server<'a> {
    /// Finds the container that runs, where it is in one.
    pub(super) fn find(class: &'a Class) -> Result<Self, BackupError> {
        let BackupSource::Postgres { project, service, database, user } = &class.spec.source else {
            return fail("this class saves no database");
        };
        let container = match service.as_str() {
            "" => None,
            service => Some(containers::one(class, project, service)?),
        };
        Ok(Self { class, container, database, user })
    }

    /// Returns a call of a program in the container, or on the host as the account of the role's name, which is who the server sees at
    /// the other end of its socket.
    ///
    /// # Source
    /// PostgreSQL 17, 20.9 "Peer Authentication"; runuser(1): with `--user` and `--` no shell comes between.
    fn call(&self, program: &str, args: &[&str], reads: bool) -> Result<Call, BackupError> {
        let call = if let Some(container) = &self.container {
            let mut words = vec!["exec"];
            words.extend(reads.then_some("--interactive"));
            words.extend([container.as_str(), program]);
            words.extend(args);
            Call::new(self.class.program("docker")?, words)
        } else {
            let (account, program) = (format!("--user={}", self.user), self.class.program(program)?);
            let words = [account.as_str(), "--", program.to_str().unwrap_or_default()];
            Call::new(self.class.program("runuser")?, words.iter().chain(args).copied())
        };
        Ok(call.deadline(self.class.timeout()).keep_tail())
    }

    /// Says statements to a database, and returns what they answer, a line each.
    pub(super) fn say(&self, database: &str, sql: &str) -> Result<String, BackupError> {
        let (user, database) = (format!("--username={}", self.user), format!("--dbname={database}"));
        let args = ["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"];
        let args = [&args[..], &[&user, &database]].concat();
        Ok(self.call("psql", &args, true)?.stdin(sql).deadline(self.class.timeout() * RESTORE_TIMES).run()?.text())
    }

    /// Says statements that are about databases.
    pub(super) fn manage(&self, sql: &str) -> Result<String, BackupError> {
        self.say(MAINTENANCE, sql)
    }

    /// Returns whether a database is there.
    pub(super) fn has(&self, database: &str) -> Result<bool, BackupError> {
        Ok(!self.manage(&format!("SELECT 1 FROM pg_database WHERE datname = {};", text(database)))?.trim().is_empty())
    }

    /// Restores a dump into a new database, stopping at the first error.
    pub(super) fn restore(&self, dump: File, into: &str) -> Result<(), BackupError> {
        let (user, database) = (format!("--username={}", self.user), format!("--dbname={into}"));
        let call = self.call("pg_restore", &["--no-password", "--exit-on-error", &user, &database], true)?;
        call.stdin_file(dump).deadline(self.class.timeout() * RESTORE_TIMES).run()?;
        Ok(())
    }

    /// Counts tables of a database, and returns how many rows they have; fewer than `rows` says is an error.
    ///
    /// More is none: an extension brings rows of its own with it.
    pub(super) fn check(&self, database: &str, rows: &BTreeMap<String, u64>) -> Result<u64, BackupError> {
        let mut sql = String::new();
        for table in rows.keys() {
            if !is_table(table) {
                return fail(format!("the sidecar names a table `{}`", table.escape_debug()));
            }
            sql.extend(["SELECT count(*) FROM ONLY ", table, ";\n"]);
        }
        if sql.is_empty() {
            return Ok(0);
        }
        let answer = self.say(database, &sql)?;
        let counts: Vec<Option<u64>> = answer.split_whitespace().map(|line| line.parse().ok()).collect();
        if counts.len() != rows.len() {
            return fail(format!("{} tables were counted, and the backup has {}", counts.len(), rows.len()));
        }
        for ((table, wanted), found) in rows.iter().zip(&counts) {
            if found.is_none_or(|found| found < *wanted) {
                let found = found.unwrap_or_default();
                return fail(format!("{table} has {found} rows after the restore, and the backup has {wanted}"));
            }
        }
        Ok(counts.into_iter().flatten().sum())
    }
}

/// Dumps the database in the custom format, which keeps its own order and can be restored in part.
pub(super) fn dump(class: &Class, into: File) -> Result<(), BackupError> {
    let server = Server::find(class)?;
    let (user, database) = (format!("--username={}", server.user), format!("--dbname={}", server.database));
    let call = server.call("pg_dump", &["--format=custom", "--no-password", &user, &database], false)?;
    // Docker's own word for a container that was stopped is 137, with nothing said.
    match call.stdout_file(into).run() {
        Ok(_) => Ok(()),
        Err(ExecError::Failed { code, output, .. }) if output.is_empty() => {
            fail(format!("pg_dump was cut off (exit status {code})"))
        }
        Err(ExecError::Failed { code, output, .. }) => fail(format!("pg_dump exited with {code}: {output}")),
        Err(error) => Err(error.into()),
    }
}

/// Reads a dump to its end, and returns the rows of each table in it.
///
/// A list of its contents is not enough: it stands at the beginning of the file, which one that is cut off has too.
pub(super) fn count(class: &Class, dump: File) -> Result<BTreeMap<String, u64>, BackupError> {
    let server = Server::find(class)?;
    let call = server.call("pg_restore", &["--data-only", "--file=-"], true)?.stdin_file(dump);
    let (output, counter) = call.read_by(|mut pipe| {
        let mut counter = RowCounter::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            counter.take(&buffer[..count]);
        }
        counter
    })?;
    if output.code != 0 {
        return fail(format!("the dump cannot be read: pg_restore exited with {}: {}", output.code, output.told()));
    }
    counter.finish().ok_or_else(|| BackupError("the dump cannot be read: it ends in the middle of a table".to_owned()))
}

/// Returns a name as SQL takes it.
pub(super) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns text as SQL takes it. Our names have no backslash.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
