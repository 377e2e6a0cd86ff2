//! What is to change on one host that answered.

use holdfast_protocol::{AppRecord, Hello, Ledger, LiveReport};

use super::archives::archives;
use super::component::plan_component;
use super::ignore::IgnoreRules;
use super::migrations::KnownMigrations;
use super::needs::app_needs;
use super::place::Problem;
use super::prune::prune;
use super::{Blocker, ComponentPlan, HostPlan, PlanOptions};
use crate::config::Requirements;
use crate::desired::DesiredHost;
use crate::id::{AppName, EnvironmentName, HostName};

/// All that the rules of one host may look at.
pub(super) struct HostContext<'a> {
    pub(super) environment: &'a EnvironmentName,
    pub(super) name: &'a HostName,
    pub(super) desired: &'a DesiredHost,
    pub(super) hello: &'a Hello,
    pub(super) report: &'a LiveReport,
    pub(super) ledger: &'a Ledger,
    /// The oldest versions the environment's hosts may have.
    pub(super) requires: &'a Requirements,
    pub(super) ignore: &'a IgnoreRules,
    pub(super) options: PlanOptions<'a>,
    /// What is known of migrations over all hosts.
    pub(super) migrations: &'a KnownMigrations,
}

impl HostContext<'_> {
    /// Returns what the ledger has about an app of this environment.
    pub(super) fn record(&self, app: &AppName) -> Option<&AppRecord> {
        self.ledger.apps.get(&format!("{}/{app}", self.environment))
    }

    /// Returns the apps of this environment that the ledger has.
    pub(super) fn records(&self) -> impl Iterator<Item = (AppName, &AppRecord)> {
        self.ledger.apps.iter().filter_map(|(key, record)| {
            let (environment, app) = key.split_once('/')?;
            (environment == self.environment.as_str()).then_some(())?;
            Some((app.parse().ok()?, record))
        })
    }

    /// Returns a blocker of this host.
    pub(super) fn blocker(&self, app: Option<&AppName>, (code, message): Problem) -> Blocker {
        Blocker { code: code.to_owned(), host: Some(self.name.clone()), app: app.cloned(), message }
    }
}

/// Returns the changes of one host and what stands in their way.
pub(super) fn plan_host(context: &HostContext<'_>) -> (HostPlan, Vec<Blocker>) {
    let mut plan = HostPlan::default();
    let mut blockers = Vec::new();
    for (name, app) in &context.desired.apps {
        let record = context.record(name);
        for component in &app.components {
            let known = record.and_then(|record| record.components.get(component.name.as_str()));
            let outcome = plan_component(context, app, component, known);
            plan.unchanged += outcome.unchanged;
            plan.components.extend(outcome.plan);
            plan.changes.extend(outcome.changes);
            blockers.extend(outcome.problems.into_iter().map(|problem| context.blocker(Some(name), problem)));
        }
    }
    let pruned = prune(context);
    for component in pruned.components {
        let same = |known: &ComponentPlan| known.app == component.app && known.component == component.component;
        if !plan.components.iter().any(same) {
            plan.components.push(component);
        }
    }
    plan.changes.extend(pruned.changes);
    blockers.extend(pruned.problems.into_iter().map(|(app, problem)| context.blocker(Some(&app), problem)));
    // Stable: the order of work within an app stays.
    plan.changes.sort_by(|a, b| a.app.cmp(&b.app));
    plan.components.sort_by(|a, b| a.app.cmp(&b.app));
    blockers.extend(archives(context, &mut plan));
    blockers.extend(app_needs(context, &plan));
    (plan, blockers)
}
