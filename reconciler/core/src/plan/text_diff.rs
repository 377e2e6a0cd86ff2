//! Unified diffs of text, bounded.

use std::collections::BTreeSet;

use similar::{ChangeTag, TextDiff};

/// Bytes of either text above which no diff is made: nobody reads it, and it would cost more than the rest of the plan.
const MAX_TEXT: usize = 256 * 1024;
/// Lines of one diff that are kept.
const MAX_LINES: usize = 400;
/// Characters of one line that are kept.
const MAX_LINE: usize = 500;
/// Lines of context around a change.
const CONTEXT: usize = 3;

/// Returns the unified diff of two texts, without a file header; empty when they are equal.
///
/// Both texts must be free of secrets: pass [`crate::render::Content::shown`]. Long diffs end with a line that says how much was
/// left out. Host text is kept as it is; views escape it.
pub fn unified(old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    if old.len() > MAX_TEXT || new.len() > MAX_TEXT {
        return format!("@@ the texts are too long to compare: {} and {} bytes @@\n", old.len(), new.len());
    }
    let diff = TextDiff::from_lines(old, new);
    let text = diff.unified_diff().context_radius(CONTEXT).to_string();
    let total = text.lines().count();
    let mut bounded = String::new();
    for line in text.lines().take(MAX_LINES) {
        match line.char_indices().nth(MAX_LINE) {
            Some((end, _)) => bounded.extend([&line[..end], "…"]),
            None => bounded.push_str(line),
        }
        bounded.push('\n');
    }
    if total > MAX_LINES {
        bounded.extend(["@@ ", &(total - MAX_LINES).to_string(), " more lines @@\n"]);
    }
    bounded
}

/// Returns the lines of the new text, from 1, that the old one does not have.
pub(super) fn changed_lines(old: &str, new: &str) -> BTreeSet<u32> {
    if old.len() > MAX_TEXT || new.len() > MAX_TEXT {
        return (1..=new.lines().count() as u32).collect();
    }
    TextDiff::from_lines(old, new)
        .iter_all_changes()
        .filter(|change| change.tag() == ChangeTag::Insert)
        .filter_map(|change| change.new_index().map(|index| index as u32 + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_change_with_context() {
        let diff = unified("a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(diff, "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(changed_lines("a\nb\nc\n", "a\nB\nc\nd\n"), BTreeSet::from([2, 4]));
    }

    #[test]
    fn equal_texts_have_no_diff() {
        assert_eq!(unified("a\n", "a\n"), "");
    }

    #[test]
    fn a_missing_last_newline_is_a_change() {
        assert!(unified("a", "a\n").contains("\\ No newline at end of file"));
    }

    #[test]
    fn long_diffs_are_cut_and_say_so() {
        let new = "line\n".repeat(1000);
        let diff = unified("", &new);
        assert_eq!(diff.lines().count(), MAX_LINES + 1);
        assert!(diff.ends_with("@@ 601 more lines @@\n"), "{diff}");
        let wide = unified("", &"ä".repeat(2 * MAX_LINE));
        assert!(wide.contains('…'));
    }

    #[test]
    fn huge_texts_are_not_compared() {
        let new = "x\n".repeat(MAX_TEXT);
        assert!(unified("", &new).starts_with("@@ the texts are too long"));
    }
}
