//! Every value of the corpus through every destination of real programs: it lands byte for byte, or is refused with its place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use holdfast_core::render::corpus::{Nasty, corpus};
use holdfast_testkit::host::Holdings;
use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::{Ops, yaml};

const CONTAINER: &str = "prod-quoting-box-box-1";
const HOST: &str = "quote1";
const PORT: u16 = 8180;

/// Environment by name, as a process was given it.
type Environ = BTreeMap<String, String>;

/// SOPS leaves an empty text as it is, so that it is no secret, and is refused as one.
fn is_secret(nasty: &Nasty) -> bool {
    !nasty.value.is_empty()
}

/// A repository in which every value goes everywhere that can carry it, from a variable and from a secret.
fn write(ops: &Ops) {
    let line = |nasty: &Nasty| format!("    \"{}\": {}\n", nasty.name, yaml(nasty.value));
    let values: String = corpus().iter().map(line).collect();
    let secrets: String = corpus().iter().filter(|nasty| is_secret(nasty)).map(line).collect();
    ops.write(
        "environments/prod/environment.yaml",
        &format!("hosts: {{ role: web }}\npurpose: development\nvariables:\n  q:\n{values}"),
    );
    ops.seal("prod", &format!("q:\n{secrets}"));
    ops.write("environments/prod/quoting.yaml", APP);

    // Writes a line for each value that fits, `#` being its name; from a secret only where there is one.
    let lines = |fits: &dyn Fn(&Nasty) -> bool, line: &str| -> String {
        let wanted = |nasty: &&Nasty| fits(nasty) && (!line.contains("secrets.") || is_secret(nasty));
        corpus().iter().filter(wanted).map(|nasty| line.replace('#', nasty.name)).collect()
    };
    let (all, systemd) = (|_: &Nasty| true, |nasty: &Nasty| nasty.systemd_environment);

    let plain = lines(&all, "      V_#: \"{{ vars.q.# }}\"\n");
    let secret = lines(&all, "      S_#: {{ secrets.q.# }}\n");
    let command = lines(&all, "      - \"{{ vars.q.# }}\"\n");
    ops.write("templates/compose/box.yaml.j2", &format!("{BOX}{command}    environment:\n{plain}{secret}"));
    ops.write("templates/files/compose.env.j2", &lines(&all, "F_#={{ vars.q.# }}\n"));
    ops.write("templates/files/compose-secrets.env.j2", &lines(&all, "G_#={{ secrets.q.# }}\n"));

    ops.write("templates/files/systemd.env.j2", &lines(&systemd, "F_#={{ vars.q.# }}\n"));
    ops.write("templates/files/systemd-secrets.env.j2", &lines(&systemd, "G_#=\"{{ secrets.q.# }}\"\n"));
    ops.write("templates/files/report.py.j2", REPORT);
    let environment = lines(&systemd, "Environment=V_#={{ vars.q.# }}\n");
    let arguments = lines(&all, " \\\n  {{ vars.q.# }}");
    ops.write("templates/systemd/quoting.service.j2", &format!("{UNIT}{arguments}\n{environment}"));

    let body = |nasty: &Nasty| nasty.nginx;
    // nginx writes a header's bytes as they are: a line break would end the header for any reader.
    let header = |nasty: &Nasty| nasty.nginx && !nasty.value.contains(['\r', '\n']);
    let locations = ["vars", "secrets"].map(|from| {
        lines(&body, &format!("    location = /{from}/# {{ return 200 \"{{{{ {from}.q.# }}}}\"; }}\n"))
            + &lines(
                &header,
                &format!(
                    "    location = /header/{from}/# {{ add_header X-Value {{{{ {from}.q.# }}}}; return 204; }}\n"
                ),
            )
    });
    ops.write("templates/nginx/quoting.conf.j2", &format!("server {{\n    listen {PORT};\n{}}}\n", locations.concat()));

    ops.write("templates/files/vars.txt.j2", &lines(&all, "<<#<<{{ vars.q.# }}>>#>>"));
    ops.write("templates/files/secrets.txt.j2", &lines(&all, "<<#<<{{ secrets.q.# }}>>#>>"));
}

const BOX: &str = r#"services:
  box:
    image: standin:1
    env_file: ["{{ dir }}/vars.env", "{{ dir }}/secrets.env"]
    command:
      - python3
      - "-c"
      - "import signal, os; signal.signal(15, lambda *_: os._exit(0)); signal.pause()"
"#;

const UNIT: &str = r"[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile={{ dir }}/vars.env
EnvironmentFile={{ dir }}/secrets.env
ExecStart=/usr/bin/python3 {{ dir }}/report.py";

const APP: &str = r#"app: quoting
release: v1
components:
  box:
    compose: compose/box.yaml.j2
    strategy: in_place
    files:
      - { path: "{{ dir }}/vars.env", template: files/compose.env.j2, format: compose_env }
      - { path: "{{ dir }}/secrets.env", template: files/compose-secrets.env.j2, format: compose_env }
  unit:
    systemd: systemd/quoting.service.j2
    enabled: false
    strategy: in_place
    files:
      - { path: "{{ dir }}/report.py", template: files/report.py.j2 }
      - { path: "{{ dir }}/vars.env", template: files/systemd.env.j2, format: systemd_env }
      - { path: "{{ dir }}/secrets.env", template: files/systemd-secrets.env.j2, format: systemd_env }
  edge:
    nginx: nginx/quoting.conf.j2
  plain:
    files:
      - { path: /etc/quoting-vars.txt, template: files/vars.txt.j2 }
      - { path: /etc/quoting-secrets.txt, template: files/secrets.txt.j2 }
"#;

/// Writes what it was started with as it got it: no shell, no decoding.
const REPORT: &str = r#"import shutil
for name in ("cmdline", "environ"):
    with open(f"/proc/self/{name}", "rb") as source, open(f"/var/tmp/quoting.{name}", "wb") as target:
        shutil.copyfileobj(source, target)
"#;

fn environ(raw: &str) -> Environ {
    raw.split_terminator('\0')
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[track_caller]
fn same(place: &str, nasty: &Nasty, got: Option<&str>) {
    assert_eq!(got, Some(nasty.value), "`{}` is not what it was in {place}", nasty.name);
}

#[track_caller]
fn assert_environ(place: &str, environ: &Environ, prefixes: &[&str], wanted: impl Fn(&Nasty) -> bool) {
    for nasty in corpus().iter().filter(|nasty| wanted(nasty)) {
        // S and G come from secrets.
        for prefix in prefixes.iter().filter(|prefix| is_secret(nasty) || !["S", "G"].contains(prefix)) {
            let name = format!("{prefix}_{}", nasty.name);
            same(&format!("{place} as {name}"), nasty, environ.get(&name).map(String::as_str));
        }
    }
}

/// Returns the head and the body of an answer, both as the bytes they are.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect((address, PORT)).expect("nginx listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: quoting\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    (head.to_owned(), body.to_owned())
}

fn assert_container(lab: &Lab) {
    let inside = environ(&lab.exec(HOST, &["docker", "exec", CONTAINER, "cat", "/proc/1/environ"]));
    assert_environ("the container's environment", &inside, &["V", "S", "F", "G"], |_| true);
    let inspected = lab.exec(HOST, &["docker", "inspect", "--format", "{{json .Config}}", CONTAINER]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("docker speaks JSON");
    let list = |key: &str| -> Vec<String> {
        inspected[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let env = list("Env").iter().filter_map(|e| e.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()))).collect();
    assert_environ("docker inspect", &env, &["V", "S", "F", "G"], |_| true);
    let command = list("Cmd");
    let running = lab.exec(HOST, &["docker", "exec", CONTAINER, "cat", "/proc/1/cmdline"]);
    let running: Vec<&str> = running.split_terminator('\0').collect();
    for (index, nasty) in corpus().iter().enumerate() {
        same("the container's Cmd", nasty, command.get(index + 3).map(String::as_str));
        same("the container's command line", nasty, running.get(index + 3).copied());
    }
}

fn assert_unit(lab: &Lab) {
    let given = environ(&lab.exec(HOST, &["cat", "/var/tmp/quoting.environ"]));
    assert_environ("the unit's environment", &given, &["V", "F", "G"], |nasty| nasty.systemd_environment);
    let arguments = lab.exec(HOST, &["cat", "/var/tmp/quoting.cmdline"]);
    let arguments: Vec<&str> = arguments.split_terminator('\0').collect();
    for (index, nasty) in corpus().iter().enumerate() {
        same("the unit's command line", nasty, arguments.get(index + 2).copied());
    }
}

fn assert_nginx(lab: &Lab) {
    for nasty in corpus().iter().filter(|nasty| nasty.nginx) {
        for from in ["vars", "secrets"].into_iter().filter(|from| *from == "vars" || is_secret(nasty)) {
            let (_, body) = get(&lab.hosts[0].address, &format!("/{from}/{}", nasty.name));
            same(&format!("nginx's answer, from {from}"), nasty, Some(body.as_str()));
            // nginx leaves out a header without a value.
            if !nasty.value.contains(['\r', '\n']) && is_secret(nasty) {
                let (head, _) = get(&lab.hosts[0].address, &format!("/header/{from}/{}", nasty.name));
                let header = head.split("\r\n").find_map(|line| line.strip_prefix("X-Value: "));
                same(&format!("nginx's header, from {from}"), nasty, header);
            }
        }
    }
}

fn assert_plain(lab: &Lab) {
    for from in ["vars", "secrets"] {
        let text = lab.exec(HOST, &["cat", &format!("/etc/quoting-{from}.txt")]);
        for nasty in corpus().iter().filter(|nasty| from == "vars" || is_secret(nasty)) {
            let begin = format!("<<{}<<", nasty.name);
            let value = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&format!(">>{}>>", nasty.name)));
            same("a plain file", nasty, value.map(|(value, _)| value));
        }
    }
}

/// Asserts that the program refuses what is committed, names all these places, and that no host changes.
fn assert_refused(lab: &Lab, ops: &Ops, places: &[(String, &str)]) {
    let before = Holdings::of(lab, HOST);
    for verb in ["plan", "apply"] {
        let arguments: &[&str] = if verb == "apply" { &["apply", "prod", "--yes"] } else { &["plan", "prod"] };
        let output = ops.run_any(arguments);
        assert_eq!(output.status.code(), Some(1), "{verb} refuses values that cannot be written");
        let said = String::from_utf8_lossy(&output.stderr);
        for (place, code) in places {
            assert!(said.contains(place) && said.contains(code), "{verb} does not name {place} ({code}):\n{said}");
        }
    }
    before.assert_same(lab, HOST, "a refused commit changes nothing on the host");
}

fn line_of(text: &str, needle: &str) -> usize {
    1 + text.lines().position(|line| line.contains(needle)).unwrap_or_else(|| panic!("{needle} is not in {text}"))
}

/// What each destination cannot carry is refused, all of it at once, each with the line of its template.
fn refused_variables(lab: &Lab, ops: &Ops) {
    let nginx: String = corpus().iter().filter(|nasty| !nasty.nginx).fold(
        "server {\n    listen 8180;\n".to_owned(),
        |mut text, nasty| {
            let _ = writeln!(text, "    add_header X {{{{ vars.q.{} }}}};", nasty.name);
            text
        },
    ) + "}\n";
    let refused = || corpus().iter().filter(|nasty| !nasty.systemd_environment);
    let env: String = refused().map(|n| format!("A_{0}={{{{ vars.q.{0} }}}}\n", n.name)).collect();
    let unit: String = refused().map(|n| format!("Environment=A_{0}={{{{ vars.q.{0} }}}}\n", n.name)).collect();
    let unit = format!(
        "[Unit]\nDescription={{{{ vars.q.newline }}}}\n[Service]\nExecStart=/bin/true\n{unit}Environment=S={{{{ secrets.q.plain }}}}\n"
    );
    ops.write("templates/nginx/quoting.conf.j2", &nginx);
    ops.write("templates/files/systemd.env.j2", &env);
    ops.write("templates/systemd/quoting.service.j2", &unit);
    ops.ship("values that have no place there");
    let place =
        |file: &str, text: &str, needle: &str, code| (format!("templates/{file}:{}:", line_of(text, needle)), code);
    let mut places = Vec::new();
    for nasty in corpus().iter().filter(|nasty| !nasty.nginx) {
        places.push(place("nginx/quoting.conf.j2", &nginx, &format!("vars.q.{} ", nasty.name), "unwritable-value"));
    }
    for nasty in refused() {
        places.push(place("files/systemd.env.j2", &env, &format!("vars.q.{} ", nasty.name), "unwritable-value"));
        places.push(place("systemd/quoting.service.j2", &unit, &format!("A_{}=", nasty.name), "unwritable-value"));
    }
    places.push(place("systemd/quoting.service.j2", &unit, "Description=", "unwritable-value"));
    places.push(place("systemd/quoting.service.j2", &unit, "secrets.q.plain", "secret-use"));
    assert!(places.len() >= 10);
    assert_refused(lab, ops, &places);
}

/// A secret's value is known only when it is about to travel: it is refused then, for every app, before the first host changes.
fn refused_secrets(lab: &Lab, ops: &Ops) {
    write(ops);
    ops.write("environments/prod/early.yaml", "app: early\nrelease: v1\ncomponents:\n  note:\n    files:\n      - { path: /etc/early.txt, template: files/early.txt.j2 }\n");
    ops.write("templates/files/early.txt.j2", "an app that comes first\n");
    for (file, text, line) in [
        ("nginx/quoting.conf.j2", "server {\n    listen 8180;\n    add_header X {{ secrets.q.dollar }};\n}\n", 3),
        ("files/systemd-secrets.env.j2", "# note\nA={{ secrets.q.bell }}\n", 2),
    ] {
        write(ops);
        ops.write(&format!("templates/{file}"), text);
        ops.ship("a secret that has no place there");
        ops.run(&["plan", "prod"]);
        let before = Holdings::of(lab, HOST);
        let output = ops.run_any(&["apply", "prod", "--yes"]);
        assert!(matches!(output.status.code(), Some(1 | 3)), "apply refuses a secret it cannot write");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let place = format!("templates/{file}:{line}:");
        assert!(said.contains(&place), "the refusal does not name {place}:\n{said}");
        before.assert_same(lab, HOST, "a refused secret changes nothing on the host");
    }
}

#[test]
#[ignore = "needs the lab"]
fn cap_29_every_value_lands_byte_for_byte_or_is_refused() {
    let lab = Lab::up("quote", "quote", 1, &["--images"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    write(&ops);
    ops.ship("every value everywhere");
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();

    assert_container(&lab);
    assert_unit(&lab);
    assert_nginx(&lab);
    assert_plain(&lab);

    refused_variables(&lab, &ops);
    refused_secrets(&lab, &ops);
}
