//! Compose projects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use holdfast_protocol::{ContainerLive, Observed};

use super::{Act, LONGEST, Probed, StepError, Work, decode, encode, fail};
use crate::docker::{ContainerDetail, Engine, Made, made};
use crate::exec::{Call, shown_tail};

/// Times `up` is tried when it fails for a reason that passes by itself.
const TRIES: u64 = 5;

/// Returns whether a failure passes by itself: what a compose that was cut down had asked for last is carried out after we looked,
/// or the engine is restarting just now.
fn passes(error: &str) -> bool {
    const PASSING: [&str; 6] = [
        "is already in use by container",
        "connection reset by peer",
        "Cannot connect to the Docker daemon",
        "error during connect",
        "no Docker engine listens",
        "the connection was closed",
    ];
    PASSING.iter().any(|text| error.contains(text))
}

/// `docker compose up`.
pub(super) struct Up<'a> {
    pub(super) project: &'a str,
    pub(super) file: &'a str,
    pub(super) services: &'a BTreeMap<String, String>,
}

/// Starts a stopped project's containers as they are.
pub(super) struct Start<'a> {
    pub(super) project: &'a str,
}

/// Stops a project's containers, which stay startable.
pub(super) struct Stop<'a> {
    pub(super) project: &'a str,
    pub(super) grace_ms: Option<u64>,
}

/// Removes a project's containers and networks, never its volumes.
pub(super) struct Down<'a> {
    pub(super) project: &'a str,
    pub(super) grace_ms: Option<u64>,
}

/// Returns a project's containers; none when the engine answered that it has none.
pub(super) fn containers(work: &Work<'_>, project: &str) -> Result<Vec<ContainerLive>, StepError> {
    Ok(details(work, project)?.into_iter().map(|container| container.live).collect())
}

/// As [`containers`], with all that is known of each.
fn details(work: &Work<'_>, project: &str) -> Result<Vec<ContainerDetail>, StepError> {
    check_project(project)?;
    let mut engine = Engine::new(work.host.system.clone());
    match engine.details(&BTreeSet::from([project.to_owned()])).remove(project) {
        Some(Observed::Seen(containers)) => Ok(containers),
        Some(Observed::Absent) | None => Ok(Vec::new()),
        Some(Observed::Unknown(why)) => fail(format!("look at project `{project}`: {why}")),
    }
}

/// # Source
/// Compose specification, "Name top-level element": lower-case letters, digits, `-` and `_`, beginning with a letter or digit.
fn check_project(project: &str) -> Result<(), StepError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let first = project.bytes().next().is_some_and(|byte| byte != b'-' && byte != b'_');
    if first && project.bytes().all(fits) { Ok(()) } else { fail("the project's name is not one compose allows") }
}

/// Returns the ends of the logs of a project's containers that do not run, or of all when all run, and what each ended with.
pub(super) fn project_logs(engine: &mut Engine, project: &str) -> String {
    let Some(Observed::Seen(all)) = engine.details(&BTreeSet::from([project.to_owned()])).remove(project) else {
        return String::new();
    };
    let is_bad = |container: &&ContainerDetail| {
        let live = &container.live;
        (live.state != "running" && !container.is_finished_job()) || live.health == "unhealthy" || live.restarts > 0
    };
    let bad: Vec<&ContainerDetail> = all.iter().filter(is_bad).collect();
    let told: Vec<&ContainerDetail> = if bad.is_empty() { all.iter().collect() } else { bad };
    told.iter().take(3).fold(String::new(), |text, container| {
        let restarts = container.live.restarts;
        let exit = last_exit(container)
            .map_or_else(String::new, |code| format!(" (it exited with code {code}, {restarts} restarts)"));
        let ends = match log_tail(&container.live.id) {
            log if log.trim().is_empty() => "is empty".to_owned(),
            log => format!("ends: {log}"),
        };
        text + &format!("; log of `{}`{exit} {ends}", container.live.name)
    })
}

/// Returns the exit code that a container ended with last. The engine forgets it when it starts the container again, but for some
/// time it remembers the event.
fn last_exit(container: &ContainerDetail) -> Option<String> {
    if matches!(container.live.state.as_str(), "exited" | "restarting" | "dead") {
        return Some(container.exit_code.to_string());
    }
    if container.live.restarts == 0 {
        return None;
    }
    let filter = format!("container={}", container.live.id);
    let args = ["events", "--since", "10m", "--until", "0s", "--filter", "event=die", "--filter", &filter];
    let call = Call::new("docker", args.into_iter().chain(["--format", "{{.Actor.Attributes.exitCode}}"]));
    let output = call.deadline(Duration::from_secs(10)).keep_tail().output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().and_then(|line| line.trim().parse::<i64>().ok()).map(|code| code.to_string())
}

/// Returns how long the containers that run may take to stop, one after the other: how long each wants, or what the app says.
fn stop_time<'c>(containers: impl IntoIterator<Item = &'c ContainerDetail>, grace_ms: Option<u64>) -> Duration {
    let own = |container: &ContainerDetail| container.stop_grace.unwrap_or(LONGEST);
    let running = containers.into_iter().filter(|container| runs(&container.live));
    let times = running.map(|container| grace_ms.map_or_else(|| own(container), Duration::from_millis));
    times.fold(Duration::ZERO, Duration::saturating_add)
}

/// Returns the option of `docker` for a grace; none leaves each container its own.
fn timeout(option: &str, grace_ms: Option<u64>) -> Vec<String> {
    grace_ms.map_or_else(Vec::new, |grace| vec![option.to_owned(), grace.div_ceil(1000).to_string()])
}

/// Returns the end of a container's log, escaped and capped.
pub(super) fn log_tail(id: &str) -> String {
    let call = Call::new("docker", ["logs", "--tail", "15", "--", id]).deadline(Duration::from_secs(10)).keep_tail();
    match call.output() {
        Ok(output) => shown_tail(&[output.stdout, output.stderr].concat(), 1200),
        Err(error) => error.to_string(),
    }
}

fn ids(containers: &[ContainerLive], keep: impl Fn(&ContainerLive) -> bool) -> Vec<&str> {
    containers.iter().filter(|container| keep(container)).map(|container| container.id.as_str()).collect()
}

fn runs(container: &ContainerLive) -> bool {
    matches!(container.state.as_str(), "running" | "restarting" | "paused")
}

impl Up<'_> {
    /// What does not carry the digest it should, or is not there.
    fn wrong(&self, containers: &[ContainerLive]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (service, digest) in self.services {
            let own: Vec<&ContainerLive> =
                containers.iter().filter(|container| container.service == *service).collect();
            if own.is_empty() {
                wrong.push(format!("service `{service}` has no container"));
            }
            for container in own {
                if container.digest != *digest {
                    wrong.push(format!("`{}` is not of this rendering", container.name));
                } else if matches!(container.state.as_str(), "created" | "dead" | "removing") {
                    wrong.push(format!("`{}` is {}", container.name, container.state));
                }
            }
        }
        wrong
    }

    fn up(&self, work: &Work<'_>, options: &[&str], services: &[&str]) -> Result<(), StepError> {
        let folder = Path::new(self.file).parent().unwrap_or(Path::new("/"));
        let mut args = vec!["compose", "--progress", "plain", "-p", self.project, "-f", self.file];
        args.extend(["up", "-d", "--no-build", "--pull", "never"]);
        args.extend(options);
        args.push("--");
        args.extend(services);
        work.call(&Call::new("docker", args).directory(folder).keep_tail()).map(drop)
    }

    /// Brings everything up. Compose does not see what `docker update` changed: those containers are made anew by themselves.
    fn bring_up(&self, work: &Work<'_>) -> Result<(), StepError> {
        tidy(work, self.project)?;
        self.up(work, &[], &self.services.keys().map(String::as_str).collect::<Vec<_>>())?;
        let updated = updated(work, self.project, &details(work, self.project)?);
        let updated: Vec<&str> = updated.iter().map(String::as_str).filter(|name| self.has(name)).collect();
        if updated.is_empty() {
            return Ok(());
        }
        self.up(work, &["--force-recreate", "--no-deps"], &updated)
    }

    /// Without a list of services everything in the file is meant.
    fn has(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.contains_key(service)
    }

    /// Containers of ours whose service is no longer in the file. Anything without our label is not ours to remove.
    fn orphans<'c>(&self, containers: &'c [ContainerLive]) -> Vec<&'c str> {
        // Without a list of services everything in the file is meant, and nobody can tell what is not.
        if self.services.is_empty() {
            return Vec::new();
        }
        ids(containers, |container| !container.digest.is_empty() && !self.services.contains_key(&container.service))
    }
}

impl Act for Up<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        Ok(encode(&!containers(work, self.project)?.is_empty()))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        // What is made anew has its own time to stop in.
        let work = &work.with_more(stop_time(&details(work, self.project)?, None));
        let mut tries = 0;
        while let Err(error) = self.bring_up(work) {
            let StepError::Failed(error) = error else { return Err(error) };
            tries += 1;
            if tries < TRIES && passes(&error) {
                (work.tell)(&format!("docker compose up once more: {error}"));
                work.pause(Duration::from_secs(tries), "docker compose up")?;
                continue;
            }
            let mut engine = Engine::new(work.host.system.clone());
            return fail(format!("{error}{}", project_logs(&mut engine, self.project)));
        }
        let found = details(work, self.project)?;
        let live: Vec<ContainerLive> = found.iter().map(|container| container.live.clone()).collect();
        let orphans = self.orphans(&live);
        let leaving = found.iter().filter(|one| orphans.contains(&one.live.id.as_str()));
        remove(work, &leaving.collect::<Vec<_>>(), None)?;
        let wrong = self.wrong(&live);
        if wrong.is_empty() {
            return remember(work, self.project, &found).map(|()| String::new());
        }
        fail(format!("project `{}` after docker compose up: {}", self.project, wrong.join("; ")))
    }

    fn probe(&self, work: &Work<'_>, _before: &[u8]) -> Result<Probed, StepError> {
        let found = details(work, self.project)?;
        let live: Vec<ContainerLive> = found.iter().map(|container| container.live.clone()).collect();
        // `up` again is harmless and settles what a cut left half done; only a complete project is left alone.
        let complete = self.wrong(&live).is_empty() && self.orphans(&live).is_empty() && live.iter().all(runs);
        if !complete || live.is_empty() || !updated(work, self.project, &found).is_empty() {
            return Ok(Probed::DoIt);
        }
        remember(work, self.project, &found)?;
        Ok(Probed::Happened(String::new()))
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        if decode::<bool>(before)? { Ok(()) } else { down(work, self.project, None) }
    }
}

/// The name that a container had to get, when compose was cut down while it recreated it.
///
/// # Source
/// docker/compose, `recreateContainer`: the new container is created as `<first 12 of the old id>_<name>`, the old one is stopped and
/// removed, the new one renamed and only then started. Cut down in between, the next `up` fails on the name for ever.
fn final_name(name: &str) -> Option<&str> {
    let (id, rest) = name.split_at_checked(13)?;
    let id = id.strip_suffix('_')?;
    (!rest.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))).then_some(rest)
}

/// Clears away what a compose that was cut down in the middle of recreating left, so that `up` can begin anew.
fn tidy(work: &Work<'_>, project: &str) -> Result<(), StepError> {
    let live = containers(work, project)?;
    for container in live.iter().filter(|container| container.state == "created" && !container.digest.is_empty()) {
        let Some(name) = final_name(&container.name) else { continue };
        if live.iter().any(|other| other.name == name) {
            work.run("docker", &["rm", "--force", "--", &container.id])?;
        } else {
            // The old one is gone, and its anonymous volumes are with this one by now: it is kept.
            work.run("docker", &["rename", "--", &container.id, name])?;
        }
    }
    Ok(())
}

/// Remembers what a project's containers were made from; none of them forgets it.
fn remember(work: &Work<'_>, project: &str, live: &[ContainerDetail]) -> Result<(), StepError> {
    made::remember(&work.host.root, &work.host.disk, project, live)
        .map_err(|error| StepError::Failed(format!("remember the containers of `{project}`: {error}")))
}

/// Returns the services of which `docker update` changed a container since we made it.
fn updated(work: &Work<'_>, project: &str, found: &[ContainerDetail]) -> BTreeSet<String> {
    let made = Made::read(&work.host.root);
    let updated = found.iter().filter(|container| !made.updated(project, container).is_empty());
    updated.map(|container| container.live.service.clone()).collect()
}

/// By the project's name only: what is there is known by its labels, and a file that no longer parses must not be in the way.
fn down(work: &Work<'_>, project: &str, grace_ms: Option<u64>) -> Result<(), StepError> {
    let work = &work.with_more(stop_time(&details(work, project)?, grace_ms));
    let mut args = vec!["compose", "--progress", "plain", "-p", project, "down"];
    let timeout = timeout("--timeout", grace_ms);
    args.extend(timeout.iter().map(String::as_str));
    work.run("docker", &args)?;
    let left = details(work, project)?;
    // Of a service that is in no file any more.
    remove(work, &left.iter().filter(|one| !one.live.digest.is_empty()).collect::<Vec<_>>(), grace_ms)?;
    remember(work, project, &[])
}

fn start(work: &Work<'_>, ids: &[&str]) -> Result<(), StepError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut args = vec!["start", "--"];
    args.extend(ids);
    work.run("docker", &args).map(drop)
}

/// Stops some containers, all at once.
fn stop(work: &Work<'_>, containers: &[&ContainerDetail], grace_ms: Option<u64>) -> Result<(), StepError> {
    if containers.is_empty() {
        return Ok(());
    }
    let mut args = vec!["stop".to_owned()];
    args.extend(timeout("--time", grace_ms));
    args.push("--".to_owned());
    args.extend(containers.iter().map(|container| container.live.id.clone()));
    work.with_more(stop_time(containers.iter().copied(), grace_ms)).call(&Call::new("docker", args)).map(drop)
}

/// Removes containers, which have their time to stop first.
fn remove(work: &Work<'_>, containers: &[&ContainerDetail], grace_ms: Option<u64>) -> Result<(), StepError> {
    if containers.is_empty() {
        return Ok(());
    }
    let running: Vec<&ContainerDetail> = containers.iter().copied().filter(|one| runs(&one.live)).collect();
    stop(work, &running, grace_ms)?;
    let mut args = vec!["rm", "--force", "--"];
    args.extend(containers.iter().map(|container| container.live.id.as_str()));
    work.run("docker", &args).map(drop)
}

impl Act for Start<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let live = containers(work, self.project)?;
        Ok(encode(&ids(&live, |container| !runs(container))))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let live = containers(work, self.project)?;
        if live.is_empty() {
            return fail(format!("project `{}` has no container to start: it was removed", self.project));
        }
        // Through compose, which knows the order of dependencies.
        work.run("docker", &["compose", "--progress", "plain", "-p", self.project, "start"])?;
        let down: Vec<String> = details(work, self.project)?
            .into_iter()
            .filter(|container| !runs(&container.live) && !container.is_finished_job())
            .map(|ContainerDetail { live, .. }| {
                format!("`{}` is {}; log ends: {}", live.name, live.state, log_tail(&live.id))
            })
            .collect();
        if down.is_empty() { Ok(String::new()) } else { fail(down.join("; ")) }
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let stopped: Vec<String> = decode(before)?;
        let found = details(work, self.project)?;
        let again = found.iter().filter(|one| stopped.contains(&one.live.id) && runs(&one.live));
        stop(work, &again.collect::<Vec<_>>(), None)
    }
}

impl Act for Stop<'_> {
    fn capture(&self, work: &Work<'_>) -> Result<Vec<u8>, StepError> {
        let live = containers(work, self.project)?;
        Ok(encode(&ids(&live, runs)))
    }

    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let found = details(work, self.project)?;
        if found.iter().any(|one| runs(&one.live)) {
            // Through compose, which knows the order of dependencies: a worker ends its job before its queue goes.
            let mut args = vec!["compose", "--progress", "plain", "-p", self.project, "stop"];
            let timeout = timeout("--timeout", self.grace_ms);
            args.extend(timeout.iter().map(String::as_str));
            work.with_more(stop_time(&found, self.grace_ms)).run("docker", &args)?;
        }
        let live = containers(work, self.project)?;
        match live.iter().find(|container| runs(container)) {
            None => Ok(String::new()),
            Some(container) => fail(format!("`{}` is {} after it was stopped", container.name, container.state)),
        }
    }

    fn undo(&self, work: &Work<'_>, before: &[u8]) -> Result<(), StepError> {
        let ran: Vec<String> = decode(before)?;
        let live = containers(work, self.project)?;
        start(work, &ids(&live, |container| ran.contains(&container.id) && !runs(container)))
    }
}

impl Act for Down<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        down(work, self.project, self.grace_ms).map(|()| String::new())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn container(service: &str, digest: &str, state: &str) -> ContainerLive {
        ContainerLive {
            service: service.to_owned(),
            name: format!("shop-{service}-1"),
            id: format!("id-{service}"),
            image: String::new(),
            digest: digest.to_owned(),
            config_hash: String::new(),
            updated: String::new(),
            state: state.to_owned(),
            health: String::new(),
            restarts: 0,
            started_at: String::new(),
        }
    }

    #[test]
    fn what_compose_left_is_checked_and_foreign_containers_stay() {
        let services = BTreeMap::from([("api".to_owned(), "d1".to_owned()), ("job".to_owned(), "d2".to_owned())]);
        let up = Up { project: "shop", file: "/srv/shop/compose.yaml", services: &services };
        let good = [container("api", "d1", "running"), container("job", "d2", "exited")];
        assert_eq!(up.wrong(&good), [""; 0]);
        let wrong = up.wrong(&[container("api", "d0", "running")]);
        assert_eq!(wrong, ["`shop-api-1` is not of this rendering", "service `job` has no container"]);
        assert_eq!(
            up.wrong(&[container("api", "d1", "created"), container("job", "d2", "exited")]),
            ["`shop-api-1` is created"]
        );
        let live =
            [container("api", "d1", "running"), container("old", "d9", "running"), container("theirs", "", "running")];
        assert_eq!(up.orphans(&live), ["id-old"]);
    }

    #[test]
    fn what_a_cut_compose_left_is_known_by_its_name() {
        assert_eq!(final_name("19b02deb2291_shop-blue-web-1"), Some("shop-blue-web-1"));
        for other in ["shop-blue-web-1", "19b02deb2291_", "19b02deb229_shop-web-1", "19B02deb2291_shop", ""] {
            assert_eq!(final_name(other), None, "{other}");
        }
    }

    #[test]
    fn project_names() {
        for good in ["shop", "shop-web_blue", "1a"] {
            assert!(check_project(good).is_ok(), "{good}");
        }
        for bad in ["", "-p", "_x", "Shop", "a b", "a/b", "a.b"] {
            assert!(check_project(bad).is_err(), "{bad}");
        }
    }
}
