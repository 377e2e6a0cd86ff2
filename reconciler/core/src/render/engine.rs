//! Renders templates: strict, bounded, with every printed value as a token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::filters::{Shared, lock, register};
use super::findings::Findings;
use super::hole::Rendered;
use super::scan::{line_and_column, scan};
use super::scope::Scope;
use super::session::Session;
use super::token::{Segment, TokenKind, is_reserved, segments, write_token};
use crate::diag::{Diagnostics, Origin};

/// Steps of the template engine in one rendering. A template of a thousand lines in a loop over a hundred things needs a third.
const FUEL: u64 = 300_000;
/// Depth of macros (4 each), includes (10 each) and blocks (1 each).
const RECURSION: usize = 120;
/// Most bytes of one template.
const TEMPLATE: usize = 256 << 10;
/// Where templates live.
const FOLDER: &str = "templates/";

/// Renders the templates of one commit. Templates are read when they are first used.
#[derive(Debug)]
pub(crate) struct Engine<'a> {
    templates: &'a BTreeMap<String, String>,
    environment: Environment<'static>,
    shared: Shared,
    broken: BTreeMap<String, Diagnostics>,
}

impl<'a> Engine<'a> {
    /// Returns an engine for templates by path from the repository's root.
    pub(crate) fn new(templates: &'a BTreeMap<String, String>) -> Self {
        let shared: Shared = Arc::new(Mutex::new(Session::default()));
        let mut environment = Environment::empty();
        register(&mut environment, &shared);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        // Any escaping but none makes captured blocks and macros tell themselves from values.
        environment.set_auto_escape_callback(|_| AutoEscape::Custom("holdfast".into()));
        // Names the undefined value in errors. What else it collects is never shown: it holds values.
        environment.set_debug(true);
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().expect("BUG: the default signs are valid"));
        let session = Arc::clone(&shared);
        environment.set_formatter(move |out, _, value| match value.as_str() {
            Some(text) if value.is_safe() => {
                lock(&session).charge_output(text.len())?;
                out.write_str(text).map_err(Error::from)
            }
            _ => Err(lock(&session).refuse(
                "template-tag",
                "the result of a `{% filter %}` or `{% call %}` block cannot be told from a value",
                "apply the filter to the values in it",
            )),
        });
        Self { templates, environment, shared, broken: BTreeMap::new() }
    }

    /// Returns the texts of all templates, by path.
    pub(crate) fn templates(&self) -> &'a BTreeMap<String, String> {
        self.templates
    }

    /// Makes a template ready for the template engine.
    fn add(&mut self, file: &str, used_at: &Origin) -> Result<(), Diagnostics> {
        if let Some(broken) = self.broken.get(file) {
            return Err(broken.clone());
        }
        if lock(&self.shared).scanned.contains_key(file) {
            return Ok(());
        }
        let Some(source) = self.templates.get(file) else {
            let mut findings = Findings::new(self.templates);
            findings.error("template-missing", used_at, format!("there is no template {file}"), "");
            return Err(findings.finish());
        };
        self.read(file, source).inspect_err(|findings| {
            self.broken.insert(file.to_owned(), findings.clone());
        })
    }

    fn read(&mut self, file: &str, source: &str) -> Result<(), Diagnostics> {
        let mut findings = Findings::new(self.templates);
        let whole = Origin { file: file.to_owned(), line: 0, column: 0 };
        if source.len() > TEMPLATE {
            let message = format!("a template of {} KiB; at most {} are read", source.len() >> 10, TEMPLATE >> 10);
            findings.error("template-too-large", &whole, message, "");
            return Err(findings.finish());
        }
        if let Some(at) = source.find(is_reserved) {
            let (line, column) = line_and_column(source, at);
            let origin = Origin { line, column, ..whole };
            let message = "a character of the block U+10FF00 to U+10FFFF";
            findings.error("reserved-character", &origin, message, "take it out");
            return Err(findings.finish());
        }
        let mut session = lock(&self.shared);
        session.fault = None;
        let scanned = scan(file, source, &mut session.places);
        for problem in &scanned.problems {
            findings.error(problem.code, &problem.origin, problem.message.clone(), problem.hint.clone());
        }
        let text = scanned.source.clone();
        session.scanned.insert(file.to_owned(), scanned);
        drop(session);
        if findings.len() > 0 {
            return Err(findings.finish());
        }
        let name = file.strip_prefix(FOLDER).unwrap_or(file).to_owned();
        self.environment.add_template_owned(name, text).map_err(|error| self.diagnose(&error, file))
    }

    /// Returns whether a template may print something else on another host whose variables are the same.
    pub(crate) fn depends_on_host(&mut self, file: &str) -> bool {
        // One that cannot be read is reported when it is rendered.
        let _ = self.add(file, &Origin::default());
        let used = self.used(file, &Origin::default());
        let session = lock(&self.shared);
        used.iter().any(|file| {
            let Some(scanned) = session.scanned.get(file) else { return true };
            let elsewhere = ["host", "hosts", "targets_of", "scrape_targets"];
            scanned.uses_any || elsewhere.iter().any(|word| scanned.words.contains(*word))
        })
    }

    /// Makes ready what a template includes, imports or extends, and what that does. Returns their paths, and its own. What is broken is
    /// reported when it is used; here it is only not there.
    pub(super) fn used(&mut self, file: &str, used_at: &Origin) -> BTreeSet<String> {
        let mut used = BTreeSet::from([file.to_owned()]);
        let mut next = vec![file.to_owned()];
        while let Some(file) = next.pop() {
            let session = lock(&self.shared);
            let Some(scanned) = session.scanned.get(&file) else { continue };
            let named: Vec<String> = if scanned.uses_any {
                self.templates.keys().filter(|other| other.starts_with(FOLDER)).cloned().collect()
            } else {
                scanned.uses.iter().map(|name| format!("{FOLDER}{name}")).collect()
            };
            drop(session);
            for name in named {
                if used.insert(name.clone()) {
                    let _ = self.add(&name, used_at);
                    next.push(name);
                }
            }
        }
        used
    }

    /// Renders a template. `used_at` is where it is named.
    pub(super) fn render(&mut self, file: &str, used_at: &Origin, scope: &Arc<Scope>) -> Result<Rendered, Diagnostics> {
        if !scope.refused().is_empty() {
            let mut findings = Findings::new(self.templates);
            for refused in scope.refused() {
                let message = format!("`{}` holds a character of the block U+10FF00 to U+10FFFF", refused.name);
                findings.error("reserved-character", &refused.origin, message, "take it out");
            }
            return Err(findings.finish());
        }
        self.add(file, used_at)?;
        self.used(file, used_at);
        lock(&self.shared).begin(scope);
        let name = file.strip_prefix(FOLDER).unwrap_or(file);
        let result = self.environment.get_template(name).and_then(|template| template.render(scope.value()));
        let text = match result {
            Ok(text) => text,
            Err(error) => return Err(self.diagnose(&error, file)),
        };
        self.settle(&text, file)
    }

    /// Takes the place tokens out of a rendered text and notes which template line each of its lines came from.
    fn settle(&self, text: &str, file: &str) -> Result<Rendered, Diagnostics> {
        let mut session = lock(&self.shared);
        let Ok(segments) = segments(text) else {
            let mut findings = Findings::new(self.templates);
            let whole = Origin { file: file.to_owned(), line: 0, column: 0 };
            findings.error("damaged-value", &whole, "a value was cut or changed after it was printed", "");
            return Err(findings.finish());
        };
        let mut rendered = Rendered { text: String::with_capacity(text.len()), ..Rendered::default() };
        rendered.lines.push(Origin::default());
        for segment in segments {
            let at = match segment {
                Segment::Text(text) => {
                    rendered.text.push_str(text);
                    let breaks = text.bytes().filter(|b| *b == b'\n').count();
                    rendered.lines.extend(std::iter::repeat_n(Origin::default(), breaks));
                    continue;
                }
                Segment::Token(TokenKind::Hole, index) => {
                    write_token(&mut rendered.text, TokenKind::Hole, index);
                    session.holes.get(index).map(|hole| &hole.template)
                }
                Segment::Token(_, index) => session.places.get(index).map(|place| &place.origin),
            };
            if let (Some(at), Some(line)) = (at, rendered.lines.last_mut())
                && line.file.is_empty()
            {
                *line = at.clone();
            }
        }
        rendered.holes = std::mem::take(&mut session.holes);
        Ok(rendered)
    }

    /// Turns the engine's error into a finding with the place in the user's own text. The error's debug text is never shown: it
    /// holds the values of variables.
    fn diagnose(&self, error: &Error, file: &str) -> Diagnostics {
        // An error in an included template is the source of the error at the include.
        let mut inner = error;
        while let Some(next) = std::error::Error::source(inner).and_then(|source| source.downcast_ref::<Error>()) {
            inner = next;
        }
        let named = inner.name().map_or_else(|| file.to_owned(), |name| format!("{FOLDER}{name}"));
        let session = lock(&self.shared);
        let mut origin = Origin { file: named, line: inner.line().unwrap_or(0) as u32, column: 0 };
        if let (Some(range), Some(scanned), Some(source)) =
            (inner.range(), session.scanned.get(&origin.file), self.templates.get(&origin.file))
        {
            // An error of what the scanner added is one of the print it belongs to.
            let added = scanned.source.get(range.start..).and_then(|text| text.strip_prefix("hf_at("));
            let place = added.and_then(|text| text.split(')').next()?.parse::<usize>().ok());
            if let Some(place) = place.and_then(|place| session.places.get(place)) {
                origin = place.origin.clone();
            } else {
                let (line, column) = line_and_column(source, scanned.original(range.start));
                origin = Origin { line, column, ..origin };
            }
            // The name of an undefined value is marked itself where it stands on that line.
            let name = inner.detail().and_then(|detail| detail.split('`').nth(1));
            let text = source.lines().nth((origin.line as usize).saturating_sub(1));
            if let (ErrorKind::UndefinedError, Some(name), Some(text)) = (inner.kind(), name, text) {
                let from = text.char_indices().nth((origin.column as usize).saturating_sub(1)).map_or(0, |(at, _)| at);
                if let Some(found) = text.get(from..).and_then(|rest| rest.find(name)) {
                    origin.column = text[..from + found].chars().count() as u32 + 1;
                }
            }
        }
        let mut findings = Findings::new(self.templates);
        if let Some(fault) = &session.fault {
            findings.error(fault.code, &origin, fault.message.clone(), fault.hint.clone());
            return findings.finish();
        }
        if inner.kind() == ErrorKind::TemplateNotFound {
            let named =
                |file: &&String| inner.detail().unwrap_or_default().contains(&file[FOLDER.len().min(file.len())..]);
            if let Some(file) = self.broken.keys().find(named) {
                return self.broken[file].clone();
            }
        }
        let detail = inner.detail().unwrap_or_default().replace("hf_at", "print").replace("hf_cap", "");
        let undefined;
        let (code, message, hint) = match inner.kind() {
            ErrorKind::UndefinedError => {
                undefined = session.scope.undefined_hint(detail.split('`').nth(1).unwrap_or_default());
                ("undefined-variable", detail, undefined.as_str())
            }
            ErrorKind::SyntaxError => {
                ("template-syntax", detail, "close `{{` with `}}`, `{%` with `%}`, and each block with its `end`")
            }
            ErrorKind::OutOfFuel => (
                "template-limit",
                format!("the template takes more than {FUEL} steps"),
                "does a loop or a macro go on without end?",
            ),
            ErrorKind::TemplateNotFound => {
                ("template-missing", detail, "templates are named from the folder `templates`")
            }
            ErrorKind::UnknownFilter => {
                ("template-filter", detail, "the filters are listed in docs/reference/templates.md")
            }
            ErrorKind::UnknownTest | ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => {
                ("template-function", detail, "what templates may use is listed in docs/reference/templates.md")
            }
            kind => ("template-error", if detail.is_empty() { format!("{kind}") } else { detail }, ""),
        };
        let message = if message.is_empty() { format!("{}", inner.kind()) } else { message };
        findings.error(code, &origin, message, hint);
        findings.finish()
    }
}
