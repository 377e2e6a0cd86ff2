//! nginx: testing a tree before it is touched, and reloading with proof.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_protocol::FilePut;

use super::unit;
use super::{Act, StepError, Work, fail};
use crate::disk::Disk;
use crate::exec::{Output, shown};
use crate::{blob, paths};

/// The most a copied tree may hold; nobody's nginx configuration is larger, but something may be mounted there.
const MAX_TREE: u64 = 256 * 1024 * 1024;

/// Returns what is wrong with nginx's live tree, `None` when nothing is.
pub(super) fn live_error(work: &Work<'_>) -> Result<Option<String>, StepError> {
    let output = test(work, None)?;
    Ok((output.code != 0).then(|| {
        format!(
            "nginx's configuration is broken already, before anything of ours: {}; put it right first",
            complaint(&output, &[])
        )
    }))
}

fn test(work: &Work<'_>, main: Option<&Path>) -> Result<Output, StepError> {
    let ask = |quiet_log| {
        let arguments = crate::nginx::test(main, quiet_log);
        work.ask("nginx", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let output = ask(true)?;
    if crate::nginx::is_too_old(&output) { ask(false) } else { Ok(output) }
}

/// Tests nginx files on a staged copy of the live tree.
pub(super) struct Test<'a> {
    pub(super) put: &'a [FilePut],
    pub(super) remove: &'a [String],
}

impl Act for Test<'_> {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        let live = work.host.system.etc.join("nginx");
        let stage = work.host.run.join(format!("nginx-{}", work.spec.id));
        let io = |error: io::Error| {
            StepError::Failed(format!("stage a copy of {} in {}: {error}", live.display(), stage.display()))
        };
        remove_tree(&stage).map_err(io)?;
        let tested = self.stage(work, &live, &stage).map_err(io).and_then(|main| {
            let output = test(work, Some(&main))?;
            Ok((output.code != 0).then(|| self.blame(&output, &stage)))
        });
        // It may hold keys; it must not stay.
        remove_tree(&stage).map_err(io)?;
        match tested? {
            None => Ok(String::new()),
            Some(error) => fail(error),
        }
    }
}

impl Test<'_> {
    /// Copies the tree with our changes, every path in it rewritten to the copy, and returns the copy of the main file.
    fn stage(&self, work: &Work<'_>, live: &Path, stage: &Path) -> io::Result<PathBuf> {
        paths::create_private(stage)?;
        let mut moved: Vec<(String, String)> = vec![moved(live, stage)];
        moved.extend(self.put.iter().map(|put| Path::new(&put.path)).filter(|path| !path.starts_with(live)).map(
            |path| {
                let to = under(stage, path);
                (path.display().to_string(), to.display().to_string())
            },
        ));
        let removed: BTreeSet<&Path> = self.remove.iter().map(Path::new).collect();
        let mut copy = Copy { live, stage, moved: &moved, removed: &removed, left: MAX_TREE };
        if live.is_dir() {
            copy.folder(live)?;
        }
        for put in self.put {
            let content = blob::read(&work.host.root, &put.blob)?;
            let to = under(stage, Path::new(&put.path));
            if let Some(folder) = to.parent() {
                paths::create_private(folder)?;
            }
            // A symlink that was copied must not be written through.
            Disk::new().remove(&to)?;
            fs::write(&to, rewrite(&content, &moved))?;
        }
        Ok(under(stage, live).join("nginx.conf"))
    }

    fn blame(&self, output: &Output, stage: &Path) -> String {
        let text = complaint(output, &[(stage.display().to_string(), String::new())]);
        let ours = self.put.iter().any(|put| names_file(&text, &put.path));
        if ours || !text.contains(" in /") {
            format!("nginx refuses the new configuration: {text}")
        } else {
            format!(
                "nginx's configuration is broken by a file that is not ours: {text}; put it right first, nothing was changed"
            )
        }
    }
}

/// `… in /etc/nginx/conf.d/x.conf:3`: the file is followed by a colon, so that one name is not taken for the beginning of another.
fn names_file(text: &str, path: &str) -> bool {
    text.contains(&format!("{path}:"))
}

fn moved(live: &Path, stage: &Path) -> (String, String) {
    (live.display().to_string(), under(stage, live).display().to_string())
}

fn under(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns nginx's complaint on one line, with staged paths put back to the real ones.
fn complaint(output: &Output, back: &[(String, String)]) -> String {
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    for (from, to) in back {
        text = text.replace(from, to);
    }
    let emergencies: Vec<&str> =
        text.lines().filter(|line| line.contains("[emerg]")).map(|line| line.trim_start_matches("nginx: ")).collect();
    let told = if emergencies.is_empty() { text.as_str().to_owned() } else { emergencies.join("\n") };
    shown(told.as_bytes(), 1000)
}

struct Copy<'a> {
    live: &'a Path,
    stage: &'a Path,
    moved: &'a [(String, String)],
    removed: &'a BTreeSet<&'a Path>,
    left: u64,
}

impl Copy<'_> {
    fn folder(&mut self, from: &Path) -> io::Result<()> {
        paths::create_private(&under(self.stage, from))?;
        for entry in fs::read_dir(from)? {
            let from = entry?.path();
            if self.removed.contains(from.as_path()) {
                continue;
            }
            let meta = fs::symlink_metadata(&from)?;
            if meta.is_dir() {
                self.folder(&from)?;
            } else if meta.is_symlink() {
                self.link(&from)?;
            } else if meta.is_file() {
                self.file(&from, meta.size())?;
            }
        }
        Ok(())
    }

    fn link(&self, from: &Path) -> io::Result<()> {
        let target = fs::read_link(from)?;
        // An absolute link into the tree must lead into the copy, any other where it led: a relative one only where it stays inside.
        let full = normal(&from.parent().unwrap_or(Path::new("/")).join(&target));
        let target = if full.starts_with(self.live) { under(self.stage, &full) } else { full };
        std::os::unix::fs::symlink(target, under(self.stage, from))
    }

    fn file(&mut self, from: &Path, size: u64) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(size)
            .ok_or_else(|| io::Error::other(format!("it holds more than {MAX_TREE} bytes")))?;
        let to = under(self.stage, from);
        fs::write(&to, rewrite(&fs::read(from)?, self.moved))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600))
    }
}

/// Resolves `.` and `..` by name.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Rewrites paths at the beginning of a word. What is no text (a key store, say) stays as it is.
///
/// # Source
/// nginx's configuration syntax: words are apart by white space or `;{}`, may be quoted by `'` or `"`, and `#` at the beginning of a
/// word starts a comment up to the end of the line.
fn rewrite(content: &[u8], moved: &[(String, String)]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(content) else { return content.to_owned() };
    let mut out = String::with_capacity(text.len() + 256);
    let mut rest = text;
    let mut at_word = true;
    while let Some(character) = rest.chars().next() {
        if at_word && character == '#' {
            let end = rest.find('\n').unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if at_word && let Some((from, to)) = moved.iter().find(|(from, _)| begins_with_path(rest, from)) {
            out.push_str(to);
            rest = &rest[from.len()..];
            at_word = false;
            continue;
        }
        out.push(character);
        rest = &rest[character.len_utf8()..];
        at_word = character.is_ascii_whitespace() || matches!(character, ';' | '{' | '}' | '\'' | '"');
    }
    out.into_bytes()
}

fn begins_with_path(text: &str, path: &str) -> bool {
    text.strip_prefix(path).is_some_and(|after| {
        after
            .chars()
            .next()
            .is_none_or(|next| next == '/' || next == ';' || next.is_ascii_whitespace() || matches!(next, '"' | '\''))
    })
}

/// Reloads nginx, or starts it, and waits until a new worker generation serves alone.
pub(super) struct Reload;

impl Act for Reload {
    fn apply(&self, work: &Work<'_>, _before: &[u8]) -> Result<String, StepError> {
        reload(work)
    }
}

/// How often the workers are looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Reloads nginx, or starts it, and waits until the old workers accept no more and new ones do.
///
/// # Errors
/// When it refuses, or no new generation appears before the deadline: the old one serves then.
pub(super) fn reload(work: &Work<'_>) -> Result<String, StepError> {
    let before = unit::state(work, "nginx.service")?;
    if !before.is_active() {
        unit::start(work, "nginx.service", "start")?;
        return Ok("started".to_owned());
    }
    let master = before.main_pid;
    let old: BTreeSet<u32> = workers(&work.host.system.proc, master).into_iter().map(|worker| worker.pid).collect();
    match work.run("systemctl", &["reload", "--", "nginx.service"]) {
        Ok(_) => {}
        Err(StepError::Failed(error)) => {
            let why = live_error(work)?.unwrap_or_else(|| unit::log_tail("nginx.service"));
            return fail(format!("{error}: {why}"));
        }
        Err(other) => return Err(other),
    }
    loop {
        let now = workers(&work.host.system.proc, master);
        let new = now.iter().any(|worker| !old.contains(&worker.pid) && !worker.leaving);
        let old_accept = now.iter().any(|worker| old.contains(&worker.pid) && !worker.leaving);
        if new && !old_accept {
            let leaving = now.iter().filter(|worker| worker.leaving).count();
            return Ok(if leaving == 0 {
                String::new()
            } else {
                format!("{leaving} old workers finish what they began")
            });
        }
        let waited = work.pause(EVERY, "a new generation of nginx workers; the old one serves, see nginx's error log");
        if let Err(StepError::Failed(error)) = waited {
            return fail(format!("{error}: {}", live_error(work)?.unwrap_or_default()));
        }
        waited?;
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Worker {
    pid: u32,
    leaving: bool,
}

/// # Source
/// nginx sets its processes' titles: `nginx: worker process` and, once it accepts no more, `nginx: worker process is shutting down`.
/// A worker that was just forked still has its master's title.
fn workers(proc: &Path, master: u32) -> Vec<Worker> {
    let children = fs::read_to_string(proc.join(format!("{master}/task/{master}/children"))).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter_map(|pid| {
            let title = fs::read(proc.join(format!("{pid}/cmdline"))).ok()?;
            let title = String::from_utf8_lossy(&title).into_owned();
            title.starts_with("nginx: worker process").then(|| Worker { pid, leaving: title.contains("shutting down") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, tree};
    use super::*;

    fn moved() -> Vec<(String, String)> {
        vec![
            ("/etc/nginx".to_owned(), "/run/x/etc/nginx".to_owned()),
            ("/srv/a.conf".to_owned(), "/run/x/srv/a.conf".to_owned()),
        ]
    }

    #[test]
    fn paths_are_rewritten_at_the_beginning_of_a_word_only() {
        let cases = [
            ("include /etc/nginx/conf.d/*.conf;", "include /run/x/etc/nginx/conf.d/*.conf;"),
            ("include \"/etc/nginx/a b\";", "include \"/run/x/etc/nginx/a b\";"),
            ("include '/srv/a.conf';", "include '/run/x/srv/a.conf';"),
            ("include /srv/a.conf.old;", "include /srv/a.conf.old;"),
            ("include /etc/nginx-other/x;", "include /etc/nginx-other/x;"),
            ("# include /etc/nginx/x;\nroot /etc/nginx;", "# include /etc/nginx/x;\nroot /run/x/etc/nginx;"),
            ("return 200 x#/etc/nginx/y;", "return 200 x#/etc/nginx/y;"),
            ("root /var/etc/nginx/x;", "root /var/etc/nginx/x;"),
            ("include conf.d/*.conf;", "include conf.d/*.conf;"),
        ];
        for (given, wanted) in cases {
            assert_eq!(String::from_utf8(rewrite(given.as_bytes(), &moved())).unwrap(), wanted);
        }
        assert_eq!(rewrite(b"\xff/etc/nginx", &moved()), b"\xff/etc/nginx");
    }

    #[test]
    fn the_copy_has_our_changes_and_leads_nowhere_else() {
        let mut bench = Bench::new();
        let etc = bench.path().join("etc");
        bench.host.system.etc = etc.clone();
        let live = etc.join("nginx");
        fs::create_dir_all(live.join("sites-enabled")).unwrap();
        fs::create_dir_all(live.join("sites-available")).unwrap();
        fs::write(live.join("nginx.conf"), format!("include {}/sites-enabled/*;", live.display())).unwrap();
        fs::write(live.join("sites-available/a"), "a").unwrap();
        fs::write(live.join("sites-available/gone"), "gone").unwrap();
        std::os::unix::fs::symlink(live.join("sites-available/a"), live.join("sites-enabled/a")).unwrap();
        std::os::unix::fs::symlink("../sites-available/a", live.join("sites-enabled/b")).unwrap();
        let blob = blob::store(&bench.host.root, b"ours").unwrap();
        let put = |path: PathBuf| FilePut {
            path: path.display().to_string(),
            blob,
            mode: 0o644,
            owner: Bench::user(),
            group: Bench::group(),
        };
        // Our new file takes the place of a link: the link's target must stay as it is.
        let puts = [put(live.join("sites-enabled/b")), put(bench.path().join("srv/extra.conf"))];
        let remove = [live.join("sites-available/gone").display().to_string()];
        let stage = bench.path().join("stage");
        let before = tree(&live);
        let main = Test { put: &puts, remove: &remove }.stage(&bench.work(), &live, &stage).unwrap();
        let copy = main.parent().unwrap();
        assert_eq!(fs::read_to_string(&main).unwrap(), format!("include {}/sites-enabled/*;", copy.display()));
        assert_eq!(fs::read_link(copy.join("sites-enabled/a")).unwrap(), copy.join("sites-available/a"));
        assert_eq!(fs::read(copy.join("sites-enabled/b")).unwrap(), b"ours");
        assert_eq!(fs::read(copy.join("sites-available/a")).unwrap(), b"a");
        assert!(!copy.join("sites-available/gone").exists());
        assert_eq!(tree(&live), before);
    }

    #[test]
    fn cap_42_a_complaint_names_the_real_file_and_whose_it_is() {
        let output = Output {
            code: 1,
            stdout: Vec::new(),
            stderr: b"nginx: [warn] x\nnginx: [emerg] unknown directive \"broken\" in /run/h/nginx-t1/etc/nginx/sites-enabled/other:2\n\
                nginx: configuration file /run/h/nginx-t1/etc/nginx/nginx.conf test failed\n"
                .to_vec(),
        };
        let put = FilePut {
            path: "/etc/nginx/sites-enabled/ours".to_owned(),
            blob: crate::digest::of(b""),
            mode: 0,
            owner: String::new(),
            group: String::new(),
        };
        let test = Test { put: std::slice::from_ref(&put), remove: &[] };
        let error = test.blame(&output, Path::new("/run/h/nginx-t1"));
        assert!(
            error.contains("not ours: [emerg] unknown directive \"broken\" in /etc/nginx/sites-enabled/other:2;"),
            "{error}"
        );
        let put = FilePut { path: "/etc/nginx/sites-enabled/other".to_owned(), ..put };
        let test = Test { put: std::slice::from_ref(&put), remove: &[] };
        assert!(test.blame(&output, Path::new("/run/h/nginx-t1")).starts_with("nginx refuses the new configuration"));
    }
}
