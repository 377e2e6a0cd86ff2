//! Repositories in, models and findings out.

use holdfast_core::config::{Config, SourceTree, load};
use holdfast_core::diag::Diagnostics;
use holdfast_core::view::{DiagnosticStyle, diagnostics_text};

#[path = "config/hostile.rs"]
mod hostile;

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
fn user_keys_and_anchors_are_allowed() {
    let app = include_str!("config/nps.yaml");
    let app = format!("x-check: &check {{ http: {{ path: / }}, interval: 1s }}\n{app}")
        .replace("    watch:", "    x-note: ours\n    watch:")
        .replace("healthcheck: {", "healthcheck: { <<: *check,");
    let config = valid(&[("environments/prod/nps.yaml", &app)]);
    let web = &config.environments.values().next().unwrap().apps.values().next().unwrap().components[1];
    assert_eq!(web.healthcheck.as_ref().unwrap().interval.0, 2000, "the map's own key is stronger than a merged one");
}

#[test]
fn cap_82_a_smoke_test_asks_the_site_of_the_proof_and_any_other_it_names() {
    let smoke = "    prove: { port: 8100, host: nps.example, json: release }\n    smoke:\n      - { path: /, contains: NPS }\n      \
                 - { path: /x, port: 81, host: b.example, status: [301, 302], json: { a.b: 1 } }\n    watch:";
    let app = include_str!("config/nps.yaml").replace("    watch:", smoke);
    let config = valid(&[("environments/prod/nps.yaml", &app)]);
    let web = &config.environments.values().next().unwrap().apps.values().next().unwrap().components[1];
    let [first, second] = web.smoke.as_slice() else { panic!("{:?}", web.smoke) };
    assert_eq!((first.port, first.host.as_str(), first.contains.as_str()), (8100, "nps.example", "NPS"));
    assert_eq!((second.port, second.host.as_str(), second.status.as_slice()), (81, "b.example", &[301, 302][..]));
    assert_eq!(second.json["a.b"], "1");
}

/// Cases of wrong input: name, then files that are changed. Each is one snapshot of all findings.
const WRONG: &[(&str, &[(&str, &str)])] = &[
    (
        "keys_and_types",
        &[(
            "environments/prod/nps.yaml",
            "\
app: nps
relaese: v4
release: 1.10
hosts: web
componets: {}
components:
  web:
    compose: templates/compose/nps-web.yaml.j2
    strategy: blue-green
    ports: { api: { blue: 81010, gren: 8201 } }
    healtcheck: { state: true }
    healthcheck: { http: { path: api, status: [200, 99] }, interval: 2, timeout: 5 s, retries: 0 }
    migrate: { command: alembic upgrade head, reversible: yes }
    watch: { window: 1h, max_error_ratio: 0.01 }
    drain: { timeout: 30s, websockets: untilclosed }
  Edge_1:
    nginx: ../nginx.j2
    files: [{ path: etc/x, template: files/x, mode: 644 }]
",
        )],
    ),
    (
        "names_that_do_not_exist",
        &[(
            "environments/prod/nps.yaml",
            "\
app: nsp
release: v4
hosts: [web1, web9, box, web1]
components:
  web:
    compose: compose/nps-wbe.yaml.j2
    strategy: blue_green
    ports: { api: { blue: 8101, green: 8201 }, admin: { blue: 8102, green: 8202 } }
    healthcheck: { http: { path: / } }
  worker:
    compose: templates/compose/nps-web.yaml.j2
    strategy: workers
    hosts: { role: wbe }
    healthcheck: { tcp: { port: apo } }
  api:
    systemd: systemd/nps-api@.service.j2
    strategy: rolling
    hosts: [web2]
    ports: { api: 9000 }
  edge:
    nginx: nginx/nps.conf.j2
    upstreams: { a: wbe.api, b: web.apy, c: web, d: worker.x, e: api.api }
",
        )],
    ),
    (
        "strategies_and_kinds",
        &[(
            "environments/prod/nps.yaml",
            "\
app: nps
release: v4
components:
  none: { strategy: rolling }
  both: { compose: compose/nps-web.yaml.j2, nginx: nginx/nps.conf.j2, strategy: rolling }
  silent: { compose: compose/nps-web.yaml.j2 }
  noports: { compose: compose/nps-web.yaml.j2, strategy: blue_green }
  oneport: { compose: compose/nps-web.yaml.j2, strategy: blue_green, ports: { api: 1234 } }
  twoports: { compose: compose/nps-web.yaml.j2, strategy: singleton, ports: { api: { blue: 1, green: 2 } } }
  sameports: { compose: compose/nps-web.yaml.j2, strategy: blue_green, ports: { api: { blue: 7000, green: 7000 } } }
  instance: { systemd: systemd/nps-api@.service.j2, strategy: singleton }
  site: { nginx: nginx/nps.conf.j2, strategy: blue_green, healthcheck: { state: true } }
  up: { compose: compose/nps-web.yaml.j2, strategy: in_place, upstreams: { x: oneport.api }, keep_previous: 1h, prove: { header: X } }
  check: { compose: compose/nps-web.yaml.j2, strategy: in_place, healthcheck: { tcp: {}, state: true }, drain: { max: 1h } }
  empty: { compose: compose/nps-web.yaml.j2, strategy: in_place, healthcheck: {} }
  proof: { compose: compose/nps-web.yaml.j2, strategy: workers, prove: { header: X, json: y } }
",
        )],
    ),
    (
        "claimed_twice",
        &[
            ("environments/stage/environment.yaml", "hosts: [web1]\n"),
            (
                "environments/stage/nps.yaml",
                "\
app: nps
release: v4
components:
  web:
    compose: compose/nps-web.yaml.j2
    strategy: blue_green
    ports: { api: { blue: 8101, green: 8301 } }
  one: { systemd: systemd/nps-api@.service.j2, strategy: workers }
  two: { systemd: systemd/nps-api@.service.j2, strategy: workers, hosts: [web1] }
  three: { files: [{ path: /etc/x, template: nginx/nps.conf.j2 }] }
  four: { files: [{ path: /etc/x, template: nginx/nps.conf.j2 }, { path: \"{{ dir }}/x\", template: nginx/nps.conf.j2 }] }
  five: { files: [{ path: \"{{ dir }}/x\", template: nginx/nps.conf.j2 }] }
  edge: { nginx: nginx/nps.conf.j2, upstreams: { nps_api: web.api } }
  web-blue: { compose: compose/nps-data.yaml.j2, strategy: stateful }
",
            ),
        ],
    ),
    (
        "inventory",
        &[
            (
                "inventory/hosts.yaml",
                "\
hosts:
  web1: { address: 192.0.2.1 }
  web2: { address: -oProxyCommand=x, host_key: ssh-ed25519 AAAA }
  web3: { address: 192.0.2.3, host_key: \"web3 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0WcbFoFpb7NqnlkNnmPUDYkz2cXRQXZHGLlHbhJm4S\" }
  web4: { address: local, user: root, host_key: ssh-dss AAAA }
  WEB: { address: local }
  web5: { address: local, prot: 22, user: \"a b\", port: 0, variables: { a-b: 1, mode: 0644, big: 123456789012345678901234567890 } }
",
            ),
            ("inventory/more.yaml", "hosts:\n  web1: { address: local }\n  box1: { address: local }\n  box2: { address: local }\n"),
            ("inventory/other.yml", "hosts: {}\n"),
            ("inventory/deep/a.yaml", "hosts: {}\n"),
        ],
    ),
    (
        "environment_and_layout",
        &[
            ("holdfast.yaml", "format: 2\ndefaults: { sync: { mode: auto } }\n"),
            (
                "environments/prod/environment.yaml",
                "\
hosts: { role: wbe, zone: 1 }
sync: { mode: automatic, drift: off, ignore: [\"a[\"], prune_limit_percent: 101 }
rollout: { canary: -1, max_unavailable: 0%, all_or_nothing: on, ready_deadline: soon }
",
            ),
            ("environments/stage/nps.yaml", "app: nps\n"),
            ("environments/Bad/environment.yaml", "hosts: [web1]\n"),
            ("environments/prod/nps.yml", "app: nps\n"),
            ("environments/prod/other.sops.yaml", "a: b\n"),
            ("environments/lost.yaml", "a: b\n"),
            ("environments/prod/deep/a.yaml", "a: b\n"),
        ],
    ),
    (
        "secrets_are_never_shown",
        &[(
            "environments/prod/secrets.sops.yaml",
            "\
database:
  password: hunter2
  note_unencrypted: hunter2
  empty: \"\"
  'a b': ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]
  half: ENC[AES256_GCM,data:,iv:YQ==,tag:YQ==,type:str]
list: [hunter2]
sops: { mac: hunter2, age: [] }
",
        )],
    ),
    ("secrets_syntax", &[("environments/prod/secrets.sops.yaml", "password: 'hunter2\nother: hunter2\n")]),
    ("secrets_without_metadata", &[("environments/prod/secrets.sops.yaml", "password: hunter2\n")]),
    (
        "yaml",
        &[
            ("environments/prod/nps.yaml", "app: nps\napp: nps2\n<<: 3\nx: !reset a\ny: *nowhere\n"),
            ("environments/prod/a.yaml", "app: a\n  release: v1\n"),
            ("environments/prod/b.yaml", "app: b\n---\napp: c\n"),
            ("environments/prod/c.yaml", "# nothing\n"),
            ("environments/prod/d.yaml", "- app\n- d\n"),
            ("environments/prod/e.yaml", "? [a, b]\n: c\n"),
            ("environments/prod/f.yaml", "%YAML 1.1\n---\napp: f\n"),
            ("environments/prod/g.yaml", "app: &a [*a]\n"),
            ("environments/prod/h.yaml", "app: \"unfinished\n"),
            ("environments/prod/i.yaml", "\tapp: i\n"),
        ],
    ),
    ("nothing_there", &[("holdfast.yaml", ""), ("inventory/hosts.yaml", "hosts:\n")]),
];

#[test]
fn everything_wrong_is_found_at_once() {
    for (name, changes) in WRONG {
        let (config, diagnostics) = load(&repository(changes));
        assert!(config.is_none(), "{name} was taken");
        let text = shown(&diagnostics);
        assert!(!text.contains("hunter2"), "{name}: a secret is shown:\n{text}");
        insta::assert_snapshot!(*name, text);
        for diagnostic in &diagnostics.0 {
            let message = &diagnostic.message;
            assert!(!message.is_empty() && !message.ends_with('.'), "{message}");
            if diagnostic.origin.line > 0 && !diagnostic.origin.file.ends_with("secrets.sops.yaml") {
                let file = &repository(changes).files[&diagnostic.origin.file];
                let line =
                    String::from_utf8_lossy(file).lines().nth(diagnostic.origin.line as usize - 1).map(str::to_owned);
                assert_eq!(line.unwrap_or_default(), diagnostic.line_text, "{name}: {message}");
            }
        }
    }
}

#[test]
fn a_misspelt_key_is_shown_with_its_line_and_what_was_meant() {
    let app = include_str!("config/nps.yaml").replace("healthcheck:", "healtcheck:");
    let (config, diagnostics) = load(&repository(&[("environments/prod/nps.yaml", &app)]));
    assert!(config.is_none());
    insta::assert_snapshot!(shown(&diagnostics));
}

#[test]
fn hostile_files_are_refused_on_a_small_stack() {
    for (name, text, code) in hostile::files() {
        let worker = std::thread::Builder::new().stack_size(512 << 10).spawn(move || {
            let mut tree = repository(&[]);
            tree.files.insert("environments/prod/nps.yaml".to_owned(), text.into_bytes());
            let (config, diagnostics) = load(&tree);
            assert!(config.is_none());
            diagnostics
        });
        let diagnostics = worker.unwrap().join().unwrap_or_else(|_| panic!("{name}: panicked"));
        let codes: Vec<&str> = diagnostics.0.iter().map(|d| d.code.as_str()).collect();
        assert!(codes.contains(&code), "{name}: {codes:?}");
        assert!(diagnostics.0.iter().all(|d| d.line_text.len() <= 2_000), "{name}: a line is not cut");
    }
}

#[test]
fn files_that_are_not_utf8_are_named_with_the_line() {
    let mut tree = repository(&[]);
    tree.files.insert("environments/prod/nps.yaml".to_owned(), b"app: nps\nrelease: \xff\n".to_vec());
    tree.files.insert("templates/nginx/nps.conf.j2".to_owned(), b"\xc3\x28".to_vec());
    let (config, diagnostics) = load(&tree);
    assert!(config.is_none());
    insta::assert_snapshot!(shown(&diagnostics));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let app = format!("\u{feff}{}", include_str!("config/nps.yaml").replace('\n', "\r\n"));
    assert_eq!(
        valid(&[("environments/prod/nps.yaml", &app)]).environments,
        valid(&[]).environments,
        "the same model with the same places"
    );
}

#[test]
fn problems_of_the_tree_refuse_the_commit() {
    let mut tree = repository(&[]);
    tree.problems.push(holdfast_core::config::TreeProblem {
        path: "inventory/link.yaml".to_owned(),
        code: "symlink".to_owned(),
        message: "this is a symbolic link".to_owned(),
    });
    let (config, diagnostics) = load(&tree);
    assert!(config.is_none());
    assert_eq!(diagnostics.0[0].origin.to_string(), "inventory/link.yaml");
}

#[test]
fn many_findings_are_cut_and_counted() {
    let app: Vec<String> = (0..2_000).map(|index| format!("k{index}: 1\n")).collect();
    let (_, diagnostics) = load(&repository(&[("environments/prod/nps.yaml", &app.concat())]));
    assert_eq!(diagnostics.0.len(), 501);
    assert!(diagnostics.0.last().unwrap().message.contains("more findings are not shown"));
}

#[test]
fn secrets_have_fingerprints_that_change_with_the_ciphertext_only() {
    let secrets = |text: &str| {
        let config = valid(&[("environments/prod/secrets.sops.yaml", text)]);
        config.environments.into_values().next().unwrap().secrets
    };
    let text = include_str!("config/secrets.sops.yaml");
    let (first, again) = (secrets(text), secrets(&format!("# a comment\n{text}")));
    let other = secrets(&text.replace("p673w==", "q673w=="));
    let print = |secrets: &std::collections::BTreeMap<String, holdfast_core::config::SealedValue>, name: &str| {
        secrets[name].secret.fingerprint.clone()
    };
    assert_eq!(print(&first, "database.password"), print(&again, "database.password"));
    assert_ne!(print(&first, "database.password"), print(&other, "database.password"));
    assert_eq!(print(&first, "database.replicas.0"), print(&other, "database.replicas.0"));
}
