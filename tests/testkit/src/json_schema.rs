//! Values against the JSON Schemas that are published for them.

use serde_json::{Map, Value};

/// Returns what of a value its schema does not describe; empty when all is as described.
///
/// Stricter than the standard: a field that the schema does not name is a fault, for readers cannot know of it.
///
/// # Panics
/// At a keyword that it does not know: a test must not pass for what nobody looked at.
///
/// Patterns are not tried: the types behind them refuse other text, and all keys of one map have one pattern.
///
/// # Source
/// JSON Schema draft 2020-12, as much of it as our schemas use.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "$", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Value::Object(keywords) = schema else {
        assert_eq!(*schema, Value::Bool(true), "a schema is an object or `true`");
        return;
    };
    for (keyword, wanted) in keywords {
        let wrong = |what: String| format!("{at}: {what}");
        match keyword.as_str() {
            "$ref" => {
                let pointer = wanted.as_str().expect("a reference is text").trim_start_matches('#');
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
                check(root, target, value, at, faults);
                return check_rest(root, keywords, value, at, faults);
            }
            "type" => {
                let names: Vec<&str> = match wanted {
                    Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
                    name => name.as_str().into_iter().collect(),
                };
                if !names.iter().any(|name| is_a(value, name)) {
                    faults.push(wrong(format!("{value} is no {names:?}")));
                }
            }
            "const" if value != wanted => faults.push(wrong(format!("{value} is not {wanted}"))),
            "enum" if !wanted.as_array().expect("a list").contains(value) => {
                faults.push(wrong(format!("{value} is none of {wanted}")));
            }
            "minimum" if value.is_number() && value.as_f64() < wanted.as_f64() => {
                faults.push(wrong(format!("{value} is less than {wanted}")));
            }
            "maximum" if value.is_number() && value.as_f64() > wanted.as_f64() => {
                faults.push(wrong(format!("{value} is more than {wanted}")));
            }
            "anyOf" | "oneOf" => {
                let choices = wanted.as_array().expect("a list");
                let tried: Vec<Vec<String>> = choices
                    .iter()
                    .map(|choice| {
                        let mut found = Vec::new();
                        check(root, choice, value, at, &mut found);
                        found
                    })
                    .collect();
                if let Some(nearest) = tried.iter().min_by_key(|found| found.len())
                    && !nearest.is_empty()
                {
                    faults.extend(nearest.iter().cloned());
                }
            }
            _ => {}
        }
        let known = [
            "$ref",
            "type",
            "const",
            "enum",
            "minimum",
            "maximum",
            "anyOf",
            "oneOf",
            "properties",
            "required",
            "pattern",
            "patternProperties",
            "additionalProperties",
            "items",
            "$schema",
            "$defs",
            "title",
            "description",
            "format",
            "default",
        ];
        if !known.contains(&keyword.as_str()) {
            faults.push(wrong(format!("the schema has `{keyword}`, which nobody looks at")));
        }
    }
    check_rest(root, keywords, value, at, faults);
}

/// Checks what is inside.
fn check_rest(root: &Value, keywords: &Map<String, Value>, value: &Value, at: &str, faults: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            let Some(schema) = keywords.get("items") else { return };
            for (index, item) in items.iter().enumerate() {
                check(root, schema, item, &format!("{at}[{index}]"), faults);
            }
        }
        Value::Object(fields) => {
            for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten() {
                if !fields.contains_key(name.as_str().unwrap_or_default()) {
                    faults.push(format!("{at}: {name} is missing"));
                }
            }
            let known = keywords.get("properties").and_then(Value::as_object);
            let by_pattern =
                keywords.get("patternProperties").and_then(Value::as_object).and_then(|all| all.values().next());
            let others = by_pattern.or_else(|| keywords.get("additionalProperties"));
            if known.is_none() && others.is_none() {
                return;
            }
            for (name, field) in fields {
                let at = format!("{at}.{name}");
                match (known.and_then(|known| known.get(name)), others) {
                    (Some(schema), _) => check(root, schema, field, &at, faults),
                    (None, Some(schema)) if *schema != Value::Bool(false) => check(root, schema, field, &at, faults),
                    (None, _) => faults.push(format!("{at}: the schema has no such field")),
                }
            }
        }
        _ => {}
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the schema has the type `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_are_found_wherever_they_are() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "slot": { "anyOf": [{ "$ref": "#/$defs/Slot" }, { "type": "null" }] },
                "ports": { "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65535 } },
                "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            },
            "required": ["name"],
            "$defs": { "Slot": { "enum": ["blue", "green"] } },
        });
        let good = json!({ "name": "web", "slot": "blue", "ports": [80], "labels": { "role": "web" } });
        assert_eq!(faults(&schema, &good), [""; 0]);
        for (bad, place) in [
            (json!({}), "$: \"name\" is missing"),
            (json!({ "name": 1 }), "$.name: 1 is no"),
            (json!({ "name": "a", "slot": "red" }), "$.slot: \"red\""),
            (json!({ "name": "a", "ports": [0] }), "$.ports[0]: 0 is less"),
            (json!({ "name": "a", "labels": { "role": 1 } }), "$.labels.role: 1"),
            (json!({ "name": "a", "more": 1 }), "$.more: the schema has no such field"),
        ] {
            let found = faults(&schema, &bad);
            assert!(found.iter().any(|fault| fault.starts_with(place)), "{bad}: {found:?}");
        }
    }
}
