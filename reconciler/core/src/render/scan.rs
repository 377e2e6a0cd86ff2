//! Reads a template's source far enough to add what the template engine lacks: the place and the value names of every print, and
//! checks that keep the size of values bounded. Line breaks are never added, so the engine's line numbers stay true.
//!
//! # What is added
//! - `{{ EXPR }}` becomes `{{ (EXPR)|hf_at(N) }}`, `N` being an index of the list of places.
//! - Before the first visible character of each line of literal text stands `{{ N|hf_mark }}`, which prints a place token. It tells
//!   which template line a line of the result came from, and charges the line's length to the output budget.
//! - `{% set x = EXPR %}` becomes `{% set x = (EXPR)|hf_cap %}`, and `a ~ b` becomes `a|hf_cap ~ b` (the same with `+`), so that
//!   no value can be doubled over and over.
//! - `a * b` becomes `a|hf_number * - - b`, because texts and lists can be multiplied too, up to a hundred megabytes each.
//!
//! # Source
//! The lexer of minijinja 3.0 with its default syntax.

use std::collections::{BTreeMap, BTreeSet};

use crate::diag::Origin;

/// Largest number of operators in one expression; with the limit on values it bounds what one expression can build.
const OPERATORS: usize = 100;
/// Deepest nesting of blocks, and of parentheses in one expression: the engine's parser needs stack for each.
const NESTING: usize = 50;
/// Most blanks and line breaks in a row: they are not charged to the output budget.
const BLANKS: usize = 256;
/// Names beginning so are ours.
const RESERVED: &str = "hf_";

/// A place in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it is.
    pub(super) origin: Origin,
    /// Dotted names in the expression printed there; empty for literal text.
    pub(super) names: Vec<String>,
    /// Bytes of literal text this place stands for; 0 for a print.
    pub(super) literal: usize,
}

/// A problem of a template that the engine would not report, or not as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanProblem {
    pub(super) origin: Origin,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

/// A template as the engine gets it.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The source with additions.
    pub(super) source: String,
    /// What was added: position in `source`, and length.
    pub(super) added: Vec<(usize, usize)>,
    /// Names of the template's own variables, and the dotted names of what they were set to.
    pub(super) aliases: BTreeMap<String, Vec<String>>,
    /// All names in tags and prints, attributes and keywords too.
    pub(super) words: BTreeSet<String>,
    /// Templates that it includes, imports or extends by a name that stands there.
    pub(super) uses: BTreeSet<String>,
    /// Whether it names others by expressions: any template may be one.
    pub(super) uses_any: bool,
    /// What is wrong.
    pub(super) problems: Vec<ScanProblem>,
}

impl Scanned {
    /// Returns the position in the template's own source of a position in [`Scanned::source`].
    pub(super) fn original(&self, position: usize) -> usize {
        let mut shift = 0;
        for (at, length) in &self.added {
            if *at >= position {
                break;
            }
            shift += (*length).min(position - at);
        }
        position - shift
    }
}

/// Returns the line and column, both from 1, of a byte position.
pub(super) fn line_and_column(source: &str, position: usize) -> (u32, u32) {
    let before = source.get(..position).unwrap_or(source);
    let line = before.bytes().filter(|b| *b == b'\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
    (line, column)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word<'a> {
    Name(&'a str),
    Number,
    Text,
    Sign(u8),
}

#[derive(Debug, Clone, Copy)]
struct Lexed<'a> {
    word: Word<'a>,
    start: usize,
    end: usize,
}

struct Scanner<'a, 'p> {
    file: &'a str,
    source: &'a str,
    at: usize,
    copied: usize,
    line_starts: Vec<usize>,
    places: &'p mut Vec<Place>,
    nesting: usize,
    out: Scanned,
}

/// Adds to a template's source what is described at the top of this file. Places are appended to `places`.
pub(super) fn scan(file: &str, source: &str, places: &mut Vec<Place>) -> Scanned {
    let line_starts = std::iter::once(0).chain(source.match_indices('\n').map(|(i, _)| i + 1)).collect();
    let mut scanner =
        Scanner { file, source, at: 0, copied: 0, line_starts, places, nesting: 0, out: Scanned::default() };
    scanner.template();
    scanner.copy_to(source.len());
    scanner.out
}

impl<'a> Scanner<'a, '_> {
    fn origin(&self, position: usize) -> Origin {
        let line = self.line_starts.partition_point(|start| *start <= position);
        let start = self.line_starts[line - 1];
        let column = self.source[start..position].chars().count() as u32 + 1;
        Origin { file: self.file.to_owned(), line: line as u32, column }
    }

    fn place(&mut self, position: usize, names: Vec<String>, literal: usize) -> usize {
        self.places.push(Place { origin: self.origin(position), names, literal });
        self.places.len() - 1
    }

    fn copy_to(&mut self, position: usize) {
        if position > self.copied {
            self.out.source.push_str(&self.source[self.copied..position]);
            self.copied = position;
        }
    }

    fn add(&mut self, position: usize, text: &str) {
        self.copy_to(position);
        self.out.added.push((self.out.source.len(), text.len()));
        self.out.source.push_str(text);
    }

    fn problem(&mut self, position: usize, code: &'static str, message: impl Into<String>, hint: &str) {
        let origin = self.origin(position);
        self.out.problems.push(ScanProblem { origin, code, message: message.into(), hint: hint.to_owned() });
    }

    fn template(&mut self) {
        while self.at < self.source.len() {
            let rest = &self.source[self.at..];
            let tag =
                rest.match_indices('{').find(|(i, _)| matches!(rest.as_bytes().get(i + 1), Some(b'{' | b'%' | b'#')));
            let literal_end = tag.map_or(self.source.len(), |(i, _)| self.at + i);
            self.literal(literal_end);
            self.at = literal_end;
            match self.source.as_bytes().get(self.at + 1) {
                Some(b'{') => self.print(),
                Some(b'%') => self.block(),
                Some(b'#') => {
                    let close = self.source[self.at + 2..].find("#}");
                    self.at = close.map_or(self.source.len(), |i| self.at + 2 + i + 2);
                }
                _ => break,
            }
        }
    }

    /// Marks each line of literal text at its first visible character.
    fn literal(&mut self, end: usize) {
        let mut line_start = self.at;
        let mut blanks = 0;
        while line_start < end {
            let line_end = self.source[line_start..end].find('\n').map_or(end, |i| line_start + i + 1);
            let line = &self.source[line_start..line_end];
            let blank = line.find(|c: char| !c.is_whitespace()).unwrap_or(line.len());
            if blank > BLANKS {
                let message = format!("more than {BLANKS} blanks before the text of a line");
                self.problem(line_start, "template-too-large", message, "take them out");
            }
            blanks = if blank == line.len() { blanks + blank } else { 0 };
            if blanks > BLANKS && blanks - blank <= BLANKS {
                let message = format!("more than {BLANKS} blanks and line breaks in a row");
                self.problem(line_start, "template-too-large", message, "take them out");
            }
            if let Some(visible) = line.find(|c: char| !c.is_whitespace()) {
                let literal = line.len();
                let index = self.place(line_start + visible, Vec::new(), literal);
                self.add(line_start + visible, &format!("{{{{ {index}|hf_mark }}}}"));
            }
            line_start = line_end;
        }
    }

    fn skip_sign(&mut self) {
        self.at += 2;
        if matches!(self.source.as_bytes().get(self.at), Some(b'-' | b'+')) {
            self.at += 1;
        }
    }

    fn print(&mut self) {
        let opening = self.at;
        self.skip_sign();
        let inner = self.at;
        let (words, end) = self.words(b"}}");
        if words.is_empty() {
            return;
        }
        let names = self.names(&words);
        let index = self.place(opening, names, 0);
        self.add(inner, "(");
        self.caps(&words);
        self.add(end, &format!(")|hf_at({index})"));
    }

    fn block(&mut self) {
        let opening = self.at;
        self.skip_sign();
        let (words, end) = self.words(b"%}");
        let Some(Lexed { word: Word::Name(keyword), .. }) = words.first().copied() else { return };
        let equals = words.iter().position(|lexed| lexed.word == Word::Sign(b'='));
        let opens = matches!(keyword, "if" | "for" | "with" | "macro" | "call" | "filter" | "block" | "autoescape");
        if opens || (keyword == "set" && equals.is_none()) {
            self.nesting += 1;
            if self.nesting == NESTING + 1 {
                let message = format!("blocks nested deeper than {NESTING}");
                self.problem(opening, "template-too-large", message, "use a macro or an include");
            }
        } else if keyword.starts_with("end") {
            self.nesting = self.nesting.saturating_sub(1);
        }
        match keyword {
            "raw" => {
                self.raw(opening);
            }
            "set" => {
                if let Some(equals) = equals {
                    let targets = &words[1..equals];
                    self.alias(targets, &words[equals + 1..]);
                    let value_start = words.get(equals + 1).map_or(end, |lexed| lexed.start);
                    self.add(value_start, "(");
                    self.caps(&words[equals + 1..]);
                    self.add(end, ")|hf_cap");
                }
            }
            "for" => {
                let of = words.iter().position(|lexed| lexed.word == Word::Name("in"));
                if let Some(of) = of {
                    let values = &words[of + 1..];
                    let stop = values
                        .iter()
                        .position(|lexed| matches!(lexed.word, Word::Name("if" | "recursive")))
                        .unwrap_or(values.len());
                    self.alias(&words[1..of], &values[..stop]);
                }
                self.caps(&words);
            }
            "with" => {
                for (index, lexed) in words.iter().enumerate() {
                    if lexed.word == Word::Sign(b'=') {
                        let value = &words[index + 1..];
                        let stop = value.iter().position(|l| l.word == Word::Sign(b',')).unwrap_or(value.len());
                        self.alias(&words[index - 1..index], &value[..stop]);
                    }
                }
                self.caps(&words);
            }
            "include" | "import" | "from" | "extends" => {
                self.uses(&words);
                self.caps(&words);
            }
            "autoescape" => self.problem(
                opening,
                "template-tag",
                "the tag `autoescape` does not exist here: values are quoted by the file's format",
                "take it out",
            ),
            _ => self.caps(&words),
        }
    }

    /// Notes which other template a tag names.
    fn uses(&mut self, words: &[Lexed<'_>]) {
        let plain = match words {
            [_, Lexed { word: Word::Text, start, end }]
            | [
                _,
                Lexed { word: Word::Text, start, end },
                Lexed { word: Word::Name("ignore" | "import" | "as"), .. },
                ..,
            ] => Some((*start, *end)),
            _ => None,
        };
        match plain.and_then(|(start, end)| self.source.get(start + 1..end - 1)) {
            // An escape is the engine's to read.
            Some(name) if !name.contains('\\') => {
                self.out.uses.insert(name.to_owned());
            }
            _ => self.out.uses_any = true,
        }
    }

    /// Skips `{% raw %}`, whose literal text is copied as it is.
    fn raw(&mut self, opening: usize) {
        let body = self.at;
        let mut search = body;
        while let Some(found) = self.source[search..].find("{%") {
            let tag = search + found;
            let inside = self.source[tag + 2..].trim_start_matches(['-', '+']).trim_start();
            if let Some(after) = inside.strip_prefix("endraw") {
                let after = after.trim_start().trim_start_matches(['-', '+']);
                if let Some(rest) = after.strip_prefix("%}") {
                    // Inside a raw block nothing can be added: one place charges and marks all of it, on a side where no blanks
                    // are to be stripped.
                    self.at = self.source.len() - rest.len();
                    let mark = format!("{{{{ {}|hf_mark }}}}", self.place(opening, Vec::new(), tag - body));
                    if !self.source[opening..].starts_with("{%-") {
                        self.add(opening, &mark);
                    } else if !self.source[..self.at].ends_with("-%}") {
                        self.add(self.at, &mark);
                    } else {
                        let message = "a `raw` block that strips blanks on both sides";
                        self.problem(opening, "template-tag", message, "take one `-` out");
                    }
                    return;
                }
            }
            search = tag + 2;
        }
        self.at = self.source.len();
    }

    /// Reads words up to the closing sign, which `self.at` is behind at the end. Returns the position where the expression ends.
    fn words(&mut self, close: &[u8]) -> (Vec<Lexed<'a>>, usize) {
        let bytes = self.source.as_bytes();
        let mut words = Vec::new();
        let mut depth = 0_i64;
        while let Some(&byte) = bytes.get(self.at) {
            let start = self.at;
            if byte.is_ascii_whitespace() {
                self.at += 1;
                continue;
            }
            if depth == 0 {
                let signed = usize::from(matches!(byte, b'-' | b'+'));
                if bytes[start + signed..].starts_with(close) {
                    self.at = start + signed + close.len();
                    return (words, start);
                }
            }
            let word = match byte {
                b'"' | b'\'' => {
                    self.at += 1;
                    while let Some(&inner) = bytes.get(self.at) {
                        self.at += 1;
                        if inner == b'\\' {
                            self.at += 1;
                        } else if inner == byte {
                            break;
                        }
                    }
                    Word::Text
                }
                b'0'..=b'9' => {
                    while bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                        self.at += 1;
                    }
                    Word::Number
                }
                b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                    while bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                        self.at += 1;
                    }
                    let name = &self.source[start..self.at];
                    if !self.out.words.contains(name) {
                        self.out.words.insert(name.to_owned());
                    }
                    Word::Name(name)
                }
                _ => {
                    match byte {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    let double =
                        matches!(bytes.get(start..start + 2), Some(b"==" | b"!=" | b">=" | b"<=" | b"**" | b"//"));
                    if double {
                        self.at += 1;
                    }
                    Word::Sign(if double { b'?' } else { byte })
                }
            };
            self.at = self.at.min(self.source.len());
            while !self.source.is_char_boundary(self.at) {
                self.at += 1;
            }
            words.push(Lexed { word, start, end: self.at });
        }
        (words, self.source.len())
    }

    /// Adds the size checks before `~` and `+`, and finds what is not allowed.
    fn caps(&mut self, words: &[Lexed<'a>]) {
        let mut operators = 0;
        let mut depth = 0_usize;
        for (index, lexed) in words.iter().enumerate() {
            let before = index.checked_sub(1).map(|i| words[i].word);
            match lexed.word {
                Word::Sign(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
                Word::Sign(b'-') | Word::Name("not" | "if" | "and" | "or") => operators += 1,
                Word::Sign(sign @ (b'~' | b'+' | b'*' | b',' | b'|' | b'(' | b'[' | b'{')) => {
                    operators += 1;
                    depth += usize::from(matches!(sign, b'(' | b'[' | b'{'));
                    if depth == NESTING + 1 {
                        let message = format!("parentheses nested deeper than {NESTING}");
                        self.problem(lexed.start, "template-too-large", message, "put parts of it into variables");
                    }
                    let after_test = index >= 2 && matches!(words[index - 2].word, Word::Name("is" | "not"));
                    if matches!(sign, b'~' | b'+') && !after_test && before.is_some_and(ends_operand) {
                        self.add(lexed.start, "|hf_cap ");
                    }
                    if sign == b'*' && before.is_some_and(ends_operand) {
                        self.add(lexed.start, "|hf_number ");
                        self.add(lexed.end, " - - ");
                    }
                }
                Word::Name(name) if name.starts_with(RESERVED) => {
                    let message = format!("names beginning with `{RESERVED}` are reserved: `{name}`");
                    self.problem(lexed.start, "template-name", message, "choose another name");
                }
                _ => {}
            }
            self.secret_use(words, index);
        }
        if operators > OPERATORS {
            let at = words.first().map_or(self.at, |lexed| lexed.start);
            let message = format!("an expression with {operators} operators; at most {OPERATORS} are read");
            self.problem(at, "template-too-large", message, "put parts of it into variables with `{% set %}`");
        }
    }

    /// Refuses comparing a secret: the template engine does not know its value, so the answer would be wrong.
    fn secret_use(&mut self, words: &[Lexed<'a>], index: usize) {
        let begins = words[index].word == Word::Name("secrets")
            && !matches!(index.checked_sub(1).map(|i| words[i].word), Some(Word::Sign(b'.')));
        if !begins {
            return;
        }
        let mut after = index + 1;
        while after + 1 < words.len() && words[after].word == Word::Sign(b'.') {
            after += 2;
        }
        let compares = |word: Word<'_>| {
            matches!(word, Word::Sign(b'?' | b'<' | b'>' | b'+' | b'*' | b'/' | b'%') | Word::Name("in"))
        };
        let next = words.get(after).map(|lexed| lexed.word);
        let before = index.checked_sub(1).map(|i| words[i].word);
        if next.is_some_and(compares) || before.is_some_and(|word| compares(word) && word != Word::Name("in")) {
            let name = &self.source[words[index].start..words[after - 1].end];
            let message = format!("`{name}` is compared or calculated with, but its value is unknown while rendering");
            self.problem(
                words[index].start,
                "secret-use",
                message,
                "print it, concatenate it with `~`, or use the filters b64encode, urlencode, json, quote",
            );
        }
    }

    fn alias(&mut self, targets: &[Lexed<'a>], values: &[Lexed<'a>]) {
        let names = self.names(values);
        for target in targets {
            if let Word::Name(name) = target.word {
                let known = self.out.aliases.entry(name.to_owned()).or_default();
                for value in &names {
                    // A name that is set from itself would never end when it is looked up.
                    if value != name && !value.starts_with(&format!("{name}.")) && !known.contains(value) {
                        known.push(value.clone());
                    }
                }
            }
        }
    }

    /// Returns the dotted names of the values in an expression.
    fn names(&self, words: &[Lexed<'a>]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut index = 0;
        while index < words.len() {
            let Word::Name(first) = words[index].word else {
                index += 1;
                continue;
            };
            let before = index.checked_sub(1).map(|i| words[i].word);
            let filter_or_test = matches!(before, Some(Word::Sign(b'|' | b'.') | Word::Name("is")));
            let keyword =
                matches!(first, "if" | "else" | "and" | "or" | "not" | "in" | "is" | "true" | "false" | "none");
            let argument_name = words.get(index + 1).is_some_and(|next| next.word == Word::Sign(b'='));
            let mut name = first.to_owned();
            index += 1;
            if filter_or_test || keyword || argument_name {
                continue;
            }
            loop {
                match (words.get(index).map(|l| l.word), words.get(index + 1).map(|l| l.word)) {
                    (Some(Word::Sign(b'.')), Some(Word::Name(part))) => {
                        name.push('.');
                        name.push_str(part);
                        index += 2;
                    }
                    (Some(Word::Sign(b'[')), Some(Word::Text)) => {
                        let text = &self.source[words[index + 1].start + 1..words[index + 1].end.saturating_sub(1)];
                        name.push('.');
                        name.push_str(text);
                        index += 3;
                    }
                    _ => break,
                }
            }
            if !found.contains(&name) {
                found.push(name);
            }
        }
        found
    }
}

fn ends_operand(word: Word<'_>) -> bool {
    match word {
        Word::Name(name) => !matches!(name, "if" | "else" | "and" | "or" | "not" | "in" | "is" | "set" | "elif"),
        Word::Number | Word::Text | Word::Sign(b')' | b']' | b'}') => true,
        Word::Sign(_) => false,
    }
}
