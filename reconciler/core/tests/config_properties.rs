//! The loader takes anything: it never panics, never takes half a repository, and says the same each time.

use holdfast_core::config::{SourceTree, load, load_manager};
use holdfast_core::view::{DiagnosticStyle, ValidateDocument, diagnostics_text};
use proptest::prelude::*;

const VALID: &str = include_str!("config/nps.yaml");

fn tree(app: Vec<u8>) -> SourceTree {
    let mut tree = SourceTree::default();
    let mut add = |path: &str, bytes: Vec<u8>| tree.files.insert(path.to_owned(), bytes);
    add("holdfast.yaml", b"format: 1\n".to_vec());
    add("inventory/hosts.yaml", include_bytes!("config/hosts.yaml").to_vec());
    add("environments/prod/environment.yaml", b"hosts: { role: web }\n".to_vec());
    add("environments/prod/nps.yaml", app);
    for template in ["compose/nps-data.yaml.j2", "compose/nps-web.yaml.j2", "nginx/nps.conf.j2"] {
        add(&format!("templates/{template}"), Vec::new());
    }
    tree
}

fn holds(app: Vec<u8>) -> Result<(), TestCaseError> {
    let source = String::from_utf8_lossy(&app).into_owned();
    let tree = tree(app);
    let (config, diagnostics) = load(&tree);
    prop_assert_eq!(config.is_some(), !diagnostics.has_errors());
    prop_assert_eq!(&load(&tree).1, &diagnostics);
    for diagnostic in &diagnostics.0 {
        let lines = source.lines().count() as u32 + 1;
        prop_assert!(diagnostic.length >= 1 && diagnostic.origin.line <= lines, "{:?}", diagnostic);
    }
    for width in [1, 40, 200] {
        let text = diagnostics_text(&diagnostics, DiagnosticStyle { color: false, width });
        prop_assert!(!text.contains('\u{1b}'), "a file can write to the terminal");
    }
    prop_assert_eq!(ValidateDocument::new(&diagnostics).diagnostics.len(), diagnostics.0.len());
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        holds(bytes.clone())?;
        load_manager("manager.yaml", &bytes);
    }

    #[test]
    fn yaml_like_text(text in "([a-z]{1,3}|[-:,?&*!|>'\"%@`{}\\[\\]# \n\t]|: |- |\n  |\u{e9}|\u{1b}|\u{202e}){0,60}") {
        holds(text.into_bytes())?;
    }

    #[test]
    fn a_valid_file_with_a_piece_taken_out_or_put_in(at in 0..VALID.len(), cut in 0_usize..30, put in "[a-z:{}\\[\\]\\-\n '\"&*]{0,6}") {
        let end = (at + cut).min(VALID.len());
        if VALID.is_char_boundary(at) && VALID.is_char_boundary(end) {
            holds(format!("{}{put}{}", &VALID[..at], &VALID[end..]).into_bytes())?;
        }
    }
}
