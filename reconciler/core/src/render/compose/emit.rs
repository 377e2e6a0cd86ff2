//! Writes a compose file in one look: two blanks of indent, keys as they are, every value that is not plainly a word in double
//! quotes, every `$` doubled.

use std::collections::BTreeSet;

use super::yaml::{Kind, Node};
use crate::render::encoding::{Encoding, yaml};
use crate::render::findings::Findings;
use crate::render::hole::{HoleValue, Piece, Rendered};
use crate::render::writer::ContentWriter;

pub(super) struct Emitter<'a, 'f, 't> {
    pub(super) rendered: &'a Rendered,
    pub(super) findings: &'f mut Findings<'t>,
    pub(super) out: ContentWriter,
}

impl Emitter<'_, '_, '_> {
    /// Writes a node below a key or dash; the line before it is still open.
    pub(super) fn value(&mut self, node: &Node, indent: usize) {
        match &node.kind {
            Kind::Scalar { text, plain, tag } => {
                self.tag(node, tag.as_deref());
                self.out.text(" ");
                self.scalar(node, text, *plain && tag.is_none());
                self.out.text("\n");
            }
            Kind::List { items, tag } => {
                self.tag(node, tag.as_deref());
                if items.is_empty() {
                    self.out.text(" []\n");
                    return;
                }
                self.out.text("\n");
                for item in items {
                    self.out.text(&" ".repeat(indent));
                    self.out.text("-");
                    self.item(item, indent + 2);
                }
            }
            Kind::Map { entries, tag } => {
                self.tag(node, tag.as_deref());
                if entries.is_empty() {
                    self.out.text(" {}\n");
                    return;
                }
                self.out.text("\n");
                self.entries(entries, indent);
            }
        }
    }

    /// A list or map inside a list begins on a line of its own: `-` alone is valid before it and needs no second rule.
    fn item(&mut self, node: &Node, indent: usize) {
        self.value(node, indent);
    }

    /// Writes the entries of a map, each on lines of its own.
    pub(super) fn entries(&mut self, entries: &[(Node, Node)], indent: usize) {
        let mut seen = BTreeSet::new();
        for (key, value) in entries {
            let text = key.text().unwrap_or_default();
            let Some(name) = plain_text(self.rendered, text) else {
                self.error("secret-use", key, "a secret cannot be a key", "put it into a value");
                continue;
            };
            if !seen.insert(name.clone()) {
                self.error("duplicate-key", key, format!("the key `{name}` stands twice in one map"), "");
            }
            self.out.text(&" ".repeat(indent));
            for piece in self.rendered.pieces(text) {
                if let Piece::Hole(hole) = piece {
                    self.out.from(&hole.sources, &hole.template);
                }
            }
            if is_word(&name) {
                self.out.text(&name);
            } else {
                let mut quoted = String::from("\"");
                yaml(&name, false, &mut quoted);
                quoted.push('"');
                self.out.text(&quoted);
            }
            self.out.text(":");
            self.value(value, indent + 2);
        }
    }

    fn tag(&mut self, node: &Node, tag: Option<&str>) {
        if let Some(tag) = tag.filter(|tag| !matches!(*tag, "!!str" | "!!map" | "!!seq")) {
            let message = format!("the tag `{tag}` has no meaning in a compose file of its own");
            self.error("compose-tag", node, message, "take it out");
        }
    }

    fn error(&mut self, code: &str, node: &Node, message: impl Into<String>, hint: &str) {
        let at = self.rendered.place(node.line);
        self.findings.error(code, &at, message, hint);
    }

    fn scalar(&mut self, node: &Node, text: &str, plain: bool) {
        let pieces = self.rendered.pieces(text);
        if plain {
            match pieces.as_slice() {
                [] => return self.out.text("null"),
                [Piece::Text(word)] if is_word(word) => return self.out.text(word),
                [Piece::Hole(hole)] => {
                    if let HoleValue::Word(word) = &hole.value {
                        self.out.from(&hole.sources, &hole.template);
                        return self.out.text(word);
                    }
                }
                _ => {}
            }
        }
        self.out.text("\"");
        for piece in pieces {
            match piece {
                Piece::Text(literal) => self.literal(node, literal),
                Piece::Hole(hole) => {
                    self.out.from(&hole.sources, &hole.template);
                    match &hole.value {
                        HoleValue::Text(value) | HoleValue::Word(value) => {
                            match Encoding::ComposeScalar.encode(value) {
                                Ok(encoded) => self.out.text(&encoded),
                                Err(error) => {
                                    let message = format!("`{}` cannot be written here: {error}", hole.name());
                                    self.findings.error("unwritable-value", &hole.template, message, "");
                                }
                            }
                        }
                        HoleValue::Secret(part) => self.out.piece(part, &[Encoding::ComposeScalar]),
                    }
                }
            }
        }
        self.out.text("\"");
    }

    /// Writes the template's own text. `$$` is the dollar sign people write in compose files; what Compose would take from the
    /// environment of its own process is refused.
    fn literal(&mut self, node: &Node, literal: &str) {
        let mut out = String::new();
        let mut rest = literal;
        while let Some(at) = rest.find('$') {
            yaml(&rest[..at], false, &mut out);
            out.push_str("$$");
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                rest = after;
            } else if rest.starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic()) {
                let end =
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || "{}_:?-+.".contains(c))).unwrap_or(rest.len());
                let message = format!("`${}` would be taken from the environment of the host", &rest[..end]);
                self.error(
                    "compose-interpolation",
                    node,
                    message,
                    "use a template value `{{ vars.… }}`, or write `$$` for a dollar sign",
                );
            }
        }
        yaml(rest, false, &mut out);
        self.out.text(&out);
    }
}

/// Returns whether a text can stand without quotes and means the same to every YAML reader as it did where it came from.
///
/// Such words are numbers, booleans and names; they are handed on as they are, so that Compose's own reader decides what they are.
fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./+-".contains(c);
    text == "~"
        || (text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.+".contains(c)) && text.chars().all(inner))
        || (text
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') && rest.chars().all(inner))
            && text.len() > 1)
}

/// Returns a scalar's text with its values in place, or `None` when a secret is in it.
pub(super) fn plain_text(rendered: &Rendered, text: &str) -> Option<String> {
    rendered
        .pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(text),
            Piece::Hole(hole) => hole.plain(),
        })
        .collect()
}
