//! One event of a sync as one line for people.

use holdfast_protocol::{JournalEvent, Outcome, Phase};

use crate::event::{AppResult, SyncEvent, SyncEventKind, SyncResult};
use crate::id::short_seal;
use crate::time::Timestamp;

/// One line about something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressLine {
    /// Milliseconds since the sync began.
    pub after_ms: u64,
    /// Who it is about: a host, an app, or `sync`.
    pub subject: String,
    /// What happened. Text of hosts in it is made harmless for a terminal.
    pub text: String,
    /// How it should look.
    pub tone: Tone,
}

/// How a line should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary.
    Plain,
    /// Less than ordinary: detail that passes by.
    Faint,
    /// A success worth seeing.
    Good,
    /// A failure or a way back.
    Bad,
    /// Waits for a person.
    Waiting,
}

/// Returns the line for an event; `None` for events that say nothing to people.
pub fn progress_line(began: Timestamp, event: &SyncEvent) -> Option<ProgressLine> {
    let (subject, text, tone) = describe(&event.kind)?;
    Some(ProgressLine { after_ms: event.at.since_ms(began), subject, text: harmless(&text), tone })
}

/// Returns the text without control characters and direction overrides, so that a host's words cannot steer a terminal.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Returns the first words of a reason that was told in full elsewhere, at most 160 characters.
pub fn in_short(reason: &str) -> String {
    const MOST: usize = 160;
    if reason.chars().count() <= MOST {
        return reason.to_owned();
    }
    let cut: String = reason.chars().take(MOST - 2).collect();
    let words = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    format!("{words} …")
}

/// Returns milliseconds as people read them: `84 ms`, `3.2 s`, `2 min 5 s`.
pub fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

fn describe(kind: &SyncEventKind) -> Option<(String, String, Tone)> {
    let line = match kind {
        SyncEventKind::Started { environment, commit, cause, by } => {
            let by = if by.is_empty() { String::new() } else { format!(", {by}") };
            ("sync".to_owned(), format!("{environment} to commit {} ({cause}{by})", commit.short()), Tone::Plain)
        }
        SyncEventKind::Planned { changes, blockers, seal, .. } => {
            let seal = if seal.is_empty() { String::new() } else { format!(" (seal {})", short_seal(seal)) };
            let text = match (changes, blockers.len()) {
                (0, 0) => format!("nothing to change{seal}"),
                (_, 0) => format!("{changes} {}{seal}", plural(*changes as usize, "change", "changes")),
                (_, count) => format!("{changes} changes, {count} blocked: {}", blockers.join("; ")),
            };
            ("plan".to_owned(), text, if blockers.is_empty() { Tone::Plain } else { Tone::Bad })
        }
        SyncEventKind::AwaitsApproval { environment, seal, given, required, approvers } => {
            let seal = short_seal(seal);
            let (count, names) = (given.len(), approvers.join(", "));
            let text = format!(
                "waits for approval, {count} of {required} given: `holdfast approve {environment} {seal}` by one of {names}"
            );
            ("plan".to_owned(), text, Tone::Waiting)
        }
        SyncEventKind::Approved { by, .. } => ("plan".to_owned(), format!("approved by {}", by.join(", ")), Tone::Good),
        SyncEventKind::WindowOverridden { apps, by, reason, windows } => {
            let apps: Vec<_> = apps.iter().map(ToString::to_string).collect();
            let text = format!("{by} overrides: {} is {} ({reason})", apps.join(", "), windows.join("; "));
            ("window".to_owned(), text, Tone::Waiting)
        }
        SyncEventKind::WaitsForTurn { most } => {
            let text = format!("waits for its turn: no more than {most} environments are changed at once");
            ("plan".to_owned(), text, Tone::Waiting)
        }
        SyncEventKind::AppStarted { app, release, waves } => {
            let waves: Vec<String> =
                waves.iter().map(|wave| wave.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")).collect();
            (app.to_string(), format!("{release} goes to {}", waves.join(", then ")), Tone::Plain)
        }
        SyncEventKind::Staged { host, bytes, .. } => {
            (host.to_string(), format!("staged and validated, {} KiB sent", bytes.div_ceil(1024)), Tone::Faint)
        }
        SyncEventKind::Host { host, entry, .. } => {
            let (text, tone) = journal(&entry.event)?;
            (host.to_string(), text, tone)
        }
        SyncEventKind::Decided { host, decision, reason, .. } => {
            let tone = if decision == "go_back" { Tone::Bad } else { Tone::Plain };
            (host.to_string(), format!("→ {}: {reason}", decision.replace('_', " ")), tone)
        }
        SyncEventKind::Paused { app, hint } => (app.to_string(), format!("paused: {hint}"), Tone::Waiting),
        SyncEventKind::HostEnded { host, outcome, reason, .. } => {
            let (word, tone) = match outcome {
                Outcome::Done => ("done", Tone::Good),
                Outcome::Abandoned => ("abandoned before the switch, nothing changed", Tone::Bad),
                Outcome::RolledBack => ("rolled back", Tone::Bad),
                Outcome::Stuck => ("stuck, an operator is needed", Tone::Bad),
            };
            let text = if reason.is_empty() { word.to_owned() } else { format!("{word}: {reason}") };
            (host.to_string(), text, tone)
        }
        SyncEventKind::HostTrouble { host, error, .. } => (host.to_string(), error.clone(), Tone::Bad),
        SyncEventKind::Quarantined { app, release, reason, .. } => {
            let reason = in_short(reason);
            (app.to_string(), format!("{release} is quarantined until its content changes: {reason}"), Tone::Bad)
        }
        SyncEventKind::AppEnded { app, result } => {
            let (text, tone) = match result {
                AppResult::Done => ("done on all hosts", Tone::Good),
                AppResult::RolledBack => ("was undone on all hosts: they are as before", Tone::Bad),
                AppResult::Partial => ("differs between hosts", Tone::Bad),
                AppResult::Stuck => ("needs an operator", Tone::Bad),
                AppResult::Blocked => ("was not begun", Tone::Bad),
            };
            (app.to_string(), text.to_owned(), tone)
        }
        SyncEventKind::Ended { result, .. } => {
            let (text, tone) = match result {
                SyncResult::Synced => ("synced", Tone::Good),
                SyncResult::NoChange => ("nothing to do", Tone::Good),
                SyncResult::RolledBack => ("rolled back", Tone::Bad),
                SyncResult::Blocked => ("blocked", Tone::Bad),
                SyncResult::Failed => ("failed", Tone::Bad),
                SyncResult::AwaitsApproval => ("waits for approval", Tone::Waiting),
            };
            ("sync".to_owned(), text.to_owned(), tone)
        }
    };
    Some(line)
}

fn journal(event: &JournalEvent) -> Option<(String, Tone)> {
    let line = match event {
        JournalEvent::Entered { phase } => match phase {
            Phase::Ready => ("ready: proven healthy beside the old release".to_owned(), Tone::Good),
            Phase::Watch => ("new release serves; watching".to_owned(), Tone::Plain),
            Phase::Undo => ("going back".to_owned(), Tone::Bad),
            Phase::Prepare | Phase::Promote | Phase::Settled | Phase::Settle | Phase::Ended => return None,
        },
        JournalEvent::Intent { title, .. } => (format!("{title} …"), Tone::Faint),
        JournalEvent::Done { took_ms, note, .. } if note.is_empty() => {
            (format!("  done in {}", took(*took_ms)), Tone::Faint)
        }
        JournalEvent::Done { took_ms, note, .. } => (format!("  done in {}: {note}", took(*took_ms)), Tone::Faint),
        JournalEvent::Failed { error, .. } => (error.clone(), Tone::Bad),
        JournalEvent::Progress { text } => (format!("  {text}"), Tone::Faint),
        JournalEvent::Resumed => ("went on after a cut".to_owned(), Tone::Plain),
        JournalEvent::Decided { decision, by } if by != "manager" => {
            (format!("decided {decision:?} by {by}"), Tone::Plain)
        }
        JournalEvent::Decided { .. }
        | JournalEvent::UndoIntent { .. }
        | JournalEvent::Undone { .. }
        | JournalEvent::Ended { .. } => return None,
    };
    Some(line)
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_told_once_and_named_after_that() {
        assert_eq!(in_short("it is down"), "it is down");
        let long = format!("`cron: healthy` failed; its log ends: {}", "Started crew. ".repeat(80));
        let short = in_short(&long);
        assert!(short.starts_with("`cron: healthy` failed; its log ends: Started") && short.ends_with(" …"), "{short}");
        assert!(short.chars().count() <= 160, "{short}");
        assert!(in_short(&"ä".repeat(500)).chars().count() <= 160, "also where there is no space");
    }

    #[test]
    fn a_hosts_words_cannot_steer_a_terminal() {
        let error = "\u{1b}[2J\u{1b}]0;owned\u{7} \u{202e}txt\nnext".to_owned();
        let kind = SyncEventKind::HostTrouble { app: None, host: "web1".parse().unwrap(), error };
        let line = progress_line(Timestamp(5), &SyncEvent { at: Timestamp(7), kind }).unwrap();
        assert_eq!(line.text, "\u{fffd}[2J\u{fffd}]0;owned\u{fffd} \u{fffd}txt next");
        assert_eq!(line.after_ms, 2);
    }

    #[test]
    fn lengths_of_time_read_well() {
        assert_eq!([took(84), took(3_249), took(125_000)], ["84 ms", "3.2 s", "2 min 5 s"]);
    }
}
