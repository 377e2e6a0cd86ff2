use std::collections::BTreeMap;

use holdfast_protocol::{Access, DatabaseSpec, DatabasesSpec, LoginSpec, Password, RoleSpec};

use super::catalog::{Cluster, Contents, Granted, Role};
use super::contents::contents;
use super::*;

const HOUR: u64 = 3_600_000;

fn spec(login: &str, password: &str) -> DatabasesSpec {
    let login = LoginSpec { name: login.to_owned(), password: Password(password.to_owned()) };
    let app = RoleSpec { login: Some(login), member_of: Vec::new() };
    DatabasesSpec {
        project: "prod-shop-data".to_owned(),
        service: "postgres".to_owned(),
        superuser: "postgres".to_owned(),
        retire_after_ms: HOUR,
        roles: BTreeMap::from([("app".to_owned(), app)]),
        databases: BTreeMap::new(),
        settings: BTreeMap::new(),
    }
}

fn found(spec: &DatabasesSpec, cluster: &Cluster) -> Vec<Difference> {
    roles::roles(spec, cluster, &mut || Ok([7; 16])).unwrap()
}

fn words(found: &[Difference]) -> Vec<&str> {
    found.iter().map(|difference| difference.what.as_str()).collect()
}

/// Returns a login as it is after it was made.
fn login(name: &str, password: &str, comment: &str) -> Role {
    Role {
        name: name.to_owned(),
        login: true,
        verifier: scram::verifier(password, &[7; 16], 4096).unwrap(),
        salt: "07".repeat(16),
        rounds: 4096,
        settings: vec!["role=app".to_owned()],
        comment: comment.to_owned(),
        member_of: vec!["app".to_owned()],
        sessions: 0,
    }
}

fn cluster(logins: Vec<Role>) -> Cluster {
    let app = Role { name: "app".to_owned(), ..Role::default() };
    Cluster { roles: [vec![app], logins].concat(), now_ms: 10 * HOUR, ..Cluster::default() }
}

const OURS: &str = "holdfast: a login";

#[test]
fn cap_58_a_login_is_made_and_put_right_and_no_password_is_in_a_statement() {
    let declared = spec("app_11111111", "s3cret'\\");
    let all = found(&declared, &Cluster::default());
    let sql: String = all.iter().map(|difference| difference.sql.as_str()).collect();
    assert!(
        sql.contains("CREATE ROLE \"app\" NOLOGIN") && sql.contains("LOGIN PASSWORD E'SCRAM-SHA-256$4096:"),
        "{sql}"
    );
    assert!(!sql.contains("s3cret"), "{sql}");
    assert!(found(&declared, &cluster(vec![login("app_11111111", "s3cret'\\", OURS)])).is_empty());
    let other = found(&declared, &cluster(vec![login("app_11111111", "another", OURS)]));
    assert_eq!(words(&other), ["login app_11111111 has another password"]);
    let mut plain = login("app_11111111", "s3cret'\\", OURS);
    (plain.verifier, plain.salt, plain.rounds, plain.login) = ("md5abc".to_owned(), String::new(), 0, false);
    plain.settings.clear();
    assert_eq!(
        words(&found(&declared, &cluster(vec![plain]))),
        [
            "login app_11111111 cannot log in",
            "login app_11111111 has another password",
            "login app_11111111 does not become app"
        ]
    );
}

#[test]
fn cap_51_an_old_login_works_until_its_time_is_over_and_comes_back_when_the_release_goes_back() {
    let (old, new) = (spec("app_11111111", "one"), spec("app_22222222", "two"));
    let in_use = login("app_11111111", "one", OURS);
    // The new one is made; the old one is only marked.
    let all = found(&new, &cluster(vec![in_use.clone()]));
    let touched: Vec<&Difference> = all.iter().filter(|difference| difference.sql.contains("app_11111111")).collect();
    assert_eq!(touched.len(), 1, "{all:?}");
    assert!(touched[0].sql.starts_with("COMMENT ON ROLE \"app_11111111\""), "{touched:?}");
    let retired = |at: u64| login("app_11111111", "one", &format!("{OURS}, retired at {at}"));
    let used = login("app_22222222", "two", OURS);
    // Going back: the old one is in use again, the new one retires.
    let back = found(&old, &cluster(vec![retired(10 * HOUR), used.clone()]));
    assert_eq!(
        words(&back),
        ["login app_11111111 is not marked as the one in use", "login app_22222222 is followed by another one"]
    );
    // Its time.
    let early = cluster(vec![retired(9 * HOUR + 1), used.clone()]);
    assert!(found(&new, &early).is_empty());
    assert_eq!(roles::next_over(&new, &early), Some(10 * HOUR + 1));
    let late = cluster(vec![retired(9 * HOUR), used.clone()]);
    let all = found(&new, &late);
    assert!(all.len() == 1 && all[0].over && all[0].sql == "DROP ROLE \"app_11111111\";\n", "{all:?}");
    assert!(roles::handed_over(&new, &late).contains("REASSIGN OWNED BY \"app_11111111\" TO \"app\""));
    // Somebody is still in: nobody else comes in, and whoever is in stays.
    let busy = Role { sessions: 2, ..retired(9 * HOUR) };
    let all = found(&new, &cluster(vec![busy.clone(), used.clone()]));
    assert_eq!(all[0].sql, "ALTER ROLE \"app_11111111\" NOLOGIN;\n");
    let shut = Role { login: false, ..busy };
    assert!(found(&new, &cluster(vec![shut.clone(), used.clone()])).is_empty());
    assert_eq!(roles::handed_over(&new, &cluster(vec![shut, used])), "");
}

#[test]
fn what_somebody_else_made_is_left_alone() {
    let declared = spec("app_22222222", "two");
    let mut theirs = login("app_theirs", "x", "");
    assert!(found(&declared, &cluster(vec![login("app_22222222", "two", OURS), theirs.clone()])).is_empty());
    theirs.comment = format!("{OURS}, retired at yesterday");
    assert!(found(&declared, &cluster(vec![login("app_22222222", "two", OURS), theirs])).is_empty());
}

#[test]
fn cap_58_extensions_and_grants_are_what_is_missing() {
    let wanted = DatabaseSpec {
        owner: "app".to_owned(),
        extensions: vec!["pgcrypto".to_owned(), "vector".to_owned()],
        grants: BTreeMap::from([("reports".to_owned(), Access::Read)]),
        seeds: BTreeMap::new(),
    };
    let all = Granted { connect: true, usage: true, read: true, write: false, later_read: true, later_write: false };
    let live = Contents {
        extensions: vec!["plpgsql".to_owned(), "vector".to_owned(), "pgcrypto".to_owned()],
        owner_creates: true,
        grants: BTreeMap::from([("reports".to_owned(), all.clone())]),
        seeds: Vec::new(),
    };
    assert!(contents("shop", &wanted, &live).is_empty());
    let none = contents("shop", &wanted, &Contents::default());
    assert_eq!(
        words(&none),
        [
            "app may not make tables in shop",
            "extension pgcrypto of shop is missing",
            "extension vector of shop is missing",
            "reports may not read all of shop"
        ]
    );
    assert!(none[3].sql.contains("ALTER DEFAULT PRIVILEGES FOR ROLE \"app\" IN SCHEMA public GRANT SELECT ON TABLES"));
    let writes = DatabaseSpec { grants: BTreeMap::from([("reports".to_owned(), Access::Write)]), ..wanted };
    assert_eq!(words(&contents("shop", &writes, &live)), ["reports may not write all of shop"]);
}

#[test]
fn names_and_text_are_quoted() {
    assert_eq!(name("a\"b"), "\"a\"\"b\"");
    assert_eq!(text("a'b\\c"), "E'a''b\\\\c'");
}
