use super::{Content, Encoding, Part, Provenance};
use crate::diag::Origin;
use crate::secret::SecretRef;

/// Builds a [`Content`] piece by piece and knows which line it is on.
#[derive(Debug, Default)]
pub(super) struct ContentWriter {
    content: Content,
    line: u32,
}

impl ContentWriter {
    /// Returns an empty writer.
    pub(super) fn new() -> Self {
        Self { content: Content::default(), line: 1 }
    }

    /// Writes text.
    pub(super) fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.line += text.bytes().filter(|b| *b == b'\n').count() as u32;
        match self.content.parts.last_mut() {
            Some(Part::Plain(last)) => last.push_str(text),
            _ => self.content.parts.push(Part::Plain(text.to_owned())),
        }
    }

    /// Writes a piece with a secret in it. `outer` encodings are applied after the piece's own.
    pub(super) fn piece(&mut self, piece: &Part, outer: &[Encoding]) {
        match piece {
            Part::Plain(text) => self.text(text),
            Part::Secret { secret, encodings } => self.secret(secret, encodings, outer),
            Part::Joined { parts, encodings } => {
                let encodings = encodings.iter().chain(outer).copied().collect();
                self.content.parts.push(Part::Joined { parts: parts.clone(), encodings });
            }
        }
    }

    fn secret(&mut self, secret: &SecretRef, inner: &[Encoding], outer: &[Encoding]) {
        let encodings = inner.iter().chain(outer).copied().collect();
        self.content.parts.push(Part::Secret { secret: secret.clone(), encodings });
    }

    /// Records where the value that is written next comes from.
    pub(super) fn from(&mut self, sources: &[(String, Origin)], template: &Origin) {
        for (field, value) in sources {
            let (field, value, template) = (field.clone(), value.clone(), template.clone());
            self.content.provenance.push(Provenance { output_line: self.line, field, value, template });
        }
    }

    /// Returns the content.
    pub(super) fn finish(self) -> Content {
        self.content
    }
}
