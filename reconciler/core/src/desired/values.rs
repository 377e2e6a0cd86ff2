//! The values a template sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_protocol::certificate_file;

use super::certificates::folder;
use super::path::Place;
use super::targets::targets;
use crate::config::{Address, App, Component, Config, Environment, HostSpec, SlotPorts, login_name, replica_port};
use crate::render::Scope;

/// Everything a component's values are taken from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
    pub(super) host: &'a HostSpec,
    pub(super) app: &'a App,
    pub(super) component: &'a Component,
    pub(super) place: Place<'a>,
}

impl Sources<'_> {
    /// Returns the values: `release`, `slot`, `port.NAME`, `ports.NAME`, `replicas`, `env`, `app`, `component`, `dir`, `host.{name,address,labels}`,
    /// `certificate.{chain,key,challenge,hsts,domains}`, `hosts.NAME.{address,labels}`, `hosts_of.COMPONENT.NAME.{address,labels}`, `targets_of.COMPONENT`,
    /// `scrape_targets`, `vars.NAME`, `logins.ROLE`, `secrets.DOTTED.NAME`.
    ///
    /// A variable is taken from the strongest place that has it, as a whole: host, component, app, environment, `holdfast.yaml`. The
    /// host is strongest because it is the most particular: what a host says of itself holds for all that runs on it.
    pub(super) fn scope(self) -> Arc<Scope> {
        let Self { config, environment, host, app, component, place } = self;
        let mut scope = Scope::new();
        scope.text(&["release"], &app.release.value, &app.release.origin);
        scope.text(&["env"], environment.name.as_str(), &environment.origin);
        scope.text(&["app"], app.name.as_str(), &app.origin);
        scope.text(&["component"], component.name.as_str(), &component.origin);
        scope.text(&["dir"], &place.directory(), &component.origin);
        if let Some(slot) = place.slot {
            scope.text(&["slot"], slot.as_str(), &component.origin);
        }
        scope.number(&["replicas"], component.replicas, &component.origin);
        scope.map(&["port"]);
        scope.map(&["ports"]);
        let number = |ports: &SlotPorts| match place.slot {
            Some(holdfast_protocol::Slot::Green) => ports.green,
            _ => ports.blue,
        };
        for (name, ports) in component.ports.iter().filter(|(name, _)| !name.contains('[')) {
            let first = number(ports);
            let last = component.ports.get(&replica_port(name, component.replicas)).map_or(first, number);
            let row = if last == first { first.to_string() } else { format!("{first}-{last}") };
            scope.number(&["port", name], first, &component.origin);
            scope.text(&["ports", name], &row, &component.origin);
        }
        host_values(&mut scope, &["host"], host);
        scope.text(&["host", "name"], host.name.as_str(), &host.origin);
        scope.map(&["hosts"]);
        for other in environment.hosts.iter().filter_map(|name| config.hosts.get(name)) {
            host_values(&mut scope, &["hosts", other.name.as_str()], other);
        }
        for sibling in &app.components {
            scope.map(&["hosts_of", sibling.name.as_str()]);
            for other in sibling.hosts.iter().filter_map(|name| config.hosts.get(name)) {
                host_values(&mut scope, &["hosts_of", sibling.name.as_str(), other.name.as_str()], other);
            }
        }
        let certificate = component.certificate.as_ref().and_then(|name| environment.certificates.get(name));
        if let Some(certificate) = certificate {
            let folder = folder(environment, certificate);
            for (key, file) in [
                ("chain", certificate_file::CHAIN),
                ("key", certificate_file::KEY),
                ("challenge", certificate_file::CHALLENGE),
                ("hsts", certificate_file::HSTS),
            ] {
                scope.text(&["certificate", key], &format!("{folder}/{file}"), &certificate.origin);
            }
            scope.list(&["certificate", "domains"], &certificate.domains, &certificate.origin);
        }
        scope.map(&["targets_of"]);
        for sibling in app.components.iter().filter(|sibling| !sibling.metrics.is_empty()) {
            let own = targets(config, app, sibling, (environment, host));
            scope.data(&["targets_of", sibling.name.as_str()], &own.into(), &sibling.origin);
        }
        let everyone = environment.apps.values().flat_map(|other| other.components.iter().map(move |one| (other, one)));
        let all: Vec<_> = everyone.flat_map(|(other, one)| targets(config, other, one, (environment, host))).collect();
        scope.data(&["scrape_targets"], &all.into(), &app.origin);
        scope.map(&["vars"]);
        let layers = [&config.variables, &environment.variables, &app.variables, &component.variables, &host.variables];
        let merged: BTreeMap<_, _> = layers.into_iter().flatten().collect();
        for (name, variable) in merged {
            scope.variable(name, variable);
        }
        scope.map(&["logins"]);
        for (name, role) in app.components.iter().filter_map(|other| other.postgres.as_ref()).flat_map(|all| &all.roles)
        {
            let secret = role.password.as_ref().and_then(|password| environment.secrets.get(&password.value));
            if let Some(sealed) = secret {
                scope.text(&["logins", name], &login_name(name, &sealed.secret.fingerprint), &role.origin);
            }
        }
        scope.map(&["secrets"]);
        for sealed in environment.secrets.values() {
            scope.secret(sealed);
        }
        Arc::new(scope)
    }
}

/// Returns where others reach a host.
pub(super) fn address_of(host: &HostSpec) -> &str {
    match &host.address {
        Address::Local => "127.0.0.1",
        Address::Remote(address) => address,
    }
}

fn host_values(scope: &mut Scope, path: &[&str], host: &HostSpec) {
    let at =
        |rest: &[&'static str]| -> Vec<String> { path.iter().chain(rest).map(|part| (*part).to_owned()).collect() };
    let address = address_of(host);
    let text = |scope: &mut Scope, path: Vec<String>, value: &str| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        scope.text(&path, value, &host.origin);
    };
    text(scope, at(&["address"]), address);
    let labels = at(&["labels"]);
    scope.map(&labels.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, value) in &host.labels {
        let mut path = labels.clone();
        path.push(name.clone());
        text(scope, path, value);
    }
}
