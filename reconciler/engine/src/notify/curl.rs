//! Delivery by the system's `curl`: HTTP and SMTP with the system's TLS, certificates and proxies.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_core::config::{NoticeSink, NoticeTarget};
use holdfast_core::notice::Notice;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::letter::{Letter, letter};

/// How long curl may take; it ends by itself after 20 s.
const LONGEST: Duration = Duration::from_secs(30);
/// Most characters of an error that are kept.
const MOST_ERROR: usize = 200;
/// What curl sees of the environment: where programs are, and the way out.
const KEPT: [&str; 8] =
    ["PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Delivers one notice. `scratch` is a folder of ours; `date` is as mails have it.
///
/// # Errors
/// Why it did not arrive: short, and without any secret of the place.
pub async fn send(sink: &NoticeSink, notice: &Notice, scratch: &Path, date: &str) -> Result<(), String> {
    let letter = letter(sink, notice, date)?;
    let sent = tokio::time::timeout(LONGEST, run(sink, &letter, scratch)).await;
    sent.unwrap_or_else(|_| Err(format!("no end within {} s", LONGEST.as_secs())))
        .map_err(|error| masked(&error, &letter))
}

/// Returns an error without secrets, without control characters, and short.
fn masked(error: &str, letter: &Letter) -> String {
    let covered = letter.secrets.iter().fold(error.to_owned(), |text, secret| text.replace(secret.as_str(), "•••"));
    covered.chars().filter(|c| !c.is_control()).take(MOST_ERROR).collect()
}

/// A mail in a file of our own, for as long as it is sent.
struct Written(PathBuf);

impl Written {
    fn new(scratch: &Path, mail: &str) -> std::io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        std::fs::create_dir_all(scratch)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let written = Self(scratch.join(format!("mail.{}.{number}", std::process::id())));
        // What a process of this number left when it was killed.
        let _ = std::fs::remove_file(&written.0);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&written.0)?;
        file.write_all(mail.as_bytes())?;
        Ok(written)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Its name is used again.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn run(sink: &NoticeSink, letter: &Letter, scratch: &Path) -> Result<(), String> {
    let mut command = Command::new("curl");
    // `-q` first: nobody's ~/.curlrc. All else comes through the pipe, where no list of processes shows it.
    command.args(["-q", "--config", "-"]);
    let written = letter.mail.as_deref().map(|mail| Written::new(scratch, mail)).transpose();
    let written = written.map_err(|error| format!("{} cannot be written to: {error}", scratch.display()))?;
    if let Some(written) = &written {
        command.arg("--upload-file").arg(&written.0);
    }
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("curl cannot be started: {error}; install it"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why on its standard error.
        let _ = stdin.write_all(letter.config.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| format!("curl: {error}"))?;
    let code = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let arrived = match &sink.to {
        NoticeTarget::Smtp { .. } => true,
        _ => code.len() == 3 && code.starts_with('2'),
    };
    if output.status.success() && arrived {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => Err(line.trim().to_owned()),
        None => Err(format!("it answered {code}")),
    }
}
