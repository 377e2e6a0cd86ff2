//! systemd units.
//!
//! # Source
//! systemd.syntax(7), systemd.unit(5), systemd.service(5) "Command lines", and `extract_first_word`; systemd 252 to 257.

use super::Content;
use super::encoding::Encoding;
use super::findings::Findings;
use super::hole::{Hole, HoleValue, Piece, Rendered};
use super::writer::ContentWriter;

/// How a setting reads its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// Words with quotes and C escapes; `%` and `$` are special.
    Command,
    /// Words with quotes and C escapes; `%` is special.
    Words,
    /// One text to the end of the line; `%` is special, quotes are not.
    Text,
    /// A number with a unit or per cent sign; nothing is special.
    Amount,
    /// Anything else: read in ways that differ from setting to setting.
    Other,
}

const TEXTS: [&str; 21] = [
    "Description",
    "EnvironmentFile",
    "WorkingDirectory",
    "RootDirectory",
    "RootImage",
    "User",
    "Group",
    "SyslogIdentifier",
    "PIDFile",
    "StandardInput",
    "StandardOutput",
    "StandardError",
    "TTYPath",
    "UtmpIdentifier",
    "Slice",
    "ListenStream",
    "ListenDatagram",
    "ListenSequentialPacket",
    "ListenFIFO",
    "PathExists",
    "PathChanged",
];
const AMOUNTS: [&str; 17] = [
    "CPUQuota",
    "MemoryMin",
    "MemoryLow",
    "MemoryHigh",
    "MemoryMax",
    "MemorySwapMax",
    "MemoryZSwapMax",
    "TasksMax",
    "StartupMemoryMin",
    "StartupMemoryLow",
    "StartupMemoryHigh",
    "StartupMemoryMax",
    "DefaultMemoryMin",
    "DefaultMemoryLow",
    "ManagedOOMMemoryPressureLimit",
    "MemoryLimit",
    "StartupMemorySwapMax",
];

impl Setting {
    fn of(key: &str) -> Self {
        match key {
            "Environment" | "PassEnvironment" | "UnsetEnvironment" => Self::Words,
            _ if key.starts_with("Exec") && !key.ends_with("Paths") && key != "ExecSearchPath" => Self::Command,
            _ if TEXTS.contains(&key) || key.starts_with("Condition") || key.starts_with("Assert") => Self::Text,
            _ if AMOUNTS.contains(&key) => Self::Amount,
            _ => Self::Other,
        }
    }
}

/// Turns a rendered text into a unit.
pub(super) fn systemd(rendered: &Rendered, findings: &mut Findings<'_>) -> Content {
    let mut unit = Unit { rendered, findings, out: ContentWriter::new() };
    unit.out.text("# Managed by Holdfast. Changes made here are undone.\n");
    let mut lines = rendered.text.split_inclusive('\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let mut logical = line.to_owned();
        let comment = line.trim_start().starts_with(['#', ';']);
        while !comment && continues(&logical) {
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next);
        }
        unit.line(&logical, index + 1);
    }
    unit.out.finish()
}

/// A line that ends in a backslash goes on in the next.
fn continues(line: &str) -> bool {
    line.ends_with("\\\n")
}

struct Unit<'a, 'f, 't> {
    rendered: &'a Rendered,
    findings: &'f mut Findings<'t>,
    out: ContentWriter,
}

impl Unit<'_, '_, '_> {
    fn line(&mut self, line: &str, number: usize) {
        let holes = self.rendered.pieces(line).iter().any(|piece| matches!(piece, Piece::Hole(_)));
        let trimmed = line.trim_start();
        let structured = !trimmed.is_empty() && !trimmed.starts_with(['#', ';', '[']);
        if structured && !trimmed.contains('=') {
            let at = self.rendered.place(number);
            self.findings.error(
                "systemd-syntax",
                &at,
                "a line that is no section, setting or comment",
                "is a `=` missing?",
            );
        }
        if !holes {
            return self.out.text(line);
        }
        let Some((key, value)) = line.split_once('=').filter(|_| structured) else {
            return self.names(line, trimmed.starts_with(['#', ';']));
        };
        self.names(key, false);
        self.out.text("=");
        // A value's text ends before the line's end and blanks around it are dropped.
        let body = value.trim_end_matches(['\n', '\r', ' ', '\t']);
        let ending = &value[body.len()..];
        let start = body.trim_start_matches([' ', '\t']);
        self.out.text(&body[..body.len() - start.len()]);
        match Setting::of(key.trim()) {
            Setting::Command => self.words(start, command_encoding(start)),
            Setting::Words => self.words(start, Encoding::SystemdWord),
            setting => self.text(start, setting, key.trim()),
        }
        self.out.text(ending);
    }

    /// Section headers, keys and comments take values that are plain names only; comments, any that stays on the line.
    fn names(&mut self, text: &str, comment: bool) {
        for piece in self.rendered.pieces(text) {
            match piece {
                Piece::Text(text) => self.out.text(text),
                Piece::Hole(hole) => {
                    let fits = |value: &str| {
                        if comment {
                            !value.contains(['\n', '\r', '\0', '\\'])
                        } else {
                            value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                        }
                    };
                    if let Some(value) = hole.plain().filter(|value| fits(value)) {
                        self.out.from(&hole.sources, &hole.template);
                        self.out.text(value);
                    } else {
                        let message = format!("`{}` stands where only a plain name can stand", hole.name());
                        self.findings.error("misplaced-value", &hole.template, message, "");
                    }
                }
            }
        }
    }

    fn refuse_secret(&mut self, hole: &Hole) {
        self.findings.error(
            "secret-use",
            &hole.template,
            "a secret in a unit can be read by every user of the host with `systemctl show`",
            "put it into a file of format `systemd_env` and name that with EnvironmentFile=",
        );
    }

    /// One text up to the end of the line.
    fn text(&mut self, text: &str, setting: Setting, key: &str) {
        let pieces = self.rendered.pieces(text);
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.iter().enumerate() {
            let hole = match piece {
                Piece::Text(text) => {
                    self.out.text(text);
                    continue;
                }
                Piece::Hole(hole) => *hole,
            };
            let Some(value) = hole.plain() else {
                self.refuse_secret(hole);
                continue;
            };
            let problem = if value.chars().any(|c| c < ' ' && c != '\t' || c == '\u{7F}') {
                Some("a line break or control character")
            } else if index == 0 && value.starts_with([' ', '\t']) || index == last && value.ends_with([' ', '\t']) {
                Some("a blank at its beginning or end, which systemd drops")
            } else if index == last && value.ends_with('\\') {
                Some("a backslash at its end, which would join the next line")
            } else if setting == Setting::Other && value.contains(['"', '\'', '\\']) {
                Some("a quote or backslash, which this setting may read in its own way")
            } else {
                None
            };
            if let Some(problem) = problem {
                let message = format!("`{}` has {problem}; `{key}=` cannot carry it", hole.name());
                self.findings.error("unwritable-value", &hole.template, message, "");
                continue;
            }
            self.out.from(&hole.sources, &hole.template);
            match setting {
                Setting::Amount => self.out.text(value),
                _ => self.out.text(&value.replace('%', "%%")),
            }
        }
    }

    /// Words with quotes.
    fn words(&mut self, text: &str, encoding: Encoding) {
        let mut rest = text;
        while !rest.is_empty() {
            let blanks = rest.find(|c| !is_blank(c)).unwrap_or(rest.len());
            // A backslash before a line's end is a blank too.
            let blanks = if rest[blanks..].starts_with("\\\n") { blanks + 2 } else { blanks };
            if blanks > 0 {
                self.out.text(&rest[..blanks]);
                rest = &rest[blanks..];
                continue;
            }
            let end = word_end(rest);
            self.word(&rest[..end], encoding);
            rest = &rest[end..];
        }
    }

    fn word(&mut self, raw: &str, encoding: Encoding) {
        let pieces = self.rendered.pieces(raw);
        let holes: Vec<&Hole> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Hole(hole) => Some(*hole),
                Piece::Text(_) => None,
            })
            .collect();
        if holes.is_empty() {
            return self.out.text(raw);
        }
        if let Some(secret) = holes.iter().find(|hole| hole.plain().is_none()) {
            return self.refuse_secret(secret);
        }
        let bare = !raw.contains(['"', '\'', '\\'])
            && holes.iter().all(|hole| hole.plain().is_some_and(|text| text.chars().all(is_bare)))
            && holes.iter().any(|hole| hole.plain().is_some_and(|text| !text.is_empty()));
        if bare {
            for piece in pieces {
                match piece {
                    Piece::Text(text) => self.out.text(text),
                    Piece::Hole(hole) => {
                        self.out.from(&hole.sources, &hole.template);
                        self.out.text(hole.plain().unwrap_or_default());
                    }
                }
            }
            return;
        }
        self.out.text("\"");
        for segment in unquoted(raw) {
            for piece in self.rendered.pieces(&segment) {
                match piece {
                    Piece::Text(text) => self.out.text(&literal(text)),
                    Piece::Hole(hole) => self.value(hole, encoding),
                }
            }
        }
        self.out.text("\"");
    }

    fn value(&mut self, hole: &Hole, encoding: Encoding) {
        let (HoleValue::Text(text) | HoleValue::Word(text)) = &hole.value else { return };
        if encoding == Encoding::SystemdWord && text.chars().any(|c| c < ' ' && c != '\t' && c != '\n' || c == '\u{7F}')
        {
            let message =
                format!("`{}` has a control character, which systemd refuses in its environment", hole.name());
            self.findings.error("unwritable-value", &hole.template, message, "");
            return;
        }
        self.out.from(&hole.sources, &hole.template);
        match encoding.encode(text) {
            Ok(encoded) => self.out.text(&encoded),
            Err(error) => {
                let message = format!("`{}` cannot be written here: {error}", hole.name());
                self.findings.error("unwritable-value", &hole.template, message, "");
            }
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:@+,=-".contains(c)
}

/// A command line with the prefix `:` gets no `$` expansion, so `$` is written as it is.
fn command_encoding(command: &str) -> Encoding {
    let prefix = command.trim_start_matches(['"', '\'']);
    let end = prefix.find(|c| !"@-:+!|".contains(c)).unwrap_or(prefix.len());
    if prefix[..end].contains(':') { Encoding::SystemdWord } else { Encoding::SystemdExecWord }
}

fn word_end(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') if quote.is_none() && text[index..].starts_with("\\\n") => return index,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if is_blank(c) => return index,
            _ => {}
        }
    }
    text.len()
}

/// Returns the parts of a word without its quotes, escapes read.
fn unquoted(raw: &str) -> Vec<String> {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') => unescape(&mut chars, &mut out),
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (_, c) => out.push(c),
        }
    }
    vec![out]
}

fn unescape(chars: &mut std::str::Chars<'_>, out: &mut String) {
    let digits = |chars: &mut std::str::Chars<'_>, count: usize, radix: u32| {
        let text: String = chars.clone().take(count).collect();
        let value = u32::from_str_radix(&text, radix).ok().filter(|_| text.len() == count).and_then(char::from_u32);
        value.filter(|c| *c != '\0').inspect(|_| {
            chars.nth(count - 1);
        })
    };
    let Some(c) = chars.next() else { return out.push('\\') };
    let simple = match c {
        'a' => Some('\u{07}'),
        'b' => Some('\u{08}'),
        'f' => Some('\u{0C}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{0B}'),
        's' => Some(' '),
        '\\' | '"' | '\'' => Some(c),
        'x' => digits(chars, 2, 16),
        'u' => digits(chars, 4, 16),
        'U' => digits(chars, 8, 16),
        _ => None,
    };
    match simple {
        Some(c) => out.push(c),
        // systemd keeps a backslash it cannot read.
        None => out.extend(['\\', c]),
    }
}

/// Writes the template's own part of a word into double quotes; its specifiers and variables stay what they are.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out
}
