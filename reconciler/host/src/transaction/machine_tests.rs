//! Properties of the step machine, by playing whole transactions with chosen failures, cuts and inputs.

use holdfast_protocol::{Action, TransactionKind};
use proptest::prelude::*;

use super::*;

fn spec(counts: [usize; 4], settled_gate: bool, confirm: bool) -> TransactionSpec {
    let list = |name: &str, count: usize| -> Vec<Step> {
        (0..count)
            .map(|index| Step {
                title: format!("{name} {index}"),
                component: String::new(),
                deadline_ms: 1000,
                action: Action::DaemonReload,
            })
            .collect()
    };
    TransactionSpec {
        id: "t1".parse().expect("a valid id"),
        fence: 1,
        app: "prod/shop".to_owned(),
        release: "v1".to_owned(),
        commit: "c".to_owned(),
        kind: TransactionKind::Apply,
        prepare: list("prepare", counts[0]),
        ready_deadline_ms: 1000,
        promote: list("promote", counts[1]),
        watch: list("watch", counts[2]),
        settled_gate,
        settled_deadline_ms: 1000,
        settle: list("settle", counts[3]),
        one_way: Vec::new(),
        confirm_within_ms: confirm.then_some(1000),
    }
}

/// One answer of the world: what becomes of the next thing the machine asks for.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Works,
    Fails,
    FailsForOperator,
    /// The effect happened, the runner died before it wrote so.
    CutAfter,
    /// The intent is written, the runner died before the effect.
    CutBefore,
}

struct World {
    spec: TransactionSpec,
    journal: Vec<JournalEntry>,
    inputs: Inputs,
    /// Effects in the order they happened: (place, undone).
    effects: Vec<(At, bool)>,
}

impl World {
    fn new(spec: TransactionSpec, inputs: Inputs) -> Self {
        Self { spec, journal: Vec::new(), inputs, effects: Vec::new() }
    }

    fn write(&mut self, event: JournalEvent) {
        let seq = self.journal.len() as u64;
        self.journal.push(JournalEntry { seq, at_ms: 0, event });
    }

    /// Does one turn; returns whether the transaction is over.
    fn turn(&mut self, fate: Fate) -> bool {
        match next(&self.spec, &self.journal, self.inputs) {
            Next::Over => return true,
            Next::Enter(phase) => self.write(JournalEvent::Entered { phase }),
            Next::Decide(decision, by) => self.write(JournalEvent::Decided { decision, by: by.to_owned() }),
            Next::WaitReady | Next::WaitSettled => {
                // Nobody comes: the time passes.
                self.inputs.gate_over = true;
                self.inputs.confirm_over = true;
            }
            Next::GiveUp(at) => self.failed(at, false),
            Next::Do { at, .. } => {
                if !self.has_intent(at) {
                    self.write(JournalEvent::Intent {
                        phase: at.phase,
                        step: at.step,
                        title: String::new(),
                        before: Vec::new(),
                    });
                }
                self.effect(at, fate);
            }
            Next::Probe(at) => {
                if self.effects.last() == Some(&(at, false)) {
                    self.write(JournalEvent::Done { phase: at.phase, step: at.step, took_ms: 0, note: String::new() });
                } else {
                    self.effect(at, fate);
                }
            }
            Next::Undo { at, .. } => {
                self.write(JournalEvent::UndoIntent { phase: at.phase, step: at.step });
                match fate {
                    Fate::Works => {
                        self.effects.push((at, true));
                        self.write(JournalEvent::Undone { phase: at.phase, step: at.step });
                    }
                    Fate::Fails | Fate::FailsForOperator => self.failed(at, false),
                    Fate::CutAfter => {
                        self.effects.push((at, true));
                        self.write(JournalEvent::Resumed);
                    }
                    Fate::CutBefore => self.write(JournalEvent::Resumed),
                }
            }
            Next::End(outcome, reason) => self.write(JournalEvent::Ended { outcome, reason }),
        }
        false
    }

    fn is_done(&self, at: At) -> bool {
        let done = |event: &JournalEvent| matches!(event, JournalEvent::Done { phase, step, .. } if *phase == at.phase && *step == at.step);
        self.journal.iter().any(|entry| done(&entry.event))
    }

    fn effect(&mut self, at: At, fate: Fate) {
        match fate {
            Fate::Works => {
                self.effects.push((at, false));
                self.write(JournalEvent::Done { phase: at.phase, step: at.step, took_ms: 0, note: String::new() });
            }
            Fate::Fails => self.failed(at, false),
            Fate::FailsForOperator => self.failed(at, true),
            Fate::CutAfter => {
                self.effects.push((at, false));
                self.write(JournalEvent::Resumed);
            }
            Fate::CutBefore => self.write(JournalEvent::Resumed),
        }
    }

    fn failed(&mut self, at: At, operator: bool) {
        self.write(JournalEvent::Failed { phase: at.phase, step: at.step, error: "no".to_owned(), operator });
    }

    fn has_intent(&self, at: At) -> bool {
        self.journal.iter().any(
            |entry| matches!(entry.event, JournalEvent::Intent { phase, step, .. } if phase == at.phase && step == at.step),
        )
    }

    fn outcome(&self) -> Option<Outcome> {
        self.journal.iter().find_map(|entry| match entry.event {
            JournalEvent::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    fn play(&mut self, fates: &[Fate]) {
        for fate in fates {
            if self.turn(*fate) {
                return;
            }
        }
        // Whatever was chosen, from here on everything works: it must end.
        for _ in 0..500 {
            if self.turn(Fate::Works) {
                return;
            }
        }
        panic!("did not end: {:?}", self.journal);
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        12 => Just(Fate::Works),
        2 => Just(Fate::Fails),
        1 => Just(Fate::FailsForOperator),
        2 => Just(Fate::CutAfter),
        2 => Just(Fate::CutBefore),
    ];
    prop::collection::vec(fate, 0..80)
}

fn inputs() -> impl Strategy<Value = Inputs> {
    let rest = (prop::bool::weighted(0.2), any::<bool>(), any::<bool>());
    (any::<bool>(), any::<bool>(), any::<bool>(), rest).prop_map(
        |(promote, settle, end_watch, (go_back, confirmed, one_way))| Inputs {
            promote,
            settle,
            end_watch,
            go_back,
            confirmed,
            gate_over: false,
            confirm_over: false,
            one_way,
        },
    )
}

fn specs() -> impl Strategy<Value = TransactionSpec> {
    ([0..5_usize, 0..5_usize, 0..3_usize, 0..4_usize], any::<bool>(), any::<bool>())
        .prop_map(|(counts, gate, confirm)| spec(counts, gate, confirm))
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let entered = |wanted: Phase| {
        world
            .journal
            .iter()
            .filter(|entry| matches!(entry.event, JournalEvent::Entered { phase } if phase == wanted))
            .count()
    };
    prop_assert!(entered(Phase::Promote) <= 1, "promoted twice");
    prop_assert!(entered(Phase::Settle) == 0 || entered(Phase::Undo) == 0, "settled and undone");

    // A settle step (the old slot's stop) comes only after all of promote and only forward.
    if let Some(first) = world.effects.iter().position(|(at, _)| at.phase == Phase::Settle) {
        for step in 0..world.spec.promote.len() as u32 {
            let at = At { phase: Phase::Promote, step };
            prop_assert!(world.effects[..first].contains(&(at, false)), "settled before {at:?}");
        }
        prop_assert!(world.effects.iter().all(|(_, undone)| !undone), "undone after settling");
    }

    // Undo runs in reverse of the intents, and only for steps with an intent.
    let intents: Vec<At> = world
        .journal
        .iter()
        .filter_map(|entry| match entry.event {
            JournalEvent::Intent { phase, step, .. } => Some(At { phase, step }),
            _ => None,
        })
        .collect();
    let undone: Vec<At> = world
        .journal
        .iter()
        .filter_map(|entry| match entry.event {
            JournalEvent::Undone { phase, step } => Some(At { phase, step }),
            _ => None,
        })
        .collect();
    let expected: Vec<At> = intents.iter().rev().take(undone.len()).copied().collect();
    prop_assert_eq!(&undone, &expected, "undo out of order");

    let outcome = world.outcome();
    match outcome {
        Some(Outcome::Done) => {
            prop_assert!(undone.is_empty());
            prop_assert_eq!(
                intents.len(),
                world.spec.prepare.len()
                    + world.spec.promote.len()
                    + world.spec.settle.len()
                    + intents.iter().filter(|at| at.phase == Phase::Watch).count()
            );
        }
        Some(Outcome::Abandoned) => {
            prop_assert_eq!(entered(Phase::Promote), 0);
            prop_assert_eq!(undone.len(), intents.len());
        }
        Some(Outcome::RolledBack) => {
            let promoted =
                (0..world.spec.promote.len() as u32).all(|step| world.is_done(At { phase: Phase::Promote, step }));
            let unconfirmed = world.spec.confirm_within_ms.is_some();
            prop_assert!(!(world.inputs.one_way && promoted) || unconfirmed, "back to a schema it does not know");
            prop_assert_eq!(entered(Phase::Promote), 1);
            prop_assert_eq!(undone.len(), intents.len());
        }
        Some(Outcome::Stuck) | None => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_play_is_safe_and_ends(spec in specs(), inputs in inputs(), fates in fates()) {
        let mut world = World::new(spec, inputs);
        world.play(&fates);
        check(&world)?;
        prop_assert!(world.outcome().is_some());
        let length = world.journal.len();
        prop_assert!(world.turn(Fate::Works), "something after the end");
        prop_assert_eq!(world.journal.len(), length);
    }

    #[test]
    fn every_prefix_of_a_journal_resumes_to_an_end(
        spec in specs(), inputs in inputs(), fates in fates(), cut in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(spec, inputs);
        world.play(&fates);
        let keep = cut.index(world.journal.len() + 1);
        world.journal.truncate(keep);
        world.write(JournalEvent::Resumed);
        for _ in 0..500 {
            if world.turn(Fate::Works) { break; }
        }
        prop_assert!(world.outcome().is_some());
    }

    #[test]
    fn a_confirmation_that_never_comes_sends_it_back(counts in [0..3_usize, 0..3_usize, 0..2_usize, 0..3_usize], gate in any::<bool>(), settle in any::<bool>()) {
        let mut world = World::new(spec(counts, gate, true), Inputs { promote: true, settle, ..Inputs::default() });
        world.play(&[]);
        prop_assert_eq!(world.outcome(), Some(Outcome::RolledBack));
    }
}

#[test]
fn an_unattended_ready_gate_abandons_and_an_unattended_settled_gate_settles() {
    let mut world = World::new(spec([2, 1, 0, 1], true, false), Inputs::default());
    world.play(&[]);
    assert_eq!(world.outcome(), Some(Outcome::Abandoned));

    let mut world = World::new(spec([2, 1, 0, 1], true, false), Inputs { promote: true, ..Inputs::default() });
    world.play(&[]);
    assert_eq!(world.outcome(), Some(Outcome::Done));
    assert!(world.journal.iter().any(|entry| matches!(
        &entry.event,
        JournalEvent::Decided { decision: Decision::Settle, by } if by == "deadline"
    )));
}

#[test]
fn cap_56_what_fails_after_the_switch_of_a_one_way_release_leaves_it_serving() {
    let one_way = Inputs { promote: true, one_way: true, ..Inputs::default() };
    let play = |inputs: Inputs, checks: bool, fates: &[Fate]| {
        let mut spec = spec([1, 2, 1, 2], false, false);
        if checks {
            spec.promote[1].action = Action::Smoke(Vec::new());
        }
        let mut world = World::new(spec, inputs);
        world.play(fates);
        (world.outcome(), world.effects.iter().any(|(_, undone)| *undone), world)
    };
    // Enter, prepare, ready, promote: the fates of what is done, each on its turn.
    let fails_at = |turn: usize| {
        let mut fates = vec![Fate::Works; turn];
        fates.push(Fate::Fails);
        fates
    };
    let mut held = 0;
    for turn in 0..14 {
        for checks in [false, true] {
            let (outcome, undone, world) = play(one_way, checks, &fails_at(turn));
            let broke = |phase: Phase, step: u32| {
                world.journal.iter().any(|entry| {
                    matches!(&entry.event, JournalEvent::Failed { phase: p, step: s, .. } if *p == phase && *s == step)
                })
            };
            if broke(Phase::Watch, 0) || (checks && broke(Phase::Promote, 1)) {
                held += 1;
                assert_eq!((outcome, undone), (Some(Outcome::Stuck), false), "{:?}", world.journal);
                let settled = world.effects.iter().filter(|(at, _)| at.phase == Phase::Settle).count();
                assert_eq!(settled, 2, "it is recorded");
                let reason = world.journal.iter().rev().find_map(|entry| match &entry.event {
                    JournalEvent::Ended { reason, .. } => Some(reason.clone()),
                    _ => None,
                });
                assert!(reason.unwrap().contains("does not know its schema"));
            } else if broke(Phase::Prepare, 0) {
                assert_eq!(outcome, Some(Outcome::Abandoned));
            } else if broke(Phase::Promote, 0) || broke(Phase::Promote, 1) {
                assert_eq!(outcome, Some(Outcome::RolledBack), "nothing served yet");
            }
        }
    }
    assert!(held >= 3, "{held}");
    // Sent back by a person or the fleet in its window, it stays as well.
    let mut world = World::new(spec([0, 1, 1, 1], false, false), one_way);
    while !world.journal.iter().any(|entry| matches!(entry.event, JournalEvent::Entered { phase: Phase::Watch })) {
        world.turn(Fate::Works);
    }
    world.inputs.go_back = true;
    world.play(&[]);
    assert_eq!(world.outcome(), Some(Outcome::Stuck));
    // Without the mark it goes back.
    let (outcome, undone, _) = play(Inputs { one_way: false, ..one_way }, false, &fails_at(9));
    assert!(outcome != Some(Outcome::Stuck) || undone);
}

fn step(component: &str, action: Action) -> Step {
    let title = format!("{component} {action:?}");
    Step { title, component: component.to_owned(), deadline_ms: 1000, action }
}

fn migrate() -> Action {
    Action::Migrate {
        id: "prod/shop/web/abc".to_owned(),
        runner: holdfast_protocol::MigrationRunner::Host { directory: String::new(), user: String::new() },
        argv: Vec::new(),
        idempotent: false,
        revision: Vec::new(),
        downgrade: Vec::new(),
        reversible: false,
    }
}

#[test]
fn cap_56_what_does_not_know_the_schema_is_not_started_and_the_rest_is_undone() {
    let stop = || Action::ComposeStop { project: "web-blue".to_owned(), grace_ms: None };
    let up = |project: &str| Action::ComposeUp {
        project: project.to_owned(),
        file: "/f".to_owned(),
        services: BTreeMap::new(),
    };
    let remove = || Action::RemoveFile { path: "/f".to_owned() };
    let mut plan = spec([0, 0, 0, 0], false, false);
    plan.prepare = vec![
        // Another component, which nothing stops, goes back as ever.
        step("data", Action::OnUndo(Box::new(up("data")))),
        step("web", Action::OnUndo(Box::new(up("web")))),
        step("web", remove()),
        step("web", stop()),
        step("web", Action::OnUndo(Box::new(migrate()))),
        step("web", up("web-green")),
    ];
    for operator in [true, false] {
        let mut world = World::new(plan.clone(), Inputs::default());
        world.play(&[Fate::Works; 7]);
        world.journal.retain(|entry| !matches!(entry.event, JournalEvent::Ended { .. }));
        let mut world = World { effects: Vec::new(), ..world };
        world.journal.truncate(1 + 2 * plan.prepare.len());
        world.inputs.go_back = true;
        let mut undone = Vec::new();
        for _ in 0..60 {
            match next(&world.spec, &world.journal, world.inputs) {
                Next::Undo { at, .. } if at.step == 4 => {
                    world.write(JournalEvent::UndoIntent { phase: at.phase, step: at.step });
                    world.failed(at, operator);
                }
                Next::Undo { at, .. } => {
                    undone.push(at.step);
                    world.turn(Fate::Works);
                }
                _ => drop(world.turn(Fate::Works)),
            }
        }
        assert_eq!(undone, [5, 2, 0], "{:?}", world.journal);
        let reason = world.journal.iter().rev().find_map(|entry| match &entry.event {
            JournalEvent::Ended { outcome: Outcome::Stuck, reason } => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.unwrap().starts_with(UNSERVED));
    }
}

#[test]
fn cap_53_a_migration_that_was_cut_down_is_seen_to_its_end_before_anything_is_undone() {
    let mut plan = spec([3, 0, 0, 0], false, false);
    plan.prepare[1].action = migrate();
    let at = At { phase: Phase::Prepare, step: 1 };
    let mut world = World::new(plan, Inputs::default());
    while !world.has_intent(at) {
        world.turn(if world.is_done(At { step: 0, ..at }) { Fate::CutAfter } else { Fate::Works });
    }
    world.inputs.go_back = true;
    assert_eq!(next(&world.spec, &world.journal, world.inputs), Next::Probe(at));
    world.play(&[]);
    assert!(world.is_done(at), "{:?}", world.journal);
    assert_eq!(world.outcome(), Some(Outcome::Abandoned));
}

#[test]
fn an_ended_watch_window_leaves_the_settled_gate_closed() {
    let inputs = Inputs { promote: true, end_watch: true, ..Inputs::default() };
    let mut world = World::new(spec([1, 1, 2, 1], true, false), inputs);
    for _ in 0..20 {
        if next(&world.spec, &world.journal, world.inputs) == Next::WaitSettled {
            break;
        }
        world.turn(Fate::Works);
    }
    assert_eq!(next(&world.spec, &world.journal, world.inputs), Next::WaitSettled, "{:?}", world.journal);
    assert!(world.effects.iter().all(|(at, _)| at.phase != Phase::Watch), "the window was not waited for");
    world.inputs.go_back = true;
    world.play(&[]);
    assert_eq!(world.outcome(), Some(Outcome::RolledBack));
}

#[test]
fn a_settle_step_is_tried_again_and_then_stuck() {
    let mut world = World::new(spec([0, 0, 0, 1], false, false), Inputs { promote: true, ..Inputs::default() });
    world.play(&[Fate::Fails; 40]);
    assert_eq!(world.outcome(), Some(Outcome::Stuck));
    let failures = world.journal.iter().filter(|entry| matches!(entry.event, JournalEvent::Failed { .. })).count();
    assert_eq!(failures as u32, TRIES);
}

#[test]
fn an_operator_failure_goes_back_first_and_ends_stuck() {
    let mut world = World::new(spec([2, 0, 0, 0], false, false), Inputs::default());
    world.play(&[Fate::Works, Fate::Works, Fate::FailsForOperator]);
    assert_eq!(world.outcome(), Some(Outcome::Stuck));
    assert_eq!(world.effects.iter().filter(|(_, undone)| *undone).count(), 2);
}

#[test]
fn a_step_that_always_kills_its_runner_fails_in_the_end() {
    let mut world = World::new(spec([1, 0, 0, 0], false, false), Inputs::default());
    let mut fates = vec![Fate::Works];
    fates.extend([Fate::CutBefore; 14]);
    world.play(&fates);
    assert_eq!(world.outcome(), Some(Outcome::Abandoned));
}
