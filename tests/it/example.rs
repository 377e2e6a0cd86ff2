//! The working example of this repository is test case 0: it loads without a finding.

use holdfast_core::config::load;
use holdfast_testkit::example::example;

#[test]
fn loads_without_a_finding() {
    let (config, findings) = load(&example());
    let shown: Vec<_> = findings.0.iter().map(|f| format!("{}: {} ({})", f.origin, f.message, f.hint)).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    let config = config.expect("a valid repository has a model");
    assert_eq!(
        config.environments.keys().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "investment-dev",
            "investment-prod",
            "neurocore-prod",
            "neurocore-stage",
            "nps-dev",
            "nps-manual",
            "nps-prod",
            "numbers-dev",
            "numbers-prod",
            "prod",
            "shia-dev",
            "shia-prod",
            "shia-stage"
        ]
    );
}
