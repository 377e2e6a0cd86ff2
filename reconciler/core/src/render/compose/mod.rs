//! Compose files.
//!
//! # Source
//! The Compose specification as of June 2026; interpolation as in compose-go v2.

mod demands;
mod emit;
mod service;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use self::emit::{Emitter, plain_text};
pub(crate) use self::service::{ComposeService, Logging, Stated, bytes};
use self::yaml::{Kind, Node};
use super::Content;
use super::findings::Findings;
use super::hole::Rendered;
use super::writer::ContentWriter;
use crate::diag::Origin;
use crate::id::DigestWriter;
use crate::protocol::Digest;

/// The label each service gets: the digest of everything it is made of.
pub const DIGEST_LABEL: &str = "dev.holdfast.digest";

/// What the component has beside its compose file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComposeContext<'a> {
    /// The folder of the compose file.
    pub(crate) directory: &'a str,
    /// The component's other files: digests of their contents, by absolute path.
    pub(crate) files: &'a BTreeMap<String, Digest>,
    /// Whether the project runs twice at a time, once in each slot.
    pub(crate) slots: bool,
}

/// A compose file, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComposeFile {
    /// Its text.
    pub(crate) content: Content,
    /// By name.
    pub(crate) services: BTreeMap<String, ComposeService>,
    /// The first service as written.
    pub(crate) first: String,
    /// The volumes that the project makes.
    pub(crate) volumes: BTreeSet<String>,
}

const TOP_LEVEL: [&str; 6] = ["services", "networks", "volumes", "configs", "secrets", "models"];

/// Turns a rendered text into a compose file.
pub(super) fn compose(
    rendered: &Rendered,
    context: ComposeContext<'_>,
    findings: &mut Findings<'_>,
) -> Option<ComposeFile> {
    let before = findings.len();
    let root = match yaml::read(&rendered.text) {
        Ok(root) => root,
        Err(problem) => {
            let at = rendered.place(problem.line);
            findings.error("compose-syntax", &at, format!("not valid YAML once rendered: {}", problem.message), "");
            return None;
        }
    };
    let mut file = File {
        rendered,
        context,
        findings,
        names: BTreeSet::new(),
        services: BTreeMap::new(),
        first: String::new(),
        volumes: BTreeSet::new(),
    };
    let root = file.root(&root)?;
    let (services, first, volumes) = (file.services, file.first, file.volumes);
    let mut emitter = Emitter { rendered, findings, out: ContentWriter::new() };
    emitter.out.text("# Managed by Holdfast. Changes made here are undone.\n");
    emitter.entries(&root, 0);
    let content = emitter.out.finish();
    (findings.len() == before).then_some(ComposeFile { content, services, first, volumes })
}

struct File<'a, 'f, 't> {
    rendered: &'a Rendered,
    context: ComposeContext<'a>,
    findings: &'f mut Findings<'t>,
    /// All services as written.
    names: BTreeSet<String>,
    services: BTreeMap<String, ComposeService>,
    first: String,
    volumes: BTreeSet<String>,
}

impl File<'_, '_, '_> {
    fn at(&self, node: &Node) -> Origin {
        self.rendered.place(node.line)
    }

    fn error(&mut self, code: &str, node: &Node, message: impl Into<String>, hint: &str) {
        let at = self.at(node);
        self.findings.error(code, &at, message, hint);
    }

    fn text(&self, node: &Node) -> Option<String> {
        plain_text(self.rendered, node.text()?)
    }

    /// Returns the volumes that are the project's: not those that somebody else made.
    fn own_volumes(&self, volumes: &Node) -> BTreeSet<String> {
        let Kind::Map { entries, .. } = &volumes.kind else { return BTreeSet::new() };
        let is_external = |value: &Node| match &value.kind {
            Kind::Map { entries, .. } => entries.iter().any(|(key, value)| {
                self.text(key).is_some_and(|key| key == "external")
                    && self.text(value).is_none_or(|value| value != "false")
            }),
            _ => false,
        };
        entries.iter().filter(|(_, value)| !is_external(value)).filter_map(|(key, _)| self.text(key)).collect()
    }

    fn root(&mut self, root: &Node) -> Option<Vec<(Node, Node)>> {
        let Kind::Map { entries, .. } = &root.kind else {
            self.error("compose-shape", root, "a compose file is a map with `services`", "");
            return None;
        };
        let mut kept = Vec::new();
        for (key, value) in entries {
            let name = self.text(key).unwrap_or_default();
            match name.as_str() {
                "services" => kept.push((key.clone(), self.service_map(value, root))),
                "volumes" => {
                    self.volumes = self.own_volumes(value);
                    kept.push((key.clone(), value.clone()));
                }
                "networks" | "models" => kept.push((key.clone(), value.clone())),
                "configs" | "secrets" => {
                    self.sources(&name, value);
                    kept.push((key.clone(), value.clone()));
                }
                "version" => {
                    self.error("compose-version", key, "`version` has had no meaning since Compose 2", "take it out");
                }
                "name" => self.error(
                    "compose-name",
                    key,
                    "`name` is not for the template: the project is named after environment, app, component and slot",
                    "take it out",
                ),
                "include" => self.error(
                    "compose-include",
                    key,
                    "`include` reads files that nobody reviewed here",
                    "use a template include: {% include \"…\" %}",
                ),
                // Extension fields only exist for anchors, which are replaced by what they name.
                extension if extension.starts_with("x-") => {}
                unknown => {
                    let message = format!("unknown key `{unknown}` in a compose file");
                    let hint = format!("known are {} and keys beginning with `x-`", TOP_LEVEL.join(", "));
                    self.error("unknown-key", key, message, &hint);
                }
            }
        }
        if !kept.iter().any(|(key, _)| key.text() == Some("services")) {
            self.error("compose-shape", root, "no `services` in the compose file", "");
        }
        Some(kept)
    }

    fn service_map(&mut self, node: &Node, root: &Node) -> Node {
        if node.entries().is_empty() {
            self.error("compose-shape", node, "`services` is a map with at least one service", "");
        }
        self.names = node.entries().iter().filter_map(|(key, _)| self.text(key)).collect();
        let mut entries = Vec::new();
        for (key, service) in node.entries() {
            let Some(name) = self.text(key) else { continue };
            let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            if !valid {
                let message = format!("`{name}` is no service name: letters, digits, `.`, `_` and `-` only");
                self.error("compose-shape", key, message, "");
                continue;
            }
            entries.push((key.clone(), self.service(&name, key, service, root)));
        }
        Node { line: node.line, kind: Kind::Map { entries, tag: None } }
    }

    fn service(&mut self, name: &str, key: &Node, service: &Node, root: &Node) -> Node {
        let Kind::Map { entries, .. } = &service.kind else {
            self.error("compose-shape", key, format!("the service `{name}` is no map"), "");
            return service.clone();
        };
        for (key, value) in entries {
            match key.text().unwrap_or_default() {
                "build" => self.error(
                    "compose-build",
                    key,
                    "hosts build no images",
                    "build the image in CI and name it with `image`",
                ),
                "extends" => self.error(
                    "compose-extends",
                    key,
                    "`extends` hides what a service is made of",
                    "use a YAML anchor with `<<`, or a template include",
                ),
                "container_name" if self.context.slots => self.error(
                    "compose-container-name",
                    key,
                    "a container name can exist once, but this component runs in two slots",
                    "take `container_name` out; other containers reach it by its service name",
                ),
                "depends_on" => self.depends_on(name, value),
                "env_file" => self.env_files(value),
                "environment" => self.environment(value),
                _ => {}
            }
        }
        let image = match service.get("image").map(|image| self.text(image)) {
            Some(Some(image)) if !image.is_empty() => image,
            Some(None) => {
                self.error("secret-use", key, format!("the image of `{name}` cannot be a secret"), "");
                String::new()
            }
            _ => {
                self.error("compose-image", key, format!("the service `{name}` has no `image`"), "");
                String::new()
            }
        };
        if self.first.is_empty() {
            name.clone_into(&mut self.first);
        }
        let image = Stated { value: image, at: self.at(service.get("image").unwrap_or(key)) };
        let digest = self.digest(service, root);
        let described = ComposeService { digest: digest.clone(), ..self.demands(name, key, service, image) };
        self.services.insert(name.to_owned(), described);
        self.labelled(service, &digest)
    }

    /// Returns the digest of the service as it will be written, and of the component's files it uses.
    fn digest(&mut self, service: &Node, root: &Node) -> String {
        let mut nowhere = Findings::new(self.findings.templates());
        let mut emitter = Emitter { rendered: self.rendered, findings: &mut nowhere, out: ContentWriter::new() };
        emitter.value(service, 2);
        let mut writer = DigestWriter::new().field(emitter.out.finish().sealed().0);
        let mut texts = Vec::new();
        collect(service, &mut texts);
        for section in ["configs", "secrets"] {
            if let (Some(section), Some(_)) = (root.get(section), service.get(section)) {
                collect(section, &mut texts);
            }
        }
        let texts: Vec<String> = texts.into_iter().filter_map(|text| plain_text(self.rendered, text)).collect();
        for (path, digest) in self.context.files {
            let relative = path.strip_prefix(self.context.directory).map(|rest| rest.trim_start_matches('/'));
            let used = |text: &String| {
                text.contains(path.as_str()) || relative.is_some_and(|relative| text.contains(relative))
            };
            if texts.iter().any(used) {
                writer = writer.field(path).field(digest.0);
            }
        }
        writer.finish().to_string()
    }

    fn labelled(&mut self, service: &Node, digest: &str) -> Node {
        let line = service.line;
        let scalar = |text: String| Node { line, kind: Kind::Scalar { text, plain: false, tag: None } };
        let mut entries = service.entries().to_vec();
        let labels = entries.iter().position(|(key, _)| key.text() == Some("labels"));
        let clash = labels.and_then(|index| {
            let labels = &entries[index].1;
            let keys = labels.entries().iter().map(|(key, _)| key).chain(labels.items());
            let mut own = keys.filter(|key| self.text(key).is_some_and(|text| text.starts_with("dev.holdfast.")));
            own.next().cloned()
        });
        if let Some(clash) = clash {
            self.error(
                "compose-label",
                &clash,
                "labels beginning with `dev.holdfast.` are Holdfast's own",
                "take it out",
            );
        }
        match labels.map(|index| &mut entries[index].1.kind) {
            Some(Kind::List { items, .. }) => items.push(scalar(format!("{DIGEST_LABEL}={digest}"))),
            Some(Kind::Map { entries, .. }) => {
                entries.push((scalar(DIGEST_LABEL.to_owned()), scalar(digest.to_owned())));
            }
            Some(Kind::Scalar { text, .. }) if !text.is_empty() => {
                self.error("compose-shape", service, "`labels` is a map or a list", "");
            }
            Some(kind @ Kind::Scalar { .. }) => {
                let entries = vec![(scalar(DIGEST_LABEL.to_owned()), scalar(digest.to_owned()))];
                *kind = Kind::Map { entries, tag: None };
            }
            None => {
                let label = vec![(scalar(DIGEST_LABEL.to_owned()), scalar(digest.to_owned()))];
                entries
                    .push((scalar("labels".to_owned()), Node { line, kind: Kind::Map { entries: label, tag: None } }));
            }
        }
        Node { line, kind: Kind::Map { entries, tag: None } }
    }

    /// Env files are the component's own files.
    fn env_files(&mut self, node: &Node) {
        let list: Vec<&Node> = match &node.kind {
            Kind::List { items, .. } => items.iter().collect(),
            Kind::Scalar { .. } | Kind::Map { .. } => vec![node],
        };
        for item in list {
            let path = if item.text().is_some() { Some(item) } else { item.get("path") };
            let Some(path) = path.and_then(|path| self.text(path)) else {
                self.error("compose-env-file", item, "an `env_file` is a path", "");
                continue;
            };
            self.own_file(item, &path, "env_file");
        }
    }

    fn own_file(&mut self, node: &Node, path: &str, what: &str) {
        let full = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{}", self.context.directory, path.trim_start_matches("./"))
        };
        if !self.context.files.contains_key(&full) {
            let message = format!("{what} `{path}` is none of the component's `files`");
            self.error(
                "compose-env-file",
                node,
                message,
                "declare it in the component's `files`, for example with the path {{ dir }}/app.env",
            );
        }
    }

    /// A variable without a value would be taken from the environment of the process that runs Compose.
    fn environment(&mut self, node: &Node) {
        let inherits = "the variable has no value and would be taken from the environment of the host";
        for (key, value) in node.entries() {
            if matches!(&value.kind, Kind::Scalar { text, plain: true, .. } if matches!(text.as_str(), "" | "~" | "null"))
            {
                self.error("compose-environment", key, inherits, "give it a value; `\"\"` for an empty one");
            }
        }
        for item in node.items() {
            if item.text().is_some_and(|text| !text.contains('=')) {
                self.error("compose-environment", item, inherits, "write NAME=value");
            }
        }
    }

    fn sources(&mut self, section: &str, node: &Node) {
        for (key, value) in node.entries() {
            if value.get("environment").is_some() {
                let message = format!("a value of `{section}` would be taken from the environment of the host");
                self.error("compose-environment", key, message, "use `file:` with one of the component's `files`");
            }
            if let Some(file) = value.get("file")
                && let Some(path) = self.text(file)
                && !path.starts_with('/')
            {
                self.own_file(file, &path, "file");
            }
        }
    }
}

fn collect<'n>(node: &'n Node, texts: &mut Vec<&'n str>) {
    texts.extend(node.text());
    node.items().iter().for_each(|item| collect(item, texts));
    node.entries().iter().for_each(|(_, value)| collect(value, texts));
}
