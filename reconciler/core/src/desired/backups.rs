//! The backups of a component on one host: a declaration for the host program, and the timers that call it.
//!
//! They are a component of their own. A file that changes beside a compose project makes its containers start anew, and a changed
//! backup must never do that to the database it is about.

use std::collections::BTreeMap;

use holdfast_protocol::{BackupSource, BackupSpec, OffsiteSpec};

use super::component::own_file;
use super::path::{Place, UNITS};
use super::resolve::finding;
use super::{Artifacts, DesiredBackup, DesiredComponent, DesiredUnit};
use crate::config::{App, BackupFrom, BackupPlan, Component, Config, Environment, Recurrence};
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
    made: &DesiredComponent,
) -> Result<Option<DesiredComponent>, Diagnostics> {
    if component.backups.is_empty() {
        return Ok(None);
    }
    let name = crate::config::backup_component(&component.name);
    let name = match name.parse() {
        Ok(name) => name,
        Err(error) => return Err(finding("bad-backup", &component.origin, format!("{error}"), "")),
    };
    let place = Place { environment: &environment.name, app: &app.name, component: &name, slot: None };
    let mut findings = Diagnostics::default();
    let mut artifacts = Artifacts::default();
    let mut declared = BTreeMap::new();
    for plan in &component.backups {
        let source = match source(plan, made) {
            Ok(source) => source,
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
            offsite: plan.offsite.as_ref().map(|offsite| OffsiteSpec {
                host: offsite.host.to_string(),
                keep_ms: offsite.keep.0,
                at_least: offsite.at_least,
                rpo_ms: offsite.rpo.0,
                encrypt_to: offsite.encrypt_to.clone(),
            }),
        };
        let path = format!("{}/{}.json", place.directory(), plan.class);
        let mut text = serde_json::to_string_pretty(&spec).expect("BUG: plain data always encodes");
        text.push('\n');
        let mut put = |path: String, text: String| {
            artifacts.files.insert(path, own_file(Content::plain(text), &plan.origin, false));
        };
        put(path.clone(), text);
        let of = format!("{}-{}-{}", environment.name, app.name, plan.class);
        let about = format!("{} of {} in {}", plan.class, app.name, environment.name);
        let mut timers = vec![("backup", "run", plan.when, plan.timeout)];
        if let Some(drill) = plan.drill {
            timers.push(("drill", "drill", drill, Millis(plan.timeout.0.saturating_mul(DRILL_TIMES))));
        }
        for (what, verb, when, timeout) in timers {
            let unit = format!("holdfast-{what}-{of}");
            put(format!("{UNITS}/{unit}.service"), service(&format!("{what} {about}"), verb, &path, timeout));
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

fn source(plan: &BackupPlan, made: &DesiredComponent) -> Result<BackupSource, Diagnostics> {
    match &plan.from {
        BackupFrom::Files { paths } => Ok(BackupSource::Files { paths: paths.clone() }),
        BackupFrom::Postgres { service, database, user } => {
            let project = made.body.artifacts(None).project.as_ref();
            let Some(project) = project.filter(|project| project.services.contains_key(service)) else {
                let message = format!(
                    "the backup `{}` is of the service `{service}`, which the compose file does not have",
                    plan.class
                );
                return Err(finding("unknown-service", &plan.origin, message, ""));
            };
            Ok(BackupSource::Postgres {
                project: project.name.clone(),
                service: service.clone(),
                database: database.clone(),
                user: user.clone(),
            })
        }
    }
}

/// # Source
/// systemd.service(5), systemd.exec(5).
fn service(about: &str, verb: &str, declaration: &str, timeout: Millis) -> String {
    format!(
        "# Written by Holdfast.\n\
         [Unit]\n\
         Description=Holdfast: {about}\n\
         RequiresMountsFor=/var/lib/holdfast\n\
         After=docker.service\n\
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
