//! Whether the settings of a database fit the container it runs in.
//!
//! Settings are read from where containers have them: PostgreSQL's from `-c name=value` of its command, Redis' from `--name value` of its
//! command or from a `redis.conf` among the component's files. So they are state like the rest of the compose file: a change of
//! one is a change of the service.

use std::collections::BTreeMap;

use crate::config::Component;
use crate::diag::Origin;
use crate::render::{ComposeService, Stated, bytes};

/// What Docker gives a container without `shm_size`.
const SHM: u64 = 64 << 20;

/// One mismatch: where, what, and what to do.
pub(super) struct Mismatch {
    pub(super) at: Origin,
    pub(super) message: String,
    pub(super) hint: String,
}

/// Returns what does not fit. `files` are texts of the component's files by their path.
pub(super) fn mismatches(
    component: &Component,
    name: &str,
    service: &ComposeService,
    files: &BTreeMap<&str, String>,
) -> Vec<Mismatch> {
    let program = service.command.first().map_or("", |word| word.value.as_str());
    let is = |word: &str| {
        program == word || (program.is_empty() || program.starts_with('-')) && service.image.value.contains(word)
    };
    let mut found = Vec::new();
    if is("postgres") {
        postgres(component, name, service, &mut found);
    } else if program == "redis-server" || is("redis") {
        redis(component, name, service, files, &mut found);
    }
    found
}

fn postgres(component: &Component, name: &str, service: &ComposeService, found: &mut Vec<Mismatch>) {
    let settings = postgres_settings(&service.command);
    let declared = component.postgres.as_ref().filter(|declared| declared.service == name);
    for setting in declared.iter().flat_map(|declared| declared.settings.keys()) {
        if let Some((at, _)) = settings.get(setting.as_str()) {
            found.push(Mismatch {
                at: (*at).clone(),
                message: format!(
                    "`{setting}` is one of the `settings` of `{}` too, and the command wins",
                    component.name
                ),
                hint: "take one of the two out; what a reload does for needs no new start".to_owned(),
            });
        }
    }
    if let Some((at, text, size)) =
        settings.get("shared_buffers").and_then(|(at, text)| Some((at, text, postgres_size(text, 8192)?)))
    {
        let shm = service.shm.unwrap_or(SHM);
        if size > shm {
            let has = if service.shm.is_some() { "its `shm_size` is" } else { "without `shm_size` it has" };
            found.push(Mismatch {
                at: (*at).clone(),
                message: format!(
                    "`{name}` wants {text} of shared memory (`shared_buffers`), and {has} {} MB",
                    shm >> 20
                ),
                hint: format!("write `shm_size: {}mb` or more beside it", size.div_ceil(1 << 20)),
            });
        }
        if let Some(memory) = service.memory.filter(|memory| size >= *memory) {
            found.push(Mismatch {
                at: (*at).clone(),
                message: format!(
                    "`{name}` wants {text} of shared memory (`shared_buffers`), and its container may take {} MB in all",
                    memory >> 20
                ),
                hint: "a quarter of the limit is usual".to_owned(),
            });
        }
    }
    let told = settings.get("max_connections").and_then(|(at, text)| Some((at, text.parse::<u32>().ok()?)));
    if let (Some((at, told)), Some(most)) = (told, component.max_connections)
        && told != most
    {
        found.push(Mismatch {
            at: (*at).clone(),
            message: format!(
                "`{name}` takes {told} connections, and `max_connections` of component `{}` says {most}",
                component.name
            ),
            hint: "say the same in both: what opens connections is held against it".to_owned(),
        });
    }
}

/// # Source
/// postgres(1): `-c name=value`, `--name=value`; a dash in the name is an underscore. The last one counts.
fn postgres_settings(command: &[Stated<String>]) -> BTreeMap<String, (&Origin, &str)> {
    let mut settings = BTreeMap::new();
    let mut words = command.iter();
    while let Some(word) = words.next() {
        let (at, pair) = match word.value.as_str() {
            "-c" => match words.next() {
                Some(next) => (&next.at, next.value.as_str()),
                None => break,
            },
            text => match text.strip_prefix("--").or_else(|| text.strip_prefix("-c")) {
                Some(pair) => (&word.at, pair),
                None => continue,
            },
        };
        if let Some((name, value)) = pair.split_once('=') {
            settings.insert(name.replace('-', "_").to_ascii_lowercase(), (at, value.trim()));
        }
    }
    settings
}

/// Reads a size with PostgreSQL's units, which differ from Docker's in that a number alone is of `block` bytes.
///
/// # Source
/// PostgreSQL's manual, "Parameter Names and Values": `B`, `kB`, `MB`, `GB`, `TB`, of 1024.
fn postgres_size(text: &str, block: u64) -> Option<u64> {
    let text = text.trim().trim_matches('\'');
    match text.parse::<u64>() {
        Ok(blocks) => blocks.checked_mul(block),
        Err(_) => bytes(text),
    }
}

fn redis(
    component: &Component,
    name: &str,
    service: &ComposeService,
    files: &BTreeMap<&str, String>,
    found: &mut Vec<Mismatch>,
) {
    let declared = component.redis.as_ref().filter(|declared| declared.service == name);
    for setting in declared.iter().flat_map(|declared| declared.settings.keys()) {
        if let Some((at, _)) = redis_setting(setting, service, files) {
            found.push(Mismatch {
                at: at.clone(),
                message: format!(
                    "`{setting}` is one of the `settings` of `{}` too, and which of them counts changes with a new start",
                    component.name
                ),
                hint: "take one of the two out; what is set while Redis runs needs no new start".to_owned(),
            });
        }
    }
    let Some(limit) = service.memory else { return };
    let set = declared.and_then(|declared| Some((&declared.origin, declared.settings.get("maxmemory")?.clone())));
    let told = set.or_else(|| redis_setting("maxmemory", service, files));
    let Some((at, text, size)) = told.and_then(|(at, text)| redis_size(&text).map(|size| (at, text, size))) else {
        return;
    };
    if size >= limit {
        found.push(Mismatch {
            at: at.clone(),
            message: format!(
                "`{name}` may hold {text} (`maxmemory`), and its container may take {} MB in all: it would be killed before it evicts",
                limit >> 20
            ),
            hint: "leave a quarter of the limit free, for buffers and for the copy while its file is written".to_owned(),
        });
    }
}

/// Returns where a setting stands that Redis starts with.
fn redis_setting<'a>(
    name: &str,
    service: &'a ComposeService,
    files: &BTreeMap<&str, String>,
) -> Option<(&'a Origin, String)> {
    let word = format!("--{name}");
    if let Some(pair) = service.command.windows(2).rev().find(|pair| pair[0].value == word) {
        return Some((&pair[1].at, pair[1].value.clone()));
    }
    let conf =
        service.command.get(1).filter(|word| word.value.rsplit_once('.').is_some_and(|(_, kind)| kind == "conf"))?;
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let (_, text) = files.iter().find(|(path, _)| last(path) == last(&conf.value))?;
    let of_name = |line: &str| line.trim().strip_prefix(name)?.strip_prefix(' ').map(|rest| rest.trim().to_owned());
    Some((&conf.at, text.lines().rev().find_map(of_name)?))
}

/// # Source
/// redis.conf: `1k` is 1000 bytes and `1kb` 1024, whatever the case.
fn redis_size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let decimal = |unit: char, size: u64| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(size);
    decimal('k', 1_000)
        .or_else(|| decimal('m', 1_000_000))
        .or_else(|| decimal('g', 1_000_000_000))
        .or_else(|| bytes(&text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::resolve_tests::{change, config, resolved};

    /// What is found in a compose file of the data component, with a `redis.conf` beside it.
    fn found(compose: &str, conf: &str) -> Vec<String> {
        let mut config = change(config(), |app| {
            let data = app.components.iter_mut().find(|component| component.name.as_str() == "data").unwrap();
            data.max_connections = Some(200);
            let mut file = app.components.iter().flat_map(|component| &component.files).next().unwrap().clone();
            file.path.value = "{{ dir }}/redis.conf".to_owned();
            file.template.value = "files/redis.conf.j2".to_owned();
            file.format = crate::config::FileFormat::Plain;
            let data = app.components.iter_mut().find(|component| component.name.as_str() == "data").unwrap();
            data.files = vec![file];
        });
        let compose = compose.replace("{image:", "{logging: {driver: local}, image:");
        config.templates.insert("templates/compose/data.yaml.j2".to_owned(), compose);
        config.templates.insert("templates/files/redis.conf.j2".to_owned(), conf.to_owned());
        let findings = resolved(&config).err().unwrap_or_default().0.into_iter();
        findings.map(|finding| format!("{} {}", finding.code, finding.message)).collect()
    }

    fn postgres(command: &str, more: &str) -> Vec<String> {
        found(&format!("services: {{db: {{image: 'postgres:17', command: {command}{more}}}}}\n"), "")
    }

    #[test]
    fn cap_34_shared_memory_is_enough_for_what_is_set() {
        let guide = "[postgres, -c, shared_buffers=512MB, -c, max_connections=200]";
        assert_eq!(
            postgres(guide, ", shm_size: 256mb"),
            ["database-settings `db` wants 512MB of shared memory (`shared_buffers`), and its `shm_size` is 256 MB"]
        );
        assert_eq!(postgres(guide, ", shm_size: 512mb"), [""; 0]);
        assert_eq!(postgres("[-c, shared_buffers=128MB]", "").len(), 1, "Docker gives 64 MB");
        assert_eq!(postgres("postgres --shared-buffers=8192", ""), [""; 0], "8192 blocks are 64 MB");
        assert_eq!(postgres("[postgres]", ""), [""; 0], "what nobody says is the image's");
        let limited = ", shm_size: 1g, deploy: {resources: {limits: {memory: 512M}}}";
        assert_eq!(postgres(guide, limited).len(), 1);
    }

    #[test]
    fn cap_34_a_database_takes_as_many_connections_as_are_counted() {
        assert_eq!(
            postgres("[postgres, -cmax_connections=100]", ""),
            ["database-settings `db` takes 100 connections, and `max_connections` of component `data` says 200"]
        );
    }

    #[test]
    fn cap_34_a_setting_is_in_one_place() {
        let config = change(config(), |app| {
            let data = app.components.iter_mut().find(|component| component.name.as_str() == "data").unwrap();
            data.postgres = Some(crate::config::PostgresSpec {
                service: "db".to_owned(),
                superuser: "postgres".to_owned(),
                retire_after: crate::time::Millis(0),
                roles: BTreeMap::new(),
                databases: BTreeMap::new(),
                settings: [("work_mem", "16MB"), ("jit", "off")].map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
                origin: data.origin.clone(),
            });
        });
        let of = |command: &str| {
            let mut config = config.clone();
            let compose =
                format!("services: {{db: {{image: 'postgres:17', logging: {{driver: local}}, command: {command}}}}}\n");
            config.templates.insert("templates/compose/data.yaml.j2".to_owned(), compose);
            let findings = resolved(&config).err().unwrap_or_default().0.into_iter();
            findings.map(|finding| format!("{} {}", finding.code, finding.message)).collect::<Vec<_>>()
        };
        assert_eq!(of("[postgres, -c, max_connections=100]"), [""; 0]);
        assert_eq!(
            of("[postgres, -c, work_mem=8MB]"),
            ["database-settings `work_mem` is one of the `settings` of `data` too, and the command wins"]
        );
    }

    #[test]
    fn cap_34_redis_evicts_before_it_is_killed() {
        let limit = "deploy: {resources: {limits: {memory: 512M}}}";
        let by_file =
            format!("services: {{r: {{image: 'redis:8', command: [redis-server, /etc/redis/redis.conf], {limit}}}}}\n");
        let killed = [
            "database-settings `r` may hold 512mb (`maxmemory`), and its container may take 512 MB in all: it would be \
                       killed before it evicts",
        ];
        assert_eq!(found(&by_file, "dir /data\nmaxmemory 512mb\n"), killed);
        assert_eq!(found(&by_file, "maxmemory 384mb\nmaxmemory-policy noeviction\n"), [""; 0]);
        let by_word =
            format!("services: {{r: {{image: 'redis:8', command: redis-server --maxmemory 512mb, {limit}}}}}\n");
        assert_eq!(found(&by_word, ""), killed);
        assert_eq!(found(&by_word.replace("512mb", "512m"), ""), [""; 0], "512,000,000 bytes are less than 512 MiB");
    }
}
