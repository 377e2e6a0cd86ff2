//! Asks the host's own tools whether what a transaction brings would work, on copies beside the live state.

mod logrotate;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_protocol::{Action, FilePut, StageProblem, Step, TransactionSpec};

use super::host::Host;
use super::stage::all_steps;
use super::step::{self, StepError, Work};
use crate::exec::{Call, ExecError, shown_tail};
use crate::{blob, paths};

/// How long one check may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Returns what is wrong; empty when nothing is.
pub fn validate(host: &Host, spec: &TransactionSpec) -> Vec<StageProblem> {
    let stage = host.run.join(format!("stage-{}", spec.id));
    let copies = Copies::of(host, spec, &stage);
    let problems = match copies {
        Ok(copies) => check(host, spec, &copies),
        Err(error) => vec![problem("", format!("stage copies in {}: {error}", stage.display()))],
    };
    // They may hold secrets.
    match fs::remove_dir_all(&stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let mut problems = problems;
            problems.push(problem("", format!("remove {}: {error}", stage.display())));
            problems
        }
        _ => problems,
    }
}

fn check(host: &Host, spec: &TransactionSpec, copies: &Copies<'_>) -> Vec<StageProblem> {
    let mut problems = Vec::new();
    let mut files: Vec<&str> = Vec::new();
    for step in all_steps(spec) {
        match &step.action {
            // What nginx is tested with must be there; what is there already stays as it is.
            Action::Preflight { .. } | Action::Certificate(_) | Action::NginxTest { .. } => {
                problems.extend(by_step(host, spec, step));
            }
            Action::ComposeUp { project, file, .. } if !files.contains(&file.as_str()) => {
                files.push(file);
                problems.extend(compose(copies, step, project, file));
            }
            _ => {}
        }
    }
    problems.extend(units(spec, copies));
    problems.extend(packet_filters(spec, copies));
    problems.extend(logrotate::logs(spec, copies));
    problems
}

fn problem(component: &str, message: String) -> StageProblem {
    StageProblem { component: component.to_owned(), message }
}

/// Steps that change nothing that is there are their own check.
fn by_step(host: &Host, spec: &TransactionSpec, step: &Step) -> Option<StageProblem> {
    let work = Work {
        host,
        spec,
        component: &step.component,
        deadline: Instant::now() + DEADLINE.min(Duration::from_millis(step.deadline_ms)),
        stop: &|| false,
        tell: &|_| (),
    };
    match step::apply(&work, &step.action, &[]) {
        Ok(_) | Err(StepError::Stopped) => None,
        Err(StepError::Failed(error) | StepError::Operator(error)) => Some(problem(&step.component, error)),
    }
}

/// The files a transaction puts, under their own paths below a private folder, among links to what is there already.
struct Copies<'a> {
    stage: &'a Path,
    puts: BTreeMap<&'a Path, &'a FilePut>,
}

impl<'a> Copies<'a> {
    fn of(host: &Host, spec: &'a TransactionSpec, stage: &'a Path) -> io::Result<Self> {
        match fs::remove_dir_all(stage) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        paths::create_private(stage)?;
        let puts: BTreeMap<&Path, &FilePut> = all_steps(spec)
            .filter_map(|step| match &step.action {
                Action::PutFile(put) => Some((Path::new(put.path.as_str()), put)),
                _ => None,
            })
            .collect();
        for (path, put) in &puts {
            let to = under(stage, path);
            if let Some(folder) = to.parent() {
                paths::create_private(folder)?;
            }
            fs::write(&to, blob::read(&host.root, &put.blob)?)?;
            // Compose and systemd warn of odd modes; the folder above is private.
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600 | put.mode & 0o111))?;
        }
        let copies = Self { stage, puts };
        for folder in copies.puts.keys().filter_map(|path| path.parent()) {
            copies.link_neighbours(folder)?;
        }
        Ok(copies)
    }

    /// A compose file may name other files of its folder that stay as they are.
    fn link_neighbours(&self, folder: &Path) -> io::Result<()> {
        // Only the app's own folders: in systemd's, neighbours would be checked as if they were ours.
        if folder.starts_with("/etc/systemd") || folder.starts_with("/etc/nginx") || !folder.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let from = entry?.path();
            let to = under(self.stage, &from);
            if fs::symlink_metadata(&to).is_err() {
                symlink(&from, &to)?;
            }
        }
        Ok(())
    }

    /// Returns the copy of a file, or the live one where the transaction does not put it.
    fn find(&self, path: &Path) -> PathBuf {
        if self.puts.contains_key(path) { under(self.stage, path) } else { path.to_owned() }
    }

    /// Staged paths put back to the real ones, for people.
    fn real(&self, text: &str) -> String {
        text.replace(&self.stage.display().to_string(), "")
    }
}

fn under(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn compose(copies: &Copies<'_>, step: &Step, project: &str, file: &str) -> Option<StageProblem> {
    let found = copies.find(Path::new(file));
    let folder = found.parent().unwrap_or(Path::new("/"));
    let staged = found.display().to_string();
    let call = Call::new("docker", ["compose", "-p", project, "-f", &staged, "config", "--quiet"]);
    match call.directory(folder).deadline(DEADLINE).keep_tail().output() {
        Ok(output) => {
            let told = copies.real(&output.told());
            // An env file with an absolute path that this same transaction puts is not at its place yet.
            let comes = |path: &&Path| told.contains(&format!("env file {} not found", path.display()));
            if output.code != 0 && !copies.puts.keys().any(comes) {
                return Some(problem(&step.component, format!("docker compose refuses {file}: {told}")));
            }
            // Exit status 0, and a value that has become another one.
            if told.contains("variable is not set") {
                return Some(problem(
                    &step.component,
                    format!("{file} names a variable that nobody sets: {told}; write `$$` for a dollar sign"),
                ));
            }
            None
        }
        Err(ExecError::Missing(_)) => {
            Some(problem(&step.component, "docker is not installed: install it on this host".to_owned()))
        }
        Err(error) => Some(problem(&step.component, error.to_string())),
    }
}

fn units(spec: &TransactionSpec, copies: &Copies<'_>) -> Vec<StageProblem> {
    const KINDS: [&str; 8] = ["service", "socket", "timer", "path", "target", "mount", "slice", "automount"];
    let is_unit = |path: &Path| {
        path.parent() == Some(Path::new("/etc/systemd/system"))
            && path.extension().and_then(|extension| extension.to_str()).is_some_and(|kind| KINDS.contains(&kind))
    };
    let wanted: Vec<&Path> = copies.puts.keys().copied().filter(|path| is_unit(path)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut args = vec!["verify".to_owned(), "--man=no".to_owned(), "--".to_owned()];
    args.extend(wanted.iter().map(|path| under(copies.stage, path).display().to_string()));
    let output = match Call::new("systemd-analyze", args).deadline(DEADLINE).output() {
        Ok(output) => output,
        Err(error) => return vec![problem("", format!("verify units: {error}"))],
    };
    let text = copies.real(&String::from_utf8_lossy(&output.stderr));
    complaints(&text, &wanted, copies)
        .into_iter()
        .map(|line| {
            let component = component_of(spec, &wanted, &line);
            problem(component, format!("systemd refuses a unit: {}", shown_tail(line.as_bytes(), 500)))
        })
        .collect()
}

/// Rules of the packet filter, by the ending of their file's name.
fn packet_filters(spec: &TransactionSpec, copies: &Copies<'_>) -> Vec<StageProblem> {
    let is_rules = |path: &&Path| path.extension().is_some_and(|extension| extension == "nft");
    let mut problems = Vec::new();
    for path in copies.puts.keys().copied().filter(is_rules) {
        let staged = under(copies.stage, path).display().to_string();
        let call = Call::new("nft", ["--check", "--file", &staged]);
        let message = match call.deadline(DEADLINE).keep_tail().output() {
            Ok(output) if output.code == 0 => continue,
            Ok(output) => format!("nft refuses {}: {}", path.display(), copies.real(&output.told())),
            Err(ExecError::Missing(_)) => "nft is not installed: install nftables on this host".to_owned(),
            Err(error) => error.to_string(),
        };
        let owner =
            all_steps(spec).find(|step| matches!(&step.action, Action::PutFile(put) if Path::new(&put.path) == path));
        problems.push(problem(owner.map_or("", |step| step.component.as_str()), message));
    }
    problems
}

/// Exit status 0 does not mean that all is well: an unknown key is only told. So every line about one of our units counts, but those
/// about a program that this same transaction puts in place.
///
/// # Source
/// systemd-analyze(1), `verify`, systemd 252 to 257: `PATH:LINE: TEXT` and `UNIT: TEXT`, an instance `i` for a template.
fn complaints(text: &str, wanted: &[&Path], copies: &Copies<'_>) -> Vec<String> {
    let is_ours = |line: &str| {
        wanted.iter().any(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let instance = name.replacen("@.", "@i.", 1);
            line.starts_with(&format!("{}:", path.display()))
                || line.starts_with(&format!("{name}:"))
                || line.starts_with(&format!("{instance}:"))
        })
    };
    let comes = |line: &str| {
        line.contains("is not executable")
            && copies.puts.keys().any(|path| line.contains(&format!(" {} ", path.display())))
    };
    text.lines().map(str::trim).filter(|line| is_ours(line) && !comes(line)).map(str::to_owned).collect()
}

fn component_of<'s>(spec: &'s TransactionSpec, wanted: &[&Path], line: &str) -> &'s str {
    let path = wanted.iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        line.contains(&name) || line.contains(&name.replacen("@.", "@i.", 1))
    });
    let step = all_steps(spec)
        .find(|step| matches!(&step.action, Action::PutFile(put) if Some(&Path::new(&put.path)) == path));
    step.map_or("", |step| step.component.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::step::testing::{Bench, spec};

    fn put(bench: &Bench, path: &str, content: &str) -> Step {
        Step {
            title: format!("put {path}"),
            component: "web".to_owned(),
            deadline_ms: 1000,
            action: Action::PutFile(FilePut {
                path: path.to_owned(),
                blob: blob::store(&bench.host.root, content.as_bytes()).unwrap(),
                mode: 0o644,
                owner: Bench::user(),
                group: Bench::group(),
            }),
        }
    }

    #[test]
    fn copies_stand_among_their_neighbours_and_are_gone_afterwards() {
        let bench = Bench::new();
        let app = bench.path().join("srv/app");
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("other.env"), "A=1").unwrap();
        fs::write(app.join("compose.yaml"), "old").unwrap();
        let mut spec = spec("t1");
        spec.prepare = vec![put(&bench, &app.join("compose.yaml").display().to_string(), "new")];
        let stage = bench.path().join("stage");
        {
            let copies = Copies::of(&bench.host, &spec, &stage).unwrap();
            let copy = copies.find(&app.join("compose.yaml"));
            assert_eq!(fs::read_to_string(&copy).unwrap(), "new");
            assert_eq!(fs::read_to_string(copy.with_file_name("other.env")).unwrap(), "A=1");
            assert_eq!(copies.find(Path::new("/etc/passwd")), Path::new("/etc/passwd"));
            assert_eq!(
                copies.real(&format!("{}: line 3", copy.display())),
                format!("{}: line 3", app.join("compose.yaml").display())
            );
        }
        assert_eq!(validate(&bench.host, &spec), []);
        assert!(!bench.host.run.join("stage-t1").exists());
        assert_eq!(fs::read_to_string(app.join("compose.yaml")).unwrap(), "old");
    }

    #[test]
    fn cap_27_what_systemd_only_tells_counts() {
        let bench = Bench::new();
        let mut spec = spec("t1");
        spec.prepare = vec![
            put(&bench, "/etc/systemd/system/shop@.service", "[Service]\nExecStart=/opt/shop/bin\n"),
            put(&bench, "/opt/shop/bin", "x"),
        ];
        let stage = bench.path().join("stage");
        let copies = Copies::of(&bench.host, &spec, &stage).unwrap();
        let wanted = [Path::new("/etc/systemd/system/shop@.service")];
        let text = "/etc/systemd/system/shop@.service:3: Unknown key name 'Afer' in section 'Service', ignoring.\n\
            shop@i.service: Command /opt/shop/bin is not executable: No such file or directory\n\
            shop@i.service: Command /opt/shop/missing is not executable: No such file or directory\n\
            /lib/systemd/system/plymouth-start.service:16: Unit uses KillMode=none.\n\
            shop@.serviceable: nothing\n";
        let told = complaints(text, &wanted, &copies);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("'Afer'") && told[1].contains("/opt/shop/missing"));
        assert_eq!(component_of(&spec, &wanted, &told[1]), "web");
    }
}
