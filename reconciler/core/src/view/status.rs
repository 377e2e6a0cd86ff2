//! The status of an environment as a table.

use std::fmt::Write;

use super::progress::harmless;
use crate::plan::{AppStatus, BackupStatus, CertificateStatus, Health, MigrationStatus, SyncStatus, span};

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
    for row in rows {
        for migration in &row.migrations {
            if let Some(line) = migration_line(migration) {
                let _ = writeln!(text, "{}: {}: {line}", row.host, row.app);
            }
        }
        for backup in &row.backups {
            let _ = writeln!(text, "{}: {}: backup {}", row.host, row.app, backup_line(backup));
        }
        for certificate in &row.certificates {
            let _ = writeln!(text, "{}: {}: certificate {}", row.host, row.app, certificate_line(certificate));
        }
    }
    text
}

/// Returns `schema of web: 0002, since v2; 0001 before`; `None` where no revision is known.
fn migration_line(migration: &MigrationStatus) -> Option<String> {
    let revision = |revision: &str| if revision.is_empty() { "empty".to_owned() } else { harmless(revision) };
    let after = revision(migration.after.as_ref()?);
    let mut line = format!("schema of {}: {after}", harmless(&migration.component));
    if migration.before != migration.after {
        let _ = write!(line, ", since {}", harmless(&migration.release));
        if let Some(before) = &migration.before {
            let _ = write!(line, "; {} before", revision(before));
        }
        if !migration.reversible {
            line.push_str(", which cannot be gone back to without `--downgrade`");
        }
    }
    Some(line)
}

/// Returns `database: 12m old, 1.4 MiB, 61 kept; drill passed 2d ago`.
fn backup_line(backup: &BackupStatus) -> String {
    let mut line = match backup.age_ms {
        Some(age) => {
            format!("{}: {} old, {}, {} kept", backup.class, span(age), bytes(backup.size), backup.count)
        }
        None => format!("{}: none yet", backup.class),
    };
    if let Some(copies) = &backup.offsite {
        let _ = match copies.age_ms {
            Some(age) => write!(line, "; {} on {}, {} old", copies.count, copies.host, span(age)),
            None => write!(line, "; none on {} yet", copies.host),
        };
    }
    if let Some(age) = backup.drilled_ms {
        let _ = write!(line, "; drill passed {} ago", span(age));
    }
    if !backup.problem.is_empty() {
        line.push_str("; ");
        line.push_str(&harmless(&backup.problem));
    }
    line
}

/// Returns `shop: example.com, www.example.com; by CN=R10; ends in 61d; HSTS is sent`.
fn certificate_line(certificate: &CertificateStatus) -> String {
    let mut line = certificate.name.clone();
    if certificate.pending {
        line.push_str(": being issued; until then a temporary one is served");
    } else if !certificate.domains.is_empty() {
        let names = harmless(&certificate.domains.join(", "));
        let _ = write!(line, ": {names}; by {}", harmless(&certificate.issuer));
        if let Ok(left @ 1..) = u64::try_from(certificate.left_ms) {
            let _ = write!(line, "; ends in {}", span(left));
        }
    }
    if certificate.hsts {
        line.push_str("; HSTS is sent");
    }
    if !certificate.problem.is_empty() {
        line.push_str("; ");
        line.push_str(&harmless(&certificate.problem));
    }
    line
}

/// Returns `512 B`, `10.2 KiB`, `1.4 MiB`, `3.0 GiB`.
fn bytes(size: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1_u64 << 10, "KiB")];
    match units.into_iter().find(|(factor, _)| size >= *factor) {
        Some((factor, unit)) => {
            let tenths = size / (factor / 10).max(1);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{size} B"),
    }
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
    use crate::plan::OffsiteStatus;

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
            backups: Vec::new(),
            certificates: Vec::new(),
            migrations: Vec::new(),
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
        let backup = BackupStatus {
            class: "database".to_owned(),
            newest: "database-1.dump".to_owned(),
            age_ms: Some(720_000),
            size: 1_500_000,
            count: 61,
            limit_ms: 3_600_000,
            drilled_ms: Some(200_000_000),
            offsite: Some(OffsiteStatus {
                host: "vault".to_owned(),
                newest: "database-0.dump".to_owned(),
                age_ms: Some(2_520_000),
                size: 1,
                count: 40,
                limit_ms: 3_600_000,
                encrypted: true,
                looked_ms: Some(1),
            }),
            late: false,
            problem: String::new(),
        };
        let stale = BackupStatus {
            age_ms: None,
            drilled_ms: None,
            offsite: None,
            problem: "no \u{1b}".to_owned(),
            ..backup.clone()
        };
        let mut row = rows[0].clone();
        row.backups = vec![backup, stale];
        let migration = |before: &str, after: Option<&str>, reversible| MigrationStatus {
            component: "web".to_owned(),
            release: "v2".to_owned(),
            before: Some(before.to_owned()),
            after: after.map(str::to_owned),
            reversible,
        };
        row.migrations = vec![
            migration("0001", Some("0002"), true),
            migration("", Some("0001"), false),
            migration("1", Some("1"), true),
            migration("1", None, true),
        ];
        let lines = "\
web1: chatbot: schema of web: 0002, since v2; 0001 before
web1: chatbot: schema of web: 0001, since v2; empty before, which cannot be gone back to without `--downgrade`
web1: chatbot: schema of web: 1
web1: chatbot: backup database: 12m old, 1.4 MiB, 61 kept; 40 on vault, 42m old; drill passed 2d ago
web1: chatbot: backup database: none yet; no \u{fffd}
";
        assert!(status_text(&[row], false).ends_with(lines));
        assert!(status_text(&rows, true).contains("\x1b[32mHealthy\x1b[0m"));
    }
}
