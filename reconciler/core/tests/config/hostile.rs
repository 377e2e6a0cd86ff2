//! Files that are written to hurt whoever reads them.

use std::fmt::Write;

/// Refusals of hostile files: name, text, code.
pub(crate) fn files() -> Vec<(&'static str, String, &'static str)> {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{below}]").unwrap();
    }
    let quadratic = format!("l: &l [{}]\nm: [{}]\n", vec!["x"; 20_000].join(","), vec!["*l"; 20_000].join(","));
    let long = format!("s: &s {}\nm: [{}]\n", "a".repeat(200_000), vec!["*s"; 20_000].join(","));
    let mut chain = String::from("x0: &x0 [a]\n");
    for level in 1..200 {
        writeln!(chain, "x{level}: &x{level} [*x{}]", level - 1).unwrap();
    }
    let blocks: Vec<String> = (0..2_000).map(|level| format!("{}k:\n", " ".repeat(level % 500))).collect();
    vec![
        ("billion laughs", laughs, "too-many"),
        ("quadratic alias", quadratic, "too-many"),
        ("a long text by alias", long, "too-large"),
        ("a chain of aliases, each line shallow", chain, "too-deep"),
        ("100,000 nested lists", "[".repeat(100_000), "too-deep"),
        ("100,000 nested maps", "{a: ".repeat(100_000), "too-deep"),
        ("100,000 nested list items", "- ".repeat(100_000), "too-deep"),
        ("deep blocks", blocks.concat(), "too-deep"),
        ("a scalar of 100 MB", format!("app: {}\n", "a".repeat(100 << 20)), "too-large"),
        ("a scalar of half a MB", format!("app: {}\n", "a".repeat(1 << 19)), "too-large"),
        ("300,000 values", format!("a: [{}]\n", vec!["1"; 300_000].join(",")), "too-many"),
        ("control characters", "app: \u{0}\u{7}\n".to_owned(), "syntax"),
    ]
}
