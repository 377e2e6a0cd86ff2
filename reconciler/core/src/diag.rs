//! Findings about the user's files, as a list with places: all of them at once, never the first only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in a file of the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Path from the repository's root, with `/`.
    pub file: String,
    /// Line, from 1; 0 when the finding is about the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 when it is about the whole line.
    pub column: u32,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; does not stop anything.
    Warning,
    /// The commit cannot be used.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for it in kebab-case, such as `unknown-key`; documented in `docs/reference/diagnostics.md`.
    pub code: String,
    /// Where it is.
    pub origin: Origin,
    /// The text of that line, without its end; empty for findings about a whole file. Never a decrypted secret.
    pub line_text: String,
    /// Length of the marked part in characters, at least 1.
    pub length: u32,
    /// What is wrong, as one lower-case fragment: `unknown key `prot` in a healthcheck`.
    pub message: String,
    /// What to do, such as `did you mean `port`?`; may be empty.
    pub hint: String,
}

/// A list of findings. Empty means all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds an error; `source` is the file's text, from which the line is taken.
    pub fn error(
        &mut self,
        code: &str,
        origin: Origin,
        source: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let line_text = match origin.line {
            0 => String::new(),
            line => source.lines().nth(line as usize - 1).unwrap_or_default().chars().take(400).collect(),
        };
        self.push(Diagnostic {
            severity: Severity::Error,
            code: code.to_owned(),
            origin,
            line_text,
            length: 1,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Returns whether there is no finding at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sorts by file, line, column and code, and drops exact repetitions.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| (&a.origin, &a.code, &a.message).cmp(&(&b.origin, &b.code, &b.message)));
        self.0.dedup();
    }
}
