//! The difference of two commits, for a terminal and a pull request.

use std::fmt::Write as _;

use crate::id::{HostName, short_seal};

use super::config_diff::{ConfigChange, ConfigChangeKind, ConfigDiff};
use super::escape::{fenced, html, visible};
use super::plan_rows::{DiffLine, host_list};
use super::style::{Paint, Style, chop, wrap};
use super::words::count;

/// Characters of a comment on a pull request.
const MAX_CHARS: usize = 60_000;

/// Hosts on which the same differs. A migration runs on one host only, so it does not set that one apart.
struct Group<'a> {
    hosts: Vec<&'a HostName>,
    changes: Vec<&'a ConfigChange>,
    migrations: Vec<(&'a HostName, &'a ConfigChange)>,
}

impl<'a> Group<'a> {
    /// Returns each difference with what is said about it.
    fn lines(&self) -> impl Iterator<Item = (&'a ConfigChange, String)> {
        let shared = self.changes.iter().map(|change| (*change, visible(&change.note)));
        let only = self.migrations.iter().map(|(host, change)| {
            let note = visible(&change.note);
            (*change, if self.hosts.len() > 1 { format!("on {host} only: {note}") } else { note })
        });
        shared.chain(only)
    }
}

fn groups(diff: &ConfigDiff) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for host in diff.hosts.iter().filter(|host| !host.changes.is_empty()) {
        let (migrations, changes): (Vec<&ConfigChange>, Vec<_>) =
            host.changes.iter().partition(|change| change.thing == "migration");
        let migrations = migrations.into_iter().map(|change| (&host.host, change));
        match groups.iter_mut().find(|group| group.changes == changes) {
            Some(group) => {
                group.hosts.push(&host.host);
                group.migrations.extend(migrations);
            }
            None => groups.push(Group { hosts: vec![&host.host], changes, migrations: migrations.collect() }),
        }
    }
    groups
}

fn summary(diff: &ConfigDiff) -> String {
    let changes = || diff.hosts.iter().flat_map(|host| &host.changes);
    let of = |kind: ConfigChangeKind| changes().filter(|change| change.kind == kind).count();
    let hosts = diff.hosts.iter().filter(|host| !host.changes.is_empty()).count();
    let (added, changed, removed) =
        (of(ConfigChangeKind::Added), of(ConfigChangeKind::Changed), of(ConfigChangeKind::Removed));
    if hosts == 0 {
        return format!("Nothing differs on any of {}.", count(diff.hosts.len(), "host"));
    }
    format!("{added} added, {changed} changed, {removed} removed on {}.", count(hosts, "host"))
}

fn head(change: &ConfigChange) -> String {
    let component = if change.component.is_empty() { String::new() } else { format!("/{}", change.component) };
    visible(&format!("{}{component} {}", change.app, change.thing))
}

/// Returns the difference for a terminal.
pub fn config_diff_text(diff: &ConfigDiff, style: Style) -> String {
    let title = format!("{} {}..{}", diff.environment, diff.base.short(), diff.head.short());
    let mut text = format!("{}\n\n", style.paint(Paint::Bold, &title));
    for group in groups(diff) {
        let same = if group.hosts.len() > 1 { ": the same on each" } else { "" };
        for line in wrap(&format!("{}{same}", host_list(&group.hosts)), style.columns()) {
            text.extend([&style.paint(Paint::Bold, &line), "\n"]);
        }
        for (change, note) in group.lines() {
            let paint = match change.kind {
                ConfigChangeKind::Added => Paint::Added,
                ConfigChangeKind::Removed => Paint::Removed,
                ConfigChangeKind::Changed => Paint::Changed,
            };
            let head = format!("  {} {}", change.kind.symbol(), head(change));
            text.push_str(&style.paint(paint, &head));
            if note.is_empty() || head.chars().count() + 2 + note.chars().count() <= style.columns() {
                text.extend([if note.is_empty() { "" } else { "  " }, &style.paint(Paint::Faint, &note), "\n"]);
            } else {
                text.push('\n');
                for line in wrap(&note, style.columns() - 6) {
                    text.extend(["      ", &style.paint(Paint::Faint, &line), "\n"]);
                }
            }
            for line in change.diff.lines() {
                let paint = match DiffLine::of(line) {
                    DiffLine::Added => Paint::Added,
                    DiffLine::Removed => Paint::Removed,
                    DiffLine::Place => Paint::Place,
                    DiffLine::Context => Paint::Plain,
                };
                for line in chop(&visible(line), style.columns() - 4) {
                    text.extend(["    ", &style.paint(paint, &line), "\n"]);
                }
            }
        }
        text.push('\n');
    }
    text.push_str(&style.paint(Paint::Bold, &summary(diff)));
    writeln!(text, "\ndigest {}", short_seal(&diff.digest)).expect("BUG: a text takes any text");
    text
}

/// Returns the difference as Markdown for a pull request, at most 60,000 characters. What is not ours stands in code blocks that
/// it cannot leave.
pub fn config_diff_markdown(diff: &ConfigDiff) -> String {
    let mut text = format!(
        "### Changes of `{}` from `{}` to `{}`\n\n**{}** Digest `{}`.\n\n",
        diff.environment,
        diff.base.short(),
        diff.head.short(),
        summary(diff),
        short_seal(&diff.digest)
    );
    let groups = groups(diff);
    let mut left = groups.len();
    for group in &groups {
        let block = |diffs: bool| {
            let mut lines = Vec::new();
            for (change, note) in group.lines() {
                let note = if note.is_empty() { note } else { format!("  # {note}") };
                lines.push(format!("{} {}{note}", change.kind.symbol(), head(change)));
                if diffs {
                    lines.extend(change.diff.lines().map(visible));
                }
            }
            let each = if group.hosts.len() > 1 { " on each" } else { "" };
            format!(
                "<details><summary><b>{}</b>: {}{each}</summary>\n\n{}\n</details>\n\n",
                html(&host_list(&group.hosts)),
                count(group.lines().count(), "difference"),
                fenced("diff", &lines.join("\n"))
            )
        };
        // A little is kept free for the closing line.
        let room = MAX_CHARS.saturating_sub(text.chars().count() + 200);
        let Some(block) = [true, false].into_iter().map(block).find(|block| block.chars().count() <= room) else {
            break;
        };
        text.push_str(&block);
        left -= 1;
    }
    if left > 0 {
        let groups = count(left, "group of hosts");
        text.extend(["Too long for a comment: ", &groups, " left out. `holdfast diff` shows all.\n"]);
    }
    text
}
