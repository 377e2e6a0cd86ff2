//! The plan of a whole environment.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{Digest, Hello, Ledger, LiveReport, Observed};

use super::archives::unused;
use super::host::{HostContext, plan_host};
use super::ignore::IgnoreRules;
use super::migrations::{KnownMigrations, early_migrations, edited_migrations, unsure_migrations};
use super::prune::{managed_count, pruned_count};
use super::seal::{basis, content, rendered, seal};
use super::{
    AppPlan, Basis, Blocker, Change, HostBasis, HostPlan, LiveHost, LiveState, PLAN_FORMAT_VERSION, Plan, PlanOptions,
};
use crate::desired::DesiredState;
use crate::id::{AppName, DigestWriter, HostName};

/// What a host said, as far as a plan can stand on it.
enum Answer<'a> {
    Known(&'a Hello, &'a LiveReport, &'a Ledger),
    /// It answered, but not what it holds.
    Blind(String),
    Unreachable(String),
}

/// A ledger of a host on which nothing was ever applied.
static EMPTY: Ledger =
    Ledger { version: 0, apps: BTreeMap::new(), migrations: BTreeSet::new(), migrated: BTreeMap::new() };

fn answer<'a>(live: &'a LiveState, host: &HostName) -> Answer<'a> {
    match live.hosts.get(host) {
        None => Answer::Unreachable("it was not observed".to_owned()),
        Some(LiveHost::Unreachable { reason }) => Answer::Unreachable(reason.clone()),
        Some(LiveHost::Reached { hello, report }) => match &report.ledger {
            Observed::Seen(ledger) => Answer::Known(hello, report, ledger),
            Observed::Absent => Answer::Known(hello, report, &EMPTY),
            Observed::Unknown(why) => Answer::Blind(why.clone()),
        },
    }
}

/// Returns the changes that make every host what git says, and what stands in their way.
///
/// # Guarantees
/// Equal inputs give an equal plan, whatever the order in which a host listed its answer. What only a host has is never touched;
/// what could not be looked at never changes. After a plan without blockers was applied, the next one is empty.
pub fn plan(desired: &DesiredState, live: &LiveState, options: &PlanOptions<'_>) -> Plan {
    let (ignore, wrong_patterns) = IgnoreRules::new(&desired.sync.ignore);
    let mut blockers: Vec<Blocker> = wrong_patterns
        .into_iter()
        .map(|error| Blocker {
            code: "ignore-pattern".to_owned(),
            host: None,
            app: None,
            message: format!("a pattern under `sync.ignore` of environment {} is wrong: {error}", desired.environment),
        })
        .collect();
    let mut ran = BTreeSet::new();
    let mut migrated = Vec::new();
    let mut blind = Vec::new();
    for host in desired.hosts.keys() {
        match answer(live, host) {
            Answer::Known(_, _, ledger) => {
                ran.extend(ledger.migrations.iter().cloned());
                migrated.push(&ledger.migrated);
            }
            Answer::Blind(why) | Answer::Unreachable(why) => blind.push((host.clone(), why)),
        }
    }
    let migrations = KnownMigrations::new(desired, ran, blind);

    // Rendered content is read once: it is the largest thing here.
    let contents: BTreeMap<&HostName, BTreeMap<AppName, Digest>> = desired
        .hosts
        .iter()
        .map(|(name, host)| (name, host.apps.iter().map(|(app, wanted)| (app.clone(), content(wanted))).collect()))
        .collect();
    let identity = |app: &AppName| join(app, contents.iter().filter_map(|(host, apps)| Some((*host, *apps.get(app)?))));
    let mut hosts = BTreeMap::new();
    let mut bases = BTreeMap::new();
    let mut apps: BTreeMap<AppName, AppPlan> = BTreeMap::new();
    let mut pruned = 0;
    let mut managed = 0;
    for (name, host) in &desired.hosts {
        for (app, wanted) in &host.apps {
            let release = || Some(wanted.release.clone());
            apps.entry(app.clone()).or_insert_with(|| AppPlan { release: release(), content: identity(app) });
        }
        let rendered = rendered(host, &contents[name]);
        let unseen = HostBasis { rendered, live: None, ledger: None };
        let stopped = |code: &str, message: String| Blocker {
            code: code.to_owned(),
            host: Some(name.clone()),
            app: None,
            message,
        };
        let (plan, basis) = match answer(live, name) {
            Answer::Known(hello, report, ledger) => {
                let context = HostContext {
                    environment: &desired.environment,
                    name,
                    desired: host,
                    hello,
                    report,
                    ledger,
                    requires: &desired.requires,
                    ignore: &ignore,
                    options: *options,
                    migrations: &migrations,
                };
                let (plan, found) = plan_host(&context);
                blockers.extend(found);
                pruned += pruned_count(&plan);
                managed += managed_count(&context);
                for (app, _) in context.records() {
                    let content = identity(&app);
                    apps.entry(app).or_insert(AppPlan { release: None, content });
                }
                (plan, basis(&context, rendered))
            }
            Answer::Blind(why) => {
                blockers.push(stopped("unknown", format!("the ledger of {name} cannot be read: {why}")));
                (HostPlan::default(), unseen)
            }
            Answer::Unreachable(why) => {
                blockers.push(stopped("unreachable", format!("{name} cannot be reached: {why}")));
                (HostPlan::default(), unseen)
            }
        };
        hosts.insert(name.clone(), plan);
        bases.insert(name.clone(), basis);
    }

    blockers.extend(unsure_migrations(desired, &hosts, &migrations));
    blockers.extend(edited_migrations(desired, &migrated));
    blockers.extend(early_migrations(desired, &hosts, options.migrated));
    blockers.extend(quarantined(&apps, &hosts, options));
    let changing = hosts.values().flat_map(|host| &host.changes).map(|change| &change.app).collect();
    blockers.extend(unused(desired, &changing));
    let limit = usize::from(desired.sync.prune_limit_percent);
    if !options.allow_prune && pruned * 100 > managed * limit {
        let message = format!(
            "{pruned} of {managed} things would be removed, and the limit is {limit} %: look at the plan, then apply it with \
             --allow-prune"
        );
        blockers.push(Blocker { code: "prune-limit".to_owned(), host: None, app: None, message });
    }
    blockers.sort();
    blockers.dedup();

    let mut plan = Plan {
        format_version: PLAN_FORMAT_VERSION,
        seal: Digest([0; 32]),
        environment: desired.environment.clone(),
        commit: desired.commit.clone(),
        observed_at: options.observed_at,
        hosts,
        order: order(desired),
        apps,
        basis: Basis { hosts: bases },
        blockers,
    };
    plan.seal = seal(&plan);
    plan
}

/// Returns the hosts in rollout order; those the order does not name come last.
fn order(desired: &DesiredState) -> Vec<HostName> {
    let mut order: Vec<HostName> = Vec::new();
    for host in desired.order.iter().chain(desired.hosts.keys()) {
        if desired.hosts.contains_key(host) && !order.contains(host) {
            order.push(host.clone());
        }
    }
    order
}

/// Returns the identity of an app's rendered content over all hosts: what quarantine remembers.
///
/// # Guarantees
/// It does not depend on which slot is active, on the commit, or on anything live: the same content has the same identity when it
/// comes back with another commit.
pub fn app_digest(desired: &DesiredState, app: &AppName) -> Digest {
    let on_hosts = desired.hosts.iter().filter_map(|(host, desired)| Some((host, content(desired.apps.get(app)?))));
    join(app, on_hosts)
}

fn join<'a>(app: &AppName, on_hosts: impl Iterator<Item = (&'a HostName, Digest)>) -> Digest {
    let writer = DigestWriter::new().field(app.as_str());
    on_hosts.fold(writer, |writer, (host, digest)| writer.field(host.as_str()).field(digest.0)).finish()
}

fn quarantined(
    apps: &BTreeMap<AppName, AppPlan>,
    hosts: &BTreeMap<HostName, HostPlan>,
    options: &PlanOptions<'_>,
) -> Vec<Blocker> {
    let changes = |app: &AppName| hosts.values().flat_map(|host| &host.changes).any(|change| change.app == *app);
    options
        .quarantined
        .iter()
        .filter(|held| apps.get(&held.app).is_some_and(|app| app.content == held.content) && changes(&held.app))
        .map(|held| Blocker {
            code: "quarantined".to_owned(),
            host: None,
            app: Some(held.app.clone()),
            message: format!(
                "this content of {} has failed before ({}) and is not tried again until it changes",
                held.app, held.reason
            ),
        })
        .collect()
}

/// Returns the changes of a plan that git did not ask for: the host is not what it was made.
pub fn drift(plan: &Plan) -> impl Iterator<Item = (&HostName, &Change)> {
    plan.hosts.iter().flat_map(|(name, host)| {
        host.changes.iter().filter(|change| change.is_drift()).map(move |change| (name, change))
    })
}
