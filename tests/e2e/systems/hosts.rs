//! What a host has to be: accounts, folders, its firewall, and the checks that let a commit through.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use holdfast_testkit::lab::{Lab, wait_until};
use holdfast_testkit::ops::Ops;

const ENVIRONMENT: &str = "\
hosts: { role: web }
sync: { mode: manual, drift: report }
rollout: { confirm_within: 20s }
requires: { docker: \">=20.10\", systemd: \">=252\", kernel: \">=5.4\", debian: \">=12\" }
";

fn base(release: &str, mode: &str, allow: &str) -> String {
    format!(
        "\
app: base
release: {release}
components:
  people:
    groups: [nps-readers]
    accounts:
      nps: {{ home: /opt/nps, groups: [nps-readers] }}
    folders:
      /opt/nps: {{ owner: nps, group: nps, mode: \"0750\" }}
      /var/backups/nps: {{ owner: nps, group: nps-readers, mode: \"{mode}\" }}
    packages: [nftables]
    files:
      - {{ path: /opt/nps/release, template: files/release.j2, owner: nps, group: nps, mode: \"0640\" }}
  tools:
    hosts: [h1]
    compose: compose/tools.yaml.j2
    strategy: in_place
    healthcheck: {{ state: true, interval: 100ms, min_healthy_time: 100ms }}
  idler:
    hosts: [h1]
    systemd: systemd/idler.service.j2
    strategy: in_place
    healthcheck: {{ state: true, interval: 100ms, min_healthy_time: 100ms }}
  door:
    hosts: [h1]
    firewall:
      allow: {allow}
"
    )
}

/// Two services, of which one has limits.
fn tools(memory: &str) -> String {
    format!(
        "services:\n  small:\n    image: standin:1\n    logging: {{ driver: local }}\n    stop_grace_period: 1s\n    environment: {{ STANDIN_NAME: small }}\n    \
         deploy:\n      resources:\n        limits: {{ cpus: \"0.5\", memory: {memory} }}\n  other:\n    image: standin:1\n    \
         logging: {{ driver: local }}\n    stop_grace_period: 1s\n    environment: {{ STANDIN_NAME: other }}\n"
    )
}

const IDLER: &str = "[Service]\nExecStart=/usr/bin/sleep infinity\nMemoryMax=64M\nCPUQuota=20%\n\n[Install]\nWantedBy=multi-user.target\n";

/// Whether a port of the first host can be reached from here: another machine on its network.
fn is_open(lab: &Lab, port: u16) -> bool {
    let address = SocketAddr::new(lab.hosts[0].address.parse().unwrap(), port);
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

#[test]
#[ignore = "needs the lab"]
fn cap_14_a_host_becomes_what_git_says_and_cap_17_its_ports_are_closed() {
    let lab = Lab::up("hosts", "h", 2, &["--images"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let on_h1 = |argv: &[&str]| lab.exec("h1", argv).trim().to_owned();
    ops.write("environments/prod/environment.yaml", ENVIRONMENT);
    ops.write("templates/files/release.j2", "{{ release }}\n");
    ops.write("templates/compose/tools.yaml.j2", &tools("96M"));
    ops.write("templates/systemd/idler.service.j2", IDLER);

    // Two open doors: one of the host, and one that Docker publishes past every input chain.
    on_h1(&["systemd-run", "--unit=door", "python3", "-m", "http.server", "8098"]);
    on_h1(&["docker", "run", "-d", "--name", "door", "-p", "8099:8099", "-e", "STANDIN_LISTEN=8099", "standin:1"]);
    for port in [8098, 8099] {
        wait_until("a port that is open to all", Duration::from_secs(60), || is_open(&lab, port));
    }

    // A commit is applied when CI says it is good, and not before.
    let ci = ops.work.with_file_name("ci");
    fs::create_dir(&ci).unwrap();
    let manager = fs::read_to_string(&ops.config).unwrap();
    let gate = format!(
        "prod:\n    branch: main\n    checks:\n      - {{ name: ci, file: \"{}/{{commit}}.json\" }}\n      - {{ name: unit, command: [/usr/bin/test, \"{{environment}}\", \"=\", prod] }}",
        ci.display()
    );
    fs::write(&ops.config, manager.replace("prod: { branch: main }", &gate)).unwrap();
    ops.write("environments/prod/base.yaml", &base("v1", "0750", "[22/tcp, 80/tcp, 8098/tcp]"));
    let commit = ops.ship("what hosts have to be");
    let blocked = ops.run_any(&["apply", "prod", "--yes"]);
    let said = String::from_utf8_lossy(&blocked.stderr).into_owned() + &String::from_utf8_lossy(&blocked.stdout);
    assert_eq!(blocked.status.code(), Some(3), "{said}");
    assert!(said.contains("check `ci` is not green") && !said.contains("`unit`"), "{said}");
    assert!(!lab.try_run(&["exec", "h1", "--", "id", "nps"]).status.success(), "nothing was done");
    let green = |commit: &str| fs::write(ci.join(format!("{commit}.json")), r#"{"state":"success"}"#).unwrap();

    green(&commit);
    ops.run(&["apply", "prod", "--yes"]);
    for host in ["h1", "h2"] {
        let stat = |path: &str| lab.exec(host, &["stat", "-c", "%a %U:%G", path]).trim().to_owned();
        assert_eq!(stat("/opt/nps"), "750 nps:nps");
        assert_eq!(stat("/var/backups/nps"), "750 nps:nps-readers");
        assert_eq!(stat("/opt/nps/release"), "640 nps:nps");
        let entry = lab.exec(host, &["getent", "passwd", "nps"]);
        assert!(entry.trim().ends_with(":/opt/nps:/usr/sbin/nologin"), "{entry}");
        assert!(lab.exec(host, &["id", "-Gn", "nps"]).contains("nps-readers"));
    }
    assert!(is_open(&lab, 22) && is_open(&lab, 8098));
    assert!(!is_open(&lab, 8099), "what Docker publishes is closed too");
    assert_eq!(
        on_h1(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8099/healthz"]).len(),
        3
    );
    // Limits are in force as git has them.
    let inspect = |service: &str, format: &str| {
        on_h1(&["docker", "inspect", "--format", format, &format!("prod-base-tools-{service}-1")])
    };
    assert_eq!(inspect("small", "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}"), "500000000 100663296");
    assert_eq!(inspect("other", "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}"), "0 0");
    let unit = |property: &str| on_h1(&["systemctl", "show", "-P", property, "idler.service"]);
    assert_eq!((unit("MemoryMax").as_str(), unit("CPUQuotaPerSecUSec").as_str()), ("67108864", "200ms"));
    ops.assert_plan_is_empty();

    // Somebody changes it by hand; the rules come back with nftables, which empties all tables.
    on_h1(&["chmod", "777", "/var/backups/nps"]);
    on_h1(&["usermod", "--shell", "/bin/bash", "--groups", "", "nps"]);
    let plan = String::from_utf8_lossy(&ops.run(&["plan", "prod"]).stdout).into_owned();
    for line in ["account nps", "folder /var/backups/nps", "0777 nps:nps-readers → 0750 nps:nps-readers"] {
        assert!(plan.contains(line), "{plan}");
    }
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!(on_h1(&["stat", "-c", "%a", "/var/backups/nps"]), "750");
    assert!(on_h1(&["getent", "passwd", "nps"]).ends_with("nologin"));
    ops.assert_plan_is_empty();
    on_h1(&["systemctl", "restart", "nftables"]);
    // It follows in a job of its own, which nobody waits for here.
    wait_until("the firewall is back", Duration::from_secs(20), || !is_open(&lab, 8099));

    // Closed in git, closed at once, by a reload: nothing was open in between.
    let began = on_h1(&["systemctl", "show", "-P", "InvocationID", "holdfast-firewall.service"]);
    ops.write("environments/prod/base.yaml", &base("v2", "0750", "[22/tcp, { ports: [8099/tcp], from: [hosts] }]"));
    ops.write("templates/compose/tools.yaml.j2", &tools("128M"));
    let other = inspect("other", "{{.Id}}");
    green(&ops.ship("another door"));
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!(inspect("small", "{{.HostConfig.Memory}}"), "134217728");
    assert_eq!(inspect("other", "{{.Id}}"), other, "only what has another limit is made anew");
    assert!(!is_open(&lab, 8098) && !is_open(&lab, 8099));
    let from_h2 = format!("http://{}:8099/healthz", lab.hosts[0].address);
    lab.exec("h2", &["curl", "-sS", "--max-time", "20", "-o", "/dev/null", &from_h2]);
    let now = on_h1(&["systemctl", "show", "-P", "InvocationID", "holdfast-firewall.service"]);
    assert_eq!(began, now, "it was reloaded and not restarted");

    // One that shuts the manager out, which no reader of git can see, undoes itself.
    ops.write("environments/prod/base.yaml", &base("v3", "0700", "[{ ports: [22/tcp], from: [192.0.2.0/24] }]"));
    green(&ops.ship("a wall"));
    let cut = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(cut.status.code(), Some(4), "it went back: {}", String::from_utf8_lossy(&cut.stderr));
    assert!(is_open(&lab, 22));
    assert_eq!(on_h1(&["stat", "-c", "%a", "/var/backups/nps"]), "750", "and so did the folder");

    // Git forgets all of it: the doors open, what people may have filled stays.
    fs::remove_file(ops.work.join("environments/prod/base.yaml")).unwrap();
    green(&ops.ship("no base"));
    ops.run(&["apply", "prod", "--yes", "--allow-prune"]);
    wait_until("the doors are open again", Duration::from_secs(20), || is_open(&lab, 8098) && is_open(&lab, 8099));
    assert_eq!(on_h1(&["stat", "-c", "%a %U", "/opt/nps"]), "750 nps");
    assert!(!lab.try_run(&["exec", "h1", "--", "nft", "list", "table", "inet", "holdfast_firewall"]).status.success());
    // The restart of nftables took the engine's own rules away too.
    on_h1(&["systemctl", "restart", "docker"]);
    cap_81_logs_have_an_end(&lab, &ops, &green);
    cap_09_images_come_in_an_archive(&lab, &ops, &green);
}

/// One app of one container, whose image no registry has.
fn boxed(sha256: &str) -> String {
    format!(
        "\
app: boxed
release: v1
archives:
  - {{ file: nightly/boxed.tar, sha256: {sha256} }}
components:
  web:
    compose: compose/boxed.yaml.j2
    strategy: in_place
    healthcheck: {{ state: true, interval: 100ms, min_healthy_time: 100ms }}
"
    )
}

const BOXED: &str = "services:\n  web:\n    image: boxed/web:v1\n    logging: { driver: local }\n    stop_grace_period: 1s\n    environment: { STANDIN_NAME: boxed }\n";

/// One host has the image under another name, one has it not at all.
fn cap_09_images_come_in_an_archive(lab: &Lab, ops: &Ops, green: &dyn Fn(&str)) {
    let on_h1 = |argv: &[&str]| lab.exec("h1", argv).trim().to_owned();
    on_h1(&["docker", "commit", "--change", "LABEL made=here", "door", "boxed/web:v1"]);
    on_h1(&["docker", "save", "-o", "/root/boxed.tar", "boxed/web:v1"]);
    let id = on_h1(&["docker", "image", "inspect", "--format", "{{.Id}}", "boxed/web:v1"]);
    on_h1(&["docker", "image", "tag", "boxed/web:v1", "kept:1"]);
    on_h1(&["docker", "image", "rm", "boxed/web:v1"]);
    let archive = ops.work.with_file_name("state").join("archives/nightly/boxed.tar");
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    fs::copy(lab.host("h1").root.join("root/boxed.tar"), &archive).unwrap();
    let sum = on_h1(&["sha256sum", "/root/boxed.tar"]);
    let (sum, _) = sum.split_once(' ').unwrap();
    let shown = |arguments: &[&str]| String::from_utf8_lossy(&ops.run_any(arguments).stdout).into_owned();

    // Another one than git names.
    ops.write("templates/compose/boxed.yaml.j2", BOXED);
    ops.write("environments/prod/boxed.yaml", &boxed(&"ab".repeat(32)));
    green(&ops.ship("an image in an archive"));
    let blocked = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(blocked.status.code(), Some(3), "{}", String::from_utf8_lossy(&blocked.stderr));
    let plan = shown(&["plan", "prod"]);
    assert!(plan.contains("bad-archive") && plan.contains("boxed.tar is another one than git names"), "{plan}");

    // It is sent to the host that does not have it, loaded, and gone again; the other one gives what it has the name.
    ops.write("environments/prod/boxed.yaml", &boxed(sum));
    green(&ops.ship("the one that is meant"));
    let plan = shown(&["plan", "prod"]);
    assert_eq!(plan.matches("is sent from nightly/boxed.tar").count(), 1, "{plan}");
    ops.run(&["apply", "prod", "--yes"]);
    for host in ["h1", "h2"] {
        let format = "{{.Image}} {{.State.Running}}";
        let live = lab.exec(host, &["docker", "inspect", "--format", format, "prod-boxed-web-web-1"]);
        assert_eq!(live.trim(), format!("{id} true"), "{host}");
        let blob = lab.host(host).root.join("var/lib/holdfast/blobs").join(sum);
        assert!(!blob.exists(), "{host}");
    }
    ops.assert_plan_is_empty();

    // What runs needs no archive; what is to be made anew does, and says so.
    fs::remove_file(&archive).unwrap();
    ops.assert_plan_is_empty();
    lab.exec("h2", &["docker", "rm", "-f", "prod-boxed-web-web-1"]);
    lab.exec("h2", &["docker", "image", "rm", "boxed/web:v1"]);
    // A plan is wrapped at the width of the terminal.
    let plan = shown(&["plan", "prod"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plan.contains("boxed.tar is not there: put it there, made with `docker save"), "{plan}");
}

/// A program that says more than is kept of it, and a file of logrotate.
const TALK: &str = "\
app: talk
release: v1
hosts: [h1]
components:
  talker:
    compose: compose/talker.yaml.j2
    strategy: in_place
    healthcheck: { state: true, interval: 100ms, min_healthy_time: 100ms }
  rotated:
    files:
      - { path: /etc/logrotate.d/talk, template: files/talk.logrotate.j2 }
";

const TALKER: &str = "\
services:
  talker:
    image: standin:1
    logging: { driver: json-file, options: { max-size: 10k, max-file: \"2\" } }
    stop_grace_period: 1s
    entrypoint: [python3, -uc]
    command: [\"import time\\nfor number in range(2000): print(number, 'x' * 80)\\nprint('said all')\\ntime.sleep(1e6)\"]
";

fn rotation(logs: &str, line: &str) -> String {
    format!("{logs} {{\n    {line}\n    rotate 2\n    missingok\n    create 0640 root adm\n}}\n")
}

fn cap_81_logs_have_an_end(lab: &Lab, ops: &Ops, green: &dyn Fn(&str)) {
    let on_h1 = |argv: &[&str]| lab.exec("h1", argv).trim().to_owned();
    let there = lab.host("h1").root.join("etc/logrotate.d/talk");
    let refused = |logs: &str, line: &str, why: &str| {
        let before = fs::read_to_string(&there).ok();
        ops.write("templates/files/talk.logrotate.j2", &rotation(logs, line));
        green(&ops.ship(why));
        let refused = ops.run_any(&["apply", "prod", "--yes"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!refused.status.success() && said.contains(why), "{said}");
        assert!(said.contains("logrotate refuses /etc/logrotate.d/talk"), "{said}");
        assert_eq!(fs::read_to_string(&there).ok(), before, "what is there stays");
    };
    ops.write("environments/prod/talk.yaml", TALK);
    ops.write("templates/compose/talker.yaml.j2", TALKER);
    // logrotate itself would tell of it and end well.
    refused("/var/log/talk/*.log", "dayly", "unknown option 'dayly'");
    assert!(!lab.try_run(&["exec", "h1", "--", "docker", "inspect", "prod-talk-talker-talker-1"]).status.success());

    ops.write("templates/files/talk.logrotate.j2", &rotation("/var/log/talk/*.log", "daily"));
    green(&ops.ship("two old ones are kept"));
    ops.run(&["apply", "prod", "--yes"]);
    ops.assert_plan_is_empty();
    // Docker keeps the end of what is said.
    let container = "prod-talk-talker-talker-1";
    wait_until("all is said", Duration::from_secs(30), || {
        on_h1(&["docker", "logs", "--tail", "1", container]) == "said all"
    });
    let format = "{{.HostConfig.LogConfig.Type}} {{json .HostConfig.LogConfig.Config}}";
    let told = on_h1(&["docker", "inspect", "--format", format, container]);
    assert_eq!(told, r#"json-file {"max-file":"2","max-size":"10k"}"#);
    let first = on_h1(&["docker", "inspect", "--format", "{{.LogPath}}", container]);
    let sizes = on_h1(&["stat", "-c", "%s", &first, &format!("{first}.1")]);
    let kept: u64 = sizes.lines().map(|size| size.parse::<u64>().unwrap()).sum();
    assert!(kept <= 21_000, "of some 260 kB: {sizes}");
    // What it refuses, Docker refuses too, but not before it starts.
    let endless = ["run", "--rm", "--log-driver", "json-file", "--log-opt", "max-size=-1", "standin:1"];
    let endless = lab.try_run(&[&["exec", "h1", "--", "docker"][..], &endless].concat());
    assert!(!endless.status.success(), "{}", String::from_utf8_lossy(&endless.stderr));

    // The host's own logrotate reads the file among all others, and keeps two.
    on_h1(&["mkdir", "-p", "/var/log/talk"]);
    for said in ["one", "two", "three", "four"] {
        fs::write(lab.host("h1").root.join("var/log/talk/talk.log"), said).unwrap();
        on_h1(&["logrotate", "--force", "/etc/logrotate.conf"]);
    }
    let text = |name: &str| fs::read_to_string(lab.host("h1").root.join("var/log/talk").join(name)).unwrap();
    assert_eq!(on_h1(&["ls", "/var/log/talk"]).split_whitespace().count(), 3);
    assert_eq!(
        (text("talk.log"), text("talk.log.1"), text("talk.log.2")),
        (String::new(), "four".into(), "three".into())
    );

    // A log that the file of a package has: that one would be passed over.
    fs::write(lab.host("h1").root.join("var/log/nginx/talk.log"), "x").unwrap();
    refused("/var/log/nginx/talk.log", "daily", "duplicate log entry for /var/log/nginx/talk.log");
    refused("/var/log/talk/*.log", "create 0640 nobody-here adm", "unknown user 'nobody-here'");
    on_h1(&["logrotate", "--force", "/etc/logrotate.conf"]);

    // Without the program nothing is begun, and it is said which one is missing.
    on_h1(&["mv", "/usr/sbin/logrotate", "/usr/sbin/logrotate.away"]);
    let plan = String::from_utf8_lossy(&ops.run_any(&["plan", "prod"]).stdout).into_owned();
    on_h1(&["mv", "/usr/sbin/logrotate.away", "/usr/sbin/logrotate"]);
    assert!(plan.contains("missing-tool") && plan.contains("logrotate is not installed"), "{plan}");
    ops.write("templates/files/talk.logrotate.j2", &rotation("/var/log/talk/*.log", "daily"));
    green(&ops.ship("as it was"));
    ops.assert_plan_is_empty();
}
