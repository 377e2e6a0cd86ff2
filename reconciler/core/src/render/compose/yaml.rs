//! YAML as a tree that keeps the order of keys and the look of scalars, so that nothing is read with other rules than Compose's own.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser, ScalarStyle};

/// Deepest nesting.
const DEPTH: usize = 64;
/// Most nodes, those that an alias repeats included.
const NODES: usize = 50_000;

/// A node with its line in the rendered text, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A scalar, `plain` when it was written without quotes.
    Scalar { text: String, plain: bool, tag: Option<String> },
    /// A list.
    List { items: Vec<Node>, tag: Option<String> },
    /// Keys and values as written.
    Map { entries: Vec<(Node, Node)>, tag: Option<String> },
}

/// Why a text is no usable YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlProblem {
    pub(super) line: usize,
    pub(super) message: String,
}

impl Node {
    /// Returns the value of a key of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
    }

    /// Returns the entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[(Self, Self)] {
        match &self.kind {
            Kind::Map { entries, .. } => entries,
            Kind::Scalar { .. } | Kind::List { .. } => &[],
        }
    }

    /// Returns the items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List { items, .. } => items,
            Kind::Scalar { .. } | Kind::Map { .. } => &[],
        }
    }

    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List { .. } | Kind::Map { .. } => None,
        }
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            // Long texts weigh more, so that repeating one cannot fill the memory.
            Kind::Scalar { text, .. } => text.len() / 64,
            Kind::List { items, .. } => items.iter().map(Self::count).sum(),
            Kind::Map { entries, .. } => entries.iter().map(|(key, value)| key.count() + value.count()).sum(),
        }
    }
}

enum Open {
    List { line: usize, anchor: usize, tag: Option<String>, items: Vec<Node> },
    Map { line: usize, anchor: usize, tag: Option<String>, entries: Vec<(Node, Node)>, key: Option<Node> },
}

/// Reads one document. Aliases are replaced by what they name, `<<` is merged, repeated keys are refused.
pub(super) fn read(text: &str) -> Result<Node, YamlProblem> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: Vec<(usize, Node)> = Vec::new();
    let mut root = None;
    let mut documents = 0;
    let mut nodes = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| YamlProblem { line: error.marker().line(), message: error.info() })?;
        let line = span.start.line();
        let fail = |message: &str| Err(YamlProblem { line, message: message.to_owned() });
        if open.len() > DEPTH {
            return fail("the YAML is nested too deep");
        }
        let done = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return fail("more than one YAML document (`---`) in the file");
                }
                continue;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                    tag: tag.map(|tag| tag.original()),
                };
                Some((Node { line, kind }, anchor))
            }
            Event::SequenceStart(_, anchor, tag) => {
                open.push(Open::List { line, anchor, tag: tag.map(|tag| tag.original()), items: Vec::new() });
                None
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = tag.map(|tag| tag.original());
                open.push(Open::Map { line, anchor, tag, entries: Vec::new(), key: None });
                None
            }
            Event::SequenceEnd => match open.pop() {
                Some(Open::List { line, anchor, tag, items }) => {
                    Some((Node { line, kind: Kind::List { items, tag } }, anchor))
                }
                _ => return fail("a list ends that did not begin"),
            },
            Event::MappingEnd => match open.pop() {
                Some(Open::Map { line, anchor, tag, entries, key: None }) => {
                    let entries = merge(entries)?;
                    Some((Node { line, kind: Kind::Map { entries, tag } }, anchor))
                }
                _ => return fail("a map ends in the middle of an entry"),
            },
            Event::Alias(anchor) => match anchors.iter().rev().find(|(known, _)| *known == anchor) {
                Some((_, node)) => {
                    nodes += node.count();
                    Some((node.clone(), 0))
                }
                None => return fail("an alias names itself or nothing"),
            },
            _ => None,
        };
        let Some((node, anchor)) = done else { continue };
        nodes += 1;
        if nodes > NODES {
            return fail("the YAML has too many nodes; do aliases repeat each other?");
        }
        if anchor > 0 {
            anchors.push((anchor, node.clone()));
        }
        match open.last_mut() {
            None => root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some(node),
                Some(name) => entries.push((name, node)),
            },
        }
    }
    Ok(root.unwrap_or(Node { line: 1, kind: Kind::Scalar { text: String::new(), plain: true, tag: None } }))
}

/// Merges `<<` entries, whose values give way to keys that are written out, and refuses repeated keys.
fn merge(entries: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, YamlProblem> {
    let mut merged: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    let mut names = BTreeSet::new();
    let mut weak: Vec<(Node, Node)> = Vec::new();
    for (key, value) in entries {
        let is_merge = matches!(&key.kind, Kind::Scalar { text, plain: true, .. } if text == "<<");
        if is_merge {
            let sources = match &value.kind {
                Kind::List { items, .. } => items.as_slice(),
                Kind::Map { .. } => std::slice::from_ref(&value),
                Kind::Scalar { .. } => {
                    return Err(YamlProblem { line: value.line, message: "`<<` merges maps only".to_owned() });
                }
            };
            weak.extend(sources.iter().flat_map(|source| source.entries().iter().cloned()));
            continue;
        }
        let Some(name) = key.text() else {
            return Err(YamlProblem { line: key.line, message: "a key that is no plain text".to_owned() });
        };
        if !names.insert(name.to_owned()) {
            return Err(YamlProblem { line: key.line, message: "the same key twice in one map".to_owned() });
        }
        merged.push((key, value));
    }
    for (key, value) in weak {
        if key.text().is_some_and(|name| names.insert(name.to_owned())) {
            merged.push((key, value));
        }
    }
    Ok(merged)
}
