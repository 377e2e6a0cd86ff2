//! Text of others, made harmless for where it is shown.

/// Returns whether a character does something instead of showing something: control characters, and those that hide themselves,
/// turn the direction of writing, or join what stands beside them.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns one line in which every character shows itself: what would act on a terminal, or fool a reader, is written as its
/// number, `\u{202e}`. A tab becomes four spaces.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push_str("    "),
            c if acts(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Returns text for HTML, also inside a quoted attribute.
pub(super) fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c => shown.push(c),
        }
    }
    shown
}

/// Returns a Markdown code block that nothing in its text can leave: its fence is longer than any run of backticks in it. Inside
/// it nothing is a mention, a link or HTML.
///
/// # Source
/// CommonMark 0.31, §4.5 fenced code blocks.
pub(super) fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_shown_by_its_number() {
        assert_eq!(visible("a\u{1b}[31mb\u{202e}c\r\td"), "a\\u{1b}[31mb\\u{202e}c\\u{d}    d");
        assert_eq!(visible("äß→‹日本›"), "äß→‹日本›");
    }

    #[test]
    fn a_fence_outlasts_what_it_holds() {
        assert_eq!(fenced("diff", "a\n```\nb\n"), "````diff\na\n```\nb\n````\n");
        assert_eq!(fenced("", "x"), "```\nx\n```\n");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in ".{0,60}") {
            prop_assert!(!visible(&text).chars().any(acts));
        }

        #[test]
        fn html_holds_no_markup(text in "[<>&\"'a-z]{0,40}") {
            prop_assert!(!html(&text).contains(['<', '>', '"', '\'']));
        }
    }
}
