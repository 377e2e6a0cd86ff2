//! `holdfast schema`: the JSON Schema of each file kind, for editors, and of each output, for whoever reads `--json`.

use std::fs;

use holdfast_core::config::{FileKind, schema};
use holdfast_core::view::{OutputKind, output_schema};
use serde_json::Value;

use crate::args::SchemaArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;

/// Prints one schema, or writes all of them.
pub(crate) fn run(output: Output, arguments: &SchemaArgs) -> Result<Exit, Error> {
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).or_hint("choose a folder that can be written to")?;
        for (name, schema) in all() {
            let text = serde_json::to_string_pretty(&schema).or_hint("")? + "\n";
            fs::write(folder.join(format!("{name}.json")), text).or_hint("is the disk full?")?;
        }
        return Ok(Exit::Ok);
    }
    let wanted = arguments.kind.as_deref().unwrap_or_default();
    let Some((_, schema)) = all().find(|(name, _)| *name == wanted) else {
        let names: Vec<_> = all().map(|(name, _)| name).collect();
        let shown: String = wanted.chars().take(60).collect();
        return Err(Error::user(format!("there is no schema `{}`", shown.escape_debug()), names.join(", ")));
    };
    output.json(&schema)?;
    Ok(Exit::Ok)
}

fn all() -> impl Iterator<Item = (&'static str, Value)> {
    let files = FileKind::ALL.into_iter().map(|kind| (kind.as_str(), schema(kind)));
    files.chain(OutputKind::ALL.into_iter().map(|kind| (kind.as_str(), output_schema(kind))))
}
