use std::collections::BTreeMap;

use super::resolve::finding;
use super::{Artifacts, Body, DesiredApp};
use crate::diag::Diagnostics;
use crate::id::{AppName, HostName};

/// Returns what two components of one host both claim: a file, a unit or a compose project.
pub(super) fn clashes(host: &HostName, apps: &BTreeMap<AppName, DesiredApp>) -> Diagnostics {
    let mut findings = Diagnostics::default();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for app in apps.values() {
        for component in &app.components {
            let owner = format!("{}/{}", app.name, component.name);
            let artifacts: Vec<&Artifacts> = match &component.body {
                Body::Single(artifacts) => vec![artifacts],
                Body::Slots { blue, green } => vec![blue, green],
            };
            for artifacts in artifacts {
                let files = artifacts.files.keys().map(|path| format!("the file {path}"));
                let units = artifacts.units.keys().map(|unit| format!("the unit {unit}"));
                let project = artifacts.project.iter().map(|project| format!("the compose project {}", project.name));
                for claim in files.chain(units).chain(project) {
                    let Some(other) = owners.insert(claim.clone(), owner.clone()) else { continue };
                    let message = if other == owner {
                        format!("both slots of {owner} claim {claim} on {host}")
                    } else {
                        format!("{owner} and {other} both claim {claim} on {host}")
                    };
                    findings.extend(finding(
                        "claimed-twice",
                        &component.origin,
                        message,
                        "give one of them another name",
                    ));
                }
            }
        }
    }
    findings
}
