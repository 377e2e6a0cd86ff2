//! What `redis-cli` reads on standard input, and what it answers.

use crate::exec::shown;

/// What a server answers with an error begins with its kind in capitals (Redis protocol, simple errors).
const ERRORS: [&str; 9] =
    ["ERR ", "NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "BUSY", "MISCONF", "MASTERDOWN", "READONLY"];

/// Returns a command as `redis-cli` reads it from standard input, every byte of it quoted.
///
/// # Source
/// `sdssplitargs` of Redis: `"\xHH"` in double quotes is that byte.
pub(crate) fn line(words: &[&[u8]]) -> Vec<u8> {
    let mut line = String::new();
    for word in words {
        line.push('"');
        for byte in *word {
            use std::fmt::Write as _;
            let _ = write!(line, "\\x{byte:02x}");
        }
        line.push_str("\" ");
    }
    line.push('\n');
    line.into_bytes()
}

/// Returns the line that logs in with the password that a file has alone.
pub(crate) fn login(mut password: Vec<u8>) -> Vec<u8> {
    while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        password.pop();
    }
    line(&[b"AUTH", &password])
}

/// Returns what the server answered to one command, a line each. `logged_in`: a login came before it.
///
/// # Errors
/// For people: `redis-cli` ends with 0 also when the server answers with an error, so the answer itself is looked at.
pub(crate) fn answer(text: &str, logged_in: bool) -> Result<Vec<String>, String> {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if logged_in {
        match lines.first() {
            Some(&"OK") => drop(lines.remove(0)),
            first => return Err(format!("Redis refused the password: {}", told(first.copied()))),
        }
    }
    match lines.first() {
        Some(first) if ERRORS.iter().any(|kind| first.starts_with(kind)) => {
            Err(format!("Redis refused: {}", told(Some(first))))
        }
        Some(_) => Ok(lines.into_iter().map(str::to_owned).collect()),
        None => Err("Redis said nothing".to_owned()),
    }
}

/// Returns what was answered for an error.
pub(crate) fn told(text: Option<&str>) -> String {
    text.map_or_else(|| "nothing".to_owned(), |text| format!("`{}`", shown(text.as_bytes(), 200)))
}
