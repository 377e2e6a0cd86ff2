//! What a lab host holds, for tests that compare before and after.

use std::collections::BTreeSet;

use crate::lab::Lab;

/// Folders in which Holdfast changes things on behalf of apps.
const PLACES: [&str; 4] = ["/etc", "/var/lib/holdfast/apps", "/var/lib/holdfast/ledger.json", "/opt"];

/// One line for each file, container, redirect rule and service of a host: two are equal when none of them changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings(BTreeSet<String>);

impl Holdings {
    /// Looks at a host.
    pub fn of(lab: &Lab, host: &str) -> Self {
        let output = |argv: &[&str]| {
            let mut arguments = vec!["exec", host, "--"];
            arguments.extend(argv);
            // What a host has not got is told in words and stays the same.
            String::from_utf8_lossy(&lab.try_run(&arguments).stdout).into_owned()
        };
        let mut find = vec!["find"];
        find.extend(PLACES);
        find.extend(["-type", "f", "-exec", "sha256sum", "{}", "+"]);
        let containers = ["docker", "ps", "--all", "--no-trunc", "--format", "container {{.ID}} {{.Names}} {{.State}}"];
        let units = ["systemctl", "list-units", "--state=active,failed", "--plain", "--no-legend", "--type=service"];
        let mut lines: BTreeSet<String> = output(&find).lines().map(str::to_owned).collect();
        lines.extend(output(&containers).lines().map(str::to_owned));
        lines.extend(output(&["nft", "--stateless", "list", "ruleset"]).lines().map(str::to_owned));
        lines.extend(output(&units).lines().filter_map(service));
        Self(lines)
    }

    /// Asserts that nothing changed since.
    ///
    /// # Panics
    /// When something did: with what.
    #[track_caller]
    pub fn assert_same(&self, lab: &Lab, host: &str, why: &str) {
        let now = Self::of(lab, host);
        let gone: Vec<_> = self.0.difference(&now.0).collect();
        let new: Vec<_> = now.0.difference(&self.0).collect();
        assert!(gone.is_empty() && new.is_empty(), "{why}: {host} changed\ngone: {gone:#?}\nnew: {new:#?}");
    }
}

/// Keeps the name and the active state, without what comes and goes by itself.
fn service(line: &str) -> Option<String> {
    const OTHERS: [&str; 5] = ["systemd-", "user@", "user-runtime-dir@", "holdfast", "apt-"];
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, _, active, ..] = words.as_slice() else { return None };
    (!OTHERS.iter().any(|prefix| name.starts_with(prefix))).then(|| format!("service {name} {active}"))
}
