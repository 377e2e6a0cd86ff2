//! Keeps the shape that `docs/architecture.md` draws: who may use whom, what the core may touch, how large files may grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of code in one file before its tests.
const MAX_FILE: usize = 700;
/// Median of the same over all files of a crate.
const MAX_MEDIAN: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns whether a file holds tests only, by the names this project gives such files.
fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with("tests.rs")
        || path.strip_prefix(root()).unwrap_or(path).components().any(|part| part.as_os_str() == "tests")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns a file's lines up to its `#[cfg(test)]` module, without comments.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}

/// Returns `crate -> module -> modules it may use`, read from the tables of `docs/architecture.md`.
fn allowed() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut tables: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### Modules of ") {
            current = Some(title.trim_matches('`').to_owned());
        } else if line.starts_with('#') {
            current = None;
        }
        let (Some(name), Some(row)) = (&current, line.strip_prefix("| `")) else { continue };
        let (module, rest) = row.split_once("` |").expect("a row is | `module` | uses | purpose |");
        let uses = rest.split('|').next().unwrap_or_default();
        let uses = uses.split(',').map(|word| word.trim().trim_matches('`').to_owned()).filter(|word| !word.is_empty());
        tables.entry(name.clone()).or_default().insert(module.to_owned(), uses.collect());
    }
    tables
}

fn module_of(source: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(source).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let tables = allowed();
    let mut wrong = Vec::new();
    for (name, table) in &tables {
        let source = root().join("reconciler").join(name).join("src");
        let mut seen = BTreeSet::new();
        for path in rust_files(&source) {
            let module = module_of(&source, &path);
            if matches!(module.as_str(), "lib" | "main") {
                continue;
            }
            seen.insert(module.clone());
            let Some(uses) = table.get(&module) else {
                wrong.push(format!("{}: module `{module}` is not in the table", path.display()));
                continue;
            };
            for (line, text) in code(&path) {
                for (at, _) in text.match_indices("crate::") {
                    let rest = &text[at + "crate::".len()..];
                    let used: Vec<String> = if let Some(group) = rest.strip_prefix('{') {
                        group
                            .split([',', '}'])
                            .map(|word| word.trim().split("::").next().unwrap_or("").to_owned())
                            .collect()
                    } else {
                        vec![rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()]
                    };
                    for used in used {
                        let is_module = table.contains_key(&used);
                        if is_module && used != module && !uses.contains(&used) {
                            wrong.push(format!("{}:{line}: `{module}` must not use `{used}`", path.display()));
                        }
                    }
                }
            }
        }
        for module in table.keys().filter(|module| !seen.contains(*module)) {
            wrong.push(format!("docs/architecture.md: `{name}` has no module `{module}`"));
        }
    }
    assert!(tables.contains_key("core") && tables.contains_key("engine"), "the tables were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    for (name, table) in allowed() {
        let mut done = BTreeSet::new();
        while done.len() < table.len() {
            let next: Vec<_> = table
                .iter()
                .filter(|(module, uses)| !done.contains(*module) && uses.iter().all(|used| done.contains(used)))
                .map(|(module, _)| module.clone())
                .collect();
            let open: Vec<_> = table.keys().filter(|module| !done.contains(*module)).collect();
            assert!(!next.is_empty(), "`{name}` has a cycle, or names an unknown module, among {open:?}");
            done.extend(next);
        }
    }
}

#[test]
fn the_core_touches_nothing_of_the_world() {
    let banned = [
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "std::io::std",
        "tokio::",
        "::now(",
        "HashMap",
        "HashSet",
        "println!",
        "print!(",
        "eprintln!",
        "tracing::",
        "rand::",
        "async fn",
    ];
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("reconciler/core/src")) {
        for (line, text) in code(&path) {
            for word in banned.iter().filter(|word| text.contains(**word)) {
                wrong.push(format!("{}:{line}: `{word}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "the core is pure; pass it in as a value:\n{}", wrong.join("\n"));
}

#[test]
fn no_string_becomes_shell() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("reconciler")) {
        for (line, text) in code(&path) {
            for word in
                ["new(\"sh\")", "new(\"bash\")", "new(\"/bin/sh\")", "arg(\"-c\").arg(format!", ".raw_command(format!"]
            {
                if text.contains(word) {
                    wrong.push(format!("{}:{line}: {word}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_small() {
    let mut wrong = Vec::new();
    for name in ["core", "protocol", "host", "engine", "cli"] {
        let mut sizes = Vec::new();
        for path in rust_files(&root().join("reconciler").join(name)) {
            let lines = code(&path).len();
            if lines > MAX_FILE {
                wrong.push(format!(
                    "{}: {lines} lines of code, the limit is {MAX_FILE}: find the second noun",
                    path.display()
                ));
            }
            sizes.push(lines);
        }
        sizes.sort_unstable();
        let median = sizes[sizes.len() / 2];
        if median > MAX_MEDIAN {
            wrong.push(format!("reconciler/{name}: the median file has {median} lines, the limit is {MAX_MEDIAN}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_the_fields_words() {
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("reconciler")) {
        for (line, text) in code(&path) {
            for keyword in ["struct ", "enum ", "trait "] {
                let Some((_, rest)) = text.split_once(keyword) else { continue };
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                if ["Manager", "Helper", "Util", "Utils", "Handler"].iter().any(|word| name.ends_with(word)) {
                    wrong.push(format!("{}:{line}: `{name}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "see docs/glossary.md for the words:\n{}", wrong.join("\n"));
}
