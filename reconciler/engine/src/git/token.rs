//! The token for `https://`: handed to git through the question that git asks, so that it is in no argument and no environment.
//!
//! # Flow
//! git is started with `GIT_ASKPASS` naming the very program that started it, and with the path of the token's file and the question it
//! answers in the environment. git runs that program with its question as the only argument, and reads the answer from its output.
//!
//! # Source
//! `gitcredentials(7)`, `git(1)` (`GIT_ASKPASS`), git 2.39. The question's form is that of `credential_ask_one` in `credential.c`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::location::Location;

/// The variable that names the token's file; where it is set, the program does nothing but answer git.
pub const TOKEN_FILE: &str = "HOLDFAST_TOKEN_FILE";

/// The variable that holds the one question that is answered.
pub const TOKEN_QUESTION: &str = "HOLDFAST_TOKEN_QUESTION";

/// The login where the location has none: forges look only at the token.
pub(super) const LOGIN: &str = "holdfast";

/// Longest token in bytes.
const LONGEST: u64 = 8 << 10;

/// Why the token cannot be used. Never says anything of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("the token file {path} cannot be read: {reason}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// Others may read it.
    #[error("the token file {path} may be read by others (mode {mode:04o}); run `chmod 0600` on it")]
    Open {
        /// Its path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// It is no token.
    #[error("the token file {path} does not hold one line of up to 8192 visible ASCII characters")]
    Form {
        /// Its path.
        path: String,
    },
    /// git asked for something else, for somebody else.
    #[error("only the question for the repository's own server is answered with the token")]
    Question,
}

/// How a token reaches git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The file that holds it.
    pub file: PathBuf,
    /// The program that answers git: it calls [`answer`].
    pub program: PathBuf,
}

/// Returns the question that git asks for the password of a location; `None` for one that has no password.
pub(super) fn question(location: &Location) -> Option<String> {
    let Location::Https { url } = location else { return None };
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let login = if authority.contains('@') { String::new() } else { format!("{LOGIN}@") };
    Some(format!("Password for 'https://{login}{authority}': "))
}

/// Refuses a file that others may read. A file of root's may be readable by its group, which root chose.
///
/// # Errors
/// [`TokenError::Read`] and [`TokenError::Open`].
pub(super) fn check(path: &Path) -> Result<(), TokenError> {
    open(path).map(drop)
}

fn open(path: &Path) -> Result<fs::File, TokenError> {
    let shown = || path.display().to_string();
    let failed = |reason: std::io::Error| TokenError::Read { path: shown(), reason: reason.to_string() };
    let file = fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(TokenError::Read { path: shown(), reason: "it is no file".to_owned() });
    }
    let allowed = if metadata.uid() == 0 { 0o740 } else { 0o700 };
    let mode = metadata.mode() & 0o7777;
    if mode & 0o777 & !allowed != 0 {
        return Err(TokenError::Open { path: shown(), mode });
    }
    Ok(file)
}

/// Returns what to print when git asks: the token, when it is the question that is to be answered.
///
/// # Errors
/// See [`TokenError`]; nothing is printed then.
pub fn answer(path: &Path, expected: &str, asked: &str) -> Result<Zeroizing<String>, TokenError> {
    // A proxy, or another server, has questions of its own.
    if expected.is_empty() || asked != expected {
        return Err(TokenError::Question);
    }
    let form = || TokenError::Form { path: path.display().to_string() };
    // Reserved at once: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    open(path)?.take(LONGEST + 1).read_to_string(&mut text).map_err(|_| form())?;
    let token = text.trim_ascii_end();
    if token.is_empty() || token.len() as u64 > LONGEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(form());
    }
    Ok(Zeroizing::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const URL: &str = "https://bot@git.example.net:8443/team/ops.git";

    fn file(folder: &Path, text: &[u8], mode: u32) -> PathBuf {
        let path = folder.join("token");
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_the_repositorys_own_question_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), b"glpat-x1\n", 0o600);
        let own = question(&URL.parse().unwrap()).unwrap();
        assert_eq!(own, "Password for 'https://bot@git.example.net:8443': ");
        assert_eq!(answer(&path, &own, &own).unwrap().as_str(), "glpat-x1");
        for other in
            ["Password for 'http://bot@proxy:3128': ", "Username for 'https://git.example.net:8443': ", "", "fetch"]
        {
            assert_eq!(answer(&path, &own, other), Err(TokenError::Question), "{other}");
        }
        assert_eq!(answer(&path, "", ""), Err(TokenError::Question));
        let plain = question(&"https://git.example.net/ops.git".parse().unwrap()).unwrap();
        assert_eq!(plain, "Password for 'https://holdfast@git.example.net': ");
        assert_eq!(question(&"ssh://git@git.example.net/ops.git".parse().unwrap()), None);
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_no_token_is_refused_without_a_word_of_it() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o604, 0o660] {
            let path = file(folder.path(), b"canary-t0ken", mode);
            let error = answer(&path, "q", "q").unwrap_err();
            assert!(matches!(error, TokenError::Open { .. }), "{mode:o}: {error}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        for text in [b"".as_slice(), b"\n", b"canary one two", b"canary\nsecond", b"canary\xff", &[b'c'; 9000]] {
            let path = file(folder.path(), text, 0o600);
            let error = answer(&path, "q", "q").unwrap_err();
            assert!(matches!(error, TokenError::Form { .. }), "{error}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        assert!(matches!(check(&folder.path().join("none")), Err(TokenError::Read { .. })));
    }
}
