//! The seal, and what a stale plan says.

use holdfast_protocol::Observed;

use super::super::ideal::{ask, live_as_desired};
use super::super::sample::{Version, host_name, state};
use super::super::{LiveHost, staleness};
use super::{plan_of, report, seen};

fn moved(change: impl FnOnce(&mut super::LiveState)) -> Vec<String> {
    let v1 = state(&["web1", "web2"], &Version::new("v1"));
    let v2 = state(&["web1", "web2"], &Version::new("v2"));
    let mut live = ask(&v2, &live_as_desired(&v1));
    let saved = plan_of(&v2, &live);
    change(&mut live);
    staleness(&saved, &plan_of(&v2, &live)).map(|stale| stale.moved).unwrap_or_default()
}

#[test]
fn nothing_moved() {
    assert_eq!(moved(|_| {}), [""; 0]);
}

#[test]
fn a_changed_thing_is_named() {
    let moved = moved(|live| {
        let path = "/etc/nginx/conf.d/prod-nps-edge.conf";
        seen(&mut report(live, "web1").files, path).mode = 0o600;
    });
    assert_eq!(
        moved,
        ["web1 changed since the plan was made", "  now planned on web1: ~ file /etc/nginx/conf.d/prod-nps-edge.conf"]
    );
}

#[test]
fn an_applied_thing_is_named() {
    let moved = moved(|live| {
        if let Observed::Seen(ledger) = &mut report(live, "web2").ledger {
            ledger.apps.values_mut().for_each(|app| drop(app.components.remove("edge")));
        }
    });
    assert_eq!(moved, ["something was applied on web2 since the plan was made"]);
}

#[test]
fn a_host_that_went_away_is_named() {
    let moved = moved(|live| {
        drop(live.hosts.insert(host_name("web2"), LiveHost::Unreachable { reason: "down".to_owned() }));
    });
    assert_eq!(moved[0], "web2 cannot be reached any more");
    assert!(moved.contains(&"new blocker unreachable: web2 cannot be reached: down".to_owned()), "{moved:?}");
}

#[test]
fn another_commit_and_an_edited_plan_are_refused() {
    let v1 = state(&["web1"], &Version::new("v1"));
    let v2 = state(&["web1"], &Version::new("v2"));
    let live = ask(&v2, &live_as_desired(&v1));
    let (saved, other) = (plan_of(&v2, &live), plan_of(&v1, &live));
    let stale = staleness(&saved, &other).unwrap();
    assert!(stale.moved[0].starts_with("the commit was "), "{stale:?}");
    let mut edited = saved.clone();
    edited.hosts.values_mut().for_each(|host| drop(host.changes.pop()));
    let stale = staleness(&edited, &saved).unwrap();
    assert_eq!(stale.moved, ["the saved plan is not as it was written: it was edited, or damaged"]);
}

#[test]
fn a_plan_survives_being_saved() {
    let v2 = state(&["web1"], &Version::new("v2"));
    let plan = plan_of(&v2, &super::super::ideal::empty_live(&v2));
    let text = serde_json::to_string(&plan).unwrap();
    let read: super::Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plan);
    assert_eq!(staleness(&read, &plan), None);
}
