//! A team's repository and management box for tests: the example of this project or the quick app, pointed at the lab's hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::lab::Lab;

/// A bare repository, a clone to commit in, keys, and the manager's configuration, in a folder of its own.
pub struct Ops {
    _folder: tempfile::TempDir,
    holdfast: PathBuf,
    /// The bare repository that is pushed to.
    pub bare: PathBuf,
    /// The clone that a person works in.
    pub work: PathBuf,
    /// The manager's configuration.
    pub config: PathBuf,
    /// The app's file in the clone.
    app: &'static str,
    /// What secrets are sealed for.
    recipient: String,
    /// All that the program printed.
    transcript: Mutex<Vec<u8>>,
}

/// Values that must never be seen anywhere but in a 0600 file on a host that needs them.
pub const CANARIES: [(&str, &str); 2] =
    [("database.password", "canary-Db9#x$'Q7f2\"%k"), ("app.secret_key", "canary-K3y$`w0zR8m;{}\\t")];

impl Ops {
    /// Makes the repository with the example in it, committed and pushed, for the hosts of a lab.
    ///
    /// # Panics
    /// When anything of it fails.
    pub fn new(holdfast: &Path, lab: &Lab) -> Self {
        let ops = Self::blank(holdfast, lab);
        ops.take_definitions(&["prod"]);
        let mut inventory = String::from("hosts:\n");
        for (index, host) in lab.hosts.iter().filter(|host| host.name.starts_with("web")).enumerate() {
            let labels = if index == 0 { "{ role: web, database: primary }" } else { "{ role: web }" };
            let (name, address, key) = (&host.name, &host.address, &host.host_key);
            let entry = format!("  {name}:\n    address: {address}\n    host_key: {key}\n    labels: {labels}\n");
            inventory.push_str(&entry);
        }
        ops.write("inventory/hosts.yaml", &inventory);
        let [(_, password), (_, secret)] = CANARIES;
        let plain = serde_json::json!({ "database": { "password": password }, "app": { "secret_key": secret } });
        ops.seal("prod", &plain.to_string());
        ops.commit("the chatbot, v1");
        ops.push();
        ops
    }

    /// Copies the shipped templates and the environments that are named into the clone.
    ///
    /// # Panics
    /// When that fails.
    pub fn take_definitions(&self, environments: &[&str]) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for part in ["holdfast.yaml", "templates"] {
            copy(&shipped.join(part), &self.work.join(part));
        }
        for name in environments {
            let folder = Path::new("environments").join(name);
            copy(&shipped.join(&folder), &self.work.join(&folder));
        }
    }

    /// Makes a repository with a format, an inventory of all hosts (`role: web`), and nothing else; nothing is committed yet.
    ///
    /// # Panics
    /// When anything of it fails.
    pub fn blank(holdfast: &Path, lab: &Lab) -> Self {
        let folder = tempfile::Builder::new().prefix("holdfast-e2e-").tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let (bare, work, config) = (at("ops.git"), at("ops"), at("manager.yaml"));
        let mut ops = Self {
            holdfast: holdfast.to_owned(),
            bare,
            work,
            config,
            app: "environments/prod/chatbot.yaml",
            recipient: String::new(),
            transcript: Mutex::default(),
            _folder: folder,
        };

        let key = ops.work.with_file_name("age.key");
        let recipient = text(&ops.run(&["secrets", "keygen", &key.to_string_lossy()]));
        recipient.trim().clone_into(&mut ops.recipient);
        let manager = format!(
            "repository: {}\nstate_dir: {}\nruntime_dir: {}\nage_key_files: [{}]\nssh: {{ identity: {} }}\nenvironments:\n  prod: {{ branch: main }}\n",
            ops.bare.display(),
            ops.work.with_file_name("state").display(),
            ops.runtime().display(),
            key.display(),
            lab.identity.display(),
        );
        fs::write(&ops.config, manager).expect("manager.yaml");

        Self::git_in(ops.work.parent().expect("a parent"), &["init", "-q", "--bare", "-b", "main", "ops.git"]);
        Self::git_in(ops.work.parent().expect("a parent"), &["init", "-q", "-b", "main", "ops"]);
        ops.write("holdfast.yaml", "format: 1\n");
        let mut inventory = String::from("hosts:\n");
        for host in lab.hosts.iter().filter(|host| host.name != "mgmt") {
            let (name, address, key) = (&host.name, &host.address, &host.host_key);
            let entry =
                format!("  {name}:\n    address: {address}\n    host_key: {key}\n    labels: {{ role: web }}\n");
            inventory.push_str(&entry);
        }
        ops.write("inventory/hosts.yaml", &inventory);
        ops.git(&["remote", "add", "origin", &ops.bare.to_string_lossy()]);
        ops
    }

    /// Returns the age recipient whose key the manager has.
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// Writes a file of the clone.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, text).expect("a file of the clone");
    }

    /// Writes the secrets of an environment, given as plain YAML.
    ///
    /// # Panics
    /// When that fails.
    pub fn seal(&self, environment: &str, plain: &str) {
        let sealed = self.run_with(&["secrets", "encrypt", "--recipient", &self.recipient], plain);
        self.write(&format!("environments/{environment}/secrets.sops.yaml"), &text(&sealed));
    }

    /// Commits all there is and pushes it.
    ///
    /// # Panics
    /// When git fails.
    pub fn ship(&self, message: &str) -> String {
        let commit = self.commit(message);
        self.push();
        commit
    }

    /// Makes the repository with the [quick app](crate::quick) in it, committed and pushed, for the hosts of a lab.
    ///
    /// # Panics
    /// When anything of it fails.
    pub fn quick(holdfast: &Path, lab: &Lab) -> Self {
        let mut ops = Self::blank(holdfast, lab);
        ops.app = crate::quick::APP;
        for (path, content) in crate::quick::FILES {
            ops.write(path, content);
        }
        ops.commit("the quick app, v1");
        ops.push();
        ops
    }

    /// Returns the manager's folder for sockets.
    pub fn runtime(&self) -> PathBuf {
        self.work.with_file_name("run")
    }

    /// Sets the app's release and commits.
    ///
    /// # Panics
    /// When its file cannot be read or written.
    pub fn release(&self, release: &str) {
        let path = self.work.join(self.app);
        let old = fs::read_to_string(&path).expect("the app's file");
        let lines: Vec<String> = old
            .lines()
            .map(|line| if line.starts_with("release:") { format!("release: {release}") } else { line.to_owned() })
            .collect();
        fs::write(&path, lines.join("\n") + "\n").expect("the app's file");
        self.commit(&format!("release {release}"));
    }

    /// Commits all there is and returns the commit.
    ///
    /// # Panics
    /// When git fails.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Pushes and returns all that the push printed: a hook's words come on standard error.
    ///
    /// # Panics
    /// When git fails.
    pub fn push(&self) -> String {
        let output = Self::git_command(&self.work, &["push", "origin", "main"]).output().expect("git starts");
        assert!(output.status.success(), "git push: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs git in the clone and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        Self::git_in(&self.work, arguments)
    }

    fn git_in(folder: &Path, arguments: &[&str]) -> String {
        let output = Self::git_command(folder, arguments).output().expect("git starts");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        text(&output)
    }

    fn git_command(folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .current_dir(folder)
            .args(["-c", "user.name=A Developer", "-c", "user.email=dev@example.net"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    /// Returns a command of the program with this manager's configuration.
    pub fn holdfast(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.holdfast);
        command.args(["--config", &self.config.to_string_lossy()]).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program and returns all that came of it, whatever its exit code.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_any(&self, arguments: &[&str]) -> Output {
        let output = self.holdfast(arguments).output().expect("holdfast starts");
        self.keep(&output);
        eprintln!(
            "$ holdfast {}   ({})\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Runs the program and returns all that came of it.
    ///
    /// # Panics
    /// When it does not exit with 0.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.run_any(arguments);
        assert!(output.status.success(), "holdfast {arguments:?}: {}", output.status);
        output
    }

    /// Adds what a run of the program printed to the transcript.
    pub fn keep(&self, output: &Output) {
        let mut transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
        transcript.extend(&output.stdout);
        transcript.extend(&output.stderr);
    }

    /// Returns all that the program printed so far.
    pub fn transcript(&self) -> Vec<u8> {
        self.transcript.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        use std::io::Write;
        let mut child =
            self.holdfast(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("holdfast starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the program reads");
        let output = child.wait_with_output().expect("the program ends");
        assert!(output.status.success(), "holdfast {arguments:?}: {}", output.status);
        output
    }

    /// Returns whether a plan finds nothing to do.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn plan_is_empty(&self) -> bool {
        let output = self.holdfast(&["plan", "prod", "--detailed-exitcode"]).output().expect("holdfast starts");
        output.status.code() == Some(0)
    }

    /// Asserts that a plan finds nothing to do.
    ///
    /// # Panics
    /// When it finds something.
    pub fn assert_plan_is_empty(&self) {
        let output = self.run_any(&["plan", "prod", "--detailed-exitcode"]);
        assert_eq!(output.status.code(), Some(0), "a second plan after an apply is empty:\n{}", text(&output));
    }
}

/// Returns the program that a manager would send to hosts, which `tests/build-host` puts beside `holdfast`.
pub fn host_program(holdfast: &Path) -> PathBuf {
    holdfast.with_file_name(format!("holdfast-host-{}", std::env::consts::ARCH))
}

/// Returns standard output as text.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("a copy");
    }
}

/// Returns a value as a YAML scalar in double quotes, with everything odd escaped (YAML 1.2, §5.7).
pub fn yaml(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => out.extend(["\\U".to_owned(), format!("{:08X}", u32::from(c))]),
        }
    }
    out + "\""
}
