//! What differs between a database server and its declaration.

use holdfast_protocol::{DATABASES_FILE, Observed};

use super::component::Subject;
use super::place::{Comparison, Found, see};
use super::rule::{Finding, Weight};
use super::{LOGIN_OVER, PlanAction, Reason, ResourceKey};
use crate::desired::Artifacts;

/// Returns the path of the declaration of databases among the files of a component.
pub(super) fn declaration(artifacts: &Artifacts) -> Option<&String> {
    artifacts.files.keys().find(|path| is_declaration(path))
}

/// Returns whether a file is a declaration of databases.
pub(crate) fn is_declaration(path: &str) -> bool {
    path.rsplit('/').next() == Some(DATABASES_FILE)
}

/// Adds what the server itself is found to lack. Where the declaration changes, its own change does everything; where the server does not
/// run, or could not be asked, nothing is said: it is the matter of the component it runs in.
pub(super) fn follow_server(subject: Subject<'_>, comparison: &mut Comparison) {
    let artifacts = subject.component.body.artifacts(None);
    let Some(path) = declaration(artifacts) else { return };
    let key = ResourceKey::Databases(path.clone());
    let changes = comparison.found.iter().any(|found| found.finding.weight == Weight::Content);
    if changes || !comparison.blocked.is_empty() || subject.context.ignore.matches(&key) {
        return;
    }
    let Observed::Seen(live) = see(&subject.context.report.databases, path) else { return };
    let mut add = |rule: &'static str, reason: Reason, notes: &[String]| {
        if !notes.is_empty() && !comparison.found.iter().any(|found: &Found| found.key == key) {
            let note = notes.join("; ");
            let finding = Finding { action: PlanAction::Update, reason, weight: Weight::InPlace, note };
            comparison.found.push(subject.found(key.clone(), rule, finding));
        }
    };
    add("databases-differ", Reason::Drifted, &live.differences);
    let seeds: Vec<String> = live.seeds.iter().map(|seed| format!("initial data {seed} did not run")).collect();
    add("seed-not-run", Reason::Drifted, &seeds);
    add(LOGIN_OVER, Reason::DependencyChanged, &live.over);
    if !comparison.found.iter().any(|found| found.key == key) {
        comparison.unchanged += 1;
    }
}
