//! Where notices go, in the manager's own configuration.

use super::leaf::{EmailAddress, HostAddress, LocalPath, MailUser, PlainUrl, Scalar, SinkName};
use crate::config::decode::{Must, Port, record, words};
use crate::config::notices::{MailSecurity, NoticeSeverity};
use crate::id::EnvironmentName;

words!(NoticeSeverity, "severity", {
    "info" => NoticeSeverity::Info,
    "warning" => NoticeSeverity::Warning,
    "error" => NoticeSeverity::Error,
    "critical" => NoticeSeverity::Critical,
});
words!(MailSecurity, "kind of mail security", {
    "starttls" => MailSecurity::Starttls,
    "tls" => MailSecurity::Tls,
    "none" => MailSecurity::None,
});

record!(
    /// One place that people are told in what happens: exactly one of `webhook`, `slack`, `telegram` and `smtp`.
    ManagerNotice, "a place for notices", {
    /// Its name, for `status` and `holdfast notices test`.
    name: Must<SinkName>,
    /// Only about these environments. Default: all.
    environments: Option<Vec<EnvironmentName>>,
    /// At least of this severity: `info` (also what went well), `warning` or `error`. Default: `info`.
    severity: Option<NoticeSeverity>,
    /// A POST with JSON to any address.
    webhook: Option<ManagerWebhook>,
    /// An incoming webhook of Slack.
    slack: Option<ManagerSlack>,
    /// A bot of Telegram.
    telegram: Option<ManagerTelegram>,
    /// Mail.
    smtp: Option<ManagerSmtp>,
});

record!(
    /// A POST with JSON to any address.
    ManagerWebhook, "`webhook`", {
    /// The address, without a password in it.
    url: Must<PlainUrl>,
    /// A file, mode 0600, with a token that is sent as `Authorization: Bearer`. Default: none.
    token_file: Option<LocalPath>,
});

record!(
    /// An incoming webhook of Slack.
    ManagerSlack, "`slack`", {
    /// A file, mode 0600, with the webhook's address: whoever knows it can post.
    url_file: Must<LocalPath>,
});

record!(
    /// A bot of Telegram.
    ManagerTelegram, "`telegram`", {
    /// The chat: its number, or `@name` of a channel.
    chat: Must<Scalar>,
    /// A file, mode 0600, with the bot's token.
    token_file: Must<LocalPath>,
    /// Telegram's address, for a Bot API server of your own. Default: `https://api.telegram.org`.
    api: Option<PlainUrl>,
});

record!(
    /// Mail over SMTP.
    ManagerSmtp, "`smtp`", {
    /// The mail server.
    server: Must<HostAddress>,
    /// Its port. Default: 587, or 465 with `security: tls`.
    port: Option<Port>,
    /// `starttls`: TLS or nothing is sent; `tls`: from the first byte; `none`: for a server on this machine. Default: `starttls`.
    security: Option<MailSecurity>,
    /// The sender.
    from: Must<EmailAddress>,
    /// Whom it goes to.
    to: Must<Vec<EmailAddress>>,
    /// A user at the server. Default: none.
    user: Option<MailUser>,
    /// A file, mode 0600, with that user's password.
    password_file: Option<LocalPath>,
});
