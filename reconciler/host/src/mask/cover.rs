//! Covers in a text whatever shows a part of a secret.

use std::collections::BTreeSet;

use holdfast_protocol::Digest;

use super::forms::forms;

/// What stands in place of a secret.
pub const COVER: &str = "‹secret›";

/// Bytes of a secret that are never shown in a row, in any form. Tools break a value apart at its odd characters, and our own errors
/// keep only the end of what was said, so a whole value is not enough to look for.
const PART: usize = 8;

/// Bytes of a secret in a row that are never shown in the content of a file, where words that happen to be in a secret too
/// (`postgresql://`) must stay as they are: a difference in them would be shown that is none.
const LONG_PART: usize = 16;

/// As many bytes as a part.
const SCHEME: &[u8; PART] = b"https://";

/// The shortest value that is covered wherever it stands. A shorter one is covered as a word of its own: else every text with an `a`
/// in it would be full of covers, and tell that the value is an `a`.
const SHORT: usize = 4;

/// What must not be shown.
#[derive(Debug, Default)]
pub struct Mask {
    /// Every [`PART`] bytes in a row of every form, sorted.
    parts: Vec<[u8; PART]>,
    /// Forms of at least that, and shorter than [`LONG_PART`].
    middle: BTreeSet<Vec<u8>>,
    /// Forms shorter than that.
    short: BTreeSet<Vec<u8>>,
    /// Values shorter than [`SHORT`].
    words: BTreeSet<Vec<u8>>,
    /// Blobs with a secret in them.
    blobs: BTreeSet<Digest>,
    /// Why nothing can be shown at all.
    blind: Option<String>,
}

impl Mask {
    /// Returns a mask of these secrets.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Self {
        let mut mask = Self::default();
        let values: BTreeSet<&[u8]> = values.into_iter().filter(|value| !value.trim_ascii().is_empty()).collect();
        for value in values {
            if value.len() < SHORT {
                mask.words.insert(value.to_owned());
                continue;
            }
            for form in forms(value) {
                if form.len() >= PART {
                    mask.parts.extend(form.windows(PART).filter(|part| is_telling(part)).map(|part| {
                        let mut own = [0; PART];
                        own.copy_from_slice(part);
                        own
                    }));
                    if form.len() < LONG_PART {
                        mask.middle.insert(form);
                    }
                } else if form.len() >= SHORT {
                    mask.short.insert(form);
                }
            }
        }
        mask.parts.sort_unstable();
        mask.parts.dedup();
        mask
    }

    /// Returns the mask with the blobs its secrets are in.
    pub(super) fn in_blobs(self, blobs: BTreeSet<Digest>) -> Self {
        Self { blobs, ..self }
    }

    /// Returns one that shows nothing at all, for this reason.
    pub(super) fn blind(why: String) -> Self {
        Self { blind: Some(why), ..Self::default() }
    }

    /// Returns whether a blob, or a file with its bytes, has a secret in it.
    pub fn hides(&self, blob: &Digest) -> bool {
        self.blind.is_some() || self.blobs.contains(blob)
    }

    /// Returns a text with everything covered that shows a part of a secret.
    pub fn cover(&self, text: String) -> String {
        if text.is_empty() {
            return text;
        }
        if let Some(why) = &self.blind {
            return format!("(withheld, for nobody can tell what in it is secret: {why})");
        }
        let shown = self.marks(text.as_bytes());
        if shown.contains(&true) { under_cover(&text, &shown) } else { text }
    }

    /// Returns the content of a file with everything covered that shows a secret, or a long part of one.
    ///
    /// `None` when it shows one and is no text. Values shorter than [`PART`] are not looked for: a file that was written with one is told by [`Mask::hides`].
    pub fn cover_content(&self, content: Vec<u8>) -> Option<Vec<u8>> {
        let mut marks = vec![false; content.len()];
        let mut at = 0;
        let is_part = |at: usize| content.get(at..at + PART).is_some_and(|window| self.is_part(window));
        while at < content.len() {
            let hits = (at..content.len()).take_while(|at| is_part(*at)).count();
            if hits > 0 {
                let run = &content[at..at + hits + PART - 1];
                let holds = |form: &Vec<u8>| run.windows(form.len()).any(|window| window == form);
                if run.len() >= LONG_PART || self.middle.iter().any(holds) {
                    marks[at..at + run.len()].fill(true);
                }
            }
            at += hits + 1;
        }
        if !marks.contains(&true) {
            return Some(content);
        }
        std::str::from_utf8(&content).ok().map(|text| under_cover(text, &marks).into_bytes())
    }

    fn is_part(&self, window: &[u8]) -> bool {
        self.parts.binary_search_by(|part| part.as_slice().cmp(window)).is_ok()
    }

    /// Returns for each byte whether it belongs to a secret.
    fn marks(&self, text: &[u8]) -> Vec<bool> {
        let mut marks = vec![false; text.len()];
        for (at, window) in text.windows(PART).enumerate() {
            // What a secret address begins with is what any address begins with: it tells something where more of it follows.
            let is_scheme =
                || window == SCHEME && !text.get(at + 1..at + 1 + PART).is_some_and(|next| self.is_part(next));
            if self.is_part(window) && !is_scheme() {
                marks[at..at + PART].fill(true);
            }
        }
        for value in &self.short {
            for (at, _) in text.windows(value.len()).enumerate().filter(|(_, window)| window == value) {
                marks[at..at + value.len()].fill(true);
            }
        }
        for value in &self.words {
            let is_word = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80);
            for (at, _) in text.windows(value.len()).enumerate().filter(|(_, window)| window == value) {
                let before = at.checked_sub(1).and_then(|before| text.get(before));
                if !is_word(before) && !is_word(text.get(at + value.len())) {
                    marks[at..at + value.len()].fill(true);
                }
            }
        }
        marks
    }
}

/// Returns a text with all that is marked covered.
fn under_cover(text: &str, marks: &[bool]) -> String {
    let mut covered = String::with_capacity(text.len());
    let mut inside = false;
    for (at, character) in text.char_indices() {
        let secret = marks.get(at..at + character.len_utf8()).is_some_and(|marks| marks.contains(&true));
        if !secret {
            covered.push(character);
        } else if !inside {
            covered.push_str(COVER);
        }
        inside = secret;
    }
    covered
}

/// Returns whether a part says anything: dashes and spaces in a row stand in half of all texts.
fn is_telling(part: &[u8]) -> bool {
    part.iter().any(|byte| *byte != part[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(values: &[&str], text: &str) -> String {
        Mask::of(values.iter().map(|value| value.as_bytes())).cover(text.to_owned())
    }

    #[test]
    fn an_address_of_somebody_else_is_not_covered_for_its_scheme() {
        let hook = ["https://hooks.example.net/T0/B0"];
        assert_eq!(covered(&hook, "Get https://images.test/v2/"), "Get https://images.test/v2/");
        assert_eq!(covered(&hook, "Post \"https://hooks.example.net/T0\""), "Post \"‹secret›\"");
        assert_eq!(covered(&hook, "at https://hooks.example.org"), "at ‹secret›org");
    }

    #[test]
    fn a_value_its_pieces_and_what_was_cut_off_are_covered() {
        let value = "Db9#x$'\"%kQw7LmZ2pXc4VbN8tRy;{}\\t ü";
        for (text, wanted) in [
            (format!("bad port \"{value}\" in a"), "bad port \"‹secret›\" in a"),
            ("unknown \"Qw7LmZ2pXc4VbN8tRy\" in b".to_owned(), "unknown \"‹secret›\" in b"),
            ("…2pXc4VbN8tRy;{}\\\\t ü".to_owned(), "…‹secret›"),
            ("nothing".to_owned(), "nothing"),
        ] {
            assert_eq!(covered(&[value], &text), wanted);
        }
    }

    #[test]
    fn what_is_short_is_covered_with_measure() {
        assert_eq!(covered(&["tiny"], "a tiny, untinyable"), "a ‹secret›, un‹secret›able");
        assert_eq!(covered(&["77"], "77 of 1770; x=77"), "‹secret› of 1770; x=‹secret›");
        assert_eq!(covered(&["", " ", "\n"], "a b\nc"), "a b\nc");
        assert_eq!(covered(&["a----------b"], "--------"), "--------");
    }

    #[test]
    fn lines_of_a_long_value_are_covered_however_they_are_put_together() {
        let value = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n";
        let text = covered(&[value], "loaded:MIIEvQIBADANBgkq | hkiG9w0BAQEFAASC, twice");
        assert_eq!(text, "loaded:‹secret›, twice");
    }

    #[test]
    fn in_a_file_only_whole_values_and_long_parts_are_covered() {
        let mask = Mask::of(["postgresql://app:Qw7LmZ2pXc4VbN8tRy@db", "twelve-chars", "shortie"].map(str::as_bytes));
        let covered = |text: &str| String::from_utf8(mask.cover_content(text.as_bytes().to_vec()).unwrap()).unwrap();
        for (text, wanted) in [
            ("url: postgresql://other\nshortie twelve-char", "url: postgresql://other\nshortie twelve-char"),
            ("pw: Qw7LmZ2pXc4VbN8tRy.", "pw: ‹secret›."),
            ("a twelve-chars b Qw7LmZ2p", "a ‹secret› b Qw7LmZ2p"),
        ] {
            assert_eq!(covered(text), wanted);
        }
        assert_eq!(mask.cover_content(vec![0xff, 0, 0xfe]), Some(vec![0xff, 0, 0xfe]));
        assert_eq!(mask.cover_content(b"\xff twelve-chars".to_vec()), None, "what is no text is not shown in part");
    }

    #[test]
    fn without_knowledge_nothing_is_shown() {
        let mask = Mask::blind("no disk".to_owned());
        assert!(!mask.cover("password=x".to_owned()).contains("password"));
        assert_eq!(mask.cover(String::new()), "");
        assert!(mask.hides(&Digest([0; 32])));
    }

    proptest! {
        #[test]
        fn no_part_of_a_value_is_left(
            value in "[ -~ü\n\t]{8,60}",
            before in "[a-z \"\n]{0,20}",
            after in "[A-Z |]{0,20}",
            from in 0..50_usize,
        ) {
            // Dashes alone tell nothing.
            prop_assume!(value.as_bytes().windows(PART).all(is_telling));
            let mask = Mask::of([value.as_bytes()]);
            let whole = mask.cover(format!("{before}{value}{after}"));
            for form in super::super::forms::forms(value.as_bytes()) {
                let form = String::from_utf8_lossy(&form).into_owned();
                let text = mask.cover(format!("{before}{form}{after}"));
                for part in value.as_bytes().windows(PART) {
                    prop_assert!(!text.as_bytes().windows(PART).any(|window| window == part), "{text}");
                }
            }
            let from = value.char_indices().map(|(at, _)| at).rfind(|at| *at <= from).unwrap_or(0);
            let rest = &value[from..];
            let cut = mask.cover(format!("…{rest}"));
            prop_assert!(rest.len() < PART || cut.contains(COVER), "{cut}");
            prop_assert!(whole.contains(COVER));
        }

        #[test]
        fn a_text_without_a_secret_stays(text in "[a-m \n]{0,80}") {
            prop_assert_eq!(covered(&["NOPQRSTUVWXYZ", "zzzz"], &text), text);
        }
    }
}
