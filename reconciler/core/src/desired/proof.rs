use std::collections::{BTreeMap, BTreeSet};

use super::resolve::finding;
use super::{Body, DesiredApp};
use crate::diag::Diagnostics;
use crate::id::{AppName, HostName};

/// Returns each `prove` that asks for a site which the environment does not have on that host: nginx would answer it with another one,
/// and no release would ever be proven.
pub(super) fn unproven(host: &HostName, apps: &BTreeMap<AppName, DesiredApp>) -> Diagnostics {
    let mut findings = Diagnostics::default();
    let Some(names) = server_names(apps) else { return findings };
    for component in apps.values().flat_map(|app| &app.components) {
        let Some(prove) = &component.prove else { continue };
        if prove.host.is_empty() || names.contains(&prove.host.to_ascii_lowercase()) {
            continue;
        }
        let message =
            format!("`prove` asks the site `{}`, and no site of this environment on {host} has that name", prove.host);
        let known = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        findings.extend(finding("prove-host", &component.origin, message, format!("its sites are called {known}")));
    }
    findings
}

/// Returns the names of an environment's sites on a host, or nothing where they cannot be told from the text: without any, or where
/// one is a pattern.
fn server_names(apps: &BTreeMap<AppName, DesiredApp>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for component in apps.values().flat_map(|app| &app.components) {
        let Body::Single(artifacts) = &component.body else { continue };
        for file in artifacts.files.values().filter(|file| file.nginx) {
            let text = file.content.shown();
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
            let text = lines.collect::<Vec<_>>().join(" ");
            for rest in text.split("server_name ").skip(1) {
                let (list, _) = rest.split_once(';')?;
                for name in list.split_whitespace() {
                    let exact = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
                    if !name.chars().all(exact) || name.starts_with('.') {
                        return None;
                    }
                    names.insert(name.to_ascii_lowercase());
                }
            }
        }
    }
    (!names.is_empty()).then_some(names)
}
