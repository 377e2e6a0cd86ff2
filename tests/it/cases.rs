//! Mistakes that people make in a repository, and what they are told: one folder of `tests/cases` each.
//!
//! `base/input` is a repository without a mistake. Each other folder has an `input` that is laid over it, with `REMOVED` naming files
//! that are taken away, and an `expected.txt` of what `holdfast validate` says. `UPDATE_CASES=1 cargo test --test it cases` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_core::config::{SourceTree, load};
use holdfast_core::desired::resolve;
use holdfast_core::id::CommitId;
use holdfast_core::view::{DiagnosticStyle, diagnostics_text};

/// The columns of the terminal that the mistake is made at.
const WIDTH: usize = 100;

/// The file of a case that names others that are taken away.
const REMOVED: &str = "REMOVED";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// Returns the files below a folder by their path in it.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// Returns what `holdfast validate` says about files.
pub(crate) fn said(files: BTreeMap<String, Vec<u8>>) -> String {
    let mut tree = SourceTree::default();
    tree.files.extend(files);
    let (config, mut findings) = load(&tree);
    let commit: CommitId = "0".repeat(40).parse().unwrap();
    for environment in config.iter().flat_map(|config| config.environments.keys()) {
        if let Err(more) = resolve(config.as_ref().unwrap(), environment, &commit) {
            findings.extend(more);
        }
    }
    findings.sort();
    diagnostics_text(&findings, DiagnosticStyle { color: false, width: WIDTH })
}

#[test]
fn cap_10_each_mistake_is_told_as_it_was_agreed() {
    let base = files(&folder().join("base/input"));
    assert_eq!(said(base.clone()), "", "the repository without a mistake has none");
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "base" && folder().join(name).is_dir())
        .collect();
    names.sort();
    assert!(names.len() >= 30, "{names:?}");
    let (mut wrong, mut texts) = (Vec::new(), BTreeMap::new());
    for name in names {
        let case = folder().join(&name);
        let mut tree = base.clone();
        let laid = files(&case.join("input"));
        let removed = laid.get(REMOVED).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        for path in removed.lines() {
            assert!(tree.remove(path).is_some(), "{name}: {path} is not there");
        }
        tree.extend(laid.into_iter().filter(|(path, _)| path != REMOVED));
        let told = said(tree);
        assert!(!told.is_empty(), "{name}: nothing is said");
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(case.join("expected.txt"), &told).unwrap();
        }
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap_or_default();
        if told != expected {
            wrong.push(format!("{name}: expected\n{expected}\nand it says\n{told}"));
        }
        if let Some(other) = texts.insert(told, name.clone()) {
            wrong.push(format!("{name} and {other} are the same case"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
