//! The files of a tree to raw types, each by its place in the layout.

use std::collections::BTreeMap;

use super::decode::{Context, Decode};
use super::findings::Findings;
use super::limits::{MAX_FILE_BYTES, MAX_FILES, MAX_TREE_BYTES};
use super::place::Place;
use super::raw;
use super::secrets::SecretFiles;
use super::tree::SourceTree;
use super::{sops, yaml};
use crate::id::{AppName, EnvironmentName};

/// All files, decoded. `None` stands for a file that is there and wrong.
#[derive(Debug, Default)]
pub(super) struct Files<'s> {
    /// `holdfast.yaml`.
    pub(super) holdfast: Option<raw::Holdfast>,
    /// `inventory/*.yaml` by path.
    pub(super) inventories: Vec<Option<raw::Inventory>>,
    /// `environments/*` by name.
    pub(super) environments: BTreeMap<EnvironmentName, EnvironmentFiles<'s>>,
    /// `templates/**/*.j2`, and `*.sql`, by path from the root.
    pub(super) templates: BTreeMap<String, String>,
}

/// The files of one environment.
#[derive(Debug, Default)]
pub(super) struct EnvironmentFiles<'s> {
    /// Whether `environment.yaml` is there.
    pub(super) declared: bool,
    /// Its content.
    pub(super) environment: Option<raw::Environment>,
    /// The apps by name, with the path of their file.
    pub(super) apps: BTreeMap<AppName, (&'s str, Option<raw::App>)>,
    /// `secrets.sops.yaml` and `generated/*.sops.yaml`.
    pub(super) secrets: SecretFiles<'s>,
}

/// What a path of the layout holds.
enum Role<'s> {
    Holdfast,
    Inventory,
    Environment(&'s str),
    App(&'s str, &'s str),
    Secrets(&'s str),
    Generated(&'s str, &'s str),
    Template,
    /// Not ours.
    Other,
    /// Ours by its looks, but nothing reads it: it would be ignored without a word.
    Misplaced(&'static str),
}

/// Returns the role of a path.
fn role(path: &str) -> Role<'_> {
    let yaml = path.strip_suffix(".yaml").is_some();
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["holdfast.yaml"] => Role::Holdfast,
        ["holdfast.yml"] => Role::Misplaced("name it `holdfast.yaml`"),
        ["templates", ..] if path.strip_suffix(".j2").is_some() || path.strip_suffix(".sql").is_some() => {
            Role::Template
        }
        ["inventory" | "environments", ..] if path.strip_suffix(".yml").is_some() => {
            Role::Misplaced("let its name end in `.yaml`")
        }
        ["inventory", _] if yaml => Role::Inventory,
        ["inventory", ..] if yaml => Role::Misplaced("move it to `inventory/`: folders in it are not read"),
        ["environments", environment, "environment.yaml"] => Role::Environment(environment),
        ["environments", environment, "secrets.sops.yaml"] => Role::Secrets(environment),
        ["environments", environment, "generated", file] if file.strip_suffix(".sops.yaml").is_some() => {
            Role::Generated(environment, file.trim_end_matches(".sops.yaml"))
        }
        ["environments", _, file] if file.strip_suffix(".sops.yaml").is_some() => {
            Role::Misplaced("the one file of secrets of an environment is `secrets.sops.yaml`")
        }
        ["environments", environment, file] if yaml => Role::App(environment, file.trim_end_matches(".yaml")),
        ["environments", ..] if yaml => {
            Role::Misplaced("apps are in `environments/<environment>/<app>.yaml`, one folder deep")
        }
        _ => Role::Other,
    }
}

/// Returns all files, decoded.
pub(super) fn read<'s>(tree: &'s SourceTree, findings: &mut Findings<'s>) -> Files<'s> {
    for problem in &tree.problems {
        findings.error(&problem.code, &problem.path, Place::default(), problem.message.clone(), "");
    }
    let mut files = Files::default();
    // A single file that is too large is refused by its own name, below.
    let total: usize = tree.files.values().map(|bytes| bytes.len().min(MAX_FILE_BYTES)).sum();
    if tree.files.len() > MAX_FILES || total > MAX_TREE_BYTES {
        let message =
            format!("the commit has more than {MAX_FILES} files or {MAX_TREE_BYTES} bytes that would be read");
        findings.error(
            "too-many",
            "holdfast.yaml",
            Place::default(),
            message,
            "keep only desired state in these folders",
        );
        return files;
    }
    if !tree.files.contains_key("holdfast.yaml") {
        let hint = "write `format: 1` into it; `holdfast init` makes a repository to begin with";
        findings.error("missing-file", "holdfast.yaml", Place::default(), "there is no `holdfast.yaml`", hint);
    }
    for (path, bytes) in &tree.files {
        let role = role(path);
        match role {
            Role::Other => continue,
            Role::Misplaced(hint) => {
                findings.error("misplaced-file", path, Place::default(), "nothing reads this file", hint);
                continue;
            }
            _ => {}
        }
        let Some(text) = text_of(path, bytes, findings) else {
            files.note_broken(&role, path, findings);
            continue;
        };
        match role {
            Role::Holdfast => files.holdfast = decode(path, text, findings),
            Role::Inventory => files.inventories.push(decode(path, text, findings)),
            Role::Template => {
                findings.add_text(path, text);
                files.templates.insert(path.clone(), text.to_owned());
            }
            Role::Environment(name) => {
                let content = decode(path, text, findings);
                if let Some(environment) = files.environment(name, path, findings) {
                    (environment.declared, environment.environment) = (true, content);
                }
            }
            Role::App(name, app) => {
                let content = decode(path, text, findings);
                files.add_app(name, app, path, content, findings);
            }
            Role::Secrets(name) => {
                let before = findings.len();
                let content = sops::read(path, text, findings);
                let broken = findings.len() > before;
                if let Some(environment) = files.environment(name, path, findings) {
                    environment.secrets.supplied = content;
                    environment.secrets.broken |= broken;
                }
            }
            Role::Generated(name, secret) => {
                let before = findings.len();
                let content = sops::read(path, text, findings);
                let broken = findings.len() > before;
                if let Some(environment) = files.environment(name, path, findings) {
                    environment.secrets.generated.insert(secret, (path, content));
                    environment.secrets.broken |= broken;
                }
            }
            Role::Other | Role::Misplaced(_) => {}
        }
    }
    files
}

/// Returns the value of one YAML file.
pub(super) fn decode<'s, T: Decode>(file: &'s str, text: &'s str, findings: &mut Findings<'s>) -> Option<T> {
    findings.add_text(file, text);
    let node = yaml::parse(file, text, findings)?;
    T::decode(&node, &mut Context::new(file, findings))
}

/// Returns a file's text.
pub(super) fn text_of<'s>(file: &'s str, bytes: &'s [u8], findings: &mut Findings<'s>) -> Option<&'s str> {
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_FILE_BYTES}", bytes.len());
        findings.error("too-large", file, Place::default(), message, "keep large content out of the repository");
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = String::from_utf8_lossy(before).matches('\n').count() as u32 + 1;
            let place = Place { line, column: 0, length: 1 };
            findings.error("not-utf8", file, place, "the file is not UTF-8", "save it as UTF-8");
            None
        }
    }
}

impl<'s> Files<'s> {
    /// Keeps the names of a file that cannot be read, so that what refers to them is not reported too.
    fn note_broken(&mut self, role: &Role<'s>, path: &'s str, findings: &mut Findings<'s>) {
        match role {
            Role::Inventory => self.inventories.push(None),
            Role::Environment(name) => {
                if let Some(environment) = self.environment(name, path, findings) {
                    environment.declared = true;
                }
            }
            Role::App(name, app) => self.add_app(name, app, path, None, findings),
            Role::Template => {
                self.templates.insert(path.to_owned(), String::new());
            }
            Role::Secrets(name) => {
                if let Some(environment) = self.environment(name, path, findings) {
                    environment.secrets.broken = true;
                }
            }
            Role::Generated(name, secret) => {
                if let Some(environment) = self.environment(name, path, findings) {
                    environment.secrets.generated.insert(*secret, (path, BTreeMap::new()));
                    environment.secrets.broken = true;
                }
            }
            _ => {}
        }
    }

    fn environment(
        &mut self,
        name: &str,
        path: &str,
        findings: &mut Findings<'s>,
    ) -> Option<&mut EnvironmentFiles<'s>> {
        match name.parse::<EnvironmentName>() {
            Ok(name) => Some(self.environments.entry(name).or_default()),
            Err(error) => {
                findings.error("bad-name", path, Place::default(), error.to_string(), "rename the folder");
                None
            }
        }
    }

    fn add_app(
        &mut self,
        environment: &str,
        app: &str,
        path: &'s str,
        content: Option<raw::App>,
        findings: &mut Findings<'s>,
    ) {
        let name = match app.parse::<AppName>() {
            Ok(name) => name,
            Err(error) => {
                findings.error("bad-name", path, Place::default(), error.to_string(), "rename the file");
                return;
            }
        };
        if let Some(at) = content.as_ref().and_then(|content| content.app.0.as_ref()).filter(|at| at.value != name) {
            let message = format!("the app `{}` is in a file named `{app}.yaml`", at.value);
            findings.error_at("wrong-name", at, message, format!("write `app: {app}`, or rename the file"));
        }
        if let Some(environment) = self.environment(environment, path, findings) {
            environment.apps.insert(name, (path, content));
        }
    }
}
