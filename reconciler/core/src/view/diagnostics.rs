//! Findings for people.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::harmless;
use crate::diag::{Diagnostic, Diagnostics, Severity};

/// How text for a terminal is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiagnosticStyle {
    /// Whether ANSI colours are used.
    pub color: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Returns findings as rustc shows them, with a last line that counts them; empty text for none.
pub fn diagnostics_text(diagnostics: &Diagnostics, style: DiagnosticStyle) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(style.width.max(40));
    let mut text = String::new();
    for diagnostic in &diagnostics.0 {
        text.push_str(&one(diagnostic, &renderer));
        text.push_str("\n\n");
    }
    text.push_str(&summary(diagnostics));
    text.push('\n');
    text
}

/// Returns the closing line: `2 errors, 1 warning`.
fn summary(diagnostics: &Diagnostics) -> String {
    let count = |severity| diagnostics.0.iter().filter(|d| d.severity == severity).count();
    let words = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        many => Some(format!("{many} {word}s")),
    };
    let parts = [words(count(Severity::Error), "error"), words(count(Severity::Warning), "warning")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(printable(&diagnostic.message)).id(diagnostic.code.as_str());
    let origin = &diagnostic.origin;
    let file = printable(&origin.file);
    let line = printable(&diagnostic.line_text);
    let mut group = if line.trim().is_empty() || origin.line == 0 {
        // There is no line to show: the place alone.
        let mut place = annotate_snippets::Origin::path(file);
        if origin.line > 0 {
            place = place.line(origin.line as usize);
            if origin.column > 0 {
                place = place.char_column(origin.column as usize);
            }
        }
        Group::with_title(title).element(place)
    } else {
        let chars = line.chars().count();
        let start = (origin.column.max(1) as usize - 1).min(chars.saturating_sub(1));
        let length = if origin.column == 0 { chars } else { diagnostic.length.max(1) as usize };
        let span = byte_of(&line, start)..byte_of(&line, (start + length).min(chars));
        let snippet = Snippet::source(line).line_start(origin.line as usize).path(file).fold(false);
        Group::with_title(title).element(snippet.annotation(AnnotationKind::Primary.span(span)))
    };
    if !diagnostic.hint.is_empty() {
        group = group.element(Level::HELP.message(printable(&diagnostic.hint)));
    }
    renderer.render(&[group])
}

/// Returns the byte at which a character begins.
fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(byte, _)| byte)
}

/// Returns text in which nothing can act on a terminal and nothing is hidden: a key with an invisible character in it would look
/// like the key that it is not. One character stays one character, so that columns are right.
fn printable(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}');
    harmless(text).chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}
