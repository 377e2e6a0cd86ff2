//! Roles, extensions, grants and initial data of a real PostgreSQL, and a password that changes under load.

use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::load::{Load, LoadSpec};
use holdfast_testkit::ops::{Ops, text};

const HOST: &str = "web1";
const APP: &str = "environments/prod/chatbot.yaml";
const ENVIRONMENT: &str = "environments/prod/environment.yaml";
const SEED: &str = "templates/sql/greeting.sql.j2";

const POSTGRES: &str = r"    postgres:
      service: postgres
      retire_after: 24h
      roles:
        chatbot: { password: db_password }
        reports: { password: reports_password }
      databases:
        chatbot:
          owner: chatbot
          extensions: [pgcrypto, uuid-ossp]
          grants: { reports: read }
          seeds: { greeting: sql/greeting.sql.j2 }
      settings: { work_mem: 8MB }
";

/// A team's repository for one host.
struct Story {
    lab: Lab,
    ops: Ops,
}

impl Story {
    fn edit(&self, path: &str, from: &str, to: &str) {
        let file = self.ops.work.join(path);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{path} has no {from}");
        fs::write(file, text.replace(from, to)).unwrap();
    }

    /// Runs a verb that works on files, in the clone.
    fn in_clone(&self, arguments: &[&str]) -> std::process::Output {
        let work = self.ops.work.to_str().unwrap();
        self.ops.run_any(&[&["-C", work], arguments].concat())
    }

    fn rotate(&self, name: &str) {
        assert_eq!(self.in_clone(&["secrets", "rotate", "prod", name]).status.code(), Some(0));
    }

    fn apply(&self) -> Option<i32> {
        self.ops.run_any(&["apply", "prod", "--yes"]).status.code()
    }

    /// Says a statement as the server's own role.
    fn sql(&self, statement: &str) -> String {
        let container = "prod-chatbot-data-postgres-1";
        let argv = ["docker", "exec", container, "psql", "-U", "postgres", "-d", "chatbot", "-XAtqc", statement];
        self.lab.exec(HOST, &argv).trim().to_owned()
    }

    /// The logins that have no successor, and those that have one.
    fn logins(&self) -> (Vec<String>, Vec<String>) {
        let select = |sign: &str| {
            let sql = format!(
                "SELECT rolname FROM pg_roles r WHERE rolname LIKE 'chatbot\\_%' AND rolcanlogin AND \
                 shobj_description(r.oid, 'pg_authid') {sign} '%retired%' ORDER BY 1"
            );
            self.sql(&sql).lines().map(str::to_owned).collect()
        };
        (select("NOT LIKE"), select("LIKE"))
    }

    fn sessions(&self, login: &str) -> u32 {
        self.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{login}'")).parse().unwrap()
    }
}

fn story() -> Story {
    let lab = Lab::up("dbroles", "web", 1, &["--images"]);
    let ops = Ops::new(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let story = Story { lab, ops };
    story.edit(APP, "    hosts: { database: primary }\n", &format!("    hosts: {{ database: primary }}\n{POSTGRES}"));
    // As the role of its own, and not as the one that may do everything.
    story.edit(
        "templates/files/database_url.j2",
        "postgres:{{ secrets.database.password | urlencode }}",
        "{{ logins.chatbot }}:{{ secrets.db_password | urlencode }}",
    );
    story.ops.write(
        SEED,
        "CREATE TABLE greetings (word text NOT NULL);\nINSERT INTO greetings SELECT 'salaam from ' || count(*) FROM migration_runs;\n",
    );
    let environment = fs::read_to_string(story.ops.work.join(ENVIRONMENT)).unwrap();
    let secrets = "secrets:\n  generate: { db_password: password, reports_password: urlsafe32, data_key: fernet }\n  protected: {}\n";
    story.ops.write(ENVIRONMENT, &format!("{environment}\n{secrets}"));
    story
}

#[test]
#[ignore = "needs the lab"]
fn cap_51_58_59_roles_grants_and_a_password_that_changes_under_load() {
    let story = story();
    let Story { lab, ops } = &story;
    ops.ship("declared, and not generated");
    let refused = ops.run_any(&["apply", "prod", "--yes"]);
    assert!(refused.status.code() == Some(1) && text_of(&refused).contains("secret-not-generated"), "{refused:?}");

    assert_eq!(story.in_clone(&["secrets", "generate", "prod"]).status.code(), Some(0));
    ops.ship("generated");
    assert_eq!(story.apply(), Some(0), "v1 comes up");
    ops.assert_plan_is_empty();
    what_was_declared_is_there(&story);

    let targets = vec![format!("{}:8100", lab.hosts[0].address).parse().unwrap()];
    let (pause, limit) = (Duration::from_millis(25), Duration::from_secs(600));
    let load = Load::start(&LoadSpec::chatbot(targets, "chat.example.net", pause, limit));
    wait_until("v1 answers", Duration::from_secs(20), || !load.report().first_seen.is_empty());

    let (first, none) = story.logins();
    assert_eq!((first.len(), none.len()), (1, 0), "{first:?} {none:?}");
    let started = || {
        let names = ["prod-chatbot-data-postgres-1", "prod-chatbot-data-redis-1"];
        let argv = ["docker", "inspect", "-f", "{{.Id}} {{.State.StartedAt}}"];
        lab.exec(HOST, &[&argv[..], &names].concat())
    };
    let before = started();
    story.rotate("db_password");
    ops.ship("another password");
    assert_eq!(story.apply(), Some(0), "the password changes");
    ops.assert_plan_is_empty();
    let (second, old) = story.logins();
    assert_eq!(old, first, "the old login still works");
    assert!(second.len() == 1 && second != first, "{second:?}");
    assert!(story.sessions(&second[0]) > 0, "the new slot logs in with it");
    assert_eq!(started(), before, "nobody else was restarted");
    settings_change_by_a_reload(&story);
    assert_eq!(started(), before, "settings need no new start");

    // A release that fails after its password was made goes back to the login it had.
    story.rotate("db_password");
    story.edit(APP, "release: v1", "release: v3");
    ops.ship("another password, and a release that is broken");
    assert_eq!(story.apply(), Some(4), "it goes back");
    assert_eq!(story.logins().0, second, "the login in use is that of the release in use");
    assert!(story.sessions(&second[0]) > 0);
    story.edit(APP, "release: v3", "release: v1");
    ops.git(&["checkout", "-q", "HEAD~1", "--", "environments/prod/generated"]);
    ops.ship("back to the password before");
    assert_eq!(story.apply(), Some(0));
    ops.assert_plan_is_empty();

    // What somebody does by hand is seen and put right.
    story.sql(&format!(
        "DROP EXTENSION pgcrypto; ALTER ROLE {} PASSWORD 'by-hand'; REVOKE SELECT ON migration_runs FROM reports",
        second[0]
    ));
    let plan = ops.run_any(&["plan", "prod", "--detailed-exitcode"]);
    // A plan is wrapped at the width of the terminal.
    let said = text_of(&plan).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(plan.status.code(), Some(2), "{said}");
    for word in
        ["extension pgcrypto of chatbot is missing", "has another password", "reports may not read all of chatbot"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(story.apply(), Some(0), "it is put right");
    ops.assert_plan_is_empty();
    what_was_declared_is_there(&story);

    // The time of the old ones is over: nobody is in any more.
    story.edit(APP, "retire_after: 24h", "retire_after: 0s");
    story.edit(SEED, "salaam", "shalom");
    ops.ship("old logins go at once");
    assert_eq!(story.apply(), Some(0));
    assert_eq!(story.logins(), (second, Vec::new()));
    ops.assert_plan_is_empty();
    assert_eq!(story.sql("SELECT count(*) FROM greetings"), "1", "initial data came once, whatever its text says now");
    the_note_of_initial_data_goes_where_the_data_goes(&story);

    let report = load.stop();
    eprintln!("{report:#?}");
    lab.assert_none_lost(&report);
    assert!(report.requests > 500, "the load was real: {} requests", report.requests);
    a_protected_secret_is_refused(&story);
}

/// Capability 34: a setting is loaded, what somebody set by hand is seen and taken back, and what is wrong changes nothing.
fn settings_change_by_a_reload(story: &Story) {
    let is = |name: &str| story.sql(&format!("SHOW {name}"));
    let since = || story.sql("SELECT pg_postmaster_start_time()");
    let written =
        || story.sql("SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf' ORDER BY name");
    let settings = |from: &str, to: &str| {
        story.edit(APP, &format!("settings: {{ {from} }}"), &format!("settings: {{ {to} }}"));
        story.ops.ship("other settings");
    };
    let plan = || {
        let plan = story.ops.run_any(&["plan", "prod", "--detailed-exitcode"]);
        // A plan is wrapped at the width of the terminal.
        (plan.status.code(), text_of(&plan).split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let says = |words: &[&str]| {
        let (code, said) = plan();
        assert_eq!(code, Some(2), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        said
    };
    let (first, connections) = (since(), is("max_connections"));
    assert_eq!((is("work_mem"), written()), ("8MB".to_owned(), "work_mem|8MB".to_owned()));
    settings("work_mem: 8MB", "work_mem: 16MB, log_min_duration_statement: 500ms");
    let said = says(&["changed in git: reload: setting log_min_duration_statement is not set, and 500ms is declared"]);
    assert!(!said.contains("~ service"), "{said}");
    assert_eq!(story.apply(), Some(0));
    story.ops.assert_plan_is_empty();
    assert_eq!((is("work_mem"), is("log_min_duration_statement")), ("16MB".to_owned(), "500ms".to_owned()));

    // By hand: one that a reload does for, and one that waits for a new start.
    story.sql("ALTER SYSTEM SET max_connections = 321");
    story.sql("ALTER SYSTEM SET work_mem = '4MB'");
    story.sql("SELECT pg_reload_conf()");
    let waits = "SELECT pending_restart FROM pg_settings WHERE name = 'max_connections'";
    wait_until("it waits for a new start", Duration::from_secs(20), || story.sql(waits) == "t");
    says(&["setting work_mem is 4MB, and 16MB is declared", "setting max_connections is 321 from the next start on"]);
    assert_eq!(story.apply(), Some(0));
    story.ops.assert_plan_is_empty();
    assert_eq!(
        (story.sql(waits), is("work_mem"), is("max_connections")),
        ("f".to_owned(), "16MB".to_owned(), connections)
    );

    // What the server does not know stands in the way, and what it does not take is taken back whole.
    let good = written();
    settings("work_mem: 16MB, log_min_duration_statement: 500ms", "wrok_mem: 16MB");
    says(&["setting-refused", "this server knows no setting wrok_mem"]);
    assert_ne!(story.apply(), Some(0));
    settings("wrok_mem: 16MB", "jit: off, work_mem: 16XB");
    says(&["setting jit is not set, and off is declared"]);
    let failed = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert!(failed.status.code() == Some(4) && text_of(&failed).contains("16XB"), "{}", text_of(&failed));
    assert_eq!((written(), is("jit"), is("work_mem")), (good, "on".to_owned(), "16MB".to_owned()));

    // What git no longer says is the image's again.
    settings("jit: off, work_mem: 16XB", "work_mem: 16MB");
    assert_eq!(story.apply(), Some(0));
    story.ops.assert_plan_is_empty();
    assert_eq!((written(), is("log_min_duration_statement")), ("work_mem|16MB".to_owned(), "-1".to_owned()));
    assert_eq!(since(), first, "all without a new start");
}

fn text_of(output: &std::process::Output) -> String {
    text(output) + &String::from_utf8_lossy(&output.stderr)
}

fn what_was_declared_is_there(story: &Story) {
    let one = |sql: &str| story.sql(sql);
    assert_eq!(one("SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"), "pgcrypto plpgsql uuid-ossp");
    assert_eq!(one("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'chatbot'"), "chatbot");
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(one(owners), "chatbot", "the app made its tables, as the role and not as a login");
    let may = "SELECT has_table_privilege('reports', 'migration_runs', 'SELECT'), \
               has_table_privilege('reports', 'migration_runs', 'INSERT')";
    assert_eq!(one(may), "t|f", "also what came after the grant");
    assert_eq!(one("SELECT word FROM greetings"), "salaam from 1", "after the migration");
    let mighty = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'chatbot%' AND (rolsuper OR rolcreaterole)";
    assert_eq!(one(mighty), "0");
}

/// A database that was restored from a backup knows that its initial data came, and the next release does not bring it again.
fn the_note_of_initial_data_goes_where_the_data_goes(story: &Story) {
    let inside =
        |argv: &[&str]| story.lab.exec(HOST, &[&["docker", "exec", "prod-chatbot-data-postgres-1"], argv].concat());
    inside(&["pg_dump", "-U", "postgres", "-Fc", "-f", "/tmp/chatbot.dump", "chatbot"]);
    inside(&["createdb", "-U", "postgres", "restored"]);
    inside(&["pg_restore", "-U", "postgres", "-d", "restored", "/tmp/chatbot.dump"]);
    let asked = ["psql", "-U", "postgres", "-d", "restored", "-XAtqc", "SELECT name FROM holdfast.seeds"];
    assert_eq!(inside(&asked).trim(), "greeting");
    inside(&["dropdb", "-U", "postgres", "restored"]);
}

fn a_protected_secret_is_refused(story: &Story) {
    let list = story.ops.run_any(&["secrets", "list", "prod"]);
    let list = text_of(&list);
    let line = list.lines().find(|line| line.starts_with("data_key ")).unwrap_or_else(|| panic!("{list}"));
    let print = line.split_whitespace().nth(1).unwrap();
    story.edit(ENVIRONMENT, "protected: {}", &format!("protected: {{ data_key: \"{print}\" }}"));
    story.ops.ship("protect it");
    story.ops.assert_plan_is_empty();
    assert_eq!(story.in_clone(&["secrets", "rotate", "prod", "data_key"]).status.code(), Some(3));
    // By a way around the verb.
    story.edit(ENVIRONMENT, &format!("protected: {{ data_key: \"{print}\" }}"), "x-protected: {}");
    story.rotate("data_key");
    story.edit(ENVIRONMENT, "x-protected: {}", &format!("protected: {{ data_key: \"{print}\" }}"));
    story.ops.ship("another key for the same data");
    let refused = story.ops.run_any(&["apply", "prod", "--yes"]);
    assert!(
        refused.status.code() == Some(1) && text_of(&refused).contains("protected-secret"),
        "{}",
        text_of(&refused)
    );
}
