//! `holdfast restore`: a backup, restored beside what is live and put in its place once it is proven.

use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::desired::DesiredState;
use holdfast_core::id::AppName;
use holdfast_engine::ports::{Connector, HostLink};
use holdfast_protocol::{BackupLive, ObserveRequest, Observed, Reply, Request, RestoreRequest, Restored};

use crate::args::RestoreArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::runner;
use crate::setup::{Setup, environment};
use crate::wire::Wire;

/// A little longer than a host gives a restore.
const DEADLINE: Duration = Duration::from_secs(12 * 3600 + 60);

/// A look at one folder's names.
const LOOK: Duration = Duration::from_secs(30);

/// Restores on one host.
pub(crate) async fn run(setup: &Setup, arguments: &RestoreArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let environment = environment(&arguments.environment)?;
    let app: AppName = arguments.app.parse().or_hint("apps are named in their files")?;
    let revision = setup.revision(setup.commit(Some(&environment), None).await?).await?;
    crate::setup::known(&revision.config, &environment)?;
    let desired = setup.desired(&revision, &environment)?;
    let (host, declaration) = place(&desired, &app, arguments)?;
    let wire = Wire::open(&setup.manager).await?;
    let link = wire.links.connect(&host).await.or_hint("")?;
    let live = stand(link.as_ref(), &declaration).await?;
    let class = &arguments.class;
    let (file, age) = match (&arguments.from, &live.newest) {
        (Some(file), _) => (file.clone(), String::new()),
        (None, Some(newest)) => (newest.file.clone(), format!(", {} minutes old", newest.age_ms / 60_000)),
        (None, None) => {
            return Err(Error::refused(
                format!("{} has no good backup `{class}` of {app}", host.name),
                format!("`holdfast status {environment}` says why"),
            ));
        }
    };
    let question = format!(
        "Restore `{class}` of {app} on {} from {file}{age}? What is there now is backed up first and kept beside it.",
        host.name
    );
    if !arguments.yes && !output.confirm(&question) {
        return Err(Error::refused("nothing was restored: it was not confirmed", "--yes restores without asking"));
    }
    let lock = runner::lock(&wire, &environment).await?;
    output.say(&format!("restoring {file} on {}; it goes on there when this is cut off", host.name));
    let request =
        RestoreRequest { declaration, file: Some(file), without_safety_backup: arguments.without_safety_backup };
    let restored = restore(link.as_ref(), request).await;
    let restored = runner::unlock(&wire, &lock, restored).await?;
    if arguments.json {
        output.json(&restored)?;
        return Ok(Exit::Ok);
    }
    let Restored { file, safety, before, counted, rows } = restored;
    let what = if counted == 1 { "table or folder" } else { "tables or folders" };
    output.data(&format!("restored {file}: {rows} rows in {counted} {what} were counted"));
    if !safety.is_empty() {
        output.data(&format!("backup of what was there: {safety}"));
    }
    for before in before {
        output.data(&format!("what was live is kept as {before}"));
    }
    Ok(Exit::Ok)
}

/// Returns the host and the path of the class's declaration on it.
fn place(desired: &DesiredState, app: &AppName, arguments: &RestoreArgs) -> Result<(HostSpec, String), Error> {
    let mut found = Vec::new();
    let mut classes = Vec::new();
    for name in &desired.order {
        let Some(host) = desired.hosts.get(name) else { continue };
        let components = host.apps.get(app).into_iter().flat_map(|app| &app.components);
        for (path, backup) in components.flat_map(|component| &component.backups) {
            if !classes.contains(&backup.spec.class) {
                classes.push(backup.spec.class.clone());
            }
            if backup.spec.class == arguments.class && arguments.host.as_ref().is_none_or(|host| host == name.as_str())
            {
                found.push((host.host.clone(), path.clone()));
            }
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if classes.is_empty() => Err(Error::user(
            format!("{app} has no backups in {}", desired.environment),
            "they are declared with `backups` (docs/reference/backups.md)",
        )),
        0 => Err(Error::user(
            format!("{app} has no backup `{}` there", arguments.class),
            format!("its backups are: {}", classes.join(", ")),
        )),
        _ => {
            let hosts: Vec<_> = found.iter().map(|(host, _)| host.name.to_string()).collect();
            Err(Error::user(
                format!("`{}` of {app} is on several hosts", arguments.class),
                format!("name one with --host: {}", hosts.join(", ")),
            ))
        }
    }
}

async fn stand(link: &dyn HostLink, declaration: &str) -> Result<BackupLive, Error> {
    let request = ObserveRequest { backups: vec![declaration.to_owned()], ..ObserveRequest::default() };
    let Reply::Observed(mut report) = link.call(Request::Observe(request), LOOK).await.or_hint("")? else {
        return Err(Error::internal("the host answered something that was not asked".to_owned()));
    };
    match report.backups.remove(declaration) {
        Some(Observed::Seen(live)) => Ok(live),
        Some(Observed::Unknown(why)) => Err(Error::user(format!("the backups cannot be looked at: {why}"), "")),
        Some(Observed::Absent) | None => {
            Err(Error::refused("these backups are in git and not yet on the host", "apply first: a restore needs them"))
        }
    }
}

async fn restore(link: &dyn HostLink, request: RestoreRequest) -> Result<Restored, Error> {
    let hint = "what is live was not touched unless this says otherwise; `holdfast status` shows the backups";
    match link.call(Request::Restore(request), DEADLINE).await.or_hint(hint)? {
        Reply::Restored(restored) => Ok(restored),
        _ => Err(Error::internal("the host answered something that was not asked".to_owned())),
    }
}
