//! YAML text to a tree in which every value knows its place.
//!
//! # Flow
//! Takes the text of one file; gives its tree, or findings. Decoding is another module's work: this one knows YAML, not Holdfast.
//!
//! # Guarantees
//! Depth, number of values and text are bounded also after aliases were followed, so that every recursion over a [`Node`] ends.
//! Keys of a map are unique. One syntax error ends the file: what follows it cannot be trusted.
//!
//! # Source
//! YAML 1.2.2, core schema for plain scalars. Of YAML 1.1 only the merge key `<<` is known. Tags are refused.

use std::collections::BTreeMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::findings::Findings;
use super::limits::{MAX_SCALAR_BYTES, MAX_YAML_DEPTH, MAX_YAML_NODES, MAX_YAML_TEXT_BYTES};
use super::place::Place;

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its place.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text; its meaning depends on who asks.
    Scalar {
        /// After escapes.
        text: String,
        /// Written without quotes, so that it may be a number, a truth value or nothing.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in file order.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its key.
    pub(crate) key: String,
    /// The key's place.
    pub(crate) place: Place,
    /// Its value.
    pub(crate) value: Node,
}

/// A list or map that is not closed yet.
enum Open {
    List { place: Place, anchor: usize, items: Vec<Node> },
    Map(OpenMap),
}

/// A map that is not closed yet.
struct OpenMap {
    place: Place,
    anchor: usize,
    entries: Vec<Entry>,
    /// Lines of the keys so far.
    seen: BTreeMap<String, u32>,
    merges: Vec<Node>,
    key: Option<PendingKey>,
}

/// A key that waits for its value.
struct PendingKey {
    text: String,
    place: Place,
    merge: bool,
}

/// The tree under construction.
struct Builder<'f, 's> {
    file: &'s str,
    findings: &'f mut Findings<'s>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    effort: Effort,
    root: Option<Node>,
}

/// How much reading a document took, counting what is weighed and copied for its aliases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Effort {
    events: usize,
    nodes: usize,
    text_bytes: usize,
}

/// The file cannot be read further; the finding is already recorded.
struct Stop;

/// Returns the tree of one document, or nothing when it has none that can be used. Findings say why.
pub(crate) fn parse<'s>(file: &'s str, text: &str, findings: &mut Findings<'s>) -> Option<Node> {
    build(file, text, findings).0
}

fn build<'s>(file: &'s str, text: &str, findings: &mut Findings<'s>) -> (Option<Node>, Effort) {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: MAX_YAML_DEPTH,
        block_nesting_limit: MAX_YAML_DEPTH,
    };
    let before = findings.len();
    let effort = Effort::default();
    let mut builder = Builder { file, findings, open: Vec::new(), anchors: BTreeMap::new(), effort, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        builder.effort.events += 1;
        let outcome = match event {
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                if documents > 1 {
                    let place = place_of(&span);
                    builder.stop(
                        "many-documents",
                        place,
                        "a second document begins here",
                        "keep one document in a file",
                    )
                } else {
                    Ok(())
                }
            }
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => builder.syntax(&error),
        };
        if outcome.is_err() {
            return (None, builder.effort);
        }
    }
    let (root, effort) = (builder.root.take(), builder.effort);
    if root.is_none() && findings.len() == before {
        findings.error(
            "empty-file",
            file,
            Place::default(),
            "the file holds nothing",
            "write its keys, or take it away",
        );
    }
    (root, effort)
}

impl Builder<'_, '_> {
    fn stop(
        &mut self,
        code: &str,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Result<(), Stop> {
        self.findings.error(code, self.file, place, message, hint);
        Err(Stop)
    }

    fn syntax(&mut self, error: &ScanError) -> Result<(), Stop> {
        let mark = error.marker();
        let place = Place { line: mark.line() as u32, column: mark.col() as u32 + 1, length: 1 };
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            return self.too_deep(place);
        }
        let message = format!("not YAML: {}", error.info());
        let hint = if message.contains("tabs") {
            "indent with spaces: this line has a tab"
        } else if message.contains("anchor or alias") {
            "quote a value that begins with `*` or `&`"
        } else {
            "mind the indentation, the space after `:`, and quotes around text with `{`, `#` or `: `"
        };
        self.stop("syntax", place, message, hint)
    }

    fn too_deep(&mut self, place: Place) -> Result<(), Stop> {
        let message = format!("lists and maps are nested more than {MAX_YAML_DEPTH} deep");
        self.stop("too-deep", place, message, "no file of Holdfast needs that")
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let place = place_of(span);
        if let Some(tag) = event.tag() {
            let message = format!("the tag `{}` is not allowed", self.shown(&tag.original()));
            self.findings.error("tag", self.file, place, message, "quote the value to make it text");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                if text.len() > MAX_SCALAR_BYTES {
                    let message = format!("this value has {} bytes, more than {MAX_SCALAR_BYTES}", text.len());
                    return self.stop("too-large", place, message, "keep large content in a template or on the host");
                }
                let plain = style == ScalarStyle::Plain;
                let node = Node { place, kind: Kind::Scalar { text: text.into_owned(), plain } };
                self.charge(&node, place)?;
                self.finish(node, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.push(Open::List { place, anchor, items: Vec::new() }, place),
            Event::MappingStart(_, anchor, _) => {
                let (entries, seen, merges) = (Vec::new(), BTreeMap::new(), Vec::new());
                self.push(Open::Map(OpenMap { place, anchor, entries, seen, merges, key: None }), place)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, anchor, items }) => {
                    self.finish(Node { place, kind: Kind::List(items) }, anchor)
                }
                Some(Open::Map(map)) => {
                    let (place, anchor) = (map.place, map.anchor);
                    let entries = self.merge(map);
                    self.finish(Node { place, kind: Kind::Map(entries) }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(mut node) = self.anchors.get(&id).cloned() else {
                    return self.stop("alias", place, "this alias stands inside its own anchor", "write the value out");
                };
                if matches!(node.kind, Kind::Scalar { .. }) {
                    node.place = place;
                }
                self.charge(&node, place)?;
                if self.open.len() + height(&node) > MAX_YAML_DEPTH {
                    return self.too_deep(place);
                }
                self.finish(node, 0)
            }
            Event::UnresolvedAlias(name) => {
                let message = format!("no anchor `&{}` stands before this alias", self.shown(&name));
                self.stop("alias", place, message, "quote a value that begins with `*`")
            }
            _ => Ok(()),
        }
    }

    /// Returns text for a message. In a file of secrets a value that someone forgot to quote may look like a tag or an alias.
    fn shown(&self, text: &str) -> String {
        if self.findings.hides(self.file) { "…".to_owned() } else { short(text) }
    }

    fn push(&mut self, open: Open, place: Place) -> Result<(), Stop> {
        if self.open.len() >= MAX_YAML_DEPTH {
            return self.too_deep(place);
        }
        self.effort.nodes += 1;
        self.open.push(open);
        self.budget(place)
    }

    /// Counts a node and all below it.
    fn charge(&mut self, node: &Node, place: Place) -> Result<(), Stop> {
        let (nodes, bytes) = weight(node);
        self.effort.nodes += nodes;
        self.effort.text_bytes += bytes;
        self.budget(place)
    }

    fn budget(&mut self, place: Place) -> Result<(), Stop> {
        if self.effort.nodes > MAX_YAML_NODES {
            let message = format!("more than {MAX_YAML_NODES} values, counting what aliases stand for");
            return self.stop("too-many", place, message, "split the file, or do not nest aliases");
        }
        if self.effort.text_bytes > MAX_YAML_TEXT_BYTES {
            let message = format!("more than {MAX_YAML_TEXT_BYTES} bytes of text, counting what aliases stand for");
            return self.stop("too-large", place, message, "split the file, or do not repeat long texts by alias");
        }
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.charge(&node, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map(map)) => match map.key.take() {
                Some(pending) if pending.merge => map.merges.push(node),
                Some(pending) => {
                    if let Some(first) = map.seen.get(&pending.text) {
                        let message = format!("the key `{}` is already given on line {first}", short(&pending.text));
                        self.findings.error("duplicate-key", self.file, pending.place, message, "keep one of the two");
                    } else {
                        map.seen.insert(pending.text.clone(), pending.place.line);
                        map.entries.push(Entry { key: pending.text, place: pending.place, value: node });
                    }
                }
                None => match node.kind {
                    Kind::Scalar { text, plain } => {
                        let merge = plain && text == "<<";
                        map.key = Some(PendingKey { text, place: node.place, merge });
                    }
                    Kind::List(_) | Kind::Map(_) => {
                        return self.stop(
                            "key",
                            node.place,
                            "a list or map cannot be a key",
                            "quote text that begins with `{` or `[`",
                        );
                    }
                },
            },
        }
        Ok(())
    }

    /// Returns the entries of a map with those that its merge keys bring and it does not have itself. Earlier merges win.
    fn merge(&mut self, map: OpenMap) -> Vec<Entry> {
        let (mut entries, mut seen) = (map.entries, map.seen);
        let sources = map.merges.into_iter().flat_map(|node| match node.kind {
            Kind::List(items) => items,
            _ => vec![node],
        });
        for source in sources {
            let Kind::Map(merged) = source.kind else {
                self.findings.error("merge", self.file, source.place, "`<<` takes a map or a list of maps", "");
                continue;
            };
            for entry in merged {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.place.line);
                    entries.push(entry);
                }
            }
        }
        entries
    }
}

fn place_of(span: &Span) -> Place {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Place { line: start.line() as u32, column: start.col() as u32 + 1, length: length.max(1) as u32 }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn weight(node: &Node) -> (usize, usize) {
    let children: Vec<(usize, usize)> = match &node.kind {
        Kind::Scalar { text, .. } => return (1, text.len()),
        Kind::List(items) => items.iter().map(weight).collect(),
        Kind::Map(entries) => {
            entries.iter().map(|e| (weight(&e.value), e.key.len())).map(|((n, b), k)| (n, b + k)).collect()
        }
    };
    children.into_iter().fold((1, 0), |(n, b), (nodes, bytes)| (n + nodes, b + bytes))
}

fn height(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 0,
        Kind::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Kind::Map(entries) => 1 + entries.iter().map(|entry| height(&entry.value)).max().unwrap_or(0),
    }
}

#[cfg(test)]
#[path = "../../tests/config/hostile.rs"]
mod hostile;

#[cfg(test)]
mod tests {
    use super::super::limits::MAX_FILE_BYTES;
    use super::*;

    /// Counted, not timed: the same on a machine that is busy with other things.
    #[test]
    fn no_file_takes_more_than_twice_the_work_that_the_limits_allow() {
        let mut most = Effort::default();
        // A larger one is refused before it is parsed.
        for (name, text, _) in hostile::files().iter().filter(|(_, text, _)| text.len() <= MAX_FILE_BYTES) {
            let (root, effort) = build("a.yaml", text, &mut Findings::default());
            assert_eq!(root, None, "{name}");
            // Each value is one event or two; the last alias that is followed may be as heavy as all before it.
            assert!(effort.events <= 2 * MAX_YAML_NODES, "{name}: {effort:?}");
            assert!(effort.nodes <= 2 * MAX_YAML_NODES, "{name}: {effort:?}");
            assert!(effort.text_bytes <= 2 * MAX_YAML_TEXT_BYTES, "{name}: {effort:?}");
            most.nodes = most.nodes.max(effort.nodes);
            most.text_bytes = most.text_bytes.max(effort.text_bytes);
        }
        assert!(most.nodes > MAX_YAML_NODES && most.text_bytes > MAX_YAML_TEXT_BYTES, "none of them tries: {most:?}");
    }
}
