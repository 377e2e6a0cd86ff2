//! Secrets that are generated, from the declaration to the commit.

use std::fs;

use serde_json::Value;

use super::Place;

const FILE: &str = "environments/dev/generated/jwt_key.sops.yaml";

/// Returns a repository that declares two secrets and names a recipient whose key is in `age.key`.
fn declared() -> Place {
    let place = Place::new();
    let recipient = place.run(80, &["secrets", "keygen", "../age.key"]).out;
    let secrets = format!(
        "secrets:\n  recipients: [{}]\n  generate: {{ jwt_key: urlsafe32, db_password: password }}\nhosts:",
        recipient.trim()
    );
    place.edit("environments/dev/environment.yaml", "hosts:", &secrets);
    place
}

fn fingerprints(place: &Place) -> Vec<String> {
    let ran = place.run(80, &["secrets", "list", "dev", "--json"]);
    let list: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    let secrets = list["secrets"].as_array().unwrap().iter();
    secrets.map(|secret| secret["fingerprint"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn cap_48_a_value_is_made_once_and_anew_only_when_asked() {
    let place = declared();
    place.commit("declare secrets");
    let ran = place.run(100, &["validate"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("secret-not-generated") && ran.err.contains("environments/dev/environment.yaml:3"),
        "{}",
        ran.err
    );

    let ran = place.run(80, &["secrets", "generate", "dev", "jwt_key"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "environments/dev/generated/jwt_key.sops.yaml\n"), "{}", ran.err);
    let first = fs::read_to_string(place.repository.join(FILE)).unwrap();
    let ran = place.run(80, &["secrets", "generate", "dev"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "environments/dev/generated/db_password.sops.yaml\n"), "{}", ran.err);
    let ran = place.run(80, &["secrets", "generate", "dev"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "a second run makes nothing");
    assert_eq!(fs::read_to_string(place.repository.join(FILE)).unwrap(), first);
    place.commit("generate");
    assert_eq!(place.run(80, &["validate"]).code, 0, "no key is needed");
    let before = fingerprints(&place);

    // Whoever deletes it does not get another one by chance, however long ago that was.
    fs::remove_file(place.repository.join(FILE)).unwrap();
    for message in ["remove it", "and go on"] {
        let ran = place.run(80, &["secrets", "generate", "dev"]);
        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains("has a value in commit") && ran.err.contains(FILE), "{}", ran.err);
        fs::write(place.repository.join("note"), message).unwrap();
        place.commit(message);
    }
    assert!(!place.repository.join(FILE).exists());
    place.git(&["checkout", "-q", "HEAD~2", "--", FILE]);

    let ran = place.run(80, &["secrets", "rotate", "dev", "jwt_key"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    place.commit("rotate");
    let after = fingerprints(&place);
    assert_eq!(before[0], after[0], "the password is as it was");
    assert_ne!(before[1], after[1]);
}

#[test]
fn cap_51_a_protected_one_is_not_rotated_by_the_way() {
    let place = declared();
    assert_eq!(place.run(80, &["secrets", "generate", "dev"]).code, 0);
    place.commit("generate");
    let print = fingerprints(&place)[1].clone();
    place.edit(
        "environments/dev/environment.yaml",
        "  generate:",
        &format!("  protected: {{ jwt_key: \"{print}\" }}\n  generate:"),
    );
    place.commit("protect");
    assert_eq!(place.run(80, &["validate"]).code, 0);
    let ran = place.run(80, &["secrets", "rotate", "dev", "jwt_key"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("protected"), "{}", ran.err);
    // By another hand.
    fs::write(
        place.repository.join(FILE),
        fs::read_to_string(place.repository.join(FILE)).unwrap().replacen("iv:", "iv:AA", 1),
    )
    .unwrap();
    place.commit("another value");
    let ran = place.run(120, &["validate"]);
    assert!(ran.code == 1 && ran.err.contains("protected-secret") && ran.err.contains(&print), "{}", ran.err);
}

#[test]
fn what_cannot_be_made_is_said() {
    let place = declared();
    for (arguments, code, said) in [
        (&["secrets", "generate", "dev", "jwt_kez"][..], 1, "is not among the secrets that are generated"),
        (&["secrets", "rotate", "dev", "jwt_key"], 1, "was not generated yet"),
        (&["secrets", "rotate", "dev"], 64, "required"),
        (&["secrets", "generate", "nowhere"], 1, "cannot read environments/nowhere/environment.yaml"),
    ] {
        let ran = place.run(120, arguments);
        assert!(ran.code == code && ran.err.contains(said), "{arguments:?}: {} {}", ran.code, ran.err);
    }
    place.edit("environments/dev/environment.yaml", "recipients:", "x-recipients:");
    let ran = place.run(120, &["secrets", "generate", "dev"]);
    assert!(ran.code == 1 && ran.err.contains("nobody is named"), "{}", ran.err);
    place.edit("environments/dev/environment.yaml", "urlsafe32", "urlsafe33");
    assert_eq!(place.run(120, &["secrets", "generate", "dev"]).code, 1);
}
