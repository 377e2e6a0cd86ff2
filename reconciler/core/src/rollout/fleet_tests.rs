use proptest::prelude::*;

use super::super::waves;
use super::*;
use crate::time::Millis;

fn hosts(count: usize) -> Vec<HostName> {
    (0..count).map(|index| format!("h{index}").parse().unwrap()).collect()
}

fn policy(canary: u32, max_unavailable: u32, all_or_nothing: bool, pause_after_canary: bool) -> RolloutPolicy {
    RolloutPolicy {
        canary,
        max_unavailable,
        all_or_nothing,
        pause_after_canary,
        ready_deadline: Millis(1),
        confirm_within: Millis(1),
    }
}

fn fleet(count: usize, policy: &RolloutPolicy, migrating: Option<usize>) -> Fleet {
    let hosts = hosts(count);
    let migrating = migrating.map(|index| hosts[index].clone());
    Fleet::new(waves(&hosts, migrating.as_ref(), policy), FleetPolicy::new(policy, migrating))
}

#[test]
fn cap_39_waves_are_canary_then_batches_and_the_migrating_host_is_first() {
    let hosts = hosts(6);
    let shown = |waves: Vec<Vec<HostName>>| {
        waves.iter().map(|wave| wave.iter().map(HostName::as_str).collect::<Vec<_>>().join(",")).collect::<Vec<_>>()
    };
    assert_eq!(shown(waves(&hosts, None, &policy(1, 2, false, false))), ["h0", "h1,h2", "h3,h4", "h5"]);
    assert_eq!(shown(waves(&hosts, Some(&hosts[3]), &policy(1, 9, false, false))), ["h3", "h0,h1,h2,h4,h5"]);
    assert_eq!(shown(waves(&hosts[..2], None, &policy(9, 0, false, false))), ["h0,h1"]);
    assert_eq!(shown(waves(&[], None, &policy(1, 1, false, false))), Vec::<String>::new());
}

#[test]
fn the_canary_pauses_until_promoted() {
    let mut fleet = fleet(2, &policy(1, 1, false, true), None);
    let [h0, h1] = [hosts(2)[0].clone(), hosts(2)[1].clone()];
    assert_eq!(fleet.step(&FleetEvent::Staged), [FleetCommand::Begin(h0.clone())]);
    fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Ready));
    let paused = fleet.step(&FleetEvent::Ended(h0, Outcome::Done));
    assert!(matches!(paused[..], [FleetCommand::Pause { .. }]), "{paused:?}");
    assert!(fleet.is_paused());
    assert_eq!(fleet.step(&FleetEvent::Promote), [FleetCommand::Begin(h1.clone())]);
    assert!(!fleet.is_paused());
    fleet.step(&FleetEvent::Entered(h1.clone(), Phase::Ready));
    assert_eq!(fleet.step(&FleetEvent::Ended(h1, Outcome::Done)), [FleetCommand::End(AppResult::Done)]);
}

#[test]
fn promote_ends_the_watch_window() {
    let mut fleet = fleet(1, &policy(0, 1, false, false), None);
    let host = hosts(1)[0].clone();
    fleet.step(&FleetEvent::Staged);
    for phase in [Phase::Ready, Phase::Promote, Phase::Watch] {
        fleet.step(&FleetEvent::Entered(host.clone(), phase));
    }
    let commands = fleet.step(&FleetEvent::Promote);
    assert!(matches!(&commands[..], [FleetCommand::Decide { decision: Decision::EndWatch, .. }]), "{commands:?}");
}

/// Typed while the canary is watched, the word must not leave the rollout waiting at the pause behind it.
#[test]
fn promote_in_the_canarys_window_also_answers_the_pause_behind_it() {
    for all_or_nothing in [false, true] {
        let mut fleet = fleet(3, &policy(1, 1, all_or_nothing, true), None);
        let names = hosts(3);
        fleet.step(&FleetEvent::Staged);
        assert!(!fleet.can_promote(), "nothing serves yet");
        let ready = if all_or_nothing { &names[..] } else { &names[..1] };
        for host in ready {
            fleet.step(&FleetEvent::Entered(host.clone(), Phase::Ready));
        }
        fleet.step(&FleetEvent::Entered(names[0].clone(), Phase::Promote));
        fleet.step(&FleetEvent::Entered(names[0].clone(), Phase::Watch));
        assert!(fleet.can_promote());
        let commands = fleet.step(&FleetEvent::Promote);
        assert!(matches!(&commands[..], [FleetCommand::Decide { decision: Decision::EndWatch, .. }]), "{commands:?}");
        let commands = if all_or_nothing {
            fleet.step(&FleetEvent::Entered(names[0].clone(), Phase::Settled))
        } else {
            fleet.step(&FleetEvent::Ended(names[0].clone(), Outcome::Done))
        };
        let goes_on = |command: &FleetCommand| match command {
            FleetCommand::Begin(host) => !all_or_nothing && *host == names[1],
            FleetCommand::Decide { host, decision: Decision::Promote, .. } => all_or_nothing && *host == names[1],
            _ => false,
        };
        assert!(commands.len() == 1 && goes_on(&commands[0]), "all or nothing {all_or_nothing}: {commands:?}");
        assert!(!fleet.is_paused());
        // The window of the next wave is one of its own.
        if !all_or_nothing {
            fleet.step(&FleetEvent::Entered(names[1].clone(), Phase::Ready));
            assert!(fleet.can_promote(), "it is being promoted");
        }
        assert_eq!(fleet.step(&FleetEvent::Entered(names[1].clone(), Phase::Watch)), []);
        assert!(fleet.can_promote());
    }
}

#[test]
fn there_is_nothing_to_promote_where_nothing_waits() {
    let mut fleet = fleet(2, &policy(1, 1, false, true), None);
    let [h0, h1] = [hosts(2)[0].clone(), hosts(2)[1].clone()];
    fleet.step(&FleetEvent::Staged);
    assert!(!fleet.can_promote());
    // It changes nothing either: the pause behind the canary still comes.
    assert_eq!(fleet.step(&FleetEvent::Promote), []);
    fleet.step(&FleetEvent::Pause);
    assert!(fleet.can_promote(), "a pause of a person can be ended");
    fleet.step(&FleetEvent::Promote);
    fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Ready));
    fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Watch));
    fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Settle));
    assert!(fleet.can_promote(), "the window is over, and the pause is about to come");
    let paused = fleet.step(&FleetEvent::Ended(h0, Outcome::Done));
    assert!(matches!(paused[..], [FleetCommand::Pause { .. }]), "{paused:?}");
    assert_eq!(fleet.step(&FleetEvent::Promote), [FleetCommand::Begin(h1.clone())]);
    assert!(!fleet.can_promote(), "the last wave only prepares");
    fleet.step(&FleetEvent::Abort);
    fleet.step(&FleetEvent::Pause);
    assert!(!fleet.can_promote(), "it goes back");
}

#[test]
fn with_all_or_nothing_promote_ends_this_waves_window_and_no_later_one() {
    let mut fleet = fleet(2, &policy(1, 1, true, false), None);
    let [h0, h1] = [hosts(2)[0].clone(), hosts(2)[1].clone()];
    fleet.step(&FleetEvent::Staged);
    fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Ready));
    fleet.step(&FleetEvent::Entered(h1.clone(), Phase::Ready));
    fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Promote));
    assert_eq!(fleet.step(&FleetEvent::Promote), [], "its window is not open yet");
    let told = |commands: &[FleetCommand]| -> Vec<(HostName, Decision)> {
        let one = |command: &FleetCommand| match command {
            FleetCommand::Decide { host, decision, .. } => (host.clone(), *decision),
            other => panic!("{other:?}"),
        };
        commands.iter().map(one).collect()
    };
    let commands = fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Watch));
    assert_eq!(told(&commands), [(h0.clone(), Decision::EndWatch)]);
    let commands = fleet.step(&FleetEvent::Entered(h0.clone(), Phase::Settled));
    assert_eq!(told(&commands), [(h1.clone(), Decision::Promote)]);
    assert_eq!(fleet.step(&FleetEvent::Entered(h1.clone(), Phase::Watch)), []);
    let commands = fleet.step(&FleetEvent::Entered(h1.clone(), Phase::Settled));
    assert_eq!(told(&commands), [(h0, Decision::Settle), (h1, Decision::Settle)]);
}

#[test]
fn resume_ends_a_pause_and_never_a_window() {
    let mut fleet = fleet(1, &policy(0, 1, false, false), None);
    let host = hosts(1)[0].clone();
    fleet.step(&FleetEvent::Staged);
    assert!(matches!(fleet.step(&FleetEvent::Pause)[..], [FleetCommand::Pause { .. }]));
    assert_eq!(fleet.step(&FleetEvent::Pause), [], "told once");
    assert_eq!(fleet.step(&FleetEvent::Entered(host.clone(), Phase::Ready)), []);
    let commands = fleet.step(&FleetEvent::Resume);
    assert!(matches!(&commands[..], [FleetCommand::Decide { decision: Decision::Promote, .. }]), "{commands:?}");
    fleet.step(&FleetEvent::Entered(host, Phase::Watch));
    assert_eq!(fleet.step(&FleetEvent::Resume), []);
}

#[test]
fn a_lost_host_is_no_success() {
    let mut fleet = fleet(1, &policy(0, 1, false, false), None);
    fleet.step(&FleetEvent::Staged);
    let commands = fleet.step(&FleetEvent::Lost(hosts(1)[0].clone()));
    assert_eq!(commands, [FleetCommand::End(AppResult::Stuck)]);
}

#[test]
fn a_cut_down_rollout_goes_forward_when_a_host_has_switched() {
    let [h0, h1] = [hosts(2)[0].clone(), hosts(2)[1].clone()];
    let states = |first| BTreeMap::from([(h0.clone(), first), (h1.clone(), (Phase::Ready, None))]);

    let mut forward = Fleet::resume(&states((Phase::Watch, None)));
    let commands = forward.step(&FleetEvent::Staged);
    assert!(
        matches!(&commands[..], [FleetCommand::Decide { host, decision: Decision::Promote, .. }] if *host == h1),
        "{commands:?}"
    );

    let mut back = Fleet::resume(&states((Phase::Prepare, None)));
    let commands = back.step(&FleetEvent::Staged);
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert!(
        commands.iter().all(|command| matches!(command, FleetCommand::Decide { decision: Decision::GoBack, .. })),
        "{commands:?}"
    );

    let mut failed = Fleet::resume(&states((Phase::Ended, Some(Outcome::RolledBack))));
    let commands = failed.step(&FleetEvent::Staged);
    assert!(matches!(&commands[..], [FleetCommand::Decide { decision: Decision::GoBack, .. }]), "{commands:?}");
}

/// A host as the fleet sees it: its phase, and what it was told.
#[derive(Debug, Clone, Default)]
struct SimHost {
    phase: Option<Phase>,
    outcome: Option<Outcome>,
    promote: bool,
    settle: bool,
    go_back: bool,
    /// Fails when it leaves this phase.
    fails_in: Option<Phase>,
}

impl SimHost {
    /// Goes one phase on; returns what its journal says, if it moved.
    fn advance(&mut self, gate: bool) -> Option<Phase> {
        let fails = self.fails_in == self.phase;
        let next = match self.phase? {
            _ if self.outcome.is_some() => return None,
            Phase::Prepare | Phase::Ready | Phase::Promote | Phase::Watch | Phase::Settled if self.go_back => {
                Phase::Undo
            }
            Phase::Prepare | Phase::Promote | Phase::Watch if fails => Phase::Undo,
            Phase::Prepare => Phase::Ready,
            Phase::Ready if self.promote => Phase::Promote,
            Phase::Promote => Phase::Watch,
            Phase::Watch => Phase::Settled,
            Phase::Settled if self.settle || !gate => Phase::Settle,
            Phase::Settle | Phase::Undo => Phase::Ended,
            Phase::Ready | Phase::Settled | Phase::Ended => return None,
        };
        if next == Phase::Ended {
            let went_back = if self.promote { Outcome::RolledBack } else { Outcome::Abandoned };
            self.outcome = Some(if self.phase == Some(Phase::Undo) { went_back } else { Outcome::Done });
        }
        self.phase = Some(next);
        Some(next)
    }

    fn is_exposed(&self) -> bool {
        self.outcome.is_none() && matches!(self.phase, Some(Phase::Promote | Phase::Watch | Phase::Settled))
    }
}

#[derive(Debug)]
struct Run {
    hosts: BTreeMap<HostName, SimHost>,
    result: Option<AppResult>,
    most_exposed: usize,
}

/// Runs a fleet to its end, hosts moving in the order of `turns`, the operator speaking at given moments.
fn run(
    count: usize,
    policy: &RolloutPolicy,
    migrating: Option<usize>,
    fails: &[Option<Phase>],
    turns: &[usize],
    operator: &[(usize, u8)],
) -> Run {
    let names = hosts(count);
    let mut fleet = fleet(count, policy, migrating);
    let gate = policy.all_or_nothing && count > 1;
    let mut run = Run {
        hosts: names
            .iter()
            .zip(fails)
            .map(|(name, fails_in)| (name.clone(), SimHost { fails_in: *fails_in, ..SimHost::default() }))
            .collect(),
        result: None,
        most_exposed: 0,
    };
    let mut aborted = false;
    let mut apply = |run: &mut Run, fleet: &mut Fleet, event: &FleetEvent| {
        aborted |= *event == FleetEvent::Abort;
        for command in fleet.step(event) {
            assert_eq!(run.result, None, "{command:?} after the end");
            match command {
                FleetCommand::Begin(host) => {
                    assert!(!aborted, "begun after an abort");
                    let begun = migrating.is_none_or(|index| {
                        names[index] == host || !matches!(run.hosts[&names[index]].phase, None | Some(Phase::Prepare))
                    });
                    assert!(begun, "{host} began before the migration was through");
                    run.hosts.get_mut(&host).unwrap().phase = Some(Phase::Prepare);
                }
                FleetCommand::Decide { host, decision, .. } => {
                    if decision == Decision::Promote {
                        assert!(!aborted, "promoted after an abort");
                        let ready = |host: &SimHost| !matches!(host.phase, None | Some(Phase::Prepare));
                        assert!(!gate || run.hosts.values().all(ready), "promoted before all were ready");
                    }
                    if decision == Decision::Settle && gate {
                        let promoted = |host: &SimHost| {
                            host.outcome == Some(Outcome::Done)
                                || matches!(host.phase, Some(Phase::Watch | Phase::Settled | Phase::Settle))
                        };
                        assert!(run.hosts.values().all(promoted), "settled before all were watched");
                    }
                    let host = run.hosts.get_mut(&host).unwrap();
                    match decision {
                        Decision::Promote => host.promote = true,
                        Decision::Settle => host.settle = true,
                        Decision::GoBack => host.go_back = true,
                        // These hosts go on at any turn as it is.
                        Decision::EndWatch => {}
                    }
                }
                FleetCommand::Pause { .. } => {}
                FleetCommand::End(result) => run.result = Some(result),
            }
        }
    };
    apply(&mut run, &mut fleet, &FleetEvent::Staged);
    // After the given turns everyone moves in order until nothing can.
    let orderly = (0..count * 40).map(|turn| turn % count.max(1));
    for (moment, turn) in turns.iter().map(|turn| turn % count.max(1)).chain(orderly).enumerate() {
        for (_, what) in operator.iter().filter(|(when, _)| *when == moment) {
            let event = [FleetEvent::Promote, FleetEvent::Pause, FleetEvent::Abort, FleetEvent::Resume]
                [usize::from(what % 4)]
            .clone();
            apply(&mut run, &mut fleet, &event);
        }
        // Nobody leaves a pause for ever.
        if moment >= turns.len() && fleet.is_paused() {
            apply(&mut run, &mut fleet, &FleetEvent::Promote);
        }
        let name = names[turn].clone();
        let host = run.hosts.get_mut(&name).unwrap();
        if let Some(phase) = host.advance(gate) {
            let event = match host.outcome {
                Some(outcome) => FleetEvent::Ended(name, outcome),
                None => FleetEvent::Entered(name, phase),
            };
            apply(&mut run, &mut fleet, &event);
        }
        run.most_exposed = run.most_exposed.max(run.hosts.values().filter(|host| host.is_exposed()).count());
    }
    run
}

fn any_failure() -> impl Strategy<Value = Option<Phase>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(Phase::Prepare)),
        1 => Just(Some(Phase::Promote)),
        1 => Just(Some(Phase::Watch)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_rollout_ends_and_keeps_its_promises(
        count in 1_usize..6,
        canary in 0_u32..3,
        max_unavailable in 1_u32..4,
        all_or_nothing: bool,
        pause: bool,
        migrating in proptest::option::of(0_usize..5),
        fails in proptest::collection::vec(any_failure(), 5),
        turns in proptest::collection::vec(0_usize..5, 0..60),
        operator in proptest::collection::vec((0_usize..60, any::<u8>()), 0..3),
    ) {
        let policy = policy(canary, max_unavailable, all_or_nothing, pause);
        let migrating = migrating.map(|index| index % count);
        let run = run(count, &policy, migrating, &fails[..count], &turns, &operator);
        prop_assert!(run.result.is_some(), "never ended: {:?}", run);
        let outcomes: Vec<Option<Outcome>> = run.hosts.values().map(|host| host.outcome).collect();
        let done = outcomes.iter().filter(|outcome| **outcome == Some(Outcome::Done)).count();
        if all_or_nothing {
            prop_assert!(done == 0 || done == count, "some new, some old: {:?}", outcomes);
        } else {
            let wave = canary.max(max_unavailable) as usize;
            prop_assert!(run.most_exposed <= wave, "{} hosts at once, a wave is {}", run.most_exposed, wave);
        }
        if fails[..count].iter().all(Option::is_none) && operator.iter().all(|(_, what)| what % 4 != 2) {
            prop_assert_eq!(run.result, Some(AppResult::Done));
        }
        let expected = match done {
            0 => AppResult::RolledBack,
            _ if done == count => AppResult::Done,
            _ => AppResult::Partial,
        };
        prop_assert_eq!(run.result, Some(expected));
    }
}
