//! Files of logrotate, tried among all that the host has: what is wrong with one is mostly what another one says of the same log.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdfast_protocol::{Action, StageProblem, TransactionSpec};

use super::{Copies, DEADLINE, all_steps, problem, under};
use crate::exec::{Call, ExecError, shown_tail};
use crate::paths;

/// Where logrotate has its files.
const CONF: &str = "/etc/logrotate.conf";
const FOLDER: &str = "/etc/logrotate.d";
/// The largest file that is taken along: real ones have some hundred bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The most characters of its complaints that are told.
const SHOWN: usize = 700;

/// Returns what logrotate would say that it does not say already.
pub(super) fn logs(spec: &TransactionSpec, copies: &Copies<'_>) -> Vec<StageProblem> {
    let puts: Vec<&Path> =
        copies.puts.keys().copied().filter(|path| path.parent() == Some(Path::new(FOLDER))).collect();
    let Some(first) = puts.first() else { return Vec::new() };
    let whole = |message: String| vec![problem(component(spec, first), message)];
    let Some(conf) = configuration(&fs::read_to_string(CONF).unwrap_or_else(|_| format!("include {FOLDER}\n"))) else {
        return whole(format!("{CONF} does not include {FOLDER}: logrotate would never read {}", first.display()));
    };
    let removed: BTreeSet<PathBuf> = all_steps(spec)
        .filter_map(|step| match &step.action {
            Action::RemoveFile { path } => Some(PathBuf::from(path)),
            _ => None,
        })
        .collect();
    let told = |name: &str, live: &dyn Fn(&Path) -> bool, puts: &[&Path]| -> Result<Said, String> {
        let folder = copies.stage.join(name);
        gather(&folder, live, puts, copies).map_err(|error| format!("stage copies of {FOLDER}: {error}"))?;
        let conf = conf.replace('\0', &folder.join("d").display().to_string());
        let file = folder.join("logrotate.conf");
        fs::write(&file, conf).map_err(|error| format!("stage a copy of {CONF}: {error}"))?;
        run(&folder, &file)
    };
    let before = told("logrotate-before", &|_| true, &[]);
    let after = told("logrotate-after", &|path| !removed.contains(path), &puts);
    let (before, after) = match (before, after) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(error), _) | (_, Err(error)) => return whole(error),
    };
    let ours = |line: &str| puts.iter().find(|path| names(line, path)).copied();
    let refused =
        |path: &Path, why: &str| problem(component(spec, path), format!("logrotate refuses {}: {why}", path.display()));
    let mut problems: Vec<StageProblem> = Vec::new();
    let counted = |line: &&String| counts(line) && (ours(line).is_some() || !before.lines.contains(line));
    let comes = comes(spec);
    for line in after.lines.iter().filter(counted) {
        if !comes.iter().any(|account| line.ends_with(account.as_str())) {
            problems.push(refused(ours(line).unwrap_or(first), &shown_tail(line.as_bytes(), SHOWN)));
        }
    }
    for path in puts.iter().filter(|path| !after.read.contains(&*name(path))) {
        if !after.lines.iter().any(|line| names(line, path)) {
            problems.push(refused(path, &format!("it does not read it: {}", after.tail)));
        }
    }
    problems
}

/// Returns logrotate's own configuration with NUL for its folder, or `None` when it does not include it.
fn configuration(text: &str) -> Option<String> {
    let mut includes = false;
    let mut out = String::new();
    for line in text.lines() {
        let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        let is_ours =
            words.next() == Some("include") && words.next().map(|path| path.trim_end_matches('/')) == Some(FOLDER);
        includes |= is_ours;
        out.push_str(if is_ours { "include \0" } else { line });
        out.push('\n');
    }
    includes.then_some(out)
}

/// Puts copies of the host's files and those of the transaction into `d` of a folder.
fn gather(folder: &Path, live: &dyn Fn(&Path) -> bool, puts: &[&Path], copies: &Copies<'_>) -> io::Result<()> {
    let to = folder.join("d");
    paths::create_private(&to)?;
    let entries = match fs::read_dir(FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() && meta.len() <= MAX_FILE && live(&entry.path()) {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    for path in puts {
        let at = to.join(path.file_name().unwrap_or_default());
        fs::copy(under(copies.stage, path), &at)?;
        fs::set_permissions(&at, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// What logrotate said.
struct Said {
    /// Its complaints.
    lines: Vec<String>,
    /// The names of the files that it read.
    read: BTreeSet<String>,
    /// The end of it all, for people.
    tail: String,
}

/// Lets logrotate read files. An exit status says little: of a line that it does not know it tells, and ends well.
///
/// # Source
/// logrotate 3.21 and 3.22: `--debug` changes nothing, neither logs nor its state; `error: NAME:LINE TEXT` for files of a folder, and
/// `warning: ` in place of it for an unknown option from 3.22 on; `reading config file NAME`.
fn run(folder: &Path, file: &Path) -> Result<Said, String> {
    let state = folder.join("state").display().to_string();
    let call = Call::new("logrotate", ["--debug", "--state", &state, &file.display().to_string()]);
    match call.deadline(DEADLINE).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            Ok(said(&text.replace(&format!("{}/", folder.display()), "")))
        }
        Err(ExecError::Missing(_)) => Err("logrotate is not installed: install it on this host".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn said(text: &str) -> Said {
    let complaint = |line: &str| {
        let line = line.trim();
        line.strip_prefix("error: ").or_else(|| line.strip_prefix("warning: ")).map(str::to_owned)
    };
    let read = |line: &str| line.trim().strip_prefix("reading config file ").map(str::to_owned);
    Said {
        lines: text.lines().filter_map(complaint).collect(),
        read: text.lines().filter_map(read).collect(),
        tail: shown_tail(text.as_bytes(), SHOWN),
    }
}

/// Returns whether a complaint is about the files. A log that is not there yet comes with what writes it; and what follows from
/// another complaint says nothing more.
fn counts(line: &str) -> bool {
    !(line.starts_with("stat of ") || line.starts_with("found error in "))
}

/// Returns whether a complaint names a file: `NAME:LINE …`, `Ignoring NAME because …`.
fn names(line: &str, path: &Path) -> bool {
    let name = name(path);
    line.starts_with(&format!("{name}:")) || line.starts_with(&format!("Ignoring {name} "))
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Returns the ends of complaints about accounts that this same transaction makes.
fn comes(spec: &TransactionSpec) -> Vec<String> {
    let made = |action: &Action| match action {
        Action::Account { name, spec } => vec![format!("user '{name}'"), format!("group '{}'", spec.group)],
        Action::Group { name } => vec![format!("group '{name}'")],
        _ => Vec::new(),
    };
    all_steps(spec).flat_map(|step| made(&step.action)).collect()
}

fn component<'s>(spec: &'s TransactionSpec, path: &Path) -> &'s str {
    let step =
        all_steps(spec).find(|step| matches!(&step.action, Action::PutFile(put) if Path::new(&put.path) == path));
    step.map_or("", |step| step.component.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_81_the_folder_of_the_host_is_exchanged_in_its_own_configuration() {
        let text = "weekly\n# include /etc/logrotate.d\ninclude /etc/logrotate.d\n/var/log/x {\n}\n";
        assert_eq!(configuration(text).unwrap(), "weekly\n# include /etc/logrotate.d\ninclude \0\n/var/log/x {\n}\n");
        assert_eq!(configuration("include\t/etc/logrotate.d/\n").unwrap(), "include \0\n");
        assert_eq!(configuration("include = /etc/logrotate.d\n").unwrap(), "include \0\n");
        assert_eq!(configuration("# include /etc/logrotate.d\ninclude /etc/other\n"), None);
    }

    #[test]
    fn cap_81_what_is_told_is_read_in_the_words_of_old_and_new() {
        let text = "warning: logrotate in debug mode does nothing except printing debug messages!\n\n\
            reading config file logrotate.conf\nincluding d\nreading config file nginx\nreading config file shop\n\
            error: shop:2 unknown option 'dayly' -- ignoring line\nwarning: shop:3 unknown option 'rotat' -- ignoring line\n\
            Handling 2 logs\n";
        let said = said(text);
        assert_eq!(said.read.iter().map(String::as_str).collect::<Vec<_>>(), ["logrotate.conf", "nginx", "shop"]);
        let ours: Vec<_> = said.lines.iter().filter(|line| names(line, Path::new("/etc/logrotate.d/shop"))).collect();
        assert_eq!(
            ours,
            ["shop:2 unknown option 'dayly' -- ignoring line", "shop:3 unknown option 'rotat' -- ignoring line"]
        );
        assert!(said.tail.ends_with("Handling 2 logs"), "{}", said.tail);
    }

    #[test]
    fn cap_81_a_complaint_counts_for_the_file_it_names() {
        let path = Path::new("/etc/logrotate.d/shop");
        for (line, ours, counted) in [
            ("shop:2 unknown option 'dayly' -- ignoring line", true, true),
            ("Ignoring shop because it is writable by group or others.", true, true),
            ("shops:2 unknown option 'dayly' -- ignoring line", false, true),
            ("nginx:1 duplicate log entry for /var/log/shop", false, true),
            ("stat of /var/log/shop failed: No such file or directory", false, false),
            ("found error in file shop, skipping", false, false),
        ] {
            assert_eq!((names(line, path), counts(line)), (ours, counted), "{line}");
        }
    }
}
