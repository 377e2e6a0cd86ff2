use std::collections::BTreeMap;

use holdfast_core::config::HostSpec;
use holdfast_core::id::{AppName, EnvironmentName, HostName};
use holdfast_core::plan::{LiveHost, LiveState};
use holdfast_core::time::Timestamp;
use holdfast_protocol::{TransactionId, TransactionStatus};

use super::Unfinished;

/// Returns the rollouts of an environment that have not ended on some host, each with its release and all hosts that know it.
pub fn unfinished(
    environment: &EnvironmentName,
    hosts: &BTreeMap<&HostName, &HostSpec>,
    live: &LiveState,
) -> Vec<(AppName, String, Vec<Unfinished>)> {
    let mut groups: BTreeMap<TransactionId, (AppName, String, Vec<Unfinished>)> = BTreeMap::new();
    for (name, host) in &live.hosts {
        let (LiveHost::Reached { report, .. }, Some(spec)) = (host, hosts.get(name)) else { continue };
        for status in &report.transactions {
            let Some(app) = app_of(environment, status) else { continue };
            let group = groups.entry(status.id.clone()).or_insert_with(|| (app, status.release.clone(), Vec::new()));
            group.2.push(Unfinished {
                host: (*spec).clone(),
                id: status.id.clone(),
                fence: status.fence,
                phase: status.phase,
                outcome: status.outcome,
                followed: status.followed,
                confirms: status.confirms,
                manager: status.manager.clone(),
                since: Timestamp(status.since_ms),
                commit: status.commit.clone(),
            });
        }
    }
    groups.into_values().filter(|(_, _, hosts)| hosts.iter().any(|host| host.outcome.is_none())).collect()
}

fn app_of(environment: &EnvironmentName, status: &TransactionStatus) -> Option<AppName> {
    let (of, app) = status.app.split_once('/')?;
    if of == environment.as_str() { app.parse().ok() } else { None }
}
