//! Images that come in archives.

use std::collections::BTreeSet;

use holdfast_protocol::{Digest, Observed};

use super::super::ideal::{empty_live, live_as_desired, plan_of, report};
use super::super::sample::{Version, host_name, state};
use super::super::{Plan, observe_request};
use super::codes;
use crate::desired::{ArchiveContent, DesiredArchive, DesiredState};

const ID: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn read(size: u64, images: &[(&str, &str)]) -> ArchiveContent {
    let images = images.iter().map(|(image, id)| ((*image).to_owned(), BTreeSet::from([(*id).to_owned()])));
    ArchiveContent::Read { size, images: images.collect() }
}

/// The sample with one archive for its app on every host.
fn archived(hosts: &[&str], release: &str, content: &ArchiveContent) -> DesiredState {
    let mut state = state(hosts, &Version::new(release));
    for app in state.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        let sha256 = Digest([7; 32]);
        app.archives = vec![DesiredArchive { file: "nps.tar".to_owned(), sha256, content: content.clone() }];
    }
    state
}

fn notes(plan: &Plan, host: &str) -> Vec<String> {
    let changes = &plan.hosts[&host_name(host)].changes;
    changes
        .iter()
        .filter(|change| change.note.contains("sent"))
        .map(|change| format!("{}: {}", change.key, change.note))
        .collect()
}

#[test]
fn cap_09_a_plan_says_which_archive_is_sent_and_only_where_the_image_is_missing() {
    let v1 = archived(&["web1", "web2", "web3"], "v1", &read(120_400_000, &[("docker.io/library/nps:v1", ID)]));
    assert!(observe_request(&v1.hosts[&host_name("web1")]).images.contains(&ID.to_owned()));
    let mut live = empty_live(&v1);
    for host in ["web1", "web2", "web3"] {
        report(&mut live, host)
            .images
            .extend([("nps:v1", Observed::Absent), (ID, Observed::Absent)].map(|(k, v)| (k.to_owned(), v)));
    }
    // One has the image, and one has it under another name.
    report(&mut live, "web2").images.insert("nps:v1".to_owned(), Observed::Seen(ID.to_owned()));
    report(&mut live, "web3").images.insert(ID.to_owned(), Observed::Seen(ID.to_owned()));
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), [""; 0]);
    assert_eq!(notes(&plan, "web1"), ["service prod-nps-web-blue/app: nps:v1 (121 MB) is sent from nps.tar"]);
    assert_eq!(notes(&plan, "web2"), [""; 0]);
    assert_eq!(notes(&plan, "web3"), [""; 0]);
    report(&mut live, "web1").resources.disk_free = 500 << 20;
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["no-headroom web1 *"]);
    assert!(plan.blockers[0].message.contains("web1 has 525 MB free"), "{}", plan.blockers[0].message);
}

#[test]
fn cap_09_what_runs_is_compared_with_the_image_of_the_archive() {
    let v1 = archived(&["web1"], "v1", &read(1_000, &[("nps:v1", ID)]));
    let mut live = live_as_desired(&v1);
    let there = report(&mut live, "web1");
    there.images.insert(ID.to_owned(), Observed::Absent);
    // It was made of another image of this name, and the host knows no other.
    let plan = plan_of(&v1, &live);
    let lines = super::lines(&plan, "web1");
    assert!(lines.iter().any(|line| line.contains("app") && line.contains("image-moved")), "{lines:?}");
    assert_eq!(notes(&plan, "web1").len(), 1, "{:?}", notes(&plan, "web1"));
    let there = report(&mut live, "web1");
    for container in there.projects.values_mut().filter_map(|project| match project {
        Observed::Seen(project) => Some(&mut project.containers),
        _ => None,
    }) {
        container.iter_mut().filter(|container| container.service == "app").for_each(|c| ID.clone_into(&mut c.image));
    }
    there.images.insert("nps:v1".to_owned(), Observed::Seen(ID.to_owned()));
    assert_eq!(super::lines(&plan_of(&v1, &live), "web1"), [""; 0]);
}

#[test]
fn cap_09_an_archive_that_cannot_be_used_stops_only_what_needs_it() {
    let wrong = ArchiveContent::Wrong("the archive /srv/nps.tar is not there".to_owned());
    let v1 = archived(&["web1", "web2"], "v1", &wrong);
    let mut live = empty_live(&v1);
    report(&mut live, "web1").images.insert("nps:v1".to_owned(), Observed::Absent);
    let plan = plan_of(&v1, &live);
    assert_eq!(codes(&plan), ["bad-archive web1 nps"]);
    assert_eq!(plan.blockers[0].message, "the archive /srv/nps.tar is not there");
    // What runs goes on without it.
    assert_eq!(codes(&plan_of(&v1, &live_as_desired(&v1))), [""; 0]);
    let other = archived(&["web1"], "v1", &read(1_000, &[("shop:v1", ID)]));
    let plan = plan_of(&other, &empty_live(&other));
    assert_eq!(codes(&plan), ["bad-archive * nps"]);
    assert!(plan.blockers[0].message.contains("holds no image of nps: it has shop:v1"), "{}", plan.blockers[0].message);
    assert_eq!(codes(&plan_of(&other, &live_as_desired(&state(&["web1"], &Version::new("v1"))))), [""; 0]);
}

#[test]
fn another_archive_is_another_content_and_what_is_in_it_is_none() {
    let app = "nps".parse().unwrap();
    let digest = |state: &DesiredState| super::super::app_digest(state, &app);
    let unread = archived(&["web1"], "v1", &ArchiveContent::Unread);
    let mut other = unread.clone();
    assert_eq!(digest(&unread), digest(&archived(&["web1"], "v1", &read(1, &[("nps:v1", ID)]))));
    for app in other.hosts.values_mut().flat_map(|host| host.apps.values_mut()) {
        app.archives[0].sha256 = Digest([8; 32]);
    }
    assert_ne!(digest(&unread), digest(&other));
}
