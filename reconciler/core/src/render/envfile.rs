//! Environment files, in the dialect of Compose and in the dialect of systemd.
//!
//! # Source
//! `dotenv/parser.go` of compose-go v1.20 to v2.9; systemd.exec(5) `EnvironmentFile=` and `src/basic/env-file.c`.

use super::Content;
use super::encoding::Encoding;
use super::findings::Findings;
use super::hole::{HoleValue, Piece, Rendered};
use super::writer::ContentWriter;

/// Whose environment file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Compose,
    Systemd,
}

impl Dialect {
    fn encoding(self) -> Encoding {
        match self {
            Self::Compose => Encoding::ComposeEnvValue,
            Self::Systemd => Encoding::SystemdEnvValue,
        }
    }

    fn is_name(self, name: &str) -> bool {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let inner =
            |c: char| c.is_ascii_alphanumeric() || c == '_' || (self == Self::Compose && (c == '.' || c == '-'));
        name.starts_with(first) && name.chars().all(inner)
    }
}

/// Turns a rendered text into an environment file.
pub(super) fn env_file(rendered: &Rendered, dialect: Dialect, findings: &mut Findings<'_>) -> Content {
    let mut file = File { rendered, dialect, findings, out: ContentWriter::new(), line: 1 };
    let mut rest = rendered.text.as_str();
    while !rest.is_empty() {
        let length = file.statement(rest);
        file.line += rest[..length].bytes().filter(|b| *b == b'\n').count();
        rest = &rest[length..];
    }
    file.out.finish()
}

struct File<'a, 'f, 't> {
    rendered: &'a Rendered,
    dialect: Dialect,
    findings: &'f mut Findings<'t>,
    out: ContentWriter,
    line: usize,
}

impl File<'_, '_, '_> {
    fn error(&mut self, message: impl Into<String>, hint: &str) {
        let at = self.rendered.place(self.line);
        self.findings.error("env-syntax", &at, message, hint);
    }

    /// Writes one line, or one assignment when its quotes go over several. Returns its length.
    fn statement(&mut self, text: &str) -> usize {
        let line_end = text.find('\n').map_or(text.len(), |at| at + 1);
        let line = &text[..line_end];
        let trimmed = line.trim();
        if trimmed.is_empty()
            || trimmed.starts_with('#')
            || (self.dialect == Dialect::Systemd && trimmed.starts_with(';'))
        {
            self.comment(line);
            return line_end;
        }
        let Some(equals) = line.find('=') else {
            self.error("a line that is no NAME=value", "");
            return line_end;
        };
        let Some(name) = self.name(&line[..equals]) else { return line_end };
        let value_start =
            equals + 1 + (text[equals + 1..].len() - text[equals + 1..].trim_start_matches([' ', '\t']).len());
        let quote = text[value_start..].chars().next().filter(|c| matches!(c, '"' | '\''));
        let (inside, end) = if let Some(quote) = quote {
            let Some(length) = closing(&text[value_start + 1..], quote) else {
                self.error("a quote is not closed", "");
                return text.len();
            };
            let close = value_start + 1 + length;
            (&text[value_start + 1..close], close + 1)
        } else {
            let inside = &text[value_start..line_end.max(value_start)];
            let comment = inside.find(" #").filter(|_| self.dialect == Dialect::Compose).unwrap_or(inside.len());
            (inside[..comment].trim_end(), line_end)
        };
        let statement_end = text[end.min(text.len())..].find('\n').map_or(text.len(), |at| end + at + 1);
        let statement_end = if quote.is_some() { statement_end } else { line_end };
        if quote.is_some() {
            let after = text[end..statement_end].trim();
            if !(after.is_empty() || (after.starts_with('#') && self.dialect == Dialect::Compose)) {
                self.error("text after a closing quote", "quote the whole value, or nothing of it");
                return statement_end;
            }
        }
        self.value(&name, inside, quote);
        statement_end
    }

    fn comment(&mut self, line: &str) {
        for piece in self.rendered.pieces(line) {
            match piece {
                Piece::Text(text) => self.out.text(text),
                Piece::Hole(hole) => match hole.plain() {
                    Some(value) if !value.contains(['\n', '\r', '\0', '\\']) => self.out.text(value),
                    Some(_) => {
                        let message =
                            format!("`{}` has a line break or backslash, which may end the comment", hole.name());
                        self.findings.error("unwritable-value", &hole.template, message, "");
                    }
                    None => self.findings.error("secret-use", &hole.template, "a secret in a comment", "take it out"),
                },
            }
        }
    }

    fn name(&mut self, raw: &str) -> Option<String> {
        let mut name = String::new();
        for piece in self.rendered.pieces(raw.trim()) {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Hole(hole) => {
                    let Some(value) = hole.plain() else {
                        self.findings.error("secret-use", &hole.template, "a secret cannot be a name", "");
                        return None;
                    };
                    name.push_str(value);
                }
            }
        }
        let name = match self.dialect {
            Dialect::Compose => name.strip_prefix("export ").map_or(name.as_str(), str::trim_start).to_owned(),
            Dialect::Systemd => name,
        };
        if !self.dialect.is_name(&name) {
            self.error(
                format!("`{name}` is no name of a variable"),
                "letters, digits and `_`, not beginning with a digit",
            );
            return None;
        }
        Some(name)
    }

    fn value(&mut self, name: &str, inside: &str, quote: Option<char>) {
        let holes = self.rendered.pieces(inside).iter().any(|piece| matches!(piece, Piece::Hole(_)));
        self.out.text(name);
        self.out.text("=");
        if !holes && quote.is_none() && inside.chars().all(|c| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c)) {
            self.out.text(inside);
            return self.out.text("\n");
        }
        self.out.text("\"");
        for piece in self.rendered.pieces(inside) {
            match piece {
                Piece::Text(text) => {
                    if let Some(text) = self.literal(text, quote) {
                        self.put(&text, None);
                    }
                }
                Piece::Hole(hole) => {
                    self.out.from(&hole.sources, &hole.template);
                    match &hole.value {
                        HoleValue::Text(text) | HoleValue::Word(text) => self.put(text, Some(hole)),
                        HoleValue::Secret(part) => self.out.piece(part, &[self.dialect.encoding()]),
                    }
                }
            }
        }
        self.out.text("\"\n");
    }

    fn put(&mut self, text: &str, hole: Option<&super::hole::Hole>) {
        match (self.dialect.encoding().encode(text), hole) {
            (Ok(encoded), _) => self.out.text(&encoded),
            (Err(error), Some(hole)) => {
                let message = format!("`{}` cannot be written here: {error}", hole.name());
                self.findings.error("unwritable-value", &hole.template, message, "");
            }
            (Err(error), None) => self.error(error.reason, ""),
        }
    }

    /// Returns what the template's own text means in its dialect.
    fn literal(&mut self, text: &str, quote: Option<char>) -> Option<String> {
        if quote == Some('\'') {
            return Some(text.to_owned());
        }
        if quote.is_none() && text.contains(['"', '\'', '\\']) {
            self.error("a quote or backslash in a value without quotes", "quote the whole value");
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek().copied(), self.dialect) {
                ('\\', Some(next @ ('"' | '\\' | '$')), _) | ('\\', Some(next @ '`'), Dialect::Systemd) => {
                    chars.next();
                    out.push(next);
                }
                ('\\', Some('\n'), Dialect::Systemd) => {
                    chars.next();
                }
                ('\\', Some(next @ ('n' | 'r' | 't')), Dialect::Compose) => {
                    chars.next();
                    out.push(match next {
                        'n' => '\n',
                        'r' => '\r',
                        _ => '\t',
                    });
                }
                ('\\', Some('a' | 'b' | 'c' | 'f' | 'v' | '0'), Dialect::Compose) => {
                    self.error(
                        "an escape that is not read here",
                        "write the character itself, or use `\\n`, `\\r`, `\\t`",
                    );
                    return None;
                }
                ('$', Some('$'), Dialect::Compose) => {
                    chars.next();
                    out.push('$');
                }
                ('$', Some(next), Dialect::Compose) if next == '{' || next == '_' || next.is_ascii_alphabetic() => {
                    self.error(
                        "`$` would be replaced from the environment of the host",
                        "use a template value, or write `$$`",
                    );
                    return None;
                }
                (c, ..) => out.push(c),
            }
        }
        Some(out)
    }
}

/// Returns where the closing quote stands.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(index),
            _ => {}
        }
    }
    None
}
