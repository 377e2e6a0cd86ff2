//! Containers of this host: found, stopped, started, and standing still.

use std::collections::BTreeSet;
use std::time::Duration;

use super::class::Class;
use super::{BackupError, at, fail};
use crate::exec::{Call, Output};
use crate::paths::{Root, create_private};

/// How long a container may take to stop or to start.
const DEADLINE: Duration = Duration::from_secs(300);

/// Calls docker.
pub(super) fn docker(class: &Class, args: &[&str]) -> Result<Output, BackupError> {
    Ok(Call::new(class.program("docker")?, args.iter().copied()).deadline(DEADLINE).run()?)
}

/// Returns the ids of containers that all filters fit.
pub(super) fn listed(class: &Class, filters: &[&str]) -> Result<Vec<String>, BackupError> {
    let mut args = vec!["ps", "--all", "--quiet", "--no-trunc"];
    args.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    Ok(docker(class, &args)?.text().split_whitespace().map(str::to_owned).collect())
}

/// Returns the one container of a service that runs.
pub(super) fn one(class: &Class, project: &str, service: &str) -> Result<String, BackupError> {
    let found = listed(
        class,
        &[
            &format!("label=com.docker.compose.project={project}"),
            &format!("label=com.docker.compose.service={service}"),
            "label=com.docker.compose.oneoff=False",
            "status=running",
        ],
    )?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => fail(format!("no container of `{service}` in `{project}` runs")),
        several => fail(format!("{} containers of `{service}` in `{project}` run", several.len())),
    }
}

/// Stops containers, all at once.
pub(super) fn stop(class: &Class, ids: &[String]) -> Result<(), BackupError> {
    on_all(class, "stop", ids)
}

fn on_all(class: &Class, verb: &str, ids: &[String]) -> Result<(), BackupError> {
    if ids.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = std::iter::once(verb).chain(ids.iter().map(String::as_str)).collect();
    docker(class, &words).map(drop)
}

/// Does something while containers stand still, so that what it reads is of one moment; they go on afterwards, however it ends.
///
/// # Format
/// `paused/<class>` in Holdfast's folder has their ids, a line each, while it is so. It is on the disk before they stand still.
pub(super) fn still<T>(
    class: &Class,
    ids: &[String],
    then: impl FnOnce() -> Result<T, BackupError>,
) -> Result<T, BackupError> {
    if ids.is_empty() {
        return then();
    }
    let folder = class.root.paused();
    create_private(&folder).map_err(at(&folder))?;
    class.replace(&folder.join(class.name()), format!("{}\n", ids.join("\n")).as_bytes())?;
    let done = on_all(class, "pause", ids).and_then(|()| then());
    match (done, go_on(class)) {
        (done, Ok(())) => done,
        (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(error)) => fail(format!("{first}; and {error}")),
    }
}

/// Lets what a class has left standing still go on. Where there is nothing it does nothing.
///
/// # Errors
/// When one cannot; the next call tries again.
pub(super) fn go_on(class: &Class) -> Result<(), BackupError> {
    let file = class.root.paused().join(class.name());
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
    let paused = listed(class, &["status=paused"])?;
    let ours: Vec<String> = text.lines().filter(|id| paused.iter().any(|one| one == id)).map(str::to_owned).collect();
    on_all(class, "unpause", &ours)?;
    class.remove_file(&file)
}

/// Returns the ids of containers that stand still because a backup is being taken: they run as they should.
pub(crate) fn standing_still(root: &Root) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root.paused()).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}
