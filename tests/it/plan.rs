//! The example repository as a reviewer meets it first: on hosts where nothing was ever applied.

use std::collections::BTreeSet;

use holdfast_core::desired::{DesiredHost, DesiredState, resolve};
use holdfast_core::plan::{LiveHost, LiveState, Plan, PlanOptions, observe_request, plan};
use holdfast_core::protocol::{
    Architecture, Hello, LiveReport, NginxLive, Observed, PROTOCOL_VERSION, PrerequisitesLive, Resources, Tool,
};
use holdfast_core::time::Timestamp;
use holdfast_core::view::{Style, desired_diff, explain_text, plan_markdown, plan_text};

/// Stands in for the secrets that whoever tries the example makes: encrypted for a key that nobody has.
const SECRETS: &str = "\
database: {password: 'ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]'}
app: {secret_key: 'ENC[AES256_GCM,data:BBBB,iv:BBBB,tag:BBBB,type:str]'}
sops:
  age: [{recipient: age1nobody, enc: nothing}]
  lastmodified: '2026-01-01T00:00:00Z'
  mac: 'ENC[AES256_GCM,data:CCCC,iv:CCCC,tag:CCCC,type:str]'
";

pub(crate) fn desired() -> DesiredState {
    desired_of("prod", SECRETS)
}

fn desired_of(environment: &str, secrets: &str) -> DesiredState {
    let mut tree = holdfast_testkit::example::example();
    let path = format!("environments/{environment}/secrets.sops.yaml");
    tree.files.entry(path).or_insert_with(|| secrets.as_bytes().to_vec());
    let (config, findings) = holdfast_core::config::load(&tree);
    let config = config.unwrap_or_else(|| panic!("{:#?}", findings.0));
    let commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    resolve(&config, &environment.parse().unwrap(), &commit).unwrap()
}

/// Returns a host that has all the tools and nothing of ours.
fn fresh(host: &DesiredHost) -> LiveHost {
    let request = observe_request(host);
    let version = |text: &str| Tool::Version(text.to_owned());
    let report = LiveReport {
        files: request.files.into_iter().map(|query| (query.path, Observed::Absent)).collect(),
        units: request.units.into_iter().map(|unit| (unit, Observed::Absent)).collect(),
        projects: request.projects.into_iter().map(|project| (project, Observed::Absent)).collect(),
        images: request.images.into_iter().map(|image| (image, Observed::Absent)).collect(),
        nginx: Observed::Seen(NginxLive { active: true, error: String::new() }),
        switches: Observed::Absent,
        backups: std::collections::BTreeMap::new(),
        certificates: std::collections::BTreeMap::new(),
        prerequisites: PrerequisitesLive::default(),
        databases: std::collections::BTreeMap::new(),
        statics: std::collections::BTreeMap::new(),
        listening: Vec::new(),
        resources: Resources { disk_free: 1 << 40, inodes_free: 1 << 20, ..Resources::default() },
        ledger: Observed::Absent,
        transactions: Vec::new(),
        fence: 0,
    };
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        kernel: String::new(),
        distribution: String::new(),
        architecture: Architecture::X86_64,
        hostname: String::new(),
        systemd: version("257"),
        nginx: version("1.26.3"),
        docker: version("26.1.5"),
        compose: version("2.26.1"),
        capabilities: BTreeSet::new(),
        fence: 0,
        boot_id: String::new(),
        postgresql_client: Tool::Missing,
        logrotate: Tool::Missing,
    };
    LiveHost::Reached { hello: Box::new(hello), report: Box::new(report) }
}

pub(crate) fn first_plan(desired: &DesiredState) -> Plan {
    plan_with(desired, 0)
}

/// The plan for hosts that have so much memory; of 0 it is not known.
fn plan_with(desired: &DesiredState, memory: u64) -> Plan {
    let hosts = desired.hosts.iter().map(|(name, host)| {
        let mut host = fresh(host);
        if let LiveHost::Reached { report, .. } = &mut host {
            report.resources.memory_total = memory;
        }
        (name.clone(), host)
    });
    let live = LiveState { hosts: hosts.collect() };
    let quarantined = BTreeSet::new();
    let options = PlanOptions {
        observed_at: Timestamp(0),
        quarantined: &quarantined,
        migrated: &std::collections::BTreeSet::new(),
        allow_prune: false,
        adopt: false,
    };
    plan(desired, &live, &options)
}

#[test]
fn nothing_stands_in_the_way_of_the_example() {
    let plan = first_plan(&desired());
    assert!(plan.blockers.is_empty(), "{:#?}", plan.blockers);
    let text = plan_text(&plan, Style { colour: false, width: 100 });
    assert!(text.contains("alembic upgrade head"), "{text}");
    assert!(text.contains("‹secret "), "secrets are named, and no key was there to show more: {text}");
    assert!(plan_markdown(&plan).chars().count() <= 60_000);
}

/// Guide 001 says "10 containers" and lists nine, says 6.1 processors and 5.3 GB where its own table has 4.85 and 4.3, and asks for
/// 4 GB: with two slots of what is released its smaller environment may take 6.1.
#[test]
fn cap_15_the_host_that_a_guide_asks_for_is_too_small_for_its_own_limits() {
    let sealed = "'ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]'";
    let names = [
        "database: {password: X}",
        "redis: {password: X}",
        "api: {secret_key: X}",
        "encryption: {key: X, salt: X}",
        "telegram: {service_key: X, bot_token: X}",
        "anthropic: {api_key: X}",
    ];
    let (_, end) = SECRETS.split_once("sops:").unwrap();
    let secrets = format!("{}\nsops:{end}", names.join("\n").replace('X', sealed));
    let desired = desired_of("nps-dev", &secrets);
    let gib = 1 << 30;
    let blockers = plan_with(&desired, 4 * gib).blockers;
    let told: Vec<_> = blockers.iter().map(|blocker| blocker.message.as_str()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("may take 6080 MiB") && told[0].contains("the host has 4096 MiB"), "{told:?}");
    assert!(plan_with(&desired, 8 * gib).blockers.is_empty());
}

#[test]
fn each_value_of_the_example_leads_back_to_its_line() {
    let plan = first_plan(&desired());
    let text = explain_text(&plan, "compose.yaml", Style { colour: false, width: 200 });
    assert!(text.contains("release ← environments/prod/chatbot.yaml:3:"), "{text}");
    assert!(text.contains("used at templates/compose/chatbot-web.yaml.j2:"), "{text}");
}

#[test]
fn cap_04_a_commit_does_not_differ_from_itself() {
    let desired = desired();
    assert!(desired_diff(&desired, &desired).is_empty());
}
