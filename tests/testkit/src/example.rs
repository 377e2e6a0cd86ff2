//! The working example at the root of the repository, as files.

use std::fs;
use std::path::Path;

use holdfast_core::config::SourceTree;

/// Returns the example as it is in the work tree.
///
/// # Panics
/// When a file of it cannot be read.
pub fn example() -> SourceTree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tree = SourceTree::default();
    let mut open = ["holdfast.yaml", "inventory", "environments", "templates"].map(|part| root.join(part)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of the example");
            open.extend(entries.map(|entry| entry.expect("an entry of the example").path()));
        } else {
            let name = path.strip_prefix(&root).expect("a path below the root").to_string_lossy().into_owned();
            tree.files.insert(name, fs::read(&path).expect("a file of the example"));
        }
    }
    tree
}
