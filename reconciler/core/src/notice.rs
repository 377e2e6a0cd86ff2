//! What people are told, whom it concerns, how it reads in each place, and when it is tried again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{NoticeSeverity as Severity, NoticeSink};
use crate::event::SyncResult;
use crate::id::{AppName, DigestWriter, EnvironmentName, HostName, short_seal};
use crate::report::{HostReport, Report};
use crate::time::Timestamp;

/// Most characters of a notice's text: Telegram takes 4096, and nobody reads more in a chat.
const MOST_TEXT: usize = 1_500;
/// Most characters of its title.
const MOST_TITLE: usize = 150;
/// The first wait after a failed delivery.
const FIRST_WAIT_MS: u64 = 5_000;
/// The longest wait.
const LONGEST_WAIT_MS: u64 = 600_000;
/// How often a delivery is tried: with these waits, for about an hour and a half.
pub const MOST_TRIES: u32 = 16;

/// One thing that people are told. The serialised form is what a webhook gets, and only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Names the happening: one that is told twice has the same.
    pub id: String,
    /// What it is about: `synced`, `rolled_back`, `failed`, `held`, `unserved`, `blocked`, `awaits_approval`, `drift`, `unreachable`, `git`,
    /// `backup`, `certificate`, `test`.
    pub kind: String,
    /// Where; `None` when it concerns all.
    pub environment: Option<EnvironmentName>,
    /// How much it matters.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// More; may be empty.
    pub text: String,
    /// When it happened, in milliseconds since 1970.
    pub at: Timestamp,
}

/// Something that holds until it ends, and is told once for as long as it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What may hold: one of a kind in each environment, and on each host.
    pub key: String,
    /// What holds.
    pub subject: String,
    /// What is told about it.
    pub notice: Notice,
}

/// What a sync's end means for those who are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Told in any case.
    pub notices: Vec<Notice>,
    /// Holds from now on.
    pub holds: Vec<Condition>,
    /// Keys, or beginnings of them that end in `/`, under which nothing else holds any more.
    pub over: Vec<String>,
}

/// Returns whether a notice is to go to a place. What concerns all environments concerns each.
pub fn wants(sink: &NoticeSink, notice: &Notice) -> bool {
    let here = |name| sink.environments.is_empty() || sink.environments.contains(name);
    notice.severity >= sink.severity && notice.environment.as_ref().is_none_or(here)
}

fn notice(
    kind: &str,
    (environment, at): (&EnvironmentName, Timestamp),
    severity: Severity,
    title: &str,
    text: &str,
) -> Notice {
    Notice {
        id: String::new(),
        kind: kind.to_owned(),
        environment: Some(environment.clone()),
        severity,
        title: capped(title, MOST_TITLE),
        text: capped(text, MOST_TEXT),
        at,
    }
}

/// Returns text without control characters but line ends, of at most so many characters.
fn capped(text: &str, most: usize) -> String {
    let clean = text.chars().filter(|c| *c == '\n' || !c.is_control());
    let mut short: String = clean.clone().take(most).collect();
    if clean.count() > most {
        short.push('…');
    }
    short
}

/// Returns what is told at the end of a sync; `number` is the sync's in the history, `reason` its line there.
pub fn of_sync(number: i64, report: &Report, reason: &str) -> Told {
    let (Some(environment), Some(commit), Some(result)) = (&report.environment, &report.commit, report.result) else {
        return Told::default();
    };
    let here = (environment, report.ended_at);
    let (short, mut told) = (commit.short(), Told::default());
    let (kind, severity, word) = match result {
        SyncResult::Synced => ("synced", Severity::Info, "is at"),
        SyncResult::NoChange => ("synced", Severity::Info, "is as git says at"),
        SyncResult::RolledBack => ("rolled_back", Severity::Error, "went back: it could not go to"),
        SyncResult::Blocked => ("blocked", Severity::Warning, "is blocked on the way to"),
        SyncResult::Failed if any_host(report, |host| host.unserved) => {
            ("unserved", Severity::Critical, "serves nobody: it could neither go to nor back from")
        }
        SyncResult::Failed if any_host(report, |host| host.held) => {
            ("held", Severity::Critical, "is held, failing, at")
        }
        SyncResult::Failed => ("failed", Severity::Error, "failed on the way to"),
        SyncResult::AwaitsApproval => ("awaits_approval", Severity::Warning, "waits for approval of"),
    };
    let title = format!("{environment} {word} commit {short}");
    let [failing, approval, drift] = ["sync", "approval", "drift"].map(|what| format!("{environment}/{what}"));
    match result {
        SyncResult::Synced => {
            let text = format!("{reason}\n({}, sync {number})", report.cause);
            told.notices.push(Notice { id: format!("sync/{number}"), ..notice(kind, here, severity, &title, &text) });
            told.over.extend([failing, approval, drift]);
        }
        SyncResult::NoChange => told.over.extend([failing, approval, drift]),
        SyncResult::AwaitsApproval => {
            let seal = short_seal(&report.seal);
            let who = report.awaits.as_ref().map(|awaits| awaits.approvers.join(", ")).unwrap_or_default();
            let text = format!(
                "Look at it: holdfast plan {environment}\nApprove it: holdfast approve {environment} {seal}\nMay approve: {who}"
            );
            let notice = notice(kind, here, severity, &title, &text);
            told.holds.push(Condition { key: approval, subject: report.seal.clone(), notice });
        }
        SyncResult::RolledBack | SyncResult::Blocked | SyncResult::Failed => {
            let text = format!("{reason}\nholdfast history {environment} --sync {number}");
            let notice = notice(kind, here, severity, &title, &text);
            told.holds.push(Condition { key: failing, subject: format!("{commit} {kind}"), notice });
        }
    }
    // Whoever was not heard while hosts were observed; later trouble is a part of the sync's own end.
    let away: BTreeSet<(&HostName, &str)> =
        report.troubles.iter().filter(|one| one.app.is_none()).map(|one| (&one.host, one.error.as_str())).collect();
    for (host, error) in away {
        let title = format!("{host} of {environment} cannot be reached");
        let notice = notice("unreachable", here, Severity::Warning, &title, error);
        told.holds.push(Condition { key: format!("{environment}/host/{host}"), subject: String::new(), notice });
    }
    told.over.push(format!("{environment}/host/"));
    told
}

fn any_host(report: &Report, is: impl Fn(&HostReport) -> bool) -> bool {
    report.apps.values().flat_map(|app| app.hosts.values()).any(is)
}

/// Returns what is told about hosts that are no longer as they were left; nothing when they are again.
pub fn of_drift(environment: &EnvironmentName, commit: &str, changes: u32, at: Timestamp) -> Told {
    let key = format!("{environment}/drift");
    if changes == 0 {
        return Told { over: vec![key], ..Told::default() };
    }
    let title = format!("hosts of {environment} are not as they were left");
    let text = format!("{changes} changes would bring them back.\nholdfast plan {environment}");
    let notice = notice("drift", (environment, at), Severity::Warning, &title, &text);
    Told { holds: vec![Condition { key, subject: commit.to_owned(), notice }], ..Told::default() }
}

/// Returns what is told about a repository, or a commit of it, that cannot be used; nothing when it can again.
pub fn of_git(environment: &EnvironmentName, problem: Option<(&str, &str)>, at: Timestamp) -> Told {
    let key = format!("{environment}/git");
    let Some((subject, reason)) = problem else { return Told { over: vec![key], ..Told::default() } };
    let title = format!("{environment}: what git holds cannot be used");
    let notice = notice("git", (environment, at), Severity::Error, &title, reason);
    Told { holds: vec![Condition { key, subject: subject.to_owned(), notice }], ..Told::default() }
}

/// How a class of backups on one host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupNews {
    /// The host.
    pub host: HostName,
    /// The app.
    pub app: AppName,
    /// The class.
    pub class: String,
    /// Whether it, or its copy on another host, is older than was promised.
    pub late: bool,
    /// What is wrong; empty when nothing is.
    pub problem: String,
}

/// Returns what is told about backups: once for as long as one is in trouble, once more when it gets too old, and again when that
/// comes back after it was well. A host that said nothing is not among them, and what was told of it holds.
pub fn of_backups(environment: &EnvironmentName, news: &[BackupNews], at: Timestamp) -> Told {
    let mut told = Told::default();
    for BackupNews { host, app, class, late, problem } in news {
        let key = format!("{environment}/backup/{host}/{app}/{class}");
        if problem.is_empty() {
            told.over.push(key);
            continue;
        }
        let (subject, severity, word) = match late {
            true => ("late", Severity::Error, "is older than was promised"),
            false => ("trouble", Severity::Warning, "is in trouble"),
        };
        let title = format!("the backup `{class}` of {app} in {environment} {word}");
        let text = format!("{host}: {problem}\nholdfast status {environment}");
        let notice = notice("backup", (environment, at), severity, &title, &text);
        told.holds.push(Condition { key, subject: subject.to_owned(), notice });
    }
    told
}

/// How a certificate on one host stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNews {
    /// The host.
    pub host: HostName,
    /// The app.
    pub app: AppName,
    /// Its name.
    pub name: String,
    /// Whether it is over, or there is none: visitors are turned away.
    pub over: bool,
    /// What is wrong; empty when nothing is.
    pub problem: String,
}

/// Returns what is told about certificates: once for as long as one is in trouble, and once more when it is over. A host that said
/// nothing is not among them, and what was told of it holds.
pub fn of_certificates(environment: &EnvironmentName, news: &[CertificateNews], at: Timestamp) -> Told {
    let mut told = Told::default();
    for CertificateNews { host, app, name, over, problem } in news {
        let key = format!("{environment}/certificate/{host}/{app}/{name}");
        if problem.is_empty() {
            told.over.push(key);
            continue;
        }
        let (subject, severity, word) = match over {
            true => ("over", Severity::Critical, "serves nobody"),
            false => ("trouble", Severity::Warning, "is in trouble"),
        };
        let title = format!("the certificate `{name}` of {app} in {environment} {word}");
        let text = format!("{host}: {problem}\nholdfast status {environment}");
        let notice = notice("certificate", (environment, at), severity, &title, &text);
        told.holds.push(Condition { key, subject: subject.to_owned(), notice });
    }
    told
}

/// Returns a notice that says only that notices arrive.
pub fn trial(name: &str, at: Timestamp) -> Notice {
    Notice {
        id: format!("test/{}", at.0),
        kind: "test".to_owned(),
        environment: None,
        severity: Severity::Info,
        title: format!("Holdfast: notices to {name} arrive"),
        text: "Sent by `holdfast notices test`.".to_owned(),
        at,
    }
}

/// Returns when a delivery that failed so many times is tried again; `None` when it is given up.
///
/// Doubled each time, between half and all of that by a chance that depends on the notice and the place.
pub fn try_again(id: &str, sink: &str, failures: u32, now: Timestamp) -> Option<Timestamp> {
    if failures >= MOST_TRIES {
        return None;
    }
    let full = FIRST_WAIT_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST_WAIT_MS);
    let chance = DigestWriter::new().field(id).field(sink).field(failures.to_le_bytes()).finish();
    let chance = u64::from_le_bytes(chance.0[..8].try_into().expect("BUG: a digest has eight bytes"));
    Some(now.plus_ms(full / 2 + chance % (full / 2 + 1)))
}

/// Returns a notice as plain text for a chat.
pub fn chat_text(notice: &Notice) -> String {
    let mark = match notice.severity {
        Severity::Info => "",
        Severity::Warning => "WARNING: ",
        Severity::Error => "ERROR: ",
        Severity::Critical => "CRITICAL: ",
    };
    format!("{mark}{}\n{}", notice.title, notice.text).trim_end().to_owned()
}

/// Returns a notice as a webhook gets it.
pub fn webhook_body(notice: &Notice) -> Value {
    json!({
        "format_version": 1, "id": notice.id, "kind": notice.kind, "environment": notice.environment,
        "severity": notice.severity, "title": notice.title, "text": notice.text, "at": notice.at,
    })
}

/// Returns a notice as Slack's incoming webhooks take it.
///
/// # Source
/// Slack, "Formatting text for app surfaces": `&`, `<` and `>` are written as entities, so that no text becomes a link or a mention.
pub fn slack_body(notice: &Notice) -> Value {
    let text = chat_text(notice).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": text, "unfurl_links": false })
}

/// Returns a notice as Telegram's `sendMessage` takes it: without `parse_mode`, so that no text is markup.
pub fn telegram_body(notice: &Notice, chat: &str) -> Value {
    json!({ "chat_id": chat, "text": chat_text(notice), "disable_web_page_preview": true })
}

/// Returns a notice as a mail.
///
/// # Source
/// RFC 5322; header text that is not ASCII as RFC 2047 encoded words; the body in base64 (RFC 2045), so that no line of it is a
/// command of SMTP. The `Message-ID` is made of the notice's id: a mail that comes twice can be told by it.
pub fn mail(notice: &Notice, from: &str, to: &[String], date: &str) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let word = |text: &str| {
        // An encoded word has 75 characters at the most; 42 bytes become 56.
        let mut words = vec![String::new()];
        for c in text.chars().filter(|c| !c.is_control()) {
            if words.last().is_some_and(|word| word.len() + c.len_utf8() > 42) {
                words.push(String::new());
            }
            words.last_mut().expect("BUG: there is one").push(c);
        }
        words.iter().map(|word| format!("=?utf-8?B?{}?=", base64.encode(word))).collect::<Vec<_>>().join("\r\n ")
    };
    let id = DigestWriter::new().field(&notice.id).field(from).finish().short();
    let domain = from.rsplit('@').next().unwrap_or("localhost");
    let body = base64.encode(format!("{}\n", chat_text(notice)));
    let lines: Vec<String> =
        body.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!(
        "From: Holdfast <{from}>\r\nTo: {}\r\nSubject: {}\r\nDate: {date}\r\nMessage-ID: <{id}@{domain}>\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        to.join(", "),
        word(&notice.title),
        lines.join("\r\n"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::NoticeTarget;
    use crate::report::{Awaits, Trouble};

    fn report(result: SyncResult) -> Report {
        Report {
            environment: Some("prod".parse().unwrap()),
            commit: Some("a".repeat(40).parse().unwrap()),
            result: Some(result),
            seal: "7".repeat(64),
            ended_at: Timestamp(9),
            ..Report::new()
        }
    }

    #[test]
    fn cap_79_each_end_of_a_sync_is_told_as_what_it_is() {
        for (result, kind, severity) in [
            (SyncResult::RolledBack, "rolled_back", Severity::Error),
            (SyncResult::Failed, "failed", Severity::Error),
            (SyncResult::Blocked, "blocked", Severity::Warning),
            (SyncResult::AwaitsApproval, "awaits_approval", Severity::Warning),
        ] {
            let told = of_sync(4, &report(result), "shop v2");
            let [one] = &told.holds[..] else { panic!("{told:?}") };
            assert_eq!((one.notice.kind.as_str(), one.notice.severity), (kind, severity));
            assert!(told.notices.is_empty());
        }
        let told = of_sync(4, &report(SyncResult::Synced), "shop v2");
        assert_eq!((told.notices[0].id.as_str(), told.notices[0].severity), ("sync/4", Severity::Info));
        assert_eq!(told.over, ["prod/sync", "prod/approval", "prod/drift", "prod/host/"]);
        assert!(of_sync(5, &report(SyncResult::NoChange), "").notices.is_empty(), "nothing happened");

        let mut waits = report(SyncResult::AwaitsApproval);
        waits.awaits = Some(Awaits { given: Vec::new(), required: 1, approvers: vec!["ada".to_owned()] });
        waits.troubles.push(Trouble {
            at: Timestamp(1),
            host: "web1".parse().unwrap(),
            app: None,
            error: "timeout".to_owned(),
        });
        let told = of_sync(6, &waits, "");
        assert!(told.holds[0].notice.text.contains("holdfast approve prod 777777777777"), "{told:?}");
        assert_eq!((told.holds[1].key.as_str(), told.holds[1].notice.kind.as_str()), ("prod/host/web1", "unreachable"));
    }

    #[test]
    fn cap_70_a_backup_that_is_too_old_is_told_as_what_it_is() {
        let news = |late, problem: &str| BackupNews {
            host: "web1".parse().unwrap(),
            app: "shop".parse().unwrap(),
            class: "database".to_owned(),
            late,
            problem: problem.to_owned(),
        };
        let told = |news: BackupNews| of_backups(&"prod".parse().unwrap(), &[news], Timestamp(3));
        let old = told(news(true, "older than its rpo of 60m"));
        let [held] = &old.holds[..] else { panic!("{old:?}") };
        assert_eq!((held.key.as_str(), held.subject.as_str()), ("prod/backup/web1/shop/database", "late"));
        assert_eq!((held.notice.kind.as_str(), held.notice.severity), ("backup", Severity::Error));
        assert!(held.notice.text.contains("older than its rpo"), "{held:?}");
        // The age in the text changes from look to look; what holds does not.
        assert_eq!(told(news(true, "older, 3h")).holds[0].subject, held.subject);
        let failed = &told(news(false, "the last run failed")).holds[0];
        assert_eq!((failed.subject.as_str(), failed.notice.severity), ("trouble", Severity::Warning));
        assert_eq!(told(news(false, "")).over, std::slice::from_ref(&held.key));
    }

    #[test]
    fn cap_45_a_certificate_that_nobody_renewed_is_told_and_told_again_when_it_is_over() {
        let told = |over, problem: &str| {
            let news = CertificateNews {
                host: "web1".parse().unwrap(),
                app: "shop".parse().unwrap(),
                name: "site".to_owned(),
                over,
                problem: problem.to_owned(),
            };
            of_certificates(&"prod".parse().unwrap(), &[news], Timestamp(3))
        };
        let soon = told(false, "it ends in 14d and was not renewed");
        let [held] = &soon.holds[..] else { panic!("{soon:?}") };
        assert_eq!((held.key.as_str(), held.subject.as_str()), ("prod/certificate/web1/shop/site", "trouble"));
        assert_eq!((held.notice.kind.as_str(), held.notice.severity), ("certificate", Severity::Warning));
        assert!(held.notice.text.contains("it ends in 14d"), "{held:?}");
        // The days in the text change from look to look; what holds does not.
        assert_eq!(told(false, "it ends in 13d and was not renewed").holds[0].subject, held.subject);
        let ended = &told(true, "it ended 1m ago").holds[0];
        assert_eq!((ended.subject.as_str(), ended.notice.severity), ("over", Severity::Critical));
        assert_eq!(told(false, "").over, std::slice::from_ref(&held.key));
    }

    #[test]
    fn cap_79_who_wants_what_is_told_that_and_no_more() {
        let to = NoticeTarget::Slack { url_file: "/x".to_owned() };
        let sink = NoticeSink {
            name: "ops".to_owned(),
            environments: ["prod".parse().unwrap()].into(),
            severity: Severity::Warning,
            to,
        };
        let drift = |name: &str| of_drift(&name.parse().unwrap(), "a", 2, Timestamp(0)).holds[0].notice.clone();
        assert!(wants(&sink, &drift("prod")) && !wants(&sink, &drift("stage")));
        assert!(!wants(&sink, &of_sync(4, &report(SyncResult::Synced), "").notices[0]));
        let all = Notice { environment: None, ..drift("prod") };
        assert!(wants(&sink, &all));
        let every = NoticeSink { environments: BTreeSet::new(), severity: Severity::Info, ..sink };
        assert!(wants(&every, &trial("ops", Timestamp(0))));
    }

    #[test]
    fn cap_79_no_text_becomes_markup_or_a_command() {
        let environment = "prod".parse().unwrap();
        let nasty = "<!channel> & <http://x|y>\r\n.\r\nQUIT\r\n\u{1b}[2J";
        let told = of_git(&environment, Some(("fetch", nasty)), Timestamp(0));
        let mut notice = told.holds[0].notice.clone();
        notice.title = "Grüße\r\nBcc: all@example.net".to_owned();
        assert!(slack_body(&notice)["text"].as_str().unwrap().contains("&lt;!channel&gt; &amp;"));
        assert!(!chat_text(&notice).contains('\u{1b}'));
        let mail =
            mail(&notice, "holdfast@example.net", &["ops@example.net".to_owned()], "Thu, 01 Jan 1970 00:00:00 +0000");
        assert!(!mail.contains("\r\nBcc:") && !mail.contains("\r\n.\r\n") && !mail.contains("QUIT"), "{mail}");
        assert!(mail.is_ascii() && mail.lines().all(|line| line.len() <= 998));
        let long = of_git(&environment, Some(("fetch", &"x".repeat(100_000))), Timestamp(0));
        assert_eq!(long.holds[0].notice.text.chars().count(), MOST_TEXT + 1);
    }

    proptest! {
        #[test]
        fn the_wait_grows_to_its_limit_and_ends(failures in 1_u32..40, id in ".{0,9}") {
            match try_again(&id, "ops", failures, Timestamp(1_000)) {
                None => prop_assert!(failures >= MOST_TRIES),
                Some(at) => {
                    let full = FIRST_WAIT_MS.saturating_mul(1 << (failures - 1).min(20)).min(LONGEST_WAIT_MS);
                    prop_assert!(failures < MOST_TRIES && (full / 2..=full).contains(&(at.0 - 1_000)));
                }
            }
        }
    }
}
