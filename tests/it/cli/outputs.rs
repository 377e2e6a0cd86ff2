//! What typical runs print, narrow and wide, where nobody has a terminal.

use std::fmt::Write as _;
use std::fs;

use holdfast_core::event::{SyncEvent, SyncEventKind, SyncResult};
use holdfast_core::id::digest_of;
use holdfast_core::time::Timestamp;
use holdfast_engine::store::{Quarantine, Store};

use super::{Place, transcript};

const WIDTHS: [usize; 2] = [80, 140];

/// Runs all of these in both widths and keeps what they print.
fn keep(name: &str, place: &Place, runs: &[&[&str]]) {
    for columns in WIDTHS {
        let mut text = String::new();
        for arguments in runs {
            let ran = place.run(columns, arguments);
            assert!(!ran.out.contains('\x1b') && !ran.err.contains('\x1b'), "{arguments:?}: colour without a terminal");
            let _ = writeln!(text, "{}", transcript(arguments, &ran));
        }
        insta::assert_snapshot!(format!("{name}_{columns}"), text);
    }
}

#[test]
fn a_good_repository() {
    let place = Place::new();
    place.edit("environments/dev/hello.yaml", "release: v1 ", "release: v2 ");
    place.commit("hello v2");
    keep(
        "good",
        &place,
        &[
            &["init"],
            &["validate"],
            &["validate", "--json"],
            &["diff", "HEAD~1..HEAD"],
            &["diff", "HEAD~1..HEAD", "--format", "markdown"],
            &["diff", "HEAD..HEAD"],
        ],
    );
    let ran = place.run(80, &["render", "dev", "--out", "rendered"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let unit = place.repository.join("rendered/here/etc/systemd/system/hello@blue.service");
    insta::assert_snapshot!("rendered_unit", fs::read_to_string(unit).unwrap());
    let again = place.run(80, &["render", "dev", "--out", "rendered"]);
    assert!(again.code == 1 && again.err.contains("is not empty"), "{}", again.err);
}

#[test]
fn a_repository_with_mistakes() {
    let place = Place::new();
    place.edit("environments/dev/hello.yaml", "strategy: blue_green", "stratgy: blue_green");
    place.edit("environments/dev/environment.yaml", "mode: manual ", "mode: sometimes ");
    place.edit("templates/files/index.html.j2", "{{", "{{ nowhere }}{{");
    place.commit("mistakes");
    keep(
        "mistakes",
        &place,
        &[
            &["validate"],
            &["validate", "--json"],
            &["plan", "dev"],
            &["plan", "elsewhere", "--revision", "HEAD~1"],
            &["validate", "--revision", "nowhere"],
            &["diff", "HEAD"],
            &["apply", "dev", "--plan", "missing.plan"],
            &["frobnicate"],
            &["plan"],
        ],
    );
}

#[test]
fn cap_80_what_the_store_remembers() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        fs::create_dir_all(place.state()).unwrap();
        let store = Store::open(&place.state().join("holdfast.sqlite")).unwrap();
        let (dev, app) = ("dev".parse().unwrap(), "hello".parse().unwrap());
        let commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        let at = Timestamp(1_767_225_600_000);
        let first = store.begin_sync(&dev, &commit, "apply", at).await.unwrap();
        let kinds = [
            SyncEventKind::Started {
                environment: dev.clone(),
                commit: commit.clone(),
                cause: "apply".to_owned(),
                by: "ada".to_owned(),
            },
            SyncEventKind::Planned {
                changes: 3,
                blockers: Vec::new(),
                closed: Vec::new(),
                seal: digest_of(b"seal").to_string(),
                migrated: Vec::new(),
            },
            SyncEventKind::Ended { result: SyncResult::Synced, migrated: Vec::new() },
        ];
        let events: Vec<_> =
            kinds.into_iter().zip(0..).map(|(kind, n)| SyncEvent { at: at.plus_ms(n * 700), kind }).collect();
        for event in events {
            store.record_event(first, &event);
        }
        store.end_sync(first, SyncResult::Synced, "hello v1", at.plus_ms(1_400)).await.unwrap();
        let later = at.plus_ms(3_600_000);
        let second = store.begin_sync(&dev, &commit, "commit", later).await.unwrap();
        store.end_sync(second, SyncResult::RolledBack, "hello v2: unhealthy", later.plus_ms(61_000)).await.unwrap();
        store.begin_sync(&dev, &commit, "drift", later.plus_ms(100_000)).await.unwrap();
        store.flush().await.unwrap();
        let reason = "web on here: healthy: 503 from /".to_owned();
        let (digest, release) = (digest_of(b"v2"), "v2".to_owned());
        store.quarantine(Quarantine { environment: dev, app, digest, release, reason, at: later }).await.unwrap();
    });
    keep(
        "store",
        &place,
        &[
            &["history"],
            &["history", "dev", "-n", "1"],
            &["history", "--sync", "1"],
            &["history", "--sync", "1", "--json"],
            &["history", "--sync", "99"],
            &["unlock", "dev"],
            &["unlock", "dev", "--json"],
            &["unlock", "dev", "--lock", "7f3a"],
            &["unlock", "dev", "--app", "hello"],
            &["unlock", "dev"],
            &["pause", "dev"],
            &["resume", "dev"],
            &["resume", "dev"],
            &["abort", "dev", "hello"],
        ],
    );
}

#[test]
fn a_doctor_says_what_to_do() {
    let place = Place::new();
    let ran = place.run(80, &["doctor", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let findings = said["findings"].as_array().unwrap();
    assert!(findings.len() > 5, "{said}");
    for finding in findings {
        let well = finding["verdict"] == "ok";
        assert_eq!(finding["remedy"] == "", well, "what is not well has a remedy: {finding}");
    }
    let failed = findings.iter().any(|finding| finding["verdict"] == "failed");
    assert_eq!(ran.code, i32::from(failed));
    let text = place.run(80, &["doctor"]).out;
    assert_eq!(text.lines().filter(|line| !line.contains('→')).count(), findings.len(), "{text}");
}

#[test]
fn colour_is_there_for_who_asks() {
    let place = Place::new();
    place.edit("holdfast.yaml", "format: 1", "format: 99");
    place.commit("a format to come");
    assert!(place.run(80, &["validate", "--color", "always"]).err.contains("\x1b["));
    let ran = place.run_with(80, &["validate"], &[("NO_COLOR", "1")]);
    assert!(!ran.err.contains('\x1b'), "{}", ran.err);
}
