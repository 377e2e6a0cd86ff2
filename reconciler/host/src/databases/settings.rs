//! Settings of the server that a reload does for.
//!
//! They are in `postgresql.auto.conf`, which `ALTER SYSTEM` writes: so what somebody else set there, and what waits for a new start of the
//! server, is seen too. Values are compared as they were written, never as they are understood: what is there is what was said last.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalog::{Cluster, cluster};
use super::server::{MAINTENANCE, Server};
use super::{DatabasesError, fail, name, text};

/// How often and after what pause the server is asked whether it has loaded what it was told to.
const ASKED: (u32, Duration) = (200, Duration::from_millis(50));

/// When the server read its files, in microseconds since the Unix epoch.
const LOADED: &str = "SELECT (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint;\n";

/// Which line of which file the server cannot load. The values are not said.
const BROKEN: &str = "SELECT coalesce(string_agg(sourcefile || ':' || sourceline || ': ' || error, '; '), '') \
                      FROM pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied';\n";

/// A setting that is not as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// For people; never a text that somebody else set.
    pub(super) what: String,
    /// What makes it so. It may not be in a transaction.
    sql: String,
    /// What makes it as it was.
    back: String,
}

/// Returns what has to be said for the settings to be as wanted.
pub(super) fn settings(wanted: &BTreeMap<String, String>, live: &Cluster) -> Vec<Change> {
    let set = |setting: &str, value: &str| format!("ALTER SYSTEM SET {} = {};\n", quoted(setting), text(value));
    let reset = |setting: &str| format!("ALTER SYSTEM RESET {};\n", quoted(setting));
    let mut found = Vec::new();
    for (setting, value) in wanted {
        let (is, back) = match live.settings.iter().find(|one| one.name == *setting) {
            Some(one) if one.value == *value => continue,
            Some(one) => {
                let is = if one.plain { format!("is {}", one.value) } else { "is another text".to_owned() };
                (is, set(setting, &one.value))
            }
            None => ("is not set".to_owned(), reset(setting)),
        };
        let what = format!("setting {setting} {is}, and {value} is declared");
        found.push(Change { what, sql: set(setting, value), back });
    }
    for one in live.settings.iter().filter(|one| !wanted.contains_key(&one.name)) {
        let waits = if one.pending { " from the next start on" } else { "" };
        let is = if one.plain { &one.value } else { "a text" };
        let what = format!("setting {} is {is}{waits} by ALTER SYSTEM, and is not declared", one.name);
        found.push(Change { what, sql: reset(&one.name), back: set(&one.name, &one.value) });
    }
    if found.is_empty() && live.unread {
        let what = "settings were changed and not loaded".to_owned();
        found.push(Change { what, sql: String::new(), back: String::new() });
    }
    found
}

/// Returns which of the wanted settings this server does not take from a reload, each with the reason.
pub(super) fn refused(wanted: &BTreeMap<String, String>, live: &Cluster) -> Vec<String> {
    let why = |setting: &String| match live.known.get(setting).map(|known| known.context.as_str()) {
        // What a module brings is known once that is loaded; the server says no to it in its own words.
        None if setting.contains('.') => None,
        None => Some(format!("this server knows no setting {setting}")),
        Some("postmaster") => Some(format!(
            "{setting} takes a new start of this server: say it in the service's `command` as `-c {setting}=VALUE`, where the plan shows \
             the new start"
        )),
        Some("internal") => Some(format!("nobody can change {setting} of this server")),
        Some(_) => None,
    };
    wanted.keys().filter_map(why).collect()
}

/// Returns which of the wanted settings the server was started with: those win over all files.
fn started_with(wanted: &BTreeMap<String, String>, live: &Cluster) -> Vec<String> {
    let is = |setting: &&String| live.known.get(*setting).is_some_and(|known| known.command);
    wanted.keys().filter(is).map(|setting| format!("{setting} is in the server's command, which wins")).collect()
}

/// Makes the settings as wanted, and has them loaded. Returns what was not so, for people.
///
/// # Errors
/// [`DatabasesError`] when the server does not take one of them: then all are as they were.
pub(super) fn make(
    server: &Server<'_>,
    wanted: &BTreeMap<String, String>,
    live: &Cluster,
) -> Result<Vec<String>, DatabasesError> {
    let stands_in_the_way = [refused(wanted, live), started_with(wanted, live)].concat();
    if !stands_in_the_way.is_empty() {
        return fail(format!("settings: {}", stands_in_the_way.join("; ")));
    }
    let found = settings(wanted, live);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let all = |part: fn(&Change) -> &str| found.iter().map(part).collect::<String>();
    // Each for itself: PostgreSQL takes them outside of transactions only.
    if let Err(error) = server.say(MAINTENANCE, &all(|change| &change.sql)) {
        return match server.say(MAINTENANCE, &all(|change| &change.back)) {
            Ok(_) => fail(format!("settings, all left as they were: {error}")),
            Err(back) => fail(format!("settings: {error}; and some are not loaded and not taken back: {back}")),
        };
    }
    // Whoever is cut off here is found to have changed and not loaded them.
    server.say(MAINTENANCE, "SELECT pg_reload_conf();\n")?;
    wait_until_loaded(server, live.loaded_us)?;
    Ok(found.into_iter().map(|change| change.what).collect())
}

/// The server reads its files in its own time. Until then somebody who looks would find that it did not.
fn wait_until_loaded(server: &Server<'_>, before_us: u64) -> Result<(), DatabasesError> {
    for _ in 0..ASKED.0 {
        if server.say(MAINTENANCE, LOADED)?.trim().parse::<u64>().is_ok_and(|loaded| loaded > before_us) {
            return Ok(());
        }
        std::thread::sleep(ASKED.1);
    }
    let broken = server.say(MAINTENANCE, BROKEN)?;
    fail(format!("settings: they are written, and the server does not load its files: {}", broken.trim()))
}

/// Returns what the server has, as far as these settings need it.
pub(super) fn look(server: &Server<'_>, wanted: &BTreeMap<String, String>) -> Result<Cluster, DatabasesError> {
    cluster(server, &wanted.keys().map(String::as_str).collect::<Vec<_>>())
}

/// A name of two parts is quoted part by part.
fn quoted(setting: &str) -> String {
    setting.split('.').map(name).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::super::catalog::{Known, Setting};
    use super::*;

    fn wanted(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn live(settings: &[(&str, &str, bool)]) -> Cluster {
        let one = |(name, value, pending): &(&str, &str, bool)| Setting {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            plain: !value.contains(' '),
            pending: *pending,
        };
        Cluster { settings: settings.iter().map(one).collect(), ..Cluster::default() }
    }

    fn known(context: &str, command: bool) -> Known {
        Known { context: context.to_owned(), command }
    }

    #[test]
    fn cap_34_settings_are_made_as_declared_and_what_else_was_set_is_taken_back() {
        let wanted = wanted(&[("auto_explain.log_format", "it's"), ("work_mem", "16MB")]);
        let live = live(&[
            ("work_mem", "4MB", false),
            ("max_connections", "200", true),
            ("archive_command", "send --key k3y", false),
        ]);
        let found = settings(&wanted, &live);
        let what: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "setting auto_explain.log_format is not set, and it's is declared",
                "setting work_mem is 4MB, and 16MB is declared",
                "setting max_connections is 200 from the next start on by ALTER SYSTEM, and is not declared",
                "setting archive_command is a text by ALTER SYSTEM, and is not declared",
            ]
        );
        let (sql, back): (Vec<_>, Vec<_>) = found.iter().map(|one| (one.sql.as_str(), one.back.as_str())).unzip();
        assert_eq!(
            sql,
            [
                "ALTER SYSTEM SET \"auto_explain\".\"log_format\" = E'it''s';\n",
                "ALTER SYSTEM SET \"work_mem\" = E'16MB';\n",
                "ALTER SYSTEM RESET \"max_connections\";\n",
                "ALTER SYSTEM RESET \"archive_command\";\n",
            ]
        );
        assert_eq!(
            back,
            [
                "ALTER SYSTEM RESET \"auto_explain\".\"log_format\";\n",
                "ALTER SYSTEM SET \"work_mem\" = E'4MB';\n",
                "ALTER SYSTEM SET \"max_connections\" = E'200';\n",
                "ALTER SYSTEM SET \"archive_command\" = E'send --key k3y';\n",
            ]
        );
    }

    #[test]
    fn cap_34_what_is_as_declared_is_left_alone_but_for_a_load_that_was_missed() {
        let wanted = wanted(&[("work_mem", "16MB")]);
        let mut live = live(&[("work_mem", "16MB", false)]);
        assert!(settings(&wanted, &live).is_empty());
        live.unread = true;
        assert_eq!(settings(&wanted, &live)[0].what, "settings were changed and not loaded");
    }

    #[test]
    fn cap_34_the_server_says_what_a_reload_does_not_do_for() {
        let wanted = wanted(&[
            ("cron.host", "x"),
            ("port", "1"),
            ("server_version", "9"),
            ("work_mem", "1MB"),
            ("wrok_mem", "1MB"),
        ]);
        let mut live = live(&[]);
        for (name, context) in [("port", "postmaster"), ("server_version", "internal"), ("work_mem", "user")] {
            live.known.insert(name.to_owned(), known(context, false));
        }
        let said = refused(&wanted, &live);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("port takes a new start") && said[0].contains("`-c port=VALUE`"), "{said:?}");
        assert_eq!(said[1], "nobody can change server_version of this server");
        assert_eq!(said[2], "this server knows no setting wrok_mem");
        assert!(started_with(&wanted, &live).is_empty());
        live.known.insert("work_mem".to_owned(), known("user", true));
        assert_eq!(started_with(&wanted, &live), ["work_mem is in the server's command, which wins"]);
    }
}
