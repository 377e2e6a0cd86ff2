//! A change that cuts the manager off from a host, made by the host's own packet filter: it undoes itself.

use std::path::Path;

use holdfast_testkit::lab::Lab;
use holdfast_testkit::ops::Ops;

const ENVIRONMENT: &str = "\
hosts: { role: web }
sync: { mode: manual }
rollout: { confirm_within: 20s }
";

const APP: &str = "\
app: gate
release: v1
hosts: { role: web }
components:
  gate:
    strategy: in_place
    systemd: systemd/gate.service.j2
    files:
      - { path: /etc/nftables.conf, template: files/gate.nft.j2, mode: \"0755\" }
";

const UNIT: &str = "\
[Unit]
Description=gate {{ release }}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/nftables.conf

[Install]
WantedBy=multi-user.target
";

/// A table of its own, replaced as a whole: what Holdfast and the lab have in nftables stays.
fn rules(verdict: &str) -> String {
    format!(
        "#!/usr/sbin/nft -f\n# {{{{ release }}}}\ntable inet gate {{}}\ndelete table inet gate\ntable inet gate {{\n\tchain input {{\n\t\t\
         type filter hook input priority 0; policy accept;\n\t\ttcp dport 22 {verdict}\n\t}}\n}}\n"
    )
}

#[test]
#[ignore = "needs the lab"]
fn a_change_that_cuts_the_manager_off_undoes_itself() {
    let lab = Lab::up("lockout", "h", 1, &["--no-docker"]);
    let ops = Ops::blank(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let shown = |what: &str| lab.exec("h1", &["nft", "list", "table", "inet", "gate"]).contains(what);
    ops.write("environments/prod/environment.yaml", ENVIRONMENT);
    ops.write("environments/prod/gate.yaml", APP);
    ops.write("templates/systemd/gate.service.j2", UNIT);
    ops.write("templates/files/gate.nft.j2", &rules("accept"));
    ops.ship("a gate that is open");
    // Debian's own file is in the way at first.
    let applied = ops.run(&["apply", "prod", "--yes", "--adopt"]);
    assert!(shown("dport 22 accept"), "confirmed over a new connection: {}", String::from_utf8_lossy(&applied.stderr));
    assert!(ops.run(&["plan", "prod", "--detailed-exitcode"]).status.success(), "a second plan is empty");

    ops.write("environments/prod/gate.yaml", &APP.replace("v1", "v2"));
    ops.write("templates/files/gate.nft.j2", &rules("drop"));
    ops.ship("a gate that is shut");
    let cut = ops.run_any(&["apply", "prod", "--yes"]);
    let said = String::from_utf8_lossy(&cut.stderr);
    assert_eq!(cut.status.code(), Some(4), "it went back: {said}");
    assert!(shown("dport 22 accept") && !shown("drop"), "the rules are the old ones: {said}");
    assert!(lab.exec("h1", &["cat", "/etc/nftables.conf"]).contains("# v1"), "and so is the file");

    // Nobody typed anything on the host: it is reached again, and what it refused is not tried again.
    let again = ops.run_any(&["apply", "prod", "--yes"]);
    assert_eq!(again.status.code(), Some(3), "quarantined: {}", String::from_utf8_lossy(&again.stderr));
    ops.write("templates/files/gate.nft.j2", &rules("accept"));
    ops.ship("open again");
    ops.run(&["apply", "prod", "--yes"]);
    assert!(lab.exec("h1", &["cat", "/etc/nftables.conf"]).contains("# v2"));
}
