//! JSON Schemas of all kinds of files, for editors.

use serde_json::{Value, json};

use super::raw;

/// A kind of file that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// `holdfast.yaml`.
    Holdfast,
    /// `inventory/*.yaml`.
    Inventory,
    /// `environments/<env>/environment.yaml`.
    Environment,
    /// `environments/<env>/<app>.yaml`.
    App,
    /// `/etc/holdfast/manager.yaml`.
    Manager,
}

impl FileKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Holdfast, Self::Inventory, Self::Environment, Self::App, Self::Manager];

    /// Returns the word for it, which is also the name of its schema file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holdfast => "holdfast",
            Self::Inventory => "inventory",
            Self::Environment => "environment",
            Self::App => "app",
            Self::Manager => "manager",
        }
    }
}

impl std::str::FromStr for FileKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = Self::ALL.map(Self::as_str);
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            format!("`{}` is no kind of file: {}", shown.escape_debug(), super::suggest::hint(text, "kinds", words))
        })
    }
}

/// Returns the JSON Schema (draft 2020-12) of one kind of file.
pub fn schema(kind: FileKind) -> Value {
    let schema = match kind {
        FileKind::Holdfast => schemars::schema_for!(raw::Holdfast),
        FileKind::Inventory => schemars::schema_for!(raw::Inventory),
        FileKind::Environment => schemars::schema_for!(raw::Environment),
        FileKind::App => schemars::schema_for!(raw::App),
        FileKind::Manager => schemars::schema_for!(raw::Manager),
    };
    let mut value = schema.to_value();
    refuse_null(&mut value);
    value
}

/// Takes `null` out of optional fields: a key that is there has a value. Maps of names keep it, for a map whose entries are all
/// commented out is `null` in YAML.
fn refuse_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        Value::Object(map) => {
            if !map.contains_key("propertyNames")
                && let Some(Value::Array(types)) = map.get_mut("type")
            {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| *choice != json!({ "type": "null" }));
                if let [only] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    if let Value::Object(only) = only {
                        map.extend(only);
                    }
                }
            }
            map.values_mut().for_each(refuse_null);
        }
        _ => {}
    }
}
