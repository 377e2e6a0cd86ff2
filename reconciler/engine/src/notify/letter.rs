//! One notice for one place, as a request of curl.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holdfast_core::config::{MailSecurity, NoticeSink, NoticeTarget};
use holdfast_core::notice::{Notice, mail, slack_body, telegram_body, webhook_body};
use zeroize::Zeroizing;

/// Largest secret file in bytes.
const MOST_SECRET: u64 = 4096;

/// A request of curl.
pub(super) struct Letter {
    /// Its configuration, with secrets in it: it goes through a pipe, never into a file or an argument.
    pub(super) config: Zeroizing<String>,
    /// A mail, which holds no secret.
    pub(super) mail: Option<String>,
    /// What must not be seen in any text about it.
    pub(super) secrets: Vec<Zeroizing<String>>,
}

/// Returns text as a value of curl's configuration.
///
/// # Source
/// `curl(1)`, `--config`: in double quotes, with `\\`, `\"`, `\t`, `\n`, `\r` and `\v`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().filter(|c| *c != '\0') {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Returns the first line of a file that only its owner can read.
fn secret(path: &Path) -> Result<Zeroizing<String>, String> {
    use std::io::Read;
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.mode();
    if mode & 0o077 != 0 {
        return Err(format!("{} can be read by others (mode {:04o}): `chmod 0600` it", path.display(), mode & 0o7777));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MOST_SECRET).read_to_string(&mut text).map_err(cannot)?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err(format!("{} holds no secret in its first line", path.display()));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Returns the request that delivers a notice. `date` is as mails have it (RFC 5322 §3.3).
pub(super) fn letter(sink: &NoticeSink, notice: &Notice, date: &str) -> Result<Letter, String> {
    let mut lines = vec![Zeroizing::new("silent\nshow-error\nproto = \"=http,https,smtp,smtps\"".to_owned())];
    let mut secrets = Vec::new();
    let mut add = |key: &str, value: &str| lines.push(Zeroizing::new(format!("{key} = {}", quoted(value))));
    for (key, value) in
        [("connect-timeout", "10"), ("max-time", "20"), ("output", "/dev/null"), ("write-out", "%{response_code}")]
    {
        add(key, value);
    }
    let mut post = None;
    let mut written = None;
    match &sink.to {
        NoticeTarget::Webhook { url, token_file } => {
            add("url", url);
            if let Some(file) = token_file {
                let token = secret(Path::new(file))?;
                add("header", &format!("Authorization: Bearer {}", *token));
                secrets.push(token);
            }
            add("header", &format!("Idempotency-Key: {}", notice.id));
            post = Some(webhook_body(notice));
        }
        NoticeTarget::Slack { url_file } => {
            let url = secret(Path::new(url_file))?;
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err(format!("{url_file} holds no URL"));
            }
            add("url", &url);
            secrets.push(url);
            post = Some(slack_body(notice));
        }
        NoticeTarget::Telegram { chat, token_file, api } => {
            let token = secret(Path::new(token_file))?;
            if !token.chars().all(|c| c.is_ascii_alphanumeric() || ":_-".contains(c)) {
                return Err(format!("{token_file} holds no token of a bot"));
            }
            add("url", &format!("{}/bot{}/sendMessage", api.trim_end_matches('/'), *token));
            secrets.push(token);
            post = Some(telegram_body(notice, chat));
        }
        NoticeTarget::Smtp { server, port, security, from, to, login } => {
            let scheme = if *security == MailSecurity::Tls { "smtps" } else { "smtp" };
            add("url", &format!("{scheme}://{server}:{port}"));
            if *security == MailSecurity::Starttls {
                add("ssl-reqd", "");
            }
            add("mail-from", &format!("<{from}>"));
            for address in to {
                add("mail-rcpt", &format!("<{address}>"));
            }
            if let Some((user, file)) = login {
                let password = secret(Path::new(file))?;
                add("user", &format!("{user}:{}", *password));
                secrets.push(password);
            }
            written = Some(mail(notice, from, to, date));
        }
    }
    if let Some(body) = post {
        add("header", "Content-Type: application/json");
        add("header", "Expect:");
        // `data-raw` gives `@` no meaning.
        add("data-raw", &body.to_string());
    }
    let mut config = Zeroizing::new(String::new());
    for line in &lines {
        // A switch takes no value.
        config.push_str(line.strip_suffix(" = \"\"").unwrap_or(line));
        config.push('\n');
    }
    Ok(Letter { config, mail: written, secrets })
}
