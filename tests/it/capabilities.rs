//! Keeps `docs/capabilities.md` true: what Holdfast is to be able to do, and the tests that show it.
//!
//! `tests/capabilities.yaml` has each capability's number, its sentence, what is still missing, and tests that show it under another
//! name. A test shows capability 35 by its own name when that begins with `cap_35_`. Nothing else makes one count: one without a test
//! of its name is undone, one that still misses something is partly done.
//! `UPDATE_CAPABILITIES=1 cargo test --test it capabilities` writes the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// How many capabilities there are.
const ALL: u32 = 83;

const PAGE: &str = "docs/capabilities.md";
const SOURCE: &str = "tests/capabilities.yaml";

/// Folders that hold tests.
const FOLDERS: [&str; 2] = ["reconciler", "tests"];

/// A group of capabilities.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    title: String,
    capabilities: Vec<Capability>,
}

/// A capability as the source says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capability {
    number: u32,
    sentence: String,
    /// What is not there yet; why, where nothing is.
    missing: Option<String>,
    /// What shows it under another name: `file::test`, or a folder of `tests/cases`.
    #[serde(default)]
    also: Vec<String>,
}

/// How much of a capability is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Done,
    Partly,
    Undone,
}

/// A test as the source tree has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    /// The file, from the root.
    file: String,
    name: String,
    level: &'static str,
}

impl Test {
    /// Returns the capability that its name says.
    fn number(&self) -> Option<Result<u32, String>> {
        let rest = self.name.strip_prefix("cap_")?;
        let digits = rest.split('_').next().unwrap_or_default();
        let number = digits.parse().ok().filter(|number| digits.len() == 2 && (1..=ALL).contains(number));
        let place = format!("{}: `{}` names no capability from 01 to {ALL}", self.file, self.name);
        Some(number.ok_or(place))
    }

    fn link(&self) -> String {
        format!("[`{}`](../{}) ({})", self.name, self.file, self.level)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Returns what kind of test stands in a file; `signature` begins with its parameters.
fn level(file: &str, signature: &str) -> &'static str {
    let parameters = signature.split(')').next().unwrap_or_default();
    if file.starts_with("tests/e2e/") {
        "real hosts"
    } else if parameters.contains(" in ") {
        "property"
    } else if file.starts_with("tests/testkit/tests/simulation") {
        "simulation"
    } else if file == "tests/it/cases.rs" {
        "case"
    } else if file.contains("/tests/") && !file.contains("/src/") || file.starts_with("tests/it/") {
        "integration"
    } else {
        "unit"
    }
}

/// Returns the tests of one file: functions below an attribute whose last word is `test`.
fn tests_of(file: &str, text: &str) -> Vec<Test> {
    let mut found = Vec::new();
    let mut is_test = false;
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        from += line.len();
        let line = line.trim();
        if let Some(attribute) = line.strip_prefix("#[") {
            let name = attribute.split(['(', ']']).next().unwrap_or_default();
            is_test |= name == "test" || name.ends_with("::test");
            continue;
        }
        let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let (true, Some((name, _))) = (is_test, signature.and_then(|signature| signature.split_once('('))) {
            let open = from - line.len() - 1;
            let parameters = &text[text[open..].find('(').map_or(open, |at| open + at)..];
            found.push(Test { file: file.to_owned(), name: name.to_owned(), level: level(file, parameters) });
        }
        if !line.is_empty() && !line.starts_with("//") {
            is_test = false;
        }
    }
    found
}

fn all_tests() -> BTreeSet<Test> {
    let files = rust_files().into_iter().flat_map(|path| {
        let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        tests_of(&file, &fs::read_to_string(&path).unwrap())
    });
    files.collect()
}

/// Returns the page, or all that is wrong with what it is made from.
fn page(groups: &[Group], tests: &BTreeSet<Test>, is_case: impl Fn(&str) -> bool) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    let mut named: BTreeMap<u32, Vec<&Test>> = BTreeMap::new();
    for test in tests {
        match test.number() {
            Some(Ok(number)) => named.entry(number).or_default().push(test),
            Some(Err(problem)) => wrong.push(problem),
            None => {}
        }
    }
    let numbers: Vec<u32> = groups.iter().flat_map(|group| &group.capabilities).map(|one| one.number).collect();
    if numbers != (1..=ALL).collect::<Vec<_>>() {
        wrong.push(format!("{SOURCE}: the numbers are not 1 to {ALL} in order: {numbers:?}"));
    }
    let mut counts: BTreeMap<State, u32> = BTreeMap::new();
    let mut tables = String::new();
    for group in groups {
        let title = &group.title;
        write!(tables, "\n## {title}\n\n| | capability | state | shown by |\n|---|---|---|---|\n").unwrap();
        for capability in &group.capabilities {
            let number = capability.number;
            let own = named.remove(&number).unwrap_or_default();
            let mut shown: Vec<String> = own.iter().map(|test| test.link()).collect();
            for other in &capability.also {
                let test = other.rsplit_once("::").and_then(|(file, name)| {
                    tests
                        .iter()
                        .find(|test| test.file == file && test.name == name && test.number() != Some(Ok(number)))
                });
                match test {
                    Some(test) => shown.push(test.link()),
                    None if is_case(other) => {
                        let name = other.rsplit('/').next().unwrap_or_default();
                        shown.push(format!("[`{name}`](../{other}/expected.txt) (case)"));
                    }
                    None => {
                        wrong.push(format!("{SOURCE}: {number}: there is no test or case `{other}` of another name"));
                    }
                }
            }
            let state = match (&capability.missing, own.is_empty()) {
                (None, false) => State::Done,
                (Some(_), false) => State::Partly,
                (Some(_), true) => State::Undone,
                (None, true) => {
                    wrong.push(format!(
                        "{SOURCE}: {number}: no test begins with `cap_{number:02}_`, and `missing` does not say what is not there"
                    ));
                    State::Undone
                }
            };
            *counts.entry(state).or_default() += 1;
            let word = match state {
                State::Done => "done",
                State::Partly => "**partly**",
                State::Undone => "**undone**",
            };
            let sentence = &capability.sentence;
            let missing = match (&capability.missing, state) {
                (Some(text), State::Undone) => format!("<br>*Not there: {text}*"),
                (Some(text), _) => format!("<br>*Missing: {text}*"),
                (None, _) => String::new(),
            };
            writeln!(tables, "| {number} | {sentence}{missing} | {word} | {} |", shown.join("<br>")).unwrap();
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let count = |state| counts.get(&state).copied().unwrap_or_default();
    let (done, partly, undone) = (count(State::Done), count(State::Partly), count(State::Undone));
    let head = format!(
        "# What Holdfast can do\n\n\
         **{done} of {ALL}** are done, {partly} partly, {undone} not. Made from the tests and `{SOURCE}` by\n\
         `UPDATE_CAPABILITIES=1 cargo test --test it capabilities`; do not edit it by hand.\n\n\
         Five systems were run by hand, from guides. Each line is something that such a guide does or should do, as one sentence. It is\n\
         *done* when tests that begin with its number show all of it, *partly* when they show a part and the line says what is missing,\n\
         *undone* when nothing is shown, with the reason. In brackets: how near to the real thing a test is.\n\n\
         | level | what runs |\n|---|---|\n\
         | unit, property | one function; over any input |\n\
         | case | a repository with a mistake, and what its author is told, word by word |\n\
         | simulation | the whole manager against hosts in memory that run the real step machine, with faults |\n\
         | integration | the built program, or a module against a real git, sshd, nft, Docker's protocol, curl |\n\
         | real hosts | the program against booted Debian hosts with nginx, systemd and Docker (`./check`) |\n"
    );
    Ok(head + &tables)
}

#[test]
fn the_page_is_what_the_tests_show() {
    let text = fs::read_to_string(root().join(SOURCE)).unwrap();
    let groups: Vec<Group> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{SOURCE}: {error}"));
    let is_case = |path: &str| path.starts_with("tests/cases/") && root().join(path).join("expected.txt").is_file();
    let made = page(&groups, &all_tests(), is_case).unwrap_or_else(|wrong| panic!("{}", wrong.join("\n")));
    let path = root().join(PAGE);
    if std::env::var_os("UPDATE_CAPABILITIES").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(published.lines()).find(|(made, published)| made != published);
    assert!(
        made == published,
        "{PAGE} is stale: `UPDATE_CAPABILITIES=1 cargo test --test it capabilities` writes it; first difference: {differs:#?}"
    );
}

fn one(number: u32, missing: Option<&str>, also: &[&str]) -> Capability {
    let also = also.iter().map(|name| (*name).to_owned()).collect();
    Capability { number, sentence: "It does.".to_owned(), missing: missing.map(str::to_owned), also }
}

fn with(first: Capability) -> Vec<Group> {
    let rest = (2..=ALL).map(|number| one(number, Some("all of it"), &[]));
    vec![Group { title: "All".to_owned(), capabilities: std::iter::once(first).chain(rest).collect() }]
}

/// The tests of a file that has one.
fn sources(text: &str) -> BTreeSet<Test> {
    tests_of("tests/e2e/x.rs", text).into_iter().collect()
}

#[test]
fn a_capability_counts_by_a_test_of_its_name_alone() {
    let tests = sources("#[test]\n#[ignore = \"needs the lab\"]\nfn cap_01_goes() {\n}\n\n#[test]\nfn other() {\n}\n");
    let made = |capability| page(&with(capability), &tests, |_| false);
    let done = made(one(1, None, &["tests/e2e/x.rs::other"])).unwrap();
    assert!(done.contains("**1 of 83** are done, 0 partly, 82 not."), "{done}");
    let row = "| 1 | It does. | done | [`cap_01_goes`](../tests/e2e/x.rs) (real hosts)<br>[`other`](../tests/e2e/x.rs) (real hosts) |";
    assert!(done.contains(row), "{done}");
    assert!(made(one(1, Some("a part"), &[])).unwrap().contains("**0 of 83** are done, 1 partly, 82 not."));
    let without =
        page(&with(one(1, None, &["tests/e2e/x.rs::other"])), &sources("#[test]\nfn other() {}\n"), |_| false);
    assert!(without.unwrap_err()[0].contains("no test begins with `cap_01_`"));
    let nobody = made(one(1, None, &["tests/e2e/x.rs::gone", "tests/cases/gone"])).unwrap_err();
    assert_eq!(nobody.len(), 2, "{nobody:?}");
}

#[test]
fn a_number_nobody_knows_and_one_left_out_are_told() {
    for name in ["cap_84_x", "cap_00_x", "cap_7_x", "cap_x", "cap_007_x"] {
        let tests = sources(&format!("#[test]\nfn {name}() {{}}\n"));
        let wrong = page(&with(one(1, Some("all"), &[])), &tests, |_| false).unwrap_err();
        assert!(wrong.len() == 1 && wrong[0].contains(name), "{wrong:?}");
    }
    let twice = page(&with(one(2, Some("all"), &[])), &BTreeSet::new(), |_| false).unwrap_err();
    assert!(twice[0].contains("not 1 to 83"), "{twice:?}");
}

#[test]
fn only_tests_are_found_each_with_its_level() {
    let lines = [
        "fn cap_01_helps() {}",
        "#[tokio::test(start_paused = true)]",
        "async fn cap_02_waits() {}",
        "    /// Words.",
        "    #[test]",
        "    fn cap_03_any(",
        "        text in any_text(),",
        "    ) {}",
        "#[cfg(test)]",
        "fn cap_04_is_none() {}",
    ];
    let text = lines.map(|line| format!("{line}\n")).concat();
    let found = tests_of("reconciler/core/src/x.rs", &text);
    let found: Vec<_> = found.iter().map(|test| (test.name.as_str(), test.level)).collect();
    assert_eq!(found, [("cap_02_waits", "unit"), ("cap_03_any", "property")]);
    for (file, expected) in [
        ("reconciler/engine/tests/git.rs", "integration"),
        ("tests/testkit/src/load.rs", "unit"),
        ("tests/testkit/tests/simulation/chaos.rs", "simulation"),
        ("tests/it/cases.rs", "case"),
        ("tests/it/cli/help.rs", "integration"),
        ("tests/e2e/systems/shia.rs", "real hosts"),
        ("reconciler/core/src/plan/tests/seal.rs", "unit"),
    ] {
        assert_eq!(level(file, "()"), expected, "{file}");
    }
}
