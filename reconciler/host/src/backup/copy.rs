//! Counts the rows in the SQL that `pg_restore` makes of a dump.

use std::collections::BTreeMap;

/// The most that is kept of one line: rows can be as long as a gigabyte, and only the beginning of a line says what it is.
const KEPT: usize = 16 * 1024;

/// Counts rows by table while the text goes by.
///
/// # Source
/// pg_dump writes a table's rows as `COPY schema.table (columns) FROM stdin;`, one line each, in which a newline is written `\n`,
/// and ends them with `\.`.
#[derive(Debug, Default)]
pub(super) struct RowCounter {
    rows: BTreeMap<String, u64>,
    table: Option<String>,
    line: Vec<u8>,
}

impl RowCounter {
    /// Takes the next piece.
    pub(super) fn take(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.keep(&piece[..end]);
            self.end_line();
            piece = &piece[end + 1..];
        }
        self.keep(piece);
    }

    /// Returns the rows by table; nothing when the text ended in the middle of one.
    pub(super) fn finish(self) -> Option<BTreeMap<String, u64>> {
        (self.table.is_none() && self.line.is_empty()).then_some(self.rows)
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self) {
        match &self.table {
            Some(_) if self.line == b"\\." => self.table = None,
            Some(table) => {
                if let Some(count) = self.rows.get_mut(table) {
                    *count += 1;
                }
            }
            None => {
                if let Some(table) = copied(&self.line) {
                    self.rows.entry(table.clone()).or_default();
                    self.table = Some(table);
                }
            }
        }
        self.line.clear();
    }
}

fn copied(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let rest = text.strip_prefix("COPY ")?;
    if !rest.ends_with(" FROM stdin;") {
        return None;
    }
    let length = qualified(rest)?;
    Some(rest[..length].to_owned())
}

/// Returns how long the name of a table at the beginning of a text is: `public.users`, `"Odd name".t`.
fn qualified(text: &str) -> Option<usize> {
    let schema = identifier(text)?;
    let table = identifier(text[schema..].strip_prefix('.')?)?;
    Some(schema + 1 + table)
}

/// Returns whether a text is the name of a table and nothing more: then it can stand in SQL.
pub(super) fn is_table(text: &str) -> bool {
    qualified(text) == Some(text.len())
}

fn identifier(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
        return (end > 0).then_some(end);
    }
    let mut at = 1;
    loop {
        at += text[at..].find('"')? + 1;
        match text[at..].strip_prefix('"') {
            Some(_) => at += 1,
            None => return Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "--\n-- Data for Name: users\n\nCOPY public.users (id, \"COPY x\") FROM stdin;\n1\tCOPY a.b (c) FROM stdin;\n2\t\\\\.\n\\.\n\n\
        COPY public.\"odd \"\"name\" (a) FROM stdin;\n\\.\n\nSELECT pg_catalog.setval('x', 3, true);\nCOPY \"S\".none  FROM stdin;\n\n\\.\n";

    #[test]
    fn rows_are_counted_however_the_text_is_cut() {
        for size in [1, 7, 64, 10_000] {
            let mut counter = RowCounter::default();
            TEXT.as_bytes().chunks(size).for_each(|piece| counter.take(piece));
            let rows = counter.finish().unwrap();
            let expected = [("\"S\".none", 1), ("public.\"odd \"\"name\"", 0), ("public.users", 2)];
            assert_eq!(rows, expected.map(|(table, count)| (table.to_owned(), count)).into(), "pieces of {size}");
        }
    }

    #[test]
    fn text_that_is_cut_off_counts_for_nothing() {
        for cut in [60, TEXT.len() - 1] {
            let mut counter = RowCounter::default();
            counter.take(&TEXT.as_bytes()[..cut]);
            assert_eq!(counter.finish(), None);
        }
    }

    #[test]
    fn only_the_name_of_a_table_stands_in_sql() {
        for name in ["public.users", "\"a b\".\"c\"\"d\"", "s.t$1"] {
            assert!(is_table(name), "{name}");
        }
        for name in ["users", "public.users; DROP", "public.\"users", "", "a.b c", "\"a\".\"b\" c"] {
            assert!(!is_table(name), "{name}");
        }
    }
}
