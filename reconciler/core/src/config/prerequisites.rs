//! What has to be on a host before a component, and the host's firewall, as written to the model.

use std::collections::BTreeSet;

use holdfast_protocol::{AccountSpec, FolderSpec, Prerequisites};

use super::claims::{Claims, Resource};
use super::findings::Findings;
use super::hosts::Hosts;
use super::model::{Address, FirewallPorts, FirewallRule, FirewallSpec};
use super::place::At;
use super::raw::{self, Allow, FolderPath, Source};
use crate::id::HostName;

/// Folders that belong to the system or to Holdfast itself: nothing is made in them.
const NOT_OURS: [&str; 6] = ["/proc", "/sys", "/dev", "/boot", "/run/holdfast", "/var/lib/holdfast"];

/// Returns whether a path is the system's or Holdfast's own, or right below `/`.
pub(super) fn is_the_systems(path: &str) -> bool {
    let below = |folder: &&str| path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path.matches('/').count() < 2 || NOT_OURS.iter().any(below)
}

/// Returns what has to be on the hosts of a component.
pub(super) fn prerequisites(
    raw: &raw::Component,
    who: &str,
    hosts: &[HostName],
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Prerequisites {
    let mut wanted = Prerequisites {
        groups: raw.groups.iter().flatten().map(|group| group.value.0.clone()).collect(),
        ..Prerequisites::default()
    };
    for entry in raw.accounts.iter().flat_map(|accounts| &accounts.entries) {
        let name = &entry.name.value.0;
        if name == "root" || name.bytes().all(|b| b.is_ascii_digit()) {
            let message = format!("`{name}` cannot be an account of a component");
            findings.error_at("bad-prerequisite", &entry.name, message, "give it a name of its own");
            continue;
        }
        claims.claim(Resource::Account, name.clone(), who, &entry.name, hosts);
        let Some(account) = &entry.value else { continue };
        let path = |path: &Option<FolderPath>, default: &str| {
            path.as_ref().map_or_else(|| default.to_owned(), |path| path.0.clone())
        };
        let spec = AccountSpec {
            group: account.group.as_ref().map_or_else(|| name.clone(), |group| group.value.0.clone()),
            groups: account.groups.iter().flatten().map(|group| group.value.0.clone()).collect(),
            home: path(&account.home, "/nonexistent"),
            shell: path(&account.shell, "/usr/sbin/nologin"),
            system: account.system.unwrap_or(true),
        };
        wanted.accounts.insert(name.clone(), spec);
    }
    for entry in raw.folders.iter().flat_map(|folders| &folders.entries) {
        let path = &entry.name.value.0;
        if is_the_systems(path) {
            let message = format!("the folder `{path}` is the system's or Holdfast's own");
            findings.error_at("bad-prerequisite", &entry.name, message, "name one below it, such as `/srv/app`");
            continue;
        }
        claims.claim(Resource::Folder, path.clone(), who, &entry.name, hosts);
        let Some(folder) = &entry.value else { continue };
        let account = |account: &Option<raw::Account>| {
            account.as_ref().map_or_else(|| "root".to_owned(), |account| account.0.clone())
        };
        let spec = FolderSpec {
            owner: account(&folder.owner),
            group: account(&folder.group),
            mode: folder.mode.map_or(0o755, |mode| mode.0),
        };
        wanted.folders.insert(path.clone(), spec);
    }
    wanted
}

/// Returns the firewall of a component's hosts.
pub(super) fn firewall(
    at: &At<raw::Firewall>,
    who: &str,
    hosts: &[HostName],
    inventory: &Hosts,
    environment_hosts: &[HostName],
    claims: &mut Claims,
    findings: &mut Findings<'_>,
) -> Option<FirewallSpec> {
    claims.claim(Resource::Firewall, "firewall", who, at, hosts);
    let mut allow = Vec::new();
    for entry in at.value.allow.0.as_ref()? {
        let (ports, from) = match &entry.value {
            Allow::All(ports) => (vec![*ports], None),
            Allow::Some(some) => {
                let networks = networks(&some.from, inventory, environment_hosts, findings);
                (some.ports.clone(), Some(networks))
            }
        };
        if ports.is_empty() || from.as_ref().is_some_and(BTreeSet::is_empty) {
            findings.error_at(
                "bad-firewall",
                entry,
                "it allows nothing",
                "name ports, and where they may be reached from",
            );
        }
        let ports =
            ports.iter().map(|ports| FirewallPorts { udp: ports.udp, first: ports.first, last: ports.last }).collect();
        allow.push(FirewallRule { ports, from });
    }
    for spec in hosts.iter().filter_map(|host| inventory.specs.get(host)) {
        let open = |rule: &FirewallRule| {
            rule.ports.iter().any(|ports| !ports.udp && (ports.first..=ports.last).contains(&spec.port))
        };
        if spec.address != Address::Local && !allow.iter().any(open) {
            let message =
                format!("this closes port {} of host `{}`, by which it is reached with SSH", spec.port, spec.name);
            let hint = format!("add `{}/tcp` to `allow`", spec.port);
            findings.error_at("firewall-locks-out", at, message, hint);
            break;
        }
    }
    let default = || ["docker0", "br-*"].map(str::to_owned).to_vec();
    let inside = at.value.inside.as_ref();
    let inside = inside.map_or_else(default, |names| names.iter().map(|name| name.0.clone()).collect());
    Some(FirewallSpec { allow, inside })
}

fn networks(
    from: &[At<Source>],
    inventory: &Hosts,
    environment_hosts: &[HostName],
    findings: &mut Findings<'_>,
) -> BTreeSet<String> {
    let mut networks = BTreeSet::new();
    for source in from {
        match &source.value {
            Source::Network(address, bits) => drop(networks.insert(format!("{address}/{bits}"))),
            Source::Hosts => {
                for spec in environment_hosts.iter().filter_map(|host| inventory.specs.get(host)) {
                    let number = match &spec.address {
                        Address::Remote(address) => address.parse::<core::net::IpAddr>().ok(),
                        Address::Local => None,
                    };
                    if let Some(address) = number {
                        networks.insert(format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
                    } else {
                        let message = format!("the address of host `{}` is no IP address", spec.name);
                        let hint = "name the networks in place of `hosts`, or give the host's number in the inventory";
                        findings.error_at("bad-firewall", source, message, hint);
                    }
                }
            }
        }
    }
    networks
}
