//! `holdfast render`: the files that hosts would get, in a folder. Secrets are shown by name and fingerprint: no key is needed.

use std::fs;
use std::path::Path;

use holdfast_core::desired::{Artifacts, Body};

use crate::args::RenderArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::setup::{Setup, environment};

/// Writes `OUT/HOST/path/on/host` for every file; both slots of a component with slots.
pub(crate) async fn run(setup: &Setup, arguments: &RenderArgs) -> Result<Exit, Error> {
    let environment = environment(&arguments.environment)?;
    let commit = setup.commit(Some(&environment), arguments.revision.revision.as_deref()).await?;
    let revision = setup.revision(commit).await?;
    let desired = setup.desired(&revision, &environment)?;
    if let Some(wanted) = &arguments.host
        && !desired.hosts.keys().any(|host| host.as_str() == wanted)
    {
        let names: Vec<_> = desired.hosts.keys().map(ToString::to_string).collect();
        return Err(Error::user(
            format!("`{wanted}` is no host of {environment}"),
            format!("one of: {}", names.join(", ")),
        ));
    }
    let out = &arguments.out;
    if out.exists() && fs::read_dir(out).or_hint("name a folder")?.next().is_some() {
        return Err(Error::user(
            format!("{} is not empty", out.display()),
            "name a new folder: nothing is overwritten",
        ));
    }
    let mut count = 0;
    for (name, host) in &desired.hosts {
        if arguments.host.as_deref().is_some_and(|wanted| wanted != name.as_str()) {
            continue;
        }
        let folder = out.join(name.as_str());
        for component in host.apps.values().flat_map(|app| &app.components) {
            match &component.body {
                Body::Single(artifacts) => count += write(&folder, artifacts)?,
                Body::Slots { blue, green } => count += write(&folder, blue)? + write(&folder, green)?,
            }
        }
    }
    setup.output.say(&format!("wrote {count} files to {}", out.display()));
    Ok(Exit::Ok)
}

fn write(folder: &Path, artifacts: &Artifacts) -> Result<usize, Error> {
    for (path, file) in &artifacts.files {
        // Paths are absolute and normalised: the model guarantees it.
        let path = folder.join(path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).or_hint("choose a folder that can be written to")?;
        }
        fs::write(&path, file.content.shown()).or_hint("is the disk full?")?;
    }
    Ok(artifacts.files.len())
}
