//! `holdfast secrets generate`, `rotate` and `list`: the secrets of an environment that are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use age::x25519::Recipient;
use holdfast_core::config::{DeclaredSecrets, declared_secrets, generated_path};
use holdfast_core::desired::DesiredState;
use holdfast_core::id::EnvironmentName;
use holdfast_core::secret::Generator;
use holdfast_core::view::{DOCUMENT_VERSION, SecretDocument, SecretsDocument};
use holdfast_engine::git::Location;
use holdfast_engine::secrets::{generate, recipients_of};

use crate::args::{Common, MakeSecretsArgs, RotateSecretsArgs, SecretsListArgs};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;
use crate::setup::{Setup, environment, location, show};

/// The files of one environment in a work tree.
struct Folder {
    setup: Setup,
    root: PathBuf,
    environment: EnvironmentName,
    declared: DeclaredSecrets,
    recipients: Vec<Recipient>,
}

/// Makes the values that are declared and have none.
pub(crate) async fn generate_missing(output: Output, common: &Common, args: &MakeSecretsArgs) -> Result<Exit, Error> {
    let folder = Folder::open(output, common, &args.environment)?;
    for (name, generator) in folder.chosen(&args.names)? {
        let path = generated_path(&folder.environment, name);
        if folder.root.join(&path).exists() {
            continue;
        }
        folder.check_never_was(name, &path).await?;
        folder.make(name, generator, &path)?;
    }
    Ok(Exit::Ok)
}

/// Makes values anew.
pub(crate) fn rotate(output: Output, common: &Common, args: &RotateSecretsArgs) -> Result<Exit, Error> {
    let folder = Folder::open(output, common, &args.environment)?;
    let chosen = folder.chosen(&args.names)?;
    for (name, _) in &chosen {
        if folder.declared.protected.contains(*name) {
            return Err(Error::refused(
                format!("`{name}` is protected: it encrypts data that only its present value can read"),
                "give the app a second key beside it, encrypt the data anew, and then take the old one away; or take its line out of \
                 `protected` first",
            ));
        }
        if !folder.root.join(generated_path(&folder.environment, name)).exists() {
            let hint = format!("`holdfast secrets generate {}` makes it", folder.environment);
            return Err(Error::user(format!("`{name}` was not generated yet"), hint));
        }
    }
    for (name, generator) in chosen {
        folder.make(name, generator, &generated_path(&folder.environment, name))?;
    }
    Ok(Exit::Ok)
}

impl Folder {
    fn open(output: Output, common: &Common, name: &str) -> Result<Self, Error> {
        let environment = environment(name)?;
        let Location::Local(root) = location(common.repository.as_deref().unwrap_or("."))? else {
            return Err(Error::user(
                "secrets are made in a work tree",
                "clone the repository and name the folder with -C",
            ));
        };
        let file = format!("environments/{environment}/environment.yaml");
        let text = fs::read_to_string(root.join(&file)).map_err(|error| {
            Error::user(format!("cannot read {file} in {}: {error}", root.display()), "name a work tree with -C")
        })?;
        let (declared, findings) = declared_secrets(&file, &text);
        show(output, &findings);
        let declared = declared.ok_or_else(|| Error::printed(Exit::Failed))?;
        let recipients = recipients(&root, &environment, &declared)?;
        let own = Common { repository: Some(root.display().to_string()), ..common.clone() };
        Ok(Self { setup: Setup::load(output, &own)?, root, environment, declared, recipients })
    }

    /// Returns the declared secrets that were named; all when none was.
    fn chosen<'a>(&'a self, names: &'a [String]) -> Result<Vec<(&'a str, Generator)>, Error> {
        let declared = &self.declared.generate;
        if names.is_empty() {
            return Ok(declared.iter().map(|(name, generator)| (name.as_str(), *generator)).collect());
        }
        let one = |name: &'a String| {
            let known = declared.get(name).map(|generator| (name.as_str(), *generator));
            known.ok_or_else(|| {
                let hint = format!(
                    "`secrets: generate:` in environments/{}/environment.yaml declares it; what somebody supplies is edited with `sops`",
                    self.environment
                );
                Error::user(format!("`{}` is not among the secrets that are generated", name.escape_debug()), hint)
            })
        };
        names.iter().map(one).collect()
    }

    /// Refuses to make a value that there was once: hosts have it, and data may need it.
    async fn check_never_was(&self, name: &str, path: &str) -> Result<(), Error> {
        let last = self.setup.repository.last_commit_with(path).await.or_hint("is the folder a git repository?")?;
        let Some(commit) = last else { return Ok(()) };
        let id = commit.short();
        Err(Error::refused(
            format!(
                "`{name}` has a value in commit {id} and none here: a new one would be another than the hosts have"
            ),
            format!(
                "`git checkout {id} -- {path}` brings it back; for a new value bring it back and run `holdfast secrets rotate {} {name}`",
                self.environment
            ),
        ))
    }

    fn make(&self, name: &str, generator: Generator, path: &str) -> Result<(), Error> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let sealed = generate(name, generator, &self.recipients, &now).or_hint("")?;
        replace(&self.root.join(path), &sealed)
            .map_err(|error| Error::user(format!("cannot write {path}: {error}"), "is the folder yours to write?"))?;
        self.setup.output.data(path);
        Ok(())
    }
}

/// Writes a file beside the old one and lets it take its place: there is a whole one at all times.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("yaml.new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(folder)?.sync_all()
}

fn recipients(root: &Path, environment: &EnvironmentName, declared: &DeclaredSecrets) -> Result<Vec<Recipient>, Error> {
    let file = format!("environments/{environment}/secrets.sops.yaml");
    let mut texts = declared.recipients.clone();
    if texts.is_empty() {
        texts = fs::read_to_string(root.join(&file)).map(|text| recipients_of(&text)).unwrap_or_default();
    }
    if texts.is_empty() {
        return Err(Error::user(
            format!("nobody is named whom secrets of {environment} are encrypted for"),
            format!("write `secrets: {{ recipients: [age1…] }}` into environments/{environment}/environment.yaml"),
        ));
    }
    let parse = |text: String| {
        text.parse::<Recipient>()
            .map_err(|error| Error::user(format!("`{text}` is no age recipient: {error}"), "it begins with age1"))
    };
    texts.into_iter().map(parse).collect()
}

/// Shows the secrets of an environment at a commit, without their values.
pub(crate) async fn list(setup: &Setup, args: &SecretsListArgs) -> Result<Exit, Error> {
    let name = environment(&args.environment)?;
    let commit = setup.commit(Some(&name), args.revision.revision.as_deref()).await?;
    let revision = setup.revision(commit).await?;
    let desired = setup.desired(&revision, &name)?;
    let mut used = users(&desired);
    let environment = revision.config.environments.get(&name).into_iter();
    let secrets: Vec<SecretDocument> = environment
        .flat_map(|environment| &environment.secrets)
        .map(|(name, value)| SecretDocument {
            name: name.clone(),
            form: value.generator.map_or("supplied", Generator::as_str).to_owned(),
            fingerprint: value.secret.fingerprint.clone(),
            protected: value.protected,
            used_by: used.remove(name).unwrap_or_default().into_iter().collect(),
            origin: value.origin.clone(),
        })
        .collect();
    let document =
        SecretsDocument { format_version: DOCUMENT_VERSION, environment: name, commit: revision.commit, secrets };
    if args.json {
        setup.output.json(&document)?;
    } else {
        setup.output.data(&document.text());
    }
    Ok(Exit::Ok)
}

/// Returns who prints each secret, as `app/component`.
fn users(desired: &DesiredState) -> BTreeMap<String, BTreeSet<String>> {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for app in desired.hosts.values().flat_map(|host| host.apps.values()) {
        for component in &app.components {
            for secret in component.secrets() {
                used.entry(secret.name()).or_default().insert(format!("{}/{}", app.name, component.name));
            }
        }
    }
    used
}
