//! The three commands a host's login shell ever gets to see.
//!
//! Each is constant but for a digest, which is 64 hexadecimal digits by its type. They use nothing in which `sh`, `bash`, `dash`, `zsh`,
//! `fish` and `csh` differ. Everything else travels in frames.

use holdfast_protocol::Digest;

/// Exit status of [`serve`] when the program is not there.
pub(super) const ABSENT: i32 = 90;
/// Exit status of [`serve`] when the file there has another digest.
pub(super) const DIFFERENT: i32 = 91;

/// How the login becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// It is root.
    Root,
    /// By `sudo -n`, for exact paths.
    Sudo,
}

impl Login {
    /// Returns the login of a user name.
    pub(super) fn of(user: &str) -> Self {
        if user == "root" { Self::Root } else { Self::Sudo }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Sudo => "/usr/bin/sudo -n ",
        }
    }
}

/// Returns where the host program of a digest lies on every host.
pub(super) fn path(digest: &Digest) -> String {
    format!("/var/lib/holdfast/host/{digest}/holdfast-host")
}

/// Returns the command that checks the program and becomes it.
///
/// # Source
/// `sha256sum -c` of GNU coreutils 9.1: digest, two spaces, path; `--status` prints nothing.
pub(super) fn serve(digest: &Digest, login: Login) -> String {
    let (path, prefix) = (path(digest), login.prefix());
    format!(
        "test -x {path} || exit {ABSENT}; echo '{digest}  {path}' | sha256sum -c --status || exit {DIFFERENT}; \
         exec {prefix}{path} serve"
    )
}

/// Returns the command that puts its standard input in place as the program, owned by root.
///
/// `cat` comes first because `/dev/stdin` cannot be opened where sshd gives a socket instead of a pipe. `install` is not atomic, and
/// need not be: a half-written file fails the check of [`serve`] and is put there again.
pub(super) fn deliver(digest: &Digest, login: Login) -> String {
    let (path, prefix) = (path(digest), login.prefix());
    format!("cat | {prefix}/usr/bin/install -D -m 0755 -o root -g root /dev/stdin {path}")
}

/// The command that names the host's processor. Asked only when the manager has programs for several.
pub(super) const ARCHITECTURE: &str = "uname -m";

/// A command that does and prints nothing: what comes all the same is a login shell's noise. Asked only by `doctor`, as are the ones
/// below.
pub(super) const NOTHING: &str = "true";

/// The command that says whether programs can be checked.
pub(super) const CHECKS: &str = "sha256sum --version";

/// The command that says whether the folder of the host program lets this login through.
pub(super) const PASSES: &str = "test ! -e /var/lib/holdfast || test -x /var/lib/holdfast";

/// Returns the commands that say whether `sudo` allows the two that need it.
///
/// # Source
/// `sudo(8)`, `-l command`: exits with 0 when the command is allowed with these arguments, with 1 when it is not. Runs nothing.
pub(super) fn may(digest: &Digest) -> [String; 2] {
    let path = path(digest);
    [
        format!("/usr/bin/sudo -n -l {path} serve"),
        format!("/usr/bin/sudo -n -l /usr/bin/install -D -m 0755 -o root -g root /dev/stdin {path}"),
    ]
}

/// Returns what a sudoers file on the host must hold for this user.
pub(super) fn sudoers(user: &str) -> String {
    format!(
        "{user} ALL=(root) NOPASSWD: ^/var/lib/holdfast/host/[0-9a-f]{{64}}/holdfast-host$ ^serve$, /usr/bin/install ^-D -m 0755 \
         -o root -g root /dev/stdin /var/lib/holdfast/host/[0-9a-f]{{64}}/holdfast-host$"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_constant_but_for_the_digest() {
        let digest = Digest([0xab; 32]);
        let hex = "ab".repeat(32);
        for login in [Login::Root, Login::Sudo] {
            let [may_serve, may_deliver] = may(&digest);
            for command in [serve(&digest, login), deliver(&digest, login), may_serve, may_deliver] {
                let rest = command.replace(&hex, "");
                let plain = |c: char| c.is_ascii_alphanumeric() || " -/'|;".contains(c);
                assert!(rest.chars().all(plain), "{command}");
                assert!(command.contains(&hex), "{command}");
            }
        }
        assert_eq!(
            deliver(&digest, Login::Sudo),
            format!(
                "cat | /usr/bin/sudo -n /usr/bin/install -D -m 0755 -o root -g root /dev/stdin /var/lib/holdfast/host/{hex}/holdfast-host"
            )
        );
    }
}
