//! A plan for a terminal.

use crate::plan::{Blocker, Plan, PlanAction};

use super::escape::visible;
use super::plan_rows::{DiffLine, Group, Row, RowKind, groups, host_list, quiet_hosts};
use super::style::{Paint, Style, chop, wrap};
use super::words::{Counts, count};

/// Columns a change's symbol takes, with the space after it.
const SYMBOL: usize = 4;

/// Returns a plan for a terminal, in the manner of Terraform: what changes on which hosts, what stands in the way, and one line
/// that sums it up.
///
/// Hosts on which the same happens are shown once. Text that came from hosts cannot act on the terminal.
pub fn plan_text(plan: &Plan, style: Style) -> String {
    let mut page = Page { style, text: String::new() };
    let counts = Counts::of(plan);
    page.line(0, Paint::Bold, &format!("{} at {}", plan.environment, plan.commit.short()));
    page.blank();
    for group in groups(plan) {
        page.group(&group);
    }
    let (quiet, unseen) = quiet_hosts(plan);
    if !quiet.is_empty() && counts.hosts > 0 {
        page.wrapped(0, Paint::Faint, &format!("{}: nothing to change", host_list(&quiet)));
    }
    if !unseen.is_empty() {
        page.wrapped(0, Paint::Removed, &format!("{}: not planned, since not known", host_list(&unseen)));
    }
    if (!quiet.is_empty() && counts.hosts > 0) || !unseen.is_empty() {
        page.blank();
    }
    if !plan.blockers.is_empty() {
        page.line(0, Paint::Bold, "Blockers");
        for blocker in &plan.blockers {
            page.blocker(blocker);
        }
        page.blank();
    }
    page.wrapped(0, Paint::Bold, &summary(plan, counts));
    page.text
}

/// Returns the line that sums a plan up.
pub(super) fn summary(plan: &Plan, counts: Counts) -> String {
    let seal = plan.seal.short();
    let hosts = count(plan.order.len(), "host");
    if counts.hosts > 0 {
        let blocked = if plan.blockers.is_empty() {
            String::new()
        } else {
            format!(" {} in the way.", count(plan.blockers.len(), "blocker"))
        };
        let unchanged = match counts.unchanged {
            0 => String::new(),
            number => format!(", {number} unchanged"),
        };
        format!("Plan: {}{unchanged}.{blocked} Seal {seal}.", counts.sentence())
    } else if plan.blockers.is_empty() {
        format!("Nothing to change: {} on {hosts} are as git says. Seal {seal}.", count(counts.unchanged, "thing"))
    } else {
        let blockers = count(plan.blockers.len(), "blocker");
        format!("Nothing to change as far as could be seen, with {blockers}. Seal {seal}.")
    }
}

struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn line(&mut self, indent: usize, paint: Paint, text: &str) {
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(&self.style.paint(paint, text));
        self.text.push('\n');
    }

    fn wrapped(&mut self, indent: usize, paint: Paint, text: &str) {
        for line in wrap(text, self.style.columns().saturating_sub(indent)) {
            self.line(indent, paint, &line);
        }
    }

    fn group(&mut self, group: &Group<'_>) {
        let same = if group.hosts.len() > 1 { ": the same on each" } else { "" };
        self.wrapped(0, Paint::Bold, &format!("{}{same}", host_list(&group.hosts)));
        for row in &group.rows {
            self.row(row);
        }
        self.blank();
    }

    fn row(&mut self, row: &Row) {
        let indent = row.depth * 2;
        match row.kind {
            RowKind::App | RowKind::Component => {
                let paint = if row.kind == RowKind::App { Paint::Bold } else { Paint::Plain };
                self.text.push_str(&" ".repeat(indent));
                self.text.push_str(&self.style.paint(paint, &row.text));
                if !row.tail.is_empty() {
                    self.text.push_str("  ");
                    self.text.push_str(&self.style.paint(Paint::Faint, &row.tail));
                }
                self.text.push('\n');
            }
            RowKind::Change(action) => self.change(row, action, indent),
            RowKind::Value => {
                let tail = if row.tail.is_empty() { String::new() } else { format!(" ← {}", row.tail) };
                self.wrapped(indent + SYMBOL - 2, Paint::Faint, &format!("{}{tail}", row.text));
            }
            RowKind::Diff(kind) => {
                let paint = match kind {
                    DiffLine::Added => Paint::Added,
                    DiffLine::Removed => Paint::Removed,
                    DiffLine::Place => Paint::Place,
                    DiffLine::Context => Paint::Plain,
                };
                let indent = indent + SYMBOL - 2;
                for line in chop(&row.text, self.style.columns().saturating_sub(indent)) {
                    self.line(indent, paint, &line);
                }
            }
        }
    }

    /// Writes the thing, and beside it what is said about it where that fits, else below.
    fn change(&mut self, row: &Row, action: PlanAction, indent: usize) {
        let paint = paint_of(action);
        let symbol = format!("{:<SYMBOL$}", action.symbol());
        let key = self.style.paint(paint, &format!("{symbol}{}", row.text));
        let used = indent + SYMBOL + row.text.chars().count();
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(&key);
        if !row.tail.is_empty() {
            if used + 2 + row.tail.chars().count() <= self.style.columns() {
                self.text.push_str("  ");
                self.text.push_str(&self.style.paint(Paint::Faint, &row.tail));
            } else {
                self.text.push('\n');
                self.wrapped(indent + SYMBOL, Paint::Faint, &row.tail);
                return;
            }
        }
        self.text.push('\n');
    }

    fn blocker(&mut self, blocker: &Blocker) {
        let place = blocker_place(blocker);
        let head = format!("! {}{place}: ", blocker.code);
        let whole = format!("{head}{}", visible(&blocker.message));
        let lines = wrap(&whole, self.style.columns().saturating_sub(4));
        for (index, line) in lines.iter().enumerate() {
            self.line(if index == 0 { 2 } else { 4 }, Paint::Removed, line);
        }
    }
}

/// Returns whom a blocker is about: ` on web1 for nps`.
pub(super) fn blocker_place(blocker: &Blocker) -> String {
    let host = blocker.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
    let app = blocker.app.as_ref().map(|app| format!(" for {app}")).unwrap_or_default();
    format!("{host}{app}")
}

fn paint_of(action: PlanAction) -> Paint {
    match action {
        PlanAction::Create => Paint::Added,
        PlanAction::Prune => Paint::Removed,
        PlanAction::Update
        | PlanAction::Run
        | PlanAction::Switch
        | PlanAction::ReplaceCreateFirst
        | PlanAction::ReplaceDestroyFirst => Paint::Changed,
    }
}
