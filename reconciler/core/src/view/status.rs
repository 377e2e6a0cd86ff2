//! The status of an environment as a table.

use std::fmt::Write;

use super::progress::harmless;
use crate::plan::{AppStatus, Health, SyncStatus};

/// Returns a table; notes follow below it, so that no column grows by them.
pub fn status_text(rows: &[AppStatus], color: bool) -> String {
    let head = ["HOST", "APP", "RELEASE", "SLOT", "PREVIOUS", "SYNC", "HEALTH"].map(str::to_owned);
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { harmless(text) };
    let mut table = vec![head];
    for row in rows {
        let release = match (row.live.as_str(), row.desired.as_str()) {
            (live, desired) if live == desired => harmless(live),
            ("", desired) => format!("- (git: {})", harmless(desired)),
            (live, desired) => format!("{} (git: {})", harmless(live), harmless(desired)),
        };
        let slot = row.slot.map_or("-", |slot| slot.as_str()).to_owned();
        let (sync, health) = (format!("{:?}", row.sync), format!("{:?}", row.health));
        table.push([row.host.to_string(), row.app.to_string(), release, slot, dash(&row.previous), sync, health]);
    }
    let widths: Vec<usize> =
        (0..7).map(|column| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in table.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let tint = index.checked_sub(1).and_then(|at| rows.get(at)).map_or("", |row| tint(row, column));
            let (on, off) = if color && !tint.is_empty() { (tint, "\x1b[0m") } else { ("", "") };
            let gap = if column == 6 { "" } else { "  " };
            let padding = if column == 6 { "" } else { padding.as_str() };
            // Writing to a String cannot fail.
            let _ = write!(text, "{on}{cell}{off}{padding}{gap}");
        }
        text.push('\n');
    }
    // Hosts of which the same is to be said share one line.
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let note = format!("{}: {}", row.app, harmless(&row.note));
        match notes.iter_mut().find(|(known, _)| *known == note) {
            Some((_, hosts)) => hosts.push(row.host.as_str()),
            None => notes.push((note, vec![row.host.as_str()])),
        }
    }
    for (note, hosts) in notes {
        let _ = writeln!(text, "{}: {note}", hosts.join(", "));
    }
    text
}

fn tint(row: &AppStatus, column: usize) -> &'static str {
    const GREEN: &str = "\x1b[32m";
    const YELLOW: &str = "\x1b[33m";
    const RED: &str = "\x1b[31m";
    match (column, row.sync, row.health) {
        (5, SyncStatus::Synced, _) | (6, _, Health::Healthy) => GREEN,
        (5, _, _) | (6, _, Health::Progressing | Health::Suspended) => YELLOW,
        (6, _, _) => RED,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::Slot;

    use super::*;

    #[test]
    fn cap_83_a_table_says_what_serves_and_what_git_says() {
        let row = |host: &str, live: &str, sync, health, note: &str| AppStatus {
            host: host.parse().unwrap(),
            app: "chatbot".parse().unwrap(),
            desired: "v2".to_owned(),
            live: live.to_owned(),
            slot: (!live.is_empty()).then_some(Slot::Green),
            previous: "v1".to_owned(),
            sync,
            health,
            note: note.to_owned(),
        };
        let rows = [
            row("web1", "v2", SyncStatus::Synced, Health::Healthy, ""),
            row("web2", "v1", SyncStatus::OutOfSync, Health::Degraded, "a \u{1b}[31mred\u{1b}[0m note"),
            row("web3", "", SyncStatus::OutOfSync, Health::Missing, ""),
        ];
        let expected = "\
HOST  APP      RELEASE       SLOT   PREVIOUS  SYNC       HEALTH
web1  chatbot  v2            green  v1        Synced     Healthy
web2  chatbot  v1 (git: v2)  green  v1        OutOfSync  Degraded
web3  chatbot  - (git: v2)   -      v1        OutOfSync  Missing
web2: chatbot: a \u{fffd}[31mred\u{fffd}[0m note
";
        assert_eq!(status_text(&rows, false), expected);
        assert!(status_text(&rows, true).contains("\x1b[32mHealthy\x1b[0m"));
    }
}
