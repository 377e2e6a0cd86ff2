//! What differs between a database server and its declaration.

use holdfast_protocol::{DATABASES_FILE, Observed, REDIS_FILE};

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
    matches!(path.rsplit('/').next(), Some(DATABASES_FILE | REDIS_FILE))
}

/// Adds what the server itself is found to lack. Where the declaration changes, its own change does everything, and only what a reload will
/// do is said with it; where the server does not run, or could not be asked, nothing is said: it is the matter of the component it runs in.
/// A setting that the server would not take from a reload stands in the way of it all.
pub(super) fn follow_server(subject: Subject<'_>, comparison: &mut Comparison) {
    let artifacts = subject.component.body.artifacts(None);
    let Some(path) = declaration(artifacts) else { return };
    let key = ResourceKey::Databases(path.clone());
    let changes = comparison.found.iter().any(|found| found.finding.weight == Weight::Content);
    if !comparison.blocked.is_empty() || subject.context.ignore.matches(&key) {
        return;
    }
    let Observed::Seen(live) = see(&subject.context.report.databases, path) else { return };
    if !live.refused.is_empty() {
        let message = format!("`settings` of {}: {}", subject.component.name, live.refused.join("; "));
        comparison.problems.push(("setting-refused", message));
        comparison.blocked.insert(key);
        return;
    }
    let mut add = |rule: &'static str, reason: Reason, notes: &[String]| {
        if !notes.is_empty() && !comparison.found.iter().any(|found: &Found| found.key == key) {
            let note = notes.join("; ");
            let finding = Finding { action: PlanAction::Update, reason, weight: Weight::InPlace, note };
            comparison.found.push(subject.found(key.clone(), rule, finding));
        }
    };
    if changes {
        let reloads: Vec<String> = live.reloads.first().map(|first| format!("reload: {first}")).into_iter().collect();
        let rest = live.reloads.iter().skip(1).cloned();
        add("settings-reloaded", Reason::DesiredChanged, &reloads.into_iter().chain(rest).collect::<Vec<_>>());
        return;
    }
    add("databases-differ", Reason::Drifted, &live.differences);
    let seeds: Vec<String> = live.seeds.iter().map(|seed| format!("initial data {seed} did not run")).collect();
    add("seed-not-run", Reason::Drifted, &seeds);
    add(LOGIN_OVER, Reason::DependencyChanged, &live.over);
    if !comparison.found.iter().any(|found| found.key == key) {
        comparison.unchanged += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_protocol::{DatabasesLive, DatabasesQuery, ServerQuery};

    use super::super::ideal::{live_as_desired, plan_of, report};
    use super::super::sample::{Version, component, file, state};
    use super::super::{LiveState, Plan};
    use super::*;
    use crate::config::Strategy;
    use crate::desired::{Body, DesiredState};

    const DECLARED: &str = "/var/lib/holdfast/apps/prod/nps/data-databases/holdfast-databases.json";

    /// One host whose server is to have this `work_mem`.
    fn desired(work_mem: &str) -> DesiredState {
        let mut state = state(&["web1"], &Version::new("v1"));
        let artifacts =
            Artifacts { files: BTreeMap::from([(DECLARED.to_owned(), file(work_mem))]), ..Artifacts::default() };
        let mut databases = component("data-databases", Strategy::InPlace, Body::Single(artifacts));
        databases.databases = Some(DatabasesQuery {
            path: DECLARED.to_owned(),
            project: "prod-nps-data".to_owned(),
            service: "postgres".to_owned(),
            server: ServerQuery::Postgres { superuser: "postgres".to_owned() },
            settings: BTreeMap::from([("work_mem".to_owned(), work_mem.to_owned())]),
        });
        let app = state.hosts.values_mut().next().unwrap().apps.values_mut().next().unwrap();
        app.components.insert(1, databases);
        state
    }

    fn planned(desired: &DesiredState, live: &LiveState, said: Observed<DatabasesLive>) -> Plan {
        let mut live = live.clone();
        report(&mut live, "web1").databases.insert(DECLARED.to_owned(), said);
        plan_of(desired, &live)
    }

    fn changes(plan: &Plan) -> Vec<(&str, &str)> {
        let changes = plan.hosts.values().flat_map(|host| &host.changes);
        changes.map(|change| (change.rule.as_str(), change.note.as_str())).collect()
    }

    #[test]
    fn cap_34_a_setting_is_reloaded_drifts_and_is_refused() {
        let live = live_as_desired(&desired("8MB"));
        let line = || vec!["setting work_mem is 8MB, and 16MB is declared".to_owned()];
        let same = desired("8MB");
        assert_eq!(changes(&planned(&same, &live, Observed::Seen(DatabasesLive::default()))), []);

        // Git says something else: the declaration changes, what the server will do is said, and nothing is made anew.
        let reloads = DatabasesLive { reloads: line(), ..DatabasesLive::default() };
        let plan = planned(&desired("16MB"), &live, Observed::Seen(reloads));
        let found = changes(&plan);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0, "file-content-differs");
        assert_eq!(found[1], ("settings-reloaded", "reload: setting work_mem is 8MB, and 16MB is declared"));

        // Somebody else said something else.
        let drift = DatabasesLive { differences: line(), reloads: line(), ..DatabasesLive::default() };
        let plan = planned(&same, &live, Observed::Seen(drift));
        assert_eq!(changes(&plan), [("databases-differ", "setting work_mem is 8MB, and 16MB is declared")]);

        // Nothing is known.
        assert_eq!(changes(&planned(&same, &live, Observed::Unknown("no answer".to_owned()))), []);

        let refused = DatabasesLive { refused: vec!["port takes a new start".to_owned()], ..DatabasesLive::default() };
        let plan = planned(&desired("16MB"), &live, Observed::Seen(refused));
        let blockers: Vec<_> = plan.blockers.iter().map(|one| (one.code.as_str(), one.message.as_str())).collect();
        assert_eq!(blockers, [("setting-refused", "`settings` of data-databases: port takes a new start")]);
    }
}
