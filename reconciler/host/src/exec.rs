//! Runs a program by argv, never through a shell.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The most bytes kept of each output stream of a program.
pub const MAX_OUTPUT: usize = 256 * 1024;

/// The most characters of host output in one error.
pub const MAX_SHOWN: usize = 2000;

/// How often a running program is checked against the wish to stop.
const LOOK: Duration = Duration::from_millis(20);

/// How long output may still come after the program ended: a daemon it left behind may hold the pipe for ever.
const LINGER: Duration = Duration::from_millis(500);

/// A program to run.
///
/// # Guarantees
/// No shell. A clean environment: `PATH`, `LC_ALL=C`, `HOME=/root` and what [`Call::env`] adds, nothing of ours. A process group
/// of its own, which is killed as a whole when the deadline passes or the caller no longer wants it.
#[derive(Debug, Clone)]
pub struct Call {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    directory: PathBuf,
    stdin: Vec<u8>,
    stdin_file: Option<Arc<File>>,
    stdout_file: Option<Arc<File>>,
    deadline: Duration,
    keep_tail: bool,
}

/// What a program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 plus the signal's number when one ended it.
    pub code: i32,
    /// Standard output, capped at [`MAX_OUTPUT`].
    pub stdout: Vec<u8>,
    /// Standard error, capped likewise.
    pub stderr: Vec<u8>,
}

/// Why a program gave no exit code.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It is not installed. Nothing happened.
    #[error("`{0}` is not installed: install it on this host")]
    Missing(String),
    /// It could not be started. Nothing happened.
    #[error("start `{program}`: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It was killed after its deadline. What it did is unknown: probe.
    #[error("`{program}` did not end within {} ms and was killed", deadline.as_millis())]
    Deadline {
        /// What was run.
        program: String,
        /// Its deadline.
        deadline: Duration,
    },
    /// It was killed because the caller no longer wanted it. What it did is unknown: probe.
    #[error("`{0}` was stopped on the way back")]
    Stopped(String),
    /// It exited with an error.
    #[error("`{program}` exited with {code}: {output}")]
    Failed {
        /// What was run.
        program: String,
        /// Its exit code.
        code: i32,
        /// The end of what it wrote, escaped and capped.
        output: String,
    },
}

impl Call {
    /// Returns a call of a program by its full path or its name on the fixed `PATH`, with 30 s to end.
    pub fn new<S: Into<String>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Self {
        Self {
            program: PathBuf::from(program.as_ref()),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            directory: PathBuf::from("/"),
            stdin: Vec::new(),
            stdin_file: None,
            stdout_file: None,
            deadline: Duration::from_secs(30),
            keep_tail: false,
        }
    }

    /// Sets how long it may run.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets what it reads from standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Lets it read standard input from a file, from where the file stands.
    pub fn stdin_file(mut self, file: File) -> Self {
        self.stdin_file = Some(Arc::new(file));
        self
    }

    /// Lets it write standard output to a file; the output has none then.
    pub fn stdout_file(mut self, file: File) -> Self {
        self.stdout_file = Some(Arc::new(file));
        self
    }

    /// Sets its working directory; `/` otherwise.
    pub fn directory(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Adds a variable to its environment. Never a secret: other processes can read it.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps the end of a long output instead of its beginning, as for logs.
    pub fn keep_tail(mut self) -> Self {
        self.keep_tail = true;
        self
    }

    /// Runs it to its end, whatever its exit code is.
    ///
    /// # Errors
    /// Everything but [`ExecError::Failed`].
    pub fn output(&self) -> Result<Output, ExecError> {
        self.output_unless(&|| false)
    }

    /// Runs it to its end and wants exit code 0.
    ///
    /// # Errors
    /// Every variant of [`ExecError`].
    pub fn run(&self) -> Result<Output, ExecError> {
        self.run_unless(&|| false)
    }

    /// Runs it as [`Call::run`] does, and kills it once `stop` says so.
    ///
    /// # Errors
    /// Every variant of [`ExecError`].
    pub fn run_unless(&self, stop: &dyn Fn() -> bool) -> Result<Output, ExecError> {
        let output = self.output_unless(stop)?;
        if output.code == 0 {
            return Ok(output);
        }
        let told = if output.stderr.trim_ascii().is_empty() { &output.stdout } else { &output.stderr };
        Err(ExecError::Failed { program: self.shown(), code: output.code, output: shown_tail(told, MAX_SHOWN) })
    }

    /// Runs it as [`Call::output`] does, and kills it once `stop` says so.
    ///
    /// # Errors
    /// Everything but [`ExecError::Failed`].
    pub fn output_unless(&self, stop: &dyn Fn() -> bool) -> Result<Output, ExecError> {
        let mut child = self.spawn()?;
        let stdout = child.stdout.take().map(|pipe| Capture::of(pipe, self.keep_tail));
        self.wait(child, stdout, stop)
    }

    /// Runs it to its end as [`Call::output`] does, and gives all of its standard output, however much, to `read` as it comes.
    ///
    /// # Errors
    /// Everything but [`ExecError::Failed`].
    pub fn read_by<T: Send + 'static>(
        &self,
        read: impl FnOnce(ChildStdout) -> T + Send + 'static,
    ) -> Result<(Output, T), ExecError> {
        let mut child = self.spawn()?;
        let gone = || ExecError::Start { program: self.shown(), source: io::Error::other("its output cannot be read") };
        let pipe = child.stdout.take().ok_or_else(gone)?;
        let reader = std::thread::spawn(move || read(pipe));
        let output = self.wait(child, None, &|| false)?;
        let read = reader.join().map_err(|_| gone())?;
        Ok((output, read))
    }

    fn wait(&self, mut child: Child, stdout: Option<Capture>, stop: &dyn Fn() -> bool) -> Result<Output, ExecError> {
        let group = Pid::from_child(&child);
        let stderr = child.stderr.take().map(|pipe| Capture::of(pipe, self.keep_tail));
        if let Some(mut pipe) = child.stdin.take() {
            let bytes = self.stdin.clone();
            // A program that does not read its input is no error of ours; its exit code tells.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        let started = Instant::now();
        let ended = wait_in_thread(child);
        let status = loop {
            match ended.recv_timeout(LOOK) {
                Ok(status) => break status,
                Err(RecvTimeoutError::Disconnected) => break Err(io::Error::other("the waiting thread is gone")),
                Err(RecvTimeoutError::Timeout) => {
                    let late = started.elapsed() >= self.deadline;
                    if late || stop() {
                        // The group may be gone in the same moment.
                        let _ = kill_process_group(group, Signal::KILL);
                        let _ = ended.recv_timeout(Duration::from_secs(5));
                        let program = self.shown();
                        return Err(if late {
                            ExecError::Deadline { program, deadline: self.deadline }
                        } else {
                            ExecError::Stopped(program)
                        });
                    }
                }
            }
        };
        let status = status.map_err(|source| ExecError::Start { program: self.shown(), source })?;
        Ok(Output {
            code: code(status),
            stdout: stdout.map(Capture::finish).unwrap_or_default(),
            stderr: stderr.map(Capture::finish).unwrap_or_default(),
        })
    }

    fn spawn(&self) -> Result<Child, ExecError> {
        let file = |file: &Option<Arc<File>>| match file {
            None => Ok(None),
            Some(file) => match file.try_clone() {
                Ok(file) => Ok(Some(Stdio::from(file))),
                Err(source) => Err(ExecError::Start { program: self.program.display().to_string(), source }),
            },
        };
        let bytes = || if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
        let (stdin, stdout) = (file(&self.stdin_file)?, file(&self.stdout_file)?);
        Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", "/root")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .process_group(0)
            .stdin(stdin.unwrap_or_else(bytes))
            .stdout(stdout.unwrap_or_else(Stdio::piped))
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| {
                let program = self.program.display().to_string();
                if source.kind() == io::ErrorKind::NotFound && self.directory.is_dir() {
                    ExecError::Missing(program)
                } else {
                    ExecError::Start { program, source }
                }
            })
    }

    /// The program and its first words, which say what was run; the rest may be long.
    fn shown(&self) -> String {
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let words: Vec<&str> = std::iter::once(name.as_str()).chain(self.args.iter().map(String::as_str)).collect();
        shown(words.join(" ").as_bytes(), 160)
    }
}

impl Output {
    /// Returns standard output as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the end of what it wrote, standard error first, escaped and capped: for errors.
    pub fn told(&self) -> String {
        let told = if self.stderr.trim_ascii().is_empty() { &self.stdout } else { &self.stderr };
        shown_tail(told, MAX_SHOWN)
    }
}

/// Returns host output as one line that can be shown anywhere: control characters escaped, the beginning kept.
pub fn shown(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes.trim_ascii());
    let escaped = escape(&text);
    match escaped.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

/// Returns host output as [`shown`] does, with the end kept: what went wrong is said last.
pub fn shown_tail(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes.trim_ascii());
    let escaped = escape(&text);
    let length = escaped.chars().count();
    if length <= limit { escaped } else { format!("…{}", escaped.chars().skip(length - limit).collect::<String>()) }
}

/// Newlines become ` | `, so that an error stays one line; every other control or direction-changing character is escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str(" | "),
            '\t' => escaped.push(' '),
            '\r' => {}
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.extend(character.escape_unicode());
            }
            other if other.is_control() => escaped.extend(other.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn wait_in_thread(mut child: Child) -> Receiver<io::Result<ExitStatus>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = send.send(child.wait());
    });
    receive
}

/// Reads one stream in a thread, so that a full pipe never blocks the program, and keeps a bounded part.
struct Capture {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static, keep_tail: bool) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (send, ended) = mpsc::channel();
        let into = Arc::clone(&kept);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => {
                        keep(&mut into.lock().unwrap_or_else(PoisonError::into_inner), &buffer[..count], keep_tail);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            let _ = send.send(());
        });
        Self { kept, ended }
    }

    fn finish(self) -> Vec<u8> {
        // A time-out only means that something the program left behind still holds the pipe.
        let _ = self.ended.recv_timeout(LINGER);
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], keep_tail: bool) {
    if keep_tail {
        kept.extend_from_slice(bytes);
        if kept.len() > 2 * MAX_OUTPUT {
            kept.drain(..kept.len() - MAX_OUTPUT);
        }
    } else {
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argv_stdin_and_a_clean_environment() {
        let output = Call::new("cat", ["-"]).stdin("a;b $(c)\n").run().unwrap();
        assert_eq!(output.text(), "a;b $(c)\n");
        let output = Call::new("env", [] as [&str; 0]).env("EXTRA", "1").run().unwrap();
        let mut names: Vec<String> =
            output.text().lines().map(|line| line.split('=').next().unwrap_or_default().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["EXTRA", "HOME", "LC_ALL", "PATH"]);
    }

    #[test]
    fn a_failure_says_what_was_run_and_what_it_told() {
        let error = Call::new("ls", ["/nowhere/at/all"]).run().unwrap_err().to_string();
        assert!(error.starts_with("`ls /nowhere/at/all` exited with 2: "), "{error}");
        assert!(error.contains("No such file"), "{error}");
        assert!(matches!(Call::new("no-such-program", ["x"]).run(), Err(ExecError::Missing(_))));
    }

    #[test]
    fn the_deadline_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        // The grandchild would write the file later if it were left alive; its pid tells.
        std::fs::write(&script, "#!/bin/sh\nsleep 600 & echo $! > pid; wait\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let call = Call::new(&script, [] as [&str; 0]).directory(folder.path()).deadline(Duration::from_millis(300));
        assert!(matches!(call.output(), Err(ExecError::Deadline { .. })));
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < end, "the grandchild lives");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_wish_to_stop_ends_it() {
        let started = Instant::now();
        assert!(matches!(Call::new("sleep", ["600"]).output_unless(&|| true), Err(ExecError::Stopped(_))));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn endless_output_is_capped_and_the_end_kept_when_wanted() {
        let head = Call::new("seq", ["1", "200000"]).run().unwrap();
        assert_eq!(head.stdout.len(), MAX_OUTPUT);
        assert!(head.text().starts_with("1\n2\n"));
        let tail = Call::new("seq", ["1", "200000"]).keep_tail().run().unwrap();
        assert!(tail.stdout.len() <= 2 * MAX_OUTPUT);
        assert!(tail.text().ends_with("200000\n"));
    }

    #[test]
    fn host_output_is_inert_when_shown() {
        assert_eq!(shown(b"\x1b[31mred\x1b[0m\nx\x00\xff", 100), "\\u{1b}[31mred\\u{1b}[0m | x\\u{0}\u{fffd}");
        assert_eq!(shown("\u{202e}evil".as_bytes(), 100), "\\u{202e}evil");
        assert_eq!(shown(b"abcdef", 3), "abc…");
        assert_eq!(shown_tail(b"abcdef", 3), "…def");
    }
}
