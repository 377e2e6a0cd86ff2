//! What git no longer has.

use std::fs;

use super::fleet::{Story, TOOLS, TOOLS_APP, UNIT};

/// Paths that are there because git once had them.
const GONE: [&str; 6] = [
    "/etc/gone.conf",
    "/etc/systemd/system/extra.service",
    "/etc/systemd/system/disabled.service",
    "/etc/nginx/conf.d/holdfast-prod-extra-site.conf",
    "/etc/nginx/conf.d/holdfast-prod-tools-site.conf",
    "/etc/tools/owner.conf",
];

pub(super) fn what_git_no_longer_has_goes_and_nothing_else(story: &mut Story) {
    others(story);
    let others_before = seen_of_others(story);
    story.exec(&["docker", "exec", "prod-tools-gone-store-1", "touch", "/data/kept", "/srv/kept"]);
    let volumes = story.exec(&["docker", "volume", "ls", "--quiet"]);
    assert!(volumes.contains("prod-tools-gone_data") && volumes.contains("prod-extra-data_data"), "{volumes}");
    for path in GONE {
        assert!(story.path(path).exists(), "{path} is there");
    }

    let rest = TOOLS_APP
        .replace("      - { path: /etc/tools/owner.conf, template: files/tools.conf.j2 }\n", "")
        .replace("systemd/disabled.service.j2, ", "")
        .replace("  site:\n    nginx: nginx/tools.conf.j2\n", "");
    story.ops.write(TOOLS, &rest);
    fs::remove_file(story.ops.work.join("environments/prod/extra.yaml")).expect("the app's file");
    story.ops.ship("without a component, a file, a unit, a site and an app");
    story.assert_planned(&[
        ["file /etc/tools/owner.conf", "not_in_desired", "resource-not-in-git"],
        ["unit disabled.service", "not_in_desired", "resource-not-in-git"],
        ["file /etc/systemd/system/disabled.service", "not_in_desired", "resource-not-in-git"],
        ["file /etc/nginx/conf.d/holdfast-prod-tools-site.conf", "not_in_desired", "component-not-in-git"],
        ["project prod-tools-gone", "not_in_desired", "component-not-in-git"],
        ["file /etc/gone.conf", "not_in_desired", "component-not-in-git"],
        ["file /var/lib/holdfast/apps/prod/tools/gone/compose.yaml", "not_in_desired", "component-not-in-git"],
        ["project prod-extra-data", "not_in_desired", "app-not-in-git"],
        ["file /var/lib/holdfast/apps/prod/extra/data/compose.yaml", "not_in_desired", "app-not-in-git"],
        ["unit extra.service", "not_in_desired", "app-not-in-git"],
        ["file /etc/systemd/system/extra.service", "not_in_desired", "app-not-in-git"],
        ["file /etc/nginx/conf.d/holdfast-prod-extra-site.conf", "not_in_desired", "app-not-in-git"],
    ]);
    let units = ["edited", "stopped", "dropin"].map(|unit| story.invocation(&format!("{unit}.service")));
    story.apply();

    for path in GONE {
        assert_eq!(story.read(path), None, "{path} is gone");
    }
    let known = story.exec(&[
        "systemctl",
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        "extra.service",
        "disabled.service",
    ]);
    assert_eq!(known.trim(), "", "systemd has forgotten them");
    let containers = story.exec(&["docker", "ps", "--all", "--format", "{{.Names}}"]);
    assert!(!containers.contains("gone") && !containers.contains("extra"), "{containers}");
    assert_eq!(story.exec(&["docker", "volume", "ls", "--quiet"]), volumes, "volumes stay");
    let data = story.exec(&["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", "prod-tools-gone_data"]);
    story.exec(&["test", "-e", &format!("{}/kept", data.trim())]);
    story.exec(&["test", "-e", "/srv/store/kept"]);
    let after = ["edited", "stopped", "dropin"].map(|unit| story.invocation(&format!("{unit}.service")));
    assert_eq!(after, units, "what stays is not restarted");
    assert_eq!(seen_of_others(story), others_before, "what is not ours is as it was");
}

/// Puts things on the host that belong to somebody else.
fn others(story: &Story) {
    story.put("/etc/systemd/system/others.service", UNIT);
    story.put("/etc/nginx/conf.d/others.conf", "server {\n    listen 8109;\n    return 200 others;\n}\n");
    story.put("/etc/tools/others.conf", "theirs\n");
    story.exec(&["systemctl", "daemon-reload"]);
    story.exec(&["systemctl", "enable", "--now", "others.service"]);
    story.exec(&["nginx", "-s", "reload"]);
    story.exec(&["docker", "run", "--detach", "--name", "others", "--volume", "others:/data", "standin:1"]);
}

fn seen_of_others(story: &Story) -> String {
    let texts = ["/etc/tools/others.conf", "/etc/systemd/system/others.service", "/etc/nginx/conf.d/others.conf"]
        .map(|path| story.read(path));
    let started = story.inspect("others", "{{.State.StartedAt}}");
    let enabled = story.exec(&["systemctl", "is-enabled", "others.service"]);
    format!("{texts:?} {started} {enabled} {} {}", story.invocation("others.service"), story.ask(8109))
}
