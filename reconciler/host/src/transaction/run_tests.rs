//! Whole transactions of file steps in a temporary folder, with a crash at every operation.

use std::fs;

use holdfast_protocol::{Action, FilePut, Step};

use super::*;
use crate::disk::Disk;
use crate::transaction::step::testing::{Bench, spec, tree};
use crate::{blob, journal};

fn put(bench: &Bench, name: &str, content: &str) -> Step {
    let blob = blob::store(&bench.host.root, content.as_bytes()).unwrap();
    step(
        name,
        Action::PutFile(FilePut {
            path: bench.path().join("live").join(name).display().to_string(),
            blob,
            mode: 0o644,
            owner: Bench::user(),
            group: Bench::group(),
        }),
    )
}

fn remove(bench: &Bench, name: &str) -> Step {
    step(name, Action::RemoveFile { path: bench.path().join("live").join(name).display().to_string() })
}

fn step(title: &str, action: Action) -> Step {
    Step { title: title.to_owned(), component: String::new(), deadline_ms: 20_000, action }
}

/// A step that cannot succeed: its folder's place is taken by a file.
fn impossible(bench: &Bench) -> Step {
    fs::write(bench.path().join("taken"), "").unwrap();
    let mut step = put(bench, "x", "x");
    if let Action::PutFile(put) = &mut step.action {
        put.path = bench.path().join("taken/x").display().to_string();
    }
    step
}

struct Play {
    bench: Bench,
    spec: TransactionSpec,
}

impl Play {
    fn new(make: impl FnOnce(&Bench, &mut TransactionSpec)) -> Self {
        let bench = Bench::new();
        fs::create_dir(bench.path().join("live")).unwrap();
        fs::write(bench.path().join("live/kept"), "old kept").unwrap();
        fs::write(bench.path().join("live/gone"), "old gone").unwrap();
        let mut spec = spec("t1");
        make(&bench, &mut spec);
        let folder = Folder::of(&bench.host.root, &spec.id);
        folder.store(&Disk::new(), &spec).unwrap();
        folder.mark_begun(&Disk::new(), "/bin/true".as_ref()).unwrap();
        Self { bench, spec }
    }

    fn folder(&self) -> Folder {
        Folder::of(&self.bench.host.root, &self.spec.id)
    }

    fn decide(&self, decision: Decision) {
        self.folder().write_decision(&Disk::new(), decision).unwrap();
    }

    fn live(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        tree(&self.bench.path().join("live"))
    }

    fn entries(&self) -> Vec<JournalEntry> {
        journal::read(&self.folder().journal()).unwrap()
    }

    /// Runs with a crash after so many disk operations, then runs again without.
    fn run_with_crash(&self, operations: usize) -> (Outcome, bool) {
        let broken = Host { disk: Disk::breaking_after(operations), ..self.bench.host.clone() };
        match run(&broken, &self.spec.id) {
            Ok(outcome) => (outcome, false),
            Err(error) => {
                assert!(broken.disk.is_broken(), "{error}");
                (run(&self.bench.host, &self.spec.id).unwrap(), true)
            }
        }
    }
}

fn bring(bench: &Bench, spec: &mut TransactionSpec) {
    spec.prepare = vec![put(bench, "new/deep/file", "new"), put(bench, "kept", "new kept")];
    spec.promote = vec![remove(bench, "gone"), put(bench, "switch", "green")];
    spec.settle = vec![put(bench, "settled", "yes")];
}

#[test]
fn a_crash_at_every_operation_still_ends_in_the_new_state() {
    let mut crashed = 0;
    for operations in 0.. {
        let play = Play::new(bring);
        play.decide(Decision::Promote);
        let (outcome, broke) = play.run_with_crash(operations);
        assert_eq!(outcome, Outcome::Done, "after {operations}");
        let live = play.live();
        let names: Vec<&str> = live.keys().map(String::as_str).collect();
        assert_eq!(names, ["kept", "new/", "new/deep/", "new/deep/file", "settled", "switch"], "after {operations}");
        assert_eq!(live["kept"], b"new kept");
        if !broke {
            break;
        }
        assert!(play.entries().iter().any(|entry| entry.event == JournalEvent::Resumed) || operations < 3);
        crashed += 1;
    }
    assert!(crashed > 20, "only {crashed} crashes were tried");
}

#[test]
fn a_crash_at_every_operation_still_ends_in_the_old_state_when_a_step_fails() {
    let old = Play::new(|_, _| ()).live();
    for operations in 0.. {
        let play = Play::new(|bench, spec| {
            bring(bench, spec);
            spec.promote.push(impossible(bench));
        });
        play.decide(Decision::Promote);
        let (outcome, broke) = play.run_with_crash(operations);
        assert_eq!(outcome, Outcome::RolledBack, "after {operations}");
        assert_eq!(play.live(), old, "after {operations}");
        if !broke {
            assert!(operations > 30);
            break;
        }
    }
}

#[test]
fn a_gate_without_decision_abandons_after_its_time() {
    let old = Play::new(|_, _| ()).live();
    let play = Play::new(|bench, spec| {
        bring(bench, spec);
        spec.ready_deadline_ms = 1;
    });
    assert_eq!(run(&play.bench.host, &play.spec.id).unwrap(), Outcome::Abandoned);
    assert_eq!(play.live(), old);
    assert!(matches!(
        play.entries().last().map(|entry| entry.event.clone()),
        Some(JournalEvent::Ended { reason, .. }) if reason == "no decision came in time"
    ));
}

#[test]
fn decisions_reach_a_waiting_runner_and_late_ones_are_refused() {
    let play = Play::new(|bench, spec| {
        bring(bench, spec);
        spec.settled_gate = true;
    });
    let host = &play.bench.host;
    let id = &play.spec.id;
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| run(host, id));
        let mut seen = Vec::new();
        let cancel = crate::cancel::Cancel::new().unwrap();
        super::super::follow::follow(host, "box", id, 0, &cancel, &mut |entry| {
            match &entry.event {
                JournalEvent::Entered { phase: Phase::Ready } => {
                    let fenced = super::super::decide::decide(host, id, 0, Decision::Promote).unwrap_err();
                    assert_eq!(fenced.kind, holdfast_protocol::FaultKind::Fenced);
                    super::super::decide::decide(host, id, 1, Decision::Promote).unwrap();
                }
                JournalEvent::Entered { phase: Phase::Settled } => {
                    super::super::decide::decide(host, id, 1, Decision::Settle).unwrap();
                }
                _ => {}
            }
            seen.push(entry);
            true
        })
        .unwrap();
        assert_eq!(runner.join().unwrap().unwrap(), Outcome::Done);
        assert!(seen.iter().enumerate().all(|(index, entry)| entry.seq == index as u64));
        assert!(matches!(seen.last().map(|entry| &entry.event), Some(JournalEvent::Ended { .. })));
    });
    assert!(super::super::decide::decide(host, id, 1, Decision::GoBack).is_err());
    super::super::decide::decide(host, id, 1, Decision::Promote).unwrap();
    let from_two = {
        let mut seen = Vec::new();
        let cancel = crate::cancel::Cancel::new().unwrap();
        super::super::follow::follow(host, "box", id, 2, &cancel, &mut |entry| {
            seen.push(entry.seq);
            true
        })
        .unwrap();
        seen
    };
    assert_eq!(from_two[0], 2);
}

#[test]
fn a_change_that_nobody_confirms_goes_back_and_a_confirmed_one_stays() {
    let old = Play::new(|_, _| ()).live();
    let play = Play::new(|bench, spec| {
        bring(bench, spec);
        spec.confirm_within_ms = Some(1);
    });
    play.decide(Decision::Promote);
    play.decide(Decision::Settle);
    assert_eq!(run(&play.bench.host, &play.spec.id).unwrap(), Outcome::RolledBack);
    assert_eq!(play.live(), old);

    let play = Play::new(|bench, spec| {
        bring(bench, spec);
        spec.confirm_within_ms = Some(20_000);
    });
    play.decide(Decision::Promote);
    let (host, id) = (&play.bench.host, &play.spec.id);
    let before = crate::serve::since_boot();
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| run(host, id));
        let cancel = crate::cancel::Cancel::new().unwrap();
        super::super::follow::follow(host, "box", id, 0, &cancel, &mut |entry| {
            if matches!(entry.event, JournalEvent::Entered { phase: Phase::Settled }) {
                assert!(super::super::decide::confirm(host, id, before).is_err(), "an old channel proves nothing");
                super::super::decide::confirm(host, id, crate::serve::since_boot()).unwrap();
                // The runner looks at the folder; the follower's own wake-up may come first.
            }
            true
        })
        .unwrap();
        assert_eq!(runner.join().unwrap().unwrap(), Outcome::Done);
    });
}

#[test]
fn two_runners_never_run_at_once() {
    let play = Play::new(bring);
    let _held = play.folder().lock_runner().unwrap().unwrap();
    assert!(matches!(run(&play.bench.host, &play.spec.id), Err(RunError::Running)));
}

#[test]
fn a_second_transaction_of_the_app_waits_and_an_unbegun_one_is_dropped() {
    use holdfast_protocol::FaultKind;
    let play = Play::new(bring);
    let host = &play.bench.host;
    let mut other = spec("t2");
    other.fence = 2;
    assert_eq!(super::super::stage::stage(host, &other).unwrap_err().kind, FaultKind::Busy);
    play.decide(Decision::Promote);
    run(host, &play.spec.id).unwrap();
    assert_eq!(super::super::stage::stage(host, &other).unwrap(), []);
    // Staged, never begun: another takes its place.
    let mut third = spec("t3");
    third.fence = 3;
    assert_eq!(super::super::stage::stage(host, &third).unwrap(), []);
    assert!(Folder::of(&host.root, &other.id).load().is_err());
    crate::fence::claim(&host.root, &Disk::new(), &other.app, 9, &"z".parse().unwrap()).unwrap();
    other.fence = 8;
    assert_eq!(super::super::stage::stage(host, &other).unwrap_err().kind, FaultKind::Fenced);
    other.fence = 9;
    assert_eq!(super::super::stage::stage(host, &other).unwrap_err().kind, FaultKind::Fenced, "z holds it");
    other.fence = 10;
    other.prepare = vec![put(&play.bench, "kept", "content")];
    let Action::PutFile(put) = &mut other.prepare[0].action else { unreachable!() };
    put.blob = crate::digest::of(b"never sent");
    assert_eq!(super::super::stage::stage(host, &other).unwrap_err().kind, FaultKind::Refused);
}
