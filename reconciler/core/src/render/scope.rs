//! The values a template sees, and where each is written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value};
use serde_json::Value as Json;

use super::token::{TokenKind, is_reserved, token};
use crate::config::{SealedValue, Variable, closest};
use crate::diag::Origin;
use crate::secret::SecretRef;

/// Deepest nesting of a variable.
const DEPTH: usize = 24;

/// A text with characters that stand for values while rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReservedCharacter {
    /// Name of the value.
    pub(crate) name: String,
    /// Where it is written.
    pub(crate) origin: Origin,
}

/// The values a template sees.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    tree: BTreeMap<String, Node>,
    known: BTreeMap<String, Known>,
    secrets: Vec<SecretRef>,
    refused: Vec<ReservedCharacter>,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Value),
    Map(BTreeMap<String, Node>),
}

#[derive(Debug, Clone)]
struct Known {
    origin: Origin,
    variable: Option<Variable>,
}

/// A secret as a template sees it: it can be printed and concatenated, and has no value.
#[derive(Debug)]
pub(super) struct SecretObject {
    /// Index of the session's list of pieces.
    pub(super) piece: usize,
}

impl Object for SecretObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&token(TokenKind::Piece, self.piece))
    }
}

impl Scope {
    /// Returns an empty scope.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds text at a path: `["host", "name"]`.
    pub(crate) fn text(&mut self, path: &[&str], value: &str, origin: &Origin) {
        if value.chars().any(is_reserved) {
            self.refused.push(ReservedCharacter { name: path.join("."), origin: origin.clone() });
        }
        self.insert(path, Value::from(value), Known { origin: origin.clone(), variable: None });
    }

    /// Adds a list of texts.
    pub(crate) fn list(&mut self, path: &[&str], values: &[String], origin: &Origin) {
        if values.iter().any(|value| value.chars().any(is_reserved)) {
            self.refused.push(ReservedCharacter { name: path.join("."), origin: origin.clone() });
        }
        self.insert(path, Value::from(values.to_vec()), Known { origin: origin.clone(), variable: None });
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, path: &[&str], value: u16, origin: &Origin) {
        self.insert(path, Value::from(value), Known { origin: origin.clone(), variable: None });
    }

    /// Adds a map without entries, so that looking into it says which entry is missing.
    pub(crate) fn map(&mut self, path: &[&str]) {
        place(&mut self.tree, path, Node::Map(BTreeMap::new()));
    }

    /// Adds a variable as `vars.NAME`; a later one of the same name takes its place as a whole.
    pub(crate) fn variable(&mut self, name: &str, variable: &Variable) {
        if reserved_in(&variable.value) {
            let name = format!("vars.{name}");
            self.refused.push(ReservedCharacter { name, origin: variable.origin.clone() });
        }
        let known = Known { origin: variable.origin.clone(), variable: Some(variable.clone()) };
        self.insert(&["vars", name], value_of(&variable.value, 0), known);
    }

    /// Adds a list or a map that Holdfast made itself.
    pub(crate) fn data(&mut self, path: &[&str], value: &Json, origin: &Origin) {
        if reserved_in(value) {
            self.refused.push(ReservedCharacter { name: path.join("."), origin: origin.clone() });
        }
        self.insert(path, value_of(value, 0), Known { origin: origin.clone(), variable: None });
    }

    /// Adds a secret as `secrets.DOTTED.NAME`.
    pub(crate) fn secret(&mut self, sealed: &SealedValue) {
        let mut path = vec!["secrets"];
        path.extend(sealed.secret.path.iter().map(String::as_str));
        let value = Value::from_object(SecretObject { piece: self.secrets.len() });
        self.secrets.push(sealed.secret.clone());
        self.insert(&path, value, Known { origin: sealed.origin.clone(), variable: None });
    }

    fn insert(&mut self, path: &[&str], value: Value, known: Known) {
        self.known.insert(path.join("."), known);
        place(&mut self.tree, path, Node::Leaf(value));
    }

    /// Returns the values whose text cannot be used.
    pub(crate) fn refused(&self) -> &[ReservedCharacter] {
        &self.refused
    }

    /// Returns all secrets; a [`SecretObject`]'s number is an index of it.
    pub(super) fn secrets(&self) -> &[SecretRef] {
        &self.secrets
    }

    /// Returns the values for the template engine.
    pub(super) fn value(&self) -> Value {
        Node::Map(self.tree.clone()).value()
    }

    /// Returns whether a name is one of the scope's own.
    pub(super) fn has_root(&self, name: &str) -> bool {
        self.tree.contains_key(name)
    }

    /// Returns what to do about a name that has no value.
    pub(super) fn undefined_hint(&self, name: &str) -> String {
        if let Some(meant) = self.meant(name) {
            return format!("did you mean `{meant}`?");
        }
        match self.tree.get("env") {
            Some(Node::Leaf(environment)) if name.starts_with("secrets.") => {
                let file = format!("environments/{environment}/secrets.sops.yaml");
                format!("{file} does not have it: add it there with `sops edit {file}`")
            }
            _ if name.starts_with("targets_of.") => self.untold(name),
            _ => "set it, or print it with `|default(…)` where it may be missing".to_owned(),
        }
    }

    /// Returns what to do about a target that is none.
    fn untold(&self, name: &str) -> String {
        let component = name.split('.').nth(1).unwrap_or_default();
        match self.tree.get("hosts_of") {
            Some(Node::Map(components)) if components.contains_key(component) => {
                format!(
                    "the component `{component}` tells Prometheus nothing: give it `metrics: {{ {component}: {{ port: … }} }}`"
                )
            }
            _ => format!("the app has no component `{component}`"),
        }
    }

    /// Returns the name that was probably meant by one that has no value.
    fn meant(&self, name: &str) -> Option<String> {
        let Some((root, rest)) = name.split_once('.') else {
            let variable = format!("vars.{name}");
            let root = || closest(name, self.tree.keys().map(String::as_str)).map(str::to_owned);
            return if self.known.contains_key(&variable) { Some(variable) } else { root() };
        };
        let depth = name.split('.').count();
        let inner = |(key, known): (&String, &Known)| -> Vec<String> {
            let inner = known.variable.iter().flat_map(|variable| variable.inner.keys());
            inner.map(|rest| format!("{key}.{rest}")).chain([key.clone()]).collect()
        };
        // As deep as what was written: who wrote `secrets.databse.password` meant no map.
        let as_deep = |key: String| Some(key.strip_prefix(root)?.strip_prefix('.')?.to_owned());
        let all: Vec<String> = self.known.iter().flat_map(inner).filter_map(as_deep).collect();
        let all = all.iter().filter(|rest| rest.split('.').count() + 1 == depth).map(String::as_str);
        closest(rest, all).map(|meant| format!("{root}.{meant}"))
    }

    /// Returns the full name and place of the value that `name` means when it prints `shown`.
    pub(super) fn source(&self, name: &str, shown: &str) -> Option<(String, Origin)> {
        let mut prefix = name;
        loop {
            if let Some(known) = self.known.get(prefix) {
                let rest = name[prefix.len()..].trim_start_matches('.');
                return Some(known.source(prefix, rest, shown));
            }
            prefix = &prefix[..prefix.rfind('.')?];
        }
    }
}

impl Known {
    fn source(&self, name: &str, rest: &str, shown: &str) -> (String, Origin) {
        let Some(variable) = &self.variable else { return (name.to_owned(), self.origin.clone()) };
        if let Some(origin) = variable.inner.get(rest) {
            return (format!("{name}.{rest}"), origin.clone());
        }
        // A loop over the variable printed one of its values: the first that reads the same, at a path that ends the same.
        let mut leaves = Vec::new();
        collect(&variable.value, &mut String::new(), &mut leaves);
        leaves
            .into_iter()
            .filter(|(path, text)| text == shown && (rest.is_empty() || path.ends_with(rest)))
            .find_map(|(path, _)| Some((format!("{name}.{path}"), variable.inner.get(&path)?.clone())))
            .unwrap_or_else(|| (name.to_owned(), self.origin.clone()))
    }
}

fn collect(value: &Json, path: &mut String, leaves: &mut Vec<(String, String)>) {
    let mut go = |key: &str, inner: &Json| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        collect(inner, path, leaves);
        path.truncate(length);
    };
    match value {
        Json::Object(map) => map.iter().for_each(|(key, inner)| go(key, inner)),
        Json::Array(list) => list.iter().enumerate().for_each(|(index, inner)| go(&index.to_string(), inner)),
        Json::String(text) => leaves.push((path.clone(), text.clone())),
        other => leaves.push((path.clone(), other.to_string())),
    }
}

fn place(tree: &mut BTreeMap<String, Node>, path: &[&str], node: Node) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        match (tree.get(*first), &node) {
            (Some(Node::Map(_)), Node::Map(_)) => {}
            _ => {
                tree.insert((*first).to_owned(), node);
            }
        }
        return;
    }
    let inner = tree.entry((*first).to_owned()).or_insert_with(|| Node::Map(BTreeMap::new()));
    if !matches!(inner, Node::Map(_)) {
        *inner = Node::Map(BTreeMap::new());
    }
    if let Node::Map(map) = inner {
        place(map, rest, node);
    }
}

impl Node {
    fn value(&self) -> Value {
        match self {
            Self::Leaf(value) => value.clone(),
            Self::Map(map) => Value::from_pairs(map.iter().map(|(key, node)| (key.clone(), node.value()))),
        }
    }
}

fn value_of(json: &Json, depth: usize) -> Value {
    match json {
        _ if depth > DEPTH => Value::from(()),
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (.., Some(number)) => Value::from(number),
            _ => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => list.iter().map(|item| value_of(item, depth + 1)).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, item)| (key.clone(), value_of(item, depth + 1)))),
    }
}

fn reserved_in(json: &Json) -> bool {
    match json {
        Json::String(text) => text.chars().any(is_reserved),
        Json::Array(list) => list.iter().any(reserved_in),
        Json::Object(map) => map.iter().any(|(key, item)| key.chars().any(is_reserved) || reserved_in(item)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}
