use std::sync::Arc;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;
use holdfast_core::config::SourceTree;
use holdfast_core::secret::{SecretRef, fingerprint};
use proptest::prelude::*;

use super::*;
use crate::ports::SecretSource as _;

const FILE: &str = "environments/prod/secrets.sops.yaml";
const PLAIN: &str =
    "db:\n  password: \"pa$s \\\"w\\\\ord\\n\"\n  port: 5432\nflag: true\nlist: [one, two]\nratio: 0.5\n";
const NOW: &str = "2026-11-21T09:00:00Z";

fn identities(identity: &Identity) -> Identities {
    Identities::from_text(identity.to_string().expose_secret()).unwrap()
}

fn path(name: &str) -> Vec<String> {
    name.split('.').map(str::to_owned).collect()
}

fn text(opened: &Opened, name: &str) -> String {
    opened.value(&path(name)).unwrap().0.unwrap().expose().clone()
}

fn refused(text: &str, identity: &Identity) -> OpenError {
    match open(text, &identities(identity)) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn what_is_sealed_opens_for_each_recipient_and_nobody_else() {
    let (one, two, other) = (Identity::generate(), Identity::generate(), Identity::generate());
    let sealed = seal(PLAIN, &[one.to_public(), two.to_public()], NOW, None).unwrap();
    for leak in ["5432", "True", "one", "pa$s"] {
        assert!(!sealed.contains(&format!(": {leak}")), "{leak}");
    }
    for identity in [&one, &two] {
        let opened = open(&sealed, &identities(identity)).unwrap();
        assert_eq!(text(&opened, "db.password"), "pa$s \"w\\ord\n");
        assert_eq!(text(&opened, "db.port"), "5432");
        assert_eq!(text(&opened, "flag"), "true");
        assert_eq!(text(&opened, "list.1"), "two");
        assert_eq!(text(&opened, "ratio"), "0.5");
    }
    assert_eq!(refused(&sealed, &other), OpenError::NoKey { count: 2 });
}

#[test]
fn a_name_that_yaml_reads_as_something_else_stays_a_name() {
    let identity = Identity::generate();
    let names = ["null", "yes", "True", "off", "1", "0x1f", "1e3", "-1", "_a", "plain", "y"];
    let plain: String = names.iter().map(|name| format!("\"{name}\": value of {name}\n")).collect();
    let sealed = seal(&plain, &[identity.to_public()], NOW, None).unwrap();
    let opened = open(&sealed, &identities(&identity)).unwrap();
    for name in names {
        assert_eq!(text(&opened, name), format!("value of {name}"), "{sealed}");
    }
}

#[test]
fn a_file_that_was_tampered_with_is_not_opened() {
    let identity = Identity::generate();
    let sealed = seal("a: first\nb: second\nc: third\n", &[identity.to_public()], NOW, None).unwrap();
    let lines: Vec<&str> = sealed.lines().collect();
    let rejoin = |lines: &[&str]| lines.join("\n") + "\n";
    assert!(open(&rejoin(&lines), &identities(&identity)).is_ok());

    let removed = rejoin(&[&lines[..1], &lines[2..]].concat());
    assert_eq!(refused(&removed, &identity), OpenError::Mac);
    let reordered = rejoin(&[&lines[1..2], &lines[..1], &lines[2..]].concat());
    assert_eq!(refused(&reordered, &identity), OpenError::Mac);
    let moved = sealed.replacen("a: ENC", "x: ENC", 1);
    assert!(matches!(refused(&moved, &identity), OpenError::Value { .. }));
    let swapped = format!("a:{}\nb:{}\n{}", &lines[1][2..], &lines[0][2..], rejoin(&lines[2..]));
    assert!(matches!(refused(&swapped, &identity), OpenError::Value { .. }));
    let plain = sealed.replacen(lines[0], "a: first", 1);
    assert!(matches!(refused(&plain, &identity), OpenError::Value { .. }));
    let time = sealed.replace(NOW, "2026-11-21T09:00:01Z");
    assert_eq!(refused(&time, &identity), OpenError::Mac);
    let only = sealed.replace("sops:\n", "sops:\n    mac_only_encrypted: true\n");
    assert_eq!(refused(&only, &identity), OpenError::Mac);
    for field in ["mac:", "lastmodified:", "age:"] {
        let without = sealed.replace(&format!("    {field}"), &format!("    x{field}"));
        assert!(matches!(refused(&without, &identity), OpenError::Form { .. }), "{field}");
    }
    let other = seal("a: first\nb: second\nc: third\n", &[identity.to_public()], NOW, None).unwrap();
    let mixed = rejoin(&[&[lines[0]][..], &other.lines().skip(1).collect::<Vec<_>>()].concat());
    assert!(matches!(refused(&mixed, &identity), OpenError::Value { .. }));
}

#[test]
fn comments_do_not_count() {
    let identity = Identity::generate();
    let sealed = seal("a: first\n", &[identity.to_public()], NOW, None).unwrap();
    let commented = format!("#ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:comment]\n# plain\n{sealed}");
    assert!(open(&commented, &identities(&identity)).is_ok());
}

#[test]
fn an_edit_keeps_the_ciphertext_of_what_it_leaves_alone() {
    let identity = Identity::generate();
    let recipients = [identity.to_public()];
    let first = seal("a: one\nb: two\n", &recipients, NOW, None).unwrap();
    let opened = open(&first, &identities(&identity)).unwrap();
    let second = seal("a: one\nb: changed\n", &recipients, "2026-11-22T09:00:00Z", Some(&opened)).unwrap();
    let [first, second]: [Vec<&str>; 2] = [first.lines().collect(), second.lines().collect()];
    assert_eq!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
    let reopened = open(&(second.join("\n") + "\n"), &identities(&identity)).unwrap();
    assert_eq!(text(&reopened, "b"), "changed");
}

#[test]
fn a_source_gives_what_was_planned_and_nothing_else() {
    let identity = Identity::generate();
    let sealed = seal(PLAIN, &[identity.to_public()], NOW, None).unwrap();
    let opened = open(&sealed, &identities(&identity)).unwrap();
    let print = fingerprint(opened.value(&path("db.password")).unwrap().1, FILE);
    let mut tree = SourceTree::default();
    tree.files.insert(FILE.to_owned(), sealed.into_bytes());
    let source = SopsSecrets::new(&tree, Arc::new(identities(&identity)));
    let wanted = SecretRef { file: FILE.to_owned(), path: path("db.password"), fingerprint: print };
    assert_eq!(source.reveal(&wanted).unwrap().expose(), "pa$s \"w\\ord\n");
    let fails = |change: &dyn Fn(&mut SecretRef)| {
        let mut wanted = wanted.clone();
        change(&mut wanted);
        let Err(error) = source.reveal(&wanted) else { panic!("it was revealed") };
        let message = error.to_string();
        assert!(!message.contains("pa$s"), "{message}");
    };
    fails(&|secret| secret.fingerprint = "0000000000000000".to_owned());
    fails(&|secret| secret.path = path("db.nope"));
    fails(&|secret| secret.file = "other.sops.yaml".to_owned());
}

#[test]
fn cap_50_a_placeholder_is_no_secret_but_in_development() {
    let identity = Identity::generate();
    let sealed = seal("db: {password: changeme}\n", &[identity.to_public()], NOW, None).unwrap();
    let opened = open(&sealed, &identities(&identity)).unwrap();
    let print = fingerprint(opened.value(&path("db.password")).unwrap().1, FILE);
    let mut tree = SourceTree::default();
    tree.files.insert(FILE.to_owned(), sealed.into_bytes());
    let wanted = SecretRef { file: FILE.to_owned(), path: path("db.password"), fingerprint: print };
    let source = || SopsSecrets::new(&tree, Arc::new(identities(&identity)));
    let Err(error) = source().reveal(&wanted) else { panic!("it was revealed") };
    let message = error.to_string();
    assert!(message.contains("placeholder") && !message.contains("changeme"), "{message}");
    let lenient = source().with_placeholders_in([FILE.to_owned()]);
    assert_eq!(lenient.reveal(&wanted).unwrap().expose(), "changeme");
}

#[test]
fn limits_hold() {
    let identity = Identity::generate();
    assert!(matches!(refused(&"a: ".repeat(500_000), &identity), OpenError::Form { .. }));
    assert!(matches!(refused(&("[".repeat(5000) + &"]".repeat(5000)), &identity), OpenError::Form { .. }));
    let sealed = seal("a: b\n", &[identity.to_public()], NOW, None).unwrap();
    let (before, after) = sealed.split_once("    age:\n").unwrap();
    let (entry, rest) = after.split_once("    lastmodified").unwrap();
    let many = format!("{before}    age:\n{}    lastmodified{rest}", entry.repeat(65));
    assert!(matches!(refused(&many, &identity), OpenError::Form { .. }));
    for key in ["shamir_threshold: 2", "key_groups: []"] {
        let grouped = sealed.replace("sops:\n", &format!("sops:\n    {key}\n"));
        assert!(matches!(refused(&grouped, &identity), OpenError::Form { .. }));
    }
    assert!(Identities::from_text("not a key").is_none() && Identities::from_text("# only a comment\n").is_none());
}

#[test]
fn sealing_says_what_it_cannot_take() {
    let recipients = [Identity::generate().to_public()];
    for plain in [
        "- a\n",
        "a:\n",
        "a: ''\n",
        "sops: 1\n",
        "'a b': c\n",
        "a_unencrypted: b\n",
        "a: {b: }\n",
        "a: ENC[AES256_GCM,x]\n",
    ] {
        assert!(matches!(seal(plain, &recipients, NOW, None), Err(SealError::Form { .. })), "{plain}");
    }
    assert!(matches!(seal("a: b\n", &[], NOW, None), Err(SealError::NoRecipient)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_text_comes_back(value in "\\PC{1,80}", lines in "[ -~\n\t]{1,80}") {
        let identity = Identity::generate();
        let plain = serde_json::json!({"a": {"b": value}, "c": lines}).to_string();
        let sealed = seal(&plain, &[identity.to_public()], NOW, None).unwrap();
        let opened = open(&sealed, &identities(&identity)).unwrap();
        prop_assert_eq!(text(&opened, "a.b"), value);
        prop_assert_eq!(text(&opened, "c"), lines);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}") {
        let _ = open(&text, &Identities::default());
    }
}

#[test]
fn cap_48_what_is_generated_opens_and_is_another_each_time() {
    use holdfast_core::secret::Generator;

    let identity = Identity::generate();
    let recipients = [identity.to_public()];
    for generator in Generator::ALL {
        let files = [(); 2].map(|()| generate("jwt_key", generator, &recipients, NOW).unwrap());
        let values = files.each_ref().map(|file| text(&open(file, &identities(&identity)).unwrap(), "jwt_key"));
        assert_ne!(values[0], values[1]);
        assert!(!files[0].contains(&values[0]));
        assert_eq!(recipients_of(&files[0]), [identity.to_public().to_string()]);
    }
    assert!(recipients_of("a: b\n").is_empty());
}
