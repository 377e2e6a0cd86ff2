//! Where a repository is, parsed so strictly that no part of it can become an option, a helper or a command.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// Longest location: far above any honest one.
const MAX_BYTES: usize = 1024;

/// The place of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A repository on this machine, read in place.
    Local(PathBuf),
    /// Over `ssh`.
    Ssh {
        /// Login, where one is given.
        user: Option<String>,
        /// Host.
        host: String,
        /// Port, where one is given.
        port: Option<u16>,
        /// Path on the host, as git wants it after the host: `/srv/git/app.git` or `~team/app.git`.
        path: String,
    },
    /// Over HTTPS. Credentials come from git's credential helper, never from the location.
    Https {
        /// The whole URL.
        url: String,
    },
}

/// Text that is no location of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no location of a repository: {reason}")]
pub struct InvalidLocation {
    /// What was given, escaped and shortened, without a password.
    pub text: String,
    /// What is wrong and what to write.
    pub reason: String,
}

/// Characters of a path on a host: what forges allow in names. No space, quote, `$` or `%`: `git` hands the path to a remote shell.
fn is_remote_path(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('-')
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-~+".contains(&b))
        && path.split('/').all(|part| part != ".." && !part.starts_with('-'))
}

fn is_host(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
        }
        None => {
            host.len() <= 253
                && host.starts_with(|c: char| c.is_ascii_alphanumeric())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
    }
}

fn is_user(user: &str) -> bool {
    user.len() <= 64
        && user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Returns `user`, `host` and `port` of `[user@]host[:port]`.
fn authority(text: &str) -> Result<(Option<String>, String, Option<u16>), &'static str> {
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            return Err("it has a password: use a key, or git's credential helper");
        }
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    if user.is_some_and(|user| !is_user(user)) {
        return Err("the login has characters that logins do not have");
    }
    let after_bracket = rest.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match rest.get(after_bracket..).and_then(|tail| tail.find(':')).map(|at| at + after_bracket) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    if !is_host(host) {
        return Err("the host is no name or address");
    }
    let port = match port.map(|port| (port.bytes().all(|b| b.is_ascii_digit()), port.parse::<u16>())) {
        None => None,
        Some((true, Ok(port))) if port > 0 => Some(port),
        Some(_) => return Err("the port is no number from 1 to 65535"),
    };
    Ok((user.map(str::to_owned), host.to_owned(), port))
}

fn local(path: &str) -> Result<Location, &'static str> {
    let path = Path::new(path);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("the path has `..`");
    }
    Ok(Location::Local(path.to_owned()))
}

fn parse(text: &str) -> Result<Location, &'static str> {
    const FORMS: &str =
        "write an absolute path, `file:///path`, `ssh://user@host/path`, `user@host:path` or `https://host/path`";
    if text.is_empty() || text.len() > MAX_BYTES {
        return Err(FORMS);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it has a space, a line break or another control character");
    }
    if text.starts_with('-') {
        return Err("it begins with `-`, like an option");
    }
    if let Some(path) = text.strip_prefix("file://") {
        return if path.starts_with('/') {
            local(path)
        } else {
            Err("a `file://` URL has three slashes: `file:///path`")
        };
    }
    if text.starts_with('/') {
        return local(text);
    }
    if text.contains("::") && !text.contains('[') {
        return Err("remote helpers (`name::…`) run programs and are not used");
    }
    if let Some(rest) = text.strip_prefix("ssh://") {
        let (before, path) = rest.split_once('/').ok_or("the path after the host is missing")?;
        let (user, host, port) = authority(before)?;
        // As git reads it: `ssh://host/~user/x` is below a home, all else is absolute.
        let path = if path.starts_with('~') { path.to_owned() } else { format!("/{path}") };
        return if is_remote_path(&path) && path.len() > 1 {
            Ok(Location::Ssh { user, host, port, path })
        } else {
            Err("the path may have letters, digits and `/._-~+`, without `..`")
        };
    }
    if let Some(rest) = text.strip_prefix("https://") {
        let (before, path) = rest.split_once('/').ok_or("the path after the host is missing")?;
        authority(before)?;
        return if is_remote_path(path) {
            Ok(Location::Https { url: text.to_owned() })
        } else {
            Err("the path may have letters, digits and `/._-~+`, without `..`, `?` and `#`")
        };
    }
    if text.contains("://") {
        return Err("only `file`, `ssh` and `https` are used: others are not encrypted, or run programs");
    }
    let bracket = text.find(']').unwrap_or(0);
    if let Some(at) = text.get(bracket..).and_then(|tail| tail.find(':')).map(|at| at + bracket) {
        let (user, host, port) = authority(&text[..at])?;
        let path = &text[at + 1..];
        if user.is_none() && ["file", "ssh", "http", "https", "git", "ext"].contains(&host.as_str()) {
            return Err(FORMS);
        }
        // The root of a host and somebody's home are no repositories, however they are written.
        return if port.is_none() && is_remote_path(path) && !["/", "~"].contains(&path) {
            Ok(Location::Ssh { user, host, port, path: path.to_owned() })
        } else {
            Err("the path may have letters, digits and `/._-~+`, without `..`")
        };
    }
    Err(FORMS)
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| {
            // A password stands between the last `:` before an `@` and that `@`: show nothing of what is before it.
            let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
            let text = shown.chars().take(120).collect::<String>().escape_debug().to_string();
            InvalidLocation { text, reason: reason.to_owned() }
        })
    }
}

impl fmt::Display for Location {
    /// Writes what `git` is given. Safe to show: it never has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Https { url } => f.write_str(url),
            Self::Ssh { user, host, port, path } => {
                let at = user.as_deref().map(|user| format!("{user}@")).unwrap_or_default();
                match port {
                    // The short form is the one that keeps a path relative to the home.
                    None if !path.starts_with('/') && !path.starts_with('~') => write!(f, "{at}{host}:{path}"),
                    _ => {
                        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                        let slash = if path.starts_with('/') { "" } else { "/" };
                        write!(f, "ssh://{at}{host}{port}{slash}{path}")
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_all_forms() {
        for (text, shown) in [
            ("/srv/git/infra.git", "/srv/git/infra.git"),
            ("file:///srv/git/infra.git", "/srv/git/infra.git"),
            ("ssh://git@git.example.net:2222/team/infra.git", "ssh://git@git.example.net:2222/team/infra.git"),
            ("ssh://git.example.net/~team/infra.git", "ssh://git.example.net/~team/infra.git"),
            ("ssh://[2001:db8::1]:22/infra.git", "ssh://[2001:db8::1]:22/infra.git"),
            ("git@git.example.net:team/infra.git", "git@git.example.net:team/infra.git"),
            ("git@git.example.net:/srv/infra.git", "ssh://git@git.example.net/srv/infra.git"),
            ("https://git.example.net/team/infra.git", "https://git.example.net/team/infra.git"),
            ("https://bot@git.example.net:8443/team/infra", "https://bot@git.example.net:8443/team/infra"),
        ] {
            let location: Location = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(location.to_string(), shown);
            assert_eq!(location.to_string().parse::<Location>(), Ok(location), "what is shown parses back");
        }
    }

    #[test]
    fn refuses_everything_odd() {
        for text in [
            "",
            "infra",
            "./infra",
            "../infra",
            "/srv/../etc",
            "-oProxyCommand=touch /tmp/x",
            "--upload-pack=touch",
            "ext::sh -c touch% /tmp/x",
            "fd::17",
            "ssh://-oProxyCommand=touch/x",
            "ssh://git@-oProxyCommand=x/y",
            "ssh://host/-x",
            "ssh://host",
            "ssh://host/a b",
            "ssh://host/a\nb",
            "ssh://host/$(id)",
            "ssh://host/`id`",
            "ssh://host/a;b",
            "ssh://host/../b",
            "ssh://host:0/b",
            "ssh://host:99999/b",
            "ssh://host:+22/b",
            "ssh://user:secret@host/b",
            "-x@host:path",
            "host:-path",
            "host:~",
            "host:/",
            "ssh://host/~",
            "host:a'b",
            "git://host/path",
            "http://host/path",
            "ftp://host/path",
            "file://host/path",
            "file:relative",
            "https://user:secret@host/b",
            "https://host/a?b",
            "https://host/a#b",
            "https://ho st/a",
            "https:///a",
            "/srv/a\tb",
            "/srv/\u{0}",
        ] {
            match text.parse::<Location>() {
                Ok(location) => panic!("{text:?} was taken as {location:?}"),
                Err(error) => assert!(!error.to_string().contains("secret"), "{error}"),
            }
        }
    }

    proptest! {
        #[test]
        fn never_begins_like_an_option_and_parses_back(text in "[-a-z0-9:/@.\\[\\]~$ ]{0,40}") {
            if let Ok(location) = text.parse::<Location>() {
                let shown = location.to_string();
                prop_assert!(!shown.starts_with('-'));
                prop_assert!(!shown.contains("/-") || matches!(location, Location::Local(_)));
                prop_assert_eq!(shown.parse::<Location>().unwrap(), location);
            }
        }
    }
}
