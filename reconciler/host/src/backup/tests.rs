//! Backups with a `docker` that does what a test tells it, and the real `tar`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use holdfast_protocol::{BackupSource, BackupSpec};

use super::class::{Class, Note};
use super::{restore, run};
use crate::disk::Disk;
use crate::paths::{Root, System};

/// What `pg_restore` makes of the good dump.
const SQL: &str = "COPY public.users (id) FROM stdin;\n1\n2\n\\.\n";

pub(super) struct Bench {
    folder: tempfile::TempDir,
    pub(super) root: Root,
    system: System,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["bin", "srv/pdfs", "lib", "answers"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        // One container; `pg_dump` writes the file `dump` and ends as `status` says; `pg_restore` reads only the good dump. A Redis
        // answers the last line that is said to it with the rest of the file in `answers` that begins with that line.
        let script = format!(
            "#!/bin/sh\ncd {}\necho \"$*\" >> calls\ncase \"$*\" in\n\
             ps*status=paused*) cat paused; exit 0;;\n\
             ps*project=prod-shop-web*) echo w1; exit 0;;\n\
             ps*) echo c1; exit 0;;\n\
             'volume ls'*) echo objects;;\n\
             'volume inspect'*) cat mountpoint;;\n\
             inspect*) cat mounts;;\n\
             pause*) echo c1 > paused;;\n\
             unpause*) : > paused;;\n\
             stop*|start*) ;;\n\
             *redis-cli*) cat > said\n\
             if [ -f login ]; then [ \"$(head -n1 said)\" = \"$(cat login)\" ] || {{ echo WRONGPASS; exit 0; }}; echo OK; fi\n\
             for file in answers/*; do if [ \"$(head -n1 $file)\" = \"$(tail -n1 said)\" ]; then tail -n +2 $file; \
             [ $file != answers/bgsave ] || [ -f stuck ] || {{ head -n1 answers/lastsave; \
             echo $(($(tail -n1 answers/lastsave) + 1)); }} > next && mv next answers/lastsave; exit 0; fi; done; exit 8;;\n\
             *redis-check-rdb*) cat > read; echo '[info] 2 keys read'; exit 0;;\n\
             *' cat '*) cat dump;;\n\
             *snapshot*) exit $(cat status);;\n\
             *pg_dump*) cat dump; exit $(cat status);;\n\
             *pg_restore*--data-only*) cat > read; if cmp -s read good; then cat sql; else echo 'pg_restore: error: bad' >&2; exit 1; fi;;\n\
             *) echo \"not told what to do: $*\" >&2; exit 9;;\nesac\n",
            folder.path().display()
        );
        // The host's own tools are called by way of `runuser`, and do the same.
        for (name, text) in [("docker", script.as_str()), ("runuser", &script), ("pg_dump", ""), ("pg_restore", "")] {
            fs::write(at("bin").join(name), text).unwrap();
            fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let programs = std::iter::once(at("bin")).chain(System::real().programs).collect();
        let bench =
            Self { root: Root::new(folder.path().join("lib")), system: System { programs, ..System::real() }, folder };
        for (name, text) in
            [("dump", "PGDMP good"), ("good", "PGDMP good"), ("status", "0"), ("sql", SQL), ("paused", "")]
        {
            bench.tell(name, text);
        }
        bench
    }

    pub(super) fn tell(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// What docker was called with, a line each.
    pub(super) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn class(&self, source: BackupSource) -> Class {
        let spec = BackupSpec {
            environment: "prod".to_owned(),
            app: "shop".to_owned(),
            class: "database".to_owned(),
            source,
            keep_ms: 60_000,
            at_least: 2,
            floor: 5,
            rpo_ms: None,
            timeout_ms: 20_000,
            drill_ms: None,
            offsite: None,
            before: None,
            writers: holdfast_protocol::BackupWriters::default(),
        };
        Class::new(&self.root, &self.system, &Disk::new(), spec).unwrap()
    }

    pub(super) fn database(&self) -> Class {
        let word = |text: &str| text.to_owned();
        let (project, service) = (word("prod-shop-data"), word("postgres"));
        self.class(BackupSource::Postgres { project, service, database: word("shop"), user: word("postgres") })
    }

    pub(super) fn pdfs(&self) -> PathBuf {
        self.folder.path().join("srv/pdfs")
    }

    pub(super) fn files(&self) -> Class {
        self.class(BackupSource::Files { paths: vec![self.pdfs().display().to_string()] })
    }
}

pub(super) fn names(class: &Class) -> Vec<String> {
    let entries = fs::read_dir(&class.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| !name.ends_with("lock")).collect();
    names.sort();
    names
}

/// Makes the newest backup look older, name and all.
fn age(class: &Class, taken_at_ms: u64) -> String {
    let mut record = class.newest().unwrap().unwrap();
    let old = record.file.clone();
    record.file = format!("database-{}.{}", super::stamp::stamp(taken_at_ms), class.spec.source.suffix());
    record.taken_at_ms = taken_at_ms;
    let part = class.folder.join("moved");
    fs::rename(class.folder.join(&old), &part).unwrap();
    class.remove(&old).unwrap();
    class.keep(&part, &record).unwrap();
    record.file
}

#[test]
fn cap_62_a_good_dump_counts_with_its_sidecar() {
    let bench = Bench::new();
    let class = bench.database();
    let record = run::run(&class).unwrap();
    assert_eq!((record.size, record.rows), (10, [("public.users".to_owned(), 2)].into()));
    assert_eq!(record.sha256, crate::digest::of(b"PGDMP good"));
    assert_eq!(names(&class), [record.file.clone(), format!("{}.meta.json", record.file)]);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(class.folder.clone()), mode(bench.root.backups())), (0o700, 0o700));
    for name in names(&class) {
        assert_eq!(mode(class.folder.join(name)), 0o600);
    }
}

#[test]
fn cap_62_the_hosts_own_server_is_dumped_by_the_hosts_own_tools_as_its_account() {
    let bench = Bench::new();
    let source = BackupSource::Postgres {
        project: String::new(),
        service: String::new(),
        database: "shop".to_owned(),
        user: "keeper".to_owned(),
    };
    let record = run::run(&bench.class(source)).unwrap();
    assert_eq!(record.rows, [("public.users".to_owned(), 2)].into());
    let bin = bench.at("bin").display().to_string();
    let tools = [
        format!("--user=keeper -- {bin}/pg_dump --format=custom --no-password --username=keeper --dbname=shop"),
        format!("--user=keeper -- {bin}/pg_restore --data-only --file=-"),
    ];
    assert_eq!(bench.calls(), tools, "and docker is asked nothing");
}

#[test]
fn cap_62_what_is_not_proven_does_not_count_and_costs_nothing() {
    let bench = Bench::new();
    let class = bench.database();
    run::run(&class).unwrap();
    let old = age(&class, 1_000);
    for (file, text, said) in [
        ("status", "1", "pg_dump exited with 1: PGDMP good"),
        ("status", "137", "pg_dump exited with 137"),
        ("dump", "", "less than 5 are no backup"),
        ("dump", "PGDMP", "the dump cannot be read: pg_restore exited with 1: pg_restore: error: bad"),
        ("sql", "COPY public.users (id) FROM stdin;\n1\n", "it ends in the middle of a table"),
    ] {
        let before = fs::read_to_string(bench.folder.path().join(file)).unwrap();
        bench.tell(file, text);
        let error = run::run(&class).unwrap_err().to_string();
        bench.tell(file, &before);
        // A failing dump has said nothing on standard error here; what it wrote went into the file.
        let said = if file == "status" { "pg_dump" } else { said };
        assert!(error.contains(said), "{error}");
        assert_eq!(names(&class), [old.clone(), format!("{old}.meta.json"), "failed.json".to_owned()], "{file} {text}");
        assert!(class.noted(Note::Failed).unwrap().text.contains(said));
    }
    run::run(&class).unwrap();
    assert_eq!(class.noted(Note::Failed), None, "a good run is the end of it");
}

#[test]
fn cap_63_pruning_takes_only_ours_and_comes_only_after_a_good_one() {
    let bench = Bench::new();
    let class = bench.database();
    let mut old = Vec::new();
    for taken in [1_000, 2_000, 3_000] {
        run::safety(&class).unwrap();
        old.push(age(&class, taken));
    }
    // A copy somebody made, a dump without a sidecar, another class's, one whose file has another size: none of ours to take.
    let foreign = ["copy.dump", "database-19700101T000000Z.dump", "databases-19700101T000001Z.dump", "notes.txt"];
    for name in foreign {
        fs::write(class.folder.join(name), "x").unwrap();
    }
    fs::write(class.folder.join("database-20000101T000000Z.dump.part"), "half").unwrap();
    bench.tell("status", "1");
    run::run(&class).unwrap_err();
    let left = names(&class);
    assert!(old.iter().all(|file| left.contains(file)), "a failed run prunes nothing: {left:?}");
    assert!(!left.iter().any(|name| name.contains(".part")), "{left:?}");
    bench.tell("status", "0");
    let new = run::run(&class).unwrap();
    let left = names(&class);
    assert!(left.contains(&new.file) && left.contains(&old[2]), "two stay whatever their age: {left:?}");
    assert!(!left.contains(&old[0]) && !left.contains(&old[1]), "{left:?}");
    assert!(foreign.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
}

#[test]
fn cap_66_a_backup_that_changed_is_not_restored() {
    let bench = Bench::new();
    let class = bench.database();
    let record = run::run(&class).unwrap();
    fs::write(class.folder.join(&record.file), "PGDMP evil").unwrap();
    let error = class.open_proven(&record).unwrap_err().to_string();
    assert!(error.contains("its SHA-256 is"), "{error}");
    fs::write(class.folder.join(&record.file), "PGDMP").unwrap();
    assert!(class.newest().unwrap().is_none(), "another size does not even count");
    for name in ["../../etc/passwd", "database-20261121T020000Z.dump/..", "database.dump", ""] {
        assert!(class.check_name(name).is_err(), "{name}");
    }
}

#[test]
fn cap_68_folders_are_packed_counted_drilled_and_restored() {
    let bench = Bench::new();
    let class = bench.files();
    fs::create_dir(bench.pdfs().join("deep")).unwrap();
    fs::write(bench.pdfs().join("deep/odd\nname"), "1").unwrap();
    fs::write(bench.pdfs().join("b.pdf"), "before").unwrap();
    let record = run::run(&class).unwrap();
    assert_eq!(record.rows.values().copied().collect::<Vec<_>>(), [4]);
    restore::drill(&class).unwrap();
    assert!(class.noted(Note::Drilled).unwrap().text.starts_with(&record.file));

    fs::write(bench.pdfs().join("b.pdf"), "after").unwrap();
    let restored = restore::restore(&class, Some(&record.file), false).unwrap();
    assert_eq!(fs::read_to_string(bench.pdfs().join("b.pdf")).unwrap(), "before");
    assert_eq!(fs::read_to_string(bench.pdfs().join("deep/odd\nname")).unwrap(), "1");
    let kept = PathBuf::from(&restored.before[0]);
    assert_eq!(fs::read_to_string(kept.join("b.pdf")).unwrap(), "after", "nothing is overwritten");
    assert_ne!(restored.safety, record.file);
    let left: Vec<_> = fs::read_dir(bench.folder.path().join("srv")).unwrap().collect();
    assert_eq!(left.len(), 2, "no scratch is left: {left:?}");

    // A host without the folder: it comes back where it was.
    fs::remove_dir_all(bench.folder.path().join("srv")).unwrap();
    let restored = restore::restore(&class, None, false).unwrap();
    assert_eq!((restored.safety.as_str(), restored.before.len()), ("", 0));
    assert_eq!(fs::read_to_string(bench.pdfs().join("b.pdf")).unwrap(), "after");
}

#[test]
fn cap_66_what_is_chosen_is_not_pruned_by_the_backup_before() {
    let bench = Bench::new();
    let class = bench.files();
    fs::write(bench.pdfs().join("a"), "oldest").unwrap();
    let mut old = Vec::new();
    for taken in [1_000, 2_000, 3_000] {
        run::safety(&class).unwrap();
        old.push(age(&class, taken));
    }
    fs::write(bench.pdfs().join("a"), "newer").unwrap();
    restore::restore(&class, Some(&old[0]), false).unwrap();
    assert_eq!(fs::read_to_string(bench.pdfs().join("a")).unwrap(), "oldest");
}

#[test]
fn cap_65_a_drill_says_how_it_went_and_leaves_nothing() {
    let bench = Bench::new();
    let class = bench.files();
    let none = restore::drill(&class).unwrap_err().to_string();
    assert_eq!(none, "there is no good backup");
    assert_eq!(class.noted(Note::DrillFailed).unwrap().text, none);
    fs::write(bench.pdfs().join("a"), "1").unwrap();
    let record = run::run(&class).unwrap();
    let said = restore::drill(&class).unwrap();
    assert_eq!(said, format!("{}: 1 restored, 2 rows counted", record.file));
    assert_eq!((class.noted(Note::DrillFailed), class.noted(Note::Drilled).unwrap().text), (None, said));

    // One entry less than the sidecar says is no restore.
    let mut wrong = record.clone();
    wrong.rows.values_mut().for_each(|rows| *rows += 1);
    let part = class.folder.join("moved");
    fs::rename(class.folder.join(&record.file), &part).unwrap();
    class.keep(&part, &wrong).unwrap();
    let error = restore::drill(&class).unwrap_err().to_string();
    assert!(error.ends_with("has 2 entries after the restore, and the backup has 3"), "{error}");
    assert!(class.noted(Note::Drilled).is_some(), "the one that passed is still known");
    assert!(!class.folder.join("drill").exists());
}
