//! Repositories in, models and findings out.

use holdfast_core::config::{Config, SourceTree, load};
use holdfast_core::diag::Diagnostics;
use holdfast_core::view::{DiagnosticStyle, diagnostics_text};

/// Files of a small valid repository; cases change some of them.
const BASE: [(&str, &str); 9] = [
    ("holdfast.yaml", "format: 1\nvariables:\n  project: demo\n"),
    ("inventory/hosts.yaml", include_str!("config/hosts.yaml")),
    ("environments/prod/environment.yaml", "hosts: { role: web }\nrollout: { canary: 1, max_unavailable: 50% }\n"),
    ("environments/prod/nps.yaml", include_str!("config/nps.yaml")),
    ("environments/prod/secrets.sops.yaml", include_str!("config/secrets.sops.yaml")),
    ("templates/compose/nps-data.yaml.j2", "services: {}\n"),
    ("templates/compose/nps-web.yaml.j2", "services: {}\n"),
    ("templates/nginx/nps.conf.j2", "server {}\n"),
    ("templates/systemd/nps-api@.service.j2", "[Service]\n"),
];

fn repository(changes: &[(&str, &str)]) -> SourceTree {
    let mut tree = SourceTree::default();
    for (path, text) in BASE.iter().chain(changes) {
        tree.files.insert((*path).to_owned(), text.as_bytes().to_vec());
    }
    tree
}

fn shown(diagnostics: &Diagnostics) -> String {
    diagnostics_text(diagnostics, DiagnosticStyle { color: false, width: 140 })
}

fn valid(changes: &[(&str, &str)]) -> Config {
    let (config, diagnostics) = load(&repository(changes));
    config.unwrap_or_else(|| panic!("refused:\n{}", shown(&diagnostics)))
}

#[test]
fn the_example_of_the_design_is_read_as_it_stands() {
    let (config, diagnostics) = load(&repository(&[]));
    assert_eq!(shown(&diagnostics), "");
    insta::assert_snapshot!(serde_json::to_string_pretty(&config.unwrap()).unwrap());
}

#[test]
fn a_misspelt_key_is_shown_with_its_line_and_what_was_meant() {
    let app = include_str!("config/nps.yaml").replace("healthcheck:", "healtcheck:");
    let (config, diagnostics) = load(&repository(&[("environments/prod/nps.yaml", &app)]));
    assert!(config.is_none());
    insta::assert_snapshot!(shown(&diagnostics));
}

#[test]
fn user_keys_and_anchors_are_allowed() {
    let app = include_str!("config/nps.yaml");
    let app = format!("x-check: &check {{ http: {{ path: / }}, interval: 1s }}\n{app}")
        .replace("    watch:", "    x-note: ours\n    watch:")
        .replace("healthcheck: {", "healthcheck: { <<: *check,");
    let config = valid(&[("environments/prod/nps.yaml", &app)]);
    let web = &config.environments.values().next().unwrap().apps.values().next().unwrap().components[1];
    assert_eq!(web.healthcheck.as_ref().unwrap().interval.0, 2000, "the map's own key is stronger than a merged one");
}
