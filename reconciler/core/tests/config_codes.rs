//! Every code of a finding is documented, and every documented code exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<PathBuf> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut files = vec![engine.join("git/tree.rs"), engine.join("manager.rs")];
    let mut open = vec![core];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Returns the literals that stand first, or second after a path, in calls that add a finding.
fn used() -> BTreeSet<String> {
    let calls = [
        "error(",
        "error_at(",
        "error_located(",
        "warning(",
        "fail(",
        "stop(",
        "problem(",
        "Err((",
        "let (code, message) = (",
    ];
    let mut codes = BTreeSet::new();
    for path in sources() {
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for call in calls {
            for (at, _) in text.match_indices(call) {
                let arguments = text[at + call.len()..].trim_start();
                let second = if call == "problem(" || call == "stop(" {
                    arguments.split_once(',').map(|(_, rest)| rest)
                } else {
                    None
                };
                for candidate in [Some(arguments), second].into_iter().flatten() {
                    let Some(code) = candidate.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                    else {
                        continue;
                    };
                    if !code.is_empty()
                        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    {
                        codes.insert(code.to_owned());
                    }
                }
            }
        }
    }
    codes
}

#[test]
fn codes_and_their_page_agree() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/diagnostics.md")).unwrap();
    let documented: BTreeSet<String> = page
        .split("\n## Templates")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned()))
        .collect();
    let used = used();
    let missing: Vec<_> = used.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&used).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not in docs/reference/diagnostics.md: {missing:?}; only there: {stale:?}"
    );
}
