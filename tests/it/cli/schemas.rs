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
