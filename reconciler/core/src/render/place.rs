use std::sync::Arc;

use super::compose::{ComposeContext, ComposeFile, compose};
use super::envfile::{Dialect, env_file};
use super::findings::Findings;
use super::nginx::{Edge, nginx};
use super::plain::plain;
use super::systemd::systemd;
use super::{Content, Engine, Scope};
use crate::config::FileFormat;
use crate::diag::{Diagnostics, Origin};

impl Engine<'_> {
    /// Returns a compose file rendered from a template.
    ///
    /// # Errors
    /// What is wrong with the template or its values; the whole list of what one pass can find.
    pub(crate) fn compose(
        &mut self,
        file: &str,
        used_at: &Origin,
        scope: &Arc<Scope>,
        context: ComposeContext<'_>,
    ) -> Result<ComposeFile, Diagnostics> {
        let rendered = self.render(file, used_at, scope)?;
        let mut findings = Findings::new(self.templates());
        match compose(&rendered, context, &mut findings) {
            Some(file) => Ok(file),
            None => Err(findings.finish()),
        }
    }

    /// Returns an nginx file rendered from a template, with upstreams above it.
    ///
    /// # Errors
    /// As [`Engine::compose`].
    pub(crate) fn nginx(
        &mut self,
        file: &str,
        used_at: &Origin,
        scope: &Arc<Scope>,
        edge: &Edge,
    ) -> Result<Content, Diagnostics> {
        let rendered = self.render(file, used_at, scope)?;
        let mut findings = Findings::new(self.templates());
        let content = nginx(&rendered, edge, &mut findings);
        if findings.len() == 0 { Ok(content) } else { Err(findings.finish()) }
    }

    /// Returns a file of some format rendered from a template.
    ///
    /// # Errors
    /// As [`Engine::compose`].
    pub(crate) fn file(
        &mut self,
        file: &str,
        used_at: &Origin,
        scope: &Arc<Scope>,
        format: FileFormat,
    ) -> Result<Content, Diagnostics> {
        let rendered = self.render(file, used_at, scope)?;
        let mut findings = Findings::new(self.templates());
        let content = match format {
            FileFormat::Plain => plain(&rendered, &mut findings),
            FileFormat::ComposeEnv => env_file(&rendered, Dialect::Compose, &mut findings),
            FileFormat::SystemdEnv => env_file(&rendered, Dialect::Systemd, &mut findings),
            FileFormat::Nginx => nginx(&rendered, &Edge::default(), &mut findings),
            FileFormat::Systemd => systemd(&rendered, &mut findings),
            FileFormat::Compose => {
                let nothing = std::collections::BTreeMap::new();
                let context = ComposeContext { directory: "/", files: &nothing, slots: false };
                compose(&rendered, context, &mut findings).map(|file| file.content).unwrap_or_default()
            }
        };
        if findings.len() == 0 { Ok(content) } else { Err(findings.finish()) }
    }
}
