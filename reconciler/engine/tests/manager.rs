//! The manager's own configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast_core::view::{DiagnosticStyle, diagnostics_text};
use holdfast_engine::git::Track;
use holdfast_engine::manager::ManagerConfig;

fn refused(text: &str) -> String {
    let (config, diagnostics) = ManagerConfig::parse("manager.yaml", text.as_bytes());
    assert!(config.is_none(), "taken: {config:?}");
    diagnostics_text(&diagnostics, DiagnosticStyle { color: false, width: 120 })
}

const FULL: &str = "\
repository: git@git.example.net:team/infra.git
state_dir: /srv/holdfast
poll_interval: 30s
environments:
  prod: { tag: v* }
  staging: { branch: main }
age_key_files: [/etc/holdfast/age.key]
ssh: { config_file: /etc/holdfast/ssh_config, connect_timeout: 5s, identity: /etc/holdfast/id }
allowed_signers: /etc/holdfast/allowed_signers
allow_non_fast_forward: false
";

#[test]
fn a_full_file_and_the_defaults_are_read() {
    let (config, diagnostics) = ManagerConfig::parse("manager.yaml", FULL.as_bytes());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let config = config.unwrap();
    assert_eq!(config.environments[&"prod".parse().unwrap()], Track::Tag("v*".to_owned()));
    assert_eq!(config.ssh.connect_timeout.as_secs(), 5);
    assert_eq!(config.runtime_dir, Path::new("/run/holdfast-manager"));
    let signers = config.signers.as_ref().unwrap();
    assert_eq!(signers.file, Path::new("/etc/holdfast/allowed_signers"));
    assert!(signers.scratch.starts_with("/srv/holdfast"));
    assert!(config.git().git_dir().starts_with("/srv/holdfast/git"));

    let least = "repository: /srv/git/infra.git\nenvironments: { prod: { branch: main } }\n";
    let (config, _) = ManagerConfig::parse("manager.yaml", least.as_bytes());
    let config = config.unwrap();
    assert_eq!((config.poll_interval.as_secs(), config.fetch_timeout.as_secs()), (60, 120));
    assert_eq!(config.state_dir, Path::new("/var/lib/holdfast-manager"));
}

#[test]
fn everything_wrong_is_said_at_once() {
    insta::assert_snapshot!(refused(
        "\
repository: git@git.example.net:team/infra.git
state_dri: /srv/holdfast
runtime_dir: run/holdfast
poll_interval: 10
fetch_timeout: 5ms
environments:
  prod: { tag: v*, branch: main }
  Staging: { branch: -x }
  other: {}
allow_non_fast_forward: yes
ssh: { connect_timeout: 0s }
"
    ));
    insta::assert_snapshot!("no_environment", refused("repository: /srv/git/infra.git\nenvironments:\n"));
}

#[test]
fn a_bad_repository_is_refused_without_its_password() {
    let text = refused("repository: https://bot:hunter2@git.example.net/x\nenvironments: { prod: { branch: main } }\n");
    assert!(text.contains("manager.yaml:1:13") && !text.contains("hunter2"), "{text}");
    let text = refused("repository: ext::sh -c id\nenvironments: { prod: { branch: main } }\n");
    assert!(text.contains("bad-repository"), "{text}");
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manager.yaml");
    let code = |path: &Path| ManagerConfig::read(path).1.0.first().map(|d| d.code.clone());
    assert_eq!(code(&path).as_deref(), Some("missing-file"));
    std::fs::write(&path, FULL).unwrap();
    for (mode, want) in [(0o640, None), (0o660, Some("unsafe-file")), (0o646, Some("unsafe-file"))] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(code(&path).as_deref(), want, "{mode:o}");
    }
}
