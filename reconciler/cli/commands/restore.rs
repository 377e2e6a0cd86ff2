//! `holdfast restore`: a backup, restored beside what is live and put in its place once it is proven.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::config::HostSpec;
use holdfast_core::desired::DesiredState;
use holdfast_core::id::AppName;
use holdfast_engine::offsite::{bring_back, held};
use holdfast_engine::ports::{Connector, HostLink};
use holdfast_engine::secrets::Identities;
use holdfast_protocol::{
    BackupLive, BackupRecord, BackupReply, BackupRequest, ObserveRequest, Observed, Reply, Request, RestoreRequest,
    Restored, VaultRecord,
};

use crate::args::RestoreArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;
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
    let Place { host, declaration, offsite } = place(&desired, &app, arguments)?;
    let wire = Wire::open(&setup.manager).await?;
    let link = wire.links.connect(&host).await.or_hint("")?;
    let live = stand(link.as_ref(), &declaration).await?;
    let class = &arguments.class;
    let here = Here { host: &host, link: link.as_ref(), declaration: &declaration };
    let away = match &offsite {
        Some(offsite) if arguments.offsite || arguments.list => {
            Some(Away::look(&wire, offsite, [environment.as_str(), app.as_str(), class]).await)
        }
        _ => None,
    };
    if arguments.list {
        return list(output, &here, away).await;
    }
    let copy = match (arguments.offsite, away) {
        (false, _) => None,
        (true, Some(away)) => {
            let away = away?;
            let record = away.choose(&host, arguments)?;
            Some((away, record))
        }
        (true, None) => {
            let message = format!("`{class}` of {app} has no copy on another host");
            return Err(Error::user(message, "declare `offsite` for it (docs/reference/backups.md)"));
        }
    };
    let (file, age) = match (&copy, &arguments.from, &live.newest) {
        (Some((away, record)), _, _) => {
            let rows: u64 = record.backup.rows.values().sum();
            let taken = record.backup.taken_at_ms;
            let minutes = wire.clock.now().0.saturating_sub(taken) / 60_000;
            let text = format!(" on {}, taken on {}, {minutes} minutes old, {rows} rows", away.host.name, record.host);
            (record.backup.file.clone(), text)
        }
        (None, Some(file), _) => (file.clone(), String::new()),
        (None, None, Some(newest)) => (newest.file.clone(), format!(", {} minutes old", newest.age_ms / 60_000)),
        (None, None, None) => {
            let also = if offsite.is_some() { "; --offsite takes the copy on the other host" } else { "" };
            return Err(Error::refused(
                format!("{} has no good backup `{class}` of {app}", host.name),
                format!("`holdfast status {environment}` says why{also}"),
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
    if let Some((away, record)) = &copy {
        output.say(&format!("bringing {} back from {}", record.stored, away.host.name));
        let identities = identities(&wire, arguments)?;
        let (from, to) = ((&away.host, away.link.as_ref()), (&host, link.as_ref(), declaration.as_str()));
        let brought = bring_back(record, from, to, identities).await;
        if let Err(error) = brought {
            let hint = "--identity names the key that can read it";
            let error = Error::user(format!("nothing was restored: {error}"), hint);
            return runner::unlock(&wire, &lock, Err(error)).await;
        }
    }
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

/// Where a class is kept.
struct Place {
    host: HostSpec,
    /// The path of its declaration there.
    declaration: String,
    /// The host with its copies.
    offsite: Option<HostSpec>,
}

/// A class on its host.
struct Here<'a> {
    host: &'a HostSpec,
    link: &'a dyn HostLink,
    declaration: &'a str,
}

/// The copies of a class on its off-site host.
struct Away {
    host: HostSpec,
    link: Arc<dyn HostLink>,
    held: Vec<VaultRecord>,
}

impl Away {
    async fn look(wire: &Wire, offsite: &HostSpec, names: [&str; 3]) -> Result<Self, Error> {
        let link = wire.links.connect(offsite).await.or_hint("")?;
        let held = held(link.as_ref(), offsite, names).await.or_hint("")?;
        Ok(Self { host: offsite.clone(), link, held })
    }

    /// Returns the copy that is meant.
    fn choose(&self, host: &HostSpec, arguments: &RestoreArgs) -> Result<VaultRecord, Error> {
        let mut hosts: Vec<&str> = self.held.iter().map(|record| record.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let own = host.name.as_str();
        let taken_on = match &arguments.taken_on {
            Some(taken_on) => taken_on.as_str(),
            None if hosts.contains(&own) => own,
            None if hosts.len() == 1 => hosts[0],
            None if hosts.is_empty() => {
                let message = format!("{} has no copy of `{}`", self.host.name, arguments.class);
                return Err(Error::refused(message, "`holdfast restore … --list` shows what there is"));
            }
            None => {
                let message = format!("{} has no copy that was taken on {own}", self.host.name);
                return Err(Error::user(message, format!("name one with --taken-on: {}", hosts.join(", "))));
            }
        };
        let is_meant = |record: &&VaultRecord| {
            let file = arguments.from.as_ref();
            record.host == taken_on && file.is_none_or(|file| record.backup.file == *file || record.stored == *file)
        };
        self.held.iter().find(is_meant).cloned().ok_or_else(|| {
            let message = format!("{} has no such copy that was taken on {taken_on}", self.host.name);
            Error::user(message, "`holdfast restore … --list` shows what there is")
        })
    }
}

/// Returns the keys that can read a copy.
fn identities(wire: &Wire, arguments: &RestoreArgs) -> Result<Arc<Identities>, Error> {
    match &arguments.identity {
        None => Ok(Arc::clone(&wire.identities)),
        Some(file) => {
            let identities = Identities::from_files([file.as_path()]);
            identities.map(Arc::new).or_hint("it is the file that `age-keygen` wrote")
        }
    }
}

/// Prints what can be restored.
async fn list(output: Output, here: &Here<'_>, away: Option<Result<Away, Error>>) -> Result<Exit, Error> {
    let request = BackupRequest::Good { declaration: here.declaration.to_owned() };
    let answer = here.link.call(Request::Backup(request), LOOK).await.or_hint("")?;
    let Reply::Backup(BackupReply::Good(good)) = answer else {
        return Err(Error::internal("the host answered something that was not asked".to_owned()));
    };
    let line = |place: &str, record: &BackupRecord, taken_on: &str| {
        let rows: u64 = record.rows.values().sum();
        output.data(&format!("{place}  {}  {} bytes  {rows} rows{taken_on}", record.file, record.size));
    };
    for record in &good {
        line(here.host.name.as_str(), record, "");
    }
    if let Some(away) = away {
        let away = away?;
        for record in &away.held {
            let taken_on = if record.host == here.host.name.as_str() {
                String::new()
            } else {
                format!("  taken on {}", record.host)
            };
            line(away.host.name.as_str(), &record.backup, &taken_on);
        }
    }
    Ok(Exit::Ok)
}

/// Returns the host, the path of the class's declaration on it, and the host with copies.
fn place(desired: &DesiredState, app: &AppName, arguments: &RestoreArgs) -> Result<Place, Error> {
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
                let (host, declaration) = (host.host.clone(), path.clone());
                found.push(Place { host, declaration, offsite: backup.offsite.clone() });
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
            let hosts: Vec<_> = found.iter().map(|place| place.host.name.to_string()).collect();
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
