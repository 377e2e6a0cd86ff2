//! The list of findings while a commit is read, with the texts their lines are taken from.

use std::collections::BTreeMap;

use super::limits::MAX_DIAGNOSTICS;
use super::model::Located;
use super::place::{At, Place};
use crate::diag::{Diagnostic, Diagnostics, Origin, Severity};

/// Characters of a line that a finding keeps: enough to see the place, also when a file is one long line.
const MAX_LINE_CHARS: usize = 400;

/// Collects findings and knows the text of each file.
#[derive(Debug, Default)]
pub(crate) struct Findings<'s> {
    texts: BTreeMap<&'s str, &'s str>,
    /// Files whose lines must never be shown: they may hold a secret that someone forgot to encrypt.
    hidden: Vec<&'s str>,
    list: Diagnostics,
    dropped: usize,
}

impl<'s> Findings<'s> {
    /// Names a file, so that findings in it can show its lines.
    pub(crate) fn add_text(&mut self, file: &'s str, text: &'s str) {
        self.texts.insert(file, text);
    }

    /// Keeps the lines of a file out of every finding.
    pub(crate) fn hide(&mut self, file: &'s str) {
        self.hidden.push(file);
    }

    /// Returns whether the lines of a file are kept out of findings.
    pub(crate) fn hides(&self, file: &str) -> bool {
        self.hidden.contains(&file)
    }

    /// Returns how many findings there are.
    pub(crate) fn len(&self) -> usize {
        self.list.0.len() + self.dropped
    }

    /// Returns whether a finding is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.list.has_errors()
    }

    /// Adds an error.
    pub(crate) fn error(
        &mut self,
        code: &str,
        file: &str,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Error, code, file, place, message.into(), hint.into());
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &mut self,
        code: &str,
        file: &str,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.add(Severity::Warning, code, file, place, message.into(), hint.into());
    }

    /// Adds an error at a decoded value.
    pub(crate) fn error_at<T>(&mut self, code: &str, at: &At<T>, message: impl Into<String>, hint: impl Into<String>) {
        self.error(code, &at.file, at.place, message, hint);
    }

    /// Adds an error at a value of the model.
    pub(crate) fn error_located(
        &mut self,
        code: &str,
        at: &Located<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let length = at.value.chars().count() as u32;
        let place = Place { line: at.origin.line, column: at.origin.column, length };
        self.error(code, &at.origin.file, place, message, hint);
    }

    fn add(&mut self, severity: Severity, code: &str, file: &str, place: Place, message: String, hint: String) {
        if self.list.0.len() >= MAX_DIAGNOSTICS {
            self.dropped += 1;
            return;
        }
        let line_text = if self.hides(file) || place.line == 0 {
            String::new()
        } else {
            let text = self.texts.get(file).copied().unwrap_or_default();
            let line = text.lines().nth(place.line as usize - 1).unwrap_or_default();
            line.chars().take(MAX_LINE_CHARS).collect()
        };
        let origin = place.origin(file);
        let length = place.length.max(1);
        let code = code.to_owned();
        self.list.push(Diagnostic { severity, code, origin, line_text, length, message, hint });
    }

    /// Returns all findings in the order of their places.
    pub(crate) fn finish(mut self) -> Diagnostics {
        self.list.sort();
        if self.dropped > 0 {
            let origin = self.list.0.last().map(|last| last.origin.file.clone()).unwrap_or_default();
            self.list.push(Diagnostic {
                severity: Severity::Error,
                code: "too-many".to_owned(),
                origin: Origin { file: origin, line: 0, column: 0 },
                line_text: String::new(),
                length: 1,
                message: format!("{} more findings are not shown", self.dropped),
                hint: "mend these first".to_owned(),
            });
        }
        self.list
    }
}
