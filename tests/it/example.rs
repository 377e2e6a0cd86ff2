//! The working example of this repository is test case 0: it loads without a finding.

use std::fs;
use std::path::Path;

use holdfast_core::config::{SourceTree, load};

/// Returns the example as it is in the work tree.
pub(crate) fn example() -> SourceTree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tree = SourceTree::default();
    let mut open = ["holdfast.yaml", "inventory", "environments", "templates"].map(|part| root.join(part)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            tree.files.insert(name, fs::read(&path).unwrap());
        }
    }
    tree
}

#[test]
fn loads_without_a_finding() {
    let (config, findings) = load(&example());
    let shown: Vec<_> = findings.0.iter().map(|f| format!("{}: {} ({})", f.origin, f.message, f.hint)).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    let config = config.expect("a valid repository has a model");
    assert_eq!(config.environments.keys().map(ToString::to_string).collect::<Vec<_>>(), ["prod"]);
}
