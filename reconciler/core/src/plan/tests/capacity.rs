//! What hosts have to have, and what may run on them together.

use holdfast_protocol::{AppRecord, ComponentRecord, Ledger, Observed, Tool};

use super::super::ideal::{empty_live, plan_of};
use super::super::sample::{Version, host_name, state};
use super::super::{LiveHost, LiveState};
use super::{codes, report};
use crate::config::Requirement;

fn hello<'a>(live: &'a mut LiveState, host: &str) -> &'a mut holdfast_protocol::Hello {
    match live.hosts.get_mut(&host_name(host)) {
        Some(LiveHost::Reached { hello, .. }) => hello,
        _ => panic!("{host} was not reached"),
    }
}

#[test]
fn cap_13_a_host_older_than_the_environment_requires_is_named_with_its_version() {
    let mut v1 = state(&["web1", "web2"], &Version::new("v1"));
    v1.requires = [
        (Requirement::Docker, vec![24]),
        (Requirement::Debian, vec![12]),
        (Requirement::Kernel, vec![5, 10]),
        (Requirement::PostgresqlClient, vec![15]),
    ]
    .into();
    let mut live = empty_live(&v1);
    for host in ["web1", "web2"] {
        let hello = hello(&mut live, host);
        hello.docker = Tool::Version("26.1.5+dfsg1".to_owned());
        "Debian GNU/Linux 13 (trixie)".clone_into(&mut hello.distribution);
        "6.1.0-18-amd64".clone_into(&mut hello.kernel);
        hello.postgresql_client = Tool::Version("17.6".to_owned());
    }
    assert!(plan_of(&v1, &live).blockers.is_empty());
    hello(&mut live, "web2").docker = Tool::Version("20.10.24+dfsg1".to_owned());
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["requirement-not-met web2 *"]);
    assert_eq!(plan.blockers[0].message, "the Docker engine of web2 is 20.10.24+dfsg1, and prod requires 24 or newer");
    let old = hello(&mut live, "web2");
    old.docker = Tool::Version("24.0.0".to_owned());
    old.postgresql_client = Tool::Missing;
    "Alpine Linux v3.20".clone_into(&mut old.distribution);
    "5.9.16".clone_into(&mut old.kernel);
    assert_eq!(codes(&plan_of(&v1, &live)), ["requirement-not-met web2 *"; 3]);
}

#[test]
fn cap_15_what_other_environments_may_take_counts_too_and_no_limit_exceeds_the_processors() {
    let mut v1 = state(&["web1"], &Version::new("v1"));
    let app = v1.hosts.get_mut(&host_name("web1")).unwrap().apps.values_mut().next().unwrap();
    let data = app.components.iter_mut().find(|component| component.name.as_str() == "data").unwrap();
    let crate::desired::Body::Single(artifacts) = &mut data.body else { panic!("data has one place") };
    let service = artifacts.project.as_mut().unwrap().services.values_mut().next().unwrap();
    service.memory = Some(1 << 30);
    service.processors = Some(2_000);
    let mut live = empty_live(&v1);
    let there = report(&mut live, "web1");
    (there.resources.memory_total, there.resources.processors) = (3 << 30, 2);
    let other = ComponentRecord { memory: 2 << 30, ..ComponentRecord::default() };
    let mut record = AppRecord {
        release: String::new(),
        commit: String::new(),
        transaction: String::new(),
        components: [("db".to_owned(), other)].into(),
        previous: None,
    };
    let ledger = |record: &AppRecord| {
        Observed::Seen(Ledger { apps: [("stage/x".to_owned(), record.clone())].into(), ..Ledger::default() })
    };
    there.ledger = ledger(&record);
    assert!(plan_of(&v1, &live).blockers.is_empty());
    record.components.get_mut("db").unwrap().memory += 1;
    let there = report(&mut live, "web1");
    (there.ledger, there.resources.processors) = (ledger(&record), 1);
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["over-capacity web1 *"; 2]);
    let said: Vec<&str> = plan.blockers.iter().map(|blocker| blocker.message.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("with 2048 MiB of other environments")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("of data may take 2 processors, and the host has 1")), "{said:?}");
}
