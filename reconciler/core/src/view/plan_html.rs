//! A plan as one page that needs nothing else.

use std::fmt::Write as _;

use crate::plan::{Plan, PlanAction};

use super::escape::{html, visible};
use super::plan_rows::{DiffLine, Row, RowKind, groups, host_list, quiet_hosts};
use super::plan_text::{blocker_place, summary};
use super::words::{Counts, count};

const LOOK: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1c2024;background:#fff}\
h1{font-size:1.3rem}summary{cursor:pointer;font-weight:600;padding:.3rem 0}pre{margin:0;overflow-x:auto;font:12.5px/1.5 ui-monospace,monospace}\
.a{color:#116329}.r{color:#a40e26}.c{color:#7d4e00}.p{color:#0b5c99}.f{color:#57606a}.b{border-left:4px solid #a40e26;padding-left:.8rem}\
@media(prefers-color-scheme:dark){body{color:#e6e8eb;background:#111315}.a{color:#57d364}.r{color:#ff7b72}.c{color:#e3b341}.p{color:#79c0ff}.f{color:#9aa4ae}}";

/// Returns a plan as an HTML page: no script, nothing loaded from anywhere, and every word of others escaped.
pub fn plan_html(plan: &Plan) -> String {
    let title = format!("Plan for {} at {}", plan.environment, plan.commit.short());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title><style>{LOOK}</style>\n<h1>{0}</h1>\n",
        html(&title)
    );
    let counts = Counts::of(plan);
    let _ = writeln!(page, "<p><b>{}</b></p>", html(&summary(plan, counts)));
    if !plan.blockers.is_empty() {
        page.push_str("<div class=\"b\"><h2>Blockers</h2><ul>\n");
        for blocker in &plan.blockers {
            let place = blocker_place(blocker);
            let _ = writeln!(
                page,
                "<li><b>{}</b>{}: {}</li>",
                html(&blocker.code),
                html(&place),
                html(&visible(&blocker.message))
            );
        }
        page.push_str("</ul></div>\n");
    }
    for group in groups(plan) {
        let changes = count(group.changes, "change");
        let each = if group.hosts.len() > 1 { " on each" } else { "" };
        let _ =
            writeln!(page, "<details open><summary>{}: {changes}{each}</summary><pre>", html(&host_list(&group.hosts)));
        for row in &group.rows {
            page.push_str(&line(row));
        }
        page.push_str("</pre></details>\n");
    }
    let (quiet, unseen) = quiet_hosts(plan);
    for (hosts, words) in [(quiet, "nothing to change"), (unseen, "not planned, since not known")] {
        if !hosts.is_empty() {
            let _ = writeln!(page, "<p class=\"f\">{}: {words}.</p>", html(&host_list(&hosts)));
        }
    }
    page.push_str("</html>\n");
    page
}

fn line(row: &Row) -> String {
    let (class, mark) = match row.kind {
        RowKind::App | RowKind::Component => ("", String::new()),
        RowKind::Change(action) => (class_of(action), format!("{:<4}", action.symbol())),
        RowKind::Value => ("f", "  ".to_owned()),
        RowKind::Diff(DiffLine::Added) => ("a", "  ".to_owned()),
        RowKind::Diff(DiffLine::Removed) => ("r", "  ".to_owned()),
        RowKind::Diff(DiffLine::Place) => ("p", "  ".to_owned()),
        RowKind::Diff(DiffLine::Context) => ("", "  ".to_owned()),
    };
    let arrow = if row.kind == RowKind::Value && !row.tail.is_empty() { " ← " } else { "  " };
    let tail = if row.tail.is_empty() {
        String::new()
    } else {
        format!("<span class=\"f\">{arrow}{}</span>", html(&row.tail))
    };
    let text = html(&format!("{mark}{}", row.text));
    let text = if row.kind == RowKind::App { format!("<b>{text}</b>") } else { text };
    format!("{}<span class=\"{class}\">{text}</span>{tail}\n", "  ".repeat(row.depth - 1))
}

fn class_of(action: PlanAction) -> &'static str {
    match action {
        PlanAction::Create => "a",
        PlanAction::Prune => "r",
        PlanAction::Update
        | PlanAction::Run
        | PlanAction::Switch
        | PlanAction::ReplaceCreateFirst
        | PlanAction::ReplaceDestroyFirst => "c",
    }
}
