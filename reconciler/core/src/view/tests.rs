//! Golden tests of the views, over one small fleet.

use std::collections::BTreeSet;

use holdfast_protocol::{ListeningPort, Observed};

use super::{
    Style, config_diff_markdown, config_diff_text, desired_diff, explain_text, plan_html, plan_json, plan_markdown,
    plan_schema, plan_text,
};
use crate::desired::{Body, DesiredState};
use crate::plan::ideal::{ask, empty_live, live_as_desired, plan_of, report};
use crate::plan::sample::{Version, host_name, state};
use crate::plan::{LiveHost, LiveState, Plan};

const NARROW: Style = Style { colour: false, width: 60 };
const WIDE: Style = Style { colour: false, width: 140 };

fn fleet() -> (DesiredState, LiveState) {
    let hosts = ["web1", "web2", "web3", "web4"];
    let v1 = state(&hosts, &Version::new("v1"));
    let mut head = Version::new("v2");
    head.without = vec!["report".to_owned()];
    let v2 = state(&hosts, &head);
    let mut live = live_as_desired(&v1);
    live.hosts.insert(host_name("web4"), LiveHost::Unreachable { reason: "connection timed out".to_owned() });
    let mut live = ask(&v2, &live);
    live.hosts.insert(host_name("web4"), LiveHost::Unreachable { reason: "connection timed out".to_owned() });
    report(&mut live, "web3").listening =
        vec![ListeningPort { address: "0.0.0.0".to_owned(), port: 8201, owner: "python3 (812)".to_owned() }];
    (v2, live)
}

fn sample() -> Plan {
    let (desired, live) = fleet();
    plan_of(&desired, &live)
}

#[test]
fn a_plan_in_a_narrow_terminal() {
    insta::assert_snapshot!(plan_text(&sample(), NARROW));
}

#[test]
fn a_plan_in_a_wide_terminal() {
    insta::assert_snapshot!(plan_text(&sample(), WIDE));
}

#[test]
fn a_plan_in_colour() {
    let v1 = state(&["web1"], &Version::new("v1"));
    let mut live = live_as_desired(&v1);
    if let Observed::Seen(switches) = &mut report(&mut live, "web1").switches {
        switches.values_mut().next().unwrap().to = 8201;
    }
    insta::assert_snapshot!(plan_text(&plan_of(&v1, &live), Style { colour: true, width: 100 }));
}

#[test]
fn a_first_plan_shows_the_beginning_of_new_files() {
    let desired = state(&["web1", "web2"], &Version::new("v1"));
    insta::assert_snapshot!(plan_text(&plan_of(&desired, &empty_live(&desired)), WIDE));
}

#[test]
fn an_empty_plan_says_so() {
    let desired = state(&["web1", "web2"], &Version::new("v1"));
    let plan = plan_of(&desired, &live_as_desired(&desired));
    let text = plan_text(&plan, WIDE);
    assert!(text.contains("Nothing to change: 32 things on 2 hosts are as git says. Seal "), "{text}");
    assert!(plan_json(&plan)["empty"].as_bool().unwrap());
}

#[test]
fn twenty_equal_hosts_are_shown_once() {
    let names: Vec<String> = (1..=20).map(|number| format!("web{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut version = Version::new("v1");
    version.without = vec!["web".to_owned()];
    let v1 = state(&names, &version);
    version.release = "v2".to_owned();
    let v2 = state(&names, &version);
    let plan = plan_of(&v2, &ask(&v2, &live_as_desired(&v1)));
    let text = plan_text(&plan, NARROW);
    assert_eq!(text.matches("-/+ unit nps-jobs.service").count(), 1, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
}

#[test]
fn a_plan_in_a_pull_request() {
    insta::assert_snapshot!(plan_markdown(&sample()));
}

#[test]
fn a_plan_as_a_page() {
    insta::assert_snapshot!(plan_html(&sample()));
}

#[test]
fn a_plan_for_programs() {
    let mut version = Version::new("v1");
    version.without = ["data", "api", "jobs", "report", "edge"].map(str::to_owned).to_vec();
    let v1 = state(&["web1"], &version);
    version.release = "v2".to_owned();
    let v2 = state(&["web1"], &version);
    let plan = plan_of(&v2, &ask(&v2, &live_as_desired(&v1)));
    let json = serde_json::to_string_pretty(&plan_json(&plan)).unwrap();
    insta::assert_snapshot!(json);
}

#[test]
fn every_field_of_the_json_is_in_the_schema() {
    let schema = plan_schema();
    let json = plan_json(&sample());
    let known = |value: &serde_json::Value, at: &serde_json::Value| {
        let object = value.as_object().unwrap();
        object.keys().filter(|key| at["properties"].get(key.as_str()).is_none()).cloned().collect::<Vec<_>>()
    };
    assert_eq!(known(&json, &schema), [""; 0]);
    assert_eq!(known(&json["hosts"][0]["changes"][0], &schema["$defs"]["ChangeView"]), [""; 0]);
}

#[test]
fn explains_from_commit_to_rule() {
    let plan = sample();
    insta::assert_snapshot!("explain_a_file", explain_text(&plan, "compose.yaml", NARROW));
    insta::assert_snapshot!("explain_a_blocker", explain_text(&plan, "port-taken", WIDE));
    insta::assert_snapshot!("explain_nothing", explain_text(&plan, "no-such-thing", NARROW));
}

#[test]
fn what_hosts_say_cannot_act() {
    let evil = "x\u{1b}]0;owned\u{7}\u{202e}\n```\n</details><img src=x onerror=alert(1)> @everyone [a](http://b)\r";
    let (desired, mut live) = fleet();
    report(&mut live, "web3").listening[0].owner = evil.to_owned();
    let container = &mut report(&mut live, "web1").projects.get_mut("prod-nps-data");
    if let Some(Observed::Seen(project)) = container {
        evil.clone_into(&mut project.containers[0].name);
        evil.clone_into(&mut project.containers[0].state);
    }
    let file = report(&mut live, "web2").files.get_mut("/etc/nginx/conf.d/prod-nps-edge.conf");
    if let Some(Observed::Seen(file)) = file {
        file.digest = crate::id::digest_of(evil.as_bytes());
        file.content = Some(evil.as_bytes().to_vec());
    }
    let plan = plan_of(&desired, &live);
    let text = plan_text(&plan, WIDE);
    assert!(text.contains("owned") && !text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']), "{text}");
    let explained = explain_text(&plan, "", WIDE);
    assert!(explained.contains("owned") && !explained.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']));

    let markdown = plan_markdown(&plan);
    // Line by line as CommonMark reads it: outside of code blocks there is nothing of the host's.
    let mut fence: Option<&str> = None;
    let mut outside = String::new();
    for line in markdown.lines() {
        let ticks = &line[..line.len() - line.trim_start_matches('`').len()];
        match fence {
            None if ticks.len() >= 3 => fence = Some(ticks),
            Some(open) if ticks.len() >= open.len() && line == ticks => fence = None,
            None => outside.extend([line, "\n"]),
            Some(_) => {}
        }
    }
    assert!(fence.is_none() && !outside.contains("img") && !outside.contains('@'), "{outside}");
    assert_eq!(outside.matches("</details>").count(), outside.matches("<details>").count());

    let page = plan_html(&plan);
    assert!(page.contains("&lt;img") && !page.contains("<img") && !page.contains('\u{202e}'));
}

#[test]
fn a_long_plan_fits_into_a_comment() {
    let (desired, mut live) = fleet();
    for (index, host) in ["web1", "web2", "web3"].into_iter().enumerate() {
        let file = report(&mut live, host).files.get_mut("/etc/nginx/conf.d/prod-nps-edge.conf");
        let Some(Observed::Seen(file)) = file else { panic!("no site") };
        let text = format!("host {index} wrote this line\n").repeat(3_000);
        file.digest = crate::id::digest_of(text.as_bytes());
        file.content = Some(text.into_bytes());
    }
    let mut plan = plan_of(&desired, &live);
    assert!(plan_markdown(&plan).chars().count() <= 60_000);
    // Many hosts, each with changes of its own.
    let template = plan.hosts[&host_name("web1")].clone();
    for number in 0..400 {
        let name = host_name(&format!("extra{number}"));
        let mut host = template.clone();
        host.changes.iter_mut().for_each(|change| change.note = format!("number {number}"));
        plan.hosts.insert(name.clone(), host);
        plan.order.push(name);
    }
    let text = plan_markdown(&plan);
    assert!(text.chars().count() <= 60_000);
    assert!(text.contains("The plan is too long for a comment: diffs and "), "{}", &text[text.len() - 300..]);
}

#[test]
fn cap_04_two_commits_are_compared_without_any_host() {
    let hosts = ["web1", "web2"];
    let base = state(&hosts, &Version::new("v1"));
    let mut head = Version::new("v2");
    head.secret = "1111222233334444".to_owned();
    head.extra = true;
    head.without = vec!["report".to_owned()];
    let mut head = state(&["web1", "web2", "web3"], &head);
    head.hosts.values_mut().flat_map(|host| host.apps.values_mut()).for_each(|app| {
        app.components[1].drain.timeout = crate::time::Millis(30_000);
    });
    let diff = desired_diff(&base, &head);
    insta::assert_snapshot!("diff_narrow", config_diff_text(&diff, NARROW));
    insta::assert_snapshot!("diff_wide", config_diff_text(&diff, WIDE));
    insta::assert_snapshot!("diff_markdown", config_diff_markdown(&diff));
    assert!(desired_diff(&base, &base).is_empty());
    // The digest tells what was looked at: the same from another commit, another with one byte more.
    assert_eq!(desired_diff(&base, &head).digest, diff.digest);
    let mut elsewhere = head.clone();
    elsewhere.commit = "9".repeat(40).parse().unwrap();
    assert_eq!(desired_diff(&base, &elsewhere).digest, diff.digest);
    assert_ne!(desired_diff(&head, &base).digest, diff.digest);
    let mut more = head.clone();
    let app = more.hosts.values_mut().next().unwrap().apps.values_mut().next().unwrap();
    let Body::Single(data) = &mut app.components[0].body else { panic!("one place") };
    data.files.values_mut().next().unwrap().content.parts.push(crate::render::Part::Plain(" ".to_owned()));
    assert_ne!(desired_diff(&base, &more).digest, diff.digest);
    assert!(config_diff_text(&desired_diff(&base, &base), WIDE).contains("Nothing differs on any of 2 hosts."));
    let there: BTreeSet<String> = diff.hosts.iter().map(|host| host.host.to_string()).collect();
    assert_eq!(there.len(), 3);
    let back = desired_diff(&head, &base);
    assert_eq!(back.hosts.last().unwrap().host, host_name("web3"), "a host that left comes last");
}
