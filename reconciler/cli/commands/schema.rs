//! `holdfast schema`: the JSON Schema of each file kind, for editors.

use std::fs;

use holdfast_core::config::{FileKind, schema};

use crate::args::SchemaArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;

/// Prints one schema, or writes all of them.
pub(crate) fn run(output: Output, arguments: &SchemaArgs) -> Result<Exit, Error> {
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).or_hint("choose a folder that can be written to")?;
        for kind in FileKind::ALL {
            let text = serde_json::to_string_pretty(&schema(kind)).or_hint("")? + "\n";
            fs::write(folder.join(format!("{}.json", kind.as_str())), text).or_hint("is the disk full?")?;
        }
        return Ok(Exit::Ok);
    }
    let wanted = arguments.kind.as_deref().unwrap_or_default();
    let kind: FileKind = wanted.parse().map_err(|message: String| Error::user(message, ""))?;
    output.json(&schema(kind))?;
    Ok(Exit::Ok)
}
