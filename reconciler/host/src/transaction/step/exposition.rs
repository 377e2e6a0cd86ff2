//! The text in which a program tells its metrics.
//!
//! # Source
//! Prometheus, "Exposition formats", the text-based format 0.0.4: one sample a line, `name{label="value",…} number [time]`; lines that
//! begin with `#` are comments, of which `# TYPE name kind` and `# HELP name text` say that a metric is there even before it has a
//! sample. In a label's value `\\`, `\"` and `\n` stand for backslash, quote and newline.

use std::collections::BTreeMap;

/// One line that counts something.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: BTreeMap<&'a str, String>,
    pub(super) value: f64,
}

/// A line of it.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Says that there is a metric of this name.
    Declared(&'a str),
    /// One of its series.
    Sample(Sample<'a>),
}

/// Returns the lines that say something.
///
/// # Errors
/// The first line that is none of the format, shortened.
pub(super) fn lines(text: &str) -> Result<Vec<Line<'_>>, String> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_whitespace();
            if let (Some("TYPE" | "HELP"), Some(name)) = (words.next(), words.next()) {
                lines.push(Line::Declared(name));
            }
        } else if !line.is_empty() {
            let sample = sample(line).ok_or_else(|| {
                format!(
                    "line {} is no metric of Prometheus' format: {}",
                    number + 1,
                    crate::exec::shown(line.as_bytes(), 80)
                )
            })?;
            lines.push(Line::Sample(sample));
        }
    }
    Ok(lines)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = word(line, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':')?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    // What may stand behind it is a time.
    let is_over = words.next().is_none_or(|time| time.parse::<i64>().is_ok()) && words.next().is_none();
    is_over.then_some(Sample { name, labels, value })
}

/// Returns what stands up to the closing brace, and the rest behind it.
fn labels(mut rest: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = word(rest, |c| c.is_ascii_alphanumeric() || c == '_')?;
        let quoted = behind.trim_start_matches([' ', '\t']).strip_prefix('=')?;
        let quoted = quoted.trim_start_matches([' ', '\t']).strip_prefix('"')?;
        let (value, behind) = unquoted(quoted)?;
        labels.insert(name, value);
        rest = behind;
    }
}

/// Returns a value up to its closing quote, and the rest behind that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                // The format knows no other, and what a program means by one is the character itself.
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn word(text: &str, is_part: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (!word.is_empty() && !word.starts_with(|c: char| c.is_ascii_digit())).then_some((word, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of<'a>(name: &'a str, labels: &[(&'a str, &str)], value: f64) -> Line<'a> {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Line::Sample(Sample { name, labels, value })
    }

    #[test]
    fn what_programs_write_is_read() {
        let text = "# HELP http_requests_total The \"total\".\n# TYPE http_requests_total counter\n\
                    http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
                    msdos_file_access{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"a \\\"b\\\"\\nc, d}\",} 1.458e9\n\n\
                    # a comment\nmetric_without_labels 12.47\nsomething_weird{problem=\"division by zero\"} +Inf -3982045\n\
                    a:b { x = \"y\" } 0\r\n";
        let read = lines(text).unwrap();
        let expected = vec![
            Line::Declared("http_requests_total"),
            Line::Declared("http_requests_total"),
            of("http_requests_total", &[("method", "post"), ("code", "200")], 1027.0),
            of("msdos_file_access", &[("path", "C:\\DIR\\FILE.TXT"), ("error", "a \"b\"\nc, d}")], 1.458e9),
            of("metric_without_labels", &[], 12.47),
            of("something_weird", &[("problem", "division by zero")], f64::INFINITY),
            of("a:b", &[("x", "y")], 0.0),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_metric_is_told_with_its_line() {
        for odd in
            ["<html>", "name", "1name 2", "name{label} 1", "name{label=\"x} 1", "name 1 soon", "name 1 2 3", "name one"]
        {
            let error = lines(&format!("good 1\n{odd}")).unwrap_err();
            assert!(error.starts_with("line 2 is no metric") && error.contains(&odd[..4]), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_of_a_label_comes_back(value in any::<String>()) {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Lines end at a newline, which is quoted; a carriage return before it cannot be told from the end of a line.
            prop_assume!(!value.contains('\r'));
            let text = format!("x{{l=\"{quoted}\"}} 1");
            prop_assert_eq!(lines(&text).unwrap(), vec![of("x", &[("l", &value)], 1.0)]);
        }

        #[test]
        fn nothing_makes_it_fall_over(text in any::<String>()) {
            let _ = lines(&text);
        }
    }
}
