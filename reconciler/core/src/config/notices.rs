//! Where people are told what happens: from the manager's own configuration.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::decode::Port;
use super::findings::Findings;
use super::place::At;
use super::raw;
use crate::id::EnvironmentName;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeSeverity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Something failed.
    Error,
    /// Something failed that does not mend itself, and that people notice: somebody has to act.
    Critical,
}

/// A place where notices go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeSink {
    /// Its name, unlike that of others.
    pub name: String,
    /// About these environments; empty for all.
    pub environments: BTreeSet<EnvironmentName>,
    /// At least of this severity.
    pub severity: NoticeSeverity,
    /// How they get there.
    pub to: NoticeTarget,
}

/// How notices get to a place. Secrets are in files, of which only the path is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeTarget {
    /// JSON to any address.
    Webhook {
        /// The address.
        url: String,
        /// A file with a bearer token.
        token_file: Option<String>,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// A file with its address, which is a secret.
        url_file: String,
    },
    /// A bot of Telegram.
    Telegram {
        /// The chat's number or name.
        chat: String,
        /// A file with the bot's token.
        token_file: String,
        /// Telegram's address.
        api: String,
    },
    /// Mail.
    Smtp {
        /// The server.
        server: String,
        /// Its port.
        port: u16,
        /// How the connection is kept secret.
        security: MailSecurity,
        /// The sender.
        from: String,
        /// Whom it goes to.
        to: Vec<String>,
        /// A user, and a file with the password.
        login: Option<(String, String)>,
    },
}

/// How a connection to a mail server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS after `STARTTLS`, or nothing is sent.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

/// Returns the places that are as they should be; the others are found.
pub(super) fn notices(raw: Option<Vec<At<raw::ManagerNotice>>>, findings: &mut Findings<'_>) -> Vec<NoticeSink> {
    let mut sinks: Vec<NoticeSink> = Vec::new();
    for entry in raw.into_iter().flatten() {
        let Some(name) = entry.value.name.0.clone() else { continue };
        if sinks.iter().any(|sink| sink.name == name.0) {
            let message = format!("two places for notices are named `{}`", name.0);
            findings.error_at("repeated-notice", &entry, message, "give each a name of its own");
        }
        if entry.value.wrong.any(&["webhook", "slack", "telegram", "smtp"]) {
            continue;
        }
        let raw = &entry.value;
        let mut targets = Vec::new();
        targets.extend(raw.webhook.as_ref().and_then(|to| {
            let token_file = to.token_file.as_ref().map(|path| path.0.clone());
            Some(NoticeTarget::Webhook { url: to.url.0.as_ref()?.0.clone(), token_file })
        }));
        targets.extend(
            raw.slack.as_ref().and_then(|to| Some(NoticeTarget::Slack { url_file: to.url_file.0.as_ref()?.0.clone() })),
        );
        targets.extend(raw.telegram.as_ref().and_then(|to| {
            let api = to.api.as_ref().map_or("https://api.telegram.org", |api| api.0.as_str()).to_owned();
            let (chat, token_file) = (to.chat.0.as_ref()?.0.clone(), to.token_file.0.as_ref()?.0.clone());
            Some(NoticeTarget::Telegram { chat, token_file, api })
        }));
        targets.extend(raw.smtp.as_ref().and_then(|to| smtp(to, &entry, findings)));
        let written = [raw.webhook.is_some(), raw.slack.is_some(), raw.telegram.is_some(), raw.smtp.is_some()];
        if written.iter().filter(|is| **is).count() != 1 {
            let message = format!("`{}` goes to exactly one of `webhook`, `slack`, `telegram` and `smtp`", name.0);
            findings.error_at("bad-notice", &entry, message, "write one of them; a second place is a second entry");
            continue;
        }
        let environments = raw.environments.iter().flatten().cloned().collect();
        let severity = raw.severity.unwrap_or(NoticeSeverity::Info);
        sinks.extend(targets.pop().map(|to| NoticeSink { name: name.0, environments, severity, to }));
    }
    sinks
}

fn smtp(to: &raw::ManagerSmtp, entry: &At<raw::ManagerNotice>, findings: &mut Findings<'_>) -> Option<NoticeTarget> {
    let security = to.security.unwrap_or(MailSecurity::Starttls);
    let server = to.server.0.as_ref()?.0.clone();
    let login = match (&to.user, &to.password_file) {
        (None, None) => None,
        (Some(user), Some(file)) => Some((user.0.clone(), file.0.clone())),
        _ => {
            let message = "`user` and `password_file` belong together";
            findings.error_at("bad-notice", entry, message, "write both, or none");
            return None;
        }
    };
    if security == MailSecurity::None && login.is_some() {
        let message = "a password would be sent in the clear";
        findings.error_at("bad-notice", entry, message, "write `security: starttls` or `security: tls`");
        return None;
    }
    let port = to.port.map_or(if security == MailSecurity::Tls { 465 } else { 587 }, Port::number);
    let from = to.from.0.as_ref()?.0.clone();
    let recipients: Vec<String> = to.to.0.as_ref()?.iter().map(|address| address.0.clone()).collect();
    if recipients.is_empty() {
        findings.error_at("bad-notice", entry, "`to` is empty", "name at least one address");
        return None;
    }
    Some(NoticeTarget::Smtp { server, port, security, from, to: recipients, login })
}
