//! How nginx is asked about a configuration.

use std::path::Path;

use crate::exec::Output;

/// Returns the arguments of a test of a configuration: the live one, or that of another main file.
///
/// With `quiet_log` nginx writes nothing into its error log: what it cannot read stands there word for word, secrets and all, for
/// everybody who may read logs.
///
/// # Source
/// nginx 1.19.5 changes: the `-e` switch. Before it reads a configuration, and while that fails, nginx logs to a file that is compiled
/// in, besides standard error.
pub(crate) fn test(main: Option<&Path>, quiet_log: bool) -> Vec<String> {
    let mut arguments = vec!["-t".to_owned(), "-q".to_owned()];
    if quiet_log {
        arguments.extend(["-e".to_owned(), "/dev/null".to_owned()]);
    }
    if let Some(main) = main {
        arguments.extend(["-c".to_owned(), main.display().to_string()]);
    }
    arguments
}

/// Returns whether this nginx is too old to be told where to log.
pub(crate) fn is_too_old(output: &Output) -> bool {
    output.code != 0 && String::from_utf8_lossy(&output.stderr).contains("invalid option: \"e\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_log_is_spared_where_nginx_can() {
        assert_eq!(test(Some(Path::new("/a/b")), true), ["-t", "-q", "-e", "/dev/null", "-c", "/a/b"]);
        assert_eq!(test(None, false), ["-t", "-q"]);
        let output = |code, text: &str| Output { code, stdout: Vec::new(), stderr: text.as_bytes().to_vec() };
        assert!(is_too_old(&output(1, "nginx: invalid option: \"e\"\n")));
        assert!(!is_too_old(&output(1, "nginx: [emerg] unknown directive \"x\"")));
    }
}
