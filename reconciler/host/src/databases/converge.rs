//! Makes a server as its declaration says, and brings initial data once.

use std::path::Path;
use std::time::Duration;

use holdfast_protocol::REDIS_FILE;

use super::catalog::contents;
use super::server::{MAINTENANCE, Server};
use super::{DatabasesError, Difference, fail, load, name, redis, roles, scram, settings, text};

/// Makes roles, databases, extensions, grants and settings as a declaration says. Doing it again changes nothing. Returns what it did, for people.
///
/// # Errors
/// [`DatabasesError`]; what was done before stays, and is found as it is when it is tried again.
pub fn converge(declaration: &Path, deadline: Duration) -> Result<String, DatabasesError> {
    if declaration.ends_with(REDIS_FILE) {
        return redis::converge(declaration, deadline);
    }
    let Some(spec) = load(declaration)? else { return Ok("nothing is declared".to_owned()) };
    let server = Server::find(&spec, deadline)?;
    let mut done = Vec::new();
    let live = settings::look(&server, &spec.settings)?;
    let made = settings::make(&server, &spec.settings, &live)?;
    done.extend(made.into_iter().map(|what| Difference::new(what, String::new())));
    let hand_over = roles::handed_over(&spec, &live);
    if !hand_over.is_empty() {
        for database in spec.databases.keys().filter(|database| live.databases.contains_key(*database)) {
            server.change(database, &hand_over)?;
        }
    }
    let found = roles::roles(&spec, &live, &mut scram::salt)?;
    if !found.is_empty() {
        server.change(MAINTENANCE, &statements(&found))?;
    }
    done.extend(found);
    for (database, wanted) in &spec.databases {
        let (quoted, owner) = (name(database), name(&wanted.owner));
        match live.databases.get(database) {
            None => {
                // Not inside a transaction: PostgreSQL makes databases outside of one only.
                server.say(MAINTENANCE, &format!("CREATE DATABASE {quoted} OWNER {owner};\n"))?;
                done.push(Difference::new(format!("database {database} is missing"), String::new()));
            }
            Some(live) if *live != wanted.owner => {
                server.change(MAINTENANCE, &format!("ALTER DATABASE {quoted} OWNER TO {owner};\n"))?;
                done.push(Difference::new(format!("database {database} belongs to {live}"), String::new()));
            }
            Some(_) => {}
        }
        let inside = contents(&server, database, wanted)?;
        let found = super::contents::contents(database, wanted, &inside);
        if !found.is_empty() {
            server.change(database, &statements(&found))?;
        }
        done.extend(found);
    }
    let words: Vec<String> = done.into_iter().map(|difference| difference.what).collect();
    Ok(if words.is_empty() { "as declared".to_owned() } else { format!("was: {}", words.join("; ")) })
}

fn statements(found: &[Difference]) -> String {
    found.iter().map(|difference| difference.sql.as_str()).collect()
}

/// Brings the initial data that a declaration names and that its database does not know yet. Returns what ran, for people.
///
/// The note that it ran is in the database itself and of the same transaction: it goes where the data goes, into backups and onto another
/// host, and of two that try at once one waits and finds it.
///
/// # Errors
/// [`DatabasesError`]; nothing of the data that failed is there.
pub fn seed(declaration: &Path, deadline: Duration) -> Result<String, DatabasesError> {
    let Some(spec) = load(declaration)? else { return Ok("nothing is declared".to_owned()) };
    let server = Server::find(&spec, deadline)?;
    let mut ran = Vec::new();
    for (database, wanted) in spec.databases.iter().filter(|(_, wanted)| !wanted.seeds.is_empty()) {
        server.change(
            database,
            "SELECT pg_advisory_xact_lock(5206574);\n\
             SET LOCAL client_min_messages = warning;\n\
             CREATE SCHEMA IF NOT EXISTS holdfast;\n\
             CREATE TABLE IF NOT EXISTS holdfast.seeds (name text PRIMARY KEY, ran_at timestamptz NOT NULL DEFAULT now());\n",
        )?;
        for (seed, path) in &wanted.seeds {
            let known = || contents(&server, database, wanted).map(|live| live.seeds.contains(seed));
            if known()? {
                continue;
            }
            let data = match std::fs::read_to_string(path) {
                Ok(data) => data,
                Err(error) => return fail(format!("{path}: {error}")),
            };
            let (note, owner) = (text(seed), name(&wanted.owner));
            let sql =
                format!("INSERT INTO holdfast.seeds (name) VALUES ({note});\nSET LOCAL ROLE {owner};\n{data}\n;\n");
            match server.change(database, &sql) {
                Ok(()) => ran.push(format!("{database}/{seed}")),
                // Another one was faster.
                Err(_) if known().unwrap_or(false) => {}
                Err(error) => return fail(format!("initial data {database}/{seed}: {error}")),
            }
        }
    }
    Ok(if ran.is_empty() { "ran before".to_owned() } else { format!("ran {}", ran.join(", ")) })
}
