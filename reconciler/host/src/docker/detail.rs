//! What a container is beyond what the manager is told.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_protocol::ContainerLive;
use serde::Deserialize;

/// What stands for a limit that is not set.
const NONE: &str = "none";

/// A container with all that a step wants to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDetail {
    /// What the manager is told.
    pub live: ContainerLive,
    /// What it ended with last; 0 while it runs.
    pub exit_code: i64,
    /// The time it has between SIGTERM and SIGKILL; `None` is for ever.
    pub stop_grace: Option<Duration>,
    /// What `docker update` can change.
    pub limits: Limits,
}

impl ContainerDetail {
    /// Returns whether it ended and nothing will start it again: a container that was made to run once.
    pub fn is_over(&self) -> bool {
        self.live.state == "exited"
            && (self.limits.restart() == "no" || self.limits.restart().starts_with("on-failure"))
    }

    /// Returns whether it is a job that did its work and is not meant to run on.
    pub fn is_finished_job(&self) -> bool {
        self.is_over() && self.exit_code == 0
    }
}

/// What `docker update` can change of a container, by the names of its options; what is not set is not in it, however this engine
/// writes that.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<String, String>);

impl Limits {
    /// Returns the restart policy as `docker run --restart` takes it; `no` without one.
    pub fn restart(&self) -> &str {
        self.0.get("restart").map_or("no", String::as_str)
    }

    /// Returns how these differ from what they were, for people; empty when they do not.
    pub fn difference(&self, before: &Self) -> String {
        let names = self.0.keys().chain(before.0.keys()).collect::<std::collections::BTreeSet<_>>();
        let value = |limits: &Self, name: &str| limits.0.get(name).map_or(NONE, String::as_str).to_owned();
        let changed = names.into_iter().filter(|name| self.0.get(*name) != before.0.get(*name));
        changed
            .map(|name| format!("{name}: {} → {}", value(before, name), value(self, name)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// # Source
/// Docker Engine API v1.41 to v1.52, `HostConfig`; docker-container-update(1) for which of it can change.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    blkio_weight: Option<i64>,
    cpu_period: Option<i64>,
    cpu_quota: Option<i64>,
    cpu_realtime_period: Option<i64>,
    cpu_realtime_runtime: Option<i64>,
    cpu_shares: Option<i64>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    memory: Option<i64>,
    memory_reservation: Option<i64>,
    memory_swap: Option<i64>,
    nano_cpus: Option<i64>,
    pids_limit: Option<i64>,
    restart_policy: Option<RestartPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    name: String,
    maximum_retry_count: i64,
}

impl HostConfig {
    pub(super) fn limits(&self) -> Limits {
        // Engines write "no limit" as 0, as nothing, and some of them as -1.
        let number = |value: Option<i64>| value.filter(|value| *value > 0).map(|value| value.to_string());
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let restart = self.restart_policy.as_ref().and_then(|policy| match policy.name.as_str() {
            "" | "no" => None,
            name if policy.maximum_retry_count > 0 => Some(format!("{name}:{}", policy.maximum_retry_count)),
            name => Some(name.to_owned()),
        });
        let all = [
            ("blkio-weight", number(self.blkio_weight)),
            ("cpu-period", number(self.cpu_period)),
            ("cpu-quota", number(self.cpu_quota)),
            ("cpu-rt-period", number(self.cpu_realtime_period)),
            ("cpu-rt-runtime", number(self.cpu_realtime_runtime)),
            ("cpu-shares", number(self.cpu_shares)),
            ("cpus", self.nano_cpus.filter(|value| *value > 0).map(cpus)),
            ("cpuset-cpus", text(&self.cpuset_cpus)),
            ("cpuset-mems", text(&self.cpuset_mems)),
            ("memory", number(self.memory)),
            ("memory-reservation", number(self.memory_reservation)),
            ("memory-swap", number(self.memory_swap)),
            ("pids-limit", number(self.pids_limit)),
            ("restart", restart),
        ];
        Limits(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

fn cpus(nano: i64) -> String {
    let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the time between SIGTERM and SIGKILL; `None` is for ever.
///
/// # Source
/// Docker Engine API, `ContainerConfig.StopTimeout`: seconds, 10 where it is not set, for ever where it is below zero.
pub(super) fn stop_grace(seconds: Option<i64>) -> Option<Duration> {
    u64::try_from(seconds.unwrap_or(10)).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Limits {
        serde_json::from_str::<HostConfig>(json).unwrap().limits()
    }

    #[test]
    fn what_is_not_set_is_the_same_however_an_engine_writes_it() {
        let unset = [
            "{}",
            r#"{"Memory":0,"PidsLimit":null,"CpusetCpus":"","RestartPolicy":{"Name":"no","MaximumRetryCount":0}}"#,
            r#"{"PidsLimit":-1,"MemorySwap":-1,"RestartPolicy":{"Name":""}}"#,
        ];
        for json in unset {
            assert_eq!(limits(json), Limits::default(), "{json}");
        }
        assert_eq!(limits("{}").restart(), "no");
    }

    #[test]
    fn a_difference_names_what_changed_as_docker_update_does() {
        let before = limits(r#"{"Memory":134217728,"RestartPolicy":{"Name":"always"},"CpuShares":512}"#);
        let after = limits(
            r#"{"Memory":67108864,"NanoCpus":1500000000,"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},"CpuShares":512}"#,
        );
        assert_eq!(
            after.difference(&before),
            "cpus: none → 1.5, memory: 134217728 → 67108864, restart: always → on-failure:3"
        );
        assert_eq!(after.difference(&after), "");
    }

    #[test]
    fn stop_graces() {
        assert_eq!(stop_grace(None), Some(Duration::from_secs(10)));
        assert_eq!(stop_grace(Some(60)), Some(Duration::from_secs(60)));
        assert_eq!(stop_grace(Some(-1)), None);
    }
}
