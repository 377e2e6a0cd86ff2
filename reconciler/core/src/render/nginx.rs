//! nginx configuration.
//!
//! # Source
//! `ngx_conf_read_token`, nginx 1.22 to 1.29: words end at blanks, `;` and `{`; a quote counts only at the beginning of a word; in every
//! word `\"`, `\'`, `\\`, `\t`, `\r`, `\n` are escapes and any other backslash is itself; `${` does not begin a block.

use super::Content;
use super::encoding::Encoding;
use super::findings::Findings;
use super::hole::{Hole, HoleValue, Piece, Rendered};
use super::writer::ContentWriter;

/// An upstream that stands above the template's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// Its name.
    pub(crate) name: String,
    /// Address and port of each server.
    pub(crate) servers: Vec<String>,
}

/// What stands around the text of a site's template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Above it.
    pub(crate) upstreams: Vec<Upstream>,
    /// Below it.
    pub(crate) preview: Option<Preview>,
}

/// A site that leads to the slot that does not serve. All of it was read from typed configuration and needs no quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preview {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) allow: Vec<String>,
    /// Its upstream, and the servers of that.
    pub(crate) upstream: Upstream,
}

impl Upstream {
    // No keepalive: an idle connection to the leaving slot would be used after the switch.
    fn text(&self) -> String {
        let servers: String = self.servers.iter().map(|server| format!("    server {server};\n")).collect();
        format!("upstream {} {{\n{servers}}}\n", self.name)
    }
}

impl Preview {
    /// # Source
    /// ngx_http_access_module, and nginx's own page on WebSocket proxying: `Upgrade` is passed on where a client sends it.
    fn text(&self) -> String {
        let Self { host, port, allow, upstream } = self;
        let name = &upstream.name;
        let allow: String = allow.iter().map(|network| format!("    allow {network};\n")).collect();
        format!(
            "{}map $http_upgrade $holdfast_{name} {{\n    default upgrade;\n    '' '';\n}}\n\
             server {{\n    listen {port};\n    server_name {host};\n{allow}    deny all;\n    location / {{\n        \
             proxy_pass http://{name};\n        proxy_http_version 1.1;\n        proxy_set_header Host $http_host;\n        \
             proxy_set_header X-Real-IP $remote_addr;\n        \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n        \
             proxy_set_header X-Forwarded-Proto $scheme;\n        proxy_set_header Upgrade $http_upgrade;\n        \
             proxy_set_header Connection $holdfast_{name};\n    }}\n}}\n",
            upstream.text()
        )
    }
}

/// Directives that load code into nginx.
const REFUSED: [&str; 5] = ["load_module", "ssl_engine", "perl", "perl_modules", "perl_require"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lexeme {
    Blank,
    Comment,
    Word,
    Sign(char),
}

/// Turns a rendered text into an nginx file.
pub(super) fn nginx(rendered: &Rendered, edge: &Edge, findings: &mut Findings<'_>) -> Content {
    let mut file = File { rendered, findings, out: ContentWriter::new(), line: 1 };
    file.out.text("# Managed by Holdfast. Changes made here are undone.\n");
    for upstream in &edge.upstreams {
        file.out.text(&upstream.text());
    }
    file.all();
    if let Some(preview) = &edge.preview {
        // The template may end without a line break.
        file.out.text("\n");
        file.out.text(&preview.text());
    }
    file.out.finish()
}

struct File<'a, 'f, 't> {
    rendered: &'a Rendered,
    findings: &'f mut Findings<'t>,
    out: ContentWriter,
    line: usize,
}

impl File<'_, '_, '_> {
    fn error(&mut self, code: &str, message: impl Into<String>, hint: &str) {
        let at = self.rendered.place(self.line);
        self.findings.error(code, &at, message, hint);
    }

    fn all(&mut self) {
        let rendered = self.rendered;
        let mut rest = rendered.text.as_str();
        let mut depth = 0_u32;
        let mut first = true;
        let mut begun = false;
        while !rest.is_empty() {
            let (lexeme, length) = match lexeme(rest) {
                Ok(found) => found,
                Err(problem) => return self.error("nginx-syntax", problem, ""),
            };
            let (text, after) = rest.split_at(length);
            match lexeme {
                Lexeme::Blank => self.out.text(text),
                Lexeme::Comment => self.comment(text),
                Lexeme::Word => {
                    self.word(text, first);
                    first = false;
                    begun = true;
                }
                Lexeme::Sign(sign) => {
                    match sign {
                        ';' | '{' if !begun => self.error("nginx-syntax", format!("`{sign}` without a directive"), ""),
                        '}' if begun => {
                            self.error("nginx-syntax", "`}` in the middle of a directive", "is a `;` missing?");
                        }
                        '}' if depth == 0 => {
                            self.error("nginx-syntax", "`}` closes a block that the file did not open", "");
                        }
                        _ => {}
                    }
                    match sign {
                        '{' => depth += 1,
                        '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    first = true;
                    begun = false;
                    self.out.text(text);
                }
            }
            self.line += text.bytes().filter(|b| *b == b'\n').count();
            rest = after;
        }
        if begun {
            self.error("nginx-syntax", "the last directive has no `;`", "");
        } else if depth > 0 {
            self.error("nginx-syntax", "a block is not closed", "");
        }
    }

    fn comment(&mut self, text: &str) {
        for piece in self.rendered.pieces(text) {
            match piece {
                Piece::Text(text) => self.out.text(text),
                Piece::Hole(hole) => match hole.plain() {
                    Some(value) if !value.contains(['\n', '\r', '\0']) => {
                        self.out.from(&hole.sources, &hole.template);
                        self.out.text(value);
                    }
                    Some(_) => {
                        let message = format!("`{}` has a line break, which would end the comment", hole.name());
                        self.findings.error("unwritable-value", &hole.template, message, "");
                    }
                    None => self.findings.error("secret-use", &hole.template, "a secret in a comment", "take it out"),
                },
            }
        }
    }

    fn word(&mut self, raw: &str, directive: bool) {
        let pieces = self.rendered.pieces(raw);
        let holes: Vec<&Hole> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Hole(hole) => Some(*hole),
                Piece::Text(_) => None,
            })
            .collect();
        if directive {
            if let Some(hole) = holes.first() {
                let message = format!("`{}` stands where a directive's name is expected", hole.name());
                self.findings.error(
                    "misplaced-value",
                    &hole.template,
                    message,
                    "write the directive into the template",
                );
                return;
            }
            if REFUSED.contains(&decode(raw).as_str()) {
                self.error("nginx-directive", format!("`{raw}` loads code into nginx and is refused"), "");
            }
        }
        if holes.is_empty() {
            return self.out.text(raw);
        }
        let quoted = raw.starts_with(['"', '\'']);
        let inside = if quoted { &raw[1..raw.len() - 1] } else { raw };
        let bare = !quoted
            && holes.iter().all(|hole| hole.plain().is_some_and(|text| text.chars().all(is_bare)))
            && holes.iter().any(|hole| hole.plain().is_some_and(|text| !text.is_empty()));
        if !bare {
            self.out.text("\"");
        }
        for piece in self.rendered.pieces(inside) {
            match piece {
                Piece::Text(text) if bare => self.out.text(text),
                Piece::Text(text) => self.out.text(&encode_literal(&decode(text))),
                Piece::Hole(hole) => self.value(hole, bare),
            }
        }
        if !bare {
            self.out.text("\"");
        }
    }

    fn value(&mut self, hole: &Hole, bare: bool) {
        self.out.from(&hole.sources, &hole.template);
        match &hole.value {
            HoleValue::Text(text) | HoleValue::Word(text) if bare => self.out.text(text),
            HoleValue::Text(text) | HoleValue::Word(text) => match Encoding::NginxWord.encode(text) {
                Ok(encoded) => self.out.text(&encoded),
                Err(error) => {
                    let message = format!("`{}` cannot be written here: {error}", hole.name());
                    self.findings.error("unwritable-value", &hole.template, message, "");
                }
            },
            HoleValue::Secret(part) => self.out.piece(part, &[Encoding::NginxWord]),
        }
    }
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c)
}

fn lexeme(text: &str) -> Result<(Lexeme, usize), String> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let Some(first) = text.chars().next() else { return Ok((Lexeme::Blank, 0)) };
    match first {
        c if blank(c) => Ok((Lexeme::Blank, text.find(|c| !blank(c)).unwrap_or(text.len()))),
        '#' => Ok((Lexeme::Comment, text.find('\n').unwrap_or(text.len()))),
        ';' | '{' | '}' => Ok((Lexeme::Sign(first), 1)),
        quote @ ('"' | '\'') => {
            let mut escaped = false;
            for (index, c) in text.char_indices().skip(1) {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    c if c == quote => {
                        let end = index + 1;
                        let next = text[end..].chars().next();
                        return if next.is_none_or(|c| blank(c) || matches!(c, ';' | '{' | ')')) {
                            Ok((Lexeme::Word, end))
                        } else {
                            Err("a blank, `;` or `{` must follow a closing quote".to_owned())
                        };
                    }
                    _ => {}
                }
            }
            Err("a quote is not closed".to_owned())
        }
        _ => {
            let mut escaped = false;
            let mut variable = false;
            for (index, c) in text.char_indices() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '{' if variable => {}
                    c if blank(c) || matches!(c, ';' | '{') => return Ok((Lexeme::Word, index)),
                    _ => {}
                }
                variable = c == '$' && !escaped;
            }
            Ok((Lexeme::Word, text.len()))
        }
    }
}

/// Returns what nginx reads from the inside of a word.
fn decode(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let escape = match (c, chars.peek()) {
            ('\\', Some(next @ ('"' | '\'' | '\\'))) => Some(*next),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('n')) => Some('\n'),
            _ => None,
        };
        match escape {
            Some(escape) => {
                chars.next();
                out.push(escape);
            }
            None => out.push(c),
        }
    }
    out
}

/// Writes the template's own part of a word into double quotes; its variables stay variables.
fn encode_literal(text: &str) -> String {
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
