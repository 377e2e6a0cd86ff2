//! Whether what was rendered is fit for what its environment is for, and for how its component is changed.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::Slot;

use super::logs::endless;
use super::tuning::{Mismatch, mismatches};
use crate::config::{Component, Config, Environment, FileFormat, FileSpec, Purpose, SlotPorts, Strategy};
use crate::diag::{Diagnostics, Origin};
use crate::render::{ComposeService, Content, Stated};
use crate::secret::is_placeholder;

/// Fewest hexadecimal digits that name a commit, so that a tag of them is one of a build.
const COMMIT_DIGITS: usize = 7;

/// Judges one place of a component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fitness<'a> {
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
    pub(super) component: &'a Component,
    pub(super) slot: Option<Slot>,
}

impl Fitness<'_> {
    /// Returns what is wrong with the services of its compose file.
    pub(super) fn services(
        &self,
        services: &BTreeMap<String, ComposeService>,
        files: &BTreeMap<&str, String>,
    ) -> Diagnostics {
        let mut findings = Diagnostics::default();
        for (name, service) in services {
            self.image(&service.image, &mut findings);
            self.alone(name, &service.replicas, &mut findings);
            self.ports(service, &mut findings);
            self.log(name, service, &mut findings);
            for Mismatch { at, message, hint } in mismatches(self.component, name, service, files) {
                self.error("database-settings", &at, message, &hint, &mut findings);
            }
            for setting in &service.environment {
                let (key, value) = &setting.value;
                self.setting(key, value, &setting.at, &mut findings);
            }
        }
        findings
    }

    /// Returns what is wrong with a file of environment variables.
    pub(super) fn file(&self, spec: &FileSpec, content: &Content) -> Diagnostics {
        let mut findings = Diagnostics::default();
        if matches!(spec.format, FileFormat::ComposeEnv | FileFormat::SystemdEnv) {
            // A secret is shown by its name, which is no placeholder.
            for line in content.shown().lines() {
                let Some((key, value)) = line.split_once('=') else { continue };
                let value = value.trim_matches(|c| matches!(c, '"' | '\''));
                self.setting(key.trim(), value, &spec.template.origin, &mut findings);
            }
        }
        findings
    }

    fn error(&self, code: &str, at: &Origin, message: String, hint: &str, findings: &mut Diagnostics) {
        let source = self.config.templates.get(&at.file).map_or("", String::as_str);
        findings.error(code, at.clone(), source, message, hint);
    }

    /// Returns the environment's name and what it is for, as a part of a message.
    fn whose(&self) -> String {
        format!("environment `{}`, whose purpose is {}", self.environment.name, self.environment.purpose.as_str())
    }

    fn image(&self, image: &Stated<String>, findings: &mut Diagnostics) {
        if self.environment.purpose == Purpose::Development || image.value.is_empty() || !may_move(&image.value) {
            return;
        }
        let message = format!("`{}` may be another image tomorrow: refused in {}", image.value, self.whose());
        let hint = "name a version, such as `:11.3.0`, or a digest, `@sha256:…`";
        self.error("mutable-tag", &image.at, message, hint, findings);
    }

    fn log(&self, name: &str, service: &ComposeService, findings: &mut Diagnostics) {
        if self.environment.purpose == Purpose::Development {
            return;
        }
        if let Some((at, message, hint)) = endless(name, &service.logging) {
            self.error("unbounded-log", &at, format!("{message}: refused in {}", self.whose()), &hint, findings);
        }
    }

    fn alone(&self, name: &str, replicas: &Stated<u32>, findings: &mut Diagnostics) {
        if self.component.strategy != Strategy::Singleton || replicas.value < 2 {
            return;
        }
        let message = format!(
            "{} replicas of `{name}` would each do what the strategy `singleton` wants done once",
            replicas.value
        );
        self.error(
            "singleton-replicas",
            &replicas.at,
            message,
            "have one, or give it the strategy `workers`",
            findings,
        );
    }

    /// Ports of the host are compared over all environments by the component's `ports`: one that is not there is seen by nobody.
    fn ports(&self, service: &ComposeService, findings: &mut Diagnostics) {
        let port = |ports: &SlotPorts| if self.slot == Some(Slot::Green) { ports.green } else { ports.blue };
        let own: BTreeSet<u16> = self.component.ports.values().map(port).collect();
        for published in &service.published {
            let Some((first, last)) = published.value.ports.filter(|_| published.value.tcp) else { continue };
            let Some(port) = (first..=last).find(|port| !own.contains(port)) else { continue };
            let message =
                format!("port {port} of the host is none of the ports of component `{}`", self.component.name);
            let hint = if self.component.strategy.has_slots() {
                "give the component `ports: { name: { blue: …, green: … } }`, and write `{{ port.name }}` here"
                    .to_owned()
            } else {
                format!("give the component `ports: {{ name: {port} }}`, and write `{{{{ port.name }}}}` here")
            };
            self.error("undeclared-port", &published.at, message, &hint, findings);
        }
    }

    fn setting(&self, key: &str, value: &str, at: &Origin, findings: &mut Diagnostics) {
        let purpose = self.environment.purpose;
        if purpose == Purpose::Production && is_debug_switch(key) && is_on(value) {
            let message = format!("`{key}` is on: refused in {}", self.whose());
            let hint = "take it from a variable of the environment, which is off here";
            self.error("development-setting", at, message, hint, findings);
        }
        if purpose != Purpose::Development && holds_placeholder(key, value) {
            let message = format!("`{key}` has a value that everybody knows: refused in {}", self.whose());
            let hint = "put one of its own into `secrets.sops.yaml`, and use it as `{{ secrets.… }}`";
            self.error("placeholder-secret", at, message, hint, findings);
        }
    }
}

/// Returns whether an image reference can come to mean another image: it has no digest, and its tag has no digit in it and is no
/// commit, as those of versions do.
fn may_move(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map_or("", |(_, tag)| tag);
    let commit = tag.len() >= COMMIT_DIGITS && tag.chars().all(|c| c.is_ascii_hexdigit());
    !commit && !tag.chars().any(|c| c.is_ascii_digit())
}

fn is_debug_switch(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    ["DEBUG", "RELOAD"].iter().any(|word| key == *word || key.ends_with(&format!("_{word}")))
}

fn is_on(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// Returns whether a variable by its name is a secret and has a placeholder, or has one as the password of an address.
fn holds_placeholder(key: &str, value: &str) -> bool {
    const NAMES: [&str; 8] =
        ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "SECRET_KEY", "ENCRYPTION_KEY"];
    let key = key.to_ascii_uppercase();
    let named = NAMES.iter().any(|name| key == *name || key.ends_with(&format!("_{name}")));
    let in_address = value.split_once("://").and_then(|(_, rest)| {
        let (login, _) = rest.split('/').next()?.rsplit_once('@')?;
        Some(login.split_once(':')?.1)
    });
    (named && is_placeholder(value)) || in_address.is_some_and(is_placeholder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_08_only_a_version_a_commit_or_a_digest_stays() {
        for (image, moves) in [
            ("prom/prometheus:latest", true),
            ("grafana/grafana", true),
            ("registry.example.com:5000/app", true),
            ("registry.example.com:5000/app:staging", true),
            ("nginx:alpine", true),
            ("postgres:15.10-alpine", false),
            ("app:v5.0", false),
            ("app:feedface", false),
            ("app:latest@sha256:00", false),
        ] {
            assert_eq!(may_move(image), moves, "{image}");
        }
    }

    #[test]
    fn cap_50_a_placeholder_counts_where_a_secret_belongs() {
        for (key, value, refused) in [
            ("POSTGRES_PASSWORD", "changeme", true),
            ("JWT_SECRET_KEY", "", true),
            ("OPENAI_API_KEY", "your-openai-key", true),
            ("DATABASE_URL", "postgresql://user:password@postgres:5432/numbers_db", true),
            ("DATABASE_URL", "postgresql://app:k7#Q-2b@postgres/db", false),
            ("REDIS_URL", "redis://redis:6379/0", false),
            ("SECRET_KEY_FILE", "/run/secrets/secret_key", false),
            ("POSTGRES_USER", "admin", false),
            ("MINIO_ROOT_PASSWORD", "minioadmin", true),
        ] {
            assert_eq!(holds_placeholder(key, value), refused, "{key}={value}");
        }
    }
}
