//! Variables: free values of the user, each with its place.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::leaf::Identifier;
use crate::config::decode::{Context, Decode, PlainValue};
use crate::config::model::{Variable, Variables};
use crate::config::yaml::{Kind, Node};
use crate::diag::Origin;

/// Variables by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values(pub(crate) Variables);

impl Decode for Values {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let entries = match &node.kind {
            Kind::Map(entries) => entries,
            Kind::Scalar { text, plain } if PlainValue::of(text, *plain) == PlainValue::Null => {
                return Some(Self::default());
            }
            _ => return cx.wrong_type(node, "a map of variables", ""),
        };
        let mut variables = Variables::new();
        for entry in entries {
            cx.below(&entry.key, |cx| {
                let key = Node { place: entry.place, kind: Kind::Scalar { text: entry.key.clone(), plain: false } };
                let name = Identifier::decode(&key, cx);
                let mut inner = BTreeMap::new();
                let value = value_of(&entry.value, "", &mut inner, cx);
                if let (Some(name), Some(value)) = (name, value) {
                    variables.insert(name.0, Variable { value, origin: entry.value.place.origin(cx.file), inner });
                }
            });
        }
        Some(Self(variables))
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

impl schemars::JsonSchema for Values {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Variables".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names = generator.subschema_for::<Identifier>();
        schemars::json_schema!({ "type": ["object", "null"], "propertyNames": names })
    }
}

/// Returns a node as a free value, and notes the place of everything inside it by dotted path.
fn value_of(node: &Node, path: &str, inner: &mut BTreeMap<String, Origin>, cx: &mut Context<'_, '_>) -> Option<Value> {
    if !path.is_empty() {
        inner.insert(path.to_owned(), node.place.origin(cx.file));
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match &node.kind {
        Kind::List(items) => {
            let values: Vec<Option<Value>> = items
                .iter()
                .enumerate()
                .map(|(index, item)| value_of(item, &below(&index.to_string()), inner, cx))
                .collect();
            values.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
        }
        Kind::Map(entries) => {
            let mut map = Map::new();
            for entry in entries {
                if let Some(value) = value_of(&entry.value, &below(&entry.key), inner, cx) {
                    map.insert(entry.key.clone(), value);
                }
            }
            (map.len() == entries.len()).then_some(Value::Object(map))
        }
        Kind::Scalar { text, plain } => match PlainValue::of(text, *plain) {
            PlainValue::Null => Some(Value::Null),
            PlainValue::Bool(value) => Some(Value::Bool(value)),
            PlainValue::Integer(value) => i64::try_from(value)
                .map(Number::from)
                .or_else(|_| u64::try_from(value).map(Number::from))
                .ok()
                .map(Value::Number),
            PlainValue::Float(value) => Number::from_f64(value).map(Value::Number),
            PlainValue::Odd(why) => {
                let shown: String = text.chars().take(40).collect();
                cx.bad_value(
                    node,
                    format!("the number `{shown}` is unclear: {why}"),
                    format!("quote it to make it text: \"{shown}\""),
                )
            }
            PlainValue::Text => Some(Value::String(text.clone())),
        },
    }
}
