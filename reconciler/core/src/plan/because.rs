//! What a change shows and where it came from: commit → file:line → field → rule.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_protocol::{FileLive, FileRecord, Observed};

use super::text_diff::{changed_lines, unified};
use crate::desired::DesiredFile;
use crate::render::{Content, Provenance};

/// Permission bits that let others than the owner read a file. Files with a secret never have them.
const READABLE_BY_OTHERS: u32 = 0o044;

/// Returns the live text of a file when it may be shown: it was sent, is text, and certainly holds no secret, neither now nor
/// when it was written.
///
/// A file that git no longer gives a secret may still hold it on the host, and a file of somebody else may hold theirs. What we
/// wrote and nobody changed is judged by its seal; anything else only by its mode, live and recorded.
pub(super) fn showable<'a>(live: &Observed<&'a FileLive>, record: Option<&FileRecord>) -> Option<&'a str> {
    let live = live.seen()?;
    let text = std::str::from_utf8(live.content.as_deref()?).ok()?;
    let written_by_us = record.is_some_and(|record| record.digest == live.digest);
    let without_secret = record.is_some_and(|record| Content::plain(text).sealed() == record.sealed);
    let open = live.mode & READABLE_BY_OTHERS != 0 && record.is_none_or(|record| record.mode & READABLE_BY_OTHERS != 0);
    ((written_by_us && without_secret) || open).then_some(text)
}

/// Returns the diff a change of a file shows, and the values that make it.
///
/// `old` is what is there, `None` when it may not be shown; an absent file is the empty text.
pub(super) fn explain_file(old: Option<&str>, desired: &DesiredFile) -> (String, Vec<Provenance>) {
    let new = desired.content.shown();
    match old {
        Some(old) => {
            let lines = changed_lines(old, &new);
            (unified(old, &new), provenance(&desired.content, Some(&lines)))
        }
        None => (String::new(), provenance(&desired.content, None)),
    }
}

/// Returns where the values of some lines came from, each value once, at its first line.
pub(super) fn provenance(content: &Content, lines: Option<&BTreeSet<u32>>) -> Vec<Provenance> {
    let mut first = BTreeMap::new();
    for entry in &content.provenance {
        if lines.is_none_or(|lines| lines.contains(&entry.output_line)) {
            first.entry((&entry.field, &entry.value)).or_insert(entry);
        }
    }
    let mut found: Vec<Provenance> = first.into_values().cloned().collect();
    found.sort_by(|a, b| (a.output_line, &a.field, &a.value).cmp(&(b.output_line, &b.field, &b.value)));
    found
}
