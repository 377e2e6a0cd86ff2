//! The published schemas are the generated ones, and what is printed is what they describe.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_core::view::{OutputKind, output_schema, plan_json};
use holdfast_testkit::json_schema::faults;
use serde_json::Value;

use super::Place;
use crate::plan::{desired, first_plan};

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn names(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name())).collect()
}

#[test]
fn the_published_ones_are_the_generated_ones() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/schema");
    let place = Place::empty();
    assert_eq!(place.run(80, &["schema", "--out", "schema"]).code, 0);
    let made = place.folder.path().join("schema");
    assert_eq!(names(&made), names(&published));
    for name in names(&made) {
        assert_eq!(
            json(&made.join(&name)),
            json(&published.join(&name)),
            "`holdfast schema --out docs/reference/schema`"
        );
        let kind = name.file_stem().unwrap().to_str().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&place.run(80, &["schema", kind]).out).unwrap(),
            json(&made.join(&name))
        );
    }
}

#[test]
fn a_plan_is_as_its_schema_says() {
    let schema = output_schema(OutputKind::Plan);
    let rich = plan_json(&first_plan(&desired()));
    assert_eq!(faults(&schema, &rich), [""; 0]);
    assert!(rich["hosts"].as_array().is_some_and(|hosts| hosts.len() == 3), "{rich}");
    // And what the program prints, with a blocker in it.
    let place = Place::new();
    place.edit("inventory/hosts.yaml", "    address: local\n", "    address: 127.0.0.1\n    port: 1\n    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGF8HCKlpbnoEHGbf7RPYbeYoMsGFQXJJvJeHBkdM2F\n");
    place.commit("far away");
    let printed: Value = serde_json::from_str(&place.run(80, &["plan", "dev", "--json"]).out).unwrap();
    assert_eq!(faults(&schema, &printed), [""; 0]);
    assert_eq!(printed["format_version"], 1);
    let page = place.run(80, &["plan", "dev", "--format", "html"]).out;
    assert!(page.starts_with("<!doctype html>") && page.contains("unreachable"), "{page}");
}

/// Returns what a run prints as JSON, and asserts that it is as the published schema of this name says.
#[track_caller]
fn printed(place: &Place, schema: &str, arguments: &[&str]) -> Value {
    let ran = place.run(80, arguments);
    let printed: Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{arguments:?}\n{}{}", ran.out, ran.err));
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/schema").join(format!("{schema}.json"));
    assert_eq!(faults(&json(&published), &printed), [""; 0], "{arguments:?}\n{printed:#}");
    assert_eq!(printed["format_version"], 1, "{arguments:?}");
    printed
}

#[test]
fn what_verbs_print_is_as_their_schemas_say() {
    let place = Place::new();
    assert_eq!(printed(&place, "validate", &["validate", "--json"])["errors"], 0);
    assert_eq!(printed(&place, "diff", &["diff", "HEAD..HEAD", "--json"])["environments"], Value::Array(Vec::new()));
    assert!(printed(&place, "history", &["history", "--json"])["syncs"].is_array());
    // A release more, a window that is closed for all but one second of the year, and a host that is not there.
    place.edit("environments/dev/hello.yaml", "release: v1 ", "release: v2 ");
    place.edit("inventory/hosts.yaml", "    address: local\n", "    address: 127.0.0.1\n    port: 1\n    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGF8HCKlpbnoEHGbf7RPYbeYoMsGFQXJJvJeHBkdM2F\n");
    place.edit(
        "environments/dev/environment.yaml",
        "hosts: { role: web }\n",
        "hosts: { role: web }\nwindows: [{ kind: allow, schedule: '@yearly', duration: 1s, manual: true }]\n",
    );
    place.commit("v2, far away");
    let diff = printed(&place, "diff", &["diff", "HEAD~1..HEAD", "--json"]);
    assert!(diff["environments"][0]["hosts"][0]["changes"].as_array().is_some_and(|all| !all.is_empty()), "{diff:#}");
    printed(&place, "secrets", &["secrets", "list", "dev", "--json"]);
    let status = printed(&place, "status", &["status", "--json"]);
    let closed = &status["environments"][0]["closed"]["hello"];
    assert_eq!(
        (&closed["kind"], &closed["manual"], &closed["by"]["line"]),
        (&"allow".into(), &true.into(), &2.into()),
        "{status:#}"
    );
    assert_eq!(status["environments"][0]["apps"][0]["sync"], "Unknown");
    let ran = place.run(80, &["apply", "dev", "--yes"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let history = printed(&place, "history", &["history", "--json"]);
    assert_eq!(history["syncs"][0]["result"], "blocked");
    let one = printed(&place, "history", &["history", "--sync", &history["syncs"][0]["id"].to_string(), "--json"]);
    assert!(one["events"].as_array().is_some_and(|all| all.len() > 1), "{one:#}");
    let doctor = printed(&place, "doctor", &["doctor", "--json"]);
    assert!(doctor["findings"].as_array().is_some_and(|all| all.len() > 2), "{doctor:#}");
    let explain = printed(&place, "explain", &["explain", "dev", "--json"]);
    assert_eq!(explain["blockers"][0]["code"], "unreachable");
    let nothing = printed(&place, "explain", &["explain", "dev", "no-such-thing", "--json"]);
    assert_eq!(nothing["blockers"], Value::Array(Vec::new()));
    let unlock = printed(&place, "unlock", &["unlock", "dev", "--json"]);
    assert_eq!((&unlock["locks"], &unlock["quarantined"]), (&Value::Array(Vec::new()), &Value::Array(Vec::new())));
    place.edit("environments/dev/hello.yaml", "strategy: blue_green", "stratgy: blue_green");
    place.commit("a mistake");
    assert!(printed(&place, "validate", &["validate", "--json"])["errors"].as_u64() > Some(0));
}

#[test]
fn the_end_of_an_apply_is_as_its_schema_says() {
    let place = Place::new();
    place.edit("inventory/hosts.yaml", "    address: local\n", "    address: 127.0.0.1\n    port: 1\n    host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGF8HCKlpbnoEHGbf7RPYbeYoMsGFQXJJvJeHBkdM2F\n");
    place.commit("far away");
    let ran = place.run(80, &["apply", "dev", "--yes", "--json"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, events) = lines.split_last().unwrap();
    assert_eq!(faults(&output_schema(OutputKind::Report), report), [""; 0], "{report}");
    assert!(!events.is_empty());
    for event in events {
        assert_eq!(faults(&output_schema(OutputKind::Event), event), [""; 0], "{event}");
    }
}
