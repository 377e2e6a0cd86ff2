//! The backups of a component on one host: a declaration for the host program, and the timers that call it.
//!
//! They are a component of their own. A file that changes beside a compose project makes its containers start anew, and a changed
//! backup must never do that to the database it is about.

use std::collections::BTreeMap;

use holdfast_protocol::{BackupBefore, BackupSource, BackupSpec, BackupWriters, OffsiteSpec};

use super::component::own_file;
use super::path::{Place, UNITS};
use super::resolve::finding;
use super::{Artifacts, Body, DesiredBackup, DesiredComponent, DesiredUnit};
use crate::config::{App, BackupFrom, BackupPlan, Component, Config, Environment, Recurrence, closest};
use crate::diag::Diagnostics;
use crate::render::Content;
use crate::time::Millis;

/// The host program by a name that stays when its version changes. The host puts it there.
pub(super) const PROGRAM: &str = "/var/lib/holdfast/host/current";

/// A restore takes longer than a dump: indexes are built. How many times as long a drill may take.
const DRILL_TIMES: u64 = 4;

/// Returns the component that the backups of a component become; `None` when it has none.
pub(super) fn backups(
    config: &Config,
    environment: &Environment,
    (app, component): (&App, &Component),
    (made, all): (&DesiredComponent, &[&DesiredComponent]),
) -> Result<Option<DesiredComponent>, Diagnostics> {
    if component.backups.is_empty() {
        return Ok(None);
    }
    let name = crate::config::backup_component(&component.name);
    let name = match name.parse() {
        Ok(name) => name,
        Err(error) => return Err(finding("bad-backup", &component.origin, format!("{error}"), "")),
    };
    let own = Place { environment: &environment.name, app: &app.name, component: &name, slot: None };
    let place = Place { component: &component.name, ..own };
    let mut findings = Diagnostics::default();
    let mut artifacts = Artifacts::default();
    let mut declared = BTreeMap::new();
    for plan in &component.backups {
        let source = match source(plan, made, place) {
            Ok(source) => source,
            Err(list) => {
                findings.extend(list);
                continue;
            }
        };
        let before = match before(plan, made) {
            Ok(before) => before,
            Err(list) => {
                findings.extend(list);
                continue;
            }
        };
        let spec = BackupSpec {
            environment: environment.name.to_string(),
            app: app.name.to_string(),
            class: plan.class.clone(),
            source,
            keep_ms: plan.keep.0,
            at_least: plan.at_least,
            floor: plan.floor,
            rpo_ms: plan.rpo.map(|rpo| rpo.0),
            timeout_ms: plan.timeout.0,
            drill_ms: plan.drill.map(|drill| drill.longest().0),
            before,
            writers: writers(app, component, plan, all),
            offsite: plan.offsite.as_ref().map(|offsite| OffsiteSpec {
                host: offsite.host.to_string(),
                keep_ms: offsite.keep.0,
                at_least: offsite.at_least,
                rpo_ms: offsite.rpo.0,
                encrypt_to: offsite.encrypt_to.clone(),
            }),
        };
        let path = format!("{}/{}.json", own.directory(), plan.class);
        let mut text = serde_json::to_string_pretty(&spec).expect("BUG: plain data always encodes");
        text.push('\n');
        let mut put = |path: String, text: String| {
            artifacts.files.insert(path, own_file(Content::plain(text), &plan.origin, false));
        };
        put(path.clone(), text);
        let of = format!("{}-{}-{}", environment.name, app.name, plan.class);
        let about = format!("{} of {} in {}", plan.class, app.name, environment.name);
        let pauses = matches!(plan.from, BackupFrom::Volumes { pause: true, .. });
        let mut timers = vec![("backup", "run", plan.when, plan.timeout)];
        if let Some(drill) = plan.drill {
            timers.push(("drill", "drill", drill, Millis(plan.timeout.0.saturating_mul(DRILL_TIMES))));
        }
        for (what, verb, when, timeout) in timers {
            let unit = format!("holdfast-{what}-{of}");
            let mut text = service(&format!("{what} {about}"), verb, &path, after(plan), timeout);
            if what == "backup" && pauses {
                // However the backup ends, also by a kill, nothing is left standing still.
                text = text + "ExecStopPost=" + PROGRAM + " backup resume " + &path + "\n";
            }
            put(format!("{UNITS}/{unit}.service"), text);
            put(format!("{UNITS}/{unit}.timer"), timer(&format!("{what} {about}"), when, what == "backup"));
            artifacts.units.insert(format!("{unit}.timer"), DesiredUnit { enabled: true });
        }
        let offsite = plan.offsite.as_ref().and_then(|offsite| config.hosts.get(&offsite.host)).cloned();
        declared.insert(path, DesiredBackup { spec, when: plan.when, offsite });
    }
    if findings.has_errors() {
        return Err(findings);
    }
    Ok(Some(DesiredComponent {
        backups: declared,
        ..DesiredComponent::of_files(name, artifacts, component.origin.clone())
    }))
}

/// Returns the projects and units of those who write to what a class saves, as far as they are on this host.
fn writers(app: &App, component: &Component, plan: &BackupPlan, all: &[&DesiredComponent]) -> BackupWriters {
    let is_connected = |one: &DesiredComponent| {
        let declared = app.components.iter().find(|declared| declared.name == one.name);
        declared.and_then(|declared| declared.connections.as_ref()).is_some_and(|to| to.to == component.name)
    };
    let writes = |one: &&&DesiredComponent| match &plan.writers {
        Some(named) => named.contains(&one.name),
        None => is_connected(one),
    };
    let mut writers = BackupWriters::default();
    for one in all.iter().filter(writes) {
        let places: Vec<&Artifacts> = match &one.body {
            Body::Single(artifacts) => vec![artifacts],
            Body::Slots { blue, green } => vec![blue, green],
        };
        for artifacts in places {
            writers.projects.extend(artifacts.project.as_ref().map(|project| project.name.clone()));
            writers.units.extend(artifacts.units.keys().cloned());
        }
    }
    writers
}

/// Returns the project of a service.
fn project_of(plan: &BackupPlan, artifacts: &Artifacts, service: &str) -> Result<String, Diagnostics> {
    match &artifacts.project {
        Some(project) if project.services.contains_key(service) => Ok(project.name.clone()),
        _ => {
            let class = &plan.class;
            let message =
                format!("the backup `{class}` is of the service `{service}`, which the compose file does not have");
            Err(finding("unknown-service", &plan.origin, message, ""))
        }
    }
}

fn before(plan: &BackupPlan, made: &DesiredComponent) -> Result<Option<BackupBefore>, Diagnostics> {
    let Some((service, argv)) = &plan.before else { return Ok(None) };
    let project = match service.as_str() {
        "" => String::new(),
        service => project_of(plan, made.body.artifacts(None), service)?,
    };
    Ok(Some(BackupBefore { project, service: service.clone(), argv: argv.clone() }))
}

fn source(plan: &BackupPlan, made: &DesiredComponent, place: Place<'_>) -> Result<BackupSource, Diagnostics> {
    let artifacts = made.body.artifacts(None);
    let project = |service: &str| project_of(plan, artifacts, service);
    match &plan.from {
        BackupFrom::Redis { service, password_file } => {
            let bad = |why: String| {
                let message = format!("the password file of the backup `{}`: {why}", plan.class);
                finding(
                    "bad-backup",
                    &plan.origin,
                    message,
                    "name a file of the component's `files` that holds the password alone",
                )
            };
            let password_file = match password_file {
                None => None,
                Some(path) => {
                    let path = place.fill(path).map_err(bad)?;
                    if !artifacts.files.contains_key(&path) {
                        return Err(bad(format!("the component puts no file at {path}")));
                    }
                    Some(path)
                }
            };
            Ok(BackupSource::Redis { project: project(service)?, service: service.clone(), password_file })
        }
        BackupFrom::Volumes { volumes, pause } => {
            let Some(project) = &artifacts.project else {
                return Err(finding("bad-backup", &plan.origin, "the component has no compose project", ""));
            };
            for volume in volumes {
                if !project.volumes.contains(volume) {
                    let message = format!(
                        "the backup `{}` is of the volume `{volume}`, which is none of the compose file's own",
                        plan.class
                    );
                    let hint = match closest(volume, project.volumes.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "name one of its `volumes`".to_owned(),
                    };
                    return Err(finding("unknown-volume", &plan.origin, message, hint));
                }
            }
            Ok(BackupSource::Volumes { project: project.name.clone(), volumes: volumes.clone(), pause: *pause })
        }
        BackupFrom::Files { paths } => Ok(BackupSource::Files { paths: paths.clone() }),
        BackupFrom::Postgres { service, database, user } => Ok(BackupSource::Postgres {
            project: if service.is_empty() { String::new() } else { project(service)? },
            service: service.clone(),
            database: database.clone(),
            user: user.clone(),
        }),
    }
}

/// Returns the unit that has what is saved.
fn after(plan: &BackupPlan) -> &'static str {
    match &plan.from {
        BackupFrom::Postgres { service, .. } if service.is_empty() => "postgresql.service",
        _ => "docker.service",
    }
}

/// # Source
/// systemd.service(5), systemd.exec(5).
fn service(about: &str, verb: &str, declaration: &str, after: &str, timeout: Millis) -> String {
    format!(
        "# Written by Holdfast.\n\
         [Unit]\n\
         Description=Holdfast: {about}\n\
         RequiresMountsFor=/var/lib/holdfast\n\
         After={after}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         ExecStart={PROGRAM} backup {verb} {declaration}\n\
         TimeoutStartSec={}\n\
         UMask=0077\n\
         Nice=10\n",
        timeout.0.div_ceil(1000)
    )
}

/// The delay spreads the backups of many apps over half a minute; it is the same each time, so that the period stays as declared.
///
/// # Source
/// systemd.timer(5); `FixedRandomDelay=` since systemd 247.
fn timer(about: &str, when: Recurrence, soon: bool) -> String {
    let soon = if soon { "OnActiveSec=2min\n" } else { "" };
    format!(
        "# Written by Holdfast.\n\
         [Unit]\n\
         Description=Holdfast: {about}, {when}\n\
         \n\
         [Timer]\n\
         OnCalendar={}\n\
         {soon}\
         Persistent=true\n\
         AccuracySec=1s\n\
         RandomizedDelaySec=30s\n\
         FixedRandomDelay=true\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        when.on_calendar()
    )
}
