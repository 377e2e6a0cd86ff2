//! What a Redis of a component is to have set, on one host: a declaration for the host program, and a file that Redis can include.
//!
//! They are a component of their own, as databases are: a file that changes beside a compose project makes its containers start anew.

use holdfast_protocol::{DatabasesQuery, REDIS_FILE, RedisSpec, ServerQuery};

use super::component::own_file;
use super::path::Place;
use super::resolve::finding;
use super::values::Sources;
use super::{Artifacts, DesiredComponent, DesiredFile};
use crate::config::{Component, RedisPlan, redis_component};
use crate::diag::Diagnostics;
use crate::render::{Content, Part};

/// Permission bits of the declaration.
const OWN: u32 = 0o600;

/// The file for Redis itself, which runs as whoever its image says.
const INCLUDED: &str = "settings.conf";

/// Settings that are several words. Another one with a space in it is one text.
///
/// # Source
/// `src/config.c` of Redis: `MULTI_ARG_CONFIG`, and the list of addresses.
const WORDS: [&str; 6] = [
    "bind",
    "client-output-buffer-limit",
    "latency-tracking-info-percentiles",
    "oom-score-adj-values",
    "save",
    "tls-protocols",
];

/// Returns the component that the settings of a component's Redis become; `None` when it declares none.
pub(super) fn redis(
    sources: Sources<'_>,
    component: &Component,
    made: &DesiredComponent,
) -> Result<Option<DesiredComponent>, Diagnostics> {
    let Some(declared) = &component.redis else { return Ok(None) };
    let bad = |message: String, hint: &str| finding("bad-redis", &declared.origin, message, hint);
    let name = match redis_component(&component.name).parse() {
        Ok(name) => name,
        Err(error) => return Err(bad(format!("{error}"), "")),
    };
    let around = made.body.artifacts(None);
    let Some(project) = around.project.as_ref().filter(|project| project.services.contains_key(&declared.service))
    else {
        let message =
            format!("`redis` is about the service `{}`, which the compose file does not have", declared.service);
        return Err(finding("unknown-service", &declared.origin, message, ""));
    };
    let hint = "name a file of the component's `files` that holds the password alone";
    let password_file = match &declared.password_file {
        None => None,
        Some(path) => match sources.place.fill(path) {
            Ok(path) if around.files.contains_key(&path) => Some(path),
            Ok(path) => return Err(bad(format!("its password file: the component puts no file at {path}"), hint)),
            Err(why) => return Err(bad(format!("its password file: {why}"), hint)),
        },
    };
    let folder = Place { component: &name, slot: None, ..sources.place }.directory();
    let spec = RedisSpec {
        project: project.name.clone(),
        service: declared.service.clone(),
        password_file: password_file.clone(),
        settings: declared.settings.clone(),
    };
    let mut text = serde_json::to_string_pretty(&spec).expect("BUG: plain data always encodes");
    text.push('\n');
    let plain = |text: String| Content { parts: vec![Part::Plain(text)], provenance: Vec::new() };
    let mut artifacts = Artifacts::default();
    let path = format!("{folder}/{REDIS_FILE}");
    let declaration = DesiredFile { mode: OWN, ..own_file(plain(text), &declared.origin, false) };
    artifacts.files.insert(path.clone(), declaration);
    artifacts
        .files
        .insert(format!("{folder}/{INCLUDED}"), own_file(plain(included(declared)), &declared.origin, false));
    let query = DatabasesQuery {
        path,
        project: project.name.clone(),
        service: declared.service.clone(),
        server: ServerQuery::Redis { password_file },
        settings: declared.settings.clone(),
    };
    let made = DesiredComponent::of_files(name, artifacts, declared.origin.clone());
    Ok(Some(DesiredComponent { databases: Some(query), ..made }))
}

/// Returns what Redis reads when it starts.
///
/// # Source
/// `sdssplitargs` of Redis: words are divided by spaces; in double quotes `\\` and `\"` stand for themselves.
fn included(declared: &RedisPlan) -> String {
    let mut text = String::new();
    for (name, value) in &declared.settings {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/%+-,@*".contains(c);
        let words = WORDS.contains(&name.as_str()) && !value.trim().is_empty();
        let value = if value.chars().all(|c| is_plain(c) || words && c == ' ') && !value.is_empty() {
            value.clone()
        } else {
            format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        };
        text.extend([name.as_str(), " ", &value, "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Origin;

    #[test]
    fn cap_34_what_redis_reads_when_it_starts_is_what_is_set() {
        let settings = [
            ("maxmemory", "256mb"),
            ("notify-keyspace-events", ""),
            ("proc-title-template", "{title} \"x\""),
            ("save", "900 1 300 10"),
        ];
        let plan = RedisPlan {
            service: "redis".to_owned(),
            password_file: None,
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            origin: Origin { file: String::new(), line: 1, column: 1 },
        };
        assert_eq!(
            included(&plan),
            "maxmemory 256mb\nnotify-keyspace-events \"\"\nproc-title-template \"{title} \\\"x\\\"\"\nsave 900 1 300 10\n"
        );
    }
}
