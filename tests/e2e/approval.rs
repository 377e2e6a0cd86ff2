//! Production moves by a tag, and only by what somebody else than its author approved.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use holdfast_core::id::digest_of;
use holdfast_core::view::{OutputKind, output_schema};
use holdfast_testkit::json_schema::faults;
use holdfast_testkit::lab::{Lab, LabHost, wait_until};
use holdfast_testkit::ops::{Ops, text};
use holdfast_testkit::sink::{Sink, Taken};
use serde_json::Value;

use crate::journals::release;

const PATIENCE: Duration = Duration::from_secs(60);
const REFUSED: Option<i32> = Some(3);
const WAITS: Option<i32> = Some(6);

/// Everything of a host that an apply could touch: contents, modes and times.
fn picture(host: &LabHost) -> BTreeMap<String, String> {
    let mut open: Vec<_> =
        ["etc", "srv", "opt", "usr/local", "var/lib/holdfast"].map(|part| host.root.join(part)).into();
    let mut seen = BTreeMap::new();
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let mut facts = format!("{:o} {}", metadata.permissions().mode(), metadata.uid());
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if metadata.is_file() {
            let content = digest_of(&fs::read(&path).expect("a file"));
            facts = format!("{facts} {content} {}.{}", metadata.mtime(), metadata.mtime_nsec());
        }
        seen.insert(path.display().to_string(), facts);
    }
    seen
}

fn waiting(ops: &Ops) -> Value {
    let output = ops.holdfast(&["status", "prod", "--json"]).output().expect("holdfast starts");
    let said: Value = serde_json::from_str(&text(&output)).unwrap_or_default();
    said["environments"][0]["awaits"]["proposal"].clone()
}

fn seal(ops: &Ops) -> String {
    waiting(ops)["seal"].as_str().unwrap_or_else(|| panic!("a plan waits")).to_owned()
}

/// A daemon that ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tag(ops: &Ops, release: &str) -> String {
    if release != "v1" {
        ops.release(release);
        ops.push();
    }
    ops.git(&["tag", release]);
    ops.git(&["push", "-q", "origin", release]);
    ops.git(&["rev-parse", "HEAD"]).trim().to_owned()
}

#[test]
#[ignore = "needs the lab"]
fn cap_03_a_tag_waits_for_somebody_elses_word_and_then_goes_out() {
    let lab = Lab::up("poappr", "web", 1, &["--no-docker"]);
    let ops = Ops::quick(Path::new(env!("CARGO_BIN_EXE_holdfast")), &lab);
    let host = lab.host("web1");
    let policy = fs::read_to_string(&ops.config).expect("manager.yaml").replace(
        "  prod: { branch: main }\n",
        "  prod: { tag: v*, approval: { by: [dev, bob] } }\napprovers:\n  dev: [dev@example.net]\n  bob: [bob@example.net]\n",
    );
    let sink = Sink::on("127.0.0.1");
    let notices = format!("notices:\n  - {{ name: hook, webhook: {{ url: \"{}\" }} }}\n", sink.url("/"));
    fs::write(&ops.config, policy + "poll_interval: 1s\n" + &notices).expect("manager.yaml");

    // By hand.
    tag(&ops, "v1");
    ops.run(&["plan", "prod"]);
    let untouched = picture(host);
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), WAITS);
    let first = seal(&ops);
    for (arguments, why) in [
        ([&*first, "--as", "dev"], "wrote this commit"),
        ([&*first, "--as", "mallory"], "may not approve here"),
        (["0123456789ab", "--as", "bob"], "what was looked at is void"),
    ] {
        let refused = ops.run_any(&[&["approve", "prod"][..], &arguments].concat());
        assert_eq!(refused.status.code(), REFUSED);
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{why}");
    }
    assert_eq!(ops.run_any(&["apply", "prod", "--yes"]).status.code(), WAITS);
    assert_eq!(picture(host), untouched, "what nobody approved touches nothing");
    ops.run(&["approve", "prod", &first[..12], "--as", "bob"]);
    ops.run(&["apply", "prod", "--yes"]);
    assert_eq!(release(host).expect("it serves"), "v1");
    ops.assert_plan_is_empty();

    // By the daemon: a commit without a tag is nothing, a tag waits.
    let log = fs::File::create(ops.work.with_file_name("daemon.log")).expect("a log");
    let child = ops.holdfast(&["daemon"]).stdout(Stdio::null()).stderr(log).spawn().expect("holdfast starts");
    let daemon = Daemon(child);
    let untouched = picture(host);
    ops.release("v9");
    ops.push();
    let second = tag(&ops, "v2");
    wait_until("v2 waits", PATIENCE, || waiting(&ops)["commit"] == *second);
    let shown = seal(&ops);
    assert_eq!(picture(host), untouched);

    // Somebody changes a file on the host after the plan was looked at: the word is void, and a new one is asked for.
    let site = host.root.join("etc/nginx/conf.d");
    let site = fs::read_dir(&site).expect("nginx's folder").map(|entry| entry.expect("an entry").path());
    let site = site.into_iter().find(|path| path.to_string_lossy().contains("quick")).expect("the app's site");
    let was = fs::read_to_string(&site).expect("the site");
    fs::write(&site, format!("{was}# by hand\n")).expect("the site");
    let changed = picture(host);
    ops.run(&["approve", "prod", &shown, "--as", "bob"]);
    wait_until("a new word is asked for", PATIENCE, || {
        waiting(&ops)["seal"].as_str().is_some_and(|seal| seal != shown)
    });
    assert_eq!(picture(host), changed, "a void word touches nothing");
    assert_eq!(ops.run_any(&["approve", "prod", &shown, "--as", "bob"]).status.code(), REFUSED);
    let last = seal(&ops);
    let said: Value =
        serde_json::from_str(&text(&ops.run(&["approve", "prod", &last, "--as", "bob", "--json"]))).unwrap();
    assert_eq!((&said["begins"], &said["commit"]), (&Value::from(true), &Value::from(&*second)));
    assert_eq!(faults(&output_schema(OutputKind::Approve), &said), [""; 0], "{said}");
    wait_until("v2 serves", PATIENCE, || release(host).is_ok_and(|release| release == "v2"));
    wait_until("nothing waits", PATIENCE, || waiting(&ops).is_null());

    // cap_80: who, which commit, which plan, who approved, which steps, how they ended.
    let mut record = Value::Null;
    wait_until("the sync is in the history", PATIENCE, || {
        let output = ops.holdfast(&["history", "prod", "--json"]).output().expect("holdfast starts");
        let history: Value = serde_json::from_str(&text(&output)).unwrap_or_default();
        record = history["syncs"][0].clone();
        record["result"] == "synced"
    });
    assert_eq!((&record["commit"], &record["cause"]), (&Value::from(&*second), &Value::from("approval")));
    let one = text(&ops.run(&["history", "--sync", &record["id"].to_string(), "--json"]));
    let one: Value = serde_json::from_str(&one).expect("JSON");
    let events = one["events"].as_array().expect("events");
    let event =
        |name: &str| events.iter().find_map(|event| event["kind"].get(name)).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(event("started")["by"], "root");
    assert_eq!(event("planned")["seal"], *last);
    assert_eq!((&event("approved")["by"][0], &event("approved")["seal"]), (&Value::from("bob"), &Value::from(&*last)));
    let steps = events.iter().filter(|event| event["kind"]["host"]["entry"]["event"].get("done").is_some()).count();
    assert!(steps > 5, "the steps and how they ended: {events:#?}");
    // cap_79: people were told of what waited, each plan once, and of what went out; also of what was typed before the daemon ran.
    // One that could not be delivered at once comes after later ones.
    wait_until("the last notice is there", PATIENCE, || {
        let told = sink.taken();
        let is_last = |one: &Taken| one.body["kind"] == "synced" && one.body["text"].to_string().contains("v2");
        told.len() >= 5 && told.iter().any(is_last)
    });
    drop(daemon);
    let told: Vec<Value> = sink.taken().into_iter().map(|one| one.body).collect();
    let count = |kind: &str| told.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!((count("awaits_approval"), count("synced")), (3, 2), "{told:#?}");
    assert!(told.iter().any(|one| one["text"].to_string().contains(&last[..12])), "{told:#?}");

    // The way back asks nobody.
    ops.run(&["rollback", "prod", "quick", "--yes"]);
    assert_eq!(release(host).expect("it serves"), "v1");
}
