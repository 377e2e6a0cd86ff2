//! How text for a terminal is set.

/// How text for a terminal is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours are used.
    pub colour: bool,
    /// Columns of the terminal. Fewer than 40 are taken as 40.
    pub width: usize,
}

/// What a piece of text is, which decides how it looks.
///
/// # Source
/// The codes are SGR parameters of ECMA-48, §8.3.117.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Faint,
    Added,
    Changed,
    Removed,
    Place,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Faint => "2",
            Self::Added => "32",
            Self::Changed => "33",
            Self::Removed => "31",
            Self::Place => "36",
        }
    }
}

impl Style {
    /// Returns text in a colour, where there are any.
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colour || paint == Paint::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code())
    }

    /// Returns the columns there are.
    pub(super) fn columns(self) -> usize {
        self.width.max(40)
    }
}

/// Returns a text broken at spaces into lines of at most `width` characters. A longer word stays whole: paths are there to be
/// copied.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += word_length;
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Returns a text cut into lines of exactly `width` characters but for the last: for diffs, whose spaces mean something.
pub(super) fn chop(text: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(width.max(1)).map(|chunk| chunk.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_and_keeps_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a /very/long/path b", 6), ["a", "/very/long/path", "b"]);
        assert_eq!(wrap("", 6), [""]);
        assert_eq!(chop("abcdef", 4), ["abcd", "ef"]);
    }

    #[test]
    fn colours_only_where_there_are_any() {
        let plain = Style { colour: false, width: 80 };
        let colour = Style { colour: true, width: 80 };
        assert_eq!(plain.paint(Paint::Added, "x"), "x");
        assert_eq!(colour.paint(Paint::Added, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
