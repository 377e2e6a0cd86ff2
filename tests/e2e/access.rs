//! Who is let in: a host that shows another key gets nothing, a login that is not root needs two exact commands, and the management
//! box is one of its own hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use holdfast_testkit::host::Holdings;
use holdfast_testkit::lab::{Lab, LabHost};
use holdfast_testkit::ops::{Ops, host_program};

const APP: &str = r"app: note
release: v1
components:
  text:
    files:
      - { path: /etc/note.txt, template: files/note.txt.j2 }
  svc:
    systemd: systemd/note.service.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, passes: 1, min_healthy_time: 100ms }
";

const UNIT: &str = "[Unit]\nDescription=note {{ release }}\n[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

fn environment(hosts: &str, all_or_nothing: bool) -> String {
    format!("hosts: {hosts}\nrollout: {{ canary: 0, max_unavailable: 2, all_or_nothing: {all_or_nothing} }}\n")
}

/// Writes the inventory with the second host's login and key as they are given; without a key none is pinned.
fn inventory(ops: &Ops, [one, two]: [&LabHost; 2], key: Option<&str>, user: &str) {
    let entry = |host: &LabHost, key: Option<&str>, user: &str| {
        let (name, address) = (&host.name, &host.address);
        let key = key.map_or_else(String::new, |key| format!("host_key: {key}, "));
        format!("  {name}: {{ address: {address}, user: {user}, {key}labels: {{ role: web }} }}\n")
    };
    let (one, two) = (entry(one, Some(&one.host_key), "root"), entry(two, key, user));
    ops.write("inventory/hosts.yaml", &format!("hosts:\n{one}{two}  mgmt: {{ address: local }}\n"));
}

fn exists(host: &LabHost, path: &str) -> bool {
    host.root.join(path.trim_start_matches('/')).exists()
}

fn note(host: &LabHost) -> String {
    fs::read_to_string(host.root.join("etc/note.txt")).unwrap_or_default()
}

fn everything(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs the program, expects this exit code, and returns all it said.
#[track_caller]
fn said(ops: &Ops, arguments: &[&str], code: i32) -> String {
    let output = ops.run_any(arguments);
    assert_eq!(output.status.code(), Some(code), "holdfast {arguments:?}");
    everything(&output)
}

#[track_caller]
fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "it does not say {wanted:?}:\n{text}");
    }
}

/// How often somebody got into a host over ssh, and how many bytes of ours it holds.
fn assert_untouched(lab: &Lab, host: &LabHost) {
    let log =
        lab.exec(&host.name, &["journalctl", "--no-pager", "--boot", "--identifier=sshd", "--identifier=sshd-session"]);
    assert!(!log.contains("Accepted"), "nobody logged in on {}:\n{log}", host.name);
    assert!(log.contains("closed") || log.contains("reset") || log.contains("Connection"), "its log is read:\n{log}");
    for path in ["/var/lib/holdfast", "/etc/note.txt", "/run/holdfast"] {
        assert!(!exists(host, path), "{path} is on {}", host.name);
    }
}

/// A host that shows another key than the pinned one gets nothing; the blocker names both fingerprints and where the pin is.
fn another_key(lab: &Lab, ops: &Ops, hosts: [&LabHost; 2]) {
    let [one, two] = hosts;
    let fingerprint = |host: &LabHost| {
        let key: holdfast_engine::ssh::PinnedKey = host.host_key.parse().expect("a key");
        key.fingerprint()
    };
    // None at all is no configuration.
    inventory(ops, hosts, None, "root");
    ops.ship("no key");
    let text = said(ops, &["plan", "prod"], 1);
    assert_says(&text, &["missing-host-key", "inventory/hosts.yaml:3:3", "ssh-keyscan"]);

    inventory(ops, hosts, Some(&one.host_key), "root");
    ops.write("environments/prod/environment.yaml", &environment("{ role: web }", true));
    ops.ship("the key of another host");
    let wanted = [&fingerprint(one), &fingerprint(two), "inventory/hosts.yaml:3:", "/etc/ssh/ssh_host_ed25519_key.pub"];
    let plan = said(ops, &["plan", "prod"], 0);
    assert_says(&plan, &wanted);
    // The other host was looked at as ever.
    assert_says(&plan, &["/etc/note.txt", &one.name]);
    let json = ops.run(&["plan", "prod", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let blockers = json["blockers"].to_string();
    assert_says(&blockers, &["unreachable", &two.name, &fingerprint(two)]);
    let before = Holdings::of(lab, &one.name);
    let text = said(ops, &["apply", "prod", "--yes"], 3);
    assert_says(&text, &wanted);
    before.assert_same(lab, &one.name, "all or nothing");
    assert_untouched(lab, two);

    // Without all-or-nothing the others go on: the host that cannot be trusted comes later.
    ops.write("environments/prod/environment.yaml", &environment("{ role: web }", false));
    ops.ship("the others first");
    let text = said(ops, &["apply", "prod", "--yes"], 5);
    assert_says(&text, &wanted[..2]);
    assert_eq!(note(one), "one\n");
    let text = said(ops, &["doctor", "--host", "all"], 1);
    assert_says(&text, &wanted);
    assert_untouched(lab, two);
}

/// A login that is not root works with the two exact commands of the shipped sudoers file, and says what is missing without.
fn another_login(lab: &Lab, ops: &Ops, hosts: [&LabHost; 2]) {
    let [one, two] = hosts;
    fs::remove_file(two.root.join("etc/sudoers.d/deploy")).expect("the lab's own rule");
    inventory(ops, hosts, Some(&two.host_key), "deploy");
    ops.ship("a login that is not root");
    let text = said(ops, &["apply", "prod", "--yes"], 3);
    assert_says(&text, &["sudo", "/etc/sudoers.d/holdfast", "deploy ALL=(root) NOPASSWD: ^/var/lib/holdfast/host/"]);
    assert!(!exists(two, "/etc/note.txt"));
    let text = said(ops, &["doctor", "--host", &two.name], 1);
    assert_says(&text, &["login", "/etc/sudoers.d/holdfast", "deploy ALL=(root) NOPASSWD: ^/var/lib/holdfast/host/"]);

    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/sudoers.d/holdfast");
    fs::copy(shipped, two.root.join("etc/sudoers.d/holdfast")).expect("the shipped rule");
    lab.exec(&two.name, &["chown", "root:root", "/etc/sudoers.d/holdfast"]);
    lab.exec(&two.name, &["chmod", "0440", "/etc/sudoers.d/holdfast"]);
    lab.exec(&two.name, &["visudo", "--check", "--quiet"]);
    ops.run(&["plan", "prod"]);
    let mode = |path: &str| {
        let data = fs::metadata(two.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        data.permissions().mode() & 0o7777
    };
    assert_eq!(mode("var/lib/holdfast"), 0o711, "others may pass, not look around");
    for inner in ["blobs", "masks", "transactions"] {
        assert_eq!(mode(&format!("var/lib/holdfast/{inner}")), 0o700, "{inner}");
    }
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!(note(two), "one\n");
    ops.assert_plan_is_empty();

    ops.write("templates/files/note.txt.j2", "two\n");
    ops.ship("another text");
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!((note(one), note(two)), ("two\n".to_owned(), "two\n".to_owned()));
    ops.assert_plan_is_empty();
    ops.run(&["rollback", "prod", "note", "--yes"]);
    assert_eq!((note(one), note(two)), ("one\n".to_owned(), "one\n".to_owned()));
    let said = everything(&ops.run(&["doctor", "--host", &two.name]));
    assert_says(&said, &["over ssh as deploy", "sudo"]);

    let log = lab.exec(&two.name, &["journalctl", "--no-pager", "--boot", "--identifier=sudo"]);
    let commands: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("COMMAND=")).map(|(_, what)| what).collect();
    let ours = |what: &&str| what.contains("/var/lib/holdfast/host/");
    assert!(!commands.is_empty() && commands.iter().all(ours), "nothing else was run by sudo: {commands:?}");
    for other in ["/usr/bin/id", "/usr/bin/install -D -m 0755 -o root -g root /dev/stdin /etc/cron.d/x"] {
        let login = format!("deploy@{}", two.name);
        let mut arguments = vec!["ssh", &login, "sudo", "-n"];
        arguments.extend(other.split(' '));
        assert!(!lab.try_run(&arguments).status.success(), "the rule allows {other}");
    }
    assert!(!exists(two, "/etc/cron.d/x"));

    // A folder that somebody closed is said, with what to do, and not taken for a missing program.
    lab.exec(&two.name, &["chmod", "0700", "/var/lib/holdfast"]);
    let text = everything(&ops.run_any(&["doctor", "--host", &two.name]));
    assert_says(&text, &["/var/lib/holdfast", "0711"]);
    lab.exec(&two.name, &["chmod", "0711", "/var/lib/holdfast"]);
}

/// The management box, where Holdfast runs as root, is one of its hosts without any ssh.
fn itself(lab: &Lab, ops: &Ops) {
    let host = lab.host("mgmt");
    let holdfast = Path::new(env!("CARGO_BIN_EXE_holdfast"));
    let copy = |from: &Path, to: &str| {
        let to = host.root.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
    };
    copy(holdfast, "usr/bin/holdfast");
    copy(&host_program(holdfast), "usr/lib/holdfast/holdfast-host-x86_64");
    ops.write("environments/box/environment.yaml", &environment("[mgmt]", true));
    ops.write("environments/box/note.yaml", APP);
    ops.write("templates/files/note.txt.j2", "mine\n");
    ops.ship("the management box itself");
    let copied = Command::new("cp").arg("-r").arg(&ops.bare).arg(host.root.join("srv/ops.git")).status();
    assert!(copied.expect("cp starts").success());
    let config =
        "repository: /srv/ops.git\nstate_dir: /var/lib/holdfast-manager\nenvironments:\n  box: { branch: main }\n";
    fs::write(host.root.join("etc/manager.yaml"), config).expect("manager.yaml");
    lab.exec("mgmt", &["chmod", "0644", "/etc/manager.yaml"]);
    let run = |arguments: &[&str]| {
        let mut argv = vec!["holdfast", "--config", "/etc/manager.yaml"];
        argv.extend(arguments);
        let said = lab.exec("mgmt", &argv);
        eprintln!("mgmt$ holdfast {}\n{said}", arguments.join(" "));
        said
    };
    assert_says(&run(&["plan", "box"]), &["/etc/note.txt", "note.service"]);
    run(&["apply", "box", "--yes"]);
    assert_eq!(note(host), "mine\n");
    assert_eq!(lab.exec("mgmt", &["systemctl", "is-active", "note.service"]).trim(), "active");
    run(&["plan", "box", "--detailed-exitcode"]);
    assert_says(&run(&["doctor", "--host", "mgmt"]), &["as a child process"]);
    // Timers call the program by a name that stays. None was put there: it is the installed one.
    let found = lab.exec("mgmt", &["find", "/var/lib/holdfast/host", "-mindepth", "1", "-printf", "%p -> %l\\n"]);
    let installed = "/var/lib/holdfast/host/current -> /usr/lib/holdfast/holdfast-host";
    assert!(found.lines().count() == 1 && found.starts_with(installed), "{found}");
    assert_says(&run(&["status", "box"]), &["Synced"]);
}

#[test]
#[ignore = "needs the lab"]
fn cap_19_a_host_with_another_key_a_login_that_is_not_root_and_the_box_itself() {
    let lab = Lab::up("secacc", "h", 2, &["--no-docker", "--mgmt"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let hosts = [lab.host("h1"), lab.host("h2")];
    ops.write("environments/prod/environment.yaml", &environment("{ role: web }", true));
    ops.write("environments/prod/note.yaml", APP);
    ops.write("templates/files/note.txt.j2", "one\n");
    ops.write("templates/systemd/note.service.j2", UNIT);
    another_key(&lab, &ops, hosts);
    another_login(&lab, &ops, hosts);
    itself(&lab, &ops);
}
