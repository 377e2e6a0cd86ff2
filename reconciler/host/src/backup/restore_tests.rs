//! Restores that take the place of what is live, with a `docker` and a Redis that do what a test tells them.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_protocol::{BackupBefore, BackupSource, BackupWriters};

use super::class::{Class, Note};
use super::exchange::{self, Exchange};
use super::tests::{Bench, names};
use super::{containers, crc64, restore, run};
use crate::redis_cli::line;

/// A dump as Redis writes it, with nothing in it but a word.
fn rdb(word: &str) -> Vec<u8> {
    let mut dump = format!("REDIS0011\u{3}{word}").into_bytes();
    dump.push(0xff);
    let sum = crc64::update(0, &dump);
    dump.extend(sum.to_le_bytes());
    dump
}

struct Redis {
    bench: Bench,
    class: Class,
}

impl Redis {
    /// One with a password, whose `/data` is the folder `srv` of the bench.
    fn new(appends: &str) -> Self {
        let bench = Bench::new();
        bench.tell("password", "canary'$\n");
        bench.tell("login", std::str::from_utf8(&line(&[b"AUTH", b"canary'$"])).unwrap().trim_end_matches('\n'));
        let password_file = Some(bench.at("password").display().to_string());
        let (project, service) = ("prod-shop-data".to_owned(), "redis".to_owned());
        let mut class = bench.class(BackupSource::Redis { project, service, password_file });
        class.spec.writers = BackupWriters { projects: vec!["prod-shop-web".to_owned()], units: Vec::new() };
        let mounts = format!(r#"[{{"Destination":"/data","Source":"{}"}}]"#, bench.at("srv").display());
        bench.tell("mounts", &mounts);
        fs::write(bench.at("dump"), rdb("one")).unwrap();
        let redis = Self { bench, class };
        redis.answers("time", &[b"TIME"], "5000\n0");
        redis.answers("lastsave", &[b"LASTSAVE"], "900");
        redis.answers("bgsave", &[b"BGSAVE", b"SCHEDULE"], "Background saving started");
        for (name, value) in [
            ("dir", "/data"),
            ("dbfilename", "dump.rdb"),
            ("appendonly", appends),
            ("appendfilename", "appendonly.aof"),
            ("appenddirname", "appendonlydir"),
        ] {
            redis.answers(name, &[b"CONFIG", b"GET", name.as_bytes()], &format!("{name}\n{value}"));
        }
        redis.answers(
            "persistence",
            &[b"INFO", b"persistence"],
            "# Persistence\nloading:0\nrdb_bgsave_in_progress:0\n",
        );
        redis.answers("stats", &[b"INFO", b"stats"], "# Stats\nevicted_keys:0\n");
        redis.answers("keyspace", &[b"INFO", b"keyspace"], "# Keyspace\ndb0:keys=1,expires=0\ndb3:keys=1,expires=0\n");
        redis
    }

    fn answers(&self, file: &str, command: &[&[u8]], answer: &str) {
        let said = String::from_utf8(line(command)).unwrap();
        // The shell takes white space from the end of a line.
        self.bench.tell(&format!("answers/{file}"), &format!("{said}{answer}\n"));
    }

    fn data(&self, name: &str) -> PathBuf {
        self.bench.at("srv").join(name)
    }
}

#[test]
fn cap_67_redis_is_asked_with_its_password_saved_and_read_to_the_end() {
    let redis = Redis::new("yes");
    let record = run::run(&redis.class).unwrap();
    assert_eq!((record.kind.as_str(), record.rows.get("keys")), ("redis", Some(&2)));
    assert!(record.file.contains(".rdb"), "{}", record.file);
    assert!(redis.bench.calls().iter().all(|call| !call.contains("canary")), "no password in arguments");
    assert!(restore::drill(&redis.class).unwrap().ends_with("1 restored, 2 rows counted"));

    // `redis-cli` ends with 0 whatever Redis says: its words count.
    redis.bench.tell("login", "other");
    let error = run::run(&redis.class).unwrap_err().to_string();
    assert!(error.contains("Redis refused the password"), "{error}");
    let login = String::from_utf8(line(&[b"AUTH", b"canary'$"])).unwrap();
    redis.bench.tell("login", login.trim_end_matches('\n'));
    // A save that failed, and a dump that is not whole.
    redis.bench.tell("stuck", "");
    redis.answers("persistence", &[b"INFO", b"persistence"], "rdb_bgsave_in_progress:0\nrdb_last_bgsave_status:err\n");
    let error = run::run(&redis.class).unwrap_err().to_string();
    assert!(error.contains("could not save"), "{error}");
    fs::remove_file(redis.bench.at("stuck")).unwrap();
    redis.answers("persistence", &[b"INFO", b"persistence"], "rdb_bgsave_in_progress:0\n");
    fs::write(redis.bench.at("dump"), &rdb("one")[..14]).unwrap();
    let error = run::run(&redis.class).unwrap_err().to_string();
    assert!(error.contains("the dump cannot be read"), "{error}");
    assert_eq!(
        names(&redis.class).iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "rdb")).count(),
        1
    );
}

#[test]
fn cap_67_with_an_append_only_file_the_dump_becomes_the_base_of_a_new_one() {
    let redis = Redis::new("yes");
    fs::create_dir(redis.data("appendonlydir")).unwrap();
    fs::write(redis.data("appendonlydir/appendonly.aof.7.incr.aof"), "of before").unwrap();
    fs::write(redis.data("dump.rdb"), "of before").unwrap();
    let record = run::run(&redis.class).unwrap();
    let restored = restore::restore(&redis.class, Some(&record.file), false).unwrap();
    assert_eq!((restored.rows, restored.counted), (2, 1));
    let manifest = fs::read_to_string(redis.data("appendonlydir/appendonly.aof.manifest")).unwrap();
    assert_eq!(manifest, "file appendonly.aof.1.base.rdb seq 1 type b\n");
    assert_eq!(fs::read(redis.data("appendonlydir/appendonly.aof.1.base.rdb")).unwrap(), rdb("one"));
    assert_eq!(restored.before.len(), 2, "what was live is put aside: {:?}", restored.before);
    assert!(!redis.data("dump.rdb").exists(), "nobody takes the dump of before for the restored one");
    let kept = PathBuf::from(&restored.before[0]).join("appendonly.aof.7.incr.aof");
    assert_eq!(fs::read_to_string(kept).unwrap(), "of before");
    assert!(!exchange::is_open(&redis.class));

    // Writers are stopped first and started last.
    let calls = redis.bench.calls();
    let moved: Vec<&str> = calls.iter().map(String::as_str).filter(|call| call.starts_with("st")).collect();
    assert_eq!(moved, ["stop w1", "stop c1", "start c1", "start c1", "start w1"]);
}

#[test]
fn cap_67_without_an_append_only_file_the_dump_is_what_is_read() {
    let redis = Redis::new("no");
    fs::write(redis.data("dump.rdb"), "of before").unwrap();
    let record = run::run(&redis.class).unwrap();
    let restored = restore::restore(&redis.class, Some(&record.file), false).unwrap();
    assert_eq!(fs::read(redis.data("dump.rdb")).unwrap(), rdb("one"));
    assert_eq!(fs::read_to_string(&restored.before[0]).unwrap(), "of before");
}

#[test]
fn cap_66_a_redis_that_does_not_come_up_has_what_it_had_before() {
    let redis = Redis::new("yes");
    fs::create_dir(redis.data("appendonlydir")).unwrap();
    fs::write(redis.data("appendonlydir/appendonly.aof.7.incr.aof"), "of before").unwrap();
    let record = run::run(&redis.class).unwrap();
    redis.answers("keyspace", &[b"INFO", b"keyspace"], "# Keyspace\ndb0:keys=1,expires=0\n");
    let error = restore::restore(&redis.class, Some(&record.file), false).unwrap_err().to_string();
    assert_eq!(error, "Redis has 1 keys after the restore, and the backup has 2");
    let kept = fs::read_to_string(redis.data("appendonlydir/appendonly.aof.7.incr.aof")).unwrap();
    assert_eq!(kept, "of before");
    let mut left: Vec<_> =
        fs::read_dir(redis.bench.at("srv")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["appendonlydir", "pdfs"], "no scratch is left");
    let calls = redis.bench.calls();
    assert_eq!(calls.last().map(String::as_str), Some("start w1"));

    // Evicted at once, as in a cache that is full, is none of the dump's fault.
    redis.answers("stats", &[b"INFO", b"stats"], "evicted_keys:1\n");
    restore::restore(&redis.class, Some(&record.file), false).unwrap();
}

#[test]
fn cap_66_an_exchange_that_is_killed_is_undone_whatever_it_had_done() {
    for step in 0..4 {
        let bench = Bench::new();
        let mut class = bench.files();
        class.spec.writers.projects.push("prod-shop-web".to_owned());
        fs::write(bench.pdfs().join("a"), "live").unwrap();
        fs::create_dir_all(bench.at("srv/fresh")).unwrap();
        fs::write(bench.at("srv/fresh/a"), "restored").unwrap();
        drop(class.lock_restores().unwrap());
        let mut exchange = Exchange::begin(&class, &["c1".to_owned()]).unwrap();
        let (aside, placed) = ((bench.pdfs(), bench.at("srv/pdfs.before")), (bench.at("srv/fresh"), bench.pdfs()));
        exchange.moves(vec![aside.clone()], vec![placed.clone()]).unwrap();
        // As a kill, or a loss of power, would have left it.
        match step {
            0 => {
                fs::rename(&placed.1, &placed.0).unwrap();
                fs::rename(&aside.1, &aside.0).unwrap();
            }
            1 => fs::rename(&placed.1, &placed.0).unwrap(),
            2 => {
                // A boot has started what makes its folder anew.
                fs::rename(&placed.1, &placed.0).unwrap();
                fs::create_dir(bench.pdfs()).unwrap();
                fs::write(bench.pdfs().join("a"), "begun").unwrap();
            }
            _ => {}
        }
        drop(exchange);
        assert!(exchange::resume(&class).unwrap());
        assert_eq!(fs::read_to_string(bench.pdfs().join("a")).unwrap(), "live", "after step {step}");
        assert_eq!(fs::read_to_string(bench.at("srv/fresh/a")).unwrap(), "restored", "after step {step}");
        let calls = bench.calls();
        // What docker still stops is stopped before it is started.
        assert_eq!(calls[calls.len() - 4..], ["stop w1", "stop c1", "start c1", "start w1"], "after step {step}");
        assert!(!exchange::resume(&class).unwrap(), "once is enough");
    }
}

/// The volume `objects`, which one container has open.
fn objects(bench: &Bench) -> Class {
    let folder = bench.at("volume/_data");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("object"), "one").unwrap();
    bench.tell("mountpoint", &folder.display().to_string());
    let (project, volumes) = ("prod-shop-data".to_owned(), vec!["objects".to_owned()]);
    bench.class(BackupSource::Volumes { project, volumes, pause: true })
}

#[test]
fn cap_68_a_volume_is_packed_while_its_containers_stand_still_and_comes_back() {
    let bench = Bench::new();
    let class = objects(&bench);
    let record = run::run(&class).unwrap();
    let calls = bench.calls();
    let stood: Vec<&str> = calls.iter().map(String::as_str).filter(|call| call.contains("pause ")).collect();
    assert_eq!(stood, ["pause c1", "unpause c1"]);
    assert!(containers::standing_still(&bench.root).is_empty());
    fs::write(bench.at("volume/_data/object"), "two").unwrap();
    let restored = restore::restore(&class, Some(&record.file), false).unwrap();
    assert_eq!(fs::read_to_string(bench.at("volume/_data/object")).unwrap(), "one");
    assert_eq!(fs::read_to_string(PathBuf::from(&restored.before[0]).join("object")).unwrap(), "two");
    let calls = bench.calls();
    let moved: Vec<&str> = calls.iter().map(String::as_str).filter(|call| call.starts_with("st")).collect();
    assert_eq!(moved, ["stop c1", "start c1"], "whoever has it open finds the new one");
    restore::drill(&class).unwrap();
}

#[test]
fn cap_68_what_a_killed_backup_left_standing_goes_on() {
    let bench = Bench::new();
    let class = objects(&bench);
    let killed = containers::still(&class, &["c1".to_owned()], || -> Result<(), _> {
        assert_eq!(containers::standing_still(&bench.root), ["c1".to_owned()].into());
        // All that a kill leaves is on the disk by now.
        fs::copy(bench.root.paused().join(class.name()), bench.at("left")).unwrap();
        super::fail("killed")
    });
    assert_eq!(killed.unwrap_err().to_string(), "killed");
    fs::copy(bench.at("left"), bench.root.paused().join(class.name())).unwrap();
    bench.tell("paused", "c1\n");
    containers::go_on(&class).unwrap();
    assert_eq!(bench.calls().last().map(String::as_str), Some("unpause c1"));
    assert!(containers::standing_still(&bench.root).is_empty());
}

#[test]
fn cap_68_a_snapshot_that_fails_is_no_backup() {
    let bench = Bench::new();
    let mut class = objects(&bench);
    let (project, service) = ("prod-shop-data".to_owned(), "search".to_owned());
    class.spec.before = Some(BackupBefore { project, service, argv: vec!["snapshot".to_owned(), "--now".to_owned()] });
    run::run(&class).unwrap();
    assert!(bench.calls().contains(&"exec c1 snapshot --now".to_owned()), "{:?}", bench.calls());
    bench.tell("status", "3");
    let error = run::run(&class).unwrap_err().to_string();
    assert!(error.starts_with("the command before it failed"), "{error}");
    assert!(class.noted(Note::Failed).is_some());
}
