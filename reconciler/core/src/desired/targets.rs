//! What Prometheus is to ask, as templates see it.

use serde_json::{Value, json};

use super::values::address_of;
use crate::config::{App, Component, Config, Environment, HostSpec, replica_port};

/// Returns the targets of a component for somebody on `host`: one for each host, job, slot and replica that it is on.
///
/// # Source
/// Prometheus' `file_sd_config`: a list of `{ "targets": ["HOST:PORT"], "labels": { … } }`; the labels `job` and `__metrics_path__` take
/// the place of the configuration's.
pub(super) fn targets(
    config: &Config,
    app: &App,
    component: &Component,
    (environment, host): (&Environment, &HostSpec),
) -> Vec<Value> {
    let mut all = Vec::new();
    for other in component.hosts.iter().filter_map(|name| config.hosts.get(name)) {
        let address = if other.name == host.name { "127.0.0.1" } else { address_of(other) };
        // An IPv6 address stands in brackets before its port.
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        for (job, spec) in &component.metrics {
            let replicas = 1..=component.replicas.max(1);
            let ports = replicas.filter_map(|one| Some((one, *component.ports.get(&replica_port(&spec.port, one))?)));
            for (replica, ports) in ports {
                let slots: &[(Option<&str>, u16)] = if component.strategy.has_slots() {
                    &[(Some("blue"), ports.blue), (Some("green"), ports.green)]
                } else {
                    &[(None, ports.blue)]
                };
                for (slot, port) in slots {
                    let mut labels = json!({
                        "__metrics_path__": spec.path,
                        "app": app.name.as_str(),
                        "component": component.name.as_str(),
                        "environment": environment.name.as_str(),
                        "host": other.name.as_str(),
                        "job": job,
                    });
                    if let (Some(slot), Some(labels)) = (slot, labels.as_object_mut()) {
                        labels.insert("slot".to_owned(), json!(slot));
                    }
                    if let (true, Some(labels)) = (component.replicas > 1, labels.as_object_mut()) {
                        labels.insert("replica".to_owned(), json!(replica.to_string()));
                    }
                    all.push(json!({ "targets": [format!("{address}:{port}")], "labels": labels }));
                }
            }
        }
    }
    all
}
