//! What has to be on a host, its firewall, and files that are only read again.

use holdfast_protocol::{AccountSpec, ActiveGoal, Digest, FolderSpec, ImageArchive, Prerequisites};

use super::*;
use crate::desired::{ArchiveContent, DesiredArchive};

fn goals(spec: &TransactionSpec) -> Vec<(ActiveGoal, bool)> {
    let steps = spec.prepare.iter().chain(&spec.promote);
    let goal = |step: &Step| match &step.action {
        Action::Unit { active, .. } => Some((active.unwrap(), false)),
        Action::OnUndo(inner) => match inner.as_ref() {
            Action::Unit { active, .. } => Some((active.unwrap(), true)),
            _ => None,
        },
        _ => None,
    };
    steps.filter_map(goal).collect()
}

/// An app with one component on one unit, and two files beside it, of which the first is only to be read again.
fn gate(unit: &str, strategy: Strategy, limits: &str, environment: &str) -> DesiredState {
    let mut artifacts = units(unit, "unit");
    let mut limits = file(limits);
    limits.reload = true;
    artifacts.files.extend([("/etc/limits".to_owned(), limits), ("/etc/environment".to_owned(), file(environment))]);
    let mut app = app("v1");
    app.components = vec![component("gate", strategy, Body::Single(artifacts))];
    state(vec![app])
}

fn of_files(paths: &[&str]) -> Vec<Change> {
    paths.iter().map(|path| change("gate", ResourceKey::File((*path).to_owned()))).collect()
}

#[test]
fn cap_27_files_to_be_read_again_reload_and_others_restart() {
    let made = |limits: &str, environment: &str| gate("gate.service", Strategy::Rolling, limits, environment);
    let first = spec(&made("1", "1"), &of_files(&["/etc/limits", "/etc/environment"]), &Ledger::default());
    let ledger = applied(Ledger::default(), &first);
    let limits = spec(&made("2", "1"), &of_files(&["/etc/limits"]), &ledger);
    assert_eq!(goals(&limits), [(ActiveGoal::Reloaded, true), (ActiveGoal::Reloaded, false)]);
    let both = spec(&made("2", "2"), &of_files(&["/etc/limits", "/etc/environment"]), &ledger);
    assert_eq!(goals(&both), [(ActiveGoal::Restarted, true), (ActiveGoal::Restarted, false)]);
}

#[test]
fn cap_17_a_change_of_the_firewall_is_behind_the_gate_and_has_to_be_confirmed() {
    let made = |limits: &str| gate("holdfast-firewall.service", Strategy::Rolling, limits, "1");
    let first = spec(&made("1"), &of_files(&["/etc/limits", "/etc/environment"]), &Ledger::default());
    assert_eq!(first.confirm_within_ms, Some(120_000));
    assert!(!first.prepare.iter().any(|step| matches!(step.action, Action::Unit { .. })), "{}", shown(&first));
    let ledger = applied(Ledger::default(), &first);
    let next = spec(&made("2"), &of_files(&["/etc/limits"]), &ledger);
    assert_eq!(next.confirm_within_ms, Some(120_000));
    assert_eq!(goals(&next), [(ActiveGoal::Reloaded, true), (ActiveGoal::Reloaded, false)]);
}

#[test]
fn cap_14_what_has_to_be_there_comes_before_files_in_the_order_it_needs() {
    let mut desired = gate("gate.service", Strategy::Rolling, "1", "1");
    let account = |name: &str| AccountSpec {
        group: name.to_owned(),
        groups: ["readers".to_owned()].into(),
        home: "/nonexistent".to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
        system: true,
    };
    let folder = FolderSpec { owner: "gate".to_owned(), group: "readers".to_owned(), mode: 0o750 };
    let wanted = Prerequisites {
        groups: ["readers".to_owned()].into(),
        accounts: BTreeMap::from([("gate".to_owned(), account("gate"))]),
        folders: BTreeMap::from([("/srv/gate".to_owned(), folder.clone()), ("/srv/gate/in".to_owned(), folder)]),
    };
    let app = desired.hosts.values_mut().next().unwrap().apps.values_mut().next().unwrap();
    app.components[0].prerequisites = wanted.clone();
    let keys = [
        ResourceKey::Folder("/srv/gate/in".to_owned()),
        ResourceKey::Folder("/srv/gate".to_owned()),
        ResourceKey::Account("gate".to_owned()),
        ResourceKey::Group("readers".to_owned()),
        ResourceKey::File("/etc/limits".to_owned()),
    ];
    let changes: Vec<Change> = keys.into_iter().map(|key| change("gate", key)).collect();
    let spec = spec(&desired, &changes, &Ledger::default());
    let titles: Vec<&str> = spec.prepare.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(
        titles[1..],
        ["gate: group readers", "gate: account gate", "gate: folder /srv/gate", "gate: folder /srv/gate/in"]
    );
    let ledger = applied(Ledger::default(), &spec);
    assert_eq!(ledger.apps["t/nps"].components["gate"].prerequisites, wanted);
}

#[test]
fn cap_09_an_archive_comes_with_the_images_that_are_wanted_of_it() {
    let id = format!("sha256:{}", "ab".repeat(32));
    let mut app = app("v1");
    let images = ["image:web v1", "image:web v0"].map(|image| (image.to_owned(), [id.clone()].into()));
    app.archives = vec![DesiredArchive {
        file: "nps.tar".to_owned(),
        sha256: Digest([7; 32]),
        content: ArchiveContent::Read { size: 9, images: images.into() },
    }];
    let service = ResourceKey::Service { project: "t-nps-web-blue".to_owned(), service: "main".to_owned() };
    let spec = spec(&state(vec![app]), &[change("web", service)], &Ledger::default());
    let archives = spec.prepare.iter().find_map(|step| match &step.action {
        Action::Images { archives, .. } => Some(archives.clone()),
        _ => None,
    });
    let images = BTreeMap::from([("image:web v1".to_owned(), [id].into())]);
    let wanted = ImageArchive { file: "nps.tar".to_owned(), blob: Digest([7; 32]), size: 9, images };
    assert_eq!(archives, Some(vec![wanted]));
}
