use std::collections::BTreeMap;

use crate::diag::{Diagnostics, Origin};

/// Findings about templates, each with the line of the template it is about.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    templates: &'a BTreeMap<String, String>,
    list: Diagnostics,
}

impl<'a> Findings<'a> {
    /// Returns an empty list. `templates` are texts by path from the repository's root.
    pub(super) fn new(templates: &'a BTreeMap<String, String>) -> Self {
        Self { templates, list: Diagnostics::default() }
    }

    /// Adds an error.
    pub(super) fn error(&mut self, code: &str, at: &Origin, message: impl Into<String>, hint: impl Into<String>) {
        let source = self.templates.get(&at.file).map_or("", String::as_str);
        self.list.error(code, at.clone(), source, message, hint);
    }

    /// Returns the templates' texts.
    pub(super) fn templates(&self) -> &'a BTreeMap<String, String> {
        self.templates
    }

    /// Returns how many findings there are.
    pub(super) fn len(&self) -> usize {
        self.list.0.len()
    }

    /// Returns the list.
    pub(super) fn finish(self) -> Diagnostics {
        self.list
    }
}
