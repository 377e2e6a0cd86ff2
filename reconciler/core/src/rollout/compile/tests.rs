use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use holdfast_protocol::{
    Action, Architecture, Capability, ContainerLive, Digest, ErrorRule, Hello, Ledger, LiveReport, NginxLive, Observed,
    Prerequisites, PrerequisitesLive, ProjectLive, Resources, Slot, Smoke, Step, SwitchLive, Tool, TransactionSpec,
    UnitLive,
};
use insta::assert_snapshot;

use super::*;
use crate::config::*;
use crate::desired::*;
use crate::diag::Origin;
use crate::id::{ComponentName, digest_of};
use crate::plan::{PlanAction, Reason, ResourceKey};
use crate::render::Content;
use crate::time::{Millis, Timestamp};

mod hosts;
mod statics;

fn name<T: std::str::FromStr<Err = crate::id::InvalidName>>(text: &str) -> T {
    text.parse().unwrap()
}

fn file(text: &str) -> DesiredFile {
    DesiredFile {
        content: Content::plain(text),
        mode: 0o644,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        nginx: false,
        reload: false,
        origin: Origin::default(),
    }
}

fn component(text: &str, strategy: Strategy, body: Body) -> DesiredComponent {
    DesiredComponent {
        name: name::<ComponentName>(text),
        strategy,
        body,
        ports: BTreeMap::new(),
        switches: BTreeMap::new(),
        healthcheck: None,
        migrate: None,
        check: None,
        watch: None,
        drain: DrainSpec { timeout: Millis(5_000), stop_grace: None },
        prove: None,
        smoke: Vec::new(),
        keep_previous: Millis(86_400_000),
        backups: BTreeMap::new(),
        certificates: BTreeMap::new(),
        statics: None,
        databases: None,
        prerequisites: Prerequisites::default(),
        packages: BTreeSet::new(),
        origin: Origin::default(),
    }
}

fn compose(project: &str, text: &str) -> Artifacts {
    let path = format!("/etc/holdfast/apps/{project}/compose.yaml");
    Artifacts {
        files: BTreeMap::from([(path.clone(), file(text))]),
        units: BTreeMap::new(),
        project: Some(DesiredProject {
            name: project.to_owned(),
            file: path,
            services: BTreeMap::from([(
                "main".to_owned(),
                DesiredService {
                    digest: format!("digest {text}"),
                    image: format!("image:{text}"),
                    replicas: 1,
                    published: Vec::new(),
                    memory: None,
                    processors: None,
                },
            )]),
            volumes: BTreeSet::new(),
        }),
    }
}

fn units(unit: &str, text: &str) -> Artifacts {
    Artifacts {
        files: BTreeMap::from([(format!("/etc/systemd/system/{unit}"), file(text))]),
        units: BTreeMap::from([(unit.to_owned(), DesiredUnit { enabled: true })]),
        project: None,
    }
}

/// An app with one component of each manner: a database, a web app, a worker on units, a site.
fn app(release: &str) -> DesiredApp {
    let data = component("data", Strategy::Stateful, Body::Single(compose("t-nps-data", "postgres")));
    let mut web = component(
        "web",
        Strategy::BlueGreen,
        Body::Slots {
            blue: compose("t-nps-web-blue", &format!("web {release}")),
            green: compose("t-nps-web-green", &format!("web {release}")),
        },
    );
    web.ports.insert("api".to_owned(), SlotPorts { blue: 8101, green: 8201 });
    web.switches.insert(
        "127.0.83.1:8101".to_owned(),
        DesiredSwitch { port: "api".to_owned(), ports: SlotPorts { blue: 8101, green: 8201 } },
    );
    web.migrate = Some(DesiredMigration {
        id: format!("t/nps/web/{release}"),
        spec: MigrateSpec {
            command: vec!["migrate".to_owned()],
            service: String::new(),
            reversible: true,
            idempotent: false,
            timeout: Millis(60_000),
            ..MigrateSpec::default()
        },
        after: None,
        project: String::new(),
        here: true,
    });
    web.watch = Some(WatchSpec { window: Millis(20_000), max_error_permille: 10, max_p95: None, metrics: None });
    web.prove = Some(ProveSpec {
        port: 80,
        path: "/".to_owned(),
        host: "nps.example".to_owned(),
        header: "x-release".to_owned(),
        json: String::new(),
        expect: ProveExpect::Release,
    });
    let worker = component(
        "worker",
        Strategy::Workers,
        Body::Slots {
            blue: units("nps-worker@blue.service", &format!("worker {release}")),
            green: units("nps-worker@green.service", &format!("worker {release}")),
        },
    );
    let edge = component(
        "edge",
        Strategy::InPlace,
        Body::Single(Artifacts {
            files: BTreeMap::from([("/etc/nginx/conf.d/nps.conf".to_owned(), file("site"))]),
            ..Artifacts::default()
        }),
    );
    DesiredApp {
        name: name("nps"),
        release: release.to_owned(),
        release_origin: Origin::default(),
        keep_releases: 3,
        archives: Vec::new(),
        components: vec![data, web, worker, edge],
    }
}

fn state(apps: Vec<DesiredApp>) -> DesiredState {
    let host = HostSpec {
        name: name("h1"),
        address: Address::Local,
        user: "root".to_owned(),
        port: 22,
        host_key: None,
        labels: BTreeMap::new(),
        variables: BTreeMap::new(),
        origin: Origin::default(),
    };
    let apps = apps.into_iter().map(|app| (app.name.clone(), app)).collect();
    DesiredState {
        environment: name("t"),
        commit: name(&"a".repeat(40)),
        rollout: RolloutPolicy {
            canary: 0,
            max_unavailable: 1,
            all_or_nothing: false,
            pause_after_canary: false,
            ready_deadline: Millis(600_000),
            confirm_within: Millis(120_000),
        },
        sync: SyncPolicy {
            mode: SyncMode::Manual,
            drift: DriftPolicy::Report,
            ignore: Vec::new(),
            prune_limit_percent: 50,
            windows: Vec::new(),
        },
        requires: BTreeMap::new(),
        order: vec![name("h1")],
        hosts: BTreeMap::from([(name("h1"), DesiredHost { host, apps })]),
    }
}

fn change(component: &str, key: ResourceKey) -> Change {
    Change {
        key,
        app: name("nps"),
        component: component.to_owned(),
        slot: None,
        action: PlanAction::Update,
        reason: Reason::DesiredChanged,
        note: String::new(),
        diff: String::new(),
        because: Vec::new(),
        rule: "test".to_owned(),
        origin: Origin::default(),
    }
}

/// One change for each component named.
/// Returns a change of each component, and the migrations of the releases these tests know.
fn changes(components: &[&str]) -> Vec<Change> {
    let migrations = ["v1", "v2", "v3"].map(|release| format!("t/nps/web/{release}"));
    components
        .iter()
        .flat_map(|component| {
            let keys = migrations.iter().cloned().map(ResourceKey::Migration);
            keys.map(|key| change(component, key)).collect::<Vec<_>>()
        })
        .collect()
}

fn hello() -> Hello {
    Hello {
        protocol: 1,
        kernel: String::new(),
        distribution: String::new(),
        architecture: Architecture::X86_64,
        hostname: "h1".to_owned(),
        systemd: Tool::Version("252".to_owned()),
        nginx: Tool::Version("1.22.1".to_owned()),
        docker: Tool::Version("27".to_owned()),
        compose: Tool::Version("2".to_owned()),
        capabilities: BTreeSet::from([Capability::NftRedirect]),
        fence: 0,
        boot_id: String::new(),
        postgresql_client: holdfast_protocol::Tool::Missing,
        logrotate: holdfast_protocol::Tool::Missing,
    }
}

/// What a host says that runs what its ledger records.
fn live(ledger: &Ledger) -> LiveReport {
    let mut units = BTreeMap::new();
    let mut projects = BTreeMap::new();
    let mut switches = BTreeMap::new();
    let mut run = |names: &BTreeMap<String, bool>, project: Option<&String>, active: bool| {
        let state = if active { "active" } else { "inactive" };
        for unit in names.keys() {
            let live = UnitLive {
                load: "loaded".to_owned(),
                active: state.to_owned(),
                sub: String::new(),
                enabled: String::new(),
                restarts: 0,
                needs_reload: false,
                drop_ins: Vec::new(),
                main_pid: 0,
            };
            units.insert(unit.clone(), Observed::Seen(live));
        }
        if let Some(project) = project {
            let container = ContainerLive {
                service: "main".to_owned(),
                name: String::new(),
                id: String::new(),
                image: String::new(),
                digest: String::new(),
                config_hash: String::new(),
                updated: String::new(),
                state: if active { "running" } else { "exited" }.to_owned(),
                health: String::new(),
                restarts: 0,
                started_at: String::new(),
            };
            projects.insert(project.clone(), Observed::Seen(ProjectLive { containers: vec![container] }));
        }
    };
    for component in ledger.apps.values().flat_map(|app| app.components.values()) {
        run(&component.units, component.project.as_ref(), true);
        for (slot, record) in &component.slots {
            run(&record.units, record.project.as_ref(), component.active == Some(*slot));
        }
        switches.extend(component.switches.iter().map(|(listen, to)| (listen.clone(), SwitchLive { to: *to })));
    }
    LiveReport {
        files: BTreeMap::new(),
        units,
        projects,
        images: BTreeMap::new(),
        nginx: Observed::Seen(NginxLive { active: true, error: String::new() }),
        switches: Observed::Seen(switches),
        backups: BTreeMap::new(),
        certificates: BTreeMap::new(),
        prerequisites: PrerequisitesLive::default(),
        databases: BTreeMap::new(),
        statics: BTreeMap::new(),
        listening: Vec::new(),
        resources: Resources::default(),
        ledger: Observed::Seen(ledger.clone()),
        transactions: Vec::new(),
        fence: 0,
    }
}

fn draft(desired: &DesiredState, changes: &[Change], ledger: &Ledger) -> Option<Draft> {
    let (hello, live) = (hello(), live(ledger));
    compile(&CompileInput {
        desired,
        app: &name("nps"),
        host: &name("h1"),
        changes,
        hello: &hello,
        live: &live,
        fence: 7,
        sync: "s1",
        fleet: FleetShape { hosts: 1, waves: 1 },
        now: Timestamp(5),
    })
}

fn digests(draft: &Draft) -> BTreeMap<FileKey, Digest> {
    let files = draft.files().iter();
    files.map(|(key, content)| (key.clone(), digest_of(content.as_text().unwrap().as_bytes()))).collect()
}

fn spec(desired: &DesiredState, changes: &[Change], ledger: &Ledger) -> TransactionSpec {
    let draft = draft(desired, changes, ledger).unwrap();
    let digests = digests(&draft);
    finish(draft, &digests).unwrap()
}

/// Returns the ledger after a transaction was done.
fn applied(mut ledger: Ledger, spec: &TransactionSpec) -> Ledger {
    for step in [&spec.prepare, &spec.promote, &spec.settle].into_iter().flatten() {
        match &step.action {
            Action::Migrate { id, .. } => {
                ledger.migrations.insert(id.clone());
            }
            Action::Record(Some(record)) => {
                ledger.apps.insert(spec.app.clone(), (**record).clone());
            }
            Action::Record(None) => {
                ledger.apps.remove(&spec.app);
            }
            _ => {}
        }
    }
    ledger
}

fn after(releases: &[&str]) -> Ledger {
    releases.iter().fold(Ledger::default(), |ledger, release| {
        let spec = spec(&state(vec![app(release)]), &changes(&["data", "web", "worker", "edge"]), &ledger);
        applied(ledger, &spec)
    })
}

fn shown(spec: &TransactionSpec) -> String {
    let mut text = String::new();
    let phases =
        [("prepare", &spec.prepare), ("promote", &spec.promote), ("watch", &spec.watch), ("settle", &spec.settle)];
    for (phase, steps) in phases {
        writeln!(text, "{phase}").unwrap();
        for step in steps {
            writeln!(text, "  {}", step.title).unwrap();
        }
    }
    text
}

#[test]
fn cap_24_a_first_release_starts_in_blue() {
    let spec = spec(&state(vec![app("v1")]), &changes(&["data", "web", "worker", "edge"]), &Ledger::default());
    assert_snapshot!(shown(&spec), @r"
    prepare
      preflight
      web: ports are free
      images
      data: put /etc/holdfast/apps/t-nps-data/compose.yaml
      data: bring up t-nps-data
      data: healthy
      web: put /etc/holdfast/apps/t-nps-web-blue/compose.yaml
      web: migrate
      web: going back: throw away t-nps-web-blue
      web: bring up t-nps-web-blue
      web: blue healthy
      worker: going back: reload systemd
      worker: put /etc/systemd/system/nps-worker@blue.service
      worker: reload systemd
      nginx: test the new files
    promote
      worker: restart nps-worker@blue.service
      worker: blue healthy
      web: switch 127.0.83.1:8101 to blue on 8101
      going back: reload nginx
      edge: put /etc/nginx/conf.d/nps.conf
      nginx: reload
      web: nginx answers with v1
    watch
      watch
    settle
      record
    ");
}

/// In the window they come last, so that what breaks in its course is seen.
#[test]
fn cap_37_a_window_asks_the_new_slot_what_it_counts_itself() {
    let mut counted = app("v1");
    let web = counted.components.iter_mut().find(|component| component.name.as_str() == "web").unwrap();
    let errors = ErrorRule { counter: "requests_total".to_owned(), failed: BTreeMap::new(), max_permille: 50 };
    web.watch.as_mut().unwrap().metrics = Some(WatchMetricsSpec {
        port: "api".to_owned(),
        path: "/metrics".to_owned(),
        at_least: 20,
        ignore: BTreeMap::new(),
        errors: Some(errors.clone()),
        latency: None,
    });
    let spec = spec(&state(vec![counted]), &changes(&["data", "web", "worker", "edge"]), &Ledger::default());
    let Action::Watch(watch) = &spec.watch[0].action else { panic!("{:?}", spec.watch) };
    let [rules] = &watch.metrics[..] else { panic!("{watch:?}") };
    assert_eq!((rules.ports.as_slice(), rules.path.as_str(), &rules.errors), (&[8101][..], "/metrics", &Some(errors)));
}

#[test]
fn cap_82_smoke_tests_follow_the_proof_and_the_window() {
    let mut tested = app("v1");
    let web = tested.components.iter_mut().find(|component| component.name.as_str() == "web").unwrap();
    web.smoke = vec![Smoke {
        port: 80,
        path: "/".to_owned(),
        host: "nps.example".to_owned(),
        status: vec![200],
        json: BTreeMap::new(),
        contains: "NPS".to_owned(),
    }];
    let spec = spec(&state(vec![tested]), &changes(&["data", "web", "worker", "edge"]), &Ledger::default());
    let last = |steps: &[Step]| steps.iter().rev().take(2).map(|step| step.title.clone()).collect::<Vec<_>>();
    assert_eq!(last(&spec.promote), ["web: smoke tests", "web: nginx answers with v1"]);
    assert_eq!(last(&spec.watch), ["web: smoke tests", "watch"]);
    let Action::Smoke(requests) = &spec.watch[1].action else { panic!("{:?}", spec.watch) };
    assert_eq!((requests[0].contains.as_str(), requests[0].status.as_slice()), ("NPS", &[200][..]));
}

#[test]
fn cap_35_a_second_release_goes_to_green_and_leaves_the_rest_alone() {
    let ledger = after(&["v1"]);
    let spec = spec(&state(vec![app("v2")]), &changes(&["web", "worker"]), &ledger);
    assert_snapshot!(shown(&spec), @r"
    prepare
      preflight
      web: ports are free
      images
      web: put /etc/holdfast/apps/t-nps-web-green/compose.yaml
      web: going back: throw away t-nps-web-green
      web: bring up t-nps-web-green
      web: green healthy
      web: migrate
      web: healthy after the migration
      worker: going back: reload systemd
      worker: put /etc/systemd/system/nps-worker@green.service
      worker: reload systemd
    promote
      worker: restart nps-worker@green.service
      worker: green healthy
      web: switch 127.0.83.1:8101 to green on 8201
      web: nginx answers with v2
    watch
      watch
    settle
      drain
      web: stop t-nps-web-blue
      worker: stop nps-worker@blue.service
      record
    ");
    let record = applied(ledger.clone(), &spec).apps.remove("t/nps").unwrap();
    assert_eq!(record.components["web"].active, Some(Slot::Green));
    assert_eq!(record.components["web"].slots[&Slot::Blue].release, "v1");
    assert_eq!(record.components["web"].slots[&Slot::Green].release, "v2");
    assert_eq!(record.components["web"].switches["127.0.83.1:8101"], 8201);
    assert_eq!(record.components["data"], ledger.apps["t/nps"].components["data"]);
    assert_eq!(record.previous.as_deref().map(|previous| previous.release.as_str()), Some("v1"));
}

#[test]
fn a_third_release_overwrites_the_first_and_keeps_the_second() {
    let ledger = after(&["v1", "v2", "v3"]);
    let record = &ledger.apps["t/nps"];
    assert_eq!(record.components["web"].active, Some(Slot::Blue));
    let kept: Vec<&str> = record.releases().map(|record| record.release.as_str()).collect();
    assert_eq!(kept, ["v3", "v2", "v1"], "as a rollback goes, with its files: v1's slot has been overwritten");
    let before = record.releases().nth(2).unwrap().components["web"].slots.values().collect::<Vec<_>>();
    assert_eq!((before.len(), before[0].release.as_str()), (1, "v1"));
}

#[test]
fn nothing_to_do_is_no_transaction() {
    assert_eq!(draft(&state(vec![app("v1")]), &[], &after(&["v1"])), None);
    assert_eq!(draft(&state(Vec::new()), &changes(&["web"]), &Ledger::default()), None);
}

#[test]
fn an_unreadable_ledger_stops_everything() {
    let desired = state(vec![app("v1")]);
    let (hello, mut live) = (hello(), live(&Ledger::default()));
    live.ledger = Observed::Unknown("disk error".to_owned());
    let input = CompileInput {
        desired: &desired,
        app: &name("nps"),
        host: &name("h1"),
        changes: &changes(&["web"]),
        hello: &hello,
        live: &live,
        fence: 7,
        sync: "s1",
        fleet: FleetShape { hosts: 1, waves: 1 },
        now: Timestamp(5),
    };
    assert_eq!(compile(&input), None);
}

#[test]
fn drift_is_put_right_where_it_is() {
    let ledger = after(&["v1", "v2"]);
    let path = "/etc/holdfast/apps/t-nps-web-green/compose.yaml";
    let mut drift = [change("web", ResourceKey::File(path.to_owned()))];
    drift[0].slot = Some(Slot::Green);
    let spec = spec(&state(vec![app("v2")]), &drift, &ledger);
    assert_snapshot!(shown(&spec), @r"
    prepare
      preflight
      images
    promote
      web: going back: bring up t-nps-web-green
      web: put /etc/holdfast/apps/t-nps-web-green/compose.yaml
      web: bring up t-nps-web-green
      web: healthy
      web: nginx answers with v2
    watch
      watch
    settle
      record
    ");
    let record = applied(ledger.clone(), &spec).apps.remove("t/nps").unwrap();
    // Putting right what was there is nothing to go back from.
    assert_eq!(record.previous, ledger.apps["t/nps"].previous);
    assert_eq!(record.components["web"], ledger.apps["t/nps"].components["web"]);
}

#[test]
fn the_plan_can_ask_for_a_new_slot_of_the_same_release() {
    let ledger = after(&["v1"]);
    let mut wanted = changes(&["web"]);
    wanted[0].slot = Some(Slot::Green);
    let spec = spec(&state(vec![app("v1")]), &wanted, &ledger);
    let switched = spec.promote.iter().any(|step| matches!(step.action, Action::Switch { to: 8201, .. }));
    assert!(switched, "{}", shown(&spec));
}

#[test]
fn a_lost_switch_is_set_again_and_nothing_else_happens() {
    let ledger = after(&["v1"]);
    let desired = state(vec![app("v1")]);
    let (hello, mut live) = (hello(), live(&ledger));
    live.switches = Observed::Seen(BTreeMap::new());
    let input = CompileInput {
        desired: &desired,
        app: &name("nps"),
        host: &name("h1"),
        changes: &[change("web", ResourceKey::Switch("127.0.83.1:8101".to_owned()))],
        hello: &hello,
        live: &live,
        fence: 7,
        sync: "s1",
        fleet: FleetShape { hosts: 1, waves: 1 },
        now: Timestamp(5),
    };
    let draft = compile(&input).unwrap();
    assert_snapshot!(shown(draft.spec()), @r"
    prepare
      preflight
    promote
      web: switch 127.0.83.1:8101 to blue on 8101
      web: nginx answers with v1
    watch
      watch
    settle
      record
    ");
}

#[test]
fn an_app_that_git_lost_is_taken_away() {
    let spec = spec(&state(Vec::new()), &changes(&["web"]), &after(&["v1", "v2"]));
    assert_snapshot!(shown(&spec), @r"
    prepare
      preflight
      nginx: test the new files
    promote
      going back: reload nginx
      remove /etc/nginx/conf.d/nps.conf
      nginx: reload
    watch
    settle
      drain
      web: remove switch 127.0.83.1:8101
      data: take t-nps-data down
      web: take t-nps-web-blue down
      web: take t-nps-web-green down
      worker: stop nps-worker@blue.service
      worker: stop nps-worker@green.service
      remove /etc/holdfast/apps/t-nps-data/compose.yaml
      remove /etc/holdfast/apps/t-nps-web-blue/compose.yaml
      remove /etc/holdfast/apps/t-nps-web-green/compose.yaml
      remove /etc/systemd/system/nps-worker@blue.service
      remove /etc/systemd/system/nps-worker@green.service
      reload systemd
      clear images away
      forget
    ");
}

#[test]
fn cap_74_going_back_needs_the_ledger_only() {
    let ledger = after(&["v1", "v2"]);
    let (hello, live) = (hello(), live(&ledger));
    let input = RollbackInput {
        environment: &name("t"),
        app: &name("nps"),
        hello: &hello,
        live: &live,
        fence: 9,
        sync: "r1",
        rollout: &state(Vec::new()).rollout,
        fleet: FleetShape { hosts: 1, waves: 1 },
        now: Timestamp(5),
        migrated: &BTreeMap::new(),
        downgrade: false,
    };
    let spec = compile_rollback(&input).unwrap();
    assert_snapshot!(shown(&spec), @r"
    prepare
      preflight
      web: ports are free
      web: put /etc/holdfast/apps/t-nps-web-blue/compose.yaml
      web: going back: stop t-nps-web-blue
      web: bring up t-nps-web-blue
      web: blue healthy
      worker: going back: reload systemd
      worker: put /etc/systemd/system/nps-worker@blue.service
      worker: reload systemd
    promote
      worker: start nps-worker@blue.service
      worker: blue healthy
      web: switch 127.0.83.1:8101 to blue on 8101
      web: nginx answers with v1
    watch
    settle
      drain
      web: stop t-nps-web-green
      worker: stop nps-worker@green.service
      record
    ");
    let back = applied(ledger.clone(), &spec);
    let (back, first) = (&back.apps["t/nps"], &after(&["v1"]).apps["t/nps"]);
    assert_eq!(back.components["web"].active, first.components["web"].active);
    assert_eq!(back.components["web"].slots[&Slot::Blue], first.components["web"].slots[&Slot::Blue]);
    assert_eq!(back.components["web"].slots[&Slot::Green].release, "v2");
    assert_eq!(back.components["data"], first.components["data"]);
    assert_eq!(back.previous, None);
}

#[test]
fn cap_27_one_changed_unit_restarts_itself_and_undoes_in_order() {
    let body = |text: &str| {
        let mut both = units("one.service", text);
        let other = units("two.service", "same");
        both.files.extend(other.files);
        both.units.extend(other.units);
        Body::Single(both)
    };
    let app = |text: &str| DesiredApp {
        name: name("nps"),
        release: text.to_owned(),
        release_origin: Origin::default(),
        keep_releases: 3,
        archives: Vec::new(),
        components: vec![component("units", Strategy::Rolling, body(text))],
    };
    let first = spec(&state(vec![app("v1")]), &changes(&["units"]), &Ledger::default());
    assert_snapshot!(shown(&first), @r"
    prepare
      preflight
    promote
      units: going back: reload systemd
      units: put /etc/systemd/system/one.service
      units: put /etc/systemd/system/two.service
      units: enable its units
      units: reload systemd
      units: start one.service
      units: start two.service
      units: healthy
    watch
    settle
      record
    ");
    let second = spec(&state(vec![app("v2")]), &changes(&["units"]), &applied(Ledger::default(), &first));
    assert_snapshot!(shown(&second), @r"
    prepare
      preflight
    promote
      units: going back: restart one.service
      units: going back: reload systemd
      units: put /etc/systemd/system/one.service
      units: reload systemd
      units: restart one.service
      units: healthy
    watch
    settle
      record
    ");
}

#[test]
fn cap_75_new_files_are_looked_at_before_anything_starts_with_them() {
    let app = |text: &str| {
        let mut units = component("units", Strategy::Rolling, Body::Single(units("one.service", text)));
        units.check = Some(crate::desired::DesiredCheck {
            id: format!("t/nps/units/check-{text}"),
            spec: crate::config::CheckSpec {
                command: vec!["look".to_owned()],
                service: String::new(),
                timeout: Millis(1_000),
                origin: Origin::default(),
            },
        });
        DesiredApp {
            name: name("nps"),
            release: text.to_owned(),
            release_origin: Origin::default(),
            keep_releases: 3,
            archives: Vec::new(),
            components: vec![units],
        }
    };
    let first = spec(&state(vec![app("v1")]), &changes(&["units"]), &Ledger::default());
    let steps: Vec<&str> = first.promote.iter().map(|step| step.title.as_str()).collect();
    let at = |title: &str| steps.iter().position(|step| *step == title).unwrap_or_else(|| panic!("{title}: {steps:?}"));
    let check = at("units: check the new files");
    assert!(
        at("units: put /etc/systemd/system/one.service") < check && check < at("units: start one.service"),
        "{steps:?}"
    );
    let ledger = applied(Ledger::default(), &first);
    let checks = |text: &str, ledger: &Ledger| {
        let spec = spec(&state(vec![app(text)]), &changes(&["units"]), ledger);
        spec.promote.iter().filter(|step| step.title.contains("check the new files")).count()
    };
    assert_eq!(checks("v2", &ledger), 1, "other content is looked at");
    assert_eq!(checks("v1", &ledger), 0, "what was looked at is known");
}

#[test]
fn every_content_is_asked_for() {
    let draft =
        draft(&state(vec![app("v1")]), &changes(&["data", "web", "worker", "edge"]), &Ledger::default()).unwrap();
    let mut digests = digests(&draft);
    let (missing, _) = digests.pop_first().unwrap();
    assert_eq!(finish(draft, &digests).unwrap_err().path, missing.path);
}

#[test]
fn firewall_changes_need_a_confirmation() {
    let mut firewall = component("firewall", Strategy::InPlace, Body::Single(Artifacts::default()));
    let Body::Single(artifacts) = &mut firewall.body else { unreachable!() };
    artifacts.files.insert("/etc/nftables.conf".to_owned(), file("flush ruleset"));
    let app = DesiredApp {
        name: name("nps"),
        release: "v1".to_owned(),
        release_origin: Origin::default(),
        keep_releases: 3,
        archives: Vec::new(),
        components: vec![firewall],
    };
    assert!(spec(&state(vec![app]), &changes(&["firewall"]), &Ledger::default()).confirm_within_ms.is_some());
    let plain = spec(&state(vec![self::app("v1")]), &changes(&["web"]), &Ledger::default());
    assert_eq!(plain.confirm_within_ms, None);
}
