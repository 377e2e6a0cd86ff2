//! An app as written to an app of the model: names resolved, defaults filled in, rules of each strategy kept.

use std::collections::BTreeMap;

use super::backups;
use super::certificates::Certificate;
use super::checks;
use super::claims::{Claims, Resource};
use super::component_claims::{certificate, claim_backups, claim_databases, claim_names};
use super::databases;
use super::decode::NamedEntry;
use super::findings::Findings;
use super::hosts::{Hosts, Scope};
use super::metrics;
use super::migrations;
use super::model::{
    App, ArchiveSpec, Component, ComponentKind, ConnectionSpec, FileFormat, FileSpec, Located, Strategy, UpstreamSpec,
};
use super::place::{At, Place};
use super::prerequisites;
use super::raw::{self, TemplatePath};
use super::redis;
use super::statics;
use super::suggest;
use super::{ports, preview};
use crate::id::{AppName, ComponentName, EnvironmentName, HostName};
use crate::time::Millis;

/// What an app is resolved against.
pub(super) struct Surroundings<'a> {
    /// Its environment.
    pub(super) environment: &'a EnvironmentName,
    /// The inventory.
    pub(super) hosts: &'a Hosts,
    /// The environment's hosts.
    pub(super) environment_hosts: &'a [HostName],
    /// All templates by path from the root.
    pub(super) templates: &'a BTreeMap<String, String>,
    /// The environment's certificates; `None` for one that is wrong.
    pub(super) certificates: &'a BTreeMap<String, Option<Certificate>>,
}

/// What the components of one app know of each other before any of them is resolved.
pub(super) struct Siblings<'a> {
    /// `prod/nps`.
    app: String,
    /// `prod-nps`.
    pub(super) stem: String,
    app_hosts: &'a [HostName],
    /// By name; `None` for a component that is wrong.
    pub(super) components: BTreeMap<&'a ComponentName, Option<&'a raw::Component>>,
    /// The hosts of each component.
    hosts: BTreeMap<&'a ComponentName, Vec<HostName>>,
    /// The classes of backups of all components.
    backups: Vec<&'a str>,
}

/// Returns the app, or nothing after a finding.
pub(super) fn app(
    name: AppName,
    file: &str,
    content: &raw::App,
    around: &Surroundings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<App> {
    let of = format!("environment `{}`", around.environment);
    let hosts = match &content.hosts {
        // Where a selector is wrong nothing is selected, so that nothing is said of hosts that may not be meant.
        None if content.wrong.any(&["hosts"]) => Vec::new(),
        None => around.environment_hosts.to_vec(),
        Some(selector) => around.hosts.select(selector, &Scope { among: around.environment_hosts, of: &of }, findings),
    };
    let entries = content.components.0.as_ref().map_or(&[][..], |named| &named.entries);
    if entries.is_empty() && content.components.0.is_some() {
        let hint = "give it one, such as `web: { compose: compose/web.yaml.j2, strategy: rolling }`";
        findings.error("no-component", file, Place::default(), format!("the app `{name}` has no component"), hint);
    }
    let mut siblings = Siblings {
        app: format!("{}/{name}", around.environment),
        stem: format!("{}-{name}", around.environment),
        app_hosts: &hosts,
        components: entries.iter().map(|entry| (&entry.name.value, entry.value.as_ref())).collect(),
        hosts: BTreeMap::new(),
        backups: entries
            .iter()
            .filter_map(|entry| entry.value.as_ref()?.backups.as_ref())
            .flat_map(|named| named.entries.iter().map(|class| class.name.value.0.as_str()))
            .collect(),
    };
    let of = format!("app `{name}`");
    for entry in entries {
        let chosen = match entry.value.as_ref().and_then(|component| component.hosts.as_ref()) {
            None if entry.value.as_ref().is_none_or(|component| component.wrong.any(&["hosts"])) => Vec::new(),
            None => hosts.clone(),
            Some(selector) => around.hosts.select(selector, &Scope { among: siblings.app_hosts, of: &of }, findings),
        };
        siblings.hosts.insert(&entry.name.value, chosen);
    }
    let archives = archives(content, entries, findings);
    statics::once(entries, &archives, findings);
    let mut components = Vec::new();
    let mut complete = true;
    for entry in entries {
        let resolved =
            entry.value.as_ref().and_then(|raw| component(&entry.name, raw, &siblings, around, claims, findings));
        complete &= resolved.is_some();
        components.extend(resolved);
    }
    let (app, release) = (content.app.0.as_ref()?, content.release.0.as_ref()?);
    complete.then(|| App {
        release: Located { value: release.value.0.clone(), origin: release.origin() },
        hosts: hosts.clone(),
        keep_releases: content.keep_releases.map_or(3, |keep| keep.0),
        archives,
        components,
        variables: content.variables.clone().unwrap_or_default().0,
        origin: app.origin(),
        name,
    })
}

/// Returns the archives of an app, each once.
fn archives(
    content: &raw::App,
    components: &[NamedEntry<ComponentName, raw::Component>],
    findings: &mut Findings<'_>,
) -> Vec<ArchiveSpec> {
    let mut archives: Vec<ArchiveSpec> = Vec::new();
    for entry in content.archives.iter().flatten() {
        let (Some(file), Some(sha256)) = (&entry.value.file.0, &entry.value.sha256.0) else { continue };
        let Ok(sha256) = sha256.0.parse() else { continue };
        let spec = ArchiveSpec { file: file.value.0.clone(), sha256, origin: file.origin() };
        if archives.iter().any(|other| other.file == spec.file || other.sha256 == spec.sha256) {
            let message = format!("the archive `{}` is named twice", spec.file);
            findings.error_at(
                "bad-archive",
                file,
                message,
                "name each archive once: all components of the app have it",
            );
            continue;
        }
        archives.push(spec);
    }
    let composed = |entry: &NamedEntry<_, raw::Component>| {
        entry.value.as_ref().is_none_or(|component| component.compose.is_some() || component.wrong.any(&["compose"]))
    };
    if let (Some(first), false) = (content.archives.iter().flatten().next(), components.iter().any(composed)) {
        let message = "`archives` has no effect without a component with `compose`";
        findings.warning("no-effect", &first.file, first.place, message.to_owned(), "take it away");
    }
    archives
}

fn component(
    name: &At<ComponentName>,
    raw: &raw::Component,
    siblings: &Siblings<'_>,
    around: &Surroundings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<Component> {
    let hosts = siblings.hosts.get(&name.value).cloned().unwrap_or_default();
    let who = format!("{}/{}", siblings.app, name.value);
    let kind = kind(name, raw, (&who, &hosts), around, claims, findings);
    let strategy = strategy(name, raw, findings);
    let ports = ports::ports(raw, strategy, &who, &hosts, claims, findings);
    let replicas = ports::replicas(raw, strategy, findings);
    let preview = preview::preview(name, raw, findings);
    let files = files(raw, &who, &hosts, around, claims, findings);
    if let (Some(kind), Some(strategy)) = (&kind, strategy) {
        fits(name, raw, kind, strategy, findings);
        claim_names(name, kind, strategy, &who, &hosts, siblings, claims);
    }
    let port_names = checks::PortNames::of(raw);
    let healthcheck = raw.healthcheck.as_ref().and_then(|check| checks::health(check, &port_names, findings));
    let prove = raw.prove.as_ref().and_then(|prove| checks::prove(prove, findings));
    let smoke = checks::smoke(raw.smoke.as_deref().unwrap_or_default(), prove.as_ref());
    let metrics = metrics::metrics(raw, findings);
    let watch = raw.watch.as_ref().map(|watch| {
        let unknown = raw.healthcheck.is_some() && healthcheck.is_none();
        let named = raw.metrics.as_ref().map_or(0, |metrics| metrics.entries.len());
        let wrong = raw.wrong.any(&["ports", "metrics"]) || named != metrics.len();
        let jobs = checks::Jobs { known: &metrics, wrong };
        checks::watch(&watch.value, healthcheck.as_ref(), unknown, &jobs, findings)
    });
    let drain = checks::drain(raw.drain.as_ref(), findings);
    let upstreams = upstreams(raw, &who, &hosts, siblings, claims, findings);
    let prerequisites = prerequisites::prerequisites(raw, &who, &hosts, claims, findings);
    let backups = backups::backups(raw, strategy, (around.hosts, &hosts), findings);
    let certificate = certificate(name, raw, &who, &hosts, siblings, around, claims, findings);
    let check = metrics::check(raw, strategy, findings);
    let postgres = raw.postgres.as_ref().and_then(|at| databases::postgres(at, raw, around.templates, findings));
    let redis = raw.redis.as_ref().and_then(|at| redis::redis(at, raw, findings));
    let (kind, strategy) = (kind?, strategy?);
    claim_databases(name, raw, siblings, findings);
    claim_backups(name, raw, &who, &hosts, siblings, claims, findings);
    let keep = if strategy.has_slots() { Millis(86_400_000) } else { Millis(0) };
    if postgres.is_none() && (raw.postgres.is_some() || raw.wrong.any(&["postgres"])) {
        return None;
    }
    if redis.is_none() && (raw.redis.is_some() || raw.wrong.any(&["redis"])) {
        return None;
    }
    Some(Component {
        name: name.value.clone(),
        kind,
        strategy,
        hosts,
        ports,
        replicas,
        healthcheck,
        migrate: raw
            .migrate
            .as_ref()
            .map(|migrate| migrations::migrate(migrate, name, &beside(siblings, around), findings)),
        watch,
        drain,
        prove,
        smoke,
        keep_previous: raw.keep_previous.as_ref().map_or(keep, |keep| keep.value),
        files,
        check,
        metrics,
        prerequisites,
        packages: raw.packages.iter().flatten().map(|package| package.value.0.clone()).collect(),
        backups,
        postgres,
        redis,
        max_connections: raw.max_connections.as_ref().map(|most| most.value.0),
        connections: raw.connections.as_ref().and_then(|at| connections(at, siblings, findings)),
        certificate,
        upstreams,
        preview,
        variables: raw.variables.clone().unwrap_or_default().0,
        origin: name.origin(),
    })
}

/// Returns what a migration may name.
fn beside<'a>(siblings: &'a Siblings<'_>, around: &Surroundings<'a>) -> migrations::Around<'a> {
    let components = siblings.components.keys().copied().collect();
    migrations::Around { classes: &siblings.backups, components, templates: around.templates }
}

/// Returns what the component is made of.
fn kind(
    name: &At<ComponentName>,
    raw: &raw::Component,
    (who, hosts): (&str, &[HostName]),
    around: &Surroundings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<ComponentKind> {
    let given: Vec<(&str, Place)> = [
        ("compose", raw.compose.as_ref().map(|at| at.place)),
        ("systemd", raw.systemd.as_ref().map(|at| at.place)),
        ("nginx", raw.nginx.as_ref().map(|at| at.place)),
        ("static", raw.r#static.as_ref().map(|at| at.place)),
        ("firewall", raw.firewall.as_ref().map(|at| at.place)),
    ]
    .into_iter()
    .filter_map(|(key, place)| Some((key, place?)))
    .collect();
    if let [(first, _), (second, place), ..] = given.as_slice() {
        let message = format!("the component `{}` has both `{first}` and `{second}`", name.value);
        findings.error("bad-component", &name.file, *place, message, "make two components of it");
        return None;
    }
    let enabled = raw.enabled.as_ref().is_none_or(|enabled| enabled.value);
    match (&raw.compose, &raw.systemd, &raw.nginx) {
        (Some(template), ..) => Some(ComponentKind::Compose { template: self::template(template, around, findings)? }),
        (_, Some(templates), _) => {
            let found: Vec<_> =
                templates.value.0.iter().map(|template| self::template(template, around, findings)).collect();
            let templates = found.into_iter().collect::<Option<Vec<_>>>()?;
            Some(ComponentKind::Systemd { templates, enabled })
        }
        (_, _, Some(template)) => Some(ComponentKind::Nginx { template: self::template(template, around, findings)? }),
        _ if raw.r#static.is_some() => {
            statics::source(raw.r#static.as_ref()?, raw, (who, hosts), claims, findings).map(ComponentKind::Static)
        }
        _ if raw.firewall.is_some() => {
            let (inventory, environment) = (around.hosts, around.environment_hosts);
            let at = raw.firewall.as_ref()?;
            prerequisites::firewall(at, who, hosts, inventory, environment, claims, findings)
                .map(ComponentKind::Firewall)
        }
        _ if raw.wrong.any(&["compose", "systemd", "nginx", "static", "firewall", "files", "accounts", "folders"]) => {
            None
        }
        _ if raw.files.is_some()
            || raw.groups.is_some()
            || raw.accounts.is_some()
            || raw.folders.is_some()
            || raw.packages.is_some()
            || raw.backups.is_some() =>
        {
            Some(ComponentKind::Files)
        }
        _ => {
            let message = format!("the component `{}` is made of nothing", name.value);
            findings.error_at(
                "bad-component",
                name,
                message,
                "give it one of `compose`, `systemd`, `nginx`, `static`, `firewall` or `files`, or what has to be on its hosts",
            );
            None
        }
    }
}

/// Returns a template's path after looking whether it is there.
fn template(at: &At<TemplatePath>, around: &Surroundings<'_>, findings: &mut Findings<'_>) -> Option<Located<String>> {
    let path = &at.value.0;
    if around.templates.contains_key(&format!("templates/{path}")) {
        return Some(Located { value: path.clone(), origin: at.origin() });
    }
    let known = around.templates.keys().filter_map(|path| path.strip_prefix("templates/"));
    let hint = match path.strip_prefix("templates/") {
        Some(below) => format!("paths begin below `templates/`: write `{below}`"),
        None => suggest::hint(path, "templates", known),
    };
    findings.error_at("unknown-template", at, format!("there is no template `templates/{path}`"), hint);
    None
}

fn strategy(name: &At<ComponentName>, raw: &raw::Component, findings: &mut Findings<'_>) -> Option<Strategy> {
    if let Some(strategy) = &raw.strategy {
        return Some(strategy.value);
    }
    if raw.wrong.any(&["strategy", "compose", "systemd"]) {
        return None;
    }
    if raw.compose.is_some() || raw.systemd.is_some() {
        let message = format!("the component `{}` does not say how it is changed", name.value);
        let hint = "give it a `strategy`: blue_green, rolling, workers, singleton, stateful or in_place";
        findings.error_at("missing-key", name, message, hint);
        return None;
    }
    // What it closes and opens shows at once: host after host.
    Some(if raw.firewall.is_some() { Strategy::Rolling } else { Strategy::InPlace })
}

/// Finds keys that do not fit the kind or strategy of a component.
fn fits(
    name: &At<ComponentName>,
    raw: &raw::Component,
    kind: &ComponentKind,
    strategy: Strategy,
    findings: &mut Findings<'_>,
) {
    let runs = matches!(kind, ComponentKind::Compose { .. } | ComponentKind::Systemd { .. });
    let word = strategy.as_str();
    if let Some(at) = &raw.strategy {
        if !runs && strategy != Strategy::InPlace && strategy != Strategy::Rolling {
            let message = format!("the strategy `{word}` needs `compose` or `systemd`");
            findings.error_at("bad-strategy", at, message, "nginx sites and files are changed `in_place`");
        }
        let known = !raw.wrong.any(&["ports"]);
        if strategy == Strategy::BlueGreen
            && runs
            && known
            && raw.ports.as_ref().is_none_or(|ports| ports.entries.is_empty())
        {
            let hint =
                "give it `ports: { api: { blue: 8101, green: 8201 } }`; without traffic the strategy is `workers`";
            findings.error_at("bad-strategy", at, "the strategy `blue_green` needs a port for each slot", hint);
        }
    }
    if let ComponentKind::Systemd { templates, .. } = kind {
        for template in templates {
            unit_name(template, strategy, findings);
        }
    }
    let mut no_effect = |key: &str, place: Option<Place>, why: &str| {
        if let Some(place) = place {
            findings.warning("no-effect", &name.file, place, format!("`{key}` has no effect {why}"), "take it away");
        }
    };
    let slots = format!("with the strategy `{word}`, which has no slots");
    if !strategy.has_slots() {
        no_effect("keep_previous", raw.keep_previous.as_ref().map(|at| at.place), &slots);
    }
    if strategy != Strategy::BlueGreen {
        no_effect(
            "prove",
            raw.prove.as_ref().map(|at| at.place),
            &format!("with the strategy `{word}`, which has no switch"),
        );
    }
    if !matches!(kind, ComponentKind::Systemd { .. }) {
        no_effect("enabled", raw.enabled.as_ref().map(|at| at.place), "without `systemd`");
    }
    if !runs {
        let why = "without `compose` or `systemd`";
        no_effect("healthcheck", raw.healthcheck.as_ref().map(|at| at.place), why);
        no_effect("drain", raw.drain.as_ref().map(|at| at.place), why);
        no_effect("watch", raw.watch.as_ref().map(|at| at.place), why);
        no_effect("migrate", raw.migrate.as_ref().map(|at| at.place), why);
    }
    if !matches!(kind, ComponentKind::Nginx { .. }) {
        let upstreams = raw.upstreams.iter().flat_map(|upstreams| &upstreams.entries);
        for upstream in upstreams {
            let hint = "give it to the component with `nginx`";
            findings.error_at("bad-component", &upstream.name, "`upstreams` needs `nginx`", hint);
        }
    }
}

/// Kinds of units that Holdfast installs.
const UNIT_KINDS: [&str; 6] = [".service", ".socket", ".timer", ".target", ".path", ".mount"];

pub(super) fn unit_of(template: &str) -> &str {
    template.rsplit('/').next().unwrap_or(template).trim_end_matches(".j2")
}

fn unit_name(template: &Located<String>, strategy: Strategy, findings: &mut Findings<'_>) {
    let unit = unit_of(&template.value);
    let Some(stem) = UNIT_KINDS.iter().find_map(|kind| unit.strip_suffix(kind)) else {
        let message = format!("`{unit}` is no name of a systemd unit");
        let hint = format!(
            "the template's name is the unit's and ends in {}",
            UNIT_KINDS.map(|kind| format!("`{kind}.j2`")).join(", ")
        );
        return findings.error_located("bad-unit", template, message, hint);
    };
    if strategy.has_slots() && !stem.ends_with('@') {
        let message =
            format!("the strategy `{}` runs two instances, and `{unit}` can have only one", strategy.as_str());
        let hint = format!("make it a template unit: name the file `{stem}@{}.j2`", unit.trim_start_matches(stem));
        findings.error_located("bad-unit", template, message, hint);
    } else if !strategy.has_slots() && stem.contains('@') {
        let message = format!("`{unit}` is a template unit, and the strategy `{}` has no slots", strategy.as_str());
        findings.error_located("bad-unit", template, message, "take the `@` out of the file's name");
    }
}

fn files(
    raw: &raw::Component,
    who: &str,
    hosts: &[HostName],
    around: &Surroundings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Vec<FileSpec> {
    let account =
        |account: &Option<raw::Account>| account.as_ref().map_or_else(|| "root".to_owned(), |name| name.0.clone());
    let mut files: Vec<FileSpec> = Vec::new();
    for file in raw.files.iter().flatten() {
        // A path below `{{ dir }}` is the component's own; the same one in another component is another file.
        let inside = file.path.value.0.starts_with("{{");
        let owner = if inside { format!("{who}: {}", file.path.value.0) } else { file.path.value.0.clone() };
        claims.claim(Resource::File, owner, who, &file.path, hosts);
        let Some(template) = template(&file.template, around, findings) else { continue };
        files.push(FileSpec {
            path: Located { value: file.path.value.0.clone(), origin: file.path.origin() },
            template,
            format: file.format.unwrap_or(FileFormat::Plain),
            mode: file.mode.map_or(0o644, |mode| mode.0),
            owner: account(&file.owner),
            group: account(&file.group),
            on_change: file.on_change.unwrap_or_default(),
        });
    }
    files
}

fn connections(
    at: &At<raw::Connections>,
    siblings: &Siblings<'_>,
    findings: &mut Findings<'_>,
) -> Option<ConnectionSpec> {
    let to = &at.value.to;
    let Some(database) = siblings.components.get(&to.value) else {
        let known = siblings.components.keys().map(|name| name.as_str());
        let hint = suggest::hint(to.value.as_str(), "components", known);
        findings.error_at("unknown-component", to, format!("the app has no component `{}`", to.value), hint);
        return None;
    };
    if database.is_some_and(|database| database.max_connections.is_none() && !database.wrong.any(&["max_connections"]))
    {
        let message = format!("the component `{}` does not say how many connections its database takes", to.value);
        findings.error_at("bad-connections", to, message, "give it `max_connections`, as the database is told it");
    }
    Some(ConnectionSpec {
        to: to.value.clone(),
        workers: at.value.workers.map_or(1, |workers| workers.0),
        pool: at.value.pool.0,
        origin: at.origin(),
    })
}

fn upstreams(
    raw: &raw::Component,
    who: &str,
    hosts: &[HostName],
    siblings: &Siblings<'_>,
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, UpstreamSpec> {
    let mut upstreams = BTreeMap::new();
    for entry in raw.upstreams.iter().flat_map(|upstreams| &upstreams.entries) {
        claims.claim(Resource::Upstream, &entry.name.value.0, who, &entry.name, hosts);
        let Some(at) = &entry.value else { continue };
        let (target, port) = (&at.value.component, &at.value.port);
        let Some(component) = siblings.components.get(target) else {
            let hint =
                suggest::hint(target.as_str(), "components", siblings.components.keys().map(|name| name.as_str()));
            findings.error_at("unknown-component", at, format!("the app has no component `{target}`"), hint);
            continue;
        };
        let Some(component) = component.filter(|component| !component.wrong.any(&["ports"])) else { continue };
        let known: Vec<&str> =
            component.ports.iter().flat_map(|ports| &ports.entries).map(|port| port.name.value.0.as_str()).collect();
        if !known.contains(&port.as_str()) {
            let hint = suggest::hint(port, "ports", known.iter().copied());
            findings.error_at("unknown-port", at, format!("the component `{target}` has no port `{port}`"), hint);
            continue;
        }
        if component.strategy.as_ref().is_some_and(|strategy| strategy.value == Strategy::Workers) {
            let message = format!("the component `{target}` has the strategy `workers`, which switches no traffic");
            findings.error_at("bad-upstream", at, message, "give it the strategy `blue_green`");
        }
        let there = siblings.hosts.get(target).map_or(&[][..], Vec::as_slice);
        if let Some(host) = hosts.iter().find(|host| !there.contains(host))
            && !there.is_empty()
        {
            let message = format!("the component `{target}` is not on host `{host}`, where this site is");
            findings.error_at("bad-upstream", at, message, "upstreams are on loopback: put both on the same hosts");
        }
        let spec = UpstreamSpec { component: target.clone(), port: port.clone(), origin: at.origin() };
        upstreams.insert(entry.name.value.0.clone(), spec);
    }
    upstreams
}
