//! One component on one host.

use std::collections::BTreeMap;

use holdfast_protocol::{Digest, Slot, SqlFile};

use super::firewall::firewall;
use super::fitness::Fitness;
use super::logrotate::ignored;
use super::path::{Place, UNITS};
use super::resolve::finding;
use super::traffic;
use super::values::Sources;
use super::{
    Artifacts, Body, DesiredCheck, DesiredComponent, DesiredFile, DesiredMigration, DesiredProject, DesiredService,
    DesiredStatic, DesiredUnit,
};
use crate::config::{
    App, Component, ComponentKind, Config, Environment, FileFormat, FileSpec, HostSpec, Located, MigrateSpec, OnChange,
    ProbeSpec, SqlSpec,
};
use crate::diag::{Diagnostics, Origin};
use crate::id::{AppName, ComponentName, DigestWriter};
use crate::render::{ComposeContext, ComposeService, Content, Engine};

/// Permission bits of a file that says nothing of its own.
const MODE: u32 = 0o644;
/// Permission bits that a file with a secret may have.
const SECRET_MODE: u32 = 0o600;

/// Resolves one component on one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct ComponentResolver<'a> {
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
    pub(super) host: &'a HostSpec,
    pub(super) app: &'a App,
    pub(super) component: &'a Component,
    /// Whether this is the first host that has the component.
    pub(super) first: bool,
}

/// The list of a component's SQL files beside its own files, as `sha256sum` writes it: a release that only brings a new SQL file is another
/// release by it, and goes the component's own way.
const SQL_LIST: &str = "holdfast-migrations.sha256";

fn sql_list(files: &[SqlFile]) -> String {
    files.iter().map(|file| format!("{}  {}\n", file.checksum, file.name)).collect()
}

/// What was made for one host and is the same on others: most of a fleet's files are.
pub(super) type Memo = BTreeMap<(AppName, ComponentName, Option<Slot>), Made>;

/// What one place of a component is, and the first service of its project.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    artifacts: Artifacts,
    first_service: String,
}

impl ComponentResolver<'_> {
    pub(super) fn resolve(self, engine: &mut Engine<'_>, memo: &mut Memo) -> Result<DesiredComponent, Diagnostics> {
        let component = self.component;
        let (body, first_service) = if component.strategy.has_slots() {
            let blue = self.known(engine, Some(Slot::Blue), memo);
            let green = self.known(engine, Some(Slot::Green), memo);
            let (blue, green) = both(blue, green)?;
            (Body::Slots { blue: blue.artifacts, green: green.artifacts }, blue.first_service)
        } else {
            let made = self.known(engine, None, memo)?;
            (Body::Single(made.artifacts), made.first_service)
        };
        self.services(&body)?;
        traffic::replicas(component, &body)?;
        Ok(DesiredComponent {
            name: component.name.clone(),
            strategy: component.strategy,
            ports: traffic::ports_in_use(component),
            switches: self.switches(),
            healthcheck: component.healthcheck.clone(),
            migrate: self.migration(&body, &first_service)?,
            check: self.check(&body)?,
            watch: component.watch.clone(),
            drain: component.drain.clone(),
            prove: component.prove.clone(),
            smoke: component.smoke.clone(),
            keep_previous: component.keep_previous,
            backups: BTreeMap::new(),
            certificates: BTreeMap::new(),
            databases: None,
            statics: match &component.kind {
                ComponentKind::Static(source) => Some(DesiredStatic::of(source)),
                _ => None,
            },
            prerequisites: component.prerequisites.clone(),
            packages: component.packages.clone(),
            origin: component.origin.clone(),
            body,
        })
    }

    fn place(&self, slot: Option<Slot>) -> Place<'_> {
        Place { environment: &self.environment.name, app: &self.app.name, component: &self.component.name, slot }
    }

    /// Returns what was made for another host where it is the same here, and makes it where it is not.
    fn known(&self, engine: &mut Engine<'_>, slot: Option<Slot>, memo: &mut Memo) -> Result<Made, Diagnostics> {
        let component = self.component;
        let kind: Vec<&Located<String>> = match &component.kind {
            ComponentKind::Compose { template } | ComponentKind::Nginx { template } => vec![template],
            ComponentKind::Systemd { templates, .. } => templates.iter().collect(),
            ComponentKind::Firewall(_) | ComponentKind::Static(_) | ComponentKind::Files => Vec::new(),
        };
        let templates = kind.into_iter().chain(component.files.iter().map(|file| &file.template));
        let same = self.host.variables.is_empty()
            && templates.map(template).all(|template| !engine.depends_on_host(&template));
        if !same {
            return self.made(engine, slot);
        }
        let key = (self.app.name.clone(), component.name.clone(), slot);
        if let Some(made) = memo.get(&key) {
            // What the upstreams go to may still be missing on this host.
            self.edge()?;
            return Ok(made.clone());
        }
        let made = self.made(engine, slot)?;
        memo.insert(key, made.clone());
        Ok(made)
    }

    fn made(&self, engine: &mut Engine<'_>, slot: Option<Slot>) -> Result<Made, Diagnostics> {
        let Self { config, environment, host, app, component, .. } = *self;
        let place = self.place(slot);
        let scope = Sources { config, environment, host, app, component, place }.scope();
        let mut findings = Diagnostics::default();
        let mut made = Made::default();
        let files = &mut made.artifacts.files;
        // What could not be rendered is declared all the same: that it is missing is not said once more where it is used.
        let mut failed = Vec::new();
        for spec in &component.files {
            let path = match Self::path(spec, place) {
                Ok(path) => path,
                Err(list) => {
                    findings.extend(list);
                    continue;
                }
            };
            let content = match engine.file(&template(&spec.template), &spec.template.origin, &scope, spec.format) {
                Ok(content) => content,
                Err(list) => {
                    findings.extend(list);
                    failed.push(path);
                    continue;
                }
            };
            let judge = Fitness { config, environment, component, slot };
            findings.extend(judge.file(spec, &content));
            let file = DesiredFile {
                mode: if content.has_secret() { spec.mode & SECRET_MODE } else { spec.mode },
                content,
                owner: spec.owner.clone(),
                group: spec.group.clone(),
                nginx: spec.format == FileFormat::Nginx,
                reload: spec.on_change == OnChange::Reload,
                origin: spec.template.origin.clone(),
            };
            if let Some((message, hint)) = ignored(&path, &file) {
                findings.extend(finding("logrotate-ignores", &spec.path.origin, message, hint));
            }
            if files.insert(path.clone(), file).is_some() {
                let message = format!("two files of the component go to {path}");
                findings.extend(finding("claimed-twice", &spec.path.origin, message, ""));
            }
        }
        match &component.kind {
            ComponentKind::Static(_) | ComponentKind::Files => {}
            ComponentKind::Firewall(spec) => firewall(spec, place, &component.origin, &mut made.artifacts),
            ComponentKind::Compose { template: named } => {
                let directory = place.directory();
                let known = files.iter().map(|(path, file)| (path.clone(), file.content.sealed()));
                let failed = failed.into_iter().map(|path| (path, DigestWriter::new().finish()));
                let digests: BTreeMap<String, Digest> = known.chain(failed).collect();
                let context = ComposeContext { directory: &directory, files: &digests, slots: slot.is_some() };
                match engine.compose(&template(named), &named.origin, &scope, context) {
                    Ok(compose) => {
                        let path = format!("{directory}/compose.yaml");
                        let texts = files.iter().map(|(path, file)| (path.as_str(), file.content.shown())).collect();
                        let judge = Fitness { config, environment, component, slot };
                        findings.extend(judge.services(&compose.services, &texts));
                        files.insert(path.clone(), own_file(compose.content, &named.origin, false));
                        let services = compose.services.into_iter();
                        made.first_service = compose.first;
                        made.artifacts.project = Some(DesiredProject {
                            name: place.project(),
                            file: path,
                            services: services.map(|(name, service)| (name, desired_service(service))).collect(),
                            volumes: compose.volumes,
                        });
                    }
                    Err(list) => findings.extend(list),
                }
            }
            ComponentKind::Systemd { templates, enabled } => {
                for named in templates {
                    match unit_name(named, slot).and_then(|unit| {
                        Ok((unit, engine.file(&template(named), &named.origin, &scope, FileFormat::Systemd)?))
                    }) {
                        Ok((unit, content)) => {
                            files.insert(format!("{UNITS}/{unit}"), own_file(content, &named.origin, false));
                            if runs(&unit, templates) {
                                made.artifacts.units.insert(unit, DesiredUnit { enabled: *enabled });
                            }
                        }
                        Err(list) => findings.extend(list),
                    }
                }
            }
            ComponentKind::Nginx { template: named } => {
                match self.edge().and_then(|edge| engine.nginx(&template(named), &named.origin, &scope, &edge)) {
                    Ok(content) => {
                        findings.extend(self.unused(&content));
                        files.insert(place.site(), own_file(content, &named.origin, true));
                    }
                    Err(list) => findings.extend(list),
                }
            }
        }
        if let Some(sql) = component.migrate.as_ref().and_then(|migrate| migrate.sql.as_ref()) {
            let path = format!("{}/{SQL_LIST}", place.directory());
            let list = own_file(Content::plain(sql_list(&sql.files)), &component.origin, false);
            made.artifacts.files.insert(path, list);
        }
        if findings.has_errors() { Err(findings) } else { Ok(made) }
    }

    fn path(spec: &FileSpec, place: Place<'_>) -> Result<String, Diagnostics> {
        let refuse = |problem: String| {
            let message = format!("`{}` cannot be a destination: {problem}", spec.path.value);
            finding("file-path", &spec.path.origin, message, "")
        };
        let path = place.fill(&spec.path.value).map_err(refuse)?;
        place.check(&path, spec.format).map_err(refuse)?;
        Ok(path)
    }

    /// Checks that services named by probes exist.
    fn services(&self, body: &Body) -> Result<(), Diagnostics> {
        let Some(check) = &self.component.healthcheck else { return Ok(()) };
        match (&check.probe, &body.artifacts(None).project) {
            (ProbeSpec::Celery { .. }, None) => {
                let hint = "on the host itself it is `command: [celery, …, inspect, ping]`";
                let message = "the health check `celery` asks in containers, and the component has no compose file";
                Err(finding("unknown-service", &self.component.origin, message, hint))
            }
            (ProbeSpec::Command { service, .. } | ProbeSpec::Celery { service, .. }, Some(project))
                if !service.is_empty() && !project.services.contains_key(service) =>
            {
                let message =
                    format!("the health check runs in the service `{service}`, which the compose file does not have");
                Err(finding("unknown-service", &self.component.origin, message, ""))
            }
            _ => Ok(()),
        }
    }

    /// Returns the look at its files, named after all that the verdict hangs on.
    fn check(&self, body: &Body) -> Result<Option<DesiredCheck>, Diagnostics> {
        let Some(spec) = &self.component.check else { return Ok(None) };
        let artifacts = body.artifacts(None);
        let services = artifacts.project.iter().flat_map(|project| &project.services);
        if !spec.service.is_empty() && !services.clone().any(|(name, _)| *name == spec.service) {
            let message =
                format!("the check runs in the service `{}`, which the compose file does not have", spec.service);
            return Err(finding("unknown-service", &spec.origin, message, ""));
        }
        let mut writer = DigestWriter::new().field(&spec.service).field(spec.command.len().to_le_bytes());
        for word in &spec.command {
            writer = writer.field(word);
        }
        for (name, service) in services {
            writer = writer.field(name).field(&service.image);
        }
        for (path, file) in &artifacts.files {
            writer = writer.field(path).field(file.content.sealed().0);
        }
        let digest = writer.finish().to_string();
        let (environment, app, component) = (&self.environment.name, &self.app.name, &self.component.name);
        let id = format!("{environment}/{app}/{component}/check-{}", &digest[..16]);
        Ok(Some(DesiredCheck { id, spec: spec.clone() }))
    }

    fn migration(&self, body: &Body, first_service: &str) -> Result<Option<DesiredMigration>, Diagnostics> {
        let Some(spec) = &self.component.migrate else { return Ok(None) };
        let mut spec = spec.clone();
        let mut image = String::new();
        if let Some(sql) = &spec.sql {
            self.check_migration(&spec)?;
            return self.sql_migration(spec.clone(), sql).map(Some);
        }
        if let Some(project) = &body.artifacts(None).project {
            if spec.service.is_empty() {
                first_service.clone_into(&mut spec.service);
            }
            let Some(service) = project.services.get(&spec.service) else {
                let message = format!(
                    "the migration runs in the service `{}`, which the compose file does not have",
                    spec.service
                );
                return Err(finding("unknown-service", &self.component.origin, message, ""));
            };
            image.clone_from(&service.image);
        }
        let mut writer = DigestWriter::new().field(&self.app.release.value).field(spec.command.len().to_le_bytes());
        for word in &spec.command {
            writer = writer.field(word);
        }
        let digest = writer.field(image).finish().to_string();
        let id =
            |environment: &str| format!("{environment}/{}/{}/{}", self.app.name, self.component.name, &digest[..16]);
        let after = spec.after.as_ref().map(|after| id(&after.value));
        self.check_migration(&spec)?;
        let project = String::new();
        Ok(Some(DesiredMigration { id: id(self.environment.name.as_str()), spec, project, after, here: self.first }))
    }

    /// Returns the migration by SQL files. Their text is its identity: a release that brings no new one migrates nothing.
    fn sql_migration(&self, spec: MigrateSpec, sql: &SqlSpec) -> Result<DesiredMigration, Diagnostics> {
        let found = self.app.components.iter().find(|component| component.name == sql.component);
        let is_here =
            found.is_some_and(|keeper| keeper.hosts.contains(&self.host.name) && !keeper.strategy.has_slots());
        if self.first && !is_here {
            let message = format!(
                "the SQL files are for the database of `{}`, which is not on {}, where they would be applied, or has slots",
                sql.component, self.host.name
            );
            let hint = "name a component in one place on the same host";
            return Err(finding("bad-migration", &self.component.origin, message, hint));
        }
        let (environment, app) = (&self.environment.name, &self.app.name);
        let place = Place { environment, app, component: &sql.component, slot: None };
        let files = sql.files.iter();
        let writer = files.fold(DigestWriter::new(), |writer, file| writer.field(&file.name).field(file.checksum.0));
        let digest = writer.finish().to_string();
        let id = |environment: &str| format!("{environment}/{app}/{}/{}", self.component.name, &digest[..16]);
        let after = spec.after.as_ref().map(|after| id(&after.value));
        let project = place.project();
        Ok(DesiredMigration { id: id(self.environment.name.as_str()), spec, project, after, here: self.first })
    }

    /// Checks what a migration asks of its host: the backup is taken where it runs, and only there is the old release stopped.
    fn check_migration(&self, spec: &MigrateSpec) -> Result<(), Diagnostics> {
        let origin = &self.component.origin;
        let has_backup = |component: &&Component| component.backups.iter().any(|plan| plan.class == spec.backup);
        if let Some(keeper) = self.app.components.iter().find(has_backup)
            && self.first
            && !keeper.hosts.contains(&self.host.name)
        {
            let message = format!(
                "the migration runs on {} and waits for the backup `{}`, which `{}` takes on another host",
                self.host.name, spec.backup, keeper.name
            );
            return Err(finding("bad-migration", origin, message, "let the first host of both be the same"));
        }
        let hosts = self.component.hosts.len();
        if spec.breaking && hosts > 1 {
            let message = format!(
                "`breaking` stops the old release before the schema changes, and `{}` is on {hosts} hosts: those beside the one \
                 that migrates would go on with it",
                self.component.name
            );
            let hint = "make the change in two releases that the one before each works with (expand, then contract)";
            return Err(finding("bad-migration", origin, message, hint));
        }
        Ok(())
    }
}

fn both(blue: Result<Made, Diagnostics>, green: Result<Made, Diagnostics>) -> Result<(Made, Made), Diagnostics> {
    match (blue, green) {
        (Ok(blue), Ok(green)) => Ok((blue, green)),
        (Err(mut blue), Err(green)) => {
            blue.extend(green);
            Err(blue)
        }
        (Err(list), Ok(_)) | (Ok(_), Err(list)) => Err(list),
    }
}

fn template(named: &Located<String>) -> String {
    format!("templates/{}", named.value)
}

fn desired_service(service: ComposeService) -> DesiredService {
    DesiredService {
        digest: service.digest,
        image: service.image.value,
        replicas: service.replicas.value,
        published: service.published.iter().filter_map(|port| port.value.ports.filter(|_| port.value.tcp)).collect(),
        memory: service.memory,
        processors: service.processors,
    }
}

pub(super) fn own_file(content: Content, origin: &Origin, nginx: bool) -> DesiredFile {
    let mode = if content.has_secret() { SECRET_MODE } else { MODE };
    DesiredFile {
        content,
        mode,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        nginx,
        reload: false,
        origin: origin.clone(),
    }
}

/// Returns the unit a template is for. With slots a template unit becomes its instance.
fn unit_name(named: &Located<String>, slot: Option<Slot>) -> Result<String, Diagnostics> {
    let file = named.value.rsplit('/').next().unwrap_or_default();
    let unit = file.strip_suffix(".j2").unwrap_or(file);
    let refuse = |message: String, hint: &str| Err(finding("unit-name", &named.origin, message, hint));
    let (stem, suffix) = unit.rsplit_once('.').unwrap_or((unit, ""));
    let valid = |c: char| c.is_ascii_alphanumeric() || "_.@:-".contains(c);
    if !matches!(suffix, "service" | "timer" | "socket" | "path" | "target" | "mount" | "slice") || stem.is_empty() {
        return refuse(format!("`{unit}` is no unit name"), "name the template after its unit: nps-api.service.j2");
    }
    if !unit.chars().all(valid) || unit.len() > 200 {
        return refuse(format!("`{unit}` is no unit name: letters, digits and _ . @ : -"), "");
    }
    match slot {
        None => Ok(unit.to_owned()),
        Some(slot) => match stem.strip_suffix('@') {
            Some(name) if !name.is_empty() => Ok(format!("{name}@{slot}.{suffix}")),
            _ => refuse(
                format!("a component with slots needs a template unit, but `{unit}` is none"),
                &format!("name it {stem}@.{suffix}.j2"),
            ),
        },
    }
}

/// Returns whether a unit is to run. A service that a timer, socket or path of the same name starts is not, nor is a template.
fn runs(unit: &str, templates: &[Located<String>]) -> bool {
    let Some((stem, suffix)) = unit.rsplit_once('.') else { return false };
    if stem.ends_with('@') {
        return false;
    }
    let plain = stem.split_once('@').map_or_else(|| stem.to_owned(), |(name, _)| format!("{name}@"));
    let starters = ["timer", "socket", "path"];
    suffix != "service"
        || !templates.iter().any(|other| {
            let file = other.value.rsplit('/').next().unwrap_or_default();
            let other = file.strip_suffix(".j2").unwrap_or(file);
            starters.iter().any(|starter| other == format!("{plain}.{starter}"))
        })
}
