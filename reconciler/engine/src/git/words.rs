//! What git and ssh said, made fit to be shown, and what it means.

/// What is known of an error, by the words that tell it: the first that fits counts.
///
/// # Source
/// OpenSSH 9.2, `sshconnect.c`; git 2.39, `http.c` and `remote-curl.c`; libcurl 7.88 with GnuTLS and OpenSSL.
const MEANINGS: [(&str, &str); 13] = [
    (
        "HOST IDENTIFICATION HAS CHANGED",
        "the server's host key is not the pinned one: if it was changed on purpose, pin the new one, else somebody stands between",
    ),
    (
        "key is known for",
        "the server's host key is not known here: pin it with `ssh: { repository_host_key: … }` in the manager's configuration",
    ),
    (
        "Host key verification failed",
        "the server's host key is not the pinned one: if it was changed on purpose, pin the new one, else somebody stands between",
    ),
    ("Permission denied (", "the server does not take this key: `ssh: { identity: … }` names another"),
    ("certificate verif", UNTRUSTED),
    ("certificate problem", UNTRUSTED),
    ("certificate subject name", "the server's certificate is for another name"),
    ("only the question for the repository's own server", "somebody between here and the server asks for a password"),
    ("the token file", "the token cannot be used"),
    ("Authentication failed", DENIED),
    ("could not read Password", DENIED),
    ("unable to get password from user", DENIED),
    ("could not read Username", DENIED),
];

const UNTRUSTED: &str = "the server's certificate is not trusted here: `https: { ca_file: … }` in the manager's configuration names its authority";

const DENIED: &str = "the server wants a login and does not take what it got: `https: { token_file: … }` in the manager's configuration names a token";

/// Returns the last lines that git wrote, without what could act on a terminal and without anything before an `@` in a URL; what they
/// mean stands first, where that is known.
pub(super) fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let frame = |line: &str| line.bytes().all(|b| b == b'@');
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty() && !frame(line)).collect();
    let tail = lines[lines.len().saturating_sub(6)..].join("; ");
    let tail: String = tail.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let masked = tail.split(' ').map(|word| match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}…{}", &word[..scheme + 3], &word[at..]),
        _ => word.to_owned(),
    });
    let shown: String = masked.collect::<Vec<_>>().join(" ").chars().take(600).collect();
    match MEANINGS.iter().find(|(words, _)| text.contains(words)) {
        _ if shown.is_empty() => "git said nothing".to_owned(),
        Some((_, meaning)) => format!("{meaning} ({shown})"),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_cannot_act() {
        let words = last_words(b"fatal: \x1b[31mhttps://user:secret@host/x failed\nremote: no\n");
        assert_eq!(words, "fatal: \u{fffd}[31mhttps://…@host/x failed; remote: no");
    }

    #[test]
    fn what_is_known_of_an_error_stands_first() {
        let changed = b"@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@\nHost key verification failed.\n";
        let words = last_words(changed);
        assert!(words.starts_with("the server's host key is not the pinned one") && !words.contains("@@@"), "{words}");
        for (said, meant) in [
            ("No ED25519 host key is known for x and you have requested strict checking.", "not known here"),
            ("fatal: server certificate verification failed. CAfile: none CRLfile: none", "not trusted here"),
            ("fatal: SSL certificate problem: unable to get local issuer certificate", "not trusted here"),
            ("fatal: Authentication failed for 'https://git.example.net/x/'", "names a token"),
            ("fatal: unable to get password from user", "names a token"),
        ] {
            let words = last_words(said.as_bytes());
            assert!(words.contains(meant) && words.contains(said), "{words}");
        }
        assert_eq!(last_words(b"\n"), "git said nothing");
    }
}
