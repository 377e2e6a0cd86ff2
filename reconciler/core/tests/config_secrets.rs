//! Secrets that are generated and secrets that are protected, in the model.

use std::collections::BTreeMap;

use holdfast_core::config::{Config, SourceTree, declared_secrets, load};
use holdfast_core::diag::{Diagnostics, Severity};
use holdfast_core::secret::{Generator, fingerprint};

const ENVIRONMENT: &str = "environments/prod/environment.yaml";
const GENERATED: &str = "environments/prod/generated/data_key.sops.yaml";

fn repository(secrets: &str, generated: Option<&str>) -> (Option<Config>, Diagnostics) {
    let sops = include_str!("config/secrets.sops.yaml");
    let metadata = &sops[sops.find("sops:").unwrap()..];
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut put = |path: &str, text: String| drop(files.insert(path.to_owned(), text.into_bytes()));
    put("holdfast.yaml", "format: 1\n".to_owned());
    put("inventory/hosts.yaml", "hosts:\n  here:\n    address: local\n".to_owned());
    put(ENVIRONMENT, format!("hosts: [here]\n{secrets}"));
    put("environments/prod/secrets.sops.yaml", sops.to_owned());
    if let Some(data) = generated {
        put(GENERATED, format!("data_key: {}\n{metadata}", ciphertext(data)));
    }
    load(&SourceTree { files, problems: Vec::new() })
}

fn ciphertext(data: &str) -> String {
    format!("ENC[AES256_GCM,data:{data},iv:YY=,tag:UQ=,type:str]")
}

fn codes(found: &Diagnostics) -> Vec<&str> {
    found.0.iter().filter(|one| one.severity == Severity::Error).map(|one| one.code.as_str()).collect()
}

#[test]
fn cap_48_what_is_generated_is_a_secret_of_its_own_file() {
    let (config, found) = repository("secrets:\n  generate:\n    data_key: fernet\n", Some("aaaa"));
    let config = config.unwrap_or_else(|| panic!("{found:?}"));
    let secrets = &config.environments.values().next().unwrap().secrets;
    let value = &secrets["data_key"];
    assert_eq!((value.generator, value.protected), (Some(Generator::Fernet), false));
    assert_eq!(value.secret.file, GENERATED);
    assert_eq!(value.secret.fingerprint, fingerprint(&ciphertext("aaaa"), GENERATED));
    assert!(secrets["database.password"].generator.is_none());
}

#[test]
fn cap_48_nothing_is_applied_while_a_value_is_missing() {
    let (config, found) = repository("secrets:\n  generate:\n    data_key: fernet\n", None);
    assert!(config.is_none());
    assert_eq!(codes(&found), ["secret-not-generated"]);
    assert_eq!(found.0[0].origin.to_string(), format!("{ENVIRONMENT}:4:5"));
    assert!(found.0[0].hint.contains("holdfast secrets generate prod"), "{}", found.0[0].hint);
}

#[test]
fn cap_51_a_protected_secret_changes_only_with_the_fingerprint_that_says_so() {
    let print = |data: &str| fingerprint(&ciphertext(data), GENERATED);
    let yaml =
        |print: &str| format!("secrets:\n  generate:\n    data_key: fernet\n  protected:\n    data_key: \"{print}\"\n");
    let (config, found) = repository(&yaml(&print("aaaa")), Some("aaaa"));
    let config = config.unwrap_or_else(|| panic!("{found:?}"));
    assert!(config.environments.values().next().unwrap().secrets["data_key"].protected);
    // The value changes, and what is meant does not.
    let (config, found) = repository(&yaml(&print("aaaa")), Some("bbbb"));
    assert!(config.is_none());
    assert_eq!(codes(&found), ["protected-secret"]);
    assert!(found.0[0].hint.contains(&print("bbbb")), "what to write is told: {}", found.0[0].hint);
    // A consent to that value holds for no other.
    assert!(repository(&yaml(&print("bbbb")), Some("bbbb")).0.is_some());
    assert!(repository(&yaml(&print("bbbb")), Some("cccc")).0.is_none());
    // Nor does it go away with the file.
    assert_eq!(codes(&repository(&yaml(&print("aaaa")), None).1), ["secret-not-generated"]);
    assert_eq!(
        codes(&repository("secrets:\n  protected:\n    data_key: \"0011223344556677\"\n", None).1),
        ["unknown-secret"]
    );
}

#[test]
fn what_an_environment_declares_is_read_while_the_rest_is_not_there() {
    let text = "hosts: [web]\nsecrets:\n  generate:\n    a: hex16\n    b: password\n  protected:\n    a: \"0011223344556677\"\n";
    let (declared, _) = declared_secrets(ENVIRONMENT, text);
    let declared = declared.unwrap();
    assert_eq!(declared.generate.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(declared.protected.contains("a") && declared.recipients.is_empty());
    assert!(declared_secrets(ENVIRONMENT, "hosts: [web]\nsecrets: { generate: { a: hex17 } }\n").0.is_none());
}

const APP: &str = r#"app: shop
release: v1
components:
  web:
    compose: compose/web.yaml.j2
    strategy: blue_green
    ports: { api: { blue: 8101, green: 8201 } }
    files: [{ path: "{{ dir }}/url", template: files/url.j2 }]
  data:
    compose: compose/data.yaml.j2
    strategy: stateful
    postgres:
      service: postgres
      roles: { shop: { password: data_key }, owners: {} }
      databases: { shop: { owner: owners, extensions: [vector, pgcrypto], grants: { shop: write }, seeds: { first: sql/first.sql.j2 } } }
"#;

/// Returns the repository of [`APP`], with the value of its secret or without any.
fn repository_with_databases(has_secrets: bool) -> (Option<Config>, Diagnostics) {
    let sops = include_str!("config/secrets.sops.yaml");
    let metadata = &sops[sops.find("sops:").unwrap()..];
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut put = |path: &str, text: &str| drop(files.insert(path.to_owned(), text.as_bytes().to_vec()));
    put("holdfast.yaml", "format: 1\n");
    put("inventory/hosts.yaml", "hosts:\n  here:\n    address: local\n");
    if has_secrets {
        put(ENVIRONMENT, "hosts: [here]\nsecrets: { generate: { data_key: password } }\n");
        put(GENERATED, &format!("data_key: {}\n{metadata}", ciphertext("aaaa")));
    } else {
        put(ENVIRONMENT, "hosts: [here]\n");
    }
    put("environments/prod/shop.yaml", APP);
    put("templates/compose/web.yaml.j2", "services: { app: { image: \"shop:1.0\", logging: { driver: local } } }\n");
    put(
        "templates/compose/data.yaml.j2",
        "services: { postgres: { image: \"postgres:17.2\", logging: { driver: local } } }\n",
    );
    put("templates/files/url.j2", "postgresql://{{ logins.shop }}:{{ secrets.data_key | urlencode }}@127.0.0.1/shop");
    put("templates/sql/first.sql.j2", "INSERT INTO words VALUES ('{{ release }}');\n");
    load(&SourceTree { files, problems: Vec::new() })
}

fn resolved(config: &Config) -> Result<holdfast_core::desired::DesiredState, Diagnostics> {
    let commit = "0".repeat(40).parse().unwrap();
    holdfast_core::desired::resolve(config, &"prod".parse().unwrap(), &commit)
}

/// Returns the app of [`APP`] as it is desired on its host.
fn app_with_databases() -> holdfast_core::desired::DesiredApp {
    let (config, found) = repository_with_databases(true);
    let desired = resolved(&config.unwrap_or_else(|| panic!("{found:?}"))).unwrap();
    desired.hosts.values().next().unwrap().apps.values().next().unwrap().clone()
}

#[test]
fn a_role_without_its_password_stops_the_environment_that_has_no_secrets_yet_and_no_other() {
    let (config, found) = repository_with_databases(false);
    let found = resolved(&config.unwrap_or_else(|| panic!("{found:?}"))).unwrap_err();
    let missing = found.0.iter().find(|one| one.code == "no-secrets").unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(missing.message, "`prod` has no secrets yet, and it needs data_key");
    assert_eq!(missing.origin.file, "environments/prod/environment.yaml");
}

#[test]
fn cap_58_databases_are_a_component_between_their_server_and_those_that_use_them() {
    let app = app_with_databases();
    let names: Vec<&str> = app.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["data", "data-databases", "web"]);

    let print = fingerprint(&ciphertext("aaaa"), GENERATED);
    let login = format!("shop_{}", &print[..8]);
    let url = app.components[2].body.artifacts(None).files.values().find(|file| file.content.has_secret()).unwrap();
    assert!(
        url.content.shown().starts_with(&format!("postgresql://{login}:‹secret data_key {print}›")),
        "{}",
        url.content.shown()
    );

    let files = &app.components[1].body.artifacts(None).files;
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    let folder = "/var/lib/holdfast/apps/prod/shop/data-databases";
    assert_eq!(paths, [format!("{folder}/holdfast-databases.json"), format!("{folder}/seeds/shop/first.sql")]);
    assert!(files.values().all(|file| file.mode == 0o600));
    let mut value =
        |_: &holdfast_core::secret::SecretRef| Ok::<_, ()>(holdfast_core::secret::Secret::new("p\"w".to_owned()));
    let revealed = files[paths[0]].content.reveal(&mut value).unwrap();
    let spec: holdfast_protocol::DatabasesSpec = serde_json::from_slice(revealed.bytes.expose()).unwrap();
    assert_eq!((spec.project.as_str(), spec.service.as_str()), ("prod-shop-data", "postgres"));
    let role = spec.roles["shop"].login.as_ref().unwrap();
    assert_eq!((role.name.as_str(), role.password.0.as_str()), (login.as_str(), "p\"w"));
    assert!(spec.roles["owners"].login.is_none());
    assert_eq!(spec.databases["shop"].extensions, ["pgcrypto", "vector"]);
}

#[test]
fn cap_59_initial_data_is_a_file_that_the_declaration_names() {
    let app = app_with_databases();
    let files = &app.components[1].body.artifacts(None).files;
    let mut none =
        |_: &holdfast_core::secret::SecretRef| Ok::<_, ()>(holdfast_core::secret::Secret::new(String::new()));
    let (path, seed) = files.iter().find(|(path, _)| path.contains("/seeds/")).unwrap();
    assert_eq!(seed.content.shown(), "INSERT INTO words VALUES ('v1');\n");
    let declaration = files.values().next().unwrap().content.reveal(&mut none).unwrap();
    let spec: holdfast_protocol::DatabasesSpec = serde_json::from_slice(declaration.bytes.expose()).unwrap();
    assert_eq!(spec.databases["shop"].seeds, BTreeMap::from([("first".to_owned(), path.clone())]));
}
