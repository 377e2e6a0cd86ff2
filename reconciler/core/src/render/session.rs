//! What one rendering has printed so far, and what it may still do.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::hole::{Hole, HoleValue};
use super::scan::{Place, Scanned};
use super::scope::{Scope, SecretObject};
use super::token::{Segment, TokenKind, has_token, segments, write_token};
use super::{Encoding, Part};
use crate::diag::Origin;

/// Most bytes a rendering may print, blocks that are captured into variables included.
pub(super) const OUTPUT: usize = 8 << 20;
/// Most bytes of one value.
pub(super) const VALUE: usize = 256 << 10;
/// Most items of one value, inner ones included.
const ITEMS: usize = 20_000;
/// Most bytes all values together may have that are made while rendering.
const WORK: usize = 64 << 20;
/// Deepest nesting of one value.
const DEPTH: usize = 32;

/// A refusal with a code of its own, kept beside the engine's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

/// All templates that were read, and the rendering under way.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Templates as the engine got them, by path from the repository's root.
    pub(super) scanned: BTreeMap<String, Scanned>,
    /// Places of all templates.
    pub(super) places: Vec<Place>,
    /// The values of this rendering.
    pub(super) scope: Arc<Scope>,
    /// What was printed.
    pub(super) holes: Vec<Hole>,
    /// What [`SecretObject`]s stand for.
    pub(super) pieces: Vec<Part>,
    /// The last refusal of ours.
    pub(super) fault: Option<Fault>,
    printed: usize,
    work: usize,
}

impl Session {
    /// Begins a rendering.
    pub(super) fn begin(&mut self, scope: &Arc<Scope>) {
        self.scope = Arc::clone(scope);
        self.holes.clear();
        self.pieces.clear();
        self.pieces.extend(
            scope.secrets().iter().map(|secret| Part::Secret { secret: secret.clone(), encodings: Vec::new() }),
        );
        self.fault = None;
        self.printed = 0;
        self.work = 0;
    }

    /// Keeps a refusal and returns the engine's error for it.
    pub(super) fn refuse(&mut self, code: &'static str, message: impl Into<String>, hint: &str) -> Error {
        let fault = Fault { code, message: message.into(), hint: hint.to_owned() };
        let error = Error::new(ErrorKind::InvalidOperation, fault.message.clone());
        self.fault = Some(fault);
        error
    }

    /// Charges printed bytes.
    pub(super) fn charge_output(&mut self, bytes: usize) -> Result<(), Error> {
        self.printed = self.printed.saturating_add(bytes);
        if self.printed > OUTPUT {
            return Err(self.refuse(
                "template-limit",
                format!("the template prints more than {} MiB", OUTPUT >> 20),
                "does a loop go over too much?",
            ));
        }
        Ok(())
    }

    /// Charges a value, and refuses one that is too large.
    pub(super) fn charge_value(&mut self, value: &Value) -> Result<(), Error> {
        let mut size = Size::default();
        let fits = size.add(value, 0);
        self.work = self.work.saturating_add(size.bytes + size.items * 16);
        if !fits {
            return Err(self.refuse(
                "template-limit",
                format!("a value has more than {} KiB, {ITEMS} items or {DEPTH} levels", VALUE >> 10),
                "does a template put a value together over and over?",
            ));
        }
        if self.work > WORK {
            return Err(self.refuse(
                "template-limit",
                format!("the template makes values of more than {} MiB", WORK >> 20),
                "does a loop go over too much?",
            ));
        }
        Ok(())
    }

    /// Returns the token text for a value printed at a place.
    pub(super) fn print(&mut self, value: &Value, place: usize) -> Result<String, Error> {
        let Some(place) = self.places.get(place).cloned() else {
            return Err(self.refuse("template-name", "`hf_at` is reserved", "take it out"));
        };
        let mut out = String::new();
        if let Some(text) = value.as_str() {
            self.print_text(text, value, &place, &mut out)?;
        } else if let Some(secret) = value.downcast_object_ref::<SecretObject>() {
            let part = self.pieces[secret.piece].clone();
            self.hole(HoleValue::Secret(part), &place, "", &mut out);
        } else {
            match value.kind() {
                ValueKind::Bool | ValueKind::Number => {
                    let word =
                        if value.kind() == ValueKind::Bool { value.is_true().to_string() } else { value.to_string() };
                    self.hole(HoleValue::Word(word.clone()), &place, &word, &mut out);
                }
                kind => {
                    let what = place.names.first().map_or_else(|| "the value".to_owned(), |name| format!("`{name}`"));
                    return Err(self.refuse(
                        "unprintable-value",
                        format!("{what} is {kind}, which has no text of its own"),
                        "print one value of it, loop over it, or pipe it through `tojson` or `join`",
                    ));
                }
            }
        }
        Ok(out)
    }

    fn print_text(&mut self, text: &str, value: &Value, place: &Place, out: &mut String) -> Result<(), Error> {
        let Ok(segments) = segments(text) else {
            return Err(self.damaged());
        };
        if segments.is_empty() {
            self.hole(HoleValue::Text(String::new()), place, "", out);
        }
        for segment in segments {
            match segment {
                // A captured block: its text is template text, its values are already in holes.
                Segment::Text(text) if value.is_safe() => out.push_str(text),
                Segment::Text(text) => self.hole(HoleValue::Text(text.to_owned()), place, text, out),
                Segment::Token(TokenKind::Piece, index) => match self.pieces.get(index).cloned() {
                    Some(part) => self.hole(HoleValue::Secret(part), place, "", out),
                    None => return Err(self.damaged()),
                },
                Segment::Token(kind, index) => write_token(out, kind, index),
            }
        }
        Ok(())
    }

    fn damaged(&mut self) -> Error {
        self.refuse(
            "damaged-value",
            "a value was cut or changed after it was put into a text with a secret or a block",
            "apply filters and slices to the values before they are put together",
        )
    }

    fn hole(&mut self, value: HoleValue, place: &Place, shown: &str, out: &mut String) {
        let sources = self.sources(place, shown);
        write_token(out, TokenKind::Hole, self.holes.len());
        self.holes.push(Hole { value, sources, template: place.origin.clone() });
    }

    fn sources(&self, place: &Place, shown: &str) -> Vec<(String, Origin)> {
        let mut found = Vec::new();
        for name in &place.names {
            self.resolve(name, &place.origin.file, shown, 8, &mut found);
        }
        if found.is_empty() {
            found.push(("template".to_owned(), place.origin.clone()));
        }
        found
    }

    fn resolve(&self, name: &str, file: &str, shown: &str, depth: usize, found: &mut Vec<(String, Origin)>) {
        let (root, rest) = name.split_once('.').map_or((name, ""), |(root, rest)| (root, rest));
        let alias = self.scanned.get(file).and_then(|scanned| scanned.aliases.get(root));
        let alias = alias.or_else(|| self.scanned.values().find_map(|scanned| scanned.aliases.get(root)));
        match alias {
            Some(targets) if depth > 0 => {
                for target in targets {
                    let full = if rest.is_empty() { target.clone() } else { format!("{target}.{rest}") };
                    self.resolve(&full, file, shown, depth - 1, found);
                }
            }
            _ if self.scope.has_root(root) => {
                if let Some(source) = self.scope.source(name, shown)
                    && !found.contains(&source)
                {
                    found.push(source);
                }
            }
            _ => {}
        }
    }

    /// Returns a value that stands for a piece with a secret.
    pub(super) fn object(&mut self, part: Part) -> Value {
        self.pieces.push(part);
        Value::from_object(SecretObject { piece: self.pieces.len() - 1 })
    }

    /// Returns the pieces of a value when a secret is in it, and `None` when there is none.
    pub(super) fn tainted(&mut self, value: &Value) -> Result<Option<Vec<Part>>, Error> {
        if let Some(secret) = value.downcast_object_ref::<SecretObject>() {
            return Ok(Some(vec![self.pieces[secret.piece].clone()]));
        }
        let Some(text) = value.as_str().filter(|text| has_token(text)) else { return Ok(None) };
        let mut parts = Vec::new();
        for segment in segments(text).map_err(|_| self.damaged())? {
            match segment {
                Segment::Text(text) => parts.push(Part::Plain(text.to_owned())),
                Segment::Token(TokenKind::Piece, index) if index < self.pieces.len() => {
                    parts.push(self.pieces[index].clone());
                }
                Segment::Token(..) => return Err(self.damaged()),
            }
        }
        Ok(Some(parts))
    }

    /// Encodes a value, secret or not.
    pub(super) fn encode(&mut self, value: &Value, encoding: Encoding) -> Result<Value, Error> {
        self.charge_value(value)?;
        let Some(mut parts) = self.tainted(value)? else {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !matches!(value.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool) {
                return Err(self.refuse(
                    "template-filter",
                    format!("only text can be encoded, this is {}", value.kind()),
                    "pipe it through `tojson` first",
                ));
            }
            let encoded = encoding.encode(&text).map_err(|e| self.refuse("template-filter", e.reason, ""))?;
            return Ok(Value::from(encoded.as_str()));
        };
        let part = match parts.pop() {
            Some(Part::Secret { secret, mut encodings }) if parts.is_empty() => {
                encodings.push(encoding);
                Part::Secret { secret, encodings }
            }
            Some(Part::Joined { parts: inner, mut encodings }) if parts.is_empty() => {
                encodings.push(encoding);
                Part::Joined { parts: inner, encodings }
            }
            last => {
                parts.extend(last);
                Part::Joined { parts, encodings: vec![encoding] }
            }
        };
        Ok(self.object(part))
    }
}

/// Returns whether a secret or a captured block is in a value.
pub(super) fn holds_token(value: &Value) -> bool {
    fn look(value: &Value, depth: usize) -> bool {
        if value.downcast_object_ref::<SecretObject>().is_some() {
            return true;
        }
        if let Some(text) = value.as_str() {
            return has_token(text);
        }
        if depth > DEPTH || !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            return false;
        }
        let map = value.kind() == ValueKind::Map;
        value.try_iter().is_ok_and(|mut items| {
            items.any(|item| {
                if map {
                    value.get_item(&item).is_ok_and(|item| look(&item, depth + 1))
                } else {
                    look(&item, depth + 1)
                }
            })
        })
    }
    look(value, 0)
}

#[derive(Default)]
struct Size {
    bytes: usize,
    items: usize,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) -> bool {
        self.items += 1;
        if let Some(text) = value.as_str() {
            self.bytes += text.len();
        } else if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            if depth > DEPTH {
                return false;
            }
            let map = value.kind() == ValueKind::Map;
            if let Ok(items) = value.try_iter() {
                for item in items {
                    let fits = if map {
                        self.bytes += item.as_str().map_or(8, str::len);
                        value.get_item(&item).map_or(true, |item| self.add(&item, depth + 1))
                    } else {
                        self.add(&item, depth + 1)
                    };
                    if !fits {
                        return false;
                    }
                }
            }
        }
        self.items <= ITEMS && self.bytes <= VALUE
    }
}
