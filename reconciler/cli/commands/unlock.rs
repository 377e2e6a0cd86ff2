//! `holdfast unlock`: locks and quarantine, seen and lifted.

use holdfast_core::view::{DOCUMENT_VERSION, LockDocument, QuarantineDocument, UnlockDocument};
use holdfast_engine::store::{Lock, LockId, Quarantine, Store};

use crate::args::UnlockArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::{Setup, environment};

/// Removes a named lock, lifts an app's quarantine, or shows both.
pub(crate) async fn run(setup: &Setup, arguments: &UnlockArgs) -> Result<Exit, Error> {
    let output = setup.output;
    let environment = environment(&arguments.environment)?;
    let store = Store::open(&setup.manager.state_dir.join("holdfast.sqlite"))
        .or_hint("set `state_dir` in the configuration")?;
    if let Some(id) = &arguments.lock {
        return match store.unlock(&LockId(id.clone())).await.or_hint("")? {
            Some(lock) => {
                output.say(&format!(
                    "removed the lock of `{}`; the hosts' fence still refuses what it began",
                    lock.holder.who
                ));
                Ok(Exit::Ok)
            }
            None => Err(Error::user(
                format!("there is no lock {id}"),
                format!("`holdfast unlock {environment}` shows them"),
            )),
        };
    }
    if let Some(app) = &arguments.app {
        let app = app.parse().or_hint("apps are named in their files")?;
        let lifted = store.lift_quarantine(&environment, &app).await.or_hint("")?;
        output.say(&format!(
            "{lifted} quarantined {} of {app} may be tried again",
            if lifted == 1 { "release" } else { "releases" }
        ));
        return Ok(Exit::Ok);
    }
    let name = format!("environment/{environment}");
    let locks: Vec<_> = store.locks().await.or_hint("")?.into_iter().filter(|lock| lock.name == name).collect();
    let quarantined = store.quarantined(&environment).await.or_hint("")?;
    if arguments.json {
        let held = |lock: Lock| LockDocument {
            id: lock.id.to_string(),
            alive: lock.holder.is_alive(),
            who: lock.holder.who,
            pid: lock.holder.pid,
        };
        let kept = |entry: Quarantine| QuarantineDocument {
            environment: entry.environment,
            app: entry.app,
            digest: entry.digest.to_string(),
            release: entry.release,
            reason: entry.reason,
            at: entry.at,
        };
        output.json(&UnlockDocument {
            format_version: DOCUMENT_VERSION,
            locks: locks.into_iter().map(held).collect(),
            quarantined: quarantined.into_iter().map(kept).collect(),
        })?;
        return Ok(Exit::Ok);
    }
    for lock in &locks {
        let alive = if lock.holder.is_alive() { "alive" } else { "dead: taken over by the next sync" };
        output.data(&format!("lock {} held by `{}`, process {} ({alive})", lock.id, lock.holder.who, lock.holder.pid));
    }
    for entry in &quarantined {
        output.data(&format!("quarantined {} {}: {}", entry.app, entry.release, entry.reason));
    }
    if locks.is_empty() && quarantined.is_empty() {
        output.say(&format!("{environment} is not locked, and nothing is quarantined"));
    }
    Ok(Exit::Ok)
}
