//! Settings of a Redis, said to it while it runs.
//!
//! Redis keeps what it is told until its next start, and has then what its files say. What a setting was before it was declared is noted
//! beside the declaration, for Redis itself does not know it: that is what it is again when it is declared no more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::{DatabasesLive, DatabasesQuery, RedisSpec};

use super::server::{container, failed};
use super::{DatabasesError, fail};
use crate::disk::{Access, Disk};
use crate::exec::Call;
use crate::redis_cli::{answer, line, login};

/// The name of the file beside the declaration that has what settings were before.
const BEFORE: &str = "before.json";

/// Settings by name.
type Settings = BTreeMap<String, String>;

/// A Redis in a container that runs.
struct Server {
    container: String,
    login: Vec<u8>,
    deadline: Duration,
}

impl Server {
    fn find(spec: &RedisSpec, deadline: Duration) -> Result<Self, DatabasesError> {
        let login = match &spec.password_file {
            None => Vec::new(),
            Some(path) => match std::fs::read(path) {
                Ok(password) => login(password),
                Err(error) => return fail(format!("{path}: {error}")),
            },
        };
        Ok(Self { container: container(&spec.project, &spec.service, deadline)?, login, deadline })
    }

    /// Says one command. The password goes through standard input: it is in no argument and no environment.
    fn say(&self, words: &[&str]) -> Result<Vec<String>, DatabasesError> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let input = [self.login.clone(), line(&words)].concat();
        let args = ["exec", "--interactive", &self.container, "redis-cli", "--no-auth-warning"];
        let output = Call::new("docker", args).stdin(input).deadline(self.deadline).run();
        let text = output.map_err(|error| failed(&error))?.text();
        answer(&text, !self.login.is_empty()).map_err(DatabasesError::Failed)
    }

    /// Returns all that it has.
    fn settings(&self) -> Result<Settings, DatabasesError> {
        Ok(pairs(&self.say(&["CONFIG", "GET", "*"])?))
    }

    fn set(&self, name: &str, value: &str) -> Result<(), DatabasesError> {
        match self.say(&["CONFIG", "SET", name, value]) {
            Ok(_) => Ok(()),
            Err(DatabasesError::Failed(why)) => fail(format!("{name}: {why}{}", remedy(&why))),
            Err(error) => Err(error),
        }
    }
}

/// Returns what to do about a refusal. Redis before 7 calls a setting that takes a new start an unsupported parameter.
fn remedy(why: &str) -> &'static str {
    let start = ["immutable", "protected config", "Unsupported CONFIG parameter"].iter().any(|word| why.contains(word));
    if start { "; it takes a new start: say it in its `redis.conf` or its `command`" } else { "" }
}

/// Names and values come in turn, a line each.
fn pairs(lines: &[String]) -> Settings {
    lines.chunks(2).filter_map(|pair| Some((pair.first()?.clone(), pair.get(1).cloned().unwrap_or_default()))).collect()
}

/// A setting that is not as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    what: String,
    name: String,
    value: String,
}

/// Returns what has to be said for the settings to be as wanted. `before` is what those were that were ever declared.
fn changes(wanted: &Settings, before: &Settings, live: &Settings) -> Vec<Change> {
    let differs = |name: &String, value: &String| live.get(name).filter(|is| !same(is, value));
    let mut found = Vec::new();
    for (name, value) in wanted {
        let Some(is) = differs(name, value) else { continue };
        let what = format!("setting {name} is {}, and {} is declared", quoted(is), quoted(value));
        found.push(Change { what, name: name.clone(), value: value.clone() });
    }
    for (name, value) in before.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        let Some(is) = differs(name, value) else { continue };
        let what = format!("setting {name} is {}, is declared no more, and was {}", quoted(is), quoted(value));
        found.push(Change { what, name: name.clone(), value: value.clone() });
    }
    found
}

fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { value.escape_debug().to_string() }
}

/// Returns which of the wanted settings this Redis does not have.
fn unknown(wanted: &Settings, live: &Settings) -> Vec<String> {
    let missing = wanted.keys().filter(|name| !live.contains_key(*name));
    missing.map(|name| format!("this Redis knows no setting {name}")).collect()
}

/// Returns whether two values mean the same, as far as sizes go: Redis answers with bytes.
fn same(is: &str, wanted: &str) -> bool {
    let (mut is, mut wanted) = (is.split_whitespace(), wanted.split_whitespace());
    loop {
        match (is.next(), wanted.next()) {
            (None, None) => return true,
            (Some(is), Some(wanted)) if is == wanted || size(is).is_some_and(|is| size(wanted) == Some(is)) => {}
            _ => return false,
        }
    }
}

/// # Source
/// redis.conf: `1k` is 1000 bytes and `1kb` 1024, whatever the case.
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn load<T: for<'de> serde::Deserialize<'de>>(path: &Path) -> Result<Option<T>, DatabasesError> {
    match std::fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => fail(format!("{}: not about a Redis (line {})", path.display(), error.line())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => fail(format!("{}: {error}", path.display())),
    }
}

fn before_path(declaration: &Path) -> PathBuf {
    declaration.with_file_name(BEFORE)
}

fn keep(path: &Path, before: &Settings) -> Result<(), DatabasesError> {
    let disk = Disk::new();
    let text = serde_json::to_vec_pretty(before).expect("BUG: plain data always encodes");
    let kept = if before.is_empty() {
        disk.remove(path)
    } else {
        disk.replace(path, &text, Access { mode: 0o600, owner: None })
    };
    kept.map_err(|error| DatabasesError::Failed(format!("{}: {error}", path.display())))
}

/// Makes the settings of a Redis as a declaration says. Returns what was not so, for people.
///
/// # Errors
/// [`DatabasesError`]; when Redis does not take one of them all are as they were.
pub(super) fn converge(declaration: &Path, deadline: Duration) -> Result<String, DatabasesError> {
    let Some(spec) = load::<RedisSpec>(declaration)? else { return Ok("nothing is declared".to_owned()) };
    let server = Server::find(&spec, deadline)?;
    let live = server.settings()?;
    let unknown = unknown(&spec.settings, &live);
    if !unknown.is_empty() {
        return fail(format!("settings: {}", unknown.join("; ")));
    }
    let path = before_path(declaration);
    let mut before: Settings = load(&path)?.unwrap_or_default();
    let old = before.clone();
    for (name, value) in live.iter().filter(|(name, _)| spec.settings.contains_key(*name)) {
        before.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let found = changes(&spec.settings, &before, &live);
    if before != old {
        keep(&path, &before)?;
    }
    if let Err(error) = say_all(&server, &found, &spec.settings) {
        // All are tried, whatever becomes of one.
        let back = found.iter().filter_map(|change| Some((&change.name, live.get(&change.name)?)));
        let left: Vec<String> =
            back.filter_map(|(name, value)| server.set(name, value).err().map(|error| error.to_string())).collect();
        keep(&path, &old)?;
        return match left.as_slice() {
            [] => fail(format!("settings, all left as they were: {error}")),
            left => fail(format!("settings: {error}; and some are not taken back: {}", left.join("; "))),
        };
    }
    before.retain(|name, _| spec.settings.contains_key(name));
    keep(&path, &before)?;
    let words: Vec<String> = found.into_iter().map(|change| change.what).collect();
    Ok(if words.is_empty() { "as declared".to_owned() } else { format!("was: {}", words.join("; ")) })
}

fn say_all(server: &Server, found: &[Change], wanted: &Settings) -> Result<(), DatabasesError> {
    if found.is_empty() {
        return Ok(());
    }
    for change in found {
        server.set(&change.name, &change.value)?;
    }
    let live = server.settings()?;
    let other = |(name, value): (&String, &String)| {
        let is = live.get(name).filter(|is| !same(is, value))?;
        Some(format!("{name} is {} for Redis where {} is declared: write it as Redis does", quoted(is), quoted(value)))
    };
    let others: Vec<String> = wanted.iter().filter_map(other).collect();
    if others.is_empty() { Ok(()) } else { fail(others.join("; ")) }
}

/// Returns how a Redis stands against its declaration, and against what is asked about.
pub(super) fn stand(
    query: &DatabasesQuery,
    password_file: Option<&str>,
    deadline: Duration,
) -> Result<DatabasesLive, DatabasesError> {
    let declaration = Path::new(&query.path);
    let declared = load::<RedisSpec>(declaration)?;
    let spec = declared.unwrap_or_else(|| RedisSpec {
        project: query.project.clone(),
        service: query.service.clone(),
        password_file: password_file.map(str::to_owned),
        settings: Settings::new(),
    });
    let before: Settings = load(&before_path(declaration))?.unwrap_or_default();
    let live = Server::find(&spec, deadline)?.settings()?;
    let whats = |wanted| changes(wanted, &before, &live).into_iter().map(|change| change.what).collect();
    Ok(DatabasesLive {
        differences: whats(&spec.settings),
        reloads: whats(&query.settings),
        refused: unknown(&query.settings, &live),
        ..DatabasesLive::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(all: &[(&str, &str)]) -> Settings {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn cap_34_redis_is_told_what_differs_and_what_is_declared_no_more_is_as_it_was() {
        let wanted = settings(&[("maxmemory", "256mb"), ("maxmemory-policy", "allkeys-lru"), ("save", "")]);
        let before = settings(&[("maxmemory", "0"), ("timeout", "0")]);
        let live = settings(&[
            ("maxmemory", "268435456"),
            ("maxmemory-policy", "noeviction"),
            ("save", "3600 1"),
            ("timeout", "30"),
        ]);
        let found = changes(&wanted, &before, &live);
        let what: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "setting maxmemory-policy is noeviction, and allkeys-lru is declared",
                "setting save is 3600 1, and \"\" is declared",
                "setting timeout is 30, is declared no more, and was 0",
            ]
        );
        assert_eq!(found[2].value, "0");
        assert_eq!(unknown(&settings(&[("maxmemoryy", "1")]), &live), ["this Redis knows no setting maxmemoryy"]);
    }

    #[test]
    fn cap_34_sizes_of_redis_are_told_from_other_words() {
        assert!(same("268435456", "256mb") && same("1000", "1K") && same("900 1 300 10", "900 1  300 10"));
        assert!(same("normal 0 0 0", "normal 0 0 0") && same("", "") && same("5%", "5%"));
        assert!(!same("268435456", "256m") && !same("900 1", "900 1 300 10") && !same("yes", "no") && !same("", "0"));
    }

    #[test]
    fn what_takes_a_new_start_is_told_so() {
        let new = "Redis refused: `ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config`";
        assert!(
            remedy(new).contains("new start")
                && !remedy("Redis refused: `ERR Unsupported CONFIG parameter: dir`").is_empty()
        );
        assert_eq!(remedy("Redis refused: `ERR argument must be a memory value`"), "");
        let lines = ["maxmemory", "0", "save", ""].map(str::to_owned);
        assert_eq!(pairs(&lines), settings(&[("maxmemory", "0"), ("save", "")]));
        assert_eq!(pairs(&lines[..3]), settings(&[("maxmemory", "0"), ("save", "")]), "the last line is cut off");
    }
}
