use super::Part;
use super::token::{Segment, TokenKind, segments};
use crate::diag::Origin;

/// What was printed at one place of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HoleValue {
    /// Text, to be quoted.
    Text(String),
    /// A number, `true` or `false`.
    Word(String),
    /// Text with a secret in it.
    Secret(Part),
}

/// A value that was printed, and where from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    /// The value.
    pub(super) value: HoleValue,
    /// The names of the values it was made of, and where they are written.
    pub(super) sources: Vec<(String, Origin)>,
    /// Where the template prints it.
    pub(super) template: Origin,
}

impl Hole {
    /// Returns the plain text, or `None` for a secret.
    pub(super) fn plain(&self) -> Option<&str> {
        match &self.value {
            HoleValue::Text(text) | HoleValue::Word(text) => Some(text),
            HoleValue::Secret(_) => None,
        }
    }

    /// Returns the name for messages: the first of its sources, or `the value`.
    pub(super) fn name(&self) -> &str {
        self.sources.first().map_or("the value", |(field, _)| field)
    }
}

/// A rendered text whose values are still tokens.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    /// The text, with tokens of kind `Hole` only.
    pub(super) text: String,
    /// By token.
    pub(super) holes: Vec<Hole>,
    /// For each line of `text`, where the template has it; empty file names for lines the template does not name.
    pub(super) lines: Vec<Origin>,
}

/// A part of a rendered text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// Text of the template.
    Text(&'a str),
    /// A value.
    Hole(&'a Hole),
}

impl Rendered {
    /// Takes a part of the text apart.
    pub(super) fn pieces<'a>(&'a self, text: &'a str) -> Vec<Piece<'a>> {
        segments(text)
            .expect("BUG: the renderer lets whole tokens through only")
            .into_iter()
            .filter_map(|segment| match segment {
                Segment::Text(text) => Some(Piece::Text(text)),
                Segment::Token(TokenKind::Hole, index) => self.holes.get(index).map(Piece::Hole),
                Segment::Token(..) => None,
            })
            .collect()
    }

    /// Returns where the template has a line of the text, from 1.
    pub(super) fn place(&self, line: usize) -> Origin {
        let known = self.lines.get(..line.min(self.lines.len())).unwrap_or_default();
        known.iter().rev().find(|origin| !origin.file.is_empty()).cloned().unwrap_or_default()
    }
}
