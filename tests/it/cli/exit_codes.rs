//! The codes of `docs/reference/exit-codes.md`, each shown by runs that end with it.

use std::collections::BTreeSet;
use std::fs;

use super::Place;

/// Returns the codes of the page.
fn documented() -> BTreeSet<i32> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/exit-codes.md");
    let text = fs::read_to_string(page).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn runs_end_as_the_page_says() {
    let place = Place::new();
    // A host that nobody can reach: port 1 of this machine is closed.
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGF8HCKlpbnoEHGbf7RPYbeYoMsGFQXJJvJeHBkdM2F";
    place.edit(
        "inventory/hosts.yaml",
        "    address: local\n",
        &format!("    address: 127.0.0.1\n    port: 1\n    host_key: {key}\n"),
    );
    place.edit("environments/dev/hello.yaml", "release: v1 ", "release: v2 ");
    place.commit("v2, far away");
    // Open for one second of the year.
    place.git(&["checkout", "-q", "-b", "closed"]);
    place.edit(
        "environments/dev/environment.yaml",
        "hosts: { role: web }\n",
        "hosts: { role: web }\nwindows: [{ kind: allow, schedule: '@yearly', duration: 1s }]\n",
    );
    place.commit("closed");
    place.git(&["checkout", "-q", "main"]);
    let blocked = place.run(80, &["plan", "dev", "--out", "dev.plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&blocked.out).unwrap();
    assert_eq!(plan["blockers"][0]["code"], "unreachable", "{}", blocked.out);

    let mut seen = BTreeSet::new();
    for (wanted, arguments) in [
        (0, &["--version"][..]),
        (0, &["validate"]),
        (0, &["plan", "dev"]),
        (0, &["history"]),
        (0, &["schema", "plan"]),
        (0, &["diff", "HEAD~1..HEAD"]),
        (1, &["validate", "--revision", "nowhere"]),
        (1, &["plan", "elsewhere"]),
        (1, &["restore", "dev", "hello", "database"]),
        (1, &["schema", "everything"]),
        (1, &["-C", "/nowhere", "validate"]),
        (2, &["diff", "HEAD~1..HEAD", "--detailed-exitcode"]),
        (2, &["plan", "dev", "--detailed-exitcode"]),
        (0, &["status", "dev"]),
        (2, &["status", "dev", "--detailed-exitcode"]),
        (0, &["diff", "HEAD..HEAD", "--detailed-exitcode"]),
        // Not confirmed; blocked; blocked again from a saved plan; nothing runs.
        (3, &["apply", "dev"]),
        (3, &["apply", "dev", "--yes"]),
        (3, &["apply", "dev", "--plan", "dev.plan", "--yes"]),
        (3, &["rollback", "dev", "hello"]),
        (3, &["promote", "dev"]),
        (7, &["apply", "dev", "--yes", "--revision", "closed"]),
        (3, &["apply", "dev", "--yes", "--revision", "closed", "--override-window", "--reason", "it burns"]),
        (64, &["apply", "dev", "--yes", "--override-window"]),
        (64, &["apply", "dev", "--yes", "--override-window", "--reason", ""]),
        (64, &[]),
        (64, &["plan"]),
        (64, &["plan", "dev", "--format", "yaml"]),
        (64, &["plan", "dev", "--json", "--format", "text"]),
        (64, &["frobnicate"]),
    ] {
        let ran = place.run(80, arguments);
        assert_eq!(ran.code, wanted, "holdfast {arguments:?}\n{}{}", ran.out, ran.err);
        seen.insert(ran.code);
    }
    // 4 and 5 need hosts that fail, 6 one that answers: `tests/e2e/story.rs`, `approval.rs`; and `report::exit` is tested for all ends.
    seen.extend([4, 5, 6]);
    assert_eq!(seen, documented(), "the page and the program know the same codes");
}

#[test]
fn a_closed_window_is_told_by_its_line() {
    let place = Place::new();
    let line = "hosts: { role: web }\nwindows:\n  - kind: allow\n    schedule: '@yearly'\n    duration: 1s\n    manual: false\n";
    place.edit("environments/dev/environment.yaml", "hosts: { role: web }\n", line);
    place.edit(
        "inventory/hosts.yaml",
        "    address: local\n",
        "    address: 127.0.0.1\n    port: 1\n    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGF8HCKlpbnoEHGbf7RPYbeYoMsGFQXJJvJeHBkdM2F\n",
    );
    place.commit("closed");
    let file = fs::read_to_string(place.repository.join("environments/dev/environment.yaml")).unwrap();
    let at = file.lines().position(|line| line.contains("kind: allow")).unwrap() + 1;
    let wanted = format!("01-01 00:00 UTC, by environments/dev/environment.yaml:{at}");
    let plan = place.run(80, &["plan", "dev"]);
    assert!(plan.err.contains(&wanted) && plan.err.contains("hello is closed until"), "{}", plan.err);
    let status = place.run(80, &["status", "dev"]);
    assert!(status.out.contains(&wanted), "{}", status.out);
    let apply = place.run(80, &["apply", "dev", "--yes"]);
    assert!(apply.code == 7 && apply.err.contains(&wanted), "{}", apply.err);
    assert!(apply.err.contains("--override-window --reason TEXT"), "{}", apply.err);
    // To a person the window may say yes: then the host is what is in the way.
    place.edit("environments/dev/environment.yaml", "manual: false", "manual: true");
    place.commit("a person may");
    assert_eq!(place.run(80, &["apply", "dev", "--yes"]).code, 3);
}

/// A policy of the management box: what is not signed is looked at, and never applied.
#[test]
fn an_unsigned_commit_is_shown_and_not_applied() {
    let place = Place::new();
    let at = |name: &str| place.folder.path().join(name);
    fs::write(
        at("allowed"),
        "friend@example.net ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGF8HCKlpbnoEHGbf7RPYbeYoMsGFQXJJvJeHBkdM2F\n",
    )
    .unwrap();
    let manager = format!(
        "repository: {}\nstate_dir: {}\nruntime_dir: {}\nallowed_signers: {}\nenvironments: {{ dev: {{ branch: main }} }}\n",
        place.repository.display(),
        at("manager").display(),
        at("run").display(),
        at("allowed").display()
    );
    fs::write(at("manager.yaml"), manager).unwrap();
    let config = at("manager.yaml");
    let config = config.to_str().unwrap();
    assert_eq!(place.run(80, &["--config", config, "diff", "HEAD..HEAD"]).code, 0);
    assert_eq!(place.run(80, &["--config", config, "validate"]).code, 0);
    let ran = place.run(80, &["--config", config, "apply", "dev", "--yes"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("is not signed"), "{}", ran.err);
}
