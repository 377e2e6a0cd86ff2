use std::time::Duration;

use holdfast_protocol::DatabasesSpec;

use super::{DatabasesError, fail};
use crate::exec::{Call, ExecError};

/// The database that statements about roles and databases are said to.
pub(super) const MAINTENANCE: &str = "postgres";

/// A server in a container that runs.
pub(super) struct Server<'a> {
    spec: &'a DatabasesSpec,
    container: String,
    deadline: Duration,
}

impl<'a> Server<'a> {
    /// Finds the container.
    pub(super) fn find(spec: &'a DatabasesSpec, deadline: Duration) -> Result<Self, DatabasesError> {
        Ok(Self { spec, container: container(&spec.project, &spec.service, deadline)?, deadline })
    }

    /// Says statements to a database, stopping at the first error, and returns what they answer.
    pub(super) fn say(&self, database: &str, sql: &str) -> Result<String, DatabasesError> {
        let (user, database) = (format!("--username={}", self.spec.superuser), format!("--dbname={database}"));
        let mut words =
            vec!["exec", "--interactive", &self.container, "psql", "--no-psqlrc", "--no-password", "--quiet"];
        words.extend(["--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", &user, &database]);
        Ok(Call::new("docker", words).stdin(sql).deadline(self.deadline).run().map_err(|error| failed(&error))?.text())
    }

    /// Says statements in one transaction.
    pub(super) fn change(&self, database: &str, sql: &str) -> Result<(), DatabasesError> {
        self.say(database, &format!("BEGIN;\n{sql}COMMIT;\n")).map(drop)
    }
}

/// Returns the one container of a service that runs.
pub(super) fn container(project: &str, service: &str, deadline: Duration) -> Result<String, DatabasesError> {
    let mut args = vec!["ps".to_owned(), "--quiet".to_owned(), "--no-trunc".to_owned()];
    for filter in [
        format!("label=com.docker.compose.project={project}"),
        format!("label=com.docker.compose.service={service}"),
        "label=com.docker.compose.oneoff=False".to_owned(),
        "status=running".to_owned(),
    ] {
        args.extend(["--filter".to_owned(), filter]);
    }
    let found = Call::new("docker", args).deadline(deadline).run().map_err(|error| failed(&error))?.text();
    match found.split_whitespace().collect::<Vec<_>>().as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(DatabasesError::Down(format!("no container of `{service}` in `{project}` runs"))),
        several => fail(format!("{} containers of `{service}` run, and a database is one", several.len())),
    }
}

pub(super) fn failed(error: &ExecError) -> DatabasesError {
    DatabasesError::Failed(error.to_string())
}
