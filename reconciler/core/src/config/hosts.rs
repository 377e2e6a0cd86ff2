//! The inventory as one list, and the choice of hosts from it.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::model::{Address, HostSpec};
use super::place::{At, Place};
use super::raw::{self, Selector};
use super::suggest;
use crate::diag::Origin;
use crate::id::HostName;

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// By name.
    pub(super) specs: BTreeMap<HostName, HostSpec>,
    /// Places of all names, also of hosts whose values are wrong.
    names: BTreeMap<HostName, Origin>,
    /// Names in the order they are written: inventory files by path, hosts from top to bottom.
    order: Vec<HostName>,
    /// Whether a host or a whole file is wrong, so that a choice by labels may find too few.
    incomplete: bool,
}

/// What a choice is made from, in words for messages.
pub(super) struct Scope<'a> {
    /// The hosts to choose from, in inventory order.
    pub(super) among: &'a [HostName],
    /// Such as ``environment `prod` ``.
    pub(super) of: &'a str,
}

impl Hosts {
    /// Returns the hosts of all inventory files.
    pub(super) fn new(inventories: Vec<Option<raw::Inventory>>, findings: &mut Findings<'_>) -> Self {
        let mut hosts = Self::default();
        for inventory in inventories {
            let Some(inventory) = inventory else {
                hosts.incomplete = true;
                continue;
            };
            let Some(named) = inventory.hosts.0 else {
                hosts.incomplete = true;
                continue;
            };
            for entry in named.entries {
                hosts.add(entry.name, entry.value, findings);
            }
        }
        hosts.compare_addresses(findings);
        hosts
    }

    /// Warns of two names for one machine: what is claimed on it could not be compared. Two names can still be meant, where an
    /// `ssh_config` sends one address to several machines.
    fn compare_addresses(&self, findings: &mut Findings<'_>) {
        let mut first: BTreeMap<(Option<&str>, u16), &HostName> = BTreeMap::new();
        for spec in self.order.iter().filter_map(|name| self.specs.get(name)) {
            let machine = match &spec.address {
                Address::Local => (None, 0),
                Address::Remote(address) => (Some(address.as_str()), spec.port),
            };
            let Some(other) = first.insert(machine, &spec.name) else { continue };
            let length = spec.name.as_str().len() as u32;
            let place = Place { line: spec.origin.line, column: spec.origin.column, length };
            let message = format!("the hosts `{other}` and `{}` have the same address", spec.name);
            let hint = "if they are one machine, keep one of the two: ports and units on it are compared by host";
            findings.warning("same-address", &spec.origin.file, place, message, hint);
        }
    }

    fn add(&mut self, name: At<HostName>, host: Option<raw::Host>, findings: &mut Findings<'_>) {
        if let Some(first) = self.names.get(&name.value) {
            let message = format!("the host `{}` is already declared at {first}", name.value);
            findings.error_at("duplicate-host", &name, message, "give one of the two another name");
            return;
        }
        self.names.insert(name.value.clone(), name.origin());
        self.order.push(name.value.clone());
        match host.and_then(|host| spec(&name, host, findings)) {
            Some(spec) => {
                self.specs.insert(name.value, spec);
            }
            None => self.incomplete = true,
        }
    }

    /// Returns whether every host of every inventory file could be read.
    pub(super) fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Returns the names of all hosts in inventory order.
    pub(super) fn all(&self) -> &[HostName] {
        &self.order
    }

    /// Returns the hosts a selector means, in inventory order; none after a finding, or when there is nothing to choose from.
    pub(super) fn select(
        &self,
        selector: &At<Selector>,
        scope: &Scope<'_>,
        findings: &mut Findings<'_>,
    ) -> Vec<HostName> {
        if scope.among.is_empty() {
            return Vec::new();
        }
        match &selector.value {
            Selector::Names(names) => self.by_name(names, scope, findings),
            Selector::Labels(labels) => {
                let fits = |host: &&HostName| {
                    self.specs.get(*host).is_some_and(|spec| {
                        labels.iter().all(|(key, value)| spec.labels.get(&key.value.0) == Some(value))
                    })
                };
                let chosen: Vec<HostName> = scope.among.iter().filter(fits).cloned().collect();
                if chosen.is_empty() && !self.incomplete {
                    let wanted: Vec<String> =
                        labels.iter().map(|(key, value)| format!("{}: {value}", key.value.0)).collect();
                    let message = format!("no host of {} has the labels {{ {} }}", scope.of, wanted.join(", "));
                    findings.error_at("no-host", selector, message, self.label_hint(labels, scope));
                }
                chosen
            }
        }
    }

    fn by_name(&self, names: &[At<HostName>], scope: &Scope<'_>, findings: &mut Findings<'_>) -> Vec<HostName> {
        for name in super::decode::repeated(names) {
            findings.error_at("duplicate-host", name, format!("the host `{}` is listed twice", name.value), "");
        }
        for name in names {
            if !self.names.contains_key(&name.value) {
                if !self.incomplete {
                    let known = self.order.iter().map(HostName::as_str);
                    let hint = suggest::hint(name.value.as_str(), "hosts", known);
                    findings.error_at(
                        "unknown-host",
                        name,
                        format!("there is no host `{}` in the inventory", name.value),
                        hint,
                    );
                }
            } else if !scope.among.contains(&name.value) {
                let message = format!("the host `{}` is not one of {}", name.value, scope.of);
                let hint = suggest::hint(name.value.as_str(), "hosts", scope.among.iter().map(HostName::as_str));
                findings.error_at("unknown-host", name, message, hint);
            }
        }
        scope.among.iter().filter(|host| names.iter().any(|name| name.value == **host)).cloned().collect()
    }

    /// Returns what might be meant by labels that no host has: the values of the first key that does not fit.
    fn label_hint(&self, labels: &[(At<super::raw::LabelKey>, String)], scope: &Scope<'_>) -> String {
        let specs = || scope.among.iter().filter_map(|host| self.specs.get(host));
        for (key, value) in labels {
            let mut values: Vec<&str> =
                specs().filter_map(|spec| spec.labels.get(&key.value.0)).map(String::as_str).collect();
            values.sort_unstable();
            values.dedup();
            if values.is_empty() {
                let mut keys: Vec<&str> = specs().flat_map(|spec| spec.labels.keys()).map(String::as_str).collect();
                keys.sort_unstable();
                keys.dedup();
                return suggest::hint(&key.value.0, "labels in use are", keys);
            }
            if !values.contains(&value.as_str()) {
                return suggest::hint(value, &format!("values of `{}` are", key.value.0), values);
            }
        }
        "no one host has all of them".to_owned()
    }
}

fn spec(name: &At<HostName>, host: raw::Host, findings: &mut Findings<'_>) -> Option<HostSpec> {
    if host.wrong.any(&["labels"]) {
        return None;
    }
    let host_address = host.address.0?;
    let address = match host_address.value.0.as_str() {
        "local" => Address::Local,
        remote => Address::Remote(remote.to_owned()),
    };
    if address == Address::Local {
        let unused = [
            ("user", host.user.as_ref().map(|at| at.place)),
            ("port", host.port.as_ref().map(|at| at.place)),
            ("host_key", host.host_key.as_ref().map(|at| at.place)),
        ];
        for (key, place) in unused.into_iter().filter_map(|(key, place)| Some((key, place?))) {
            let message = format!("`{key}` has no effect with `address: local`");
            findings.warning("no-effect", &name.file, place, message, "take it away");
        }
    } else if host.wrong.any(&["host_key"]) {
        return None;
    } else if host.host_key.is_none() {
        let message = format!("the host `{}` has no `host_key`", name.value);
        let hint = format!(
            "pin it: `ssh-keyscan -t ed25519 {}`, compared with what the host itself says",
            host_address.value.0
        );
        findings.error_at("missing-host-key", name, message, hint);
        return None;
    }
    let labels = host.labels.map(|labels| labels.entries).unwrap_or_default();
    let labels: Option<BTreeMap<String, String>> =
        labels.into_iter().map(|entry| Some((entry.name.value.0, entry.value?.0))).collect();
    Some(HostSpec {
        name: name.value.clone(),
        address,
        user: host.user.map_or_else(|| "root".to_owned(), |user| user.value.0),
        port: host.port.map_or(22, |port| port.value.number()),
        host_key: host.host_key.map(|key| key.value.0),
        labels: labels?,
        variables: host.variables.unwrap_or_default().0,
        origin: name.origin(),
    })
}
