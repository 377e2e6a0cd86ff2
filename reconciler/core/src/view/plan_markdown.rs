//! A plan for a comment on a pull request.

use crate::plan::Plan;

use super::escape::{fenced, html, visible};
use super::plan_rows::{Group, Row, RowKind, groups, host_list, quiet_hosts};
use super::plan_text::{blocker_place, summary};
use super::words::{Counts, count};

/// Characters of a comment. GitHub takes 65,536, GitLab a million; the rest is for whoever puts a heading above it.
const MAX_CHARS: usize = 60_000;
/// Characters of one group's block.
const MAX_GROUP: usize = 40_000;
/// Characters of the blockers' block.
const MAX_BLOCKERS: usize = 10_000;

/// Returns a plan as Markdown for a pull request, at most 60,000 characters.
///
/// # Guarantees
/// Everything that is not ours stands in code blocks that it cannot leave: no mention, link, image or HTML comes of a name, a
/// note, a line of a file or a host's words. Too long a plan loses its diffs first, then its last hosts, and says so.
pub fn plan_markdown(plan: &Plan) -> String {
    let whole = page(plan, true, usize::MAX);
    if whole.chars().count() <= MAX_CHARS {
        return whole;
    }
    let mut hosts = usize::MAX;
    loop {
        let text = page(plan, false, hosts);
        if text.chars().count() <= MAX_CHARS || hosts == 0 {
            return text;
        }
        hosts = groups(plan).len().min(hosts) / 2;
    }
}

fn page(plan: &Plan, diffs: bool, most: usize) -> String {
    let counts = Counts::of(plan);
    let mut text = format!("### Plan for `{}` at `{}`\n\n", plan.environment, plan.commit.short());
    text.extend(["**", &summary(plan, counts), "**\n\n"]);
    if !plan.blockers.is_empty() {
        let lines: Vec<String> = plan
            .blockers
            .iter()
            .map(|blocker| format!("! {}{}: {}", blocker.code, blocker_place(blocker), visible(&blocker.message)))
            .collect();
        text.push_str("#### Blockers\n\n");
        text.push_str(&fenced("diff", &cut(&lines.join("\n"), MAX_BLOCKERS)));
        text.push('\n');
    }
    let groups = groups(plan);
    for group in groups.iter().take(most) {
        text.push_str(&details(group, diffs));
    }
    let (quiet, unseen) = quiet_hosts(plan);
    if !quiet.is_empty() && counts.hosts > 0 {
        text.extend([&host_list(&quiet), ": nothing to change.\n\n"]);
    }
    if !unseen.is_empty() {
        text.extend([&host_list(&unseen), ": not planned, since not known.\n\n"]);
    }
    if !diffs {
        let left = groups.len().saturating_sub(most);
        let hosts = if left == 0 { String::new() } else { format!(" and {}", count(left, "group of hosts")) };
        text.extend([
            "The plan is too long for a comment: diffs",
            &hosts,
            " are left out. `holdfast plan` shows all.\n",
        ]);
    }
    text
}

fn details(group: &Group<'_>, diffs: bool) -> String {
    let rows = group.rows.iter().filter(|row| diffs || !matches!(row.kind, RowKind::Diff(_) | RowKind::Value));
    let block: Vec<String> = rows.map(line).collect();
    let changes = count(group.changes, "change");
    let each = if group.hosts.len() > 1 { " on each" } else { "" };
    format!(
        "<details><summary><b>{}</b>: {changes}{each}</summary>\n\n{}\n</details>\n\n",
        html(&host_list(&group.hosts)),
        fenced("diff", &cut(&block.join("\n"), MAX_GROUP))
    )
}

/// Returns a row as a line of a `diff` block, where the first character gives the colour.
fn line(row: &Row) -> String {
    let tail = |before: &str| if row.tail.is_empty() { String::new() } else { format!("{before}{}", row.tail) };
    match row.kind {
        RowKind::App => format!("# {}{}", row.text, tail("  ")),
        RowKind::Component => format!("#   {}{}", row.text, tail("  ")),
        RowKind::Change(action) => format!("{:<3} {}{}", action.symbol(), row.text, tail("  # ")),
        RowKind::Value => format!("    # {}{}", row.text, tail(" ← ")),
        RowKind::Diff(_) => row.text.clone(),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = most;
    let mut lines = text.lines();
    for line in lines.by_ref() {
        let length = line.chars().count() + 1;
        if length > left {
            break;
        }
        left -= length;
        kept.extend([line, "\n"]);
    }
    kept.extend(["… ", &(lines.count() + 1).to_string(), " more lines"]);
    kept
}
