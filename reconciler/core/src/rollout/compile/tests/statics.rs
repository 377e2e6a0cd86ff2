//! Built frontends.

use holdfast_protocol::{StaticContent, StaticRecord};

use super::*;

/// The app with a frontend of one release, at a path.
fn with_frontend(release: &str, at: &str) -> DesiredApp {
    let mut app = app(release);
    let mut frontend = component("frontend", Strategy::InPlace, Body::Single(Artifacts::default()));
    frontend.statics = Some(DesiredStatic {
        path: at.to_owned(),
        archive: format!("nps-{release}.tar"),
        sha256: digest_of(release.as_bytes()),
        origin: Origin::default(),
        found: StaticFound::Read { size: 9, content: StaticContent { files: 2, bytes: 7 } },
    });
    app.components.insert(0, frontend);
    app
}

fn all(at: &str) -> Vec<Change> {
    let mut all = changes(&["data", "web", "worker", "edge"]);
    all.push(change("frontend", ResourceKey::Static(at.to_owned())));
    all
}

fn brought(releases: &[&str], at: &str) -> Ledger {
    releases.iter().fold(Ledger::default(), |ledger, release| {
        applied(ledger.clone(), &spec(&state(vec![with_frontend(release, at)]), &all(at), &ledger))
    })
}

/// The steps of the frontend, and those that move traffic, by phase.
fn moves(spec: &TransactionSpec) -> Vec<String> {
    let phases = [("prepare", &spec.prepare), ("promote", &spec.promote), ("settle", &spec.settle)];
    let told = |step: &&Step| {
        let words = ["unpack", "lead", "switch", "nginx: reload", "releases of"];
        words.iter().any(|word| step.title.contains(word)) && !step.title.contains("going back")
    };
    phases
        .into_iter()
        .flat_map(|(phase, steps)| steps.iter().filter(told).map(move |step| format!("{phase}: {}", step.title)))
        .collect()
}

fn pruned(spec: &TransactionSpec) -> Vec<(String, usize, bool)> {
    let prune = |step: &Step| match &step.action {
        Action::StaticPrune { path, keep, link } => Some((path.clone(), keep.len(), *link)),
        _ => None,
    };
    spec.settle.iter().filter_map(prune).collect()
}

const AT: &str = "/var/www/nps";

#[test]
fn cap_33_a_frontend_is_led_to_behind_its_api_and_at_first_before_its_site() {
    let first = spec(&state(vec![with_frontend("v1", AT)]), &all(AT), &Ledger::default());
    let [v1, v2] = ["v1", "v2"].map(|release| digest_of(release.as_bytes()).short());
    assert_eq!(
        moves(&first),
        [
            "prepare: frontend: unpack nps-v1.tar".to_owned(),
            "promote: web: switch 127.0.83.1:8101 to blue on 8101".to_owned(),
            format!("promote: frontend: lead /var/www/nps to {v1}"),
            "promote: nginx: reload".to_owned(),
        ]
    );
    let ledger = applied(Ledger::default(), &first);
    let held = ledger.apps["t/nps"].components["frontend"].statics.clone();
    let content = StaticContent { files: 2, bytes: 7 };
    let record = StaticRecord {
        path: AT.to_owned(),
        archive: "nps-v1.tar".to_owned(),
        release: digest_of(b"v1"),
        size: 9,
        content,
    };
    assert_eq!(held, Some(record));
    let second = spec(&state(vec![with_frontend("v2", AT)]), &all(AT), &ledger);
    let moves = moves(&second);
    assert_eq!(moves[0], "prepare: frontend: unpack nps-v2.tar");
    assert_eq!(
        moves[moves.len() - 2..],
        [
            "promote: web: switch 127.0.83.1:8101 to green on 8201".to_owned(),
            format!("promote: frontend: lead /var/www/nps to {v2}"),
        ]
    );
}

#[test]
fn cap_33_as_many_releases_stay_as_the_app_keeps_and_going_back_needs_the_ledger_only() {
    let mut ledger = brought(&["v1", "v2", "v3", "v4"], AT);
    let fifth = spec(&state(vec![with_frontend("v5", AT)]), &all(AT), &ledger);
    // The one that comes and the three before it.
    assert_eq!(pruned(&fifth), [(AT.to_owned(), 4, true)]);
    ledger = applied(ledger, &fifth);
    let (hello, live) = (hello(), live(&ledger));
    let back = compile_rollback(&RollbackInput {
        environment: &name("t"),
        app: &name("nps"),
        hello: &hello,
        live: &live,
        fence: 9,
        sync: "back",
        rollout: &state(Vec::new()).rollout,
        fleet: FleetShape { hosts: 1, waves: 1 },
        now: Timestamp(5),
        migrated: &BTreeMap::new(),
        downgrade: false,
    })
    .unwrap();
    let v4 = digest_of(b"v4");
    assert!(moves(&back).contains(&"prepare: frontend: unpack nps-v4.tar".to_owned()), "{}", shown(&back));
    assert!(moves(&back).contains(&format!("promote: frontend: lead /var/www/nps to {}", v4.short())));
    assert_eq!(pruned(&back), [(AT.to_owned(), 3, true)], "the release that was left is no way back");
}

#[test]
fn cap_33_a_frontend_that_moves_or_leaves_takes_its_link_with_it() {
    let ledger = brought(&["v1"], AT);
    let mut both = all("/srv/nps/public");
    both.push(change("frontend", ResourceKey::Static(AT.to_owned())));
    let moved = spec(&state(vec![with_frontend("v2", "/srv/nps/public")]), &both, &ledger);
    assert_eq!(pruned(&moved), [(AT.to_owned(), 1, false)], "its release stays for the way back");
    let without = spec(&state(vec![app("v2")]), &all(AT), &ledger);
    assert_eq!(pruned(&without), [(AT.to_owned(), 1, false)]);
    let gone = spec(&state(Vec::new()), &all(AT), &ledger);
    assert_eq!(pruned(&gone), [(AT.to_owned(), 0, false)]);
}

#[test]
fn cap_33_a_link_that_was_changed_by_hand_is_put_right_and_nothing_else() {
    let ledger = brought(&["v1"], AT);
    let drift = [change("frontend", ResourceKey::Static(AT.to_owned()))];
    let mut desired = state(vec![with_frontend("v1", AT)]);
    for app in desired.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        app.components[0].statics.as_mut().unwrap().found = StaticFound::Wrong("its archive is gone".to_owned());
    }
    let spec = spec(&desired, &drift, &ledger);
    assert_eq!(moves(&spec).len(), 2, "{}", shown(&spec));
    assert_eq!(pruned(&spec), []);
    let after = applied(ledger.clone(), &spec);
    assert_eq!(after.apps["t/nps"].components["frontend"], ledger.apps["t/nps"].components["frontend"]);
    let mut adopted = change("frontend", ResourceKey::Static(AT.to_owned()));
    crate::plan::STATIC_ADOPTED.clone_into(&mut adopted.rule);
    let spec = super::spec(&desired, &[adopted], &ledger);
    assert!(spec.promote.iter().any(|step| matches!(step.action, Action::StaticSwitch { adopt: true, .. })));
}
