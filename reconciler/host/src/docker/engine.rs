//! Reads containers and images.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use holdfast_protocol::{ContainerLive, Observed, ProjectLive, Tool};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::connection::{Connection, DockerError};
use super::detail::{ContainerDetail, HostConfig, stop_grace};
use super::events::Events;
use crate::paths::System;

/// The label with the digest of a service as it was rendered when its container was created.
const DIGEST_LABEL: &str = "dev.holdfast.digest";

const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const CONFIG_HASH_LABEL: &str = "com.docker.compose.config-hash";
const ONE_OFF_LABEL: &str = "com.docker.compose.oneoff";

/// How long one question may take. The engine is slow while it pulls or starts many containers; a dead one accepts and is silent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often the containers are looked at again when one vanished in between.
const ATTEMPTS: usize = 4;

/// The Docker engine of a host, over a connection that is kept.
#[derive(Debug)]
pub struct Engine {
    system: System,
    connection: Option<Connection>,
    /// `/v1.43`: the newest version this engine speaks, for paths without one are deprecated.
    prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
    api_version: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    /// `null` for a container without any.
    labels: Option<BTreeMap<String, String>>,
}

/// # Source
/// Docker Engine API v1.41 to v1.52, `ContainerInspect`; only what is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    image: String,
    #[serde(default)]
    restart_count: u32,
    state: State,
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    exit_code: i64,
    health: Option<Health>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
    /// Seconds; absent without `stop_grace_period`.
    stop_timeout: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
}

impl Engine {
    /// Returns one that is not connected yet.
    pub fn new(system: System) -> Self {
        Self { system, connection: None, prefix: None }
    }

    /// Returns the engine's version, from the engine itself.
    pub fn version(&mut self) -> Tool {
        match self.ask::<Version>("/version") {
            Ok(version) => {
                self.prefix = Some(format!("/v{}", version.api_version));
                Tool::Version(version.version)
            }
            Err(DockerError::NoSocket(_)) if self.system.program("dockerd").is_none() => Tool::Missing,
            Err(error) => Tool::Broken(error.to_string()),
        }
    }

    /// Returns the containers of each project, one-off ones left out. A project without any is absent when the engine answered.
    pub fn projects(&mut self, names: &BTreeSet<String>) -> BTreeMap<String, Observed<ProjectLive>> {
        let live = |containers: Vec<ContainerDetail>| ProjectLive {
            containers: containers.into_iter().map(|container| container.live).collect(),
        };
        let told = self.details(names).into_iter().map(|(name, project)| match project {
            Observed::Seen(containers) => (name, Observed::Seen(live(containers))),
            Observed::Absent => (name, Observed::Absent),
            Observed::Unknown(why) => (name, Observed::Unknown(why)),
        });
        told.collect()
    }

    /// Returns all that is known of the containers of each project, as [`Engine::projects`].
    pub fn details(&mut self, names: &BTreeSet<String>) -> BTreeMap<String, Observed<Vec<ContainerDetail>>> {
        match self.containers(names) {
            Ok(mut found) => names
                .iter()
                .map(|name| (name.clone(), found.remove(name).map_or(Observed::Absent, Observed::Seen)))
                .collect(),
            Err(error) => names.iter().map(|name| (name.clone(), Observed::Unknown(error.to_string()))).collect(),
        }
    }

    /// Returns the local image id of a reference.
    pub fn image(&mut self, reference: &str) -> Observed<String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@".contains(&byte);
        if reference.is_empty()
            || !reference.bytes().all(fits)
            || reference.split('/').any(|part| part.is_empty() || part == "..")
        {
            return Observed::Unknown("this is no image reference".to_owned());
        }
        match self.ask_versioned::<Image>(&format!("/images/{reference}/json")) {
            Ok(image) => Observed::Seen(image.id),
            Err(error) if error.is_not_found() => Observed::Absent,
            Err(error) => Observed::Unknown(error.to_string()),
        }
    }

    /// Opens a connection on which the engine tells of changes of containers.
    ///
    /// # Errors
    /// As any question.
    pub fn events(&mut self) -> Result<Events, DockerError> {
        let prefix = self.version_prefix()?;
        Events::open(Connection::open(&self.system.docker)?, &prefix, TIMEOUT)
    }

    /// One list, then the details of each. A container that vanished in between makes the list old: its successor may be missing
    /// there, so all is looked at again.
    fn containers(&mut self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Vec<ContainerDetail>>, DockerError> {
        'attempt: for _ in 0..ATTEMPTS {
            let filters = format!("{{\"label\":[\"{PROJECT_LABEL}\"]}}");
            let listed: Vec<Listed> =
                self.ask_versioned(&format!("/containers/json?all=true&filters={}", escape(&filters)))?;
            let mut projects: BTreeMap<String, Vec<ContainerDetail>> = BTreeMap::new();
            for container in listed {
                let labels = container.labels.unwrap_or_default();
                let Some(project) = labels.get(PROJECT_LABEL).filter(|project| names.contains(*project)) else {
                    continue;
                };
                if labels.get(ONE_OFF_LABEL).is_some_and(|value| value == "True") {
                    continue;
                }
                match self.ask_versioned::<Inspected>(&format!("/containers/{}/json", container.id)) {
                    Ok(inspected) => projects.entry(project.clone()).or_default().push(detail(inspected)),
                    Err(error) if error.is_not_found() => continue 'attempt,
                    Err(error) => return Err(error),
                }
            }
            for containers in projects.values_mut() {
                containers.sort_by(|a, b| (&a.live.service, &a.live.name).cmp(&(&b.live.service, &b.live.name)));
            }
            return Ok(projects);
        }
        Err(DockerError::Unsettled)
    }

    fn version_prefix(&mut self) -> Result<String, DockerError> {
        if let Some(prefix) = &self.prefix {
            return Ok(prefix.clone());
        }
        let version: Version = self.ask("/version")?;
        let prefix = format!("/v{}", version.api_version);
        self.prefix = Some(prefix.clone());
        Ok(prefix)
    }

    fn ask_versioned<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, DockerError> {
        let path = self.version_prefix()? + path;
        self.ask(&path)
    }

    /// Asks on the kept connection; one that the engine closed since (it was restarted) is opened once more.
    fn ask<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, DockerError> {
        let kept = match self.connection.take().map(|kept| self.ask_on(kept, path)) {
            Some(Err(DockerError::Io(error))) if error.kind() != std::io::ErrorKind::TimedOut => {
                // Another engine may answer now.
                self.prefix = None;
                None
            }
            answered => answered,
        };
        let body = if let Some(answered) = kept {
            answered?
        } else {
            let fresh = Connection::open(&self.system.docker)?;
            self.ask_on(fresh, path)?
        };
        serde_json::from_slice(&body).map_err(|error| DockerError::Malformed(format!("{path}: {error}")))
    }

    fn ask_on(&mut self, mut connection: Connection, path: &str) -> Result<Vec<u8>, DockerError> {
        let answered = connection.get(path, TIMEOUT);
        if connection.reusable {
            self.connection = Some(connection);
        }
        answered
    }
}

fn detail(inspected: Inspected) -> ContainerDetail {
    let labels = inspected.config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    // An image without healthcheck has no health; `none` is what some versions call that.
    let health =
        inspected.state.health.map(|health| health.status).filter(|status| status != "none").unwrap_or_default();
    let live = ContainerLive {
        service: label(SERVICE_LABEL),
        name: inspected.name.trim_start_matches('/').to_owned(),
        id: inspected.id,
        image: inspected.image,
        digest: label(DIGEST_LABEL),
        config_hash: label(CONFIG_HASH_LABEL),
        updated: String::new(),
        state: inspected.state.status,
        health,
        restarts: inspected.restart_count,
        started_at: inspected.state.started_at,
    };
    ContainerDetail {
        live,
        exit_code: inspected.state.exit_code,
        stop_grace: stop_grace(inspected.config.stop_timeout),
        limits: inspected.host_config.limits(),
    }
}

/// Percent-encodes all that may not stand in the value of a query.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
