use super::Content;
use super::findings::Findings;
use super::hole::{HoleValue, Piece, Rendered};
use super::writer::ContentWriter;

/// Turns a rendered text into a file of bytes as they are.
pub(super) fn plain(rendered: &Rendered, findings: &mut Findings<'_>) -> Content {
    let mut out = ContentWriter::new();
    for piece in rendered.pieces(&rendered.text) {
        match piece {
            Piece::Text(text) => out.text(text),
            Piece::Hole(hole) => {
                out.from(&hole.sources, &hole.template);
                match &hole.value {
                    HoleValue::Text(text) | HoleValue::Word(text) if text.contains('\0') => {
                        let message = format!("`{}` holds a NUL character", hole.name());
                        findings.error("unwritable-value", &hole.template, message, "take it out");
                    }
                    HoleValue::Text(text) | HoleValue::Word(text) => out.text(text),
                    HoleValue::Secret(part) => out.piece(part, &[]),
                }
            }
        }
    }
    out.finish()
}
