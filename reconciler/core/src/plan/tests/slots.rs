//! Components with a blue and a green slot.

use holdfast_protocol::Observed;

use super::super::ideal::{apply, ask, empty_live, live_as_desired};
use super::super::sample::{Version, state};
use super::{codes, lines, moves, plan_of, report, seen};
use crate::desired::DesiredState;

const BLUE: &str = "prod-nps-web-blue";

/// Only the web component, on one host.
fn web(change: impl FnOnce(&mut Version)) -> DesiredState {
    let mut version = Version::new("v1");
    version.without = ["data", "api", "jobs", "report", "edge"].map(str::to_owned).to_vec();
    change(&mut version);
    state(&["web1"], &version)
}

#[test]
fn the_first_release_goes_to_blue() {
    let desired = web(|_| {});
    let plan = plan_of(&desired, &empty_live(&desired));
    assert_eq!(codes(&plan), [""; 0]);
    assert_eq!(
        lines(&plan, "web1"),
        [
            "+ file /etc/holdfast/prod/nps/web-blue/compose.yaml [blue] Missing file-missing",
            "+ file /etc/holdfast/prod/nps/web-blue/secrets.env [blue] Missing file-missing",
            "+ service prod-nps-web-blue/app [blue] Missing service-missing",
            "+ service prod-nps-web-blue/cache [blue] Missing service-missing",
            "~ migration prod/nps/web/v1 [blue] DependencyChanged migration-not-run",
            "+ switch 127.0.83.1:8101 [blue] Missing switch-missing",
        ]
    );
    assert_eq!(moves(&plan, "web1"), ["web First -→blue \"\"→\"v1\""]);
    assert_eq!(plan.hosts.values().next().unwrap().changes.last().unwrap().note, "→ 127.0.0.1:8101");
}

#[test]
fn a_new_release_goes_to_the_idle_slot() {
    let live = live_as_desired(&web(|_| {}));
    let v2 = web(|v| v.release = "v2".to_owned());
    let plan = plan_of(&v2, &ask(&v2, &live));
    assert_eq!(
        lines(&plan, "web1"),
        [
            "+/- file /etc/holdfast/prod/nps/web-green/compose.yaml [green] DesiredChanged file-content-differs",
            "+/- file /etc/holdfast/prod/nps/web-green/secrets.env [green] DependencyChanged follows-slot",
            "+/- service prod-nps-web-green/app [green] DesiredChanged service-digest-differs",
            "+/- service prod-nps-web-green/cache [green] DesiredChanged service-digest-differs",
            "~ migration prod/nps/web/v2 [green] DependencyChanged migration-not-run",
            "~ switch 127.0.83.1:8101 [green] DependencyChanged switch-follows-slot",
        ]
    );
    assert_eq!(moves(&plan, "web1"), ["web NewSlot blue→green \"v1\"→\"v2\""]);
    let changes = &plan.hosts.values().next().unwrap().changes;
    // Like is compared with like: blue as it runs with blue as it would be, so that no line differs by the slot alone.
    assert_eq!(
        changes[0].diff,
        "@@ -1,5 +1,5 @@\n-# release v1\n+# release v2\n services:\n   app:\n-    image: nps:v1\n+    image: nps:v2\n     ports: \
         [\"127.0.0.1:8101:80\"]\n"
    );
    assert_eq!(
        changes[0].because.iter().map(|p| p.value.to_string()).collect::<Vec<_>>(),
        ["environments/prod/nps.yaml:2:5"]
    );
    assert_eq!(changes[1].diff, "", "a file with a secret shows none");
    assert_eq!(changes[5].note, "127.0.0.1:8101 → 127.0.0.1:8201");
}

#[test]
fn cap_72_going_back_uses_what_the_old_slot_still_holds() {
    let v1 = web(|_| {});
    let v2 = web(|v| v.release = "v2".to_owned());
    let live = live_as_desired(&v1);
    let live = apply(&v2, &plan_of(&v2, &ask(&v2, &live)), &live);
    let plan = plan_of(&v1, &ask(&v1, &live));
    assert_eq!(
        lines(&plan, "web1"),
        [
            "+/- file /etc/holdfast/prod/nps/web-blue/compose.yaml [blue] DesiredChanged file-content-differs",
            "+/- service prod-nps-web-blue/app [blue] DesiredChanged service-digest-differs",
            "+/- service prod-nps-web-blue/cache [blue] DesiredChanged service-digest-differs",
            "~ switch 127.0.83.1:8101 [blue] DependencyChanged switch-follows-slot",
        ]
    );
    let change = &plan.hosts.values().next().unwrap().changes[0];
    assert_eq!(change.note, "blue holds it already");
    assert!(change.diff.contains("-# release v2\n+# release v1"), "{}", change.diff);
}

#[test]
fn what_the_idle_slot_holds_is_no_concern() {
    let v1 = web(|_| {});
    let v2 = web(|v| v.release = "v2".to_owned());
    let live = ask(&v2, &live_as_desired(&v1));
    let mut live = apply(&v2, &plan_of(&v2, &live), &live);
    let blue = report(&mut live, "web1");
    blue.projects.insert(BLUE.to_owned(), Observed::Absent);
    blue.files.insert("/etc/holdfast/prod/nps/web-blue/compose.yaml".to_owned(), Observed::Absent);
    assert!(plan_of(&v2, &live).is_empty());
}

#[test]
fn a_stopped_container_is_started_where_it_is() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    let project = seen(&mut report(&mut live, "web1").projects, BLUE);
    "exited".clone_into(&mut project.containers[0].state);
    let plan = plan_of(&v1, &live);
    assert_eq!(lines(&plan, "web1"), ["~ service prod-nps-web-blue/app [blue] NotRunning container-not-running"]);
    assert_eq!(moves(&plan, "web1"), ["web InPlace blue→blue \"v1\"→\"v1\""]);
}

#[test]
fn a_container_in_a_restart_loop_is_not_running() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    let project = seen(&mut report(&mut live, "web1").projects, BLUE);
    "restarting".clone_into(&mut project.containers[0].state);
    assert_eq!(
        lines(&plan_of(&v1, &live), "web1"),
        ["~ service prod-nps-web-blue/app [blue] NotRunning container-restarting"]
    );
}

#[test]
fn a_removed_container_is_made_again_in_its_slot() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    seen(&mut report(&mut live, "web1").projects, BLUE).containers.retain(|c| c.service != "cache");
    assert_eq!(
        lines(&plan_of(&v1, &live), "web1"),
        ["+ service prod-nps-web-blue/cache [blue] Drifted container-removed"]
    );
}

#[test]
fn a_container_changed_behind_our_back_is_put_right_by_a_fresh_slot() {
    let v1 = web(|_| {});
    for (digest, note) in [
        ("", "container prod-nps-web-blue-app-1 was made by somebody else"),
        ("feed", "container prod-nps-web-blue-app-1 was changed on the host"),
    ] {
        let mut live = live_as_desired(&v1);
        let project = seen(&mut report(&mut live, "web1").projects, BLUE);
        digest.clone_into(&mut project.containers[0].digest);
        let plan = plan_of(&v1, &live);
        assert_eq!(
            lines(&plan, "web1")[2],
            "+/- service prod-nps-web-green/app [green] Drifted service-digest-differs",
            "{digest}"
        );
        assert_eq!(plan.hosts.values().next().unwrap().changes[2].note, note);
        assert_eq!(moves(&plan, "web1"), ["web NewSlot blue→green \"v1\"→\"v1\""]);
    }
}

#[test]
fn cap_30_limits_changed_behind_our_back_are_put_right_by_a_fresh_slot() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    let project = seen(&mut report(&mut live, "web1").projects, BLUE);
    "memory: none → 67108864".clone_into(&mut project.containers[0].updated);
    let plan = plan_of(&v1, &live);
    assert_eq!(lines(&plan, "web1")[2], "+/- service prod-nps-web-green/app [green] Drifted container-updated");
    let said = "container prod-nps-web-blue-app-1 was changed with `docker update`: memory: none → 67108864";
    assert_eq!(plan.hosts.values().next().unwrap().changes[2].note, said);
    assert_eq!(moves(&plan, "web1"), ["web NewSlot blue→green \"v1\"→\"v1\""]);
}

#[test]
fn cap_08_a_moved_tag_is_a_change_that_names_both_images() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    report(&mut live, "web1").images.insert("redis:8".to_owned(), Observed::Seen("sha256:feedfeedfeedfeed".to_owned()));
    let plan = plan_of(&v1, &live);
    let change = plan.hosts.values().next().unwrap().changes.iter().find(|c| c.rule == "image-moved").unwrap();
    assert_eq!(change.key.to_string(), "service prod-nps-web-green/cache");
    let short = &super::super::sample::image_id("redis:8")[7..19];
    assert_eq!(change.note, format!("image redis:8: {short} → feedfeedfeed"));
}

#[test]
fn an_image_that_is_not_here_any_more_says_nothing() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    report(&mut live, "web1").images.insert("redis:8".to_owned(), Observed::Absent);
    assert!(plan_of(&v1, &live).is_empty());
}

#[test]
fn a_mode_changed_behind_our_back_is_put_right_in_place() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    let path = "/etc/holdfast/prod/nps/web-blue/secrets.env";
    seen(&mut report(&mut live, "web1").files, path).mode = 0o644;
    let plan = plan_of(&v1, &live);
    assert_eq!(
        lines(&plan, "web1"),
        ["~ file /etc/holdfast/prod/nps/web-blue/secrets.env [blue] Drifted file-mode-differs"]
    );
    assert_eq!(plan.hosts.values().next().unwrap().changes[0].note, "0644 root:root → 0600 root:root");
}

#[test]
fn cap_51_a_new_secret_is_seen_without_its_value() {
    let live = live_as_desired(&web(|_| {}));
    let rotated = web(|v| v.secret = "1111222233334444".to_owned());
    let plan = plan_of(&rotated, &ask(&rotated, &live));
    assert_eq!(
        lines(&plan, "web1")[1],
        "+/- file /etc/holdfast/prod/nps/web-green/secrets.env [green] DesiredChanged file-content-differs"
    );
    assert_eq!(plan.hosts.values().next().unwrap().changes[1].diff, "");
}

#[test]
fn only_the_switch_is_put_right_when_only_it_is_wrong() {
    let v1 = web(|_| {});
    let mut live = live_as_desired(&v1);
    if let Observed::Seen(switches) = &mut report(&mut live, "web1").switches {
        switches.values_mut().next().unwrap().to = 8201;
    }
    let plan = plan_of(&v1, &live);
    assert_eq!(lines(&plan, "web1"), ["~ switch 127.0.83.1:8101 [blue] Drifted switch-moved"]);
    assert_eq!(moves(&plan, "web1"), ["web SwitchOnly blue→blue \"v1\"→\"v1\""]);
}

#[test]
fn what_an_old_release_left_in_the_idle_slot_goes_when_the_slot_is_used_again() {
    let with = web(|v| v.extra = true);
    let v2 = web(|v| v.release = "v2".to_owned());
    let v3 = web(|v| v.release = "v3".to_owned());
    let mut live = live_as_desired(&with);
    live = apply(&v2, &plan_of(&v2, &ask(&v2, &live)), &live);
    assert!(plan_of(&v2, &live).is_empty());
    let plan = plan_of(&v3, &ask(&v3, &live));
    assert_eq!(
        lines(&plan, "web1").last().unwrap(),
        "- file /etc/holdfast/prod/nps/web-blue/extra.conf [blue] NotInDesired left-in-idle-slot"
    );
}

#[test]
fn units_with_slots_move_like_containers() {
    let only_api = |release: &str| {
        let mut version = Version::new(release);
        version.without = ["data", "web", "jobs", "report", "edge"].map(str::to_owned).to_vec();
        state(&["web1"], &version)
    };
    let v1 = only_api("v1");
    let mut live = live_as_desired(&v1);
    let v2 = only_api("v2");
    assert_eq!(
        lines(&plan_of(&v2, &ask(&v2, &live)), "web1"),
        [
            "+/- file /etc/systemd/system/nps-api@green.service [green] DesiredChanged file-content-differs",
            "+/- unit nps-api@green.service [green] DependencyChanged follows-slot",
        ]
    );
    let unit = seen(&mut report(&mut live, "web1").units, "nps-api@blue.service");
    "failed".clone_into(&mut unit.active);
    assert_eq!(lines(&plan_of(&v1, &live), "web1"), ["~ unit nps-api@blue.service [blue] NotRunning unit-failed"]);
}

#[test]
fn a_component_that_gets_slots_is_brought_up_beside_its_old_self() {
    let live = live_as_desired(&web(|v| v.slots = false));
    let v2 = web(|v| v.slots = true);
    let plan = plan_of(&v2, &ask(&v2, &live));
    let lines = lines(&plan, "web1");
    assert!(lines.contains(&"+ service prod-nps-web-blue/app [blue] Missing service-missing".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"- project prod-nps-web NotInDesired resource-not-in-git".to_owned()), "{lines:#?}");
    let after = apply(&v2, &plan, &ask(&v2, &live));
    assert!(plan_of(&v2, &after).is_empty());
}

#[test]
fn cap_53_a_migration_runs_on_one_host_and_only_once() {
    let live = live_as_desired(&state(&["web1", "web2"], &Version::new("v1")));
    let v2 = state(&["web1", "web2"], &Version::new("v2"));
    let mut live = ask(&v2, &live);
    let runs = |plan: &super::Plan| -> Vec<String> {
        let lines = ["web1", "web2"]
            .into_iter()
            .flat_map(|host| lines(plan, host).into_iter().map(move |l| format!("{host} {l}")));
        lines.filter(|line| line.contains("migration")).collect()
    };
    assert_eq!(
        runs(&plan_of(&v2, &live)),
        ["web1 ~ migration prod/nps/web/v2 [green] DependencyChanged migration-not-run"]
    );
    // It ran on another host, which was the first of the order then.
    if let Observed::Seen(ledger) = &mut report(&mut live, "web2").ledger {
        ledger.migrations.insert("prod/nps/web/v2".to_owned());
    }
    assert_eq!(runs(&plan_of(&v2, &live)), [""; 0]);
}

/// v1 in blue, then v2 in green, which stopped blue at 5 s of the manager's clock.
fn two_releases() -> (DesiredState, crate::plan::LiveState) {
    let v1 = live_as_desired(&web(|_| {}));
    let v2 = web(|v| v.release = "v2".to_owned());
    let asked = ask(&v2, &v1);
    let mut live = apply(&v2, &plan_of(&v2, &asked), &asked);
    let Observed::Seen(ledger) = &mut report(&mut live, "web1").ledger else { panic!("a ledger") };
    let component = ledger.apps.get_mut("prod/nps").unwrap().components.get_mut("web").unwrap();
    component.slots.get_mut(&holdfast_protocol::Slot::Blue).unwrap().idle_since_ms = Some(5_000);
    (v2, live)
}

fn plan_at(desired: &DesiredState, live: &crate::plan::LiveState, ms: u64) -> crate::plan::Plan {
    let quarantined = std::collections::BTreeSet::new();
    let observed_at = crate::time::Timestamp(ms);
    let options = crate::plan::PlanOptions {
        observed_at,
        quarantined: &quarantined,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: false,
        adopt: false,
    };
    crate::plan::plan(desired, live, &options)
}

#[test]
fn the_old_slot_is_kept_for_its_time_and_then_goes() {
    const DAY: u64 = 86_400_000;
    let (mut v2, live) = two_releases();
    assert!(plan_at(&v2, &live, 5_000 + DAY - 1).is_empty());
    let plan = plan_at(&v2, &live, 5_000 + DAY);
    assert_eq!(codes(&plan), [""; 0]);
    assert_eq!(
        lines(&plan, "web1"),
        [
            "- project prod-nps-web-blue [blue] NotInDesired keep-previous-over",
            "- file /etc/holdfast/prod/nps/web-blue/compose.yaml [blue] NotInDesired keep-previous-over",
            "- file /etc/holdfast/prod/nps/web-blue/secrets.env [blue] NotInDesired keep-previous-over",
        ]
    );
    assert_eq!(moves(&plan, "web1"), ["web InPlace green→green \"v2\"→\"v2\""]);
    let after = apply(&v2, &plan, &live);
    assert!(plan_at(&v2, &after, 5_000 + 2 * DAY).is_empty());
    let status = crate::plan::status(&v2, &live, &plan);
    assert!(status.iter().all(|row| row.sync == crate::plan::SyncStatus::Synced), "{status:?}");

    // A shorter time in git counts at once; a newer release uses the slot again, and nothing is said of its age.
    for app in v2.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        app.components[0].keep_previous = crate::time::Millis(1_000);
    }
    assert_eq!(lines(&plan_at(&v2, &live, 6_000), "web1").len(), 3);
    let v3 = web(|v| v.release = "v3".to_owned());
    let plan = plan_at(&v3, &ask(&v3, &live), 5_000 + DAY);
    assert!(lines(&plan, "web1").iter().all(|line| !line.contains("keep-previous-over")), "{:?}", lines(&plan, "web1"));
}

#[test]
fn an_idle_slot_of_which_nobody_knows_since_when_stays() {
    let (v2, mut live) = two_releases();
    let Observed::Seen(ledger) = &mut report(&mut live, "web1").ledger else { panic!("a ledger") };
    let component = ledger.apps.get_mut("prod/nps").unwrap().components.get_mut("web").unwrap();
    component.slots.get_mut(&holdfast_protocol::Slot::Blue).unwrap().idle_since_ms = None;
    assert!(plan_at(&v2, &live, u64::MAX).is_empty());
}
