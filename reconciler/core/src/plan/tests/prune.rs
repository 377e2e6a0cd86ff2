//! What git no longer has.

use std::collections::BTreeSet;

use holdfast_protocol::Observed;

use super::super::ideal::{ask, live_as_desired};
use super::super::sample::{Version, state};
use super::super::{PlanOptions, plan};
use super::{codes, lines, moves, plan_of, report, seen};
use crate::desired::DesiredState;
use crate::time::Timestamp;

fn full() -> DesiredState {
    state(&["web1"], &Version::new("v1"))
}

fn without(components: &[&str]) -> DesiredState {
    let mut version = Version::new("v1");
    version.without = components.iter().map(|name| (*name).to_owned()).collect();
    state(&["web1"], &version)
}

#[test]
fn a_removed_component_is_taken_down_in_order() {
    let head = without(&["web"]);
    let plan = plan_of(&head, &ask(&head, &live_as_desired(&full())));
    assert_eq!(
        lines(&plan, "web1"),
        [
            "- switch 127.0.83.1:8101 NotInDesired component-not-in-git",
            "- project prod-nps-web-blue [blue] NotInDesired component-not-in-git",
            "- file /etc/holdfast/prod/nps/web-blue/compose.yaml [blue] NotInDesired component-not-in-git",
            "- file /etc/holdfast/prod/nps/web-blue/secrets.env [blue] NotInDesired component-not-in-git",
        ]
    );
    assert_eq!(plan.hosts.values().next().unwrap().changes[1].note, "2 containers; volumes stay");
    assert_eq!(moves(&plan, "web1"), ["web Remove blue→- \"v1\"→\"\""]);
}

#[test]
fn a_removed_app_goes_on_each_host_that_has_it() {
    let live = live_as_desired(&full());
    let mut head = full();
    head.hosts.values_mut().for_each(|host| host.apps.clear());
    let plan = plan_of(&head, &ask(&head, &live));
    let changes = &plan.hosts.values().next().unwrap().changes;
    assert!(changes.iter().all(|change| change.rule == "app-not-in-git"));
    assert_eq!(changes.len(), 15);
    assert_eq!(plan.apps.values().next().unwrap().release, None);
}

#[test]
fn what_another_app_or_environment_has_stays() {
    let live = live_as_desired(&full());
    let head = without(&["edge"]);
    let mut live = ask(&head, &live);
    let path = "/etc/nginx/conf.d/prod-nps-edge.conf";
    assert_eq!(lines(&plan_of(&head, &live), "web1"), [format!("- file {path} NotInDesired component-not-in-git")]);
    if let Observed::Seen(ledger) = &mut report(&mut live, "web1").ledger {
        let record = ledger.apps["prod/nps"].clone();
        ledger.apps.insert("staging/nps".to_owned(), record);
    }
    assert_eq!(lines(&plan_of(&head, &live), "web1"), [""; 0]);
}

#[test]
fn other_environments_are_not_pruned() {
    let mut live = live_as_desired(&full());
    if let Observed::Seen(ledger) = &mut report(&mut live, "web1").ledger {
        let mut record = ledger.apps["prod/nps"].clone();
        for component in record.components.values_mut() {
            let file = component.files.pop_first().map(|(_, file)| ("/etc/other".to_owned(), file));
            component.files = file.into_iter().collect();
        }
        ledger.apps.insert("prod-2/other".to_owned(), record);
    }
    assert!(plan_of(&full(), &live).is_empty());
}

#[test]
fn what_is_gone_or_changed_says_so_and_what_is_unknown_stays() {
    let head = without(&["jobs"]);
    let path = "/etc/systemd/system/nps-jobs.service";
    let base = ask(&head, &live_as_desired(&full()));
    let note = |live: &super::LiveState| {
        let plan = plan_of(&head, live);
        plan.hosts
            .values()
            .next()
            .unwrap()
            .changes
            .iter()
            .find(|c| c.key.to_string() == format!("file {path}"))
            .map(|c| c.note.clone())
    };
    assert_eq!(note(&base).as_deref(), Some(""));
    let mut live = base.clone();
    report(&mut live, "web1").files.insert(path.to_owned(), Observed::Absent);
    assert_eq!(note(&live).as_deref(), Some("already gone"));
    let mut live = base.clone();
    seen(&mut report(&mut live, "web1").files, path).digest = crate::id::digest_of(b"x");
    assert_eq!(note(&live).as_deref(), Some("it was changed on the host since it was written"));
    let mut live = base.clone();
    seen(&mut report(&mut live, "web1").files, path).regular = false;
    assert_eq!(note(&live), None);
    assert_eq!(codes(&plan_of(&head, &live)), ["not-a-regular-file web1 nps"]);
    let mut live = base;
    report(&mut live, "web1").files.insert(path.to_owned(), Observed::Unknown("timeout".to_owned()));
    assert_eq!(note(&live), None);
    assert_eq!(codes(&plan_of(&head, &live)), ["unknown web1 nps"]);
}

#[test]
fn a_shrunken_state_is_refused_until_it_is_allowed() {
    let live = live_as_desired(&full());
    let mut head = without(&["web", "api"]);
    head.sync.prune_limit_percent = 30;
    let live = ask(&head, &live);
    let refused = plan_of(&head, &live);
    assert_eq!(codes(&refused), ["prune-limit * *"]);
    assert!(
        refused.blockers[0].message.starts_with("6 of 15 things would be removed, and the limit is 30 %"),
        "{}",
        refused.blockers[0].message
    );
    let quarantined = BTreeSet::new();
    let options = PlanOptions {
        observed_at: Timestamp(0),
        quarantined: &quarantined,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: true,
        adopt: false,
    };
    assert_eq!(codes(&plan(&head, &live, &options)), [""; 0]);
    head.sync.prune_limit_percent = 40;
    assert_eq!(codes(&plan_of(&head, &live)), [""; 0]);
}

#[test]
fn ignored_things_are_not_pruned() {
    let mut head = without(&["edge"]);
    head.sync.ignore = vec!["file /etc/nginx/conf.d/*".to_owned()];
    assert!(plan_of(&head, &ask(&head, &live_as_desired(&full()))).is_empty());
}
