//! `--help` of everything, narrow and wide.

use std::fmt::Write as _;

use super::Place;

/// Returns the verbs that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description that goes on in the next line stands farther in.
    let named = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Returns the help of the program, of each verb, and of each verb below one.
fn all(place: &Place, columns: usize) -> Vec<(Vec<String>, String)> {
    let mut open = vec![Vec::new()];
    let mut found = Vec::new();
    while let Some(verb) = open.pop() {
        let mut arguments: Vec<&str> = verb.iter().map(String::as_str).collect();
        arguments.push("--help");
        let ran = place.run(columns, &arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{verb:?}: help is no error");
        for below in listed(&ran.out).iter().rev() {
            open.push([verb.clone(), vec![below.clone()]].concat());
        }
        found.push((verb, ran.out));
    }
    found
}

/// Returns a verb's help without the options that every verb takes.
fn own(help: &str) -> String {
    let (before, rest) = help.split_once("Global options:\n").expect("every verb takes the global options");
    let after = rest.find("Examples:\n").map_or("", |at| &rest[at..]);
    format!("{before}…\n\n{after}")
}

#[test]
fn every_verb_has_help_with_examples() {
    let place = Place::empty();
    for columns in [80, 140] {
        let all = all(&place, columns);
        assert!(all.len() > 25, "the verbs were found: {}", all.len());
        let mut text = String::new();
        for (verb, help) in all {
            let name = verb.join(" ");
            assert!(help.contains("Examples:\n  "), "`holdfast {name} --help` has no examples");
            assert!(!help.contains('\x1b'), "`holdfast {name} --help` has colour");
            let shown = if verb.is_empty() { help } else { own(&help) };
            let _ = writeln!(text, "$ holdfast {name} --help\n{shown}");
        }
        let text: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        insta::assert_snapshot!(format!("help_{columns}"), text);
    }
}

#[test]
fn completions_know_the_verbs() {
    let place = Place::empty();
    let verbs = listed(&place.run(80, &["--help"]).out);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run(80, &["completions", shell]);
        assert_eq!(ran.code, 0);
        for verb in &verbs {
            assert!(ran.out.contains(verb.as_str()), "{shell}: {verb}");
        }
    }
}
