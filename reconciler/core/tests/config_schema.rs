//! The JSON Schema and the decoder know the same keys, everywhere.

use holdfast_core::config::{FileKind, SourceTree, load, load_manager, schema};
use serde_json::{Map, Value, json};

/// Follows a reference of the schema.
fn resolved<'s>(root: &'s Value, node: &'s Value) -> &'s Value {
    match node.get("$ref").and_then(Value::as_str) {
        Some(path) => resolved(root, root.pointer(path.trim_start_matches('#')).expect("a reference leads somewhere")),
        None => node,
    }
}

/// Finds every object with fixed keys, and returns for each a document with `{"zzz": 1}` at its place, and its keys.
fn records(root: &Value, node: &Value, wrap: &dyn Fn(Value) -> Value, found: &mut Vec<(Value, Vec<String>)>) {
    let node = resolved(root, node);
    for choice in node.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        records(root, choice, wrap, found);
    }
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        assert_eq!(node["additionalProperties"], json!(false), "a record refuses unknown keys");
        assert_eq!(node["patternProperties"], json!({ "^x-": true }));
        found.push((wrap(json!({ "zzzzzzzz": 1 })), properties.keys().cloned().collect()));
        for (key, value) in properties {
            records(root, value, &|inner| wrap(Value::Object(Map::from_iter([(key.clone(), inner)]))), found);
        }
    }
    if let Some(names) = node.get("propertyNames") {
        let name = if resolved(root, names)["pattern"].as_str().is_some_and(|p| p.starts_with("^[a-z]")) {
            "web"
        } else {
            "name"
        };
        if let Some(value) = node.get("additionalProperties").filter(|value| value.is_object()) {
            records(root, value, &|inner| wrap(json!({ name: inner })), found);
        }
    }
    if let Some(items) = node.get("items") {
        records(root, items, &|inner| wrap(json!([inner])), found);
    }
}

/// Returns the keys that the decoder knows where the unknown key stands.
fn known_keys(kind: FileKind, document: &Value) -> Vec<String> {
    let text = document.to_string().into_bytes();
    let diagnostics = if kind == FileKind::Manager {
        load_manager("manager.yaml", &text).1
    } else {
        let path = match kind {
            FileKind::Holdfast => "holdfast.yaml",
            FileKind::Inventory => "inventory/hosts.yaml",
            FileKind::Environment => "environments/prod/environment.yaml",
            FileKind::App | FileKind::Manager => "environments/prod/nps.yaml",
        };
        let tree = SourceTree { files: [(path.to_owned(), text)].into(), problems: Vec::new() };
        load(&tree).1
    };
    let unknown: Vec<_> = diagnostics.0.iter().filter(|d| d.code == "unknown-key").collect();
    let [finding] = unknown.as_slice() else { panic!("one unknown key in {document}, found {diagnostics:#?}") };
    let keys = finding.hint.strip_prefix("its keys are: ").unwrap_or_else(|| panic!("{}", finding.hint));
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn schema_and_decoder_know_the_same_keys() {
    let mut count = 0;
    for kind in FileKind::ALL {
        let root = schema(kind);
        let mut found = Vec::new();
        records(&root, &root, &|inner| inner, &mut found);
        assert!(!found.is_empty(), "{kind:?}");
        for (document, mut keys) in found {
            let mut known = known_keys(kind, &document);
            known.sort();
            keys.sort();
            assert_eq!(known, keys, "{document}");
            count += 1;
        }
    }
    assert_eq!(count, 68, "every record of every kind was reached: raise this with a new one");
}

#[test]
fn every_key_has_a_description_and_required_ones_are_told() {
    for kind in FileKind::ALL {
        let root = schema(kind);
        let mut open = vec![&root];
        while let Some(node) = open.pop() {
            match node {
                Value::Object(map) => {
                    for (key, value) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                        assert!(value.get("description").is_some(), "{kind:?}: `{key}` has no description: {value}");
                    }
                    open.extend(map.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }
    assert_eq!(schema(FileKind::App)["required"], json!(["app", "release", "components"]));
    assert_eq!(schema(FileKind::Environment)["required"], json!(["hosts"]));
    assert_eq!(schema(FileKind::Manager)["required"], json!(["repository", "environments"]));
}
