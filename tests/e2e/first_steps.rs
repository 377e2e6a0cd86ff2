//! The README's first steps, typed as they stand there, on a machine that manages itself (`address: local`).

use std::fs;
use std::path::Path;

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::host_program;

/// Returns the commands of the README's "Use it", without what is said about them.
fn commands() -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let (_, section) = readme.split_once("## Use it\n").expect("the section");
    let block = section.split("```").nth(1).expect("a block of commands");
    let lines = block.lines().map(|line| line.split("  #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs the lab"]
fn the_readme_holds_on_a_fresh_machine() {
    let lab = Lab::up("first", "box", 1, &["--no-docker"]);
    let host = &lab.hosts[0];
    let holdfast = Path::new(env!("CARGO_BIN_EXE_holdfast"));
    for (from, to) in
        [(holdfast.to_owned(), "usr/bin/holdfast"), (host_program(holdfast), "usr/lib/holdfast/holdfast-host-x86_64")]
    {
        let to = host.root.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    let typed = |line: &str| {
        let folder = if line.starts_with("holdfast init") { "/root" } else { "/root/ops" };
        let output = lab.try_run(&["exec", &host.name, "--", "bash", "-c", &format!("cd {folder} && {line}")]);
        let both = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&both).into_owned();
        eprintln!("$ {line}\n{said}");
        (output.status.code(), said)
    };

    let who =
        "cd /root && git config --global user.email dev@example.net && git config --global user.name 'A Developer'";
    assert_eq!(lab.try_run(&["exec", &host.name, "--", "bash", "-c", who]).status.code(), Some(0));
    let commands = commands();
    assert!(commands.len() >= 6, "{commands:?}");
    let mut applied = false;
    for line in &commands {
        // Nobody sits at this terminal, and the daemon has a test of its own.
        let line = line.replace("holdfast apply dev", "holdfast apply dev --yes");
        if line.starts_with("holdfast daemon") {
            continue;
        }
        let Some((looks, rollback)) = line.split_once("; holdfast rollback") else {
            assert_eq!(typed(&line).0, Some(0), "{line}");
            applied |= line.contains("apply");
            continue;
        };
        assert!(applied, "there is something to look at");
        let (code, said) = typed(looks);
        assert!(code == Some(0) && said.contains("Synced") && said.contains("v1"), "{said}");
        assert_eq!(typed("holdfast plan dev --detailed-exitcode").0, Some(0), "a second plan is empty");
        assert!(
            typed("curl -sf http://127.0.83.1:8601/ || curl -sf http://127.0.0.1:8601/").1.contains("hello from v1")
        );
        // A second release, so that there is one to go back to.
        let edit = "sed -i 's/^release: v1/release: v2/' environments/dev/hello.yaml && git commit -qam v2";
        assert_eq!(typed(edit).0, Some(0));
        assert_eq!(typed("holdfast plan dev --detailed-exitcode").0, Some(2));
        assert_eq!(typed("holdfast apply dev --yes").0, Some(0));
        assert_eq!(typed(&format!("holdfast rollback{rollback} --yes")).0, Some(0));
        let (_, said) = typed("holdfast status");
        assert!(said.contains("v1"), "{said}");
    }
}
