//! Things of other people in the places that git wants.

use super::fleet::{HOST, Story, TOOLS, TOOLS_APP, UNIT};

const THEIRS: &str = r"  theirs:
    files:
      - { path: /etc/foreign.conf, template: files/tools.conf.j2 }
  unit:
    systemd: systemd/foreign.service.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  project:
    compose: compose/box.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  place:
    nginx: nginx/place.conf.j2
";

const PLACE: &str = "/etc/nginx/conf.d/holdfast-prod-tools-place.conf";
const PLACE_OF_THEIRS: &str = "server {\n    listen 8108;\n    return 200 theirs;\n}\n";

pub(super) fn what_is_in_the_way_is_named_and_adopted_only_when_asked(story: &Story) {
    let their_unit = UNIT.replace("infinity", "2d");
    story.put("/etc/foreign.conf", "theirs\n");
    story.put("/etc/systemd/system/foreign.service", &their_unit);
    story.put(PLACE, PLACE_OF_THEIRS);
    story.put("/var/lib/by-hand/project.yaml", "services:\n  box:\n    image: standin:1\n    stop_grace_period: 1s\n");
    story.exec(&["systemctl", "daemon-reload"]);
    story.exec(&["systemctl", "start", "foreign.service"]);
    story.exec(&["nginx", "-s", "reload"]);
    story.exec(&[
        "docker",
        "compose",
        "-p",
        "prod-tools-project",
        "-f",
        "/var/lib/by-hand/project.yaml",
        "up",
        "--detach",
    ]);
    let before = theirs(story);
    let app = story.ops.work.join(TOOLS);
    let own = std::fs::read_to_string(app).expect("the app's file");
    story.ops.write(TOOLS, &[&own, THEIRS].concat());
    story.ops.write("templates/systemd/foreign.service.j2", UNIT);
    story.ops.write("templates/nginx/place.conf.j2", "server {\n    listen 8108;\n    return 200 ours;\n}\n");
    story.ops.ship("what others have too");

    let blockers = story.blockers();
    for (thing, remedy) in [
        ("/etc/foreign.conf", "--adopt"),
        ("/etc/systemd/system/foreign.service", "--adopt"),
        (PLACE, "--adopt"),
        ("prod-tools-project", "remove it"),
    ] {
        let named = blockers.iter().find(|[code, .., message]| code == "foreign-resource" && message.contains(thing));
        let [_, host, app, message] = named.unwrap_or_else(|| panic!("{thing} is not named: {blockers:#?}"));
        assert_eq!((host.as_str(), app.as_str()), (HOST, "tools"));
        assert!(message.contains(remedy), "{message}");
    }
    let refused = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(refused.status.code(), Some(3), "a blocked app is refused");
    assert_eq!(theirs(story), before, "nothing of it was touched");

    // A project is never taken over: its owner takes it away. The rest is, once that is asked for.
    story.exec(&["docker", "rm", "--force", "prod-tools-project-box-1"]);
    story.ops.run(&["apply", "prod", "--yes", "--adopt"]);
    story.ops.assert_plan_is_empty();
    assert_eq!(story.read("/etc/foreign.conf").as_deref(), Some("greeting = hello\n"));
    assert_eq!(story.ask(8108), "ours");
    let command = story.exec(&["systemctl", "show", "--property", "ExecStart", "foreign.service"]);
    assert!(command.contains("infinity"), "the unit runs what git says: {command}");
    story.ops.write(TOOLS, &own);
    story.ops.ship("no longer");
    story.apply();
}

/// What somebody adds to a unit of ours with `systemctl edit` is his: it is named, and no word of it is lost.
pub(super) fn a_drop_in_blocks_until_somebody_decides(story: &Story) {
    const DROP_IN: &str = "/etc/systemd/system/dropin.service.d/override.conf";
    let runs = story.invocation("dropin.service");
    story.put(DROP_IN, "[Service]\nNice=3\n");
    story.exec(&["systemctl", "daemon-reload"]);
    let blockers = story.blockers();
    let [[code, host, app, message]] = &blockers[..] else { panic!("one blocker: {blockers:#?}") };
    assert_eq!((code.as_str(), host.as_str(), app.as_str()), ("foreign-resource", HOST, "tools"));
    assert!(message.contains(DROP_IN) && message.contains("dropin.service") && message.contains("ignore"), "{message}");
    let said = holdfast_testkit::ops::text(&story.ops.run(&["explain", "prod", "dropin"]));
    assert!(said.contains(DROP_IN), "{said}");
    story.exec(&["chmod", "0600", "/etc/tools/mode.conf"]);
    assert_eq!(story.ops.run_any(&["apply", "prod", "--yes"]).status.code(), Some(3));
    assert_eq!(story.read(DROP_IN).as_deref(), Some("[Service]\nNice=3\n"));

    story.environment("manual", "report", "[\"file /etc/systemd/system/dropin.service.d/*\"]");
    story.ops.ship("an operator's limits");
    story.apply();
    assert_eq!(story.read(DROP_IN).as_deref(), Some("[Service]\nNice=3\n"));

    story.environment("manual", "report", "[]");
    story.ops.ship("no limits");
    story.exec(&["rm", "-r", "/etc/systemd/system/dropin.service.d"]);
    story.assert_planned(&[["unit dropin.service", "drifted", "unit-needs-reload"]]);
    story.apply();
    assert_eq!(story.invocation("dropin.service"), runs, "nobody asked for a new start");
}

fn theirs(story: &Story) -> String {
    let started = story.inspect("prod-tools-project-box-1", "{{.State.StartedAt}}");
    let texts = ["/etc/foreign.conf", "/etc/systemd/system/foreign.service", PLACE].map(|path| story.read(path));
    format!("{started} {} {} {texts:?}", story.invocation("foreign.service"), story.ask(8108))
}

pub(super) fn a_broken_site_of_somebody_else_blocks_only_what_needs_nginx(story: &Story) {
    story.put("/etc/nginx/conf.d/zz-broken.conf", "server {\n    listen 8110;\n    no_such_directive on;\n}\n");
    story.ops.assert_plan_is_empty();
    story.ops.write("templates/nginx/tools.conf.j2", "server {\n    listen 8101;\n    return 200 tools2;\n}\n");
    story.ops.write("templates/systemd/extra.service.j2", &UNIT.replace("[Service]", "[Service]\nNice=7"));
    story.ops.release("v2");
    story.ops.push();
    let blockers = story.blockers();
    let [[code, host, app, message]] = &blockers[..] else { panic!("one blocker: {blockers:#?}") };
    assert_eq!((code.as_str(), host.as_str(), app.as_str()), ("foreign-nginx-error", HOST, "tools"));
    assert!(message.contains("/etc/nginx/conf.d/zz-broken.conf:3"), "{message}");
    let some = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(some.status.code(), Some(5), "some of it was applied, and some is blocked");
    assert!(story.ask(8100).contains("v2"), "a release that no site changes for goes on");
    assert!(story.read("/etc/systemd/system/extra.service").expect("a unit").contains("Nice=7"));
    assert_eq!(story.ask(8101), "tools", "the site is as it was");
    story.exec(&["rm", "/etc/nginx/conf.d/zz-broken.conf"]);
    story.apply();
    assert_eq!(story.ask(8101), "tools2");
    assert!(TOOLS_APP.contains("nginx/tools.conf.j2"));
}
