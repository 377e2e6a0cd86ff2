//! The manager's own configuration.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast_core::config::{MailSecurity, NoticeTarget};
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
rollouts: 2
allow_non_fast_forward: false
";

#[test]
fn a_full_file_and_the_defaults_are_read() {
    let (config, diagnostics) = ManagerConfig::parse("manager.yaml", FULL.as_bytes());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let config = config.unwrap();
    assert_eq!(config.environments[&"prod".parse().unwrap()], Track::Tag("v*".to_owned()));
    assert_eq!((config.ssh.connect_timeout.as_secs(), config.rollouts), (5, 2));
    assert_eq!(config.runtime_dir, Path::new("/run/holdfast-manager"));
    let signers = config.signers.as_ref().unwrap();
    assert_eq!(signers.file, Path::new("/etc/holdfast/allowed_signers"));
    assert!(signers.scratch.starts_with("/srv/holdfast"));
    assert!(config.git(Path::new("/usr/bin/holdfast")).git_dir().starts_with("/srv/holdfast/git"));

    let least = "repository: /srv/git/infra.git\nenvironments: { prod: { branch: main } }\n";
    let (config, _) = ManagerConfig::parse("manager.yaml", least.as_bytes());
    let config = config.unwrap();
    assert_eq!((config.poll_interval.as_secs(), config.fetch_timeout.as_secs()), (60, 120));
    assert_eq!((config.state_dir.as_path(), config.rollouts), (Path::new("/var/lib/holdfast-manager"), 4));
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
rollouts: 0
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
fn cap_03_who_approves_stands_outside_the_repository() {
    let text = "\
repository: /srv/git/ops.git
environments:
  staging: { branch: develop }
  production: { tag: v*, approval: { required: 2, by: [ada, bob] } }
  canary: { tag: v*, approval: {} }
approvers:
  ada: [Ada@Example.net]
  bob: [bob@example.net, bob@home.example]
  carol: []
";
    let (config, diagnostics) = ManagerConfig::parse("manager.yaml", text.as_bytes());
    let config = config.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let rule = |name: &str| config.approvals.get(&name.parse().unwrap());
    assert_eq!(rule("staging"), None);
    let production = rule("production").unwrap();
    assert_eq!((production.required, production.approvers.len()), (2, 2));
    assert!(production.approvers["ada"].contains("ada@example.net"), "{production:?}");
    let canary = rule("canary").unwrap();
    assert_eq!(
        (canary.required, canary.approvers.keys().cloned().collect::<Vec<_>>().join(" ")),
        (1, "ada bob carol".to_owned())
    );

    let refused = refused(
        "\
repository: /srv/git/ops.git
environments:
  production: { tag: v*, approval: { by: [ade] } }
  staging: { branch: develop, approval: { required: 2 } }
  other: { branch: main, approval: { required: 0 } }
approvers: { ada: [ada@example.net], bob: [not an address] }
",
    );
    for part in
        ["error[unknown-approver]", "did you mean `ada`?", "is not an e-mail address", "a whole number from 1 to 100"]
    {
        assert!(refused.contains(part), "{part}:\n{refused}");
    }
}

#[test]
fn cap_79_places_for_notices_hold_no_secret_themselves() {
    let text = "\
repository: /srv/git/ops.git
environments: { prod: { branch: main } }
notices:
  - { name: team, slack: { url_file: /etc/holdfast/slack }, environments: [prod], severity: warning }
  - { name: call, telegram: { chat: -1001, token_file: /etc/holdfast/telegram }, severity: error }
  - { name: hook, webhook: { url: \"https://hooks.example.net/x?y=1\", token_file: /etc/holdfast/token } }
  - { name: mail, smtp: { server: mail.example.net, from: hf@example.net, to: [ops@example.net], user: hf@example.net, password_file: /etc/holdfast/mail } }
";
    let (config, diagnostics) = ManagerConfig::parse("manager.yaml", text.as_bytes());
    let notices = config.unwrap_or_else(|| panic!("{diagnostics:?}")).notices;
    assert_eq!(notices.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>(), ["team", "call", "hook", "mail"]);
    assert!(
        matches!(&notices[1].to, NoticeTarget::Telegram { api, chat, .. } if api == "https://api.telegram.org" && chat == "-1001")
    );
    assert!(matches!(
        &notices[3].to,
        NoticeTarget::Smtp { port: 587, security: MailSecurity::Starttls, login: Some(_), .. }
    ));

    let refused = refused(
        "\
repository: /srv/git/ops.git
environments: { prod: { branch: main } }
notices:
  - { name: two, slack: { url_file: /a }, webhook: { url: \"https://x.example\" } }
  - { name: none }
  - { name: open, webhook: { url: \"https://bot:hunter2@x.example\" } }
  - { name: token, telegram: { chat: 1, token: \"123:abc\", token_file: /t } }
  - { name: mail, smtp: { server: m, security: none, from: a@b.c, to: [a@b.c], user: u, password_file: /p } }
  - { name: same, slack: { url_file: /a } }
  - { name: same, slack: { url_file: /a } }
",
    );
    for part in [
        "error[bad-notice]",
        "error[repeated-notice]",
        "sent in the clear",
        "unknown key `token`",
        "a secret belongs into a file",
    ] {
        assert!(refused.contains(part), "{part}:\n{refused}");
    }
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
