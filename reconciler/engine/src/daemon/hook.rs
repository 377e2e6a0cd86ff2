use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The second line of our hook: what tells it from anybody else's.
const MARK: &str =
    "# Written by `holdfast hook install`. Streams the rollout that a push leads to into the pusher's terminal.";

/// Why the hook was not written.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It is no bare repository.
    #[error("{path} is no bare git repository: name the one that is pushed to", path = .0.display())]
    NotBare(PathBuf),
    /// Somebody else's hook is there.
    #[error(
        "{path} is there already and is not ours; call `{command}` from it, with its standard input, or move it away",
        path = .path.display()
    )]
    Taken {
        /// The hook.
        path: PathBuf,
        /// What to call.
        command: String,
    },
    /// A path cannot stand in a hook.
    #[error("{path} has characters that a hook cannot hold; use letters, digits and `/ . _ + -`", path = .0.display())]
    Path(PathBuf),
    /// The file cannot be written.
    #[error("{path} cannot be written: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn plain(path: &Path) -> Result<&str, HookError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    let text = path.to_str().filter(|text| text.starts_with('/') && text.chars().all(fits));
    text.ok_or_else(|| HookError::Path(path.to_owned()))
}

/// Returns the text of a post-receive hook: it becomes the program, with a fixed command line and git's own standard input.
///
/// # Errors
/// [`HookError::Path`]: what stands in the hook is read by a shell, so only paths that need no quoting do.
pub fn post_receive(program: &Path, config: Option<&Path>) -> Result<String, HookError> {
    let mut command = plain(program)?.to_owned();
    if let Some(config) = config {
        command.push_str(" --config ");
        command.push_str(plain(config)?);
    }
    Ok(format!("#!/bin/sh\n{MARK}\nexec {command} hook receive\n"))
}

/// Writes the hook into a bare repository, over an older one of ours, and returns its path.
///
/// # Errors
/// See [`HookError`]; a hook of somebody else is never replaced.
pub fn install(repository: &Path, program: &Path, config: Option<&Path>) -> Result<PathBuf, HookError> {
    let text = post_receive(program, config)?;
    let is_bare =
        repository.join("HEAD").is_file() && repository.join("objects").is_dir() && repository.join("refs").is_dir();
    if !is_bare {
        return Err(HookError::NotBare(repository.to_owned()));
    }
    let folder = repository.join("hooks");
    let hook = folder.join("post-receive");
    let failed = |source| HookError::Io { path: hook.clone(), source };
    match fs::read(&hook) {
        Ok(former) if !String::from_utf8_lossy(&former).lines().any(|line| line == MARK) => {
            let command = text.lines().last().unwrap_or_default().trim_start_matches("exec ").to_owned();
            return Err(HookError::Taken { path: hook, command });
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    let new = folder.join("post-receive.new");
    fs::write(&new, text).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::rename(&new, &hook).map_err(failed)?;
    Ok(hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_hook_that_needs_no_quoting_and_spares_a_foreign_one() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("ops.git");
        let program = Path::new("/usr/bin/holdfast");
        assert!(matches!(install(&repository, program, None), Err(HookError::NotBare(_))));
        for name in ["objects", "refs"] {
            fs::create_dir_all(repository.join(name)).unwrap();
        }
        fs::write(repository.join("HEAD"), "ref: refs/heads/main\n").unwrap();

        let hook = install(&repository, program, Some(Path::new("/etc/holdfast/manager.yaml"))).unwrap();
        let text = fs::read_to_string(&hook).unwrap();
        let last = text.lines().last().unwrap();
        assert_eq!(last, "exec /usr/bin/holdfast --config /etc/holdfast/manager.yaml hook receive");
        assert_eq!(fs::metadata(&hook).unwrap().permissions().mode() & 0o777, 0o755);
        install(&repository, program, None).unwrap();
        assert!(fs::read_to_string(&hook).unwrap().ends_with("exec /usr/bin/holdfast hook receive\n"));

        fs::write(&hook, "#!/bin/sh\nmail\n").unwrap();
        let taken = install(&repository, program, None).unwrap_err().to_string();
        assert!(taken.contains("call `/usr/bin/holdfast hook receive`"), "{taken}");
        for wrong in ["/a b/holdfast", "/a;b", "/a$(b)", "relative/holdfast", "/a\nb", "/a'b"] {
            assert!(matches!(post_receive(Path::new(wrong), None), Err(HookError::Path(_))), "{wrong}");
        }
    }
}
