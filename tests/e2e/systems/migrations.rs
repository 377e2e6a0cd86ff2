//! Migrations of the shipped chatbot, by a real alembic in a real PostgreSQL: staging first, saved before, recorded, gone back from, held.

use serde_json::{Value, json};

use holdfast_testkit::lab::Lab;

use super::Shipped;
use super::shia::{ask, shipped_in};

const PROD: &str = "chat.example.net";

/// Whatever migrates connects to the database itself.
const DIRECT: &str = "env, DATABASE_URL_FILE=/run/secrets/migrate_url";

/// What the database of an environment says.
fn sql_of(lab: &Lab, environment: &str, statement: &str) -> String {
    let project = format!("label=com.docker.compose.project=shia-{environment}-shia-data");
    let container = format!("$(docker ps -q -f {project} -f label=com.docker.compose.service=postgres)");
    let psql = format!("docker exec {container} psql -U shia -d {environment}_shia_chatbot -Atc \"{statement}\"");
    lab.exec("vps1", &["bash", "-c", &psql]).trim().to_owned()
}

fn sql(lab: &Lab, statement: &str) -> String {
    sql_of(lab, "prod", statement)
}

fn revision(lab: &Lab) -> String {
    sql(lab, "SELECT version_num FROM alembic_version")
}

fn release(shipped: &Shipped, environment: &str, from: &str, to: &str) {
    let path = format!("environments/{environment}/shia.yaml");
    shipped.edit(&path, &format!("release: {from}"), &format!("release: {to}"));
    shipped.ops.ship(&format!("{environment} {to}"));
}

/// Returns the exit code and what was said, as one line.
fn code(shipped: &Shipped, arguments: &[&str]) -> (Option<i32>, String) {
    let output = shipped.ops.run_any(arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn status(shipped: &Shipped) -> Value {
    let said = shipped.ops.run_any(&["status", "shia-prod", "--json"]).stdout;
    let status: Value = serde_json::from_slice(&said).unwrap();
    status["environments"][0]["apps"][0].clone()
}

fn served(lab: &Lab) -> Value {
    ask(lab, PROD, "/version", None)["release"].clone()
}

/// A breaking release of staging that never gets healthy and has no way back: nobody is served, and the commit that mends it is
/// applied like any other.
fn breaks_staging(lab: &Lab, shipped: &Shipped) {
    let path = "environments/shia-stage/shia.yaml";
    let check = |status: &str, period: &str| {
        format!(
            "{{ path: /health, json: {{ status: {status} }} }}\n      interval: 1s\n      retries: 5\n      start_period: {period}\n"
        )
    };
    shipped.edit(path, &format!("      downgrade: [{DIRECT}, alembic, downgrade, \"{{revision}}\"]\n"), "");
    shipped.edit(path, "      reversible: true\n", "      breaking: true\n");
    shipped.edit(path, &check("healthy", "30s"), &check("nowhere", "5s"));
    release(shipped, "shia-stage", "v1.1.0", "v1.3.0");
    let plan = code(shipped, &["plan", "shia-stage"]).1;
    assert!(plan.contains("the old release is stopped first") && plan.contains("no `downgrade` is declared"), "{plan}");
    let (unserved, text) = code(shipped, &["apply", "shia-stage", "--yes"]);
    assert_eq!(unserved, Some(5), "{text}");
    assert!(text.contains("nobody is served") && text.contains("no `downgrade` is declared"), "{text}");
    assert_eq!(sql_of(lab, "stage", "SELECT version_num FROM alembic_version"), "0003");
    let running =
        || lab.exec("vps1", &["bash", "-c", "docker ps --format {{.Names}} | grep -c ^shia-stage-shia-web || true"]);
    assert_eq!(running().trim(), "0");
    let (held, text) = code(shipped, &["apply", "shia-stage", "--yes"]);
    assert_eq!(held, Some(3), "nothing goes on by itself: {text}");
    shipped.edit(path, &check("nowhere", "5s"), &check("healthy", "30s"));
    shipped.ops.ship("stage: healthy is the word");
    // What runs is the same, only what is asked of it is another: that a person has to say.
    shipped.ops.run(&["unlock", "shia-stage", "--app", "shia"]);
    shipped.ops.run(&["apply", "shia-stage", "--yes"]);
    assert_eq!(ask(lab, "stage.chat.example.net", "/version", None)["release"], json!("v1.3.0"));
    shipped.assert_plan_is_empty("shia-stage");
}

const POOLER: [(&str, &str); 4] = [
    (
        "templates/compose/pooler.yaml.j2",
        r#"services:
  pgbouncer:
    image: lab/pgbouncer:1
    logging: { driver: local }
    restart: unless-stopped
    volumes:
      - "{{ dir }}/pgbouncer.ini:/etc/pgbouncer/pgbouncer.ini:ro"
      - "{{ dir }}/userlist.txt:/etc/pgbouncer/userlist.txt:ro"
    networks: [data]
    deploy: { resources: { limits: { cpus: "0.5", memory: 128M } } }
networks:
  data: { name: "{{ env }}-data", external: true }
"#,
    ),
    (
        "templates/files/pgbouncer.ini.j2",
        "[databases]\n* = host=postgres port=5432\n[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\nauth_type = scram-sha-256\n\
         auth_file = /etc/pgbouncer/userlist.txt\npool_mode = transaction\n",
    ),
    ("templates/files/userlist.txt.j2", "\"{{ vars.database_user }}\" \"{{ secrets.database.password }}\"\n"),
    (
        "templates/files/pooled_url.j2",
        "postgresql+asyncpg://{{ vars.database_user }}:{{ secrets.database.password | urlencode }}@pgbouncer:6432/{{ vars.database }}",
    ),
];

/// Puts a pooler before production's database, and gives the migrations of both environments the database's own address.
fn put_pooler(shipped: &Shipped) {
    for (path, text) in POOLER {
        shipped.ops.write(path, text);
    }
    let volume = "      - \"{{ dir }}/database_url:/run/secrets/database_url:ro\"\n";
    let second = volume.replace("database_url", "migrate_url");
    shipped.edit("templates/compose/shia-web.yaml.j2", volume, &format!("{volume}{second}"));
    let direct = |template: &str| {
        format!(
            "      - {{ path: \"{{{{ dir }}}}/{template}\", template: files/database_url_asyncpg.j2, owner: \"1000\" }}\n"
        )
    };
    for environment in ["shia-stage", "shia-prod"] {
        let path = &format!("environments/{environment}/shia.yaml");
        if environment == "shia-prod" {
            let pooled = direct("database_url").replace("database_url_asyncpg", "pooled_url");
            shipped.edit(path, &direct("database_url"), &pooled);
            let component = "  web:\n    compose: compose/shia-web.yaml.j2\n";
            let pooler = r#"  pooler:
    compose: compose/pooler.yaml.j2
    strategy: stateful
    healthcheck:
      command: { service: pgbouncer, argv: [/usr/lib/postgresql/17/bin/pg_isready, -q, -h, 127.0.0.1, -p, "6432"] }
      interval: 1s
      retries: 30
      start_period: 30s
    files:
      - { path: "{{ dir }}/pgbouncer.ini", template: files/pgbouncer.ini.j2, owner: "70" }
      - { path: "{{ dir }}/userlist.txt", template: files/userlist.txt.j2, owner: "70" }
"#;
            shipped.edit(path, component, &format!("{pooler}{component}"));
        }
        let account = "    # 1000: the account the app runs as inside its container.\n    files:\n";
        shipped.edit(path, account, &format!("{account}{}", direct("migrate_url")));
        shipped.edit(path, "[alembic, ", &format!("[{DIRECT}, alembic, "));
    }
    shipped.ops.ship("a pooler before production's database");
}

/// From now on production's database notes where each statement came from that changes the schema.
fn note_origins(lab: &Lab) {
    sql(lab, "CREATE TABLE ddl_from (client inet, tag text)");
    let body = "BEGIN INSERT INTO public.ddl_from VALUES (inet_client_addr(), tg_tag); END";
    sql(lab, &format!("CREATE FUNCTION note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS '{body}'"));
    sql(lab, "CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION note_ddl()");
}

/// Returns how many changes of production's schema came from where this condition says.
fn changes(lab: &Lab, condition: &str) -> usize {
    sql(lab, &format!("SELECT count(*) FROM ddl_from WHERE {condition}")).parse().unwrap()
}

/// Returns the pooler's address, from which all connections of the app come.
fn pooler(lab: &Lab) -> String {
    let container = "$(docker ps -q -f label=com.docker.compose.service=pgbouncer)";
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address =
        lab.exec("vps1", &["bash", "-c", &format!("docker inspect -f '{format}' {container}")]).trim().to_owned();
    ask(lab, PROD, "/health", None);
    let clients = "SELECT DISTINCT host(client_addr) FROM pg_stat_activity WHERE client_addr IS NOT NULL";
    assert_eq!(sql(lab, clients), address, "the app is behind the pooler");
    address
}

/// Capabilities 53, 54, 55, 56, 57, 60, 69 and 73 on a real host.
#[test]
#[ignore = "needs the lab"]
fn cap_57_production_migrates_what_staging_did_and_goes_back_as_far_as_it_can() {
    let lab = Lab::up("migr", "vps", 1, &["--images", "shia"]);
    let shipped = shipped_in(&lab, &["stage", "prod"]);
    let ops = &shipped.ops;
    put_pooler(&shipped);

    // Staging first.
    let (refused, text) = code(&shipped, &["apply", "shia-prod", "--yes"]);
    assert_eq!(refused, Some(3), "{text}");
    assert!(text.contains("migration-not-staged") && text.contains("shia-stage"), "{text}");
    for environment in ["shia-stage", "shia-prod"] {
        ops.run(&["apply", environment, "--yes"]);
    }
    assert_eq!(revision(&lab), "0001");
    note_origins(&lab);
    for environment in ["shia-stage", "shia-prod"] {
        release(&shipped, environment, "v1.0.0", "v1.1.0");
        ops.run(&["apply", environment, "--yes"]);
    }
    assert_eq!((revision(&lab).as_str(), served(&lab)), ("0002", json!("v1.1.0")));
    let pooled = format!("client = '{}'", pooler(&lab));
    assert_eq!(changes(&lab, &pooled), 0, "a migration goes past the pooler");
    assert!(changes(&lab, "client IS NOT NULL") > 0, "by the database's own address");
    let seen = status(&shipped);
    assert_eq!(seen["migrations"][0]["before"], json!("0001"), "{seen:#}");
    assert_eq!(seen["migrations"][0]["after"], json!("0002"), "{seen:#}");
    let saved = seen["backups"].as_array().unwrap().iter().find(|one| one["class"] == json!("database")).unwrap();
    assert!(saved["count"].as_u64().unwrap() >= 1, "the backup of before: {saved}");
    let database = |release: &str| format!("/var/lib/holdfast/backups/shia-prod/shia/database: {release}");
    let sidecars =
        lab.exec("vps1", &["bash", "-c", "cat /var/lib/holdfast/backups/shia-prod/shia/database/*.meta.json"]);
    assert!(sidecars.contains("\"release\": \"v1.0.0\""), "{}", database(&sidecars));

    // The data stays when the code goes back, also with the schema.
    let say = |text: &str| ask(&lab, PROD, "/api/v1/chat", Some(&json!({ "message": text, "client_ref": text })));
    say("written by the newer release");
    let rows = || sql(&lab, "SELECT count(*) FROM messages");
    let written = rows();
    assert_ne!(written, "0");
    ops.run(&["rollback", "shia-prod", "shia", "--yes"]);
    assert_eq!((served(&lab), revision(&lab), rows()), (json!("v1.0.0"), "0002".to_owned(), written.clone()));
    let again = || {
        ops.run(&["unlock", "shia-prod", "--app", "shia"]);
        ops.run(&["apply", "shia-prod", "--yes"]);
    };
    again();
    ops.run(&["rollback", "shia-prod", "shia", "--downgrade", "--yes"]);
    assert_eq!((served(&lab), revision(&lab), rows()), (json!("v1.0.0"), "0001".to_owned(), written.clone()));
    assert_eq!(
        sql(&lab, "SELECT release FROM migration_runs WHERE direction = 'downgrade'"),
        "v1.1.0",
        "the newer image did it"
    );
    again();
    assert_eq!((served(&lab), revision(&lab)), (json!("v1.1.0"), "0002".to_owned()), "what was taken back runs again");

    // A backup that does not count stops the release before anything is migrated.
    breaks_staging(&lab, &shipped);
    let path = "environments/shia-prod/shia.yaml";
    shipped.edit(path, "        rpo: 1h\n        floor: 1KiB\n", "        rpo: 1h\n        floor: 1GiB\n");
    // What 0003 deletes nobody brings back.
    shipped.edit(path, "      reversible: true\n", "      reversible: false\n");
    release(&shipped, "shia-prod", "v1.1.0", "v1.3.0");
    let plan = code(&shipped, &["plan", "shia-prod"]).1;
    assert!(plan.contains("after the backup `database`") && plan.contains("cannot be gone back from"), "{plan}");
    let plan = code(&shipped, &["plan", "shia-prod", "--json"]).1;
    assert!(plan.contains("migration-one-way"), "{plan}");
    let (failed, text) = code(&shipped, &["apply", "shia-prod", "--yes"]);
    assert_eq!(failed, Some(4), "{text}");
    assert!(text.contains("are no backup"), "{text}");
    assert_eq!((served(&lab), revision(&lab)), (json!("v1.1.0"), "0002".to_owned()));

    // What fails after the switch stays, for there is no way back.
    shipped.edit(path, "        rpo: 1h\n        floor: 1GiB\n", "        rpo: 1h\n        floor: 1KiB\n");
    shipped.edit(path, "json: { environment: prod }", "json: { environment: nowhere }");
    ops.ship("a smoke test that fails");
    let (held, text) = code(&shipped, &["apply", "shia-prod", "--yes"]);
    assert_eq!(held, Some(5), "{text}");
    assert!(text.contains("held: the new release stays"), "{text}");
    assert_eq!((served(&lab), revision(&lab)), (json!("v1.3.0"), "0003".to_owned()));
    let (refused, text) = code(&shipped, &["rollback", "shia-prod", "shia", "--yes"]);
    assert_eq!(refused, Some(3), "{text}");
    assert!(text.contains("0002 to 0003"), "{text}");
    // Its downgrade raises an error: the release that was to be left serves again.
    let (failed, text) = code(&shipped, &["rollback", "shia-prod", "shia", "--downgrade", "--yes"]);
    assert_ne!(failed, Some(0), "{text}");
    assert_eq!((served(&lab), revision(&lab)), (json!("v1.3.0"), "0003".to_owned()));
    shipped.edit(path, "json: { environment: nowhere }", "json: { environment: prod }");
    ops.ship("mended");
    ops.run(&["apply", "shia-prod", "--yes"]);
    shipped.assert_plan_is_empty("shia-prod");

    numbered_files(&lab, &shipped);
}

/// The workers keep a schema of their own, in SQL files: applied by number, each whole or not at all, and never in another wording.
fn numbered_files(lab: &Lab, shipped: &Shipped) {
    let (ops, path) = (&shipped.ops, "environments/shia-prod/shia.yaml");
    let put = |name: &str, text: &str| ops.write(&format!("templates/sql/shia/{name}"), text);
    let sql_keys = "{ folder: sql/shia, component: data, service: postgres, database: prod_shia_chatbot, user: shia }";
    let migrate = format!("    strategy: workers\n    migrate: {{ sql: {sql_keys}, reversible: true }}\n");
    shipped.edit(path, "    strategy: workers\n", &migrate);
    put("9_notes.sql", "CREATE TABLE notes (id int PRIMARY KEY, text text DEFAULT 'a; COMMIT;');\n");
    put("010_tags.sql", "ALTER TABLE notes ADD tag text;\nINSERT INTO notes (id, tag) VALUES (1, 'it''s');\n");
    put("010_tags_rollback.sql", "ALTER TABLE notes DROP tag;\n");
    ops.ship("the workers' schema");
    let plan = code(shipped, &["plan", "shia-prod"]).1;
    assert!(plan.contains("9_notes.sql, 010_tags.sql; no file undoes 9_notes.sql"), "{plan}");
    ops.run(&["apply", "shia-prod", "--yes"]);
    shipped.assert_plan_is_empty("shia-prod");
    let list = || sql(lab, "SELECT string_agg(name, ' ' ORDER BY at, name) FROM holdfast_migrations");
    assert_eq!(list(), "9_notes.sql 010_tags.sql");
    assert_eq!(sql(lab, "SELECT text || tag FROM notes"), "a; COMMIT;it's");
    assert_eq!(changes(lab, &format!("client = '{}'", pooler(lab))), 0);
    assert!(changes(lab, "client IS NULL AND tag = 'ALTER TABLE'") > 0, "files are said over the socket");

    // One that fails in its middle leaves nothing of itself, and what came before it stays.
    put("011_more.sql", "ALTER TABLE notes ADD more int;\n");
    put("012_bad.sql", "ALTER TABLE notes ADD bad int;\nSELECT 1 / 0;\n");
    ops.ship("two files, one of them wrong");
    let (failed, text) = code(shipped, &["apply", "shia-prod", "--yes"]);
    assert_eq!(failed, Some(4), "{text}");
    assert!(text.contains("012_bad.sql was not applied") && text.contains("division by zero"), "{text}");
    assert_eq!(list(), "9_notes.sql 010_tags.sql 011_more.sql");
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'notes' AND column_name = 'bad'";
    assert_eq!(sql(lab, columns), "0");
    put("012_bad.sql", "ALTER TABLE notes ADD bad int;\n");
    ops.ship("mended");
    ops.run(&["apply", "shia-prod", "--yes"]);
    assert_eq!(list(), "9_notes.sql 010_tags.sql 011_more.sql 012_bad.sql");

    // What was applied is not edited.
    put("9_notes.sql", "CREATE TABLE notes (id bigint PRIMARY KEY);\n");
    ops.ship("an edited file");
    let (refused, text) = code(shipped, &["apply", "shia-prod", "--yes"]);
    assert_eq!(refused, Some(3), "{text}");
    assert!(text.contains("migration-edited") && text.contains("9_notes.sql"), "{text}");
}
