//! Copies on an off-site host, in a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use holdfast_protocol::{BACKUP_PIECE, BackupRecord, VaultKeep, VaultKey, VaultRecord};

use super::stamp::{now_ms, stamp};
use super::vault::Vault;
use crate::digest;
use crate::disk::Disk;
use crate::paths::Root;

const KEEP: VaultKeep = VaultKeep { keep_ms: 60_000, at_least: 1, encrypted: true };

fn key(host: &str) -> VaultKey {
    let [environment, app, class] = ["prod", "shop", "database"].map(str::to_owned);
    VaultKey { environment, app, class, host: host.to_owned() }
}

fn backup(taken_at_ms: u64) -> BackupRecord {
    let [environment, app, class, kind] = ["prod", "shop", "database", "postgres"].map(str::to_owned);
    BackupRecord {
        version: 1,
        file: format!("database-{}.dump", stamp(taken_at_ms)),
        environment,
        app,
        class,
        kind,
        taken_at_ms,
        size: 4,
        sha256: digest::of(b"dump"),
        release: "v1".to_owned(),
        rows: [("public.users".to_owned(), 2)].into(),
    }
}

fn record(taken_at_ms: u64, content: &[u8]) -> VaultRecord {
    let backup = backup(taken_at_ms);
    VaultRecord {
        version: 1,
        host: "web1".to_owned(),
        stored: format!("{}.age", backup.file),
        size: content.len() as u64,
        sha256: digest::of(content),
        encrypted_to: vec!["age1x".to_owned()],
        backup,
    }
}

struct Shelf {
    folder: tempfile::TempDir,
    root: Root,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { root: Root::new(folder.path().join("holdfast")), folder }
    }

    fn vault(&self) -> Vault {
        Vault::new(&self.root, &Disk::new(), key("web1")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("holdfast/vault/prod/shop/database/web1").join(name)
    }
}

#[test]
fn cap_64_a_copy_counts_once_it_was_read_back_from_the_disk() {
    let shelf = Shelf::new();
    let vault = shelf.vault();
    let content = vec![7_u8; BACKUP_PIECE + 5];
    let copy = record(now_ms(), &content);
    let blank = VaultRecord { size: 0, sha256: digest::NO_CONTENT, ..copy.clone() };
    vault.take(&blank, 0, &content[..BACKUP_PIECE], false).unwrap();
    assert_eq!(vault.held().unwrap(), [], "half of it is none");
    vault.take(&copy, BACKUP_PIECE as u64, &content[BACKUP_PIECE..], true).unwrap();
    assert_eq!(vault.held().unwrap(), std::slice::from_ref(&copy));
    let mode = |name: &str| fs::metadata(shelf.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode(&copy.stored), mode(&format!("{}.meta.json", copy.stored))), (0o700, 0o600, 0o600));
    let (first, last) = vault.piece(&copy.stored, 0).unwrap();
    assert_eq!((first.len(), last), (BACKUP_PIECE, false));
    assert_eq!(vault.piece(&copy.stored, BACKUP_PIECE as u64).unwrap(), (vec![7; 5], true));
    // It is found whatever host it was taken on.
    let all = Vault::all(&shelf.root, &Disk::new(), ["prod", "shop", "database"]).unwrap();
    assert_eq!(all.len(), 1);
}

#[test]
fn cap_64_what_is_not_what_was_sent_is_no_copy() {
    let shelf = Shelf::new();
    let vault = shelf.vault();
    let old = record(now_ms() - 5_000, b"older");
    vault.take(&old, 0, b"older", true).unwrap();
    let new = record(now_ms(), b"newer");
    for bytes in [&b"nower"[..], b"new", b""] {
        let error = vault.take(&new, 0, bytes, true).unwrap_err().to_string();
        assert!(error.contains("SHA-256"), "{error}");
        assert_eq!(vault.held().unwrap(), std::slice::from_ref(&old));
        assert!(!shelf.path(&format!("{}.part", new.stored)).exists());
    }
    // A piece is missing; the copy begins anew.
    vault.take(&new, 0, b"ne", false).unwrap();
    assert!(vault.take(&new, 3, b"er", true).unwrap_err().to_string().contains("expected 2"));
    vault.take(&new, 0, b"newer", true).unwrap();
    assert_eq!(vault.held().unwrap(), [new, old.clone()], "the newest first");
    // One whose file was cut off later counts no more.
    fs::write(shelf.path(&old.stored), "old").unwrap();
    assert_eq!(vault.held().unwrap().len(), 1);
}

#[test]
fn cap_64_nothing_but_a_copy_of_this_class_is_taken() {
    let shelf = Shelf::new();
    let vault = shelf.vault();
    let good = record(now_ms(), b"x");
    let with = |change: fn(&mut VaultRecord)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    for bad in [
        with(|bad| bad.stored = "../../evil".to_owned()),
        with(|bad| bad.stored = bad.backup.file.clone()),
        with(|bad| bad.backup.file = "../x.dump".to_owned()),
        with(|bad| bad.backup.class = "papers".to_owned()),
        with(|bad| bad.host = "web2".to_owned()),
        with(|bad| bad.encrypted_to = Vec::new()),
    ] {
        assert!(vault.take(&bad, 0, b"x", true).is_err(), "{bad:?}");
    }
    for host in ["..", "a/b", "", ".hidden", "WEB"] {
        assert!(Vault::new(&shelf.root, &Disk::new(), key(host)).is_err(), "{host}");
    }
    assert!(vault.piece("../../../etc/passwd", 0).is_err());
    assert_eq!(vault.held().unwrap(), []);
}

#[test]
fn cap_64_pruning_over_there_keeps_the_last_good_one_and_takes_only_ours() {
    let shelf = Shelf::new();
    let vault = shelf.vault();
    let old: Vec<_> = [1_000, 2_000, 3_000].map(|taken| record(taken, b"x")).into();
    for copy in &old {
        vault.take(copy, 0, b"x", true).unwrap();
    }
    fs::write(shelf.path("notes.txt"), "mine").unwrap();
    let keep = VaultKeep { at_least: 2, ..KEEP };
    assert_eq!(vault.prune("database-20200101T000000Z.dump", keep).unwrap().len(), 3, "without a new one nothing goes");
    let stays = vault.prune(&old[2].backup.file, keep).unwrap();
    assert_eq!(stays, [old[2].clone(), old[1].clone()]);
    assert_eq!(vault.prune(&old[2].backup.file, VaultKeep { at_least: 0, ..KEEP }).unwrap().len(), 1);
    assert!(shelf.path("notes.txt").exists() && !shelf.path(&old[0].stored).exists());
}

#[test]
fn cap_64_a_copy_that_is_not_encrypted_is_made_anew_and_goes() {
    let shelf = Shelf::new();
    let vault = shelf.vault();
    let sealed = record(now_ms(), b"age");
    let open = VaultRecord {
        stored: sealed.backup.file.clone(),
        sha256: digest::of(b"dump"),
        size: 4,
        encrypted_to: Vec::new(),
        ..sealed.clone()
    };
    vault.take(&open, 0, b"dump", true).unwrap();
    let good = [sealed.backup.clone()];
    let held = vault.held().unwrap();
    assert_eq!(vault.wanted(&good, &held, VaultKeep { encrypted: false, ..KEEP }).unwrap(), [""; 0]);
    assert_eq!(vault.wanted(&good, &held, KEEP).unwrap(), std::slice::from_ref(&sealed.backup.file));
    vault.take(&sealed, 0, b"age", true).unwrap();
    assert_eq!(vault.held().unwrap(), std::slice::from_ref(&sealed));
    assert!(!shelf.path(&open.stored).exists(), "no plain one is left");
    let mut evil = good;
    evil[0].file = "../x".to_owned();
    assert!(vault.wanted(&evil, &held, KEEP).is_err());
}
