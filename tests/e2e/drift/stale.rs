//! A plan that was saved and reviewed.

use super::fleet::Story;

pub(super) fn a_saved_plan_is_refused_when_anything_moved(story: &Story) {
    let file = story.ops.work.with_file_name("prod.plan");
    let file = file.to_string_lossy().into_owned();
    let save = || story.ops.run(&["plan", "prod", "--out", &file]);
    story.exec(&["chmod", "0666", "/etc/tools/mode.conf"]);
    let refused = |moved: &str| {
        let output = story.ops.run_any(&["apply", "prod", "--plan", &file, "--yes"]);
        assert_eq!(output.status.code(), Some(3), "a stale plan is refused");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("stale") && said.contains(moved), "the refusal does not say what moved:\n{said}");
        assert_eq!(mode(story), "666", "nothing was changed");
    };

    save();
    story.put("/etc/tools/content.conf", "greeting = since then\n");
    refused("drift1");

    save();
    story.ops.write("environments/prod/README.md", "not read by anything\n");
    story.ops.ship("another commit");
    refused("commit");

    save();
    story.ops.run(&["apply", "prod", "--plan", &file, "--yes"]);
    assert_eq!(mode(story), "644");
    story.ops.assert_plan_is_empty();
}

fn mode(story: &Story) -> String {
    story.exec(&["stat", "--format", "%a", "/etc/tools/mode.conf"]).trim().to_owned()
}
