//! What somebody changes on a host by hand.

use super::fleet::{HOST, Story, TOOLS, UNIT};

const EDGE: &str = "/etc/nginx/conf.d/holdfast-prod-tools-site.conf";

pub(super) fn each_kind_of_drift_is_shown_explained_and_put_right(story: &Story) {
    let untouched = story.invocation("edited.service");
    files_units_and_the_site(story);
    assert_ne!(story.invocation("edited.service"), untouched, "an edited unit runs anew");
    containers(story);
    switches(story);
}

fn files_units_and_the_site(story: &Story) {
    story.put("/etc/tools/content.conf", "greeting = by hand\n");
    story.exec(&["chmod", "0666", "/etc/tools/mode.conf"]);
    story.exec(&["chown", "nobody:nogroup", "/etc/tools/owner.conf"]);
    story.exec(&["rm", "/etc/tools/deleted.conf"]);
    story.put("/etc/systemd/system/edited.service", &UNIT.replace("infinity", "1d"));
    story.exec(&["systemctl", "daemon-reload"]);
    story.exec(&["systemctl", "disable", "disabled.service"]);
    story.exec(&["systemctl", "stop", "stopped.service"]);
    story.put(EDGE, "server {\n    listen 8101;\n    return 200 hacked;\n}\n");
    story.exec(&["nginx", "-s", "reload"]);
    let dropin = story.invocation("dropin.service");
    story.exec(&["touch", "/etc/systemd/system/dropin.service"]);
    story.assert_planned(&[
        ["file /etc/tools/content.conf", "drifted", "file-content-differs"],
        ["file /etc/tools/mode.conf", "drifted", "file-mode-differs"],
        ["file /etc/tools/owner.conf", "drifted", "file-mode-differs"],
        ["file /etc/tools/deleted.conf", "drifted", "file-removed"],
        ["file /etc/systemd/system/edited.service", "drifted", "file-content-differs"],
        ["unit edited.service", "dependency_changed", "unit-file-changed"],
        ["unit disabled.service", "drifted", "unit-not-enabled"],
        ["unit stopped.service", "not_running", "unit-not-active"],
        ["unit dropin.service", "drifted", "unit-needs-reload"],
        [&format!("file {EDGE}"), "drifted", "file-content-differs"],
    ]);
    let said = holdfast_testkit::ops::text(&story.ops.run(&["explain", "prod", "content.conf"]));
    for word in ["/etc/tools/content.conf", HOST, "file-content-differs", TOOLS, "by hand"] {
        assert!(said.contains(word), "explain does not say {word}:\n{said}");
    }
    let said = holdfast_testkit::ops::text(&story.ops.run(&["explain", "prod", "stopped.service"]));
    for word in ["unit stopped.service", "unit-not-active", TOOLS] {
        assert!(said.contains(word), "explain does not say {word}:\n{said}");
    }
    let status = holdfast_testkit::ops::text(&story.ops.run(&["status", "prod"]));
    assert!(status.contains("OutOfSync") && status.contains("drift"), "{status}");

    story.apply();
    for name in ["content", "mode", "owner", "deleted"] {
        let path = format!("/etc/tools/{name}.conf");
        assert_eq!(story.read(&path).as_deref(), Some("greeting = hello\n"));
        assert_eq!(story.exec(&["stat", "--format", "%a %U:%G", &path]).trim(), "644 root:root", "{path}");
    }
    let command = story.exec(&["systemctl", "show", "--property", "ExecStart", "edited.service"]);
    assert!(command.contains("infinity"), "systemd runs what git says: {command}");
    assert_eq!(story.exec(&["systemctl", "is-enabled", "disabled.service"]).trim(), "enabled");
    assert_eq!(story.exec(&["systemctl", "is-active", "stopped.service"]).trim(), "active");
    assert_eq!(story.ask(8101), "tools");
    assert_eq!(story.invocation("dropin.service"), dropin, "a unit that nothing changed is not restarted");
}

fn containers(story: &Story) {
    let name = |component: &str| format!("prod-tools-{component}-box-1");
    story.exec(&["docker", "stop", "--time", "1", &name("stopped")]);
    story.exec(&["docker", "rm", "--force", &name("removed")]);
    // Made anew by hand, from our own file with another image or another variable: all our labels are on it.
    let by_hand = |component: &str, from: &str, to: &str| {
        let file = format!("/var/lib/holdfast/apps/prod/tools/{component}/compose.yaml");
        let changed = story.read(&file).expect("a compose file").replace(from, to);
        let copy = format!("/var/lib/by-hand/{component}.yaml");
        story.put(&copy, &changed);
        let project = format!("prod-tools-{component}");
        story.exec(&["docker", "compose", "-p", &project, "-f", &copy, "up", "--detach"]);
    };
    by_hand("image", "standin:1", "chatbot-redis:8");
    by_hand("variable", "STANDIN_NAME", "BY_HAND");
    assert!(story.inspect(&name("variable"), "{{json .Config.Env}}").contains("BY_HAND"));
    let limits = ["--memory", "64m", "--memory-swap", "64m", "--restart", "always"];
    story.exec(&[&["docker", "update"], &limits[..], &[&name("limits")]].concat());
    story.assert_planned(&[
        ["service prod-tools-stopped/box", "not_running", "container-not-running"],
        ["service prod-tools-removed/box", "drifted", "container-removed"],
        ["service prod-tools-image/box", "drifted", "service-digest-differs"],
        ["service prod-tools-variable/box", "drifted", "service-digest-differs"],
        ["service prod-tools-limits/box", "drifted", "container-updated"],
    ]);
    let said = holdfast_testkit::ops::text(&story.ops.run(&["explain", "prod", "prod-tools-limits"]));
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in ["docker update", "memory-swap: none → 67108864", "restart: none → always"] {
        assert!(said.contains(word), "explain does not say {word}:\n{said}");
    }
    story.apply();
    let healed = story.inspect(&name("limits"), "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}");
    assert_eq!(healed, "0 no");
    for component in ["stopped", "removed", "image", "variable", "limits"] {
        let name = name(component);
        assert_eq!(story.inspect(&name, "{{.State.Status}} {{.Config.Image}}"), "running standin:1", "{name}");
        assert!(story.inspect(&name, "{{json .Config.Env}}").contains("STANDIN_NAME"), "{name}");
    }
}

fn switches(story: &Story) {
    let switch = || story.planned().into_iter().find(|change| change.key.starts_with("switch ")).expect("a switch");
    story.exec(&["nft", "delete", "table", "ip", "holdfast"]);
    let gone = switch();
    assert_eq!((gone.reason.as_str(), gone.rule.as_str()), ("drifted", "switch-removed"));
    story.apply();

    // It goes to the slot that does not serve. A switch is named by blue's port.
    let map = ["ip", "holdfast", "switches"];
    story.exec(&[&["nft", "delete", "element"], &map[..], &["{ 8601 }"]].concat());
    story.exec(&[&["nft", "add", "element"], &map[..], &["{ 8601 : 8701 }"]].concat());
    let moved = switch();
    assert_eq!((moved.reason.as_str(), moved.rule.as_str()), ("drifted", "switch-moved"));
    story.apply();
    assert!(story.ask(8100).contains("v1"));
}

pub(super) fn what_is_ignored_is_left_alone_by_plan_and_apply(story: &Story) {
    story.environment("manual", "report", "[\"file /etc/tools/con*\", \"unit stopped.service\"]");
    story.ops.ship("what operators may change");
    story.put("/etc/tools/content.conf", "greeting = an operator\n");
    story.exec(&["systemctl", "stop", "stopped.service"]);
    story.ops.assert_plan_is_empty();
    story.exec(&["chmod", "0600", "/etc/tools/mode.conf"]);
    story.assert_planned(&[["file /etc/tools/mode.conf", "drifted", "file-mode-differs"]]);
    story.apply();
    assert_eq!(story.read("/etc/tools/content.conf").as_deref(), Some("greeting = an operator\n"));
    assert_eq!(
        story.exec(&["systemctl", "show", "--value", "--property", "ActiveState", "stopped.service"]).trim(),
        "inactive"
    );
    story.environment("manual", "report", "[]");
    story.ops.ship("no longer");
    story.assert_planned(&[
        ["file /etc/tools/content.conf", "drifted", "file-content-differs"],
        ["unit stopped.service", "not_running", "unit-not-active"],
    ]);
    story.apply();
}

pub(super) fn only_the_units_that_change_are_listed(story: &Story) {
    let before = ["disabled", "edited"].map(|unit| story.invocation(&format!("{unit}.service")));
    story.ops.write("templates/systemd/edited.service.j2", &UNIT.replace("[Service]", "[Service]\nNice=5"));
    story.ops.ship("one unit of four");
    story.assert_planned(&[
        ["file /etc/systemd/system/edited.service", "desired_changed", "file-content-differs"],
        ["unit edited.service", "dependency_changed", "unit-file-changed"],
    ]);
    story.apply();
    assert_eq!(story.invocation("disabled.service"), before[0], "a unit that is not listed is not restarted");
    assert_ne!(story.invocation("edited.service"), before[1], "a unit that is listed is");
}
