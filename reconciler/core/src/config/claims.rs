//! What a component takes for itself on a host, so that no two take the same.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::place::{At, Place};
use crate::id::HostName;

/// A kind of thing that can be had only once on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    /// A loopback port.
    Port,
    /// A systemd unit.
    Unit,
    /// An nginx site.
    Site,
    /// An nginx upstream: its name is global to nginx.
    Upstream,
    /// A compose project.
    Project,
    /// A file.
    File,
    /// A class of backups.
    Backup,
    /// A certificate.
    Certificate,
    /// A local account.
    Account,
    /// A folder with its owner and mode.
    Folder,
    /// The host's firewall.
    Firewall,
}

impl Resource {
    fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Unit => "unit",
            Self::Site => "nginx site",
            Self::Upstream => "nginx upstream",
            Self::Project => "compose project",
            Self::File => "file",
            Self::Backup => "backup",
            Self::Certificate => "certificate",
            Self::Account => "account",
            Self::Folder => "folder",
            Self::Firewall => "host's",
        }
    }
}

/// Who claims something, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    file: String,
    place: (u32, u32, u32),
    /// `prod/nps/web`.
    who: String,
}

/// All claims of a commit.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_thing: BTreeMap<(Resource, String), BTreeMap<HostName, Vec<Claimant>>>,
}

impl Claims {
    /// Notes that a component takes a thing on some hosts.
    pub(super) fn claim<T>(
        &mut self,
        resource: Resource,
        name: impl Into<String>,
        who: &str,
        at: &At<T>,
        hosts: &[HostName],
    ) {
        let Place { line, column, length } = at.place;
        let claimant = Claimant { file: at.file.clone(), place: (line, column, length), who: who.to_owned() };
        let by_host = self.by_thing.entry((resource, name.into())).or_default();
        for host in hosts {
            by_host.entry(host.clone()).or_default().push(claimant.clone());
        }
    }

    /// Adds a finding for each thing that two components take on one host: at the later place, naming the earlier.
    pub(super) fn report(&self, findings: &mut Findings<'_>) {
        for ((resource, name), by_host) in &self.by_thing {
            let mut clashes: BTreeMap<(&Claimant, &Claimant), Vec<&HostName>> = BTreeMap::new();
            for (host, claimants) in by_host {
                let mut sorted: Vec<&Claimant> = claimants.iter().collect();
                sorted.sort();
                for later in sorted.iter().skip(1) {
                    clashes.entry((sorted[0], later)).or_default().push(host);
                }
            }
            for ((first, later), hosts) in clashes {
                let more = match hosts.len() {
                    1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                let first_at = format!("{}:{}", first.file, first.place.0);
                let whose = if first.who == later.who {
                    format!("by {}, at {first_at} and here", first.who)
                } else {
                    format!("by {} at {first_at}, and here by {}", first.who, later.who)
                };
                let message =
                    format!("the {} `{name}` is claimed twice on host `{}`{more}: {whose}", resource.word(), hosts[0]);
                let (line, column, length) = later.place;
                let hint = match resource {
                    Resource::Port => "give one of the two another port",
                    Resource::Unit => "the unit is named after its template file: copy the template under another name",
                    Resource::Upstream | Resource::Backup => "give one of the two another name",
                    Resource::Site | Resource::Project => "rename the component, or put the two on different hosts",
                    Resource::Certificate => "declare another certificate for one of the two",
                    Resource::File => "write it from one component only",
                    Resource::Account | Resource::Folder => "declare it in one component only",
                    Resource::Firewall => "a host has one firewall: bring all it allows together",
                };
                findings.error("claimed-twice", &later.file, Place { line, column, length }, message, hint);
            }
        }
    }
}
