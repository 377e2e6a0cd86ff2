//! Why each action is planned: commit → file:line → field → rule.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::id::HostName;
use crate::plan::{Blocker, Change, Plan};

use super::escape::visible;
use super::plan_json::plan_json;
use super::plan_rows::{RowKind, change_rows, host_list};
use super::plan_text::blocker_place;
use super::style::{Paint, Style, chop, wrap};
use super::words::{action_sentence, count, reason_sentence};

/// Columns of the words on the left.
const LABEL: usize = 10;

/// Returns why the changes that a query names are planned, and what stands in their way.
///
/// A query is any part of a host, app, component, thing or rule: `web1`, `compose.yaml`, `nps/web`, `image-moved`. An empty one
/// names everything.
pub fn explain_text(plan: &Plan, query: &str, style: Style) -> String {
    let mut page = Page { style, text: String::new() };
    // The same change on several hosts is explained once.
    let mut found: Vec<(&Change, Vec<&HostName>)> = Vec::new();
    for host in &plan.order {
        for change in plan.hosts.get(host).into_iter().flat_map(|host| &host.changes) {
            if !names(query, host, change) {
                continue;
            }
            match found.iter_mut().find(|(known, _)| *known == change) {
                Some((_, hosts)) => hosts.push(host),
                None => found.push((change, vec![host])),
            }
        }
    }
    for (change, hosts) in &found {
        page.change(plan, change, hosts);
    }
    let blockers: Vec<_> = plan
        .blockers
        .iter()
        .filter(|blocker| {
            is_named(query, blocker)
                || found.iter().any(|(change, hosts)| {
                    let host = blocker.host.as_ref().is_none_or(|host| hosts.contains(&host));
                    host && blocker.app.as_ref().is_none_or(|app| *app == change.app)
                })
        })
        .collect();
    for blocker in &blockers {
        page.heading(&format!("blocked: {}{}", blocker.code, blocker_place(blocker)));
        page.field("why", &blocker.message);
        page.text.push('\n');
    }
    if found.is_empty() && blockers.is_empty() {
        page.nothing(plan, query);
    }
    page.text
}

/// Returns the plan for programs with only the changes that a query names, and what stands in their way; the whole plan for an empty
/// query.
pub fn explain_json(plan: &Plan, query: &str) -> Value {
    let mut named = plan.clone();
    for (host, planned) in &mut named.hosts {
        planned.changes.retain(|change| names(query, host, change));
    }
    named.blockers.retain(|blocker| is_named(query, blocker));
    plan_json(&named)
}

fn is_named(query: &str, blocker: &Blocker) -> bool {
    query.is_empty() || format!("{}{} {}", blocker.code, blocker_place(blocker), blocker.message).contains(query)
}

fn names(query: &str, host: &HostName, change: &Change) -> bool {
    let text = format!("{host} {}/{} {} {}", change.app, change.component, change.key, change.rule);
    query.is_empty() || text.contains(query)
}

struct Page {
    style: Style,
    text: String,
}

impl Page {
    fn heading(&mut self, text: &str) {
        self.text.push_str(&self.style.paint(Paint::Bold, text));
        self.text.push('\n');
    }

    fn field(&mut self, label: &str, text: &str) {
        let width = self.style.columns().saturating_sub(LABEL + 2);
        for (index, line) in wrap(&visible(text), width).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.text.push_str("  ");
            self.text.push_str(&self.style.paint(Paint::Faint, &format!("{label:<LABEL$}")));
            self.text.extend([line, "\n"]);
        }
    }

    fn change(&mut self, plan: &Plan, change: &Change, hosts: &[&HostName]) {
        let head = format!("{} {}", change.action.symbol(), visible(&change.key.to_string()));
        self.heading(&head);
        self.field("on", &host_list(hosts));
        let slot = change.slot.map(|slot| format!(", in {slot}")).unwrap_or_default();
        self.field("part of", &format!("{}/{}{slot}", change.app, change.component));
        self.field("action", action_sentence(change.action));
        self.field("why", reason_sentence(change.reason));
        if !change.note.is_empty() {
            self.field("note", &change.note);
        }
        self.field("rule", &change.rule);
        self.field("commit", plan.commit.as_str());
        if change.origin.file.is_empty() {
            self.field("declared", "nowhere any more; the host's ledger has it");
        } else {
            self.field("declared", &change.origin.to_string());
        }
        let mut by_field: BTreeMap<(u32, &str), Vec<String>> = BTreeMap::new();
        for value in &change.because {
            by_field
                .entry((value.output_line, &value.field))
                .or_default()
                .push(format!("{}, used at {}", value.value, value.template));
        }
        for (index, ((line, field), places)) in by_field.iter().enumerate() {
            let label = if index == 0 { "values" } else { "" };
            self.field(label, &format!("line {line}: {field} ← {}", places.join("; ")));
        }
        let width = self.style.columns().saturating_sub(4);
        for row in change_rows(change).into_iter().filter(|row| matches!(row.kind, RowKind::Diff(_))) {
            let paint = match row.text.as_bytes().first() {
                Some(b'+') => Paint::Added,
                Some(b'-') => Paint::Removed,
                Some(b'@') => Paint::Place,
                _ => Paint::Plain,
            };
            for line in chop(&row.text, width) {
                self.text.extend(["    ", &self.style.paint(paint, &line), "\n"]);
            }
        }
        self.text.push('\n');
    }

    fn nothing(&mut self, plan: &Plan, query: &str) {
        let changes: usize = plan.hosts.values().map(|host| host.changes.len()).sum();
        let text = if query.is_empty() {
            format!("{} at {}: nothing is to change.", plan.environment, plan.commit.short())
        } else {
            let all = count(changes, "change");
            format!(
                "Nothing in the plan names `{}`: it is as git says, or git does not have it. The plan has {all}.",
                visible(query)
            )
        };
        for line in wrap(&text, self.style.columns()) {
            self.text.extend([&line, "\n"]);
        }
    }
}
