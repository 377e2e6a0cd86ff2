//! The program as a stranger meets it at the command line: no hosts, no keys, no terminal.

mod exit_codes;
mod help;
mod outputs;
mod schemas;
mod secrets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A repository and a home of their own.
struct Place {
    folder: tempfile::TempDir,
    repository: PathBuf,
}

/// What came of a run.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    /// An empty one.
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let repository = folder.path().join("ops");
        Self { folder, repository }
    }

    /// One with the example of `holdfast init`, committed.
    fn new() -> Self {
        let place = Self::empty();
        fs::create_dir(&place.repository).expect("a folder");
        assert_eq!(place.run(80, &["init"]).code, 0);
        place.git(&["init", "-q", "-b", "main"]);
        place.commit("start");
        place
    }

    /// Changes a file of the repository.
    fn edit(&self, path: &str, from: &str, to: &str) {
        let path = self.repository.join(path);
        let text = fs::read_to_string(&path).expect("a file of the repository");
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).expect("a file of the repository");
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(&self.repository).args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null());
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "A Developer").env(format!("GIT_{who}_EMAIL"), "dev@example.net");
            git.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
        }
        assert!(git.status().expect("git starts").success(), "git {arguments:?}");
    }

    /// Where the state of this home is.
    fn state(&self) -> PathBuf {
        self.folder.path().join("state/holdfast-manager/state")
    }

    /// Runs the program in the repository, as wide as this, with nothing of our own environment.
    fn run(&self, columns: usize, arguments: &[&str]) -> Ran {
        self.run_with(columns, arguments, &[])
    }

    fn run_with(&self, columns: usize, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(arguments)
            .current_dir(if self.repository.is_dir() { &self.repository } else { self.folder.path() })
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("COLUMNS", columns.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        let here = self.folder.path().canonicalize().expect("the folder is there");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).expect("the program prints UTF-8");
            text.replace(path_text(&here), "/home").replace(path_text(self.folder.path()), "/home")
        };
        Ran { code: output.status.code().expect("it exits"), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

/// Returns a run as it stands in a transcript: what was typed, both outputs, and how it ended.
fn transcript(arguments: &[&str], ran: &Ran) -> String {
    let shown = |label: &str, text: &str| {
        text.lines().map(|line| format!("{label}{line}").trim_end().to_owned() + "\n").collect::<String>()
    };
    format!("$ holdfast {}\n{}{}→ {}\n", arguments.join(" "), shown("", &ran.out), shown("2│ ", &ran.err), ran.code)
}
