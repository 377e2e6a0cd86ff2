//! Files of logrotate: what it would pass over without a word, and logs that two of them name.

use std::collections::BTreeMap;

use super::resolve::finding;
use super::{Artifacts, Body, DesiredApp, DesiredFile};
use crate::diag::Diagnostics;
use crate::id::{AppName, HostName};

/// The folder that `/etc/logrotate.conf` includes.
pub const LOGROTATE_FOLDER: &str = "/etc/logrotate.d";

/// Endings of names that are passed over.
///
/// # Source
/// logrotate(8), `tabooext`, and `defTabooExts` of versions 3.18 to 3.22.
const TABOO: [&str; 18] = [
    ",v",
    "~",
    ".bak",
    ".cfsaved",
    ".disabled",
    ".dpkg-bak",
    ".dpkg-del",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".dpkg-tmp",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".swp",
    ".ucf-dist",
    ".ucf-new",
    ".ucf-old",
];

/// Scripts in a file of logrotate; each goes on to `endscript`.
const SCRIPTS: [&str; 5] = ["prerotate", "postrotate", "firstaction", "lastaction", "preremove"];

/// Returns why logrotate would not read a file, and what to do.
///
/// # Source
/// logrotate(8), and `readConfigFile` of versions 3.18 to 3.22: a file that a group or others may write, or that is not root's, is told of
/// and passed over, and the run ends well all the same.
pub(super) fn ignored(path: &str, file: &DesiredFile) -> Option<(String, &'static str)> {
    let name = path.strip_prefix(LOGROTATE_FOLDER)?.strip_prefix('/')?;
    if name.contains('/') {
        return Some((
            format!("logrotate does not look into folders of {LOGROTATE_FOLDER}"),
            "put the file into the folder itself",
        ));
    }
    let taboo = TABOO.iter().find(|ending| name.ends_with(**ending));
    if let Some(ending) = taboo.or_else(|| name.contains(".rhn-cfg-tmp-").then_some(&".rhn-cfg-tmp-")) {
        return Some((
            format!("logrotate passes over `{name}`: names with `{ending}` are of files that were put aside"),
            "give it another name, such as that of the app",
        ));
    }
    if file.mode & 0o022 != 0 {
        let message =
            format!("logrotate passes over {path}: with mode {:04o} others than its owner may write it", file.mode);
        return Some((message, "give it `mode: \"0644\"`"));
    }
    if !matches!(file.owner.as_str(), "root" | "0") {
        let message = format!("logrotate passes over {path}: it is of `{}`, and has to be root's", file.owner);
        return Some((message, "take `owner` out"));
    }
    None
}

/// Returns the logs that a file of logrotate names, as they are written.
///
/// What cannot be told apart for sure is left out: the host tries the file itself.
///
/// # Source
/// logrotate(8): paths before a `{`, parted by blanks or line ends, quoted where they have blanks.
fn named(text: &str) -> Vec<String> {
    let (mut paths, mut inside, mut script) = (Vec::new(), false, false);
    for line in text.lines().map(str::trim) {
        let word = line.split_whitespace().next().unwrap_or_default();
        if script {
            script = word != "endscript";
        } else if inside {
            script = SCRIPTS.contains(&word);
            inside = !line.ends_with('}');
        } else if line.starts_with(['/', '"', '\'']) || line.starts_with('{') {
            let (before, after) = line.split_once('{').map_or((line, None), |(before, after)| (before, Some(after)));
            paths.extend(words(before));
            inside = after.is_some_and(|after| !after.trim_end().ends_with('}'));
        }
    }
    paths
}

/// Returns words as logrotate parts them: at blanks that stand in no quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            Some(_) | None => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the logs that two files of a host name: logrotate passes over the one that it reads later.
pub(super) fn doubled(host: &HostName, apps: &BTreeMap<AppName, DesiredApp>) -> Diagnostics {
    let mut findings = Diagnostics::default();
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let places = apps.values().flat_map(|app| &app.components).flat_map(|component| -> Vec<&Artifacts> {
        match &component.body {
            Body::Single(artifacts) => vec![artifacts],
            Body::Slots { blue, green } => vec![blue, green],
        }
    });
    let files = places.flat_map(|artifacts| &artifacts.files);
    for (path, file) in files.filter(|(path, _)| path.starts_with(&format!("{LOGROTATE_FOLDER}/"))) {
        for log in named(file.content.shown().as_ref()) {
            let Some(other) = owners.insert(log.clone(), path) else { continue };
            let message = if other == path {
                format!("{path} names the log {log} twice, for {host}: logrotate passes over the second")
            } else {
                format!("{other} and {path} both name the log {log} on {host}: logrotate passes over the second")
            };
            findings.extend(finding("claimed-twice", &file.origin, message, "name each log in one file, once"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Origin;
    use crate::render::Content;

    fn file(mode: u32, owner: &str) -> DesiredFile {
        DesiredFile {
            content: Content::plain(String::new()),
            mode,
            owner: owner.to_owned(),
            group: "root".to_owned(),
            nginx: false,
            reload: false,
            origin: Origin::default(),
        }
    }

    #[test]
    fn cap_81_what_logrotate_would_pass_over_is_said() {
        for (path, mode, owner, wanted) in [
            ("/etc/logrotate.d/shop", 0o644, "root", ""),
            ("/etc/logrotate.d/shop", 0o640, "0", ""),
            ("/etc/logrotate.d/shop.conf", 0o600, "root", ""),
            ("/etc/logrotate.d/shop.bak", 0o644, "root", "names with `.bak`"),
            ("/etc/logrotate.d/shop,v", 0o644, "root", "names with `,v`"),
            ("/etc/logrotate.d/.rhn-cfg-tmp-shop", 0o644, "root", "names with `.rhn-cfg-tmp-`"),
            ("/etc/logrotate.d/shop/web", 0o644, "root", "does not look into folders"),
            ("/etc/logrotate.d/shop", 0o664, "root", "with mode 0664"),
            ("/etc/logrotate.d/shop", 0o646, "root", "with mode 0646"),
            ("/etc/logrotate.d/shop", 0o644, "shop", "it is of `shop`"),
            ("/etc/shop.bak", 0o666, "shop", ""),
            ("/etc/logrotate.dd/shop.bak", 0o666, "shop", ""),
        ] {
            let said = ignored(path, &file(mode, owner)).map(|(message, _)| message).unwrap_or_default();
            assert!(if wanted.is_empty() { said.is_empty() } else { said.contains(wanted) }, "{path}: {said}");
        }
    }

    #[test]
    fn cap_81_logs_are_told_from_what_is_done_with_them() {
        let text = "\
# /not/this.log {
weekly
/var/log/shop/*.log \"/var/log/shop.err\" {
    daily
    postrotate
        [ -f /run/shop.pid ] && { kill -USR1 1; }
        /not/this/either
    endscript
}
/var/log/one.log { daily }
/var/log/two.log
/var/log/three.log
{
    olddir /not/old
}
\"/var/log/with blank.log\" {
}
include /etc/more
";
        assert_eq!(
            named(text),
            [
                "/var/log/shop/*.log",
                "/var/log/shop.err",
                "/var/log/one.log",
                "/var/log/two.log",
                "/var/log/three.log",
                "/var/log/with blank.log"
            ]
        );
        assert_eq!(named(""), [""; 0]);
    }
}
