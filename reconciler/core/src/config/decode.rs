//! A located tree to typed values, going on after every error.
//!
//! # Flow
//! Takes a [`Node`]; gives the value, or nothing with at least one finding. A record decodes all of its fields before it gives up,
//! so one reading of a file finds everything that is wrong with it.
//!
//! The [`record!`] macro makes the type, its decoder and its JSON Schema from one list of fields, so that they cannot disagree.

use std::collections::BTreeSet;

use super::findings::Findings;
use super::place::{At, Place};
use super::suggest;
use super::yaml::{Entry, Kind, Node};

/// Decodes itself from a node.
pub(crate) trait Decode: Sized {
    /// Returns the value; `None` after a finding was added.
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self>;

    /// Returns what a key that is not there means; `None` when it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// Returns what stands for a value that is wrong, after a finding was added, so that the rest of the record can still be looked
    /// at; `None` when the record makes no sense without it.
    fn wrong() -> Option<Self> {
        Self::absent()
    }
}

/// Keys of a record whose values are wrong. What depends on them is not judged: one mistake is one finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wrong(Vec<&'static str>);

impl Wrong {
    /// Returns whether any of these keys has a wrong value.
    pub(crate) fn any(&self, keys: &[&str]) -> bool {
        self.0.iter().any(|wrong| keys.contains(wrong))
    }
}

/// The value of a key that must be there. Empty after a finding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Must<T>(pub(crate) Option<T>);

impl<T: Decode> Decode for Must<T> {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        T::decode(node, cx).map(|value| Self(Some(value)))
    }

    fn wrong() -> Option<Self> {
        Some(Self(None))
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Must<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<T>()
    }
}

/// What a decoder knows about where it is.
pub(crate) struct Context<'f, 's> {
    /// Path of the file.
    pub(crate) file: &'s str,
    /// Where findings go.
    pub(crate) findings: &'f mut Findings<'s>,
    /// Keys from the root to here.
    path: Vec<String>,
}

impl<'f, 's> Context<'f, 's> {
    /// Returns the context of a file's root.
    pub(crate) fn new(file: &'s str, findings: &'f mut Findings<'s>) -> Self {
        Self { file, findings, path: Vec::new() }
    }

    /// Adds an error at a place and returns nothing, to be returned in turn.
    pub(crate) fn fail<T>(
        &mut self,
        code: &str,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.findings.error(code, self.file, place, message, hint);
        None
    }

    /// Adds a `wrong-type` error that names the key, what it takes and what was found.
    pub(crate) fn wrong_type<T>(&mut self, node: &Node, wanted: &str, hint: impl Into<String>) -> Option<T> {
        let message = format!("{} takes {wanted}, not {}", self.here(), found(node));
        self.fail("wrong-type", node.place, message, hint)
    }

    /// Adds a `bad-value` error that names the key.
    pub(crate) fn bad_value<T>(
        &mut self,
        node: &Node,
        why: impl std::fmt::Display,
        hint: impl Into<String>,
    ) -> Option<T> {
        let message = format!("{}: {why}", self.here());
        self.fail("bad-value", node.place, message, hint)
    }

    /// Runs `work` with a key added to the path.
    pub(crate) fn below<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.chars().take(60).collect());
        let result = work(self);
        self.path.pop();
        result
    }

    /// Returns the dotted path of keys, for messages.
    fn here(&self) -> String {
        if self.path.is_empty() { "this file".to_owned() } else { format!("`{}`", self.path.join(".")) }
    }
}

/// Returns what a node is, in words.
fn found(node: &Node) -> String {
    match &node.kind {
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Scalar { text, plain } => match PlainValue::of(text, *plain) {
            PlainValue::Null => "nothing".to_owned(),
            PlainValue::Bool(value) => format!("the truth value `{value}`"),
            PlainValue::Integer(_) | PlainValue::Float(_) | PlainValue::Odd(_) => {
                format!("the number `{}`", text.chars().take(40).collect::<String>())
            }
            PlainValue::Text => "text".to_owned(),
        },
    }
}

/// What an unquoted scalar means by the core schema of YAML 1.2.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PlainValue {
    /// Empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// A number that readers of YAML do not agree on, and why.
    Odd(&'static str),
    /// Anything else.
    Text,
}

impl PlainValue {
    /// Returns the meaning of a scalar.
    pub(crate) fn of(text: &str, plain: bool) -> Self {
        if !plain {
            return Self::Text;
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            _ => {}
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
            return Self::Odd("templates cannot carry it");
        }
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Self::Text;
        }
        if unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.bytes().all(|b| b.is_ascii_digit()) {
            return Self::Odd("YAML 1.1 reads a leading zero as octal, YAML 1.2 as decimal");
        }
        let radix =
            [("0x", 16), ("0o", 8)].into_iter().find_map(|(prefix, radix)| Some((text.strip_prefix(prefix)?, radix)));
        if let Some((digits, radix)) = radix {
            if !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) {
                let value = i128::from_str_radix(digits, radix).ok().filter(|value| *value <= i128::from(u64::MAX));
                return value.map_or(Self::Odd("it does not fit into 64 bits"), Self::Integer);
            }
            return Self::Text;
        }
        if unsigned.bytes().all(|b| b.is_ascii_digit()) {
            let value: Option<i128> = text.parse().ok();
            let fits = |value: &i128| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(value);
            return value.filter(fits).map_or(Self::Odd("it does not fit into 64 bits"), Self::Integer);
        }
        let number = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
        match text.parse::<f64>() {
            Ok(value) if number && value.is_finite() => Self::Float(value),
            Ok(_) if number => Self::Odd("it is too large"),
            _ => Self::Text,
        }
    }
}

/// Returns the text of a scalar that is text, or a finding.
pub(crate) fn text_of<'n>(
    node: &'n Node,
    wanted: &str,
    quoting_helps: impl Fn(&str) -> bool,
    cx: &mut Context<'_, '_>,
) -> Option<&'n str> {
    match &node.kind {
        Kind::Scalar { text, plain } if PlainValue::of(text, *plain) == PlainValue::Text => Some(text),
        Kind::Scalar { text, plain: true } if !text.is_empty() && quoting_helps(text) => {
            let quoted: String = text.chars().take(60).collect();
            cx.wrong_type(node, wanted, format!("quote it to make it text: \"{quoted}\""))
        }
        Kind::Scalar { text, plain: true } => {
            // A number where a length of time or a share is wanted: it lacks its unit.
            let with_unit = ["s", "%"].iter().map(|unit| format!("{text}{unit}")).find(|text| quoting_helps(text));
            let hint = with_unit.filter(|_| text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty());
            cx.wrong_type(
                node,
                wanted,
                hint.map(|text| format!("give it a unit, such as `{text}`")).unwrap_or_default(),
            )
        }
        _ => cx.wrong_type(node, wanted, ""),
    }
}

/// The entries of a map while a record takes its fields from it.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    place: Place,
    what: &'static str,
    /// Known keys that unknown ones were probably meant to be: they are not reported as missing too.
    meant: Vec<&'static str>,
    /// Keys whose values were wrong so far.
    pub(crate) wrong: Wrong,
}

impl<'n> Fields<'n> {
    /// Returns the fields of a map; finds unknown keys at once. Keys that begin with `x-` are the user's own.
    pub(crate) fn new(
        node: &'n Node,
        what: &'static str,
        keys: &'static [&'static str],
        cx: &mut Context<'_, '_>,
    ) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let known = keys.join("`, `");
            return cx.wrong_type(node, "a map", format!("its keys are `{known}`"));
        };
        let mut meant = Vec::new();
        for entry in entries {
            if !keys.contains(&entry.key.as_str()) && !entry.key.starts_with("x-") {
                let key: String = entry.key.chars().take(60).collect();
                meant.extend(suggest::closest(&entry.key, keys.iter().copied()));
                let hint = suggest::hint(&entry.key, "its keys are", keys.iter().copied());
                cx.findings.error("unknown-key", cx.file, entry.place, format!("unknown key `{key}` in {what}"), hint);
            }
        }
        let wrong = Wrong(meant.clone());
        Some(Self { entries, place: node.place, what, meant, wrong })
    }

    /// Returns the value of a key.
    pub(crate) fn take<T: Decode>(&mut self, key: &'static str, cx: &mut Context<'_, '_>) -> Option<T> {
        let value = match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => cx.below(key, |cx| T::decode(&entry.value, cx)),
            None if self.meant.contains(&key) => T::absent(),
            None => T::absent().or_else(|| {
                cx.fail(
                    "missing-key",
                    self.place,
                    format!("the key `{key}` is missing in {}", self.what),
                    format!("add `{key}:`"),
                )
            }),
        };
        value.or_else(|| {
            self.wrong.0.push(key);
            T::wrong()
        })
    }
}

/// Returns the key of a field: one that is a word of the language has `r#` before it there.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Declares a record: its type, its decoder and its JSON Schema.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$field_meta:meta])* $field:ident : $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, schemars::JsonSchema)]
        #[allow(clippy::struct_field_names, reason = "fields are named as users write them")]
        #[schemars(extend("additionalProperties" = false, "patternProperties" = { "^x-": true }))]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)*
            /// Keys whose values are wrong.
            #[schemars(skip)]
            pub(crate) wrong: $crate::config::decode::Wrong,
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Context<'_, '_>,
            ) -> Option<Self> {
                const KEYS: &[&str] = &[$($crate::config::decode::key(stringify!($field))),*];
                let mut fields = $crate::config::decode::Fields::new(node, $what, KEYS, cx)?;
                $(let $field = fields.take::<$type>($crate::config::decode::key(stringify!($field)), cx);)*
                Some(Self { $($field: $field?,)* wrong: fields.wrong })
            }
        }
    };
}
pub(crate) use record;

/// Declares how an enum is written, for decoder and JSON Schema.
macro_rules! words {
    ($type:ty, $what:literal, { $($word:literal => $value:expr,)* }) => {
        impl $crate::config::decode::Decode for $type {
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Context<'_, '_>,
            ) -> Option<Self> {
                let text = $crate::config::decode::word_of(node, $what, &[$($word),*], cx)?;
                match text {
                    $($word => Some($value),)*
                    _ => None,
                }
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use words;

/// Declares how a type is parsed from one piece of text, for decoder and JSON Schema.
macro_rules! parsed {
    ($type:ty, $what:literal, $pattern:literal, $parse:expr) => {
        impl $crate::config::decode::Decode for $type {
            fn decode(
                node: &$crate::config::yaml::Node,
                cx: &mut $crate::config::decode::Context<'_, '_>,
            ) -> Option<Self> {
                let parse: fn(&str) -> Result<Self, String> = $parse;
                let quoting_helps = |text: &str| parse(text).is_ok();
                let text = $crate::config::decode::text_of(node, $what, quoting_helps, cx)?;
                match parse(text) {
                    Ok(value) => Some(value),
                    Err(why) => cx.bad_value(node, why, ""),
                }
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}
pub(crate) use parsed;

/// Returns one of a few words, or a finding with the one that was meant.
pub(crate) fn word_of(
    node: &Node,
    what: &str,
    words: &'static [&'static str],
    cx: &mut Context<'_, '_>,
) -> Option<&'static str> {
    // `off` is a truth value for readers of YAML 1.1; unquoted it is text here, as YAML 1.2 has it.
    let text = text_of(node, what, |_| false, cx)?;
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Some(word);
    }
    let shown: String = text.chars().take(60).collect();
    cx.bad_value(node, format!("`{shown}` is no {what}"), suggest::hint(text, "write one of", words.iter().copied()))
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        T::decode(node, cx).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let value = T::decode(node, cx)?;
        Some(Self { value, file: cx.file.to_owned(), place: node.place })
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// A list decodes every item before it gives up.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            return cx.wrong_type(node, "a list", "begin each entry with `- `, or put them between `[` and `]`");
        };
        let decoded: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| cx.below(&index.to_string(), |cx| T::decode(item, cx)))
            .collect();
        decoded.into_iter().collect()
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        if let Kind::Scalar { text, plain } = &node.kind {
            if let PlainValue::Bool(value) = PlainValue::of(text, *plain) {
                return Some(value);
            }
            let meant = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" | "1" => "write `true`",
                "no" | "off" | "n" | "false" | "0" => "write `false`",
                _ => "write `true` or `false`",
            };
            return cx.wrong_type(node, "a truth value", meant);
        }
        cx.wrong_type(node, "a truth value", "write `true` or `false`")
    }
}

/// Returns a whole number in a range, or a finding.
pub(crate) fn integer_of(node: &Node, least: u32, most: u32, cx: &mut Context<'_, '_>) -> Option<u32> {
    let wanted = format!("a whole number from {least} to {most}");
    let Kind::Scalar { text, plain } = &node.kind else {
        return cx.wrong_type(node, &wanted, "");
    };
    match PlainValue::of(text, *plain) {
        PlainValue::Integer(value) => match u32::try_from(value) {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            _ => cx.bad_value(node, format!("`{text}` is out of range"), format!("write {wanted}")),
        },
        PlainValue::Odd(why) => cx.bad_value(
            node,
            format!("`{}` is unclear: {why}", text.chars().take(40).collect::<String>()),
            format!("write {wanted}"),
        ),
        _ => cx.wrong_type(node, &wanted, if *plain { "" } else { "write it without quotes" }),
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole<const LEAST: u32, const MOST: u32>(pub(crate) u32);

impl<const LEAST: u32, const MOST: u32> Decode for Whole<LEAST, MOST> {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        integer_of(node, LEAST, MOST, cx).map(Self)
    }
}

impl<const LEAST: u32, const MOST: u32> schemars::JsonSchema for Whole<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Whole{LEAST}To{MOST}").into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

/// A port number.
pub(crate) type Port = Whole<1, 65535>;

impl Port {
    /// Returns the number.
    pub(crate) fn number(self) -> u16 {
        self.0 as u16
    }
}

/// A map from names to values, in file order. A name whose value is wrong is kept without it, so that what refers to the name is
/// not reported too.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Named<K, T> {
    /// The entries.
    pub(crate) entries: Vec<NamedEntry<K, T>>,
}

/// One entry of a [`Named`] map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedEntry<K, T> {
    /// Its name with its place.
    pub(crate) name: At<K>,
    /// Its value; `None` when it is wrong.
    pub(crate) value: Option<T>,
}

impl<K: Decode, T: Decode> Decode for Named<K, T> {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let list = match &node.kind {
            Kind::Map(entries) => entries,
            // A map whose entries are all commented out.
            Kind::Scalar { text, plain } if PlainValue::of(text, *plain) == PlainValue::Null => {
                return Some(Self { entries: Vec::new() });
            }
            _ => return cx.wrong_type(node, "a map of names", "give each a name: `{ name: … }`"),
        };
        let mut entries = Vec::new();
        for entry in list {
            let (name, value) = cx.below(&entry.key, |cx| {
                let key = Node { place: entry.place, kind: Kind::Scalar { text: entry.key.clone(), plain: false } };
                (At::<K>::decode(&key, cx), T::decode(&entry.value, cx))
            });
            if let Some(name) = name {
                entries.push(NamedEntry { name, value });
            }
        }
        Some(Self { entries })
    }
}

impl<K: schemars::JsonSchema, T: schemars::JsonSchema> schemars::JsonSchema for Named<K, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}By{}", T::schema_name(), K::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names = generator.subschema_for::<K>();
        let values = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": ["object", "null"], "propertyNames": names, "additionalProperties": values })
    }
}

/// Returns names that occur more than once, for lists that must not repeat.
pub(crate) fn repeated<'v, T: Ord>(items: impl IntoIterator<Item = &'v At<T>>) -> Vec<&'v At<T>> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| !seen.insert(&item.value)).collect()
}
