//! Numbered SQL files: which there are, and what one may hold so that it is one transaction and nothing else.

use std::collections::BTreeMap;

use holdfast_protocol::{SqlFile, sql_order};

use crate::id::digest_of;

/// How the names of files end that undo another one: they are never run forward.
const BACK: [&str; 3] = ["_rollback.sql", ".down.sql", "_down.sql"];

/// Returns the files of a folder below `templates/` that are run forward, in their order.
pub(super) fn files(folder: &str, templates: &BTreeMap<String, String>) -> Vec<SqlFile> {
    let prefix = format!("templates/{folder}/");
    let own = templates.iter().filter_map(|(path, text)| Some((path.strip_prefix(&prefix)?, text)));
    let forward = |name: &str| {
        !name.contains('/') && name.strip_suffix(".sql").is_some() && !BACK.iter().any(|end| name.ends_with(end))
    };
    let mut files: Vec<SqlFile> = own
        .filter(|(name, _)| forward(name))
        .map(|(name, text)| SqlFile { name: name.to_owned(), text: text.clone(), checksum: digest_of(text.as_bytes()) })
        .collect();
    files.sort_by(|a, b| sql_order(&a.name).cmp(&sql_order(&b.name)));
    files
}

/// Returns whether a file that undoes this one is in the folder.
pub(super) fn has_way_back(folder: &str, name: &str, templates: &BTreeMap<String, String>) -> bool {
    let stem = name.trim_end_matches(".sql");
    BACK.iter().any(|end| templates.contains_key(&format!("templates/{folder}/{stem}{end}")))
}

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Line, from 1.
    pub(super) line: u32,
    /// What and what to do.
    pub(super) message: String,
}

/// Checks that a file is one piece of plain SQL: it runs in a transaction of its own, which it must not end itself, and `psql` reads it,
/// to which a backslash is a command (`\!` is a shell).
///
/// # Source
/// PostgreSQL 15, "Lexical Structure": quoted with `'`, `E'`, `"` and `$tag$`, comments with `--` and nested `/* */`; what was quoted
/// with `E'` goes on by the same rule behind a line's end. `psql` ends a line at a carriage return too.
pub(super) fn check(text: &str) -> Result<(), Wrong> {
    let bytes = text.as_bytes();
    let wrong = |line: u32, message: &str| Err(Wrong { line, message: message.to_owned() });
    if text.starts_with('\u{feff}') {
        return wrong(1, "a byte order mark begins it: save it as UTF-8 without one");
    }
    let (mut at, mut line) = (0, 1);
    let mut statement = Statement::default();
    // Where the last word and the last quote that knows escapes ended.
    let (mut letter_e, mut escaped) = (None, None);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let begun = line;
        let skipped = match rest[0] {
            b'-' if rest.starts_with(b"--") => {
                rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
            }
            b'/' if rest.starts_with(b"/*") => match comment(rest) {
                Some(length) => length,
                None => return wrong(begun, "a comment is not closed"),
            },
            quote @ (b'\'' | b'"') => {
                let goes_on = escaped.is_some_and(|end| is_line_end(&bytes[end..at]));
                let escapes = quote == b'\'' && (letter_e == Some(at) || goes_on);
                match quoted(rest, quote, escapes) {
                    Some(length) => {
                        escaped = escapes.then_some(at + length);
                        length
                    }
                    None => return wrong(begun, "a quote is not closed"),
                }
            }
            b'$' => match dollar(rest) {
                Ok(length) => length,
                Err(()) => return wrong(begun, "a dollar quote is not closed"),
            },
            b'\\' => return wrong(begun, "a backslash is a command of `psql`, not SQL: take it out"),
            0 => return wrong(begun, "a zero byte is no text: take it out"),
            b';' => {
                if let Some(message) = statement.refused() {
                    return Err(Wrong { line: begun, message });
                }
                statement = Statement::default();
                1
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                let length = rest
                    .iter()
                    .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'$' || *byte >= 0x80))
                    .unwrap_or(rest.len());
                let word = String::from_utf8_lossy(&rest[..length]).to_ascii_uppercase();
                letter_e = (word == "E").then_some(at + length);
                statement.add(word);
                length
            }
            _ => 1,
        };
        line += rest[..skipped].split(|byte| *byte == b'\n').skip(1).count() as u32;
        at += skipped;
    }
    statement.refused().map_or(Ok(()), |message| Err(Wrong { line, message }))
}

/// Returns whether this is white space with the end of a line in it.
fn is_line_end(between: &[u8]) -> bool {
    between.iter().all(u8::is_ascii_whitespace) && between.iter().any(|byte| matches!(byte, b'\n' | b'\r'))
}

/// What is known of a statement from its words, in upper case: those that are neither quoted nor comments.
#[derive(Debug, Default)]
struct Statement {
    first: String,
    second: String,
    last: String,
    /// It has `FROM STDIN`.
    reads_input: bool,
    /// It says how backslashes in quotes are read, which this check takes as given.
    changes_quotes: bool,
}

impl Statement {
    fn add(&mut self, word: String) {
        self.reads_input |= self.last == "FROM" && word == "STDIN";
        self.changes_quotes |= word == "STANDARD_CONFORMING_STRINGS";
        if self.first.is_empty() {
            self.first.clone_from(&word);
        } else if self.second.is_empty() {
            self.second.clone_from(&word);
        }
        self.last = word;
    }

    /// Returns why it is not taken.
    fn refused(&self) -> Option<String> {
        match (self.first.as_str(), self.second.as_str()) {
            (first @ ("BEGIN" | "COMMIT" | "ROLLBACK" | "ABORT" | "END"), _)
            | (first @ ("START" | "PREPARE"), "TRANSACTION") => Some(format!(
                "`{first}`: each file is a transaction already, which it must not begin or end itself: take it out"
            )),
            ("COPY", _) if self.reads_input => {
                Some("`COPY … FROM STDIN`: rows among statements are not read; write `INSERT`".to_owned())
            }
            ("SET", _) if self.changes_quotes => Some(
                "`standard_conforming_strings` stays as it is: write `E'…'` where a backslash means something"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn comment(rest: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_u32, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    None
}

fn quoted(rest: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let mut at = 1;
    while at < rest.len() {
        if escapes && rest[at] == b'\\' {
            at += 2;
        } else if rest[at] == quote {
            // Two in a row are one inside; the second begins a new one here, to the same end.
            return Some(at + 1);
        } else {
            at += 1;
        }
    }
    None
}

/// Returns the length of a dollar quote; 1 for a dollar that begins none.
fn dollar(rest: &[u8]) -> Result<usize, ()> {
    let Some(end) = rest[1..].iter().position(|byte| *byte == b'$') else { return Ok(1) };
    let tag = &rest[..end + 2];
    let inner = &tag[1..tag.len() - 1];
    let is_tag = inner.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
        && inner.first().is_none_or(|byte| !byte.is_ascii_digit());
    if !is_tag {
        return Ok(1);
    }
    let body = &rest[tag.len()..];
    body.windows(tag.len()).position(|window| window == tag).map(|found| found + 2 * tag.len()).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_54_plain_sql_of_any_kind_is_taken() {
        for text in [
            "",
            "CREATE TABLE a (b text DEFAULT ';COMMIT;');",
            "-- COMMIT;\n/* BEGIN; /* nested */ COMMIT; */ SELECT 1",
            "CREATE FUNCTION f() RETURNS trigger AS $$\nBEGIN\n  RETURN NEW;\nEND;\n$$ LANGUAGE plpgsql;",
            "DO $body$ BEGIN PERFORM $$x$$; END; $body$;",
            "SELECT 'it''s \\', E'it\\'s; COMMIT;', \"odd;\"\"name\" FROM t WHERE a = $1;",
            "INSERT INTO migration_runs (name) VALUES ('010_oracle_schema');",
            "SELECT E'a\\''\n  '\\'; COMMIT; ', name$1, te'\\' FROM t;",
            "COPY a TO STDOUT;",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn cap_54_what_ends_the_transaction_or_speaks_to_psql_is_refused() {
        for (text, line, word) in [
            ("BEGIN;\nCREATE TABLE a ();\nCOMMIT;", 1, "`BEGIN`"),
            ("CREATE TABLE a ();\n\ncommit", 3, "`COMMIT`"),
            ("SELECT 1;\nstart transaction;", 2, "`START`"),
            ("SELECT 1 \\! rm -rf /\n", 1, "backslash"),
            ("\n\\connect other", 2, "backslash"),
            ("COPY a (b) FROM stdin;\n1\n", 1, "COPY"),
            ("-- a\rCOMMIT;", 1, "`COMMIT`"),
            ("SELECT 1e'\\' , '; COMMIT; --'", 1, "`COMMIT`"),
            ("SET standard_conforming_strings = off;", 1, "standard_conforming_strings"),
            ("\u{feff}SELECT 1;", 1, "byte order mark"),
            ("SELECT 1;\n\0", 2, "zero byte"),
            ("SELECT 'open", 1, "quote"),
            ("SELECT $$open", 1, "dollar"),
            ("/* open", 1, "comment"),
        ] {
            let wrong = check(text).unwrap_err();
            assert!(wrong.line == line && wrong.message.contains(word), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn cap_54_files_are_taken_by_their_full_names_and_those_that_undo_are_not() {
        let names = [
            "9_z.sql",
            "010_a.sql",
            "010_a_rollback.sql",
            "013_b.sql",
            "013_c.sql",
            "013_c.down.sql",
            "notes.md",
            "old/001.sql",
        ];
        let templates = names.map(|name| (format!("templates/sql/nps/{name}"), "SELECT 1;".to_owned())).into();
        let found: Vec<String> = files("sql/nps", &templates).into_iter().map(|file| file.name).collect();
        assert_eq!(found, ["9_z.sql", "010_a.sql", "013_b.sql", "013_c.sql"]);
        let back = found.iter().map(|name| has_way_back("sql/nps", name, &templates)).collect::<Vec<_>>();
        assert_eq!(back, [false, true, false, true]);
    }
}
