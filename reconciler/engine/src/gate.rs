//! Declared checks that have to be green for a commit before it is applied.
//!
//! They are the manager's own: who decides whether a commit is good stands outside the repository.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_core::config::{GateCheck, GateSource};
use holdfast_core::id::{CommitId, EnvironmentName};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Most bytes of a status file that are read.
const MOST_STATUS: u64 = 64 * 1024;
/// Most bytes of a command's output that are kept of each stream: its end.
const MOST_OUTPUT: usize = 16 * 1024;
/// Most characters of it that are shown.
const MOST_SHOWN: usize = 400;
/// Where a command finds programs: nothing of the manager's own environment reaches it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Returns why each check that is not green is not, in the order they are declared; empty when all are.
///
/// # Guarantees
/// A check that cannot be looked at is not green. No shell; a command has a clean environment, its deadline, and ends with it.
pub async fn not_green(checks: &[GateCheck], environment: &EnvironmentName, commit: &CommitId) -> Vec<String> {
    let mut reasons = Vec::new();
    for check in checks {
        let said = match &check.source {
            GateSource::File { path } => status(Path::new(&filled(path, environment, commit)), commit).await,
            GateSource::Command { argv, timeout } => {
                let argv: Vec<String> = argv.iter().map(|word| filled(word, environment, commit)).collect();
                let ran = run(&argv, environment, commit);
                let limit = Duration::from_millis(timeout.0);
                tokio::time::timeout(limit, ran)
                    .await
                    .unwrap_or_else(|_| Err(format!("it did not end within {timeout}")))
            }
        };
        if let Err(why) = said {
            reasons.push(format!("check-not-green: check `{}` is not green for {}: {why}", check.name, commit.short()));
        }
    }
    reasons
}

/// Puts the commit and the environment where a path or an argument names them.
fn filled(text: &str, environment: &EnvironmentName, commit: &CommitId) -> String {
    text.replace("{commit}", commit.as_str()).replace("{environment}", environment.as_str())
}

/// What CI writes: `{ "state": "success" }`, and the commit where it says one.
async fn status(path: &Path, commit: &CommitId) -> Result<(), String> {
    let shown = path.display();
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(format!("{shown} is not there yet")),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    let mut bytes = Vec::new();
    file.take(MOST_STATUS).read_to_end(&mut bytes).await.map_err(|error| format!("{shown}: {error}"))?;
    judge(&bytes, commit).map_err(|why| format!("{shown}: {why}"))
}

fn judge(bytes: &[u8], commit: &CommitId) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| format!("no JSON: {error}"))?;
    if let Some(other) = value.get("commit").and_then(serde_json::Value::as_str)
        && other != commit.as_str()
    {
        return Err(format!("it is about commit {}", clean(other)));
    }
    match value.get("state").and_then(serde_json::Value::as_str) {
        Some("success") => Ok(()),
        Some(state) => Err(format!("its `state` is `{}`, not `success`", clean(state))),
        None => Err("it has no `state`".to_owned()),
    }
}

async fn run(argv: &[String], environment: &EnvironmentName, commit: &CommitId) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("it has no command".to_owned()) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env_clear();
    command.env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    command.env("HOLDFAST_COMMIT", commit.as_str()).env("HOLDFAST_ENVIRONMENT", environment.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it started ends with it.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let group = Group(child.id());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, ended) = tokio::join!(tail(out), tail(err), child.wait());
    drop(group);
    let ended = ended.map_err(|error| format!("{program}: {error}"))?;
    if ended.success() {
        return Ok(());
    }
    let said = if err.iter().all(u8::is_ascii_whitespace) { out } else { err };
    let text = String::from_utf8_lossy(&said).into_owned();
    let last = shown_end(&text);
    let how = ended.code().map_or_else(|| "a signal ended it".to_owned(), |code| format!("it exited with {code}"));
    Err(if last.is_empty() { how } else { format!("{how}: {last}") })
}

/// Ends a process group when it goes.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // That nothing of it is left is as good.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the last of it.
async fn tail(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut from) = from else { return Vec::new() };
    let (mut kept, mut piece) = (Vec::new(), vec![0; 8192]);
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        if kept.len() > 2 * MOST_OUTPUT {
            kept.drain(..kept.len() - MOST_OUTPUT);
        }
    }
    kept
}

/// The end of what a program said, on one line, without anything a terminal obeys.
fn shown_end(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = clean(&words.join(" "));
    let skip = line.chars().count().saturating_sub(MOST_SHOWN);
    line.chars().skip(skip).collect()
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use holdfast_core::time::Millis;

    use super::*;

    fn commit() -> CommitId {
        "a".repeat(40).parse().unwrap()
    }

    fn check(source: GateSource) -> Vec<GateCheck> {
        vec![GateCheck { name: "ci".to_owned(), source }]
    }

    fn command(argv: &[&str], timeout: u64) -> Vec<GateCheck> {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        check(GateSource::Command { argv, timeout: Millis(timeout) })
    }

    async fn ask(checks: &[GateCheck]) -> String {
        not_green(checks, &"prod".parse().unwrap(), &commit()).await.join("\n")
    }

    #[tokio::test]
    async fn cap_12_a_status_file_is_green_only_when_it_says_so_of_this_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{}.json", commit()));
        let checks = check(GateSource::File { path: folder.path().join("{commit}.json").display().to_string() });
        assert!(ask(&checks).await.contains("is not there yet"));
        let cases = [
            (r#"{"state":"success"}"#.to_owned(), ""),
            (format!(r#"{{"state":"success","commit":"{}"}}"#, commit()), ""),
            (format!(r#"{{"state":"success","commit":"{}"}}"#, "b".repeat(40)), "it is about commit bbb"),
            (r#"{"state":"pending\u001b[31m"}"#.to_owned(), "its `state` is `pending[31m`, not `success`"),
            (r#"{"status":"success"}"#.to_owned(), "it has no `state`"),
            ("success".to_owned(), "no JSON"),
        ];
        for (text, wanted) in cases {
            std::fs::write(&path, &text).unwrap();
            let said = ask(&checks).await;
            assert!(if wanted.is_empty() { said.is_empty() } else { said.contains(wanted) }, "{text}: {said}");
        }
    }

    #[tokio::test]
    async fn cap_12_a_command_decides_by_its_exit_status_in_a_clean_environment() {
        assert_eq!(ask(&command(&["/bin/true"], 20_000)).await, "");
        let said = ask(&command(&["/usr/bin/env"], 20_000)).await;
        assert_eq!(said, "");
        let script = "env; echo \"$1\" >&2; exit 7";
        let said = ask(&command(&["/bin/sh", "-c", script, "x", "unit {commit}"], 20_000)).await;
        assert_eq!(
            said,
            format!(
                "check-not-green: check `ci` is not green for {}: it exited with 7: unit {}",
                commit().short(),
                commit()
            )
        );
        let script = "env >&2; exit 1";
        let said = ask(&command(&["/bin/sh", "-c", script], 20_000)).await;
        assert!(said.contains("HOLDFAST_ENVIRONMENT=prod") && !said.contains("HOME="), "{said}");
        assert!(ask(&command(&["/no/such/program"], 20_000)).await.contains("cannot be started"));
    }

    #[tokio::test]
    async fn cap_12_a_command_that_does_not_end_is_ended_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = "sleep 600 & echo $! > \"$0\"; wait";
        let began = std::time::Instant::now();
        let said = ask(&command(&["/bin/sh", "-c", script, &pid.display().to_string()], 1_000)).await;
        assert!(said.contains("did not end within 1s"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(&pid).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !gone() && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(gone(), "what it started is gone");
    }

    #[tokio::test]
    async fn cap_12_endless_output_is_cut() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3";
        let said = ask(&command(&["/bin/sh", "-c", script], 60_000)).await;
        assert!(said.ends_with("line 19999") && said.len() < 700, "{said}");
    }
}
