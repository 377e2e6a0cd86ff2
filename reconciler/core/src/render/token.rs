//! Stand-ins for values while a template is rendered and its text is parsed.
//!
//! A token is eight characters of a private-use block of Unicode: a start character, six digits, an end character. Each of them is a
//! plain word character to every grammar we parse, none of them can be typed by accident, and a text that holds one anywhere but
//! in a whole token was changed by something that must not change it.

/// First character of the block that templates and values may not use.
const BLOCK: u32 = 0x0010_FF00;
const END: char = '\u{10FF0F}';
const DIGIT: u32 = 0x0010_FF10;
const DIGITS: u32 = 6;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A value at the place where it was printed; the number is an index of the list of holes.
    Hole,
    /// The place in a template where the text that follows stands; an index of the list of places.
    Place,
    /// A secret inside a string that was put together in a template; an index of the list of pieces.
    Piece,
}

impl TokenKind {
    const fn start(self) -> char {
        match self {
            Self::Hole => '\u{10FF01}',
            Self::Place => '\u{10FF02}',
            Self::Piece => '\u{10FF03}',
        }
    }

    fn of(start: char) -> Option<Self> {
        [Self::Hole, Self::Place, Self::Piece].into_iter().find(|kind| kind.start() == start)
    }
}

/// A part of a text with tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// Text without tokens; never empty.
    Text(&'a str),
    /// A token.
    Token(TokenKind, usize),
}

/// A text with a piece of a token in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// Returns whether a character belongs to the reserved block.
pub(super) fn is_reserved(c: char) -> bool {
    (BLOCK..=BLOCK + 0xFF).contains(&u32::from(c))
}

/// Returns whether a text holds a token or a piece of one.
pub(super) fn has_token(text: &str) -> bool {
    // All reserved characters begin with these three bytes in UTF-8, which is quicker to look for.
    text.as_bytes().windows(3).any(|w| w == [0xF4, 0x8F, 0xBC]) && text.chars().any(is_reserved)
}

/// Writes a token.
pub(super) fn write_token(out: &mut String, kind: TokenKind, index: usize) {
    out.push(kind.start());
    for position in (0..DIGITS).rev() {
        let digit = (index as u32 >> (4 * position)) & 0xF;
        out.push(char::from_u32(DIGIT + digit).expect("BUG: the block holds characters only"));
    }
    out.push(END);
}

/// Returns a token as text.
pub(super) fn token(kind: TokenKind, index: usize) -> String {
    let mut out = String::with_capacity(32);
    write_token(&mut out, kind, index);
    out
}

/// Takes a text apart.
pub(super) fn segments(text: &str) -> Result<Vec<Segment<'_>>, Damaged> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((at, start)) = rest.char_indices().find(|(_, c)| is_reserved(*c)) {
        if at > 0 {
            out.push(Segment::Text(&rest[..at]));
        }
        let kind = TokenKind::of(start).ok_or(Damaged)?;
        let mut chars = rest[at + start.len_utf8()..].chars();
        let mut index = 0;
        for _ in 0..DIGITS {
            let digit = u32::from(chars.next().ok_or(Damaged)?).wrapping_sub(DIGIT);
            if digit > 0xF {
                return Err(Damaged);
            }
            index = index << 4 | digit as usize;
        }
        if chars.next() != Some(END) {
            return Err(Damaged);
        }
        out.push(Segment::Token(kind, index));
        rest = chars.as_str();
    }
    if !rest.is_empty() {
        out.push(Segment::Text(rest));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_come_back_from_between_any_text(a in "[^\u{10FF00}-\u{10FFFF}]*", b in "[^\u{10FF00}-\u{10FFFF}]*", n in 0usize..0x00FF_FFFF) {
            let text = format!("{a}{}{b}", token(TokenKind::Hole, n));
            prop_assert!(has_token(&text));
            prop_assert!(!has_token(&a));
            let mut want = Vec::new();
            if !a.is_empty() { want.push(Segment::Text(&a)); }
            want.push(Segment::Token(TokenKind::Hole, n));
            if !b.is_empty() { want.push(Segment::Text(&b)); }
            prop_assert_eq!(segments(&text), Ok(want));
        }

        #[test]
        fn every_true_part_of_a_token_is_damaged(n in 0usize..0x00FF_FFFF, from in 0usize..8, len in 1usize..8) {
            let whole: Vec<char> = token(TokenKind::Piece, n).chars().collect();
            let part: String = whole.iter().skip(from).take(len).collect();
            prop_assume!(part.chars().count() < 8);
            prop_assert_eq!(segments(&part), Err(Damaged));
        }
    }
}
