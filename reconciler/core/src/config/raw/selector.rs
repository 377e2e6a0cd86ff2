//! Which hosts are meant.

use super::leaf::{LabelKey, Scalar};
use crate::config::decode::{Context, Decode, Named};
use crate::config::place::At;
use crate::config::yaml::{Kind, Node};
use crate::id::HostName;

/// Hosts by labels, all of which must fit, or by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Selector {
    /// Labels a host must have.
    Labels(Vec<(At<LabelKey>, String)>),
    /// Names.
    Names(Vec<At<HostName>>),
}

impl Decode for Selector {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        match &node.kind {
            Kind::List(_) => {
                let names = Vec::<At<HostName>>::decode(node, cx)?;
                if names.is_empty() {
                    return cx.bad_value(
                        node,
                        "the list names no host",
                        "name one, or take the key away for all of them",
                    );
                }
                Some(Self::Names(names))
            }
            Kind::Map(_) => {
                let labels = Named::<LabelKey, Scalar>::decode(node, cx)?;
                if labels.entries.is_empty() {
                    return cx.bad_value(node, "the map has no label", "give one, such as `{ role: web }`");
                }
                let labels = labels.entries.into_iter().map(|entry| Some((entry.name, entry.value?.0)));
                labels.collect::<Option<Vec<_>>>().map(Self::Labels)
            }
            Kind::Scalar { .. } => {
                cx.wrong_type(node, "labels or a list of names", "write `{ role: web }` or `[web1, web2]`")
            }
        }
    }
}

impl schemars::JsonSchema for Selector {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Selector".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (labels, names) = (generator.subschema_for::<LabelKey>(), generator.subschema_for::<HostName>());
        let values = generator.subschema_for::<Scalar>();
        schemars::json_schema!({
            "anyOf": [
                { "type": "object", "propertyNames": labels, "additionalProperties": values, "minProperties": 1 },
                { "type": "array", "items": names, "minItems": 1 },
            ]
        })
    }
}
