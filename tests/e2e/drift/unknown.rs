//! What cannot be looked at: an engine that is off, a host that is cut off, a part that is not installed.

use std::fs;

use super::fleet::{HOST, OTHER, Story, TOOLS};

pub(super) fn what_cannot_be_looked_at_is_never_a_change(story: &Story) {
    // Two connections are tried for each verb here; the default would wait ten seconds for each.
    let config = fs::read_to_string(&story.ops.config).expect("manager.yaml");
    fs::write(&story.ops.config, config.replace("ssh: {", "ssh: { connect_timeout: 2s,")).expect("manager.yaml");
    an_engine_that_is_off(story);
    a_host_that_is_cut_off(story);
    a_part_that_is_not_installed(story);
}

fn set_greeting(story: &Story, greeting: &str) {
    story.ops.write("templates/files/tools.conf.j2", &format!("greeting = {greeting}\n"));
}

fn an_engine_that_is_off(story: &Story) {
    story.exec(&["systemctl", "stop", "docker.socket", "docker.service"]);
    set_greeting(story, "no engine");
    story.ops.release("v3");
    story.ops.push();
    let planned = story.planned();
    assert!(planned.iter().all(|change| !change.key.starts_with("service ")), "unknown is no change: {planned:#?}");
    let blockers = story.blockers();
    assert!(!blockers.is_empty());
    for [code, host, app, message] in &blockers {
        assert!(matches!(code.as_str(), "missing-tool" | "unknown"), "{blockers:#?}");
        assert_eq!((host.as_str(), app.as_str()), (HOST, "tools"));
        assert!(message.to_lowercase().contains("docker"), "it names what does not answer: {message}");
    }
    let remedy = blockers.iter().any(|[.., message]| message.contains("systemctl start docker"));
    assert!(remedy, "it says what to do: {blockers:#?}");
    let some = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(some.status.code(), Some(5));
    assert!(story.ask(8100).contains("v3"), "the other app goes on, also on this host");
    assert!(!story.read("/etc/tools/content.conf").expect("a file").contains("no engine"));
    story.exec(&["systemctl", "start", "docker.service"]);
    // Containers without a restart policy do not come back with the engine: that is drift like any other.
    story.apply();
    assert!(story.read("/etc/tools/content.conf").expect("a file").contains("no engine"));
}

fn a_host_that_is_cut_off(story: &Story) {
    story.lab.run(&["cut", OTHER]);
    set_greeting(story, "cut off");
    story.ops.ship("while a host is cut off");
    let blockers = story.blockers();
    let cut = blockers.iter().find(|[code, host, ..]| code == "unreachable" && host == OTHER);
    assert!(cut.is_some(), "{blockers:#?}");
    assert!(story.planned().iter().all(|change| change.host == HOST), "nothing is planned for a host that is not seen");
    let some = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(some.status.code(), Some(5));
    let greeting = story.read("/etc/tools/content.conf").expect("a file");
    assert!(greeting.contains("cut off"), "an app that is not on that host goes on: {greeting}");
    story.lab.run(&["heal", OTHER]);
    story.apply();
}

fn a_part_that_is_not_installed(story: &Story) {
    story.lab.exec(OTHER, &["dpkg", "--purge", "--force-depends", "nginx"]);
    set_greeting(story, "no nginx");
    story.ops.release("v4");
    story.ops.push();
    let blockers = story.blockers();
    let missing = blockers.iter().find(|[code, host, ..]| code == "missing-tool" && host == OTHER);
    let Some([.., app, message]) = missing else { panic!("{blockers:#?}") };
    assert_eq!(app, "quick");
    assert!(message.contains("nginx is not installed") && message.contains("install"), "{message}");
    let some = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(some.status.code(), Some(5));
    assert!(story.ask(8100).contains("v4"), "the host that has all it needs goes on");
    assert!(story.read("/etc/tools/content.conf").expect("a file").contains("no nginx"));
    let left = story.lab.exec(OTHER, &["systemctl", "is-active", "quick@blue.service", "quick@green.service"]);
    assert_eq!(
        left.matches("active").count() - left.matches("inactive").count(),
        1,
        "what serves there is left alone: {left}"
    );
    assert!(story.ops.work.join(TOOLS).exists());
}
