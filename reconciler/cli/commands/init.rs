//! `holdfast init`: a repository with a small working example.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};

use crate::args::InitArgs;
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;

/// The files of the example by their place in the repository.
const FILES: [(&str, &str); 6] = [
    ("holdfast.yaml", include_str!("../init/holdfast.yaml")),
    ("inventory/hosts.yaml", include_str!("../init/hosts.yaml")),
    ("environments/dev/environment.yaml", include_str!("../init/environment.yaml")),
    ("environments/dev/hello.yaml", include_str!("../init/hello.yaml")),
    ("templates/systemd/hello@.service.j2", include_str!("../init/hello@.service.j2")),
    ("templates/files/index.html.j2", include_str!("../init/index.html.j2")),
];

/// Writes the example; a file that exists is left as it is.
pub(crate) fn run(output: Output, arguments: &InitArgs) -> Result<Exit, Error> {
    let mut kept = 0;
    for (path, text) in FILES {
        let path = arguments.folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).or_hint("choose a folder that can be written to")?;
        }
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).or_hint("is the disk full?")?;
                output.say(&format!("wrote {}", path.display()));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                kept += 1;
                output.say(&format!("kept  {}", path.display()));
            }
            Err(error) => return Err(Error::user(format!("cannot write {}: {error}", path.display()), "")),
        }
    }
    if kept > 0 {
        output.say(&format!("{kept} files were there already and are as they were"));
    }
    output.say("\nnext:\n  git init && git add . && git commit -m 'start'\n  holdfast validate\n  holdfast plan dev");
    Ok(Exit::Ok)
}
