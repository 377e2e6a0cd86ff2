//! Where the program prints: data to standard output, everything else to standard error, colour only where it is wanted.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use crate::args::ColorWhen;

/// How this run prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Colour on standard output.
    pub(crate) color: bool,
    /// Colour on standard error.
    pub(crate) color_err: bool,
    /// Columns of the terminal; 100 where there is none.
    pub(crate) width: usize,
    /// Whether standard error is a terminal: bars instead of lines.
    pub(crate) live: bool,
    /// Whether passing detail is wanted too.
    pub(crate) verbose: bool,
}

#[expect(clippy::unused_self, reason = "who prints holds an Output: tests and verbs cannot print around it")]
impl Output {
    /// Looks at the terminal and the environment once.
    pub(crate) fn new(when: ColorWhen, verbose: bool) -> Self {
        let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        let allowed = |terminal: bool| coloured(when, terminal, no_color.as_deref(), term.as_deref());
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let measured = || terminal_size::terminal_size().map_or(100, |(columns, _)| usize::from(columns.0));
        let width = columns.unwrap_or_else(|| if out || err { measured() } else { 100 }).clamp(40, 200);
        Self { color: allowed(out), color_err: allowed(err), width, live: err, verbose }
    }

    /// Prints data. A reader that went away (`| head`) ends the program quietly.
    pub(crate) fn data(self, text: &str) {
        let mut out = io::stdout().lock();
        let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
        if write!(out, "{text}{newline}").and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// Prints a value as JSON.
    pub(crate) fn json(self, value: &impl serde::Serialize) -> Result<(), crate::error::Error> {
        let text =
            serde_json::to_string_pretty(value).map_err(|error| crate::error::Error::internal(error.to_string()))?;
        self.data(&text);
        Ok(())
    }

    /// Says something to the person at the terminal.
    pub(crate) fn say(self, text: &str) {
        // Nothing to do where standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says what failed and what to do.
    pub(crate) fn error(self, error: &crate::error::Error) {
        if error.message.is_empty() {
            return;
        }
        let (red, bold, plain) = if self.color_err { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        self.say(&format!("{red}error{plain}{bold}:{plain} {}", error.message));
        if !error.hint.is_empty() {
            self.say(&format!("\n{bold}hint:{plain} {}", error.hint));
        }
    }

    /// Asks for `yes`. `false` where standard input is no terminal.
    pub(crate) fn confirm(self, question: &str) -> bool {
        if !io::stdin().is_terminal() {
            return false;
        }
        let mut err = io::stderr().lock();
        let _ = write!(err, "{question} Only `yes` is taken: ").and_then(|()| err.flush());
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
    }
}

/// Returns whether to use colour. `NO_COLOR` counts when it is set and not empty (<https://no-color.org>).
fn coloured(when: ColorWhen, terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_can_be_refused() {
        let set = |text: &'static str| Some(OsStr::new(text));
        for (when, terminal, no_color, term, wanted) in [
            (ColorWhen::Auto, true, None, set("xterm"), true),
            (ColorWhen::Auto, true, set(""), None, true),
            (ColorWhen::Auto, true, set("1"), set("xterm"), false),
            (ColorWhen::Auto, true, None, set("dumb"), false),
            (ColorWhen::Auto, false, None, set("xterm"), false),
            (ColorWhen::Always, false, set("1"), set("dumb"), true),
            (ColorWhen::Never, true, None, set("xterm"), false),
        ] {
            assert_eq!(coloured(when, terminal, no_color, term), wanted, "{when:?} {terminal} {no_color:?} {term:?}");
        }
    }
}
